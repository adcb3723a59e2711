"""How far the moves have come that this process carries out, as they last said."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from agent.actions.progress import PAUSED, STOPPING, Progress
from agent.execute.evacuation import Watcher
from models.evacuation import Attempt
from tools.ports.clock import Clock


@dataclass(frozen=True, kw_only=True)
class MoveReading:
    """One move, as it was when it last said so. Seconds are by a clock that nobody sets."""

    progress: Progress
    seconds: float
    """since its first word"""
    age_seconds: float
    """since this reading"""
    still_seconds: float | None
    """for how long the guest has not run so far; None: it runs, or it did not before either"""


@dataclass(frozen=True, kw_only=True)
class _Kept:
    progress: Progress
    first_at: float
    at: float
    was_stopped: bool
    """it ran, and was asked to stop"""
    still_since: float | None


class RunningMoves:
    """Safe for several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    def watched(self, watcher: Watcher) -> Watcher:
        """The same watcher, with this one told as well."""

        def progressed(progress: Progress) -> None:
            self.take(progress)
            watcher.on_progress(progress)

        def ended(attempt: Attempt) -> None:
            self.end(attempt.id)
            watcher.on_attempt_finished(attempt)

        return replace(watcher, on_progress=progressed, on_attempt_finished=ended)

    def take(self, progress: Progress) -> None:
        """A move says how far it is."""
        now = self._clock.monotonic()
        with self._lock:
            before = self._kept.get(progress.attempt)
            was_stopped = (before is not None and before.was_stopped) or progress.phase == STOPPING
            still = progress.phase == PAUSED or (was_stopped and progress.phase != STOPPING)
            since = before.still_since if before is not None and before.still_since is not None else now
            self._kept[progress.attempt] = _Kept(
                progress=progress,
                first_at=before.first_at if before is not None else now,
                at=now,
                was_stopped=was_stopped,
                still_since=since if still else None,
            )

    def end(self, attempt: str) -> None:
        """It is over."""
        with self._lock:
            self._kept.pop(attempt, None)

    def clear(self) -> None:
        """Nothing moves between passes: what a recovery ended without a word is over, too."""
        with self._lock:
            self._kept.clear()

    @property
    def readings(self) -> tuple[MoveReading, ...]:
        """Of each that is under way, the one that began first first."""
        now = self._clock.monotonic()
        with self._lock:
            return tuple(
                MoveReading(
                    progress=kept.progress,
                    seconds=now - kept.first_at,
                    age_seconds=now - kept.at,
                    still_seconds=now - kept.still_since if kept.still_since is not None else None,
                )
                for kept in self._kept.values()
            )
