"""A question as every view shows it: the same facts at a terminal, in JSON and in Slack."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from models.base import format_duration
from models.plan import ActionKind
from models.policy.policy import Policy
from models.proposals.rights import may_answer, why_nobody_can
from models.proposals.states import OPEN, Proposal, described, left, seconds_left
from models.text import counted, percent, visible


def facts(proposal: Proposal, policy: Policy) -> dict[str, Any]:
    """Plain data. Times are RFC 3339 UTC, durations seconds."""
    question, plan = proposal.question, proposal.question.plan
    return {
        "evacuation": question.id,
        "state": str(proposal.state),
        "since": _time(proposal.since),
        "described": described(proposal),
        "nodes": {node: str(why) for node, why in question.occasions.items()},
        "moves": len(plan.moves),
        "headline": headline(proposal, policy),
        "requested_by": question.requested_by,
        "asked_at": _time(question.asked_at),
        "expires_at": _time(proposal.expires_at),
        "seconds_left": seconds_left(proposal) if proposal.state in OPEN else None,
        "snoozed_until": _time(proposal.snoozed_until) if proposal.snoozed_until else None,
        "when_unanswered": "goes ahead" if proposal.goes_ahead_unanswered else "is a no",
        "needs_people": question.needs.people,
        "needs_why": question.needs.why,
        "missing": proposal.missing,
        "agreements": [{"person": one.person, "by": one.by, "at": _time(one.at)} for one in proposal.agreements],
        "may_answer": sorted(may_answer(question, policy.approval, escalated=proposal.seen_at >= proposal.halfway)),
        "may_answer_later": sorted(may_answer(question, policy.approval, escalated=True)),
        "nobody_can": why_nobody_can(question, policy.approval),
        "supersedes": question.supersedes or None,
        "changes": list(question.changes),
        "question_sha256": question.digest(),
    }


def full_facts(proposal: Proposal, policy: Policy) -> dict[str, Any]:
    """With the plan, the verdict and the risks."""
    question = proposal.question
    return facts(proposal, policy) | {
        "plan": question.plan.model_dump(mode="json"),
        "verdict": question.verdict.model_dump(mode="json"),
        "risks": [risk.model_dump(mode="json") for risk in question.risks],
        "history": [proposal.last.model_dump(mode="json")] if proposal.last is not None else [],
    }


def headline(proposal: Proposal, policy: Policy) -> str:
    """`node-a: 93 % to fail within 2h. Move 4 vms live, archive 1`."""
    question = proposal.question
    horizon = policy.trigger.horizon
    by_node = {risk.node: risk for risk in question.risks}
    told: list[str] = []
    for node in list(question.occasions)[:4]:
        risk = by_node.get(node)
        p = f"{percent(risk.within(horizon.total_seconds()))} to fail within {format_duration(horizon)}" if risk else ""
        told.append(f"{visible(node, 60)}: {p or 'a person named it'}")
    more = f" and {len(question.occasions) - 4} more nodes" if len(question.occasions) > 4 else ""
    return f"{', '.join(told)}{more}. {what_it_does(proposal)}"


def what_it_does(proposal: Proposal) -> str:
    """`Move 4 vms live, archive 1`."""
    moves = proposal.question.plan.moves
    words = (
        (ActionKind.LIVE_MIGRATE, "move", "live"),
        (ActionKind.COLD_MIGRATE, "stop and move", ""),
        (ActionKind.COLD_ARCHIVE, "stop and archive", ""),
    )
    parts: list[str] = []
    for kind, verb, how in words:
        count = sum(action.kind is kind for action in moves)
        if count:
            parts.append(f"{verb} {counted(count, 'vm')}{' ' + how if how else ''}")
    text = ", ".join(parts) or "nothing"
    return text[0].upper() + text[1:]


def state_line(proposal: Proposal) -> str:
    """What is to be said of it now: how long is left, or what was decided."""
    if proposal.state in OPEN:
        agreed = f"; {proposal.approved_by} agreed" if proposal.agreements else ""
        last = f" ({described(proposal)})" if proposal.snoozed_until is not None else ""
        then = ", then it goes ahead" if proposal.goes_ahead_unanswered else ""
        return f"{proposal.state}{last}, {left(proposal)} left{then}; it takes {proposal.missing}{agreed}"
    return described(proposal)


def _time(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
