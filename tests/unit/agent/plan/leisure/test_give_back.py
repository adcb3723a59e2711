"""What comes back to a repaired node: its own vms, as they are now, and nothing that somebody else has moved since."""

from __future__ import annotations

from typing import Any

import pytest
from scenes.independent_checker import broken_on_the_way
from scenes.topology import Topology

from agent.guard.judge import judge
from agent.plan.leisure.give_back import plan_return, went_to
from agent.plan.solver import plan
from models.fleet import Fleet
from models.plan import ActionKind, Approval, Plan
from models.situation import Situation


def emptied(**fields: Any) -> Topology:
    """`a` is sound again; its `x` is on `b` and its `y` on `c`."""
    scene = Topology().node("a").node("b").node("c")
    return scene.vm("x", on="b", priority="high", **fields).vm("y", on="c").vm("resident", on="c")


LEFT = {"uuid-x": "b", "uuid-y": "c"}


def kinds(made: Plan) -> dict[str, tuple[ActionKind, str | None]]:
    return {action.vm_name: (action.kind, action.target) for action in made.actions}


def test_its_own_vms_come_back_and_a_human_agrees() -> None:
    scene = emptied()
    made = plan_return("a", LEFT, scene.situation)
    assert kinds(made) == {"x": (ActionKind.LIVE_MIGRATE, "a"), "y": (ActionKind.LIVE_MIGRATE, "a")}
    assert (made.evacuating, made.returning) == ((), ("a",))
    verdict = judge(made, scene.situation)
    assert verdict.passed
    assert verdict.approval is Approval.HUMAN
    assert "vms return to a" in verdict.approval_why
    assert broken_on_the_way(made, scene.fleet, scene.policy) == []


def test_policy_alone_never_fills_a_node() -> None:
    scene = emptied()
    scene.policy = type(scene.policy).model_validate({"approval": {"live_migrate": "auto"}})
    assert judge(plan_return("a", LEFT, scene.situation), scene.situation).approval is Approval.HUMAN


def test_what_somebody_moved_on_is_left_where_it_is() -> None:
    made = plan_return("a", {"uuid-x": "c", "uuid-y": "c"}, emptied().situation)
    assert kinds(made)["x"] == (ActionKind.STAY, None)
    assert "somebody moved it on, from c to b" in next(a.reason for a in made.actions if a.vm_name == "x")


@pytest.mark.parametrize(
    ("fields", "kind", "why"),
    [
        ({"state": "shutoff"}, ActionKind.COLD_MIGRATE, "shut off"),
        ({"migratable": False}, ActionKind.STAY, "nothing is stopped to bring it back"),
        ({"dirty_bytes_per_second": 1e12}, ActionKind.STAY, "nothing is stopped to bring it back"),
        ({"gib": 59}, ActionKind.STAY, "no room left"),
    ],
)
def test_nothing_is_stopped_for_it(fields: dict[str, Any], kind: ActionKind, why: str) -> None:
    scene = emptied(**fields)
    made = plan_return("a", LEFT, scene.situation)
    assert kinds(made)["x"][0] is kind
    assert why in next(action.reason for action in made.actions if action.vm_name == "x")
    assert not judge(made, scene.situation).failures


@pytest.mark.parametrize("risk", [0.3, 0.9, None])
def test_a_node_that_is_not_sound_yet_gets_nothing(risk: float | None) -> None:
    scene = Topology().node("a", risk=risk).node("b").vm("x", on="b")
    verdict = judge(plan_return("a", {"uuid-x": "b"}, scene.situation), scene.situation)
    assert {result.rule for result in verdict.failures} == {"target-risk"}


def test_there_and_back_again() -> None:
    scene = Topology().node("a", risk=0.9).node("b").node("c")
    for number in range(5):
        scene.vm(f"v{number}", on="a", gib=number + 1)
    away = plan(scene.situation)
    target = {action.vm: action.target for action in away.moves}
    moved = tuple(vm.model_copy(update={"node": target.get(vm.uuid, vm.node)}) for vm in scene.fleet.vms)
    fleet = Fleet(observed_at=scene.observed_at, nodes=scene.fleet.nodes, vms=moved)
    sound = [r.model_copy(update={"probability": {"2h": 0.001}}) for r in scene.risks]
    situation = Situation(fleet=fleet, risks=sound, policy=scene.policy, now=scene.situation.now)
    gone = went_to("a", [(action.vm, action.source, action.target) for action in away.moves])
    back = plan_return("a", gone, situation)
    assert {action.vm for action in back.moves} == set(target)
    assert {action.target for action in back.moves} == {"a"}
    assert judge(back, situation).passed


def test_a_node_that_is_not_in_the_fleet() -> None:
    with pytest.raises(ValueError, match="'z' is not in the fleet"):
        plan_return("z", LEFT, emptied().situation)


@pytest.mark.parametrize(
    ("moves", "gone"),
    [
        ([("x", "a", "b")], {"x": "b"}),
        ([("x", "a", "b"), ("x", "b", "c")], {"x": "c"}),
        ([("x", "a", "b"), ("x", "b", "a")], {}),
        ([("x", "a", "b"), ("x", "b", "a"), ("x", "a", "c")], {"x": "c"}),
        ([("x", "b", "c")], {}),
        ([("x", "a", None)], {}),
        ([], {}),
    ],
)
def test_the_last_move_counts(moves: list[tuple[str, str, str | None]], gone: dict[str, str]) -> None:
    assert went_to("a", moves) == gone
