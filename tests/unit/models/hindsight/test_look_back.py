"""What came of a decision, from what was seen of its node."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models.hindsight.calibration import NotedRisks, calibrate, share
from models.hindsight.look_back import (
    Decision,
    Failure,
    Guest,
    Hindsight,
    NodeEvidence,
    SeenNodes,
    Stretch,
    look_back,
    unadvised,
)

T0 = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
A, U, M, X = Hindsight.AVERTED, Hindsight.UNNEEDED, Hindsight.MISSED, Hindsight.UNKNOWABLE


def at(hours: float) -> datetime:
    return T0 + timedelta(hours=hours)


def seen(
    *,
    silent: Sequence[tuple[float, float]] = (),
    until: float = 30,
    others: int = 0,
    gap: tuple[float, float] | None = None,
) -> tuple[SeenNodes, ...]:
    """Every half hour; node `a` silent within these hours, and as many of the four others."""
    notes: list[SeenNodes] = []
    for half in range(-4, int(until * 2) + 1):
        hour = half / 2
        if gap is not None and gap[0] < hour < gap[1]:
            continue
        down = any(start <= hour < end for start, end in silent)
        notes.append(SeenNodes(at=at(hour), nodes=5, silent=("a", "b", "c", "d")[: (1 + others) if down else 0]))
    return tuple(notes)


def decided(*, taken: bool = True, safe: Sequence[float | None] = (0.1, 0.2), **more: Any) -> Decision:
    """At hour 0, about `a`; vms are safe so many hours later; the evacuation is over after half an hour."""
    guests = tuple(
        Guest(vm=f"v{n}", weight=10.0, safe_at=None if hours is None else at(hours)) for n, hours in enumerate(safe)
    )
    told = {"emptied_at": at(0.5) if taken else None, "guests": guests if taken else (), "expected_loss": 1.0}
    return Decision(id="evac-1", node="a", at=T0, taken=taken, **(told | more))


REPORTED = Failure(node="a", at=at(3), why="a person reported it", sure=True)
CASES = {
    "worked on": (decided(), NodeEvidence(seen=seen()), U),
    "advice not taken, and it worked on": (decided(taken=False), NodeEvidence(seen=seen()), U),
    "advice not taken, and it fell silent": (decided(taken=False), NodeEvidence(seen=seen(silent=[(3, 30)])), M),
    "advice not taken, and people moved its vms": (
        decided(taken=False, moved_by_people=2),
        NodeEvidence(seen=seen(silent=[(3, 30)])),
        A,
    ),
    "fell silent while it was emptied": (decided(emptied_at=at(5)), NodeEvidence(seen=seen(silent=[(3, 30)])), A),
    "fell silent before anything was safe": (
        decided(safe=[None, None], emptied_at=at(5)),
        NodeEvidence(seen=seen(silent=[(3, 30)])),
        M,
    ),
    "fell silent after it was emptied": (decided(), NodeEvidence(seen=seen(silent=[(3, 30)])), X),
    "a person says that it failed": (decided(), NodeEvidence(seen=seen(silent=[(3, 30)]), told=(REPORTED,)), A),
    "work was planned on it": (
        decided(),
        NodeEvidence(seen=seen(silent=[(3, 30)]), work={"a": (Stretch(start=at(2), end=at(9)),)}),
        X,
    ),
    "most of the fleet was silent": (decided(taken=False), NodeEvidence(seen=seen(silent=[(3, 5)], others=3)), U),
    "nobody looked": (decided(), NodeEvidence(seen=seen(gap=(6, 12))), X),
    "it failed the day after": (decided(taken=False), NodeEvidence(seen=seen(silent=[(25, 30)])), U),
    "too early": (decided(), NodeEvidence(seen=seen(until=9)), None),
    "too early for what is silent for a moment": (
        decided(taken=False),
        NodeEvidence(seen=(*seen(until=9), SeenNodes(at=at(9.1), nodes=5, silent=("a",)))),
        None,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_came_of_it(case: str) -> None:
    decision, evidence, expected = CASES[case]
    last = evidence.seen[-1].at
    scored = look_back(decision, evidence, last + timedelta(minutes=5))
    assert (None if scored is None else scored.hindsight) is expected
    assert scored is None or scored.why


def test_a_failure_that_nobody_was_warned_of_is_missed() -> None:
    evidence = NodeEvidence(seen=seen(silent=[(3, 30)]))
    (missed,) = unadvised(evidence, [], ["a", "b"], at(30))
    assert (missed.hindsight, missed.decision.node, missed.decision.id) == (M, "a", "")
    assert unadvised(evidence, [decided(taken=False)], ["a"], at(30)) == []
    assert unadvised(evidence, [decided().model_copy(update={"at": at(-40)})], ["a"], at(30)) == []


def test_shares_have_wilsons_interval() -> None:
    """Against values worked out by hand from the formula: 1 of 10 and 0 of 20."""
    one, none = share(1, 10), share(0, 20)
    assert (round(one.low, 4), round(one.high, 4)) == (0.0179, 0.4042)
    assert (none.low, round(none.high, 4)) == (0.0, 0.1611)
    assert share(0, 0).share is None


def noted(hour: float, **risks: float) -> NotedRisks:
    return NotedRisks(at=at(hour), probability=risks, others=100, others_mean=0.001)


def test_forecasts_are_held_against_what_came() -> None:
    evidence = NodeEvidence(seen=seen(silent=[(3, 30)]))
    missed = look_back(decided(taken=False), evidence, at(30))
    assert missed is not None
    came = calibrate([missed], [noted(0, a=0.5, b=0.05)], evidence, [(10, 11), (10, 30)], [(0.1, 0.1)], at(30))
    by_band = {(band.low, band.high): band for band in came.risks}
    assert (by_band[0.3, 0.7].came.count, by_band[0.3, 0.7].came.of) == (1, 1)
    assert (by_band[0.01, 0.1].came.count, by_band[0.01, 0.1].came.of) == (0, 1)
    assert (by_band[0.0, 0.01].came.count, by_band[0.0, 0.01].came.of) == (0, 100)
    assert all(band.fits for band in came.risks if band.came.of)
    assert (came.seconds.near.count, came.seconds.near.of) == (1, 2)
    assert came.advice.missed == 1
    assert (came.foreseen.count, came.foreseen.of) == (1, 1)


def test_a_forecast_far_too_high_does_not_fit_and_what_nobody_can_tell_is_left_out() -> None:
    evidence = NodeEvidence(seen=seen(until=60))
    nodes = {f"n{k}": 0.5 for k in range(20)}
    came = calibrate([], [noted(0, **nodes)], evidence, [], [], at(60))
    assert not next(band for band in came.risks if band.came.of == 20).fits
    blind = NodeEvidence(seen=seen(gap=(6, 12)))
    assert calibrate([], [noted(0, **nodes)], blind, [], [], at(30)).risks_left_out == 120
    emptied = look_back(decided(), NodeEvidence(seen=seen(silent=[(3, 30)])), at(30))
    assert emptied is not None
    came = calibrate([emptied], [noted(0, a=0.5)], NodeEvidence(seen=seen(silent=[(3, 30)])), [], [], at(30))
    assert came.risks_left_out == 1


def test_what_was_lost_is_what_was_on_the_node_within_the_horizon() -> None:
    scored = look_back(decided(safe=[0.1, None], emptied_at=at(5)), NodeEvidence(told=(REPORTED,)), at(30))
    assert scored is not None
    assert scored.lost == 0.0, "three hours after: not within the two that the loss was expected in"
    soon = REPORTED.model_copy(update={"at": at(1)})
    scored = look_back(decided(safe=[0.1, None], emptied_at=at(5)), NodeEvidence(told=(soon,)), at(30))
    assert scored is not None
    assert scored.lost == 10.0


def test_a_failure_that_is_told_of_and_seen_is_one() -> None:
    """A person writes 03:00; the agent saw silence from 03:30 on."""
    silence = seen(silent=[(3.5, 6)])
    told = NodeEvidence(seen=silence, told=(REPORTED,))
    assert [(one.at, one.sure) for one in told.failures("a", at(30))] == [(at(3), True)]
    assert len(unadvised(told, [], ["a"], at(30))) == 1
    earlier = REPORTED.model_copy(update={"at": at(0.5)})
    assert len(NodeEvidence(seen=silence, told=(earlier,)).failures("a", at(30))) == 2


def test_a_failure_that_a_person_says_was_averted_was_foreseen() -> None:
    """A node that was emptied goes silent: only a person knows that it failed, and not when."""
    evidence = NodeEvidence(seen=seen(silent=[(3, 30)]))
    unknowable = look_back(decided(), evidence, at(30))
    assert unknowable is not None
    averted = unknowable.model_copy(update={"hindsight": A, "corrected_by": "ana"})
    came = calibrate([unknowable, averted], [], evidence, [], [], at(30))
    assert (came.foreseen.count, came.foreseen.of) == (1, 1)
