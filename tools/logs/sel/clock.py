"""When a BMC's records were written, whatever its clock said: their order is certain, their times are not. Pure.

A BMC loses its clock with its battery, follows summer time or not, and is set while it runs. A record that is dated after now was
written by now; one that is dated long before its predecessors was written after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

AHEAD = timedelta(minutes=5)
"""How far a clock may be ahead without being called wrong."""
BACK = timedelta(days=30)
"""How far a record may be dated before its predecessor: summer time ends with an hour, and some BMCs write out of order. A lost
clock starts again from a fixed date, years ago."""

OLDEST = timedelta(days=10 * 365)
"""No record of a node that runs is this old; a clock that was never set begins in 1970, 1999, 2000 or thereabouts."""


@dataclass(frozen=True)
class DatedRecords:
    """The believed time of each record, in their order."""

    times: tuple[datetime, ...]
    ahead: int = 0
    """records dated after now"""
    set_back: int = 0
    """records dated long before what was written before them"""
    undated: int = 0
    """records from before the BMC knew the time"""

    def doubts(self) -> list[str]:
        """One line for each way in which the clock was wrong."""
        return [
            f"{count} record{'s' if count > 1 else ''} {what}"
            for count, what in (
                (self.ahead, "dated in the future: counted as written now, in their order; the BMC's clock is wrong"),
                (self.set_back, "dated long before they can have been written: the BMC's clock was lost or set back"),
                (self.undated, "without a date: counted as written just before the next one that has one"),
            )
            if count
        ]


def date_records(
    stamps: Sequence[datetime | None], *, now: datetime, clock_off: timedelta = timedelta(0)
) -> DatedRecords:
    """`stamps` in the order of writing, None where there is none; `clock_off` is what to add to the BMC's time of now.

    What was written before the clock was set wrong keeps its own time. Records whose dates can't be stand as far before the next
    one that can, or before now, as they stand apart from each other.
    """
    ahead = set_back = undated = 0
    believed: list[datetime | None] = []
    latest: datetime | None = None
    for stamp in stamps:
        if stamp is None:
            undated += 1
            believed.append(None)
            continue
        at = _plausible(stamp, clock_off, latest, now)
        if at is None and stamp > now + AHEAD:
            ahead += 1
        elif at is None:
            set_back += 1
        believed.append(at)
        if at is not None:
            latest = at if latest is None else max(latest, at)
    after = now
    wrong: datetime | None = None
    """the stamp that stands for `after` by a clock that was wrong"""
    times: list[datetime] = []
    for stamp, at in zip(reversed(stamps), reversed(believed), strict=True):
        if at is not None:
            after, wrong = min(at, now), None
        elif stamp is not None:
            if wrong is not None and stamp <= wrong:
                after -= wrong - stamp
            wrong = stamp
        times.append(after)
    return DatedRecords(tuple(reversed(times)), ahead, set_back, undated)


def _plausible(stamp: datetime, clock_off: timedelta, latest: datetime | None, now: datetime) -> datetime | None:
    """The record's time by the clock as it is, or as it was before it was set; None where neither can be."""
    earliest = now - OLDEST if latest is None else max(latest - BACK, now - OLDEST)
    known = [at for at in (stamp + clock_off, stamp) if earliest <= at <= now + AHEAD]
    # An error of years tells the two clocks apart by itself.
    return None if not known else known[0] if abs(clock_off) < BACK else max(known)
