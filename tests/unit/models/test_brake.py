"""The brake over a day: what a risk that flaps may do to fleets of 2, 3 and 5 nodes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes.topology import NOW, Topology

from agent.guard.judge import judge
from agent.plan.solver import plan
from models.brake import DAY, nodes_a_day
from models.fleet import Fleet
from models.past_moves import PastMove, PastMoves
from models.policy.policy import Policy
from models.risk.risk import Risk
from models.situation import Situation

STEP = timedelta(minutes=5)


def after(fleet: Fleet, made: list[PastMove]) -> Fleet:
    where = {move.vm: move.target for move in made}
    vms = tuple(vm.model_copy(update={"node": where.get(vm.uuid) or vm.node}) for vm in fleet.vms)
    return fleet.model_copy(update={"vms": vms})


def a_day(size: int, looks: list[tuple[int, float]]) -> tuple[Fleet, list[PastMove]]:
    """What policy alone would move, look after look, when at each one node has one risk and the others none."""
    topology = Topology()
    names = [f"n{k}" for k in range(size)]
    for name in names:
        topology.node(name)
    for number in range(2 * size):
        topology.vm(f"v{number}", on=names[number % size])
    fleet, done, now = topology.fleet, list[PastMove](), NOW
    for risky, p in looks:
        now += STEP
        risks = [
            Risk(node=name, probability={"2h": p if k == risky % size else 0.0}, data_age_seconds=1.0, assessed_at=now)
            for k, name in enumerate(names)
        ]
        fleet = fleet.model_copy(update={"observed_at": now, "past_moves": PastMoves(moves=tuple(done))})
        situation = Situation(fleet=fleet, risks=risks, policy=Policy(), now=now)
        made = plan(situation, optimise=False)
        if not made.moves or not judge(made, situation).passed:
            continue
        moves = [
            PastMove(at=now, vm=action.vm, vm_name=action.vm_name, source=action.source, target=action.target)
            for action in made.moves
        ]
        done, fleet = [*done, *moves], after(fleet, moves)
    return fleet, done


@settings(max_examples=8, deadline=None)
@given(
    size=st.sampled_from([2, 3, 5]),
    looks=st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.0, 0.6, 1.0])), min_size=5, max_size=25),
)
def test_a_flapping_risk_moves_each_guest_seldom_and_empties_few_nodes(
    size: int, looks: list[tuple[int, float]]
) -> None:
    fleet, done = a_day(size, looks)
    policy = Policy()
    assert len({move.source for move in done}) <= nodes_a_day(fleet, policy) == {2: 1, 3: 2, 5: 3}[size]
    by_vm: dict[str, list[PastMove]] = defaultdict(list)
    for move in done:
        by_vm[move.vm].append(move)
    for moves in by_vm.values():
        assert len(moves) <= policy.churn.moves_of_one_guest
        assert all(b.at - a.at >= policy.churn.guest_cooldown for a, b in pairwise(moves))


@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_first_node_that_fails_is_left_on_the_smallest_fleets_too(size: int) -> None:
    _, done = a_day(size, [(0, 0.9)])
    assert {move.source for move in done} == {"n0"}
    assert len(done) == 2


def test_a_held_vm_stays_with_its_reason_and_the_others_leave() -> None:
    scene = Topology().node("a", risk=0.8).node("b").node("c").vm("x", on="a").vm("y", on="a")
    scene.moved("x", "b", "a", minutes_ago=5)
    made = plan(scene.situation)
    (stays,) = [action for action in made.actions if not action.target]
    assert (stays.vm_name, stays.kind) == ("x", "stay")
    assert "lifeboat moved it from b to a" in stays.reason
    assert "left alone for 10m" in stays.reason
    assert judge(made, scene.situation).passed
    asked = plan(scene.situation, asked=["a"])
    assert {action.vm_name for action in asked.moves} == {"x", "y"}


def test_what_is_remembered_is_no_part_of_what_was_agreed_to() -> None:
    scene = Topology().node("a").vm("x", on="a")
    before = scene.fleet.digest()
    assert scene.moved("x", "b", "a", minutes_ago=5).fleet.digest() == before


def test_a_clock_that_was_set_back_holds_no_longer_than_the_hold() -> None:
    scene = Topology().node("a", risk=0.8).node("b").vm("x", on="a").moved("x", "b", "a", minutes_ago=-30)
    assert scene.situation.held
    assert not replace(scene.situation, now=NOW + timedelta(minutes=41)).held
    assert not replace(scene.situation, now=NOW + DAY * 2).held
