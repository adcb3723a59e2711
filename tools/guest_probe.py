"""Ask a guest over the network whether it is there: its `probe` label, `udp://`, `tcp://` or `http(s)://`.

A guest's owner writes that label, so it is asked only inside the networks that policy names, only so long, and whatever goes
wrong is no answer.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from select import select
from urllib.parse import SplitResult, urlsplit

from tools.bounded_call import BoundedCall

Network = IPv4Network | IPv6Network

_STATUS_LINE_BYTES = 4096


def guest_asker(networks: Sequence[Network], *, seconds: float = 1.0) -> Callable[[str], bool | None]:
    """What asks a probe once. It returns within about `seconds` and never raises.

    True: it answered. False: it did not. None: the probe is nothing that can be asked, or leads outside `networks`; a name
    counts by the address it resolves to, and that address is the one asked.
    """

    def ask(probe: str) -> bool | None:
        call = BoundedCall(lambda: _ask(probe, networks, time.monotonic() + seconds), name="guest-probe")
        if not call.wait(seconds):
            return False
        return False if call.error is not None else call.result()

    return ask


def _ask(probe: str, networks: Sequence[Network], deadline: float) -> bool | None:
    """UDP: any datagram back; TCP: a connection; HTTP: any status but a 5xx, redirects not followed."""
    try:
        parts = urlsplit(probe)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    port = port or usual
    if not host or not port or parts.scheme not in ("udp", "tcp", "http", "https"):
        return None
    kind = socket.SOCK_DGRAM if parts.scheme == "udp" else socket.SOCK_STREAM
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=kind)[0]
    except (OSError, UnicodeError):  # a name such as `a..b` is not even a name
        return False
    if not any(ip_address(str(address[0]).partition("%")[0]) in network for network in networks):
        return None
    with socket.socket(family, kind) as sock:
        sock.settimeout(_left(deadline))
        sock.connect(address)
        match parts.scheme:
            case "udp":
                sock.send(b"lifeboat")
                return bool(sock.recv(2048))
            case "tcp":
                return True
            case "http":
                return _http(sock, parts, deadline)
            case _:
                with _unverified_tls().wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False) as tls:
                    _shake_hands(tls, deadline)
                    return _http(tls, parts, deadline)


def _http(sock: socket.socket, parts: SplitResult, deadline: float) -> bool:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = f"GET {path} HTTP/1.0\r\nHost: {parts.hostname}\r\nUser-Agent: lifeboat\r\nConnection: close\r\n\r\n"
    sock.settimeout(_left(deadline))
    sock.sendall(head.encode("ascii", "replace"))
    line = b""
    while b"\n" not in line and len(line) < _STATUS_LINE_BYTES:
        sock.settimeout(_left(deadline))
        received = sock.recv(_STATUS_LINE_BYTES)
        if not received:
            return False
        line += received
    protocol, _, rest = line.partition(b" ")
    return protocol.startswith(b"HTTP/") and rest[:1] in (b"1", b"2", b"3", b"4")


def _shake_hands(tls: ssl.SSLSocket, deadline: float) -> None:
    tls.setblocking(False)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            select([tls], [], [], _left(deadline))
        except ssl.SSLWantWriteError:
            select([], [tls], [], _left(deadline))
        else:
            return


def _unverified_tls() -> ssl.SSLContext:
    """Whether it is there is asked, not who it is."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left
