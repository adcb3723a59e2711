"""One node's libvirt connections: opened in bounded time, kept alive, opened anew when lost, and never hanging.

libvirt's calls block without a limit of their own: `open` for as long as the kernel tries to connect, others for as
long as the far end keeps the connection. Keepalive breaks a connection whose far end is gone; each call is a `BoundedCall`, and
one that is given up on is ended by shutting its socket. It may still take effect later; callers observe, as they have to anyway.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import TypeVar
from urllib.parse import urlsplit

import libvirt

from models.errors import NodeCannotTell, NodeUnreachable
from tools.bounded_call import BoundedCall
from tools.libvirt.far_end import PORTS, FarEnd, Sockets
from tools.libvirt.given_up import GivenUp
from tools.libvirt.idle import Idle
from tools.libvirt.uri import usable_uri

Answer = TypeVar("Answer")

_KEEPALIVE_SECONDS = 2
_KEEPALIVE_COUNT = 3
"""a connection without any sign of life for 2 s × (3 + 1) is broken"""
_MOST_IDLE = 4
"""connections kept for the next questions"""
_ENDS_WITHIN_SECONDS = 1.0
"""what libvirt may take to see that its socket was shut"""
_RETRY_SECONDS = 30.0
_MOST_HANGING = 6
"""attempts to connect that can't be ended, as over ssh: the sixth comes a quarter of an hour after the first"""

_event_loop_lock = threading.Lock()
_event_loop: threading.Thread | None = None


def host_of(uri: str) -> str:
    """The host part of a libvirt URI, empty for a local one."""
    return urlsplit(uri).hostname or ""


def port_of(uri: str) -> int:
    """The TCP port a `qemu+tls` (or `qemu+tcp`) URI leads to."""
    parts = urlsplit(uri)
    return parts.port or PORTS.get(parts.scheme, PORTS["qemu+tls"])


def closed_port(uri: str, *, seconds: float) -> str | None:
    """None when the port a `qemu+tls` or `qemu+tcp` URI leads to accepts a connection; else which, and why not."""
    if urlsplit(uri).scheme not in PORTS or not host_of(uri):
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


class Line:
    """One connection, for one question at a time, with the socket below it.

    libvirt does not survive (a crash, or a thread that waits for ever) that a connection breaks, or is closed, under several
    questions at once.
    """

    def __init__(self, connection: libvirt.virConnect, sockets: Sockets) -> None:
        self.connection, self._sockets = connection, sockets
        self._lock = threading.Lock()
        self._asking = self._given_up = self._closed = False

    def ask(self, function: Callable[[libvirt.virConnect], Answer]) -> Answer:
        """In the thread that waits for the answer. Closes the connection if that was given up meanwhile."""
        self._asking = True
        try:
            return function(self.connection)
        finally:
            with self._lock:
                self._asking, close = False, self._given_up
            if close:
                self.close()

    def give_up(self) -> None:
        """End the question that is asked on it, if one is."""
        with self._lock:
            self._given_up, asking = True, self._asking
            if asking:
                self._sockets.shut()
        if not asking:
            self.close()

    def close(self, *, seconds: float = 2.0) -> None:
        """Nobody asks on it any more. libvirt takes leave of the far end first, which may hang as anything else."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        call = BoundedCall(lambda: close_quietly(self.connection), name="libvirt-close")
        if not call.wait(seconds):
            self._sockets.shut()
            call.wait(seconds)
        self._sockets.let_go()


class LibvirtConnection:
    """The way to one node's libvirt: as many connections as there are questions at once.

    `connect_seconds` bounds opening, `answer_seconds` any one call. `read_only`: libvirt refuses everything on it that changes
    something, or shows secrets. `idle_seconds`: closed when nobody has called for so long, and opened again for the next call;
    None: kept. `tally` counts what is given up. Thread-safe. Raises BadInput for a URI that can't be one, or names certificates
    that are not there.
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
        tally: GivenUp | None = None,
    ) -> None:
        self.node = node
        self._tally = tally or GivenUp()
        self._read_only = read_only
        self.uri = usable_uri(node, uri)
        self.connect_seconds = connect_seconds
        self.answer_seconds = answer_seconds
        self._far_end = FarEnd(self.uri)
        self._lock = threading.Lock()
        self._lines: list[Line] = []
        """those that nobody asks on"""
        self._closed = False
        self._hanging: list[BoundedCall[libvirt.virConnect | None]] = []
        """attempts to connect that could not be ended"""
        self._hung_at = 0.0
        self.idle_seconds = idle_seconds
        self._idle = Idle(idle_seconds, self._take_out, Line.close)

    def call(
        self, what: str, function: Callable[[libvirt.virConnect], Answer], *, seconds: float | None = None
    ) -> Answer:
        """`function` applied to a connection to the node, which must not outlive it. `what` says in messages what was asked.

        Raises NodeUnreachable when the node does not answer in time or the connection breaks meanwhile; libvirtError,
        and whatever `function` raises, pass through. A question that is not answered in time is ended; what it asked for may
        still happen.
        """
        with self._idle.busy():
            return self._call(what, function, seconds)

    def _call(self, what: str, function: Callable[[libvirt.virConnect], Answer], seconds: float | None) -> Answer:
        line = self._line()
        limit = self.answer_seconds if seconds is None else seconds
        call = BoundedCall(lambda: line.ask(function), name=f"libvirt-{self.node}")
        if not call.wait(limit):
            line.give_up()
            self.given_up()
            raise self.unreachable(f"gave no answer to {what} within {limit:g} s")
        try:
            answer = call.result()
        except libvirt.libvirtError as error:
            if self._put_back(line):
                raise
            raise self.unreachable(f"{what}: {one_line(error)}") from error
        except BaseException:
            self._put_back(line)
            raise
        self._put_back(line)
        return answer

    @contextmanager
    def dedicated(self) -> Generator[libvirt.virConnect]:
        """A connection of its own, for calls that take long: a node serves few requests per connection at once."""
        line = self.line_of_its_own()
        try:
            yield line.connection
        finally:
            line.close()

    def line_of_its_own(self) -> Line:
        """As `dedicated`, for who may give up what is asked on it, and closes it. Raises NodeUnreachable."""
        return Line(*self._open())

    def open_another(self) -> libvirt.virConnect:
        """A connection besides the shared one, which the caller closes. Raises NodeUnreachable."""
        connection, sockets = self._open()
        sockets.let_go()
        return connection

    def given_up(self) -> None:
        """Count one more question that got no answer in time."""
        self._tally.note(self.node)

    def unreachable(self, why: str) -> NodeUnreachable:
        return NodeUnreachable(
            f"node {self.node} ({_without_query(self.uri)}): {why}",
            hint="its vms may still be running; check the node, its libvirtd and the network",
            node=self.node,
        )

    def cannot_tell(self, what: str, error: libvirt.libvirtError) -> NodeCannotTell:
        """It answers, with an error: the connection is not what is wrong."""
        return NodeCannotTell(
            f"node {self.node}: libvirt there answers the question for {what} with an error: {one_line(error)}",
            hint="look at the log of its libvirtd; its vms may well be running",
            node=self.node,
        )

    def close(self) -> None:
        self._idle.stop()
        with self._lock:
            self._closed = True
        for line in self._take_out():
            line.close()

    def _take_out(self) -> list[Line]:
        with self._lock:
            lines, self._lines = self._lines, []
        return lines

    def _line(self) -> Line:
        """One that nobody asks on, to be put back or given up."""
        while True:
            with self._lock:
                line = self._lines.pop() if self._lines else None
            if line is None:
                return self.line_of_its_own()
            if alive(line.connection):
                return line
            line.close()

    def _put_back(self, line: Line) -> bool:
        """Whether its connection still stands."""
        if stands := alive(line.connection):
            with self._lock:
                if not self._closed and len(self._lines) < _MOST_IDLE:
                    self._lines.append(line)
                    return True
        line.close()
        return stands

    def _open(self) -> tuple[libvirt.virConnect, Sockets]:
        _start_event_loop()
        self._require_no_hanging_attempts()
        self._check_port()
        if not self._far_end.opening.acquire(timeout=self.connect_seconds):
            raise self.unreachable("other attempts to connect have not ended")
        given_up = threading.Event()

        def connect() -> libvirt.virConnect | None:
            connection = libvirt.openReadOnly(self.uri) if self._read_only else libvirt.open(self.uri)
            if given_up.is_set():
                close_quietly(connection)
                return None
            return connection

        try:
            before = self._far_end.sockets()
            call = BoundedCall(connect, name=f"libvirt-open-{self.node}")
            opened = call.wait(self.connect_seconds)
            sockets = self._far_end.sockets().without(before)
            before.let_go()
        finally:
            self._far_end.opening.release()
        if not opened:
            given_up.set()
            sockets.shut()
            if not call.wait(_ENDS_WITHIN_SECONDS):
                with self._lock:
                    self._hanging.append(call)
                    self._hung_at = time.monotonic()
            sockets.let_go()
            self.given_up()
            raise self.unreachable(f"no connection within {self.connect_seconds:g} s")
        try:
            connection = call.result()
        except libvirt.libvirtError as error:
            sockets.let_go()
            raise self.unreachable(one_line(error)) from error
        assert connection is not None  # nobody had given up on it
        with suppress(libvirt.libvirtError):  # a local driver has nothing to keep alive
            connection.setKeepAlive(_KEEPALIVE_SECONDS, _KEEPALIVE_COUNT)
        return connection, sockets

    def _require_no_hanging_attempts(self) -> None:
        """Attempts that could not be ended must not pile up on a node that hangs: each next one waits twice as long."""
        with self._lock:
            self._hanging = [call for call in self._hanging if not call.over]
            hanging, since = len(self._hanging), time.monotonic() - self._hung_at
        if hanging and (hanging >= _MOST_HANGING or since < _RETRY_SECONDS * 2 ** (hanging - 1)):
            raise self.unreachable("an earlier attempt to connect still hangs")

    def _check_port(self) -> None:
        """A plain TCP connection first: it fails fast and in words where libvirt would wait for the kernel."""
        parts = urlsplit(self.uri)
        if parts.scheme not in PORTS or not parts.hostname:
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
