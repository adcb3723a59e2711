"""The signed HTTP interface, on loopback only: what comes from elsewhere comes through a proxy that speaks TLS."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from agent.approve.webhook import MOST_BODY, Request, Webhook
from agent.settings import WebhookSettings
from models.errors import BadInput

LEAST_SECRET_BYTES = 32


def read_secrets(settings: WebhookSettings) -> dict[str, bytes]:
    """By name of the key. Raises BadInput for a file that can't be read or holds too little."""
    secrets: dict[str, bytes] = {}
    for name, path in settings.keys.items():
        secrets[name] = _secret(path)
    return secrets


@contextmanager
def serving(webhook: Webhook, port: int) -> Generator[int]:
    """Answer for as long as the block runs; the port it listens on. Raises BadInput when it is taken."""

    class Handler(_Handler):
        answers = webhook

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise BadInput(f"webhook.port {port} can't be listened on: {error.strerror}", hint="name another") from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="webhook", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    answers: Webhook
    timeout = 10
    """seconds for a request to arrive"""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length") or "0"
        if not length.isdigit() or int(length) > MOST_BODY:
            self._send(413, {"error": "too-long", "why": f"at most {MOST_BODY} bytes"})
            return
        self._answer(self.rfile.read(int(length)))

    def _answer(self, body: bytes) -> None:
        request = Request(
            method=self.command,
            path=self.path,
            body=body,
            key=self.headers.get("X-Lifeboat-Key") or "",
            timestamp=self.headers.get("X-Lifeboat-Timestamp") or "",
            signature=self.headers.get("X-Lifeboat-Signature") or "",
        )
        self._send(*self.answers.handle(request))

    def _send(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """What matters is in the journal."""


def _secret(path: Path) -> bytes:
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise BadInput(
            f"webhook key file {path} can't be read: {error.strerror}", hint="see docs/approval.md"
        ) from error
    if len(secret) < LEAST_SECRET_BYTES:
        raise BadInput(
            f"webhook key file {path}: expected {LEAST_SECRET_BYTES} bytes or more, found {len(secret)}",
            hint="openssl rand -hex 32",
        )
    return secret
