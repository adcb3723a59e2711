"""The sockets below libvirt connections: libvirt can't give up a call, but ends one whose socket is shut.

libvirt does not tell which socket is whose. So connections to one far end are opened one after the other, and what is new among
this process's sockets to it afterwards belongs to the one that was opened.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

PORTS = {"qemu+tls": 16514, "qemu+tcp": 16509}
_LOCAL_SOCKETS = ("-sock", "-sock-ro")
"""how the names of libvirt's own sockets end"""

_opening: defaultdict[tuple[str, ...], threading.Lock] = defaultdict(threading.Lock)
_opening_lock = threading.Lock()


@dataclass(frozen=True)
class FarEnd:
    """Where the connections of one URI lead. Over ssh the socket is another process's, and none is found."""

    uri: str

    @property
    def opening(self) -> threading.Lock:
        """To be held while a connection is opened."""
        parts = urlsplit(self.uri)
        key = (parts.scheme, parts.hostname or "", str(parts.port), *parse_qs(parts.query).get("socket", ()))
        with _opening_lock:
            return _opening[key]

    def sockets(self) -> Sockets:
        """This process's sockets that lead there now."""
        leads_there, found = self._peers(), dict[int, socket.socket]()
        for inode, copy, peer in _own_sockets():
            if inode not in found and leads_there(peer):  # several descriptors of one socket are one
                found[inode] = copy
            else:
                copy.close()
        return Sockets(found)

    def _peers(self) -> Callable[[object], bool]:
        """Whether a socket's peer is this far end."""
        parts = urlsplit(self.uri)
        if parts.scheme in PORTS:
            there = _addresses(parts.hostname or "", parts.port or PORTS[parts.scheme])
            return lambda peer: isinstance(peer, tuple) and peer[:2] in there
        if parts.scheme in ("qemu", "qemu+unix"):
            named = parse_qs(parts.query).get("socket", ())
            return lambda peer: isinstance(peer, str) and (peer in named if named else peer.endswith(_LOCAL_SOCKETS))
        return lambda _: False


@dataclass(frozen=True)
class Sockets:
    """Some of this process's sockets, each held by a descriptor of its own."""

    by_inode: dict[int, socket.socket] = field(default_factory=dict[int, socket.socket])

    def without(self, others: Sockets) -> Sockets:
        """Those that are not among the others; the rest is let go of."""
        for inode in others.by_inode.keys() & self.by_inode.keys():
            self.by_inode.pop(inode).close()
        return self

    def shut(self) -> None:
        """Whoever waits for something from them is told that nothing more comes."""
        for each in self.by_inode.values():
            with suppress(OSError):  # not connected any more
                each.shutdown(socket.SHUT_RDWR)

    def let_go(self) -> None:
        """Close our descriptors of them, which are not libvirt's."""
        for each in self.by_inode.values():
            each.close()
        self.by_inode.clear()


def _addresses(host: str, port: int) -> set[tuple[object, ...]]:
    with suppress(OSError):
        return {found[4][:2] for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    return set()


def _own_sockets() -> Iterator[tuple[int, socket.socket, object]]:
    """(inode, a descriptor of ours, whom it leads to) of every connected socket of this process."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError, ValueError):  # closed meanwhile, or connected to nobody
            descriptor = int(name)
            found = os.fstat(descriptor)
            if not stat.S_ISSOCK(found.st_mode):
                continue
            copy = socket.socket(fileno=os.dup(descriptor))
            try:
                peer = copy.getpeername()
            except OSError:
                copy.close()
                raise
            yield found.st_ino, copy, peer
