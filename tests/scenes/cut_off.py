"""The network between one lifeboat and its database: a process that passes bytes on, and can be cut or fall silent."""

from __future__ import annotations

import os
import random
import selectors
import signal
import socket
from contextlib import suppress


class Wire:
    """Passes on what comes to `port` of loopback."""

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._listener = _listen()
        self.port: int = self._listener.getsockname()[1]
        self._pid: int | None = None
        self.mend()

    def cut(self) -> None:
        """Every connection is reset, and new ones are refused."""
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = None
            self._listener.close()

    def fall_silent(self) -> None:
        """Connections stay open, new ones are taken, and nothing comes through."""
        if self._pid is not None:
            os.kill(self._pid, signal.SIGSTOP)

    def mend(self) -> None:
        if self._pid is not None:
            os.kill(self._pid, signal.SIGCONT)
            return
        if self._listener.fileno() < 0:
            self._listener = socket.create_server(("127.0.0.1", self.port))
        self._pid = os.fork()
        if self._pid == 0:
            own = self._listener.fileno()  # of all that was inherited: whoever holds a socket keeps it open
            os.closerange(3, own)
            os.closerange(own + 1, 1024)
            with suppress(BaseException):
                _pass_on(self._listener, self._target)
            os._exit(0)

    def close(self) -> None:
        self.cut()
        self._listener.close()


def _listen() -> socket.socket:
    """Below the ports that clients are given: a client that calls a port nobody listens at may be given that very port, and
    then hold it, in talk with itself."""
    while True:
        with suppress(OSError):
            return socket.create_server(("127.0.0.1", random.randrange(20_000, 32_000)))


def _pass_on(listener: socket.socket, target_port: int) -> None:
    ready = selectors.DefaultSelector()
    ready.register(listener, selectors.EVENT_READ)
    other: dict[socket.socket, socket.socket] = {}
    while True:
        for key, _ in ready.select():
            end = key.fileobj
            assert isinstance(end, socket.socket)
            if end is listener:
                near, _ = listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", target_port))
                except OSError:
                    near.close()
                    continue
                other[near], other[far] = far, near
                for each in (near, far):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    ready.register(each, selectors.EVENT_READ)
                continue
            if end not in other:
                continue
            data = b""
            with suppress(OSError):
                data = end.recv(1 << 16)
                if data:
                    other[end].sendall(data)
            if not data:
                for each in (end, other[end]):
                    ready.unregister(each)
                    each.close()
                    other.pop(each)
