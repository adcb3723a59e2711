"""Times at which a pass was due and none began are counted, by why: by uptime, whatever the wall clock says."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.service.due_times import LATE_SECONDS, DueTimes, Missed
from tools.clock import VirtualClock

INTERVAL = 30.0


def between_two_passes(*, lasted: float, then: float, clock_set_by: timedelta = timedelta()) -> Missed:
    """What was missed when a pass took so long, and the next began so much later."""
    clock = VirtualClock()
    due = DueTimes(clock, interval_seconds=INTERVAL)
    assert due.began() == Missed(), "nothing was due before the first"
    clock.sleep(lasted)
    due.ended()
    clock.sleep(then)
    clock.set_wall_clock(clock_set_by)
    return due.began()


@pytest.mark.parametrize(
    ("lasted", "then", "overlaps", "standstills"),
    [
        (1, 29, 0, 0),
        (1, 4, 0, 0),  # somebody approved: earlier than due
        (1, 29 + LATE_SECONDS, 0, 0),  # a busy machine
        (31, 0, 1, 0),
        (75, 0.1, 2, 0),
        (60, 0, 1, 0),  # over exactly when the next was due
        (1, 3600, 0, 120),
        (1, 45, 0, 1),
        (75, 3600, 2, 120),
    ],
)
def test_each_due_time_counts_once(lasted: float, then: float, overlaps: int, standstills: int) -> None:
    found = between_two_passes(lasted=lasted, then=then)
    assert (found.overlaps, found.standstills) == (overlaps, standstills)


@pytest.mark.parametrize("by", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_clock_that_somebody_sets_is_no_standstill(by: timedelta) -> None:
    assert between_two_passes(lasted=1, then=29, clock_set_by=by) == Missed()


def test_a_standstill_says_how_long_nothing_ran() -> None:
    assert between_two_passes(lasted=1, then=29 + 600).seconds == 600
