"""What is known besides the fleet, its risks and the policy: notes, planned work, events, how readings ran, what came of it.

The solver and the guard decide without it. A language model may weigh it; it never widens what may be done.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from pydantic import ConfigDict, Field, field_validator, model_validator

from models.base import UtcTime, Value
from models.risk.signal import HardwareEvent

MOST_POINTS = 48
"""of one reading's past; whoever has more thins them out"""


class NoteWord(StrEnum):
    """All that a note on a guest may come to. What its owner wrote is free text and goes no further than its reader."""

    MUST_NOT_STOP = "must-not-stop"
    """stopping it harms, whatever its priority"""
    MAY_STOP = "may-stop"
    """it may be stopped at any time: it is started again from elsewhere, or waits"""
    MONTH_END = "month-end"
    """a closing of accounts or another frozen stretch runs; no stop until it is over"""
    LONG_JOB = "long-job"
    """a computation that a stop throws away"""
    SOLE_COPY = "sole-copy"
    """what it holds is nowhere else"""
    REPLICATED = "replicated"
    """others like it serve on when it is gone"""
    MORE_IMPORTANT = "more-important"
    """than its priority says"""
    LESS_IMPORTANT = "less-important"
    """than its priority says"""
    PAUSE_SENSITIVE = "pause-sensitive"
    """even a short pause harms"""
    UNCLEAR = "unclear"
    """there is a note, and nobody could tell what it means"""


class VmNote(Value):
    """What a note on one guest comes to."""

    vm: str
    """uuid"""
    word: NoteWord
    until: UtcTime | None = None
    """it holds so long; None: it does not say"""


class PlannedWork(Value):
    """A node is taken out of service on purpose."""

    node: str
    start: UtcTime
    end: UtcTime

    @model_validator(mode="after")
    def _ordered(self) -> PlannedWork:
        if self.end < self.start:
            raise ValueError(f"planned work on {self.node} ends before it starts")
        return self


class Reading(Value):
    """How one reading of one part of a node ran."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False)

    node: str
    signal: str
    """as the catalogue of signals names it"""
    part: str = ""
    points: tuple[tuple[float, float], ...] = Field(max_length=MOST_POINTS)
    """(seconds ago, value in the signal's unit), oldest first"""
    low: float | None = None
    """documented limit, in the signal's unit; None: none, or nobody told"""
    high: float | None = None

    @field_validator("points")
    @classmethod
    def _oldest_first(cls, points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        if any(a[0] <= b[0] for a, b in pairwise(points)):
            raise ValueError("points are not in order, oldest first")
        return points


class Aftermath(StrEnum):
    """What a node did after an evacuation was carried out or advised."""

    FAILED = "failed"
    """it failed, as was expected"""
    LIVED = "lived"
    """it went on working: leaving it was not needed"""
    UNKNOWN = "unknown"
    """nobody can tell, or it is too early"""


class PastEvacuation(Value):
    """One earlier evacuation of a node, and what the node did afterwards."""

    node: str
    at: UtcTime
    aftermath: Aftermath
    moved: int = Field(default=0, ge=0)
    """vms that were brought elsewhere"""
    failed: int = Field(default=0, ge=0)
    """vms whose move came to nothing"""


class Knowledge(Value):
    """All of it; empty where nobody told anything (`knowledge.json`)."""

    notes: tuple[VmNote, ...] = ()
    planned_work: tuple[PlannedWork, ...] = ()
    readings: tuple[Reading, ...] = ()
    events: tuple[HardwareEvent, ...] = ()
    past: tuple[PastEvacuation, ...] = ()

    def nodes_worked_on(self, now: datetime, within: timedelta) -> set[str]:
        """Nodes on which work is planned that is not over and begins within that time."""
        return {work.node for work in self.planned_work if work.start <= now + within and work.end > now}


def thinned(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most `most` of the points, in order: the first, the last, and of each stretch between them the one that lies furthest
    from the middle of all, so that what stuck out still does."""
    if len(points) <= most:
        return list(points)
    values = sorted(value for _, value in points)
    middle = values[len(values) // 2]
    inner, stretches = points[1:-1], most - 2
    kept = [points[0]]
    for number in range(stretches):
        stretch = inner[number * len(inner) // stretches : (number + 1) * len(inner) // stretches]
        kept.append(max(stretch, key=lambda point: abs(point[1] - middle)))
    return [*kept, points[-1]]
