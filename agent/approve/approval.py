"""Approval: who agreed to which plan for which fleet, and until when. Drift voids it."""

from __future__ import annotations

from datetime import datetime, timedelta

from models.approval import ApprovalRecord
from models.base import format_duration
from models.errors import ApprovalMissing, ApprovalVoid, PlanRefused
from models.fleet import Fleet
from models.plan import Approval, AtLeisure, Plan, Verdict
from models.policy.policy import Policy
from tools.ports.approval import Approver


def approve(
    plan: Plan, verdict: Verdict, approver: Approver, *, now: datetime, expires_after: timedelta
) -> ApprovalRecord:
    """Get agreement to a plan. Raises PlanRefused when the guard said no, ApprovalMissing when nobody agreed."""
    require_passed(plan, verdict)
    by = "policy"
    if verdict.approval is Approval.HUMAN:
        answer = approver.ask(f"Carry out {len(plan.moves)} moves {_where(plan)}? {verdict.approval_why}")
        if not answer.approved:
            raise ApprovalMissing(
                f"the plan for {', '.join(plan.evacuating)} needs a human, and was not approved ({answer.by})",
                hint="nothing was changed; `lifeboat apply PLAN` asks again",
            )
        by = answer.by
    return ApprovalRecord(plan_sha256=plan.digest(), by=by, at=now, expires_at=now + expires_after)


def _where(plan: Plan) -> str:
    if plan.at_leisure is not None:
        return "to spread load and risk" if plan.at_leisure is AtLeisure.REBALANCE else "of idle vms into the archive"
    return f"back to {', '.join(plan.returning)}" if plan.returning else f"off {', '.join(plan.evacuating)}"


def require_passed(plan: Plan, verdict: Verdict) -> None:
    """Raises PlanRefused when the guard said no, or said something of another plan."""
    if not verdict.passed or verdict.plan_sha256 != plan.digest():
        failures = (
            "; ".join(f"{result.rule}: {result.why}" for result in verdict.failures) or "the verdict is on another plan"
        )
        raise PlanRefused(
            f"the plan for {', '.join(plan.evacuating) or 'no node'} is refused: {failures}", hint="nothing was changed"
        )


def require_own_approval(verdict: Verdict, policy: Policy) -> None:
    """For who carries a plan out by hand: raises ApprovalMissing where policy names others who have to agree to it."""
    if verdict.passed and verdict.approval is Approval.HUMAN and policy.approval.approvers:
        raise ApprovalMissing(
            f"policy names who may agree to this plan, and who asks never does: {verdict.approval_why}",
            hint="nothing was changed; `lifeboat apply PLAN --propose` asks them",
        )


def bind_to_fleet(plan: Plan, verdict: Verdict, fleet: Fleet) -> tuple[Plan, Verdict]:
    """A plan made by hand may name no fleet: it is for the one it was judged on, and whoever agrees to it agrees to that.

    The verdict stays as it was: a human has to agree, since nothing says which fleet the plan was made for.
    """
    if plan.fleet_sha256:
        return plan, verdict
    bound = plan.model_copy(update={"fleet_sha256": fleet.digest()})
    return bound, verdict.model_copy(update={"plan_sha256": bound.digest()})


def require_valid_approval(approval: ApprovalRecord, plan: Plan, fleet: Fleet, *, now: datetime) -> None:
    """Right before execution. Raises ApprovalVoid when it expired, is for another plan, or the fleet has changed."""
    if approval.plan_sha256 != plan.digest():
        raise ApprovalVoid("the approval is for another plan", hint="nothing was changed; ask again")
    if now >= approval.expires_at:
        late = format_duration(timedelta(seconds=round((now - approval.expires_at).total_seconds())))
        raise ApprovalVoid(
            f"the approval by {approval.by} expired {late} ago", hint="nothing was changed; plan again and ask again"
        )
    if fleet.digest() != plan.fleet_sha256:
        raise ApprovalVoid(
            "the fleet has changed since the plan was made, so the approval no longer holds",
            hint="nothing was changed; plan again and ask again",
        )
