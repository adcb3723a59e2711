"""Lanes that do not wait for each other: shorter than waves where nodes are many, and lawful however far one is ahead."""

from __future__ import annotations

import random
from typing import Any

import pytest
from scenes.independent_checker import broken_on_the_way
from scenes.topology import Topology, archive, live

from agent.guard.judge import judge
from agent.plan.solver import plan
from agent.plan.timing.waves import best_waves, schedule
from models.plan import ActionKind
from models.planning.schedule import Move


def dying(seed: int, *, sources: int = 3, vms: int = 12, **policy: Any) -> Topology:
    chance = random.Random(seed)
    scene = Topology(storm={"max_risky_fraction": 1.0}, **policy)
    for number in range(sources):
        scene.node(f"a{number}", risk=0.8)
    for number in range(5):
        scene.node(f"t{number}", memory_bytes=256 << 30, cpus=64)
    for number in range(vms):
        scene.vm(
            f"v{number}", on=f"a{number % sources}", gib=chance.choice([0.5, 1, 4, 12]), vcpus=1,
            priority=chance.choice(["high", "normal", "low"]), migratable=chance.random() < 0.8,
            dirty_bytes_per_second=chance.choice([0.0, 1e6, 2e7]), cold_archive_allowed=chance.random() < 0.5,
        )  # fmt: skip
    return scene


@pytest.mark.parametrize("seed", range(4))
def test_lanes_keep_every_limit_at_every_pace_and_lose_no_more_than_waves(seed: int) -> None:
    scene = dying(seed)
    made = plan(scene.situation)
    assert len({action.lane for action in made.moves}) > 1
    assert judge(made, scene.situation).passed
    assert broken_on_the_way(made, scene.fleet, scene.policy, paces=20) == []
    fleet, situation = scene.fleet, scene.situation
    moves = [Move(vm=fleet.vm_by_uuid[a.vm], kind=a.kind, source=a.source, target=a.target) for a in made.moves]

    def loss(timings: Any) -> float:
        return sum(
            scene.policy.weights.of(m.vm.priority) * situation.failure_probability(m.source, timings[m.vm.uuid].done)
            for m in moves
        )

    waves = best_waves(moves, fleet, scene.policy, {m.source: 0.8 for m in moves}, loss)
    assert made.expected_loss <= loss(schedule(waves, fleet, scene.policy)) + 1e-6
    assert made.bound is not None
    assert made.bound <= made.expected_loss


@pytest.mark.parametrize("limits", [{"inbound_per_node": 1}, {"per_fleet": 2}, {"outbound_per_node": 1, "per_link": 1}])
def test_what_policy_lets_at_once_is_never_passed_by_lanes_that_meet(limits: dict[str, int]) -> None:
    scene = dying(7, limits=limits)
    made = plan(scene.situation)
    assert len(made.moves) == 12
    assert judge(made, scene.situation).passed
    assert broken_on_the_way(made, scene.fleet, scene.policy, paces=20) == []


def test_a_guest_that_converges_only_alone_has_both_links_to_itself() -> None:
    scene = dying(1)
    scene.vm("hot", on="a0", gib=1, dirty_bytes_per_second=150e6)
    made = plan(scene.situation)
    hot = next(move for move in made.moves if move.vm_name == "hot")
    assert hot.kind == "live_migrate"
    others = [move for move in made.moves if move.lane != hot.lane and move.kind == "live_migrate"]
    assert len({move.lane for move in made.moves}) == 1 or not [m for m in others if m.source == "a0"]
    assert judge(made, scene.situation).passed


def test_the_guard_counts_what_lanes_may_do_at_once() -> None:
    scene = Topology(limits={"outbound_per_node": 1}).node("a", risk=0.8).node("b").node("c")
    scene.vm("x", on="a").vm("y", on="a")
    side_by_side = scene.plan_of(live("x", "a", "b", wave=0), live("y", "a", "c", wave=1, lane=1), evacuating=("a",))
    verdict = judge(side_by_side, scene.situation)
    assert {failure.rule for failure in verdict.failures} == {"limit-outbound"}
    assert "lanes side by side" in verdict.failures[0].why
    in_one_lane = scene.plan_of(live("x", "a", "b", wave=0), live("y", "a", "c", wave=1), evacuating=("a",))
    assert judge(in_one_lane, scene.situation).passed


def test_room_that_another_lane_leaves_is_no_room() -> None:
    """In waves `y` leaves before `x` arrives; in lanes nobody knows."""
    scene = Topology(target={"memory_headroom": 0}).node("a", risk=0.8).node("b", memory_bytes=14 << 30).node("c")
    scene.vm("x", on="a", gib=8).vm("y", on="b", gib=4)
    first, then = live("y", "b", "c", wave=0), live("x", "a", "b", wave=1)
    assert judge(scene.plan_of(first, then, evacuating=("a",)), scene.situation).passed
    apart = scene.plan_of(first, then.model_copy(update={"lane": 1}), evacuating=("a",))
    assert "target-memory-peak" in {failure.rule for failure in judge(apart, scene.situation).failures}


def test_archives_have_a_lane_beside_what_moves_live() -> None:
    scene = Topology().node("a", risk=0.8).node("b")
    for number in range(3):
        scene.vm(f"v{number}", on="a", gib=8)
        scene.vm(f"low{number}", on="a", priority="low", cold_archive_allowed=True)
    made = plan(scene.situation)
    lanes = {move.kind: {m.lane for m in made.moves if m.kind == move.kind} for move in made.moves}
    assert lanes[ActionKind.LIVE_MIGRATE].isdisjoint(lanes[ActionKind.COLD_ARCHIVE])
    assert broken_on_the_way(made, scene.fleet, scene.policy) == []
    assert archive("low0", "a").lane == 0, "a hand-made plan has one lane"
