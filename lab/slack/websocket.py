"""The server's side of a WebSocket (RFC 6455), as much as Socket Mode needs: text, ping, pong and close, unfragmented."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import threading
from io import BufferedIOBase

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, section 1.3"""
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


def accept_key(key: str) -> str:
    """What `Sec-WebSocket-Accept` answers to the client's key."""
    return base64.b64encode(hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()).decode()


class WebSocket:
    """One connection after its handshake. Sending is safe from several threads."""

    def __init__(self, connection: socket.socket, stream: BufferedIOBase) -> None:
        self._connection, self._stream = connection, stream
        self._sending = threading.Lock()
        self.open = True

    def send(self, text: str) -> None:
        """Raises OSError when the other end is gone."""
        self._frame(TEXT, text.encode())

    def receive(self) -> str | None:
        """The next text; pings are answered on the way. None: the other end closed, or is gone."""
        while True:
            try:
                frame = self._read()
                if frame[0] == PING:
                    self._frame(PONG, frame[1])
                    continue
            except (OSError, EOFError):
                frame = None
            if frame is None or frame[0] == CLOSE:
                self.close()
                return None
            if frame[0] == TEXT:
                return frame[1].decode()

    def close(self) -> None:
        """Once; the other end learns of it if it is still there."""
        if not self.open:
            return
        self.open = False
        try:
            self._frame(CLOSE, struct.pack("!H", 1000))
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def _read(self) -> tuple[int, bytes]:
        first, second = self._exactly(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self._exactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._exactly(8))
        mask = self._exactly(4) if second & 0x80 else b"\0\0\0\0"
        payload = self._exactly(length)
        return first & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))

    def _exactly(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) < count:
            raise EOFError
        return data

    def _frame(self, kind: int, payload: bytes) -> None:
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", 0x80 | kind, size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", 0x80 | kind, 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | kind, 127, size)
        with self._sending:
            self._connection.sendall(head + payload)
