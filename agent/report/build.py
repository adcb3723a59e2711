"""From what was observed, planned and done to one `Report`. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from agent.report import sentences
from agent.report.decision import decision
from agent.report.outcomes import node_row, used_by_plan, vm_row
from agent.report.report import (
    SAFE_FATES,
    Fate,
    Loss,
    NodeRow,
    ProvenanceRow,
    Report,
    ReportKind,
    Totals,
    Trigger,
    VmRow,
)
from agent.report.timeline import longest_blackout, moments, risk_lines, seconds_to_safety
from models.base import format_duration
from models.evacuation import AttemptOutcome, Evacuation
from models.fleet import Fleet, Vm
from models.plan import Action, ActionKind, Plan, Verdict
from models.planning.simulation import Simulation
from models.risk.risk import Risk
from models.situation import Situation

MOST_NAMED_UNKNOWN = 3
"""nodes that lack the same thing are told one by one up to this many"""
MOST_VMS = 5000
"""vms up to which a report has a row for each of the fleet"""


def build_report(
    situation: Situation,
    plan: Plan,
    verdict: Verdict | None,
    *,
    now: datetime,
    evacuation: Evacuation | None = None,
    fleet_after: Fleet | None = None,
    simulated_nodes: bool = False,
    audit_head: str | None = None,
    version: str = "",
    simulation: Simulation | None = None,
) -> Report:
    """The report of a plan (`evacuation` None: a dry run) or of an evacuation, finished or not.

    `situation` is the one the plan was made from. `fleet_after` is a snapshot taken after the evacuation; without it what
    the attempts observed is shown, and the report says that nobody checked again. `simulated_nodes`: the nodes and vms
    themselves are simulated. `audit_head` is the newest record's hash, kept here so that a cut-off log is noticed.
    """
    fleet_before, risks = situation.fleet, situation.risks or ()
    trigger = Trigger(
        horizon=format_duration(situation.policy.trigger.horizon),
        horizon_seconds=situation.horizon_seconds,
        probability=situation.policy.trigger.probability,
    )
    # As it stood when the plan was made: a report written an hour later does not make that data stale.
    node_risks = replace(situation, now=plan.created_at).node_risks
    evacuating = frozenset(plan.evacuating)
    lost = frozenset(loss.node for loss in evacuation.nodes_lost) if evacuation else frozenset[str]()
    actions = {action.vm: action for action in plan.actions}
    shown = _vms_to_tell(fleet_before, actions, evacuating | lost)
    rows = [
        vm_row(
            vm,
            actions.get(vm.uuid),
            node_risks[vm.node].usable_risk,
            trigger,
            evacuating,
            evacuation,
            fleet_after,
            lost,
        )
        for vm in shown
    ]
    order = {action.vm: index for index, action in enumerate(plan.actions)}
    rows.sort(key=lambda row: (not row.concerned, order.get(row.uuid, len(order)), row.name))
    planned = used_by_plan(fleet_before, actions) if evacuation is None else None
    nodes = tuple(node_row(fleet_before, risk, evacuating, lost, planned, fleet_after) for risk in node_risks.values())
    blackout, blackout_from = longest_blackout(rows)
    draft = Report(
        kind=ReportKind.EVACUATION if evacuation else ReportKind.DRY_RUN,
        tone=sentences.Tone.CALM,
        headline="",
        lead="",
        generated_at=now,
        simulated_marks=_marks(risks, plan, simulated_nodes),
        alerts=(),
        evacuation_id=evacuation.id if evacuation else None,
        outcome=evacuation.outcome if evacuation else None,
        evacuating=plan.evacuating,
        returning=plan.returning,
        at_leisure=plan.at_leisure,
        trigger=trigger,
        totals=_totals(rows),
        seconds_to_safety=seconds_to_safety(plan, evacuation),
        longest_blackout_seconds=blackout,
        longest_blackout_from=blackout_from,
        nodes=nodes,
        vms=tuple(rows),
        risk_lines=risk_lines(evacuation, evacuating, trigger),
        moments=moments(plan, evacuation, trigger, evacuating),
        started_at=evacuation.started_at if evacuation else None,
        ended_at=evacuation.ended_at if evacuation else None,
        loss=_loss(rows, plan, trigger),
        next_failure=plan.next_failure,
        beside_solver=sentences.beside_solver(plan),
        simulation=simulation,
        rules=verdict.results if verdict else (),
        passed=verdict.passed if verdict else None,
        approval=verdict.approval if verdict else None,
        approval_why=verdict.approval_why if verdict else "",
        approved_by=evacuation.approved_by if evacuation else "",
        unknowns=_unknowns(fleet_before, risks, nodes, rows, evacuation, fleet_after),
        notes=evacuation.notes if evacuation else (),
        provenance=_provenance(risks, plan, evacuation, audit_head, version),
    )
    alerts = sentences.alerts(draft)
    report = draft.model_copy(update={"alerts": alerts, "tone": sentences.tone(draft, alerts)})
    return report.model_copy(
        update={"decision": decision(report), "headline": sentences.headline(report), "lead": sentences.lead(report)}
    )


def _vms_to_tell(fleet: Fleet, actions: Mapping[str, Action], nodes: frozenset[str]) -> Sequence[Vm]:
    """Every vm of a fleet that a person can read; of a larger one those that have an action, and their neighbours on the nodes
    that take part."""
    if len(fleet.vms) <= MOST_VMS:
        return fleet.vms
    part = nodes | {action.target for action in actions.values() if action.target}
    return [vm for vm in fleet.vms if vm.uuid in actions or vm.node in part]


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


def _loss(rows: list[VmRow], plan: Plan, trigger: Trigger) -> Loss:
    concerned = [row for row in rows if row.concerned]
    return Loss(
        vms_if_nothing=sum(row.loss_if_nothing or 0.0 for row in concerned),
        vms_with_plan=sum(row.loss_with_plan or 0.0 for row in concerned),
        weighted_if_nothing=plan.expected_loss_if_nothing_is_done,
        weighted_with_plan=plan.expected_loss,
        weighted_bound=plan.bound,
        gap=plan.gap,
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
    lines = _unknown_risks(nodes)
    lines += _unknown_signals(risks)
    vms = fleet.vm_by_uuid
    moving = [row for row in rows if row.planned is ActionKind.LIVE_MIGRATE]
    unmeasured = [row.name for row in moving if vms[row.uuid].dirty_bytes_per_second is None]
    if unmeasured:
        lines.append(
            f"how fast {sentences.listed_vms(unmeasured)} rewrites memory was never measured: times are guesses"
        )
    if evacuation is not None:
        silent = [
            row.name
            for row in moving
            if row.outcome is AttemptOutcome.DONE
            and row.measured.downtime_seconds is None
            and row.measured.blackout_seconds is None
        ]
        if silent:
            lines.append(f"how long {sentences.listed_vms(silent)} stood still was not measured")
        if fleet_after is None and evacuation.ended_at is not None:
            lines.append("nobody checked the fleet again after the evacuation; what the attempts observed is shown")
    return tuple(lines)


def _unknown_risks(nodes: Sequence[NodeRow]) -> list[str]:
    """A line a node; where many lack the same thing, one for all of them."""
    by_why: dict[str, list[str]] = {}
    for node in nodes:
        if node.unknown_why:
            by_why.setdefault(node.unknown_why, []).append(node.name)
    lines: list[str] = []
    for why, names in by_why.items():
        if len(names) > MOST_NAMED_UNKNOWN:
            lines.append(f"{sentences.listed_vms(names)}: their risk is unknown: {why}")
        else:
            lines += [f"{name}: its risk is unknown: {why}" for name in names]
    return lines


def _unknown_signals(risks: Sequence[Risk]) -> list[str]:
    """A line a node and signal; one for all nodes that lack the same, and for all signals that they lack for the same reason:
    while Prometheus is away, 1,000 nodes lack 119 each."""
    lacking: dict[str, list[str]] = {}
    for risk in risks:
        for what in risk.unknown:
            lacking.setdefault(what, []).append(risk.node)
    alike: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for what, nodes in lacking.items():
        signal, _, why = what.partition(": ")
        for each in [tuple(nodes)] if len(nodes) > MOST_NAMED_UNKNOWN else [(node,) for node in nodes]:
            alike.setdefault((each, why), []).append(signal)
    lines: list[str] = []
    for (nodes, why), signals in alike.items():
        who, reason = sentences.listed_vms(list(nodes)), f": {why}" if why else ""
        if len(signals) > MOST_NAMED_UNKNOWN:
            lines.append(f"{who}: {sentences.listed_vms(signals)}{reason}")
        else:
            lines += [f"{who}: {signal}{reason}" for signal in signals]
    return lines


def _provenance(
    risks: Sequence[Risk], plan: Plan, evacuation: Evacuation | None, audit_head: str | None, version: str
) -> tuple[ProvenanceRow, ...]:
    by = plan.planned_by
    rows = [
        ("evacuation", evacuation.id if evacuation else ""),
        ("forecast", sentences.listed(sorted({risk.model for risk in risks if risk.model}))),
        ("forecast stands on", sentences.listed(sorted({risk.basis for risk in risks if risk.basis}))),
        ("planner", sentences.planner_name(plan)),
        ("solver stood in because", by.fallback_reason or ""),
        ("language model", by.model or ""),
        ("prompt SHA-256", by.prompt_sha256 or ""),
        ("planner's note", by.notes),
        ("plan SHA-256", plan.digest()),
        ("plan made at", sentences.moment(plan.created_at)),
        ("fleet SHA-256", plan.fleet_sha256),
        ("audit log head", audit_head or ""),
        ("lifeboat", version),
    ]
    return tuple(ProvenanceRow(what=what, value=value) for what, value in rows if value)
