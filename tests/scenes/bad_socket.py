"""A Unix socket before a libvirtd's, on whose way the answers get lost: byte by byte, in the middle, or altogether."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path

_HEADER = 28
"""bytes before a message's content: its length and six more numbers (libvirt's docs/kbase/internals/rpc)"""
_KEEPALIVE = (0x6B656570).to_bytes(4)
"""the program that keepalive messages are for"""


class Trouble(StrEnum):
    """What becomes of what libvirtd answers."""

    NONE = "none"
    DRIPS = "it sends a byte a second"
    STOPS = "it stops in the middle of an answer"
    SILENT = "it accepts and says nothing"
    STUCK = "it lives, and answers no question"
    """what keeps a connection alive is answered, as by a daemon whose workers all wait for storage"""


class BadSocket:
    """Relays a libvirtd's socket at `path`; `trouble` may be set at any time, and holds for connections made before too."""

    def __init__(self, path: Path, behind: Path) -> None:
        self.path, self._behind = path, behind
        self.trouble = Trouble.NONE
        self.stuck_after_bytes: int | None = None
        """each connection is STUCK once so much was answered on it; None: as `trouble` says"""
        self.accepted = 0
        self._over = threading.Event()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(64)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def open_now(self) -> int:
        """Connections that lifeboat has not closed."""
        return sum(thread.is_alive() for thread in self._threads[1:])

    def close(self) -> None:
        self._over.set()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                here, _ = self._server.accept()
            except OSError:
                return
            self.accepted += 1
            thread = threading.Thread(target=self._relay, args=(here,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _relay(self, here: socket.socket) -> None:
        with here, socket.socket(socket.AF_UNIX) as there, suppress(OSError):
            there.connect(str(self._behind))
            sent, after_trouble = bytearray(), 0  # sent: by libvirtd, and not passed on yet
            answered = 0
            while not self._over.is_set():
                readable, _, _ = select.select([here, there], [], [], 0.05)
                if here in readable:
                    if not (asked := here.recv(65536)):
                        return
                    there.sendall(asked)
                if there in readable:
                    if not (answer := there.recv(65536)):
                        return
                    sent += answer
                match self.trouble:
                    case Trouble.NONE if self.stuck_after_bytes is not None:
                        for message in _messages(sent):
                            if answered < self.stuck_after_bytes or message[4:8] == _KEEPALIVE:
                                here.sendall(message)
                            answered += len(message)
                    case Trouble.NONE:
                        here.sendall(sent)
                        sent.clear()
                    case Trouble.DRIPS if sent:
                        here.sendall(sent[:1])
                        del sent[:1]
                        time.sleep(1)
                    case Trouble.STOPS if after_trouble < 10:
                        here.sendall(sent[: 10 - after_trouble])
                        after_trouble += len(sent[: 10 - after_trouble])
                    case Trouble.STUCK:
                        for message in _messages(sent):
                            if message[4:8] == _KEEPALIVE:
                                here.sendall(message)
                    case _:
                        pass


def _messages(sent: bytearray) -> Iterator[bytes]:
    """Those that are whole, taken out of it."""
    while len(sent) >= _HEADER and len(sent) >= (length := int.from_bytes(sent[:4])):
        message = bytes(sent[:length])
        del sent[:length]
        yield message


@contextmanager
def bad_socket(path: Path, behind: Path) -> Generator[BadSocket]:
    """For as long as the block runs."""
    relay = BadSocket(path, behind)
    try:
        yield relay
    finally:
        relay.close()
