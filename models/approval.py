"""Who agreed to which plan, for which fleet, and until when; and the plan as it was agreed to."""

from __future__ import annotations

from models.base import UtcTime, Value
from models.fleet import Fleet
from models.plan import Plan, Verdict
from models.policy.policy import Policy


class ApprovalRecord(Value):
    """One approval, bound to the hash of the plan, which holds the hash of the fleet."""

    plan_sha256: str
    by: str
    at: UtcTime
    expires_at: UtcTime


class ApprovedPlan(Value):
    """What was agreed to be carried out; in the journal from the start (`to_finish`), for whoever has to finish it."""

    plan: Plan
    fleet: Fleet
    verdict: Verdict
    policy: Policy
    agreement: ApprovalRecord

    @property
    def to_finish(self) -> ApprovedPlan:
        """The same with no more of the fleet than it takes to finish it: the nodes that the plan names, and all vms on them. What
        was agreed to stays bound to the whole, by `plan.fleet_sha256`."""
        actions = self.plan.actions
        vms = {action.vm for action in actions}
        named = {*self.plan.evacuating, *self.plan.returning, *(action.target for action in actions if action.target)}
        named |= {vm.node for vm in self.fleet.vms if vm.uuid in vms}
        return self.model_copy(update={"fleet": self.fleet.only(named)})
