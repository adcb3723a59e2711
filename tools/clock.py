"""The time: the machine's own, and a virtual one that passes only when somebody sleeps."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path


@cache
def _start_of_host() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def seconds_between(earlier: str, now: str) -> float | None:
    """Of two uptimes, `START:SECONDS`; None when they are of two starts, or one is no uptime."""
    start, _, then = earlier.rpartition(":")
    same, _, late = now.rpartition(":")
    try:
        return max(0.0, float(late) - float(then)) if start and start == same else None
    except ValueError:
        return None


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def uptime(self) -> str:
        return f"{_start_of_host()}:{time.clock_gettime(time.CLOCK_BOOTTIME):.3f}"

    def seconds_since(self, uptime: str) -> float | None:
        return seconds_between(uptime, self.uptime())

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(max(0.0, seconds))


class VirtualClock:
    """Time that passes only while threads sleep on it; then it jumps to the earliest of their wake-up times.

    With one thread it is deterministic. Threads that sleep at the same time share the passing time instead of adding
    theirs up: a sleeper that is not the next to wake waits, and the next one gives the others `grace_seconds` of real
    time to go to sleep too before it lets the clock jump.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC), *, grace_seconds: float = 0.001) -> None:
        self._start = start
        self._elapsed = 0.0
        self._grace = grace_seconds
        self._changed = threading.Condition()
        self._wake_times: list[float] = []
        self._sleepers: set[threading.Thread] = set()
        """threads that have ever slept here"""

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def set_wall_clock(self, by: timedelta) -> None:
        """As somebody does who sets the host's clock forward, or back: what people read jumps, time passes as before."""
        self._start += by

    def monotonic(self) -> float:
        return self._elapsed

    def uptime(self) -> str:
        return f"virtual:{self._elapsed}"

    def seconds_since(self, uptime: str) -> float | None:
        return seconds_between(uptime, self.uptime())

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Sleeps for all of it when the event is not set yet: whoever sets it shares the time, and may do so meanwhile."""
        if not event.is_set():
            self.sleep(seconds)
        return event.is_set()

    def sleep(self, seconds: float) -> None:
        with self._changed:
            self._sleepers.add(threading.current_thread())
            wake = self._elapsed + max(0.0, seconds)
            self._wake_times.append(wake)
            self._changed.notify_all()
            try:
                while self._elapsed < wake:
                    if wake > min(self._wake_times):
                        self._changed.wait(1.0)
                        continue
                    self._sleepers = {thread for thread in self._sleepers if thread.is_alive()}
                    if len(self._sleepers) > len(self._wake_times) and self._changed.wait(self._grace):
                        continue  # somebody else went to sleep: look again who is next
                    self._elapsed = max(self._elapsed, wake)
            finally:
                self._wake_times.remove(wake)
                self._changed.notify_all()
