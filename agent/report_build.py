"""From what was observed, planned and done to one `Report`. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from agent import report_words as words
from agent.report_types import (
    SAFE_FATES,
    Fate,
    Loss,
    Moment,
    MomentKind,
    NodeRow,
    ProvenanceRow,
    Report,
    ReportKind,
    RiskLine,
    RiskPoint,
    Totals,
    Trigger,
    VmRow,
)
from models.base import format_duration
from models.evacuation import Attempt, AttemptOutcome, Evacuation, Measured, SeenState
from models.fleet import Fleet, NodeState, Vm, VmState
from models.plan import Action, ActionKind, Plan, Verdict
from models.policy import Policy
from models.risk import Risk
from models.standing import NodeStanding, Standing, node_standing


def build_report(
    fleet_before: Fleet,
    risks: Sequence[Risk],
    plan: Plan,
    verdict: Verdict | None,
    policy: Policy,
    *,
    now: datetime,
    evacuation: Evacuation | None = None,
    fleet_after: Fleet | None = None,
    simulated_nodes: bool = False,
    audit_head: str | None = None,
    version: str = "",
) -> Report:
    """The report of a plan (`evacuation` None: a dry run) or of an evacuation, finished or not.

    `risks` are those the plan was made from. `fleet_after` is a snapshot taken after the evacuation; without it what
    the attempts observed is shown, and the report says that nobody looked again. `simulated_nodes`: the nodes and vms
    themselves are simulated. `audit_head` is the newest record's hash, kept here so that a cut-off log is noticed.
    """
    trigger = Trigger(
        horizon=format_duration(policy.trigger.horizon),
        horizon_seconds=policy.trigger.horizon.total_seconds(),
        probability=policy.trigger.probability,
    )
    by_node = {risk.node: risk for risk in risks}
    # As it stood when the plan was made: a report written an hour later does not make that data stale.
    standing = {
        node.name: node_standing(node.name, by_node.get(node.name), policy, plan.created_at)
        for node in fleet_before.nodes
    }
    evacuating = frozenset(plan.evacuating)
    lost = frozenset(loss.node for loss in evacuation.nodes_lost) if evacuation else frozenset[str]()
    actions = {action.vm: action for action in plan.actions}
    rows = [
        _vm_row(
            vm, actions.get(vm.uuid), standing[vm.node].usable_risk, trigger, evacuating, evacuation, fleet_after, lost
        )
        for vm in fleet_before.vms
    ]
    order = {action.vm: index for index, action in enumerate(plan.actions)}
    rows.sort(key=lambda row: (not row.concerned, order.get(row.uuid, len(order)), row.name))
    nodes = tuple(_node_row(fleet_before, found, evacuating, lost, rows, fleet_after) for found in standing.values())
    moments = _moments(plan, evacuation, trigger, evacuating)
    blackout, blackout_from = _longest_blackout(rows)
    draft = Report(
        kind=ReportKind.EVACUATION if evacuation else ReportKind.DRY_RUN,
        tone=words.Tone.CALM,
        headline="",
        lead="",
        generated_at=now,
        simulated_marks=_marks(risks, plan, simulated_nodes),
        alerts=(),
        evacuation_id=evacuation.id if evacuation else None,
        outcome=evacuation.outcome if evacuation else None,
        evacuating=plan.evacuating,
        trigger=trigger,
        totals=_totals(rows),
        seconds_to_safety=_seconds_to_safety(plan, evacuation),
        longest_blackout_seconds=blackout,
        longest_blackout_from=blackout_from,
        nodes=nodes,
        vms=tuple(rows),
        risk_lines=_risk_lines(evacuation, evacuating, trigger),
        moments=moments,
        started_at=evacuation.started_at if evacuation else None,
        ended_at=evacuation.ended_at if evacuation else None,
        loss=_loss(rows, plan, trigger),
        rules=verdict.results if verdict else (),
        passed=verdict.passed if verdict else None,
        approval=verdict.approval if verdict else None,
        approval_why=verdict.approval_why if verdict else "",
        approved_by=evacuation.approved_by if evacuation else "",
        unknowns=_unknowns(fleet_before, risks, nodes, rows, evacuation, fleet_after),
        notes=evacuation.notes if evacuation else (),
        provenance=_provenance(risks, plan, evacuation, audit_head, version),
    )
    alerts = words.alerts(draft)
    told = draft.model_copy(update={"alerts": alerts, "tone": words.tone(draft, alerts)})
    return told.model_copy(update={"headline": words.headline(told), "lead": words.lead(told)})


def _vm_row(
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
    states = {SeenState.RUNNING: VmState.RUNNING, SeenState.PAUSED: VmState.PAUSED, SeenState.SHUTOFF: VmState.SHUTOFF}
    found = [(e.node, states[e.seen]) for e in (attempt.evidence if attempt else ()) if e.seen in states]
    for node, state in found:
        if state is VmState.RUNNING:
            return node, state
    return found[-1] if found else (None, None)


def _node_row(
    fleet: Fleet,
    found: NodeStanding,
    evacuating: frozenset[str],
    lost: frozenset[str],
    rows: list[VmRow],
    fleet_after: Fleet | None,
) -> NodeRow:
    name, risk = found.node, found.risk
    node = fleet.node_by_name[name]
    dry = all(row.fate in (Fate.PLANNED, Fate.UNTOUCHED) for row in rows) and fleet_after is None
    after: int | None = sum(r.memory_bytes for r in rows if r.node_after == name and _holds_memory(r.state_after, r))
    if name in lost or (fleet_after is not None and name not in fleet_after.node_by_name):
        after = None
    elif fleet_after is not None:
        now = fleet_after.node_by_name[name]
        after = None if now.state is NodeState.OFFLINE else _used(fleet_after, name)
    elif not dry:
        after = None
    return NodeRow(
        name=name,
        state=node.state,
        evacuating=name in evacuating,
        lost=name in lost,
        probability=risk.probability if risk else {},
        at_trigger_horizon=found.probability,
        unknown_why=found.why if found.standing is Standing.UNKNOWN else "",
        drivers=risk.drivers if risk else (),
        data_age_seconds=risk.data_age_seconds if risk else None,
        memory_bytes=node.vm_memory_bytes,
        used_before_bytes=_used(fleet, name),
        used_after_bytes=after,
    )


def _holds_memory(state_after: VmState | None, row: VmRow) -> bool:
    return (state_after or row.state_before) is not VmState.SHUTOFF


def _used(fleet: Fleet, node: str) -> int:
    return sum(vm.memory_bytes for vm in fleet.vms_on(node) if vm.state is not VmState.SHUTOFF)


def _totals(rows: list[VmRow]) -> Totals:
    fates = [row.fate for row in rows if row.concerned or row.fate in (Fate.LOST, Fate.INDETERMINATE)]
    return Totals(
        concerned=len(fates),
        safe=sum(fate in SAFE_FATES for fate in fates),
        moved=fates.count(Fate.MOVED),
        archived=fates.count(Fate.ARCHIVED),
        lost=fates.count(Fate.LOST),
        untouched=fates.count(Fate.UNTOUCHED) + fates.count(Fate.GONE_BEFORE),
        indeterminate=fates.count(Fate.INDETERMINATE),
        waiting=fates.count(Fate.PLANNED) + fates.count(Fate.MOVING),
    )


def _done_ends(evacuation: Evacuation) -> list[datetime]:
    return [a.ended_at for a in evacuation.attempts if a.ended_at and a.outcome is AttemptOutcome.DONE]


def _all_done(plan: Plan, evacuation: Evacuation) -> bool:
    """Every planned move was done, or its vm was gone already."""
    good = (AttemptOutcome.DONE, AttemptOutcome.SKIPPED)
    last = [evacuation.attempt_for(action.vm) for action in plan.moves]
    return bool(plan.moves) and all(a is not None and a.outcome in good for a in last)


def _seconds_to_safety(plan: Plan, evacuation: Evacuation | None) -> float | None:
    if evacuation is None:
        ends = [action.estimated_start_seconds + action.estimated_seconds for action in plan.moves]
        return max(ends) if ends else None
    ends = _done_ends(evacuation)
    if not ends or not _all_done(plan, evacuation):
        return None
    return (max(ends) - evacuation.started_at).total_seconds()


def _longest_blackout(rows: list[VmRow]) -> tuple[float | None, str]:
    live = [row for row in rows if row.planned is ActionKind.LIVE_MIGRATE and row.outcome is AttemptOutcome.DONE]
    probed = [row.measured.blackout_seconds for row in live if row.measured.blackout_seconds is not None]
    if probed:
        return max(probed), "probe"
    stood = [row.measured.downtime_seconds for row in live if row.measured.downtime_seconds is not None]
    return (max(stood), "hypervisor") if stood else (None, "")


def _risk_lines(evacuation: Evacuation | None, evacuating: frozenset[str], trigger: Trigger) -> tuple[RiskLine, ...]:
    points: dict[str, list[RiskPoint]] = {}
    for sample in evacuation.risk_timeline if evacuation else ():
        probability = Risk(node=sample.node, probability=sample.probability).within(trigger.horizon_seconds)
        points.setdefault(sample.node, []).append(RiskPoint(time=sample.time, probability=probability))
    return tuple(
        RiskLine(node=node, evacuating=node in evacuating, points=tuple(sorted(line, key=lambda p: p.time)))
        for node, line in points.items()
    )


def _moments(
    plan: Plan, evacuation: Evacuation | None, trigger: Trigger, evacuating: frozenset[str]
) -> tuple[Moment, ...]:
    if evacuation is None:
        return ()
    found: list[tuple[MomentKind, datetime, str]] = []
    past = [
        (point.time, line.node)
        for line in _risk_lines(evacuation, evacuating, trigger)
        if line.evacuating
        for point in line.points
        if point.probability >= trigger.probability
    ]
    if past:
        found.append((MomentKind.TRIGGER, min(past)[0], f"{min(past)[1]} past the trigger"))
    found.append((MomentKind.PLAN, plan.created_at, f"plan by the {words.planner_name(plan)}"))
    if evacuation.approved_at:
        by = evacuation.approved_by or "(unknown)"
        found.append((MomentKind.APPROVAL, evacuation.approved_at, f"approved by {by}"))
    starts = [a.started_at for a in evacuation.attempts if a.outcome is not AttemptOutcome.REFUSED]
    if starts:
        found.append((MomentKind.FIRST_MOVE, min(starts), "first move started"))
    ends = _done_ends(evacuation)
    if ends and _all_done(plan, evacuation):
        found.append((MomentKind.ALL_SAFE, max(ends), "every planned move done"))
    found += [(MomentKind.NODE_LOST, loss.at, f"{loss.node} stopped answering") for loss in evacuation.nodes_lost]
    if evacuation.ended_at and MomentKind.ALL_SAFE not in [kind for kind, _, _ in found]:
        found.append((MomentKind.END, evacuation.ended_at, f"ended: {evacuation.outcome}"))
    triggered = min(past)[0] if past else None
    order = list(MomentKind)
    return tuple(
        Moment(
            kind=kind,
            time=at,
            label=label,
            since_trigger_seconds=(at - triggered).total_seconds() if triggered else None,
        )
        for kind, at, label in sorted(found, key=lambda f: (f[1], order.index(f[0])))
    )


def _loss(rows: list[VmRow], plan: Plan, trigger: Trigger) -> Loss:
    concerned = [row for row in rows if row.concerned]
    return Loss(
        vms_if_nothing=sum(row.loss_if_nothing or 0.0 for row in concerned),
        vms_with_plan=sum(row.loss_with_plan or 0.0 for row in concerned),
        weighted_if_nothing=plan.expected_loss_if_nothing_is_done,
        weighted_with_plan=plan.expected_loss,
        horizon=trigger.horizon,
        unknown_vms=sum(row.loss_if_nothing is None for row in concerned),
    )


def _marks(risks: Sequence[Risk], plan: Plan, simulated_nodes: bool) -> tuple[str, ...]:
    marks: list[str] = []
    if simulated_nodes:
        marks.append("The nodes and vms are simulated: nothing real was planned, moved or lost.")
    if any(risk.simulated for risk in risks) or (plan.simulated and not simulated_nodes):
        marks.append("The telemetry is synthetic: the readings behind the forecast were generated, not measured.")
    return tuple(marks)


def _unknowns(
    fleet: Fleet,
    risks: Sequence[Risk],
    nodes: tuple[NodeRow, ...],
    rows: list[VmRow],
    evacuation: Evacuation | None,
    fleet_after: Fleet | None,
) -> tuple[str, ...]:
    found = [f"{node.name}: its risk is unknown: {node.unknown_why}" for node in nodes if node.unknown_why]
    found += [f"{risk.node}: {what}" for risk in risks for what in risk.unknown]
    vms = fleet.vm_by_uuid
    moving = [row for row in rows if row.planned is ActionKind.LIVE_MIGRATE]
    unmeasured = [row.name for row in moving if vms[row.uuid].dirty_bytes_per_second is None]
    if unmeasured:
        found.append(f"how fast {words.listed_vms(unmeasured)} rewrites memory was never measured: times are guesses")
    if evacuation is not None:
        silent = [
            row.name
            for row in moving
            if row.outcome is AttemptOutcome.DONE
            and row.measured.downtime_seconds is None
            and row.measured.blackout_seconds is None
        ]
        if silent:
            found.append(f"how long {words.listed_vms(silent)} stood still was not measured")
        if fleet_after is None and evacuation.ended_at is not None:
            found.append("nobody looked at the fleet again after the evacuation; what the attempts observed is shown")
    return tuple(found)


def _provenance(
    risks: Sequence[Risk], plan: Plan, evacuation: Evacuation | None, audit_head: str | None, version: str
) -> tuple[ProvenanceRow, ...]:
    by = plan.planned_by
    found = [
        ("evacuation", evacuation.id if evacuation else ""),
        ("forecast", words.listed(sorted({risk.model for risk in risks if risk.model}))),
        ("forecast stands on", words.listed(sorted({risk.basis for risk in risks if risk.basis}))),
        ("planner", words.planner_name(plan)),
        ("solver stood in because", by.fallback_reason or ""),
        ("language model", by.model or ""),
        ("prompt SHA-256", by.prompt_sha256 or ""),
        ("planner's note", by.notes),
        ("plan SHA-256", plan.digest()),
        ("plan made at", words.moment(plan.created_at)),
        ("fleet SHA-256", plan.fleet_sha256),
        ("audit log head", audit_head or ""),
        ("lifeboat", version),
    ]
    return tuple(ProvenanceRow(what=what, value=value) for what, value in found if value)
