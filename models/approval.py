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
    """What was agreed to be carried out; in the journal from the start, for whoever has to finish it."""

    plan: Plan
    fleet: Fleet
    verdict: Verdict
    policy: Policy
    agreement: ApprovalRecord
