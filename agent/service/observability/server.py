"""Metrics, probes and the status page over HTTP: loopback only, GET only, nothing behind it changes anything."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler

from prometheus_client import CONTENT_TYPE_LATEST

from agent.service.loopback_http import answering
from models.text import seconds_in_words

_TEXT = "text/plain; charset=utf-8"

Answer = tuple[int, str, bytes]
"""Status, content type, body."""


def serving_status(
    port: int,
    *,
    metrics: Callable[[], bytes],
    page: Callable[[], str],
    why_not_ready: Callable[[], str | None],
    first_look_seconds: Callable[[], float | None],
) -> AbstractContextManager[int]:
    """Answer for as long as the block runs; the port it listens on. Raises BadInput when it is taken."""

    def healthz() -> Answer:
        return 200, _TEXT, b"alive\n"

    def readyz() -> Answer:
        why, first = why_not_ready(), first_look_seconds()
        if why is not None:
            return 503, _TEXT, f"not ready: {why}\n".encode()
        if first is not None:
            return 200, _TEXT, f"ready: looking for the first time, for {seconds_in_words(first)}\n".encode()
        return 200, _TEXT, b"ready\n"

    answers: dict[str, Callable[[], Answer]] = {
        "/": lambda: (200, "text/html; charset=utf-8", page().encode()),
        "/metrics": lambda: (200, CONTENT_TYPE_LATEST, metrics()),
        "/healthz": healthz,
        "/readyz": readyz,
    }

    class Handler(_Handler):
        by_path = answers

    return answering(Handler, port, setting="status.port")


class _Handler(BaseHTTPRequestHandler):
    by_path: dict[str, Callable[[], Answer]]
    timeout = 10
    """seconds for a request to arrive"""

    def do_GET(self) -> None:
        answer = self.by_path.get(self.path.partition("?")[0])
        if answer is None:
            self._send((404, _TEXT, b"/, /metrics, /healthz or /readyz\n"))
            return
        try:
            self._send(answer())
        except Exception as error:  # a journal that can't be read now: the page says so, the agent goes on
            self._send((500, _TEXT, f"can't be told now: {type(error).__name__}\n".encode()))

    def do_HEAD(self) -> None:
        self.do_GET()

    def _send(self, answer: Answer) -> None:
        status, kind, body = answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are nobody's news."""
