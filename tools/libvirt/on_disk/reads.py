"""Reads of images that go on beside whoever asked for them: ended when given up on, and never piling up on a node that hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable

import libvirt

from tools.bounded_call import BoundedCall
from tools.libvirt.connection import LibvirtConnection

ENDS_WITHIN_SECONDS = 1.0
"""what libvirt may take to see that its socket was shut"""


class Read:
    """One, in a thread of its own, over a connection of its own."""

    def __init__(self, node: LibvirtConnection, read: Callable[[libvirt.virConnect], None], *, name: str) -> None:
        self._node = node
        self._line = None
        self._lock = threading.Lock()
        self._given_up = False
        self.call = BoundedCall(lambda: self._run(read), name=name)

    def _run(self, read: Callable[[libvirt.virConnect], None]) -> None:
        line = self._node.line_of_its_own()
        with self._lock:
            self._line, given_up = line, self._given_up
        try:
            if not given_up:
                line.ask(read)
        finally:
            line.close()

    def give_up(self) -> None:
        """End it: nobody waits for what it reads. Over ssh there is no socket to shut, and it may hang on."""
        with self._lock:
            self._given_up, line = True, self._line
        if line is not None and not self.call.over:
            line.give_up()


class Reads:
    """Those of one node."""

    def __init__(self, node: LibvirtConnection) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._given_up: list[Read] = []

    def begin(self, read: Callable[[libvirt.virConnect], None], *, name: str) -> Read:
        """Raises NodeUnreachable while an earlier one, that was given up, has not ended."""
        self._require_none_hanging()
        return Read(self._node, read, name=name)

    def leave(self, read: Read) -> None:
        """Nobody waits for it any more: it ends by itself, or is ended before the next one begins."""
        if not read.call.over:
            with self._lock:
                self._given_up.append(read)

    def _require_none_hanging(self) -> None:
        with self._lock:
            self._given_up = left = [read for read in self._given_up if not read.call.over]
        for read in left:
            read.give_up()
        if not all(read.call.wait(ENDS_WITHIN_SECONDS) for read in left):
            raise self._node.unreachable("an earlier read of a disk still hangs: no other is begun until it has ended")
