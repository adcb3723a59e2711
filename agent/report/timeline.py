"""When things happened in an evacuation, and how long they took. Pure."""

from __future__ import annotations

from datetime import datetime

from agent.report import sentences
from agent.report.report import (
    Moment,
    MomentKind,
    RiskLine,
    RiskPoint,
    Trigger,
    VmRow,
)
from models.evacuation import AttemptOutcome, Evacuation
from models.plan import ActionKind, Plan
from models.risk.risk import Risk


def _done_ends(evacuation: Evacuation) -> list[datetime]:
    return [a.ended_at for a in evacuation.attempts if a.ended_at and a.outcome is AttemptOutcome.DONE]


def _all_done(plan: Plan, evacuation: Evacuation) -> bool:
    """Every planned move was done, or its vm was gone already."""
    good = (AttemptOutcome.DONE, AttemptOutcome.SKIPPED)
    last = [evacuation.attempt_for(action.vm) for action in plan.moves]
    return bool(plan.moves) and all(a is not None and a.outcome in good for a in last)


def seconds_to_safety(plan: Plan, evacuation: Evacuation | None) -> float | None:
    if evacuation is None:
        ends = [action.estimated_start_seconds + action.estimated_seconds for action in plan.moves]
        return max(ends) if ends else None
    ends = _done_ends(evacuation)
    if not ends or not _all_done(plan, evacuation):
        return None
    return (max(ends) - evacuation.started_at).total_seconds()


def longest_blackout(rows: list[VmRow]) -> tuple[float | None, str]:
    live = [row for row in rows if row.planned is ActionKind.LIVE_MIGRATE and row.outcome is AttemptOutcome.DONE]
    probed = [row.measured.blackout_seconds for row in live if row.measured.blackout_seconds is not None]
    if probed:
        return max(probed), "probe"
    stood = [row.measured.downtime_seconds for row in live if row.measured.downtime_seconds is not None]
    return (max(stood), "hypervisor") if stood else (None, "")


def risk_lines(evacuation: Evacuation | None, evacuating: frozenset[str], trigger: Trigger) -> tuple[RiskLine, ...]:
    points: dict[str, list[RiskPoint]] = {}
    for sample in evacuation.risk_timeline if evacuation else ():
        probability = Risk(node=sample.node, probability=sample.probability).within(trigger.horizon_seconds)
        points.setdefault(sample.node, []).append(RiskPoint(time=sample.time, probability=probability))
    return tuple(
        RiskLine(node=node, evacuating=node in evacuating, points=tuple(sorted(line, key=lambda p: p.time)))
        for node, line in points.items()
    )


def moments(
    plan: Plan, evacuation: Evacuation | None, trigger: Trigger, evacuating: frozenset[str]
) -> tuple[Moment, ...]:
    if evacuation is None:
        return ()
    steps: list[tuple[MomentKind, datetime, str]] = []
    past = [
        (point.time, line.node)
        for line in risk_lines(evacuation, evacuating, trigger)
        if line.evacuating
        for point in line.points
        if point.probability >= trigger.probability
    ]
    if past:
        steps.append((MomentKind.TRIGGER, min(past)[0], f"{min(past)[1]} past the trigger"))
    steps.append((MomentKind.PLAN, plan.created_at, f"plan by the {sentences.planner_name(plan)}"))
    if evacuation.approved_at:
        by = evacuation.approved_by or "(unknown)"
        steps.append((MomentKind.APPROVAL, evacuation.approved_at, f"approved by {by}"))
    starts = [a.started_at for a in evacuation.attempts if a.outcome is not AttemptOutcome.REFUSED]
    if starts:
        steps.append((MomentKind.FIRST_MOVE, min(starts), "first move started"))
    ends = _done_ends(evacuation)
    if ends and _all_done(plan, evacuation):
        steps.append((MomentKind.ALL_SAFE, max(ends), "every planned move done"))
    steps += [(MomentKind.NODE_LOST, loss.at, f"{loss.node} stopped answering") for loss in evacuation.nodes_lost]
    if evacuation.ended_at and MomentKind.ALL_SAFE not in [kind for kind, _, _ in steps]:
        steps.append((MomentKind.END, evacuation.ended_at, f"ended: {evacuation.outcome}"))
    triggered = min(past)[0] if past else None
    order = list(MomentKind)
    return tuple(
        Moment(
            kind=kind,
            time=at,
            label=label,
            since_trigger_seconds=(at - triggered).total_seconds() if triggered else None,
        )
        for kind, at, label in sorted(steps, key=lambda f: (f[1], order.index(f[0])))
    )
