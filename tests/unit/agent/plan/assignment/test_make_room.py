"""Full fleets: vms of sound nodes make room, in an order that keeps every limit on the way, or what is missing is named."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scenes.independent_checker import broken_on_the_way
from scenes.topology import Topology, live

from agent.guard.judge import judge
from agent.plan.solver import plan
from models.plan import Action, Plan
from models.policy.policy import Policy


def room(**policy: Any) -> Topology:
    """`a` is about to fail; nodes of 60 GiB for vms, all of it usable."""
    return Topology(**{"target": {"memory_headroom": 0}, **policy}).node("a", risk=0.8)


def moved(made: Plan) -> dict[str, tuple[str | None, int]]:
    return {action.vm_name: (action.target, action.wave) for action in made.moves}


def the(made: Plan, name: str) -> Action:
    return next(action for action in made.actions if action.vm_name == name)


def checked(scene: Topology) -> Plan:
    made = plan(scene.situation)
    assert broken_on_the_way(made, scene.fleet, scene.policy) == []
    assert not judge(made, scene.situation).failures
    return made


def one_step() -> Topology:
    """`x` fits on `b` once `r` has gone to `c`, which has room for `r` and for nothing larger."""
    scene = room().vm("x", on="a", gib=16, priority="high").node("b").vm("r", on="b", gib=8, priority="low")
    scene.vm("b1", on="b", gib=40, migratable=False)
    return scene.node("c").vm("c1", on="c", gib=50, migratable=False)


def test_a_neighbour_makes_room_first() -> None:
    made = checked(one_step())
    assert moved(made) == {"r": ("c", 0), "x": ("b", 1)}
    assert the(made, "r").reason.startswith("makes room on b for x")
    assert made.evacuating == ("a",)


def test_what_no_node_could_hold_however_empty_stays() -> None:
    scene = room().vm("x", on="a", gib=20, priority="high")
    scene.node("b").vm("b1", on="b", gib=44, migratable=False).vm("r", on="b", gib=14, priority="low")
    scene.node("c").vm("c1", on="c", gib=42, migratable=False)
    made = checked(scene)
    assert moved(made) == {}
    assert the(made, "x").reason.startswith("no room: it needs 20.0 GiB")


def test_a_chain_of_two() -> None:
    """`x` may not meet `c1`: it waits for `b`, which waits for `c`, which waits for `d`."""
    scene = room().vm("x", on="a", gib=16, priority="high", anti_affinity_group="g")
    scene.node("b").vm("b1", on="b", gib=44, migratable=False).vm("r", on="b", gib=14, priority="low")
    scene.node("c").vm("s", on="c", gib=8, priority="low")
    scene.vm("c1", on="c", gib=42, migratable=False, anti_affinity_group="g")
    scene.node("d").vm("d1", on="d", gib=51, migratable=False)
    assert moved(checked(scene)) == {"s": ("d", 0), "r": ("c", 1), "x": ("b", 2)}


def test_two_neighbours_change_places() -> None:
    """`b` has 4 GiB left and `c` 3: `t` (4) goes to `b`, `r` (6) to `c`, and `b` then has room for `x` (6)."""
    scene = room().vm("x", on="a", gib=6, priority="high", anti_affinity_group="g")
    scene.node("b").vm("b1", on="b", gib=50, migratable=False).vm("r", on="b", gib=6, priority="low")
    scene.node("c").vm("t", on="c", gib=4, priority="low")
    scene.vm("c1", on="c", gib=53, migratable=False, anti_affinity_group="g")
    assert moved(checked(scene)) == {"t": ("b", 0), "r": ("c", 1), "x": ("b", 2)}


def test_a_change_of_places_without_a_free_byte_is_not_planned() -> None:
    scene = room().vm("x", on="a", gib=6, priority="high")
    scene.node("b").vm("b1", on="b", gib=51, migratable=False).vm("r", on="b", gib=6, priority="low")
    scene.node("c").vm("c1", on="c", gib=53, migratable=False).vm("t", on="c", gib=5, priority="low")
    made = checked(scene)
    assert moved(made) == {}
    assert "it could leave if b had 3 GiB more, or c had 4 GiB more" in the(made, "x").reason


def test_a_group_makes_room_as_well() -> None:
    scene = room().vm("x", on="a", priority="high", anti_affinity_group="db")
    scene.node("b").vm("y", on="b", priority="low", anti_affinity_group="db")
    scene.node("c").vm("c1", on="c", gib=54, migratable=False)
    made = checked(scene)
    assert moved(made)["x"][0] in ("b", "c")
    blocked = room().vm("x", on="a", gib=8, priority="high", anti_affinity_group="db")
    blocked.node("b").vm("y", on="b", priority="low", anti_affinity_group="db")
    blocked.node("c").vm("c1", on="c", gib=54, migratable=False)
    made = checked(blocked)
    assert moved(made) == {"y": ("c", 0), "x": ("b", 1)}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"priority": "high"}, "moving it costs more than saving x"),
        ({"migratable": False}, "it can't move live"),
        ({"state": "shutoff"}, "it is shut off: nothing of a sound node moves cold"),
        ({"gib": 11}, "no other node has room for it"),
    ],
)
def test_a_neighbour_that_may_not_or_need_not_move_stays(change: dict[str, Any], why: str) -> None:
    facts: dict[str, Any] = {"gib": 8, "priority": "low", **change}
    scene = room().vm("x", on="a", gib=16).node("b").vm("r", on="b", **facts)
    scene.vm("b1", on="b", gib=48 - facts["gib"], migratable=False)
    scene.node("c").vm("c1", on="c", gib=50, migratable=False)
    made = checked(scene)
    assert moved(made) == {}, why


@pytest.mark.parametrize(
    "policy", [{"make_room": {"max_moves": 0}}, {"protected": ["r"]}, {"migration": {"max_downtime": "1ms"}}]
)
def test_what_policy_keeps_in_place_stays(policy: dict[str, Any]) -> None:
    scene = one_step()
    told = scene.policy.model_dump(mode="json") | policy
    if "migration" in policy:
        told["migration"] = scene.policy.model_dump(mode="json")["migration"] | {
            "max_downtime": "1ms",
            "last_downtime": "1ms",
        }
    scene.policy = Policy.model_validate(told)
    assert "r" not in moved(checked(scene))


def test_risky_and_unknown_nodes_take_nothing_to_make_room() -> None:
    scene = one_step()
    for risk in (0.3, None):
        told = [r for r in scene.risks if r.node != "c"]
        if risk is not None:
            told.append(scene.risks[0].model_copy(update={"node": "c", "probability": {"2h": risk}}))
        situation = replace(scene.situation, risks=told)
        assert not plan(situation).moves


def test_no_room_is_made_where_a_vm_of_the_same_name_is() -> None:
    scene = one_step()
    scene.vm("other", on="c", gib=0.25, migratable=False)
    twin = scene.fleet.vm_by_uuid["uuid-other"].model_copy(update={"name": "r"})
    vms = tuple(twin if vm.uuid == "uuid-other" else vm for vm in scene.fleet.vms)
    fleet = scene.fleet.model_copy(update={"vms": vms})
    situation = replace(scene.situation, fleet=type(fleet).model_validate(fleet.model_dump()))
    made = plan(situation)
    assert not judge(made, situation).failures
    assert not made.moves


def tight(seed: int, nodes: int = 6) -> Topology:
    """Every node but the dying one is about 93 % full."""
    chance = random.Random(seed)
    scene = Topology(target={"memory_headroom": 0}).node("a", risk=0.8)
    for name in "abcdefgh"[: nodes + 1]:
        if name != "a":
            scene.node(name)
        left, number = 56.0 if name != "a" else 24.0, 0
        while (size := chance.choice([1, 2, 3, 4, 6, 8, 12])) <= left:
            left -= size
            scene.vm(f"{name}{number}", on=name, gib=size, priority=chance.choice(["high", "normal", "low"]))
            number += 1
    return scene


@pytest.mark.parametrize("seed", range(6))
def test_full_fleets_lose_no_more_with_room_made_and_keep_every_limit(seed: int) -> None:
    scene = tight(seed)
    made = checked(scene)
    without = replace(
        scene.situation,
        policy=scene.policy.model_copy(
            update={"make_room": scene.policy.make_room.model_copy(update={"max_moves": 0})}
        ),
    )
    assert made.expected_loss <= plan(without).expected_loss
    assert plan(scene.situation) == made, "the same facts give the same plan"


@pytest.mark.slow
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000), nodes=st.integers(2, 5), most=st.integers(0, 4))
def test_every_state_on_the_way_keeps_every_limit(seed: int, nodes: int, most: int) -> None:
    scene = tight(seed, nodes)
    scene.policy = Policy.model_validate({"target": {"memory_headroom": 0}, "make_room": {"max_moves": most}})
    made = checked(scene)
    assert sum(action.source != "a" for action in made.moves) <= most


def test_the_checker_sees_what_is_broken() -> None:
    scene = one_step()
    late = scene.plan_of(live("x", "a", "b"), live("r", "b", "c", 1), evacuating=("a",))
    assert broken_on_the_way(late, scene.fleet, scene.policy)
    beside = scene.plan_of(live("r", "b", "c"), live("x", "a", "b"), evacuating=("a",))
    assert broken_on_the_way(beside, scene.fleet, scene.policy)
