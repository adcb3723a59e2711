"""N+1: whose failure the fleet has room for, before a plan and after it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes.topology import Topology

from agent.plan.assignment.next_failure import next_failure
from agent.plan.solver import plan
from models.fleet import VmState
from models.plan import Survival


def sound(**policy: object) -> Topology:
    return Topology(**{"target": {"memory_headroom": 0}, **policy}).node("b").node("c")


def survival(scene: Topology) -> Survival:
    return next_failure(scene.situation, ["a"], ()).before


def test_half_full_nodes_stand_in_for_each_other() -> None:
    scene = sound().vm("x", on="b", gib=30).vm("y", on="c", gib=30)
    assert survival(scene) == Survival(nodes=2, not_survived=0)


def test_a_node_whose_vms_find_no_room_is_named() -> None:
    scene = sound().vm("x", on="b", gib=40).vm("y", on="c", gib=30)
    assert survival(scene) == Survival(nodes=2, not_survived=2, such_as=("b", "c"))


def test_what_is_shut_off_needs_no_room_when_its_node_fails() -> None:
    scene = sound().vm("x", on="b", gib=40, state="shutoff").vm("y", on="c", gib=10)
    assert survival(scene).not_survived == 0


def test_group_name_and_cpu_count() -> None:
    groups = sound().vm("x", on="b", anti_affinity_group="g").vm("y", on="c", anti_affinity_group="g")
    assert survival(groups).not_survived == 2
    twins = sound().vm("x", on="b").node("d", memory_bytes=1)
    assert survival(twins).not_survived == 0
    models = Topology().node("b", cpu_model="Skylake").node("c", cpu_model="Icelake").vm("x", on="b")
    assert survival(models) == Survival(nodes=2, not_survived=1, such_as=("b",))


def test_the_plan_uses_up_what_the_next_failure_needs() -> None:
    scene = sound().node("a", risk=0.8).vm("x", on="a", gib=20).vm("y", on="b", gib=30).vm("z", on="c", gib=30)
    made = plan(scene.situation)
    assert made.next_failure is not None
    assert made.next_failure.before.not_survived == 0
    assert made.next_failure.after.not_survived == 2


def test_a_fleet_without_a_sound_node_survives_nothing() -> None:
    made = plan(Topology().node("a", risk=0.8).vm("x", on="a").situation)
    assert made.next_failure is not None
    assert made.next_failure.after.nodes == 0


sizes = st.lists(st.tuples(st.sampled_from("bcdef"), st.sampled_from([1, 6, 14, 25])), max_size=14)


@pytest.mark.slow
@given(sizes)
@settings(deadline=None, max_examples=40)
def test_who_is_said_to_be_survived_really_has_room_elsewhere(facts: list[tuple[str, int]]) -> None:
    scene = Topology(target={"memory_headroom": 0})
    for name in "bcdef":
        scene.node(name)
    for number, (node, gib) in enumerate(facts):
        scene.vm(f"v{number}", on=node, gib=gib)
    told = survival(scene)
    for node in set("bcdef") - set(told.such_as):
        # A person who empties the node by hand finds room for everything as well.
        made = plan(scene.situation, asked=[node])
        assert all(action.kind == "live_migrate" for action in made.actions)
        assert all(vm.state is VmState.RUNNING for vm in scene.fleet.vms_on(node))
