"""A fast clock that doesn't depend on the machine: it is fast while everybody waits, and slow while somebody works.

On a clock that is simply so many times as fast, a look that takes two seconds of a loaded machine takes minutes of the fleet's
time, and a busy machine sees another day than an idle one. So time passes by what is done: `speed` times as fast while no thread
of this process or its children wants the processor, and by `work_speed` seconds for each second of the processor while one does.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tools.clock import SystemClock, seconds_between

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_TICK_SECONDS = 0.01
"""of the machine; how often is asked who works"""
_LONGEST_TICK_SECONDS = 5 * _TICK_SECONDS
"""counted of a tick: who waits while this thread did not get the processor may have wanted it as well"""

_WORK_SECONDS = _TICK_SECONDS / 4
"""of the processor since the last tick: somebody works. Where one thread keeps Python's lock the clock's own gets it only after
that one has worked, and to look it seems to wait then; so this does not depend on how long the tick took. Less is what asks for
answers, once a second of the fleet"""
_QUIET_TICKS = 3
_PATIENCE_SECONDS = 60.0


class Pace:
    """How far the fleet's time has come. `passing` makes it pass; `beside()` is called by each thread that is no part of what is
    watched, so that its work isn't taken for the agent's."""

    def __init__(self, *, speed: float, work_speed: float) -> None:
        self.speed, self._work_speed = speed, work_speed
        self._at, self._since = 0.0, time.monotonic()
        self._apart: set[int] = set()
        self._idle = 0
        """ticks in a row in which nobody worked"""
        self._moved = threading.Lock()

    def elapsed(self) -> float:
        """Seconds of the fleet. Between two ticks it passes as the machine's own: nothing takes no time at all."""
        with self._moved:
            return self._at + time.monotonic() - self._since

    def beside(self) -> None:
        self._apart.add(threading.get_native_id())

    def await_quiet(self) -> None:
        """Until everybody waits, as between passes; a minute of the machine at most."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while self._idle < _QUIET_TICKS and time.monotonic() < until:
            time.sleep(_TICK_SECONDS)

    @contextmanager
    def passing(self) -> Generator[None]:
        over = threading.Event()
        thread = threading.Thread(target=self._pass, args=(over,), name="soak-clock", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _pass(self, over: threading.Event) -> None:
        self.beside()
        worked = self._worked()
        while not over.wait(_TICK_SECONDS):
            before, worked = worked, self._worked()
            work = max(0.0, worked - before)  # less where a child ended
            busy = work > _WORK_SECONDS or self._somebody_works()
            self._idle = 0 if busy else self._idle + 1
            with self._moved:
                now = time.monotonic()
                real = now - self._since
                by = self._work_speed * work if busy else self.speed * min(real, _LONGEST_TICK_SECONDS)
                self._at, self._since = self._at + max(real, by), now

    def _worked(self) -> float:
        """Seconds of the processor that this process and its children took, this thread apart."""
        own = time.process_time() - time.thread_time()
        for child in multiprocessing.active_children():
            try:
                own += time.clock_gettime(_cpu_clock(child.pid or 0))
            except OSError:
                continue  # it ended just now
        return own

    def _somebody_works(self) -> bool:
        """Whether a thread runs, waits for the processor or for a disk."""
        for pid in ("self", *(str(child.pid) for child in multiprocessing.active_children())):
            for task in os.scandir(f"/proc/{pid}/task") if Path(f"/proc/{pid}").exists() else ():
                if pid == "self" and int(task.name) in self._apart:
                    continue
                try:
                    stat = Path(task.path, "stat").read_text()
                except OSError:
                    continue
                if stat[stat.rindex(")") + 2] in "RD":
                    return True
        return False


def _cpu_clock(pid: int) -> int:
    """The clock of another process's processor time (clock_getcpuclockid(3); Linux encodes the pid so)."""
    return (~pid << 3) | 2


def clock_of(pace: Pace) -> type[SystemClock]:
    """For `tools.clock.SystemClock`: the same time in the whole process."""

    class FastClock(SystemClock):
        def now(self) -> datetime:
            return BEGAN + timedelta(seconds=self.monotonic())

        def monotonic(self) -> float:
            return pace.elapsed()

        def uptime(self) -> str:
            return f"fast:{self.monotonic()}"

        def seconds_since(self, uptime: str) -> float | None:
            return seconds_between(uptime, self.uptime())

        def sleep(self, seconds: float) -> None:
            self.wait(threading.Event(), seconds)

        def wait(self, event: threading.Event, seconds: float) -> bool:
            until = pace.elapsed() + max(0.0, seconds)
            while not event.is_set() and (left := until - pace.elapsed()) > 0:
                event.wait(max(_TICK_SECONDS, left / pace.speed))
            return event.is_set()

    return FastClock
