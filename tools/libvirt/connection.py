"""One node's libvirt connections: opened in bounded time, kept alive, opened anew when lost, and never hanging.

libvirt's calls block without a limit of their own: `open` for as long as the kernel tries to connect, others for as
long as the far end keeps the connection. Two things bound them here: keepalive breaks a connection whose far end is
gone, and each call is a `BoundedCall`. One given up on may still take effect later; callers observe, as they have to
anyway.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import libvirt

from models.errors import BadInput, NodeCannotTell, NodeUnreachable
from tools.bounded_call import BoundedCall
from tools.libvirt.idle import Idle

Answer = TypeVar("Answer")

_SCHEMES = ("qemu", "qemu+tls", "qemu+ssh", "qemu+unix", "qemu+tcp", "qemu+libssh", "qemu+libssh2")
_PORTS = {"qemu+tls": 16514, "qemu+tcp": 16509}
_KEEPALIVE_SECONDS = 2
_KEEPALIVE_COUNT = 3
"""a connection without any sign of life for 2 s × (3 + 1) is broken"""

_event_loop_lock = threading.Lock()
_event_loop: threading.Thread | None = None


def host_of(uri: str) -> str:
    """The host part of a libvirt URI, empty for a local one."""
    return urlsplit(uri).hostname or ""


def port_of(uri: str) -> int:
    """The TCP port a `qemu+tls` (or `qemu+tcp`) URI leads to."""
    parts = urlsplit(uri)
    return parts.port or _PORTS.get(parts.scheme, _PORTS["qemu+tls"])


def pki_directory(uri: str) -> Path | None:
    """Where the client certificate for this URI lies, when the URI says so."""
    paths = parse_qs(urlsplit(uri).query).get("pkipath")
    return Path(paths[0]) if paths else None


def closed_port(uri: str, *, seconds: float) -> str | None:
    """None when the port a `qemu+tls` or `qemu+tcp` URI leads to accepts a connection; else which, and why not."""
    if urlsplit(uri).scheme not in _PORTS or not host_of(uri):
        return None
    try:
        socket.create_connection((host_of(uri), port_of(uri)), timeout=seconds).close()
    except OSError as error:
        return f"{host_of(uri)}:{port_of(uri)}: {error.strerror or error}"
    return None


def one_line(error: libvirt.libvirtError) -> str:
    """libvirt's message, on one line."""
    return " ".join(str(error).split())


def _quiet(_context: object, _error: object) -> None:
    """libvirt prints errors to stderr unless told; ours travel as exceptions."""


def _turn_event_loop() -> None:
    while True:
        with suppress(libvirt.libvirtError):
            libvirt.virEventRunDefaultImpl()


def _start_event_loop() -> None:
    global _event_loop  # noqa: PLW0603 — libvirt has one event loop per process
    with _event_loop_lock:
        if _event_loop is None:
            libvirt.registerErrorHandler(_quiet, None)
            libvirt.virEventRegisterDefaultImpl()
            _event_loop = threading.Thread(target=_turn_event_loop, name="libvirt-events", daemon=True)
            _event_loop.start()


class LibvirtConnection:
    """The way to one node's libvirt.

    `connect_seconds` bounds opening, `answer_seconds` any one call. `read_only`: libvirt refuses everything on it that changes
    something, or shows secrets. `idle_seconds`: closed when nobody has called for so long, and opened again for the next call;
    None: kept. Thread-safe. Raises BadInput for a URI that can't be one, or names certificates that are not there.
    """

    def __init__(
        self,
        node: str,
        uri: str,
        *,
        read_only: bool = False,
        connect_seconds: float = 5.0,
        answer_seconds: float = 15.0,
        idle_seconds: float | None = None,
    ) -> None:
        self.node = node
        self._read_only = read_only
        self.uri = _checked_uri(node, uri)
        self.connect_seconds = connect_seconds
        self.answer_seconds = answer_seconds
        self._lock = threading.Lock()
        self._shared: libvirt.virConnect | None = None
        self._opening: BoundedCall[libvirt.virConnect | None] | None = None
        self.idle_seconds = idle_seconds
        self._idle = Idle(idle_seconds, self._take_out, close_quietly)

    def call(
        self, what: str, function: Callable[[libvirt.virConnect], Answer], *, seconds: float | None = None
    ) -> Answer:
        """`function` applied to the node's connection. `what` says in messages what was asked.

        Raises NodeUnreachable when the node does not answer in time or the connection breaks meanwhile; libvirtError,
        and whatever `function` raises, pass through.
        """
        with self._idle.busy():
            return self._call(what, function, seconds)

    def _call(self, what: str, function: Callable[[libvirt.virConnect], Answer], seconds: float | None) -> Answer:
        connection = self._connected()
        limit = self.answer_seconds if seconds is None else seconds
        call = BoundedCall(lambda: function(connection), name=f"libvirt-{self.node}")
        if not call.wait(limit):
            self._drop(connection)
            raise self.unreachable(f"gave no answer to {what} within {limit:g} s")
        try:
            return call.result()
        except libvirt.libvirtError as error:
            if alive(connection):
                raise
            self._drop(connection)
            raise self.unreachable(f"{what}: {one_line(error)}") from error

    @contextmanager
    def dedicated(self) -> Generator[libvirt.virConnect]:
        """A connection of its own, for calls that take long: a node serves few requests per connection at once."""
        connection = self.open_another()
        try:
            yield connection
        finally:
            close_quietly(connection)

    def open_another(self) -> libvirt.virConnect:
        """A connection besides the shared one, which the caller closes. Raises NodeUnreachable."""
        return self._open()

    def unreachable(self, why: str) -> NodeUnreachable:
        return NodeUnreachable(
            f"node {self.node} ({_without_query(self.uri)}): {why}",
            hint="its vms may still be running; check the node, its libvirtd and the network",
        )

    def cannot_tell(self, what: str, error: libvirt.libvirtError) -> NodeCannotTell:
        """It answers, with an error: the connection is not what is wrong."""
        return NodeCannotTell(
            f"node {self.node}: libvirt there answers the question for {what} with an error: {one_line(error)}",
            hint="look at the log of its libvirtd; its vms may well be running",
        )

    def close(self) -> None:
        self._idle.stop()
        for connection in self._take_out():
            close_quietly(connection)

    def _take_out(self) -> list[libvirt.virConnect]:
        with self._lock:
            connection, self._shared = self._shared, None
        return [connection] if connection is not None else []

    def _connected(self) -> libvirt.virConnect:
        with self._lock:
            if self._shared is not None and alive(self._shared):
                return self._shared
            self._shared = None
        opened = self._open()
        with self._lock:
            if self._shared is None:
                self._shared = opened
                return opened
            shared = self._shared
        close_quietly(opened)
        return shared

    def _drop(self, connection: libvirt.virConnect) -> None:
        with self._lock:
            if self._shared is connection:
                self._shared = None
        # Closing may block as long as the call does.
        BoundedCall(lambda: close_quietly(connection), name=f"libvirt-close-{self.node}")

    def _open(self) -> libvirt.virConnect:
        _start_event_loop()
        with self._lock:
            stuck = self._opening
        if stuck is not None and not stuck.over:  # don't pile up threads on a node that hangs
            raise self.unreachable("an earlier attempt to connect still hangs")
        self._check_port()
        given_up = threading.Event()

        def connect() -> libvirt.virConnect | None:
            connection = libvirt.openReadOnly(self.uri) if self._read_only else libvirt.open(self.uri)
            if given_up.is_set():
                close_quietly(connection)
                return None
            return connection

        call = BoundedCall(connect, name=f"libvirt-open-{self.node}")
        if not call.wait(self.connect_seconds):
            given_up.set()
            with self._lock:
                self._opening = call
            raise self.unreachable(f"no connection within {self.connect_seconds:g} s")
        try:
            connection = call.result()
        except libvirt.libvirtError as error:
            raise self.unreachable(one_line(error)) from error
        if connection is None:
            raise self.unreachable(f"no connection within {self.connect_seconds:g} s")
        with suppress(libvirt.libvirtError):  # a local driver has nothing to keep alive
            connection.setKeepAlive(_KEEPALIVE_SECONDS, _KEEPALIVE_COUNT)
        return connection

    def _check_port(self) -> None:
        """A plain TCP connection first: it fails fast and in words where libvirt would wait for the kernel."""
        parts = urlsplit(self.uri)
        if parts.scheme not in _PORTS or not parts.hostname:
            return
        try:
            socket.create_connection((parts.hostname, port_of(self.uri)), timeout=self.connect_seconds).close()
        except OSError as error:
            raise self.unreachable(error.strerror or str(error)) from error


def alive(connection: libvirt.virConnect) -> bool:
    """Whether the connection itself still stands; says nothing about what was asked over it."""
    try:
        return connection.isAlive() == 1
    except libvirt.libvirtError:
        return False


def close_quietly(connection: libvirt.virConnect) -> None:
    """Close it; one that is broken already is no error."""
    with suppress(libvirt.libvirtError):
        connection.close()


def _without_query(uri: str) -> str:
    return uri.partition("?")[0]


def _checked_uri(node: str, uri: str) -> str:
    parts = urlsplit(uri)
    if parts.scheme not in _SCHEMES or not re.fullmatch(r"/(system|session)?", parts.path):
        raise BadInput(
            f"node {node}: libvirt_uri {uri!r} is not a QEMU connection",
            hint="write it like qemu+tls://node-a/system or qemu+ssh://root@node-a/system",
        )
    directory = pki_directory(uri)
    if directory is not None:
        for file in ("cacert.pem", "clientcert.pem", "clientkey.pem"):
            if not os.access(directory / file, os.R_OK):
                raise BadInput(
                    f"node {node}: libvirt_uri names pkipath {directory}, and {file} can't be read there",
                    hint="put the CA and client certificates there, or correct the path",
                )
    if parts.scheme == "qemu+ssh":  # ssh must never stop to ask: nobody is there to answer
        query = parse_qs(parts.query)
        query.setdefault("no_tty", ["1"])
        return urlunsplit(parts._replace(query=urlencode(query, doseq=True)))
    return uri
