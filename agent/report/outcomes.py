"""The rows of a report: what became of each vm, and how each node stands. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from agent.report.report import (
    Fate,
    NodeRow,
    Trigger,
    VmRow,
)
from models.evacuation import Attempt, AttemptOutcome, Evacuation, Measured, ObservedState
from models.fleet import Fleet, NodeState, Vm, VmState
from models.plan import Action, ActionKind
from models.risk.risk import Risk
from models.risk.risk_level import NodeRisk, RiskLevel


def vm_row(
    vm: Vm,
    action: Action | None,
    risk: Risk | None,
    trigger: Trigger,
    evacuating: frozenset[str],
    evacuation: Evacuation | None,
    fleet_after: Fleet | None,
    lost: frozenset[str],
) -> VmRow:
    attempt = evacuation.attempt_for(vm.uuid) if evacuation else None
    moves = action is not None and action.kind is not ActionKind.STAY
    nothing = risk.within(trigger.horizon_seconds) if risk else None
    fate, node_after, state_after = _what_became(vm, action, attempt, evacuation, fleet_after, lost)
    return VmRow(
        uuid=vm.uuid,
        name=vm.name,
        priority=vm.priority,
        workload=vm.workload,
        memory_bytes=vm.memory_bytes,
        state_before=vm.state,
        node_before=vm.node,
        node_after=node_after,
        state_after=state_after,
        planned=action.kind if action else None,
        target=action.target if action else None,
        reason=action.reason if action else "",
        wave=action.wave if action else 0,
        not_before=action.not_before if action else None,
        estimated_start_seconds=action.estimated_start_seconds if action else 0.0,
        estimated_seconds=action.estimated_seconds if action else 0.0,
        estimated_downtime_seconds=action.estimated_downtime_seconds if action else 0.0,
        started_seconds=(attempt.started_at - evacuation.started_at).total_seconds()
        if attempt and evacuation
        else None,
        measured=attempt.measured if attempt else Measured(),
        outcome=attempt.outcome if attempt else None,
        tries=sum(a.action.vm == vm.uuid for a in evacuation.attempts) if evacuation else 0,
        message=attempt.message if attempt else "",
        error_code=attempt.error_code if attempt else None,
        archive=attempt.archive if attempt else None,
        evidence=attempt.evidence if attempt else (),
        fate=fate,
        loss_if_nothing=nothing,
        loss_with_plan=action.risk_before_safe if action and moves and risk else nothing,
        concerned=moves or vm.node in evacuating,
    )


def _what_became(
    vm: Vm,
    action: Action | None,
    attempt: Attempt | None,
    evacuation: Evacuation | None,
    fleet_after: Fleet | None,
    lost: frozenset[str],
) -> tuple[Fate, str | None, VmState | None]:
    """Fate, node and state of one vm. What was seen last outweighs what an attempt reported of itself."""
    moves = action is not None and action.kind is not ActionKind.STAY
    if evacuation is None:
        if action is None or not moves:
            return Fate.UNTOUCHED, vm.node, None
        return Fate.PLANNED, action.target, None
    node, state = _last_seen(vm, attempt, fleet_after)
    outcome = attempt.outcome if attempt else None
    if outcome is AttemptOutcome.INDETERMINATE:
        return Fate.INDETERMINATE, node, state
    if attempt and outcome is AttemptOutcome.DONE:
        if attempt.action.kind is ActionKind.COLD_ARCHIVE:
            verified = attempt.archive is not None and attempt.archive.verified
            return (Fate.ARCHIVED if verified else Fate.INDETERMINATE), None, state
        if attempt.action.target in lost:
            return Fate.LOST, node, state
        wanted = VmState.RUNNING if vm.state is VmState.RUNNING else vm.state
        fits = node == attempt.action.target and state in (wanted, VmState.RUNNING)
        return (Fate.MOVED if fits else Fate.INDETERMINATE), node, state
    if attempt and outcome is None:
        return Fate.MOVING, node, state
    if vm.node in lost and node in (None, vm.node):
        return Fate.LOST, None, None
    if outcome is AttemptOutcome.SKIPPED:
        return Fate.GONE_BEFORE, node, state
    if attempt is None and moves and evacuation.ended_at is None:
        return Fate.PLANNED, vm.node, vm.state
    return Fate.UNTOUCHED, node, state


def _last_seen(vm: Vm, attempt: Attempt | None, fleet_after: Fleet | None) -> tuple[str | None, VmState | None]:
    """Where the vm was seen last, and in which state; (None, None) when nobody who could be trusted saw it."""
    if fleet_after is not None:
        seen = fleet_after.vm_by_uuid.get(vm.uuid)
        if seen is not None and fleet_after.node_by_name[seen.node].state is not NodeState.OFFLINE:
            return seen.node, seen.state
        target = attempt.action.target if attempt else None
        target_now = fleet_after.node_by_name.get(target) if target else None
        if seen is None and target_now is not None and target_now.state is not NodeState.OFFLINE:
            return None, None  # its target answered and does not have it
    states = {
        ObservedState.RUNNING: VmState.RUNNING,
        ObservedState.PAUSED: VmState.PAUSED,
        ObservedState.SHUTOFF: VmState.SHUTOFF,
    }
    observed = [(e.node, states[e.seen]) for e in (attempt.evidence if attempt else ()) if e.seen in states]
    for node, state in observed:
        if state is VmState.RUNNING:
            return node, state
    return observed[-1] if observed else (None, None)


def node_row(
    fleet: Fleet,
    node_risk: NodeRisk,
    evacuating: frozenset[str],
    lost: frozenset[str],
    used_by_plan: Mapping[str, int] | None,
    fleet_after: Fleet | None,
) -> NodeRow:
    """`used_by_plan`: node → bytes its vms use once the plan is done; None after an evacuation, when only what was seen
    counts."""
    name, risk = node_risk.node, node_risk.risk
    node = fleet.node_by_name[name]
    after = None if used_by_plan is None else used_by_plan.get(name, 0)
    if name in lost or (fleet_after is not None and name not in fleet_after.node_by_name):
        after = None
    elif fleet_after is not None:
        now = fleet_after.node_by_name[name]
        after = None if now.state is NodeState.OFFLINE else _used(fleet_after, name)
    return NodeRow(
        name=name,
        state=node.state,
        evacuating=name in evacuating,
        lost=name in lost,
        probability=risk.probability if risk else {},
        at_trigger_horizon=node_risk.probability,
        level=node_risk.level,
        unknown_why=node_risk.why if node_risk.level is RiskLevel.UNKNOWN else "",
        drivers=risk.drivers if risk else (),
        data_age_seconds=risk.data_age_seconds if risk else None,
        memory_bytes=node.vm_memory_bytes,
        used_before_bytes=_used(fleet, name),
        used_after_bytes=after,
    )


def used_by_plan(fleet: Fleet, actions: Mapping[str, Action]) -> dict[str, int]:
    """Node → bytes that its running and paused vms use once every action is done; `actions` by vm uuid."""
    used: dict[str, int] = {}
    for vm in fleet.vms:
        if vm.state is VmState.SHUTOFF:
            continue
        action = actions.get(vm.uuid)
        node = vm.node if action is None or action.kind is ActionKind.STAY else action.target
        if node is not None:
            used[node] = used.get(node, 0) + vm.memory_bytes
    return used


def _used(fleet: Fleet, node: str) -> int:
    return sum(vm.memory_bytes for vm in fleet.vms_on(node) if vm.state is not VmState.SHUTOFF)
