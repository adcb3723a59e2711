"""What comes back where once a node is repaired: the vms that left it, as far as nobody moved them on. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.plan.assignment.next_failure import next_failure
from agent.plan.capacity import Capacities
from agent.plan.draft import Draft, PlanDecision
from agent.plan.options import live_options, target_classes
from models.fleet import Vm, VmState
from models.plan import ActionKind, Plan, PlannedBy
from models.planning.placement import cold_blocker, is_protected
from models.situation import Situation
from models.text import visible


def plan_return(node: str, went_to: Mapping[str, str], situation: Situation) -> Plan:
    """The plan that fills a node again, a plan like any other. `went_to`: vm uuid → the node it was moved to.

    Running vms come back live and stopped ones cold; nothing is stopped for it. Whether the node may take vms at all is the
    guard's to say. Raises ValueError for a node that is not in the fleet.
    """
    fleet, policy = situation.fleet, situation.policy
    if node not in fleet.node_by_name:
        raise ValueError(f"node {node!r} is not in the fleet")
    room = Capacities([fleet.node_by_name[node]], fleet, policy)
    left = room.copy()
    vms = [vm for uuid in went_to if (vm := fleet.vm_by_uuid.get(uuid)) is not None and vm.node != node]
    vms.sort(key=lambda vm: (-policy.weights.of(vm.priority), -vm.memory_bytes, vm.uuid))
    decisions: list[PlanDecision] = []
    for vm in vms:
        kind, why = _way_back(vm, node, went_to[vm.uuid], situation)
        if kind is not None and not left.takes(vm, node):
            kind, why = None, f"{node} has no room left for it"
        if kind is None:
            decisions.append(PlanDecision(vm.uuid, ActionKind.STAY, reason=why))
            continue
        left.take(vm, node, 0.0)
        decisions.append(PlanDecision(vm.uuid, kind, node, reason=f"was on {node} before; {why}"))
    draft = Draft(
        situation=situation, leaving=(), asked=(), planned_by=PlannedBy(planner="solver"), options={}, room=room
    )
    made = draft.finish(decisions)
    after = next_failure(situation, (), made.actions)
    return made.model_copy(update={"returning": (node,), "next_failure": after})


def _way_back(vm: Vm, node: str, was_moved_to: str, situation: Situation) -> tuple[ActionKind | None, str]:
    """How it comes back, with what to know about that; or None, and why not."""
    policy, source = situation.policy, situation.fleet.node_by_name[vm.node]
    if vm.node != was_moved_to:
        return None, f"somebody moved it on, from {visible(was_moved_to, 60)} to {visible(vm.node, 60)}"
    if is_protected(vm, policy):
        return None, "it is protected by policy"
    if vm.state is VmState.SHUTOFF:
        blocker = cold_blocker(vm, policy)
        return (ActionKind.COLD_MIGRATE, "shut off, and stays off") if blocker is None else (None, blocker)
    classes = target_classes([situation.fleet.node_by_name[node]])
    if live_options(vm, source, classes, policy):
        return ActionKind.LIVE_MIGRATE, "moves live"
    return None, "it can't move live, and nothing is stopped to bring it back"


def went_to(node: str, moves: Sequence[tuple[str, str, str | None]]) -> dict[str, str]:
    """vm uuid → where it went, of (uuid, source, target) in the order they were done; the last one counts.

    What left the node and was brought back, or moved off again from elsewhere, is told by its last move.
    """
    gone: dict[str, str] = {}
    for uuid, source, target in moves:
        if target == node:
            gone.pop(uuid, None)
        elif target is not None and (source == node or uuid in gone):
            gone[uuid] = target
    return gone
