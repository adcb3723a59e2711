"""Which of the times at which a pass was due passed without one: it overlapped the pass before, or everything stood still."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tools.ports.clock import Clock

LATE_SECONDS = 5.0
"""a pass that begins later than this after it could have had something keep it; less is a busy machine"""


@dataclass(frozen=True, kw_only=True)
class Missed:
    """Due times between the begin of one pass and of the next, one an interval; the next pass stands for all of them."""

    overlaps: int = 0
    """the pass before was still at work"""
    standstills: int = 0
    """no pass was at work, and none began: this process was stopped, or its host slept"""
    seconds: float = 0.0
    """for how long nothing began, of a standstill"""


def missed(*, interval_seconds: float, lasted_seconds: float, until_next_seconds: float) -> Missed:
    """`lasted_seconds`: of the pass before; `until_next_seconds`: from its begin to that of the next."""
    if interval_seconds <= 0:
        return Missed()
    overlaps = max(0, math.ceil(lasted_seconds / interval_seconds) - 1)
    late = until_next_seconds - max(interval_seconds, lasted_seconds)
    if late <= LATE_SECONDS:
        return Missed(overlaps=overlaps)
    standstills = max(0, math.floor(until_next_seconds / interval_seconds) - overlaps)
    return Missed(overlaps=overlaps, standstills=standstills, seconds=late)


class DueTimes:
    """Told when passes begin and end. By the host's uptime, which goes on while the host sleeps."""

    def __init__(self, clock: Clock, *, interval_seconds: float) -> None:
        self._clock, self._interval_seconds = clock, interval_seconds
        self._began = self._ended = ""

    def began(self) -> Missed:
        """A pass begins; what was missed since the one before began."""
        before, ended, self._began = self._began, self._ended, self._clock.uptime()
        self._ended = ""
        until_next = self._clock.seconds_since(before) if before else None
        since_end = self._clock.seconds_since(ended) if ended else None
        if until_next is None or since_end is None:
            return Missed()
        return missed(
            interval_seconds=self._interval_seconds,
            lasted_seconds=max(0.0, until_next - since_end),
            until_next_seconds=until_next,
        )

    def ended(self) -> None:
        """The pass that began last is over."""
        self._ended = self._clock.uptime()
