"""After a crash: end what had begun by looking, and decide whether the rest of the plan may still go on."""

from __future__ import annotations

from datetime import datetime

from agent.assess.monitor import Look
from agent.guard.judge import judge
from agent.state.requests import OperatorRequests
from models.approval import ApprovalRecord, ApprovedPlan
from models.errors import LifeboatError
from models.fleet import Fleet
from models.plan import Action, ActionKind, Approval, Plan
from models.situation import Situation


def why_not_continue(
    approved: ApprovedPlan, begun: frozenset[int], requests: OperatorRequests, look: Look, now: datetime
) -> str | None:
    """Why what has not begun must not begin any more; None when it may.

    The approval must hold still (a person's `lifeboat resume` renews it for as long as policy says), and the rest of
    the plan must pass the guard on the fleet as it is now, like a plan made now.
    """
    if all(
        number in begun for number, action in enumerate(approved.plan.actions) if action.kind is not ActionKind.STAY
    ):
        return None
    agreement = renewed(approved, requests)
    if now >= agreement.expires_at:
        return f"lifeboat was cut off, and the approval by {agreement.by} had expired before it was back"
    try:
        fleet, risks = look()
    except LifeboatError as error:
        return f"lifeboat was cut off, and the fleet could not be looked at again: {error.message}"
    situation = Situation(fleet=fleet, risks=risks, policy=approved.policy, now=now)
    verdict = judge(rest_of(approved.plan, begun, fleet), situation)
    if not verdict.passed:
        failed = "; ".join(f"{result.rule}: {result.why}" for result in verdict.failures)
        return f"lifeboat was cut off, and the rest of the plan no longer passes: {failed}"
    if verdict.approval is Approval.HUMAN and agreement.by == "policy":
        return f"lifeboat was cut off, and the rest of the plan now needs a human: {verdict.approval_why}"
    return None


def renewed(approved: ApprovedPlan, requests: OperatorRequests) -> ApprovalRecord:
    """The agreement as it stands: the one at the start, or that of whoever had it go on since."""
    if requests.renewed_by is None or requests.renewed_at is None:
        return approved.agreement
    until = requests.renewed_at + approved.policy.approval.expires_after
    return approved.agreement.model_copy(
        update={"by": requests.renewed_by, "at": requests.renewed_at, "expires_at": until}
    )


def rest_of(plan: Plan, begun: frozenset[int], fleet: Fleet) -> Plan:
    """The actions that have not begun, as a plan for the fleet as it is now; what is settled on the nodes stays."""
    rest = [action for number, action in enumerate(plan.actions) if number not in begun]
    named = {action.vm for action in rest}
    settled = [
        Action(kind=ActionKind.STAY, vm=vm.uuid, vm_name=vm.name, source=node, reason="dealt with before the crash")
        for node in plan.evacuating
        if node in fleet.node_by_name
        for vm in fleet.vms_on(node)
        if vm.uuid not in named
    ]
    return plan.model_copy(update={"actions": (*rest, *settled), "fleet_sha256": fleet.digest()})
