"""One lifeboat process under observation: it can be stopped dead between any two things it does.

A stop is an exception that no `except Exception` catches. From then on everything the process touches (journal, nodes,
store, clock) raises it too, in every one of its threads: nothing of lifeboat runs after a SIGKILL. What libvirt had begun
goes on without it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.actions.progress import Progress
from agent.actions.resources import Resources
from agent.execute.evacuation import Watcher
from tools.clock import VirtualClock
from tools.journal.sqlite import SqliteJournal
from tools.ports.archives import ArchiveStore
from tools.ports.clock import Clock
from tools.ports.hypervisor import Hypervisor
from tools.ports.journal import Record
from tools.ports.records.attempts import AttemptEnded, AttemptIntended
from tools.ports.records.evacuations import CancelRequested


class Stopped(BaseException):
    """Stands for SIGKILL."""


_LOOKS = frozenset({"node", "vms", "observe", "uuid_of", "free_memory_bytes", "free_disk_bytes", "disk_exists", "domain_xml",
    "running_xml", "host_cpu", "cpu_compatible", "machine_compatible", "tls_fingerprint", "job", "completed_job", "close",
    "max_downtime", "name"})  # fmt: skip


_WAITS = frozenset({"wait", "_wait_for_tstate_lock", "_worker"})
"""functions of the standard library in which a thread is that waits for another"""
_GLANCE_SECONDS = 0.0005
_PATIENCE_SECONDS = 5.0
"""real time after which a busy thread is taken to wait for something else"""
_HEED_SECONDS = 0.02
"""real time between two looks for what people ask: a play waits for them, in whose time nothing passes meanwhile"""
_CHUNK_BYTES = 16 << 10
"""small, so that a disk of the simulated fleet, which holds little, is read in several pieces"""


class Process:
    """What one lifeboat works with, wired so that moments can be noticed and the process stopped.

    `on_moment` is told `writes KIND about VM` once a record is on disk, `says PHASE about VM` for each progress line, and
    `calls METHOD` before and `called METHOD` after each call that may change something, and `reads a disk`, chunk by chunk.
    """

    def __init__(
        self,
        name: str,
        nodes: dict[str, Any],
        clock: Clock,
        journal: Path,
        archives: ArchiveStore | None,
        on_moment: Callable[[Process, str], None],
        vm_names: dict[str, str],
    ) -> None:
        self.name = name
        self.stopped = False
        self.abort_asked = threading.Event()
        self.withdrawn = ""
        self._looks_at_cancel: int | None = None
        self._on_moment = on_moment
        self._vm_names = vm_names
        self._in_moment = threading.local()
        self.journal = _Journal(journal, self)
        reached: dict[str, Hypervisor] = {n: _Reached(node, self) for n, node in nodes.items()}  # type: ignore[misc]
        self.hands = Resources(nodes=reached, clock=clock, journal=self.journal, archives=archives)
        self.watcher = Watcher(
            on_progress=self._tell, should_withdraw=lambda _: self.withdrawn or None, request_poll_seconds=_HEED_SECONDS
        )

    def heeded_cancel(self) -> bool:
        """The thread that heeds requests has written it down, and has come round again since."""
        asked = SqliteJournal.of(self.journal, CancelRequested)
        if not asked:
            return False
        looks = sum(count for name, count in self.journal.looks.items() if name.startswith("steering"))
        if self._looks_at_cancel is None:
            self._looks_at_cancel = looks
        return looks > self._looks_at_cancel

    def require_running(self) -> None:
        if self.stopped:
            raise Stopped

    def stop(self) -> None:
        self.stopped = True

    def moment(self, words: str) -> None:
        self.require_running()
        if getattr(self._in_moment, "deep", False):
            return  # what a happening does is no moment of its own
        self._in_moment.deep = True
        try:
            self._on_moment(self, words)
        finally:
            self._in_moment.deep = False
        self.require_running()

    def vm_name(self, uuid: str) -> str:
        return self._vm_names.get(uuid, uuid)

    def _tell(self, progress: Progress) -> None:
        self.moment(f"says {progress.phase} about {self.vm_name(progress.action.vm)}")

    def close(self) -> None:
        self.journal.close()


class _Journal(SqliteJournal):
    def __init__(self, path: Path, process: Process) -> None:
        super().__init__(path)
        self._process = process
        self.looks: Counter[str] = Counter()
        """thread → how often it has read here"""

    def append(self, record: Record, **about: Any) -> Any:
        self._process.require_running()
        written = super().append(record, **about)
        vm = None
        if isinstance(record, AttemptIntended):
            vm = record.action.vm
        elif isinstance(record, AttemptEnded):
            vm = record.attempt.action.vm
        elif about.get("attempt") is not None:
            for intended in super().of(AttemptIntended, attempt=about["attempt"]):
                vm = vm or intended.record.action.vm
        self._process.moment(f"writes {record.kind}" + (f" about {self._process.vm_name(vm)}" if vm else ""))
        return written

    def of(self, *kinds: Any, **only: Any) -> Any:
        self._look()
        return super().of(*kinds, **only)

    def unended(self, *args: Any, **only: Any) -> Any:
        self._look()
        return super().unended(*args, **only)

    def entries(self, **only: Any) -> Any:
        self._look()
        return super().entries(**only)

    def _look(self) -> None:
        self._process.require_running()
        self.looks[threading.current_thread().name] += 1

    def lock(self, *args: Any, **more: Any) -> None:
        self._process.require_running()
        super().lock(*args, **more)
        self._process.moment(f"locks {self._process.vm_name(args[0])}")

    def unlock(self, *args: Any, **more: Any) -> None:
        self._process.require_running()
        super().unlock(*args, **more)
        self._process.moment(f"unlocks {self._process.vm_name(args[0])}")


class _Reached:
    """A node as the process reaches it."""

    def __init__(self, node: Any, process: Process) -> None:
        self._node = node
        self._process = process

    @property
    def name(self) -> str:
        return self._node.name

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._node, name)
        if not callable(method):
            return method

        def call(*args: Any, **more: Any) -> Any:
            self._process.require_running()
            if name == "read_disk":
                return self._read(method(*args, **{"chunk_bytes": _CHUNK_BYTES, **more}))
            changes = name not in _LOOKS
            if changes:
                self._process.moment(f"calls {name}")
            try:
                answer = method(*args, **more)
            finally:
                if name == "abort_job":
                    self._process.abort_asked.set()
            self._process.require_running()
            if changes:
                self._process.moment(f"called {name}")
            return answer

        return call

    def _read(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._process.moment("reads a disk")
            yield chunk


class ProcessClock(VirtualClock):
    """Virtual time for several threads that is the same each time: it passes only once every thread that was started
    since has gone to sleep on it, ended, or waits for another. Alarms can be set, and a stopped process sleeps no more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.require_running: Callable[[], None] = lambda: None
        """raises in the threads of a process that was stopped"""
        self._alarms: list[tuple[float, Callable[[], object]]] = []
        self._alarm_lock = threading.RLock()
        self._asleep: dict[threading.Thread, float] = {}
        self._held: set[threading.Thread] = set()
        here = threading.current_thread()
        self._others = {thread for thread in threading.enumerate() if thread is not here}

    def at(self, seconds: float, do: Callable[[], object]) -> None:
        with self._alarm_lock:
            self._alarms = sorted([*self._alarms, (seconds, do)], key=lambda alarm: alarm[0])

    def sleep(self, seconds: float) -> None:
        wake = self.monotonic() + max(0.0, seconds)
        while True:
            self.require_running()
            self._pass(min([wake, *(due for due, _ in self._alarms)]))
            with self._alarm_lock:
                due = [do for at, do in self._alarms if at <= self.monotonic()]
                self._alarms = [alarm for alarm in self._alarms if alarm[0] > self.monotonic()]
            for do in due:
                do()
            self.require_running()
            if self.monotonic() >= wake:
                return

    @contextmanager
    def held(self) -> Generator[None]:
        """Whoever sleeps now, or goes to sleep, sleeps on until the block ends; what it begins has time pass for it."""
        with self._changed:
            before, self._held = self._held, set(threading.enumerate()) - {threading.current_thread()}
        try:
            yield
        finally:
            with self._changed:
                self._held = before
                self._changed.notify_all()

    def _pass(self, until: float) -> None:
        me, patience = threading.current_thread(), time.monotonic() + _PATIENCE_SECONDS
        with self._changed:
            self._asleep[me] = until
            self._changed.notify_all()
            try:
                while self._elapsed < until:
                    if me in self._held or until > min(w for t, w in self._asleep.items() if t not in self._held):
                        self._changed.wait(_GLANCE_SECONDS * 20)
                    elif self._somebody_is_busy(me) and time.monotonic() < patience:
                        self._changed.wait(_GLANCE_SECONDS)
                    else:
                        self._elapsed = until
            finally:
                del self._asleep[me]
                self._changed.notify_all()

    def _somebody_is_busy(self, me: threading.Thread) -> bool:
        frames = sys._current_frames()
        for thread in threading.enumerate():
            if thread is me or thread in self._asleep or thread in self._others:
                continue
            frame = frames.get(thread.ident or 0)
            if frame is None or frame.f_code.co_name not in _WAITS:
                return True
        return False
