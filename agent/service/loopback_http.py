"""An HTTP server on loopback, for as long as a block runs: whoever answers elsewhere stands behind a proxy that speaks TLS."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from models.errors import BadInput

_POLL_SECONDS = 0.05
"""how soon it ends when told to"""


def require_free(port: int, *, setting: str) -> None:
    """Raises BadInput, as `answering` would, when the port is taken."""
    try:
        ThreadingHTTPServer(("127.0.0.1", port), BaseHTTPRequestHandler).server_close()
    except OSError as error:
        raise BadInput(f"{setting} {port} can't be listened on: {error.strerror}", hint="name another") from error


@contextmanager
def answering(handler: type[BaseHTTPRequestHandler], port: int, *, setting: str) -> Generator[int]:
    """The port it listens on. Raises BadInput, naming the `setting`, when it is taken."""
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise BadInput(f"{setting} {port} can't be listened on: {error.strerror}", hint="name another") from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name=setting, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
