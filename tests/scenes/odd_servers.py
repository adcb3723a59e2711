"""Servers that a base_url may lead to by mistake, or that have a bad day: each sends the same to all, on a real socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What it sends."""

    body: str
    status: int = 200
    kind: str = "application/json"
    endless: bool = False
    """the body comes again and again, until nobody listens any more"""


def refusal(status: int, message: str, *, code: str = "", kind: str = "") -> Reply:
    """An error as OpenAI's API words it."""
    return Reply(status=status, body=json.dumps({"error": {"message": message, "type": kind, "code": code}}))


@dataclass
class Odd:
    url: str = ""
    asked: list[str] = field(default_factory=list[str])
    """the bodies of the requests"""
    gone: threading.Event = field(default_factory=threading.Event)


@contextmanager
def answering(reply: Reply) -> Generator[Odd]:
    """The server, on 127.0.0.1."""
    odd = Odd()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            odd.asked.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.kind)
            if not reply.endless:
                self.send_header("Content-Length", str(len(reply.body.encode())))
            self.end_headers()
            try:
                self.wfile.write(reply.body.encode())
                while reply.endless and not odd.gone.wait(0.02):
                    self.wfile.write(reply.body.encode())
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client gave up, as it should

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    odd.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield odd
    finally:
        odd.gone.set()
        server.shutdown()
        server.server_close()
        thread.join()
