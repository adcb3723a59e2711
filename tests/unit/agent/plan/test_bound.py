"""Beside each plan stands what no plan can better; it must hold against every plan, not only ours."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scenes.topology import Topology

from agent.plan.solver import plan
from agent.plan.timing.waves import GROWTH_SHARES, pack, schedule
from models.plan import Plan
from models.planning.schedule import Move, Timing
from models.situation import Situation


def dying(
    *, gibs: Sequence[float], weights: Sequence[str], sources: Sequence[str], curve: dict[str, float]
) -> Situation:
    scene = Topology(limits={"outbound_per_node": 2}).node("a", risk=0.8).node("z", risk=0.8)
    for name in "bcdefg":
        scene.node(name)
    for number, (gib, priority, source) in enumerate(zip(gibs, weights, sources, strict=True)):
        scene.vm(f"v{number}", on=source, gib=gib, priority=priority)
    situation = scene.situation
    risks = [r.model_copy(update={"probability": curve}) if r.node in "az" else r for r in scene.risks]
    return Situation(fleet=situation.fleet, risks=risks, policy=situation.policy, now=situation.now)


def loss_of(timings: dict[str, Timing], moves: Sequence[Move], situation: Situation) -> float:
    policy, horizon = situation.policy, situation.horizon_seconds
    return sum(
        policy.weights.of(m.vm.priority)
        * situation.failure_probability(m.source, min(timings[m.vm.uuid].done, horizon))
        for m in moves
    )


def every_order(made: Plan, situation: Situation) -> float:
    """The least loss of any order of the plan's moves, filled into waves in any way that is known."""
    fleet, policy = situation.fleet, situation.policy
    moves = [Move(vm=fleet.vm_by_uuid[a.vm], kind=a.kind, source=a.source, target=a.target) for a in made.moves]
    return min(
        loss_of(schedule(pack(order, fleet, policy, share), fleet, policy), moves, situation)
        for order in itertools.permutations(moves)
        for share in (*GROWTH_SHARES, 2.0)
    )


@pytest.mark.slow
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    gibs=st.lists(st.sampled_from([0.5, 1, 4, 12, 30]), min_size=4, max_size=4),
    weights=st.lists(st.sampled_from(["high", "normal", "low"]), min_size=4, max_size=4),
    sources=st.lists(st.sampled_from("az"), min_size=4, max_size=4),
    curve=st.sampled_from(
        [
            {"2h": 0.8},
            {"30m": 0.7, "2h": 0.75},
            {"30m": 0.05, "2h": 0.9},
            {"1m": 0.5, "2h": 0.6},
            {"1m": 0.01, "5m": 0.8, "2h": 0.9},
        ]
    ),
)
def test_no_order_of_any_moves_goes_below_the_bound(
    gibs: list[float], weights: list[str], sources: list[str], curve: dict[str, float]
) -> None:
    situation = dying(gibs=gibs, weights=weights, sources=sources, curve=curve)
    made = plan(situation)
    assert made.bound is not None
    assert made.bound <= every_order(made, situation) + 1e-6
    assert made.expected_loss >= made.bound


@pytest.mark.parametrize("seed", range(8))
def test_no_single_file_goes_below_the_bound(seed: int) -> None:
    chance = random.Random(seed)
    gibs = [chance.choice([0.5, 1, 4, 8]) for _ in range(20)]
    weights = [chance.choice(["high", "normal", "low"]) for _ in range(20)]
    situation = dying(gibs=gibs, weights=weights, sources=["a"] * 20, curve={"30m": 0.4, "2h": 0.9})
    made = plan(situation)
    assert made.bound is not None
    assert made.gap is not None
    assert made.gap == pytest.approx((made.expected_loss - made.bound) / made.expected_loss, abs=1e-4)
    fleet, policy = situation.fleet, situation.policy
    moves = [Move(vm=fleet.vm_by_uuid[a.vm], kind=a.kind, source=a.source, target=a.target) for a in made.moves]
    for _ in range(20):
        chance.shuffle(moves)
        waves = pack(moves, fleet, policy, chance.choice([0.0, 0.5, 1.0]))
        assert loss_of(schedule(waves, fleet, policy), moves, situation) >= made.bound - 1e-6


def test_one_vm_alone_has_no_gap() -> None:
    situation = dying(gibs=[4], weights=["high"], sources=["a"], curve={"2h": 0.8})
    made = plan(situation)
    assert made.gap == pytest.approx(0, abs=0.01)


def test_what_can_not_leave_is_in_the_bound() -> None:
    scene = (
        Topology()
        .node("a", risk=0.8)
        .vm("stays", on="a", priority="high", migratable=False, cold_obstacle="a mediated device")
    )
    made = plan(scene.situation)
    assert made.expected_loss == pytest.approx(80)
    assert made.bound == pytest.approx(80)
    assert made.gap == 0


def test_what_finds_no_memory_anywhere_is_in_the_bound() -> None:
    scene = Topology(target={"memory_headroom": 0}).node("a", risk=0.8).node("b")
    for number in range(4):
        scene.vm(f"v{number}", on="a", gib=30, priority="high")
    made = plan(scene.situation)
    assert len(made.moves) == 2
    assert made.bound is not None
    assert made.bound >= 160, "60 GiB of 120 find room: two of four vms stay"


def test_nothing_to_do_loses_nothing() -> None:
    made = plan(Topology().node("a").node("b").vm("x", on="a").situation)
    assert (made.expected_loss, made.bound, made.gap) == (0, 0, 0)
