"""What QEMUs are asked, and how long they are waited for: a guest whose QEMU hangs must not hide its node.

A call that hangs holds up the others on its libvirt connection: libvirt before 10 now and then misses that another thread
has sent something, and finds its answer only with the next keepalive, two seconds later (seen with 9.0). So each question
has a connection that nobody else uses meanwhile, and one that hangs keeps it until it is over.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from tools.bounded_call import BoundedCall, wait_for_any
from tools.libvirt.idle import Idle

Connection = TypeVar("Connection")
Answer = TypeVar("Answer")

ALTOGETHER_SECONDS = 2.5
"""in one look at a node; less than the patience with the node itself (`agent.observe.observe`)"""
ONE_SECONDS = 0.7
"""for one guest, which answers in milliseconds where QEMU is well; a job may hold it up for half a minute"""
AT_ONCE = 4
"""guests asked at the same time"""


class QemuQuestions(Generic[Connection]):
    """The questions to one node's QEMUs. A guest that owes an answer is not asked again, however many looks later, until
    its call is over. Thread-safe."""

    def __init__(
        self,
        open_connection: Callable[[], Connection],
        close_connection: Callable[[Connection], None],
        usable: Callable[[Connection], bool] = lambda _: True,
        *,
        altogether: float = ALTOGETHER_SECONDS,
        one: float = ONE_SECONDS,
        idle_seconds: float | None = None,
    ) -> None:
        """`idle_seconds`: its connections are closed when nobody has asked for so long; None: kept for the next question."""
        self._open, self._close, self._usable = open_connection, close_connection, usable
        self._altogether, self._one = altogether, one
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._owed: dict[str, BoundedCall[object]] = {}
        """vm → the call that has not ended"""
        self._closed = False
        self._unasked = Idle(idle_seconds, self._take_out, close_connection)

    def ask(self, questions: Mapping[str, Callable[[Connection], Answer]]) -> dict[str, Answer]:
        """Answers by vm (its uuid), within `altogether` seconds. Left out: who does not answer in time, raises an error, or
        still owes the answer to an earlier question."""
        if not questions:
            return {}
        with self._unasked.busy():
            return self._ask_each(questions)

    def _ask_each(self, questions: Mapping[str, Callable[[Connection], Answer]]) -> dict[str, Answer]:
        with self._lock:
            self._owed = {vm: call for vm, call in self._owed.items() if not call.over}
            waiting = deque((vm, question) for vm, question in questions.items() if vm not in self._owed)
        end = time.monotonic() + self._altogether
        answers: dict[str, Answer] = {}
        asked: dict[str, tuple[BoundedCall[Answer], float]] = {}
        while (now := time.monotonic()) < end and (waiting or asked):
            while waiting and len(asked) < AT_ONCE:
                vm, question = waiting.popleft()
                asked[vm] = BoundedCall(lambda q=question: self._ask(q), name=f"qemu-{vm}"), now + self._one
            next_late = min(late for _, late in asked.values())
            wait_for_any([call for call, _ in asked.values()], min(next_late, end) - time.monotonic())
            for vm, (call, late) in list(asked.items()):
                if call.over:
                    del asked[vm]
                    if call.error is None:
                        answers[vm] = call.result()
                elif time.monotonic() >= late:
                    del asked[vm]
                    self._remember(vm, call)
        for vm, (call, _) in asked.items():
            self._remember(vm, call)
        return answers

    def _remember(self, vm: str, call: BoundedCall[Answer]) -> None:
        with self._lock:
            self._owed[vm] = call  # type: ignore[assignment] — only whether it is over matters

    def _ask(self, question: Callable[[Connection], Answer]) -> Answer:
        """In a thread of its own. What raised may have lost its connection: it is not used again."""
        connection = self._take()
        try:
            answer = question(connection)
        except BaseException:
            self._close(connection)
            raise
        with self._lock:
            keep = not self._closed and len(self._idle) < AT_ONCE
            if keep:
                self._idle.append(connection)
        if not keep:
            self._close(connection)
        return answer

    def _take(self) -> Connection:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._open()
            if self._usable(connection):
                return connection
            self._close(connection)

    def close(self) -> None:
        """Close what is idle. What is still owed closes its connection itself when it ends."""
        self._unasked.stop()
        with self._lock:
            self._closed = True
        for connection in self._take_out():
            self._close(connection)

    def _take_out(self) -> list[Connection]:
        with self._lock:
            idle, self._idle = self._idle, []
        return idle
