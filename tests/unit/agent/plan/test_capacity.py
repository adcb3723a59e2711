"""Targets as arrays answer as one target asked after the other would."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes.topology import GIB, Topology

from agent.plan.assignment.greedy import Targets, price_options
from agent.plan.capacity import Capacities, free_capacity
from agent.plan.options import options_by_class, options_of, possible_targets, target_classes
from models.plan import ActionKind
from models.planning.schedule import Move

vms = st.lists(
    st.fixed_dictionaries(
        {
            "on": st.sampled_from("abcd"),
            "gib": st.sampled_from([1, 8, 20, 31]),
            "vcpus": st.sampled_from([1, 6, 30]),
            "state": st.sampled_from(["running", "shutoff", "paused"]),
            "anti_affinity_group": st.sampled_from([None, "g", "h"]),
        }
    ),
    max_size=12,
)


def scene(facts: list[dict[str, Any]], *, count_stopped: bool) -> Topology:
    topology = Topology(target={"count_stopped_vms": count_stopped})
    for name in "abcd":
        topology.node(name)
    for number, told in enumerate(facts):
        topology.vm(f"v{number}", **told)
    return topology


@given(facts=vms, count_stopped=st.booleans(), moves=st.data())
@settings(deadline=None, max_examples=60)
def test_all_at_once_answers_as_one_by_one(
    facts: list[dict[str, Any]], count_stopped: bool, moves: st.DataObject
) -> None:
    topology = scene(facts, count_stopped=count_stopped)
    fleet, policy = topology.fleet, topology.policy
    together = Capacities(fleet.nodes, fleet, policy)
    single = {node.name: free_capacity(node, fleet, policy) for node in fleet.nodes}
    for vm in moves.draw(st.permutations(fleet.vms)):
        places = together.that_take(vm, np.arange(4))
        assert [together.names[p] for p in places] == [name for name in "abcd" if single[name].takes(vm, policy)]
        if len(places):
            target = together.names[places[0]]
            together.take(vm, target, 1.0)
            single[target].take(vm, 1.0, policy)


@given(facts=vms, count_stopped=st.booleans())
@settings(deadline=None, max_examples=40)
def test_after_every_move_is_what_the_moved_fleet_has(facts: list[dict[str, Any]], count_stopped: bool) -> None:
    topology = scene(facts, count_stopped=count_stopped)
    fleet, policy = topology.fleet, topology.policy
    moves = [
        Move(vm=vm, kind=ActionKind.LIVE_MIGRATE, source=vm.node, target="d" if vm.node != "d" else "a")
        for vm in fleet.vms[::2]
    ]
    left = Capacities(fleet.nodes, fleet, policy).after(moves)
    at = {move.vm.uuid: move.target for move in moves}
    moved = fleet.model_copy(
        update={"vms": tuple(vm.model_copy(update={"node": at.get(vm.uuid, vm.node)}) for vm in fleet.vms)}
    )
    moved = type(fleet).model_validate(moved.model_dump())
    for node in moved.nodes:
        expected, place = free_capacity(node, moved, policy), left.place[node.name]
        assert left.memory[place] == expected.memory
        assert left.vcpus[place] == expected.vcpus
        assert {group for group, there in left.members.items() if there.get(place, 0) > 0} == expected.groups


def test_what_a_vm_costs_is_worked_out_once_for_all_alike_targets() -> None:
    topology = Topology().node("dying", risk=0.9).vm("web", on="dying")
    for number in range(300):
        topology.node(f"spare-{number:03}", cpu_model="Skylake" if number % 2 else "")
    situation = topology.situation
    targets = Targets(target_classes(possible_targets(situation, ["dying"])), situation)
    options = options_by_class(situation.fleet.vms[0], situation.fleet.nodes[0], targets.classes, situation.policy)
    assert len(price_options(options, situation, waiting=0.0)) == 3, "two kinds of targets, and staying"
    assert len(options.moves) == 300


@pytest.mark.parametrize(
    "differing", [{"cpu_model": "Icelake"}, {"migration_bytes_per_second": 1e7}, {"archive_bytes_per_second": 1e7}]
)
def test_targets_that_a_move_can_tell_apart_are_not_alike(differing: dict[str, Any]) -> None:
    topology = Topology().node("a", cpu_model="Skylake").node("b", cpu_model="Skylake")
    told: dict[str, Any] = {"cpu_model": "Skylake", **differing}
    topology.node("c", **told)
    assert [each.names for each in target_classes(topology.fleet.nodes)] == [("a", "b"), ("c",)]


@given(
    bandwidths=st.lists(st.sampled_from([1e7, 1.25e8, 1.25e9]), min_size=3, max_size=3),
    dirty=st.sampled_from([None, 1e6, 3e7]),
)
@settings(deadline=None, max_examples=30)
def test_an_option_takes_as_long_as_asked_of_its_target_alone(bandwidths: list[float], dirty: float | None) -> None:
    topology = Topology().node("dying", risk=0.9).vm("web", on="dying", gib=2, dirty_bytes_per_second=dirty)
    for name, rate in zip("abc", bandwidths, strict=True):
        topology.node(name, migration_bytes_per_second=rate)
    source, *targets = topology.fleet.nodes
    vm, policy = topology.fleet.vms[0], topology.policy
    together = {o.target: o.seconds for o in options_of(vm, source, tuple(targets), policy).moves}
    alone = {
        o.target: o.seconds
        for t in targets
        for o in options_of(vm, source, (t,), policy).moves
        if o.kind == "live_migrate"
    }
    assert {name: together.get(name) for name in alone} == alone


def test_a_roomless_vm_is_told_what_would_have_to_change() -> None:
    from agent.plan.solver import plan

    topology = Topology(target={"memory_headroom": 0}).node("dying", risk=0.9).vm("big", on="dying", gib=16)
    topology.node("b").vm("b1", on="b", gib=50).node("c").vm("c1", on="c", gib=58, priority="high", migratable=False)
    topology.vm("b2", on="b", gib=0.25, migratable=False)
    situation = topology.situation
    (action,) = plan(situation).actions
    assert action.kind is ActionKind.STAY
    assert "it could leave if b had 6.3 GiB more, or c had 14 GiB more" in action.reason
    more = {"b": int(6.3 * GIB)}
    nodes = tuple(
        n.model_copy(update={"memory_bytes": n.memory_bytes + more.get(n.name, 0)}) for n in situation.fleet.nodes
    )
    fleet = type(situation.fleet)(observed_at=situation.fleet.observed_at, nodes=nodes, vms=situation.fleet.vms)
    (now,) = plan(
        type(situation)(fleet=fleet, risks=situation.risks, policy=situation.policy, now=situation.now)
    ).actions
    assert now.target == "b", "with what was named it does leave"
