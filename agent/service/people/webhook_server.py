"""The signed HTTP interface, on loopback only: what comes from elsewhere comes through a proxy that speaks TLS."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler

from agent.approve.slack.http import MOST_BODY as MOST_SLACK_BODY
from agent.approve.slack.http import PATH as SLACK_PATH
from agent.approve.slack.http import SlackRequests
from agent.approve.webhook import MOST_BODY, Request, Webhook
from agent.service.loopback_http import answering
from agent.settings import WebhookSettings
from tools.secret_files import read_secret


def read_secrets(settings: WebhookSettings) -> dict[str, bytes]:
    """By name of the key. Raises BadInput for a file that can't be read or holds too little."""
    secrets: dict[str, bytes] = {}
    for name, path in settings.keys.items():
        secrets[name] = read_secret(path, what="webhook key file", hint="openssl rand -hex 32")
    return secrets


def serving(webhook: Webhook, port: int, *, slack: SlackRequests | None = None) -> AbstractContextManager[int]:
    """Answer for as long as the block runs; the port it listens on. Raises BadInput when it is taken.

    `slack`: also what Slack sends, where it is not in Socket Mode.
    """

    class Handler(_Handler):
        answers = webhook
        from_slack = slack

    return answering(Handler, port, setting="webhook.port")


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
