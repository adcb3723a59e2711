"""When a move is best begun: now, or at a quieter time while the risk until then costs less."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes.topology import NOW, Topology

from agent.guard.judge import judge
from agent.plan.solver import plan
from models.plan import Action, ActionKind, Plan
from models.policy.policy import Policy
from models.policy.wait import openings
from models.text import when_in_words

NIGHTLY = {"windows": ["22:00-02:00"]}
BY_DAY = tuple(1.0 if 3 <= hour < 22 else 0.05 for hour in range(24))
"""a guest that is at work from 3 to 22 o'clock; the scene's clock says 4"""


def scene(*, risk: float = 0.001, wait: dict[str, Any] | None = None, **vm: Any) -> Topology:
    return Topology(wait=wait or {}).node("a", risk=risk).node("b").vm("x", on="a", **vm)


def planned(topology: Topology) -> tuple[Plan, Action]:
    """The plan for `a`, which a person named, and what happens to `x`; the guard passes it."""
    made = plan(topology.situation, asked=("a",))
    verdict = judge(made, topology.situation)
    assert verdict.passed, verdict.failures
    return made, made.actions[0]


def test_without_windows_and_without_history_nothing_waits() -> None:
    assert planned(scene())[1].not_before is None


def test_what_can_wait_goes_to_the_maintenance_window_and_says_why() -> None:
    _, move = planned(scene(wait=NIGHTLY))
    assert move.not_before == datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
    assert move.estimated_start_seconds == pytest.approx(18 * 3600)
    assert "waits until tonight 22:00 UTC: in a maintenance window" in move.reason


def test_what_can_wait_goes_to_the_guests_own_quiet_hours() -> None:
    _, move = planned(scene(load_by_hour=BY_DAY))
    assert move.not_before == datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
    assert "5.0 % of its busiest" in move.reason
    assert planned(scene(load_by_hour=BY_DAY, wait={"quiet_hours": False}))[1].not_before is None


def test_in_a_window_or_a_quiet_hour_it_goes_now() -> None:
    assert planned(scene(wait={"windows": ["03:00-06:00", "22:00-02:00"]}))[1].not_before is None
    assert planned(scene(load_by_hour=tuple(0.05 if hour == 4 else 1.0 for hour in range(24))))[1].not_before is None


def test_a_move_that_does_not_fit_into_the_window_does_not_wait_for_it() -> None:
    long = scene(wait={"windows": ["22:00-22:01"]}, gib=30)
    assert planned(long)[1].not_before is None


@pytest.mark.parametrize(("risk", "waits"), [(0.001, True), (0.01, True), (0.05, False), (0.3, False), (0.8, False)])
def test_it_waits_only_while_the_risk_until_then_costs_less(risk: float, waits: bool) -> None:
    assert (planned(scene(risk=risk, wait=NIGHTLY))[1].not_before is not None) == waits


def test_what_stops_the_guest_is_worth_waiting_for_longer() -> None:
    _, move = planned(scene(risk=0.05, wait=NIGHTLY, migratable=False))
    assert (move.kind, move.not_before is not None) == (ActionKind.COLD_MIGRATE, True)


def test_a_guest_that_is_off_does_not_wait() -> None:
    assert planned(scene(wait=NIGHTLY, state="shutoff"))[1].not_before is None


def test_nothing_waits_on_a_node_of_which_nothing_is_known() -> None:
    topology = Topology(wait=NIGHTLY).node("a", risk=None).node("b").vm("x", on="a")
    assert planned(topology)[1].not_before is None


def test_a_plan_falls_into_what_begins_together() -> None:
    topology = scene(wait=NIGHTLY).vm("off", on="a", state="shutoff")
    made, _ = planned(topology)
    now, tonight = made.parts(NOW)
    assert [action.vm_name for action in now.moves] == ["off"]
    assert [action.vm_name for action in tonight.moves] == ["x"]
    assert (now.starts_at, tonight.starts_at) == (None, datetime(2026, 11, 23, 22, 0, tzinfo=UTC))
    assert {action.vm for action in now.actions} == {action.vm for action in tonight.actions} == {"uuid-x", "uuid-off"}
    assert all(judge(part, topology.situation).passed for part in (now, tonight))
    at_night = NOW + timedelta(hours=18)
    assert [{action.vm_name for action in part.moves} for part in made.parts(at_night)] == [{"x", "off"}]


@settings(deadline=None, max_examples=40)
@given(
    risk=st.sampled_from([0.0, 0.001, 0.02, 0.2, 0.5, 0.9]),
    hours=st.integers(-1, 40),
    stops=st.booleans(),
    price=st.sampled_from([0.0, 0.02, 0.5]),
)
def test_the_guard_lets_nothing_wait_that_costs_more_than_its_price(
    risk: float, hours: int, stops: bool, price: float
) -> None:
    topology = scene(risk=risk, wait={"price": price, "stop_price": price}, migratable=not stops)
    until = NOW + timedelta(hours=hours)
    made = plan(topology.situation, asked=("a",))
    put_off = [action.model_copy(update={"not_before": until}) for action in made.actions]
    verdict = judge(made.model_copy(update={"actions": tuple(put_off)}), topology.situation)
    # counted here from the curve's own points: (30m, 0.4 × risk), (2h, risk), (24h, 1.1 × risk)
    curve = [(0.0, 0.0), (1800.0, 0.4 * risk), (7200.0, risk), (86400.0, min(1.0, 1.1 * risk))]
    refused = hours > 0 and (
        hours > 24 or risk >= 0.5 or _within(curve, hours * 3600 + 60) - _within(curve, 60) > price + 0.01 * risk
    )
    lawful = hours <= 0 or (
        hours <= 24 and risk < 0.5 and _within(curve, hours * 3600 + 120) - _within(curve, 0) <= price
    )
    assert not (refused and verdict.passed)
    assert not (lawful and not verdict.passed), verdict.failures


def _within(curve: list[tuple[float, float]], seconds: float) -> float:
    for (before, low), (at, p) in pairwise(curve):
        if seconds <= at:
            return low + (p - low) * (seconds - before) / (at - before)
    return curve[-1][1]


@pytest.mark.parametrize("text", ["22-5", "25:00-26:00", "22:00-05:61", "someday 22:00-05:00", "", "22:00-05:00 UTC"])
def test_a_window_that_no_day_has_is_bad_input(text: str) -> None:
    with pytest.raises(ValueError, match=r"window|day|time"):
        Policy.model_validate({"wait": {"windows": [text]}})


def test_windows_over_midnight_and_on_some_days() -> None:
    monday = datetime(2026, 11, 23, 0, 30, tzinfo=UTC)
    (open_now,) = openings("22:00-05:00", monday, monday)
    assert open_now == (datetime(2026, 11, 22, 22, tzinfo=UTC), datetime(2026, 11, 23, 5, tzinfo=UTC))
    week = openings("sat,sun 00:00-24:00", monday, monday + timedelta(days=7))
    assert [opens.strftime("%a %H:%M") for opens, _ in week] == ["Sat 00:00", "Sun 00:00"]


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (0, "now"),
        (3, "today 07:00 UTC"),
        (22, "tonight 02:00 UTC"),
        (15, "tonight 19:00 UTC"),
        (30, "tomorrow 10:00 UTC"),
    ],
)
def test_when_in_words(hours: int, words: str) -> None:
    assert when_in_words(NOW + timedelta(hours=hours), NOW) == words
