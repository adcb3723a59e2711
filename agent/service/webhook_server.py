"""The signed HTTP interface, on loopback only: what comes from elsewhere comes through a proxy that speaks TLS."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from agent.approve.secret_files import read_secret
from agent.approve.slack.http import MOST_BODY as MOST_SLACK_BODY
from agent.approve.slack.http import PATH as SLACK_PATH
from agent.approve.slack.http import SlackRequests
from agent.approve.webhook import MOST_BODY, Request, Webhook
from agent.settings import WebhookSettings
from models.errors import BadInput

_POLL_SECONDS = 0.05
"""how soon it ends when told to"""


def read_secrets(settings: WebhookSettings) -> dict[str, bytes]:
    """By name of the key. Raises BadInput for a file that can't be read or holds too little."""
    secrets: dict[str, bytes] = {}
    for name, path in settings.keys.items():
        secrets[name] = read_secret(path, what="webhook key file", hint="openssl rand -hex 32")
    return secrets


@contextmanager
def serving(webhook: Webhook, port: int, *, slack: SlackRequests | None = None) -> Generator[int]:
    """Answer for as long as the block runs; the port it listens on. Raises BadInput when it is taken.

    `slack`: also what Slack sends, where it is not in Socket Mode.
    """

    class Handler(_Handler):
        answers = webhook
        from_slack = slack

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise BadInput(f"webhook.port {port} can't be listened on: {error.strerror}", hint="name another") from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name="webhook", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    answers: Webhook
    from_slack: SlackRequests | None
    timeout = 10
    """seconds for a request to arrive"""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length") or "0"
        slack = self.from_slack if self.path == SLACK_PATH else None
        most = MOST_SLACK_BODY if slack is not None else MOST_BODY
        if not length.isdigit() or int(length) > most:
            self._send(413, {"error": "too-long", "why": f"at most {most} bytes"})
            return
        body = self.rfile.read(int(length))
        if slack is None:
            self._answer(body)
            return
        timestamp = self.headers.get("X-Slack-Request-Timestamp") or ""
        self._send(slack.handle(body, timestamp=timestamp, signature=self.headers.get("X-Slack-Signature") or ""), None)

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
        body = json.dumps(content).encode() if content is not None else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """What matters is in the journal."""
