"""A server whose answers never end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def dripping(at_once: bytes, drip: bytes) -> Generator[str]:
    """A server that says `at_once`, then one byte of `drip` after the other for ever."""
    listening = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(at_once)
            place = 0
            while not done.wait(0.02):
                try:
                    connection.sendall(drip[place % len(drip) :][:1])
                except OSError:
                    return
                place += 1

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        done.set()
        thread.join(5)
        listening.close()
