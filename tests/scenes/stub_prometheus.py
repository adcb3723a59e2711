"""Something on a loopback socket that answers range queries the way a test wants Prometheus to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Reply = tuple[int, str, bytes]
"""Status, content type, body."""
Answer = Callable[[Mapping[str, str]], Reply]
"""From a request's parameters to what goes back."""


def as_json(body: object, status: int = 200) -> Reply:
    return status, "application/json", json.dumps(body, separators=(",", ":")).encode()  # as Prometheus writes it


def matrix(*series: Mapping[str, Any], **more: Any) -> Reply:
    return as_json({"status": "success", "data": {"resultType": "matrix", "result": list(series)}, **more})


def vector(*samples: tuple[Mapping[str, str], float, str]) -> Reply:
    """An instant query's answer: labels, time and value (a string, as Prometheus sends them)."""
    result = [{"metric": dict(labels), "value": [at, value]} for labels, at, value in samples]
    return as_json({"status": "success", "data": {"resultType": "vector", "result": result}})


def series(labels: Mapping[str, str], values: Sequence[tuple[float, str]]) -> dict[str, Any]:
    return {"metric": dict(labels), "values": [list(sample) for sample in values]}


def grid(parameters: Mapping[str, str]) -> list[float]:
    """The times a range query asks for."""
    start, end, step = (float(parameters[name]) for name in ("start", "end", "step"))
    return [start + step * n for n in range(int((end - start) / step + 1e-6) + 1)]


def constant(*labelled: tuple[Mapping[str, str], str]) -> Answer:
    """Series that hold one value (a string, as Prometheus sends them) at every step."""

    def answer(parameters: Mapping[str, str]) -> Reply:
        return matrix(*(series(labels, [(t, value) for t in grid(parameters)]) for labels, value in labelled))

    return answer


class Stub:
    """Where it listens, and what it was asked."""

    def __init__(self, url: str, asked: list[dict[str, str]]) -> None:
        self.url = url
        self.asked = asked


@contextmanager
def stub_prometheus(answer: Answer, *, clock: Callable[[], datetime] | None = None) -> Iterator[Stub]:
    """`clock`: what dates its answers; otherwise the machine's."""
    asked: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one segment: in two, the second waits 40 ms for the client's delayed ACK

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            parameters = dict(parse_qsl(urlsplit(self.path).query) + parse_qsl(body))
            asked.append(
                {**parameters, "path": urlsplit(self.path).path, "tenant": self.headers.get("X-Scope-OrgID", "")}
            )
            status, kind, content = answer(parameters)
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return format_datetime(clock(), usegmt=True) if clock else super().date_time_string(timestamp)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield Stub(f"http://127.0.0.1:{server.server_address[1]}", asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
