"""The steps of a pass that others decide, each as a span of its trace (docs/how-to/opentelemetry.md)."""

from __future__ import annotations

from agent.actions.resources import Resources
from agent.approve.approval import approve
from agent.approve.decided import DecidedQuestions
from agent.guard.judge import judge
from agent.state.trail import trace_of
from agent.verify import verify
from models.approval import ApprovalRecord
from models.evacuation import Evacuation
from models.fleet import Fleet
from models.plan import Plan, Verdict
from models.policy.policy import Policy
from models.proposals.states import ApprovalState, Proposal
from models.situation import Situation
from models.verification import Verification
from tools.ports.approval import Approver
from tools.ports.clock import Clock
from tools.ports.journal import Journal
from tools.tracing.spans import finished_span, span


def judged_by_guard(plan: Plan, situation: Situation) -> Verdict:
    """`agent.guard.judge.judge`."""
    with span("guard", nodes=plan.evacuating, moves=len(plan.moves), planner=plan.planned_by.planner) as told:
        verdict = judge(plan, situation)
        told.tell(passed=verdict.passed, approval=verdict.approval, failures=[one.rule for one in verdict.failures])
    return verdict


def agreed_at_once(plan: Plan, verdict: Verdict, approver: Approver, policy: Policy, clock: Clock) -> ApprovalRecord:
    """`agent.approve.approval.approve`: policy agrees, or the approver that waits here."""
    with span("approval") as told:
        agreement = approve(plan, verdict, approver, now=clock.now(), expires_after=policy.approval.expires_after)
        told.tell(outcome="approved", by=agreement.by)
    return agreement


def verified(done: Evacuation, fleet: Fleet, hands: Resources) -> Verification:
    """`agent.verify.verify`."""
    with span("verify", evacuation=done.id) as told:
        checks = verify(done, fleet, hands)
        told.tell(passed=checks.passed)
    return checks


def tell_wait(proposal: Proposal, journal: Journal) -> None:
    """How long people took to agree to what is carried out from here on, from the question to the last agreement."""
    agreed_at = max((one.at for one in proposal.agreements), default=proposal.since)
    finished_span(
        "approval", trace=trace_of(journal, proposal.id), key=f"approval {proposal.id}",
        began=proposal.question.asked_at, ended=agreed_at, evacuation=proposal.id, outcome=ApprovalState.APPROVED,
        by=proposal.approved_by,
    )  # fmt: skip


def tell_closed(decided: DecidedQuestions) -> None:
    """How long questions were open that came to nothing: rejected, expired, superseded or withdrawn since the last time."""
    for one in decided.new():
        if one.outcome is not ApprovalState.APPROVED:
            finished_span(
                "approval", trace=trace_of(decided.journal, one.id), key=f"approval {one.id}", began=one.asked_at,
                ended=one.decided_at, evacuation=one.id, outcome=one.outcome, by=one.by, why=one.why,
            )  # fmt: skip
