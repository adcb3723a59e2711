"""An OpenAI-compatible endpoint on a loopback socket: answers each request with the next step of a script."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Recorded:
    """What some server really sent, byte for byte."""

    status: int
    body: str


Answer = dict[str, Any] | int | tuple[int, str] | bytes | Recorded
"""the assistant's message, or an HTTP status that is no success, with what the server says to it, or a body that breaks off, or
one that was recorded"""
Step = Callable[[dict[str, Any]], Answer]
"""from a request's body"""


def says(text: str) -> Step:
    return lambda _: {"role": "assistant", "content": text}


def calls(*tools: tuple[str, dict[str, Any] | str]) -> Step:
    """Calls of tools; arguments given as text go out as they are, well-formed or not."""

    def step(_: dict[str, Any]) -> dict[str, Any]:
        made = [
            {
                "id": f"call-{n}-{name}",
                "type": "function",
                "function": {"name": name, "arguments": args if isinstance(args, str) else json.dumps(args)},
            }
            for n, (name, args) in enumerate(tools)
        ]
        return {"role": "assistant", "content": None, "tool_calls": made}

    return step


def proposes(*decisions: dict[str, Any], note: str = "") -> Step:
    return calls(("PlanDraft", {"decisions": list(decisions), "note": note}))


class Endpoint:
    """The stub: where it listens and what it was asked."""

    def __init__(self, script: list[Step]) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""
        self._script = script

    def answer(self, body: dict[str, Any]) -> Answer:
        """The script's next step; its last one is repeated for ever."""
        self.requests.append(body)
        return self._script[min(len(self.requests), len(self._script)) - 1](body)


@contextmanager
def serving(*script: Step) -> Iterator[Endpoint]:
    endpoint = Endpoint(list(script))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            endpoint.headers.append({name.lower(): value for name, value in self.headers.items()})
            answer = endpoint.answer(body)
            if isinstance(answer, bytes | Recorded):
                whole = answer.body.encode() if isinstance(answer, Recorded) else answer
                self.send_response(answer.status if isinstance(answer, Recorded) else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(whole) + (0 if isinstance(answer, Recorded) else 100)))
                self.end_headers()
                self.wfile.write(whole)
                self.close_connection = not isinstance(answer, Recorded)
                return
            if isinstance(answer, dict):
                status, message = 200, answer
            else:
                status, message = answer if isinstance(answer, tuple) else (answer, "broken")
            usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            content = {"id": "1", "object": "chat.completion", "created": 0, "model": "stub", "choices": [choice]}
            sent = json.dumps(content | {"usage": usage} if status == 200 else {"error": {"message": message}}).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client gave up, as some tests want it to

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
