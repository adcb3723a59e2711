"""A rack or feed that fails as one is one event, and no place to move to."""

from __future__ import annotations

import pytest
from scenes.topology import NOW, Topology

from agent.guard.judge import judge
from agent.plan.simulate import simulate
from agent.plan.solver import plan
from models.plan import ActionKind
from models.risk.risk import Driver
from models.risk.risk_level import RiskLevel
from models.situation import Situation

FEED = Driver(signal="psu_12v_volts", why="PSU1 12 V: falling")
DISK = Driver(signal="disk_pending_sectors", why="sda: pending sectors")


def racks(*, dying: int, of: int, drivers: tuple[Driver, ...] = (FEED,), elsewhere: bool = True) -> Situation:
    """`dying` of the `of` nodes of rack r1 are at the trigger for these drivers, the others sound; two more in r2."""
    scene = Topology(storm={"max_risky_fraction": 1.0})
    for number in range(of):
        scene.node(f"r1-{number}", failure_domain="r1", risk=0.8 if number < dying else 0.001)
    if elsewhere:
        scene.node("r2-0", failure_domain="r2").node("r2-1", failure_domain="r2")
    for number in range(dying):
        scene.vm(f"v{number}", on=f"r1-{number}")
    risks = [risk.model_copy(update={"drivers": drivers}) if risk.within(7200) > 0.5 else risk for risk in scene.risks]
    return Situation(fleet=scene.fleet, risks=risks, policy=scene.policy, now=NOW)


@pytest.mark.parametrize(
    ("dying", "of", "event"), [(1, 4, False), (2, 4, True), (2, 6, True), (2, 7, False), (3, 7, True)]
)
def test_a_third_of_a_rack_with_one_reason_is_the_rack(dying: int, of: int, event: bool) -> None:
    situation = racks(dying=dying, of=of)
    assert bool(situation.domain_events) is event
    last = situation.node_risks[f"r1-{of - 1}"]
    assert (last.level is RiskLevel.ELEVATED) is event
    assert ("r1 looks like failing as one" in last.why) is event
    assert situation.node_risks["r2-0"].level is RiskLevel.ACCEPTABLE


def test_nodes_that_share_no_reason_or_no_rack_are_two_events() -> None:
    situation = racks(dying=2, of=4)
    first, *rest = list(situation.risks or [])
    apart = Situation(
        fleet=situation.fleet,
        risks=[first.model_copy(update={"drivers": (DISK,)}), *rest],
        policy=situation.policy,
        now=NOW,
    )
    assert apart.domain_events == ()
    assert racks(dying=2, of=4, drivers=()).domain_events == ()


def test_nothing_moves_within_a_rack_that_fails_as_one() -> None:
    situation = racks(dying=2, of=4)
    made = plan(situation)
    assert {move.target for move in made.moves} <= {"r2-0", "r2-1"}
    assert judge(made, situation).passed
    into = made.moves[0].model_copy(update={"target": "r1-3"})
    bent = made.model_copy(update={"actions": tuple(into if a is made.moves[0] else a for a in made.actions)})
    failures = judge(bent, situation).failures
    assert [failure.rule for failure in failures] == ["target-risk"]
    assert "looks like failing as one: r1-0 and r1-1" in failures[0].why


def test_with_no_other_rack_the_vms_stay_and_say_why() -> None:
    made = plan(racks(dying=2, of=4, elsewhere=False))
    assert {action.kind for action in made.actions} == {ActionKind.STAY}


def test_one_event_takes_all_its_nodes_in_the_same_futures() -> None:
    situation = racks(dying=2, of=4)
    apart = racks(dying=2, of=4, drivers=())
    nothing, _, _, _ = simulate(situation, plan(situation), runs=4000).strategies
    each, _, _, _ = simulate(apart, plan(apart), runs=4000).strategies
    assert nothing.lost_mean == pytest.approx(each.lost_mean, abs=0.1), (
        "one event or two, as much is expected to be lost"
    )
    assert (nothing.saved.p50, nothing.saved.p95) == (0, 0), "with chance 0.8 both at once"
