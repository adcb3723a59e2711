"""A Slack of one's own on loopback: Web API and Socket Mode over real sockets, and a page with the messages and buttons.

It speaks what slack_sdk's own client speaks. It knows one workspace, one channel and one app; what it refuses, it refuses
with Slack's words. Events go to one socket of those that are connected, at random, as Slack does it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import secrets
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import Request, urlopen

from lab.slack.page import PAGE, state_of
from lab.slack.websocket import WebSocket, accept_key
from lab.slack.workspace import Answers, SlackError, Workspace, arguments_of

MOST_SOCKETS = 10
"""of one app at a time, as Slack's documentation has it"""
ACK_SECONDS = 3.0
"""an envelope that is not acknowledged by then is shown to the user as failed"""


class NotAcknowledged(Exception):
    """The app did not answer in time, or nobody was connected: the user sees an error beside the button."""


class SlackStandIn:
    """One server. `workspace` is what it holds; tests look there, and make it fail there."""

    def __init__(self, workspace: Workspace | None = None) -> None:
        self.workspace = workspace or Workspace()
        self.down = False
        """nothing answers usefully: HTTP 503, and no socket"""
        self.sockets: list[WebSocket] = []
        self.request_url: str | None = None
        """HTTP in place of Socket Mode: where what people press is sent, signed"""
        self.signing_secret = b"8f742231b10e8888abcd99yyyzzz85a5"
        """the one of the example in Slack's documentation"""
        self.acknowledged: list[float] = []
        """seconds each envelope took to be acknowledged"""
        self._acks: dict[str, threading.Event] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        self._tickets: set[str] = set()
        self._random = random.Random(7)  # noqa: S311
        self._lock = threading.Lock()
        stand_in = self

        class Handler(_Handler):
            slack = stand_in

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.workspace.connect = self._new_ticket
        self.workspace.upload_url = lambda file: f"{self.page}upload/{file}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="slack stand-in", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def page(self) -> str:
        """For a browser."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def api_url(self) -> str:
        """For a client."""
        return f"http://127.0.0.1:{self.port}/api/"

    def close(self) -> None:
        self.drop_sockets()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def press(self, user: str, ts: str, action_id: str, *, option: str | None = None, value: str | None = None) -> None:
        """A user presses a button of a message, or chooses `option` of a menu. `value`: an edited payload, as no Slack sends it.

        Raises NotAcknowledged, and KeyError when the message has no such button any more.
        """
        message = self.workspace.messages[ts]
        element = message.buttons[action_id]
        action: dict[str, Any] = {"type": element["type"], "action_id": action_id, "action_ts": f"{time.time():.6f}"}
        block = next(b for b in message.blocks if b.get("type") == "actions" and element in b["elements"])
        action["block_id"] = block["block_id"]
        if element["type"] == "button":
            action["value"] = value if value is not None else element.get("value", "")
        else:
            chosen = next(each for each in element["options"] if each["value"].endswith(option or ""))
            action["selected_option"] = chosen
        self.send(
            {
                "type": "block_actions", "user": self._user(user), "team": {"id": "T0LAB", "domain": "lab"},
                "api_app_id": "A0LAB", "token": "x", "trigger_id": self.workspace.new_trigger(user),
                "container": {"type": "message", "message_ts": ts, "channel_id": self.workspace.channel},
                "channel": {"id": self.workspace.channel, "name": "ops"},
                "message": {"type": "message", "ts": ts, "blocks": message.blocks},
                "response_url": f"{self.page}response/{self.workspace.new_answers(user)}", "actions": [action],
            }
        )  # fmt: skip

    def submit(self, view_id: str, values: dict[str, str]) -> None:
        """The user sends an open form: values by action id. Raises NotAcknowledged."""
        user, view = self.workspace.forms.pop(view_id)
        state: dict[str, Any] = {}
        for number, block in enumerate(view["blocks"]):
            if block.get("type") == "input":
                action_id = block["element"]["action_id"]
                answer = {"type": "plain_text_input", "value": values.get(action_id)}
                state[block.get("block_id", str(number))] = {action_id: answer}
        self.send(
            {
                "type": "view_submission", "user": self._user(user), "team": {"id": "T0LAB", "domain": "lab"},
                "api_app_id": "A0LAB", "token": "x", "trigger_id": self.workspace.new_trigger(user),
                "view": {**view, "state": {"values": state}},
            }
        )  # fmt: skip

    def command(self, user: str, text: str, *, team: str = "T0LAB", channel: str = "C0ELSEWHERE") -> Answers:
        """A user types `/lifeboat TEXT`, in whatever channel; where it is answered. Raises NotAcknowledged."""
        key = self.workspace.new_answers(user)
        form = {
            "command": "/lifeboat", "text": text, "user_id": user, "user_name": self.workspace.users.get(user, "stranger"),
            "team_id": team, "team_domain": "lab", "channel_id": channel, "channel_name": "elsewhere", "api_app_id": "A0LAB",
            "is_enterprise_install": "false", "token": "x", "trigger_id": self.workspace.new_trigger(user),
            "response_url": f"{self.page}response/{key}",
        }  # fmt: skip
        self.send(form, kind="slash_commands")
        return self.workspace.answers[key]

    def send(self, payload: dict[str, Any], *, twice: bool = False, kind: str = "interactive") -> None:
        """An interaction to one of the sockets, or by HTTP, and back when it is acknowledged. Raises NotAcknowledged."""
        if self.request_url is not None:
            self._send_by_http(payload if kind == "slash_commands" else {"payload": json.dumps(payload)})
            return
        envelope = secrets.token_hex(12)
        seen = self._acks[envelope] = threading.Event()
        text = json.dumps({"envelope_id": envelope, "type": kind, "accepts_response_payload": True, "payload": payload})
        with self._lock:
            self.sockets = [each for each in self.sockets if each.open]
            chosen = self._random.choice(self.sockets) if self.sockets else None
        if chosen is None:
            raise NotAcknowledged("no app is connected")
        began = time.monotonic()
        try:
            for _ in range(2 if twice else 1):
                chosen.send(text)
        except OSError as error:
            raise NotAcknowledged("the app's connection is gone") from error
        if not seen.wait(ACK_SECONDS):
            raise NotAcknowledged(f"no answer within {ACK_SECONDS:g} s")
        with self._lock:
            self.acknowledged.append(time.monotonic() - began)

    def _send_by_http(self, form: dict[str, Any]) -> None:
        assert self.request_url is not None
        body, stamp = urlencode(form).encode(), str(int(time.time()))
        digest = hmac.new(self.signing_secret, f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
        headers = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": f"v0={digest}",
                   "Content-Type": "application/x-www-form-urlencoded"}  # fmt: skip
        began = time.monotonic()
        try:
            with urlopen(Request(self.request_url, data=body, headers=headers), timeout=ACK_SECONDS):  # noqa: S310
                self.acknowledged.append(time.monotonic() - began)
        except OSError as error:
            raise NotAcknowledged(str(error)) from error

    def refresh(self) -> None:
        """Tell every client to connect anew, as Slack does now and then."""
        for each in list(self.sockets):
            each.send(json.dumps({"type": "disconnect", "reason": "refresh_requested", "debug_info": {"host": "lab"}}))

    def drop_sockets(self) -> None:
        """Without a word, as a network does it."""
        for each in list(self.sockets):
            each.close()
        self.sockets = []

    def serve_socket(self, ticket: str, socket: WebSocket) -> None:
        """One client, until it leaves."""
        self._tickets.discard(ticket)
        hello = {
            "type": "hello", "num_connections": len(self.sockets) + 1, "connection_info": {"app_id": "A0LAB"},
            "debug_info": {"host": "lab", "approximate_connection_time": 18_060},
        }  # fmt: skip
        socket.send(json.dumps(hello))
        with self._lock:
            self.sockets.append(socket)
        while (text := socket.receive()) is not None:
            answer = json.loads(text) if text.startswith("{") else {}
            envelope = answer.get("envelope_id")
            if envelope in self._acks:
                self._answers[envelope] = answer
                self._acks[envelope].set()
        with self._lock:
            if socket in self.sockets:
                self.sockets.remove(socket)

    def knows(self, ticket: str) -> bool:
        return ticket in self._tickets and len(self.sockets) < MOST_SOCKETS and not self.down

    def _new_ticket(self) -> str:
        ticket = secrets.token_hex(8)
        self._tickets.add(ticket)
        return f"ws://127.0.0.1:{self.port}/link/?ticket={ticket}&app_id=A0LAB"

    def _user(self, user: str) -> dict[str, str]:
        name = self.workspace.users.get(user, "stranger")
        return {"id": user, "username": name, "name": name, "team_id": "T0LAB"}


@contextmanager
def slack_stand_in() -> Generator[SlackStandIn]:
    stand_in = SlackStandIn()
    try:
        yield stand_in
    finally:
        stand_in.close()


class _Handler(BaseHTTPRequestHandler):
    slack: SlackStandIn
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/link/":
            self._upgrade(parse_qs(url.query).get("ticket", [""])[0])
        elif url.path.startswith("/api/") and not self.slack.down:
            self._call(url.path.removeprefix("/api/"), url.query.encode())
        elif url.path == "/":
            self._answer(200, PAGE.encode(), "text/html; charset=utf-8")
        elif url.path == "/state":
            self._answer(200, json.dumps(state_of(self.slack.workspace)).encode())
        else:
            self._answer(404, b"{}")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        if self.slack.down:
            self._answer(503, b"Service Unavailable", "text/plain")
        elif url.path.startswith("/api/"):
            self._call(url.path.removeprefix("/api/"), body)
        elif url.path.startswith("/response/"):
            said = self.slack.workspace.answer(url.path.removeprefix("/response/"), json.loads(body or b"{}"))
            self._answer(200 if said == "ok" else 404, said.encode(), "text/plain")
        elif url.path.startswith("/upload/"):
            self._take_file(url.path.removeprefix("/upload/"), body)
        elif url.path in ("/press", "/submit", "/command"):
            self._from_page(url.path, body)
        else:
            self._answer(404, b"{}")

    def _call(self, method: str, body: bytes) -> None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        try:
            kind = self.headers.get("Content-Type") or ""
            as_json = kind.startswith("application/json") and self.command == "POST"
            arguments = arguments_of(kind if as_json else "", body)
            result = {"ok": True} | self.slack.workspace.call(method, token, arguments, as_json=as_json)
        except SlackError as error:
            answer = {"ok": False, "error": error.error, "response_metadata": {"messages": error.details}}
            if error.retry_after is None:
                self._answer(200, json.dumps(answer).encode())
            else:
                self._answer(429, json.dumps(answer).encode(), extra={"Retry-After": str(error.retry_after)})
            return
        self._answer(200, json.dumps(result).encode())

    def _take_file(self, file: str, body: bytes) -> None:
        upload = self.slack.workspace.uploads.get(file)
        if upload is None or len(body) != upload.length:
            self._answer(400, b"bad length", "text/plain")
            return
        upload.content = body
        self._answer(200, f"OK - {len(body)}".encode(), "text/plain")

    def _from_page(self, path: str, body: bytes) -> None:
        """From the browser on this machine; a page of somewhere else can't send JSON here without asking first."""
        if not (self.headers.get("Content-Type") or "").startswith("application/json"):
            self._answer(415, b"{}")
            return
        asked = json.loads(body)
        try:
            if path == "/press":
                self.slack.press(asked["user"], asked["ts"], asked["action"], option=asked.get("option"))
            elif path == "/command":
                self.slack.command(asked["user"], asked["text"])
            else:
                self.slack.submit(asked["view"], asked["values"])
        except (NotAcknowledged, KeyError) as error:
            self._answer(409, json.dumps({"error": str(error)}).encode())
            return
        self._answer(200, b"{}")

    def _upgrade(self, ticket: str) -> None:
        key = self.headers.get("Sec-WebSocket-Key")
        if key is None or not self.slack.knows(ticket):
            self._answer(403, b"{}")
            return
        self.send_response(101, "Switching Protocols")
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept_key(key))
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        self.slack.serve_socket(ticket, WebSocket(self.connection, self.rfile))

    def _answer(
        self, status: int, body: bytes, kind: str = "application/json", extra: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(extra or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""
