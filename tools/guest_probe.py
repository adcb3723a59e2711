"""Ask a guest over the network whether it is there: its `probe` label, `udp://`, `tcp://` or `http(s)://`."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from urllib.parse import urlsplit


def guest_answers(probe: str, *, seconds: float = 1.0) -> bool | None:
    """Whether it answered within that time; None when `probe` is nothing that can be asked.

    UDP: any datagram back; TCP: a connection; HTTP: any answer but a 5xx.
    """
    parts = urlsplit(probe)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host:
        return None
    try:
        match parts.scheme:
            case "udp" if port:
                return _udp(host, port, seconds)
            case "tcp" if port:
                socket.create_connection((host, port), timeout=seconds).close()
                return True
            case "http" | "https":
                with urllib.request.urlopen(probe, timeout=seconds):  # noqa: S310 — http and https only
                    return True
            case _:
                return None
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False


def _udp(host: str, port: int, seconds: float) -> bool:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][0]
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(seconds)
        sock.connect((host, port))
        sock.send(b"lifeboat")
        return bool(sock.recv(2048))
