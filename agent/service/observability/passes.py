"""What the last passes came to, for whoever asks how the agent is."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from datetime import datetime

from agent.service.pass_result import PassResult
from models.errors import LifeboatError
from models.text import seconds_in_words
from tools.ports.clock import Clock

KEPT = 20
"""passes"""
LATE_AFTER = 5
"""intervals without a look that worked, and the agent is not ready"""


@dataclass(frozen=True, kw_only=True)
class PassLine:
    """One pass."""

    ended_at: datetime
    seconds: float
    outcome: str
    """a PassOutcome, `failed`, or `standing-by`"""
    why: str


class PassHistory:
    """The newest KEPT passes, and how long ago one worked. Safe for several threads."""

    def __init__(self, clock: Clock, *, interval_seconds: float) -> None:
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._lock = threading.Lock()
        self._lines: deque[PassLine] = deque(maxlen=KEPT)
        self._began_at: float | None = None
        self._worked_at: float | None = None
        self._born_at = clock.monotonic()

    def began(self) -> None:
        """A pass begins."""
        with self._lock:
            self._began_at = self._clock.monotonic()

    def ended(self, result: PassResult) -> PassLine:
        """The pass came to something, if only to a refusal."""
        return self._end(str(result.outcome), result.why, worked=True)

    def failed(self, error: Exception) -> PassLine:
        """The pass could not look, or broke."""
        known = isinstance(error, LifeboatError)
        return self._end("failed", str(error) if known else f"a fault in lifeboat: {error!r}", worked=False)

    def stood_by(self) -> PassLine:
        """Another lifeboat leads; this one looked."""
        return self._end("standing-by", "another lifeboat leads", worked=True)

    def _end(self, outcome: str, why: str, *, worked: bool) -> PassLine:
        with self._lock:
            now = self._clock.monotonic()
            seconds = now - (self._began_at if self._began_at is not None else now)
            line = PassLine(ended_at=self._clock.now(), seconds=seconds, outcome=outcome, why=why)
            self._lines.appendleft(line)
            self._began_at = None
            self._worked_at = now if worked else self._worked_at
            return line

    @property
    def lines(self) -> tuple[PassLine, ...]:
        """Newest first."""
        with self._lock:
            return tuple(self._lines)

    def running_seconds(self) -> float | None:
        """How long the pass that runs now has taken so far; None between passes."""
        with self._lock:
            return None if self._began_at is None else self._clock.monotonic() - self._began_at

    def seconds_since_worked(self) -> float | None:
        """Since the end of the last pass that could look; None: none has."""
        with self._lock:
            return None if self._worked_at is None else self._clock.monotonic() - self._worked_at

    def first_look_seconds(self) -> float | None:
        """How long the very first pass has looked so far, while that may still be: it reads what later ones find on disk. None:
        another pass has ended or none has begun, or it has taken LATE_AFTER intervals."""
        running = self.running_seconds()
        if running is None or self.lines or running > LATE_AFTER * self._interval_seconds:
            return None
        return running

    def why_not_ready(self, *, moving: bool) -> str | None:
        """Why nobody should rely on it now; None when they may. `moving`: an evacuation runs, which takes the time it takes."""
        since = self.seconds_since_worked()
        if moving or self.first_look_seconds() is not None:
            return None
        if since is None:
            last = f"; the last one: {self.lines[0].why}" if self.lines else ""
            return f"no pass has ended yet that could look at the fleet{last}"
        if since > LATE_AFTER * self._interval_seconds:
            last = next((line.why for line in self.lines if line.outcome == "failed"), "a pass takes long")
            return f"the last look that worked ended {seconds_in_words(since)} ago: {last}"
        return None
