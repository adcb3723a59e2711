"""What voids a plan between question and act, and how the next one is told apart."""

from __future__ import annotations

from scenes.approvals import ALONE, fleet, plan, question

from agent.approve.proposals import policy_digest
from models.fleet import Fleet, NodeState, VmState
from models.plan import Action, ActionKind
from models.policy.policy import Drift
from models.proposals.drift import plan_changes, why_void

THERE = fleet()
ASKED = question(plan(THERE), THERE, ALONE)
DIGEST = policy_digest(ALONE)


def void(now: Fleet, tolerated: Drift = Drift.ELSEWHERE, digest: str = DIGEST) -> str | None:
    return why_void(ASKED, now, digest, tolerated)


def with_vm(name: str, **changed: object) -> Fleet:
    vms = tuple(vm.model_copy(update=changed) if vm.name == name else vm for vm in THERE.vms)
    return THERE.model_copy(update={"vms": vms})


def test_the_same_fleet_holds_and_what_guests_change_by_themselves_does_not_count() -> None:
    assert void(THERE) is None
    assert void(with_vm("web", dirty_bytes_per_second=9e6, disk_bytes=1 << 40), Drift.NONE) is None


def test_a_change_elsewhere_is_tolerated_where_policy_says_so() -> None:
    moved = with_vm("far", state=VmState.SHUTOFF)
    assert void(moved) is None
    assert "does not touch" in str(void(moved, Drift.NONE))


def test_a_change_where_the_plan_acts_voids_it_and_is_named() -> None:
    assert "vm web: state running → shutoff" in str(void(with_vm("web", state=VmState.SHUTOFF)))
    assert "vm far is new" in str(void(with_vm("far", node="node-b"))), "it fills the target"
    nodes = tuple(n.model_copy(update={"state": NodeState.OFFLINE}) if n.name == "node-b" else n for n in THERE.nodes)
    assert "node node-b: state active → offline" in str(void(THERE.model_copy(update={"nodes": nodes})))


def test_another_policy_voids_it() -> None:
    assert "policy" in str(void(THERE, digest="0" * 64))


def test_names_from_outside_are_shown_and_not_obeyed() -> None:
    assert "\x1b" not in str(void(with_vm("web", workload="\x1b[31m\u202e")))


def test_a_new_plan_is_told_by_what_differs() -> None:
    before = plan(THERE)
    first = before.actions[0].model_copy(update={"target": "node-c"})
    new = Action(kind=ActionKind.COLD_ARCHIVE, vm="vm-9", vm_name="late", source="node-a")
    after = before.model_copy(update={"actions": (first, new)})
    assert plan_changes(before, after) == [
        "web: live → node-b becomes live → node-c",
        "batch: no longer: live → node-b",
        "late: new: archive",
    ]
    assert plan_changes(before, before) == []
