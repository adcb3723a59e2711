"""One evacuation: planned, approved or refused, carried out, and what people asked of it meanwhile."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from models.approval import ApprovalRecord, ApprovedPlan
from models.base import UtcTime
from models.evacuation import EvacuationOutcome
from models.fleet import Fleet
from models.plan import Plan, Verdict
from models.policy.policy import Policy
from models.risk.risk import Risk
from models.verification import Verification
from tools.ports.journal import Record, Timed


class EvacuationPlanned(Record):
    """A plan was made and judged."""

    KIND = "planned"
    plan: Plan
    verdict: Verdict
    cools_down: bool = True
    """its nodes cool down from here on: people are asked, or a version planned it that wrote no `CooldownBegun`"""
    risks: tuple[Risk, ...] = ()
    """of the nodes to empty, as they were told then; empty: an earlier version planned it, or nobody told"""
    trace: str = ""
    """id that every log line about it has, and the look that first raised the tier of one of its nodes; empty: an earlier
    version planned it"""
    links: tuple[str, ...] = ()
    """traces of later looks that changed a tier of its nodes, and of the pass that planned it; oldest first"""

    @classmethod
    def of(
        cls,
        plan: Plan,
        verdict: Verdict,
        risks: Iterable[Risk] | None,
        *,
        cools_down: bool = True,
        trace: str = "",
        links: tuple[str, ...] = (),
    ) -> EvacuationPlanned:
        """`risks`: of any nodes."""
        told = tuple(risk for risk in risks or () if risk.node in plan.evacuating)
        return cls(plan=plan, verdict=verdict, cools_down=cools_down, risks=told, trace=trace, links=links)


class EvacuationRefused(Record):
    """The guard or the approver said no, or the approval no longer held; nothing was changed."""

    KIND = "refused"
    code: str
    """of the error class"""
    why: str


class EvacuationApproved(Record):
    """Somebody, or policy, agreed to a plan; it holds until it expires or the fleet changes."""

    KIND = "approved"
    plan_sha256: str
    by: str
    """who agreed: a user's id, or `policy`"""
    at: UtcTime
    expires_at: UtcTime


class EvacuationStarted(Timed):
    """What is carried out from here on, for whoever has to finish it."""

    KIND = "evacuation-started"
    plan: Plan
    fleet: Fleet
    """as it was agreed for: the nodes that the plan names, with all vms on them; an earlier version wrote all nodes"""
    verdict: Verdict
    policy: Policy
    agreement: ApprovalRecord

    @classmethod
    def of(cls, approved: ApprovedPlan, *, uptime: str = "") -> EvacuationStarted:
        return cls(**dict(approved.to_finish), uptime=uptime)

    @property
    def approved(self) -> ApprovedPlan:
        return ApprovedPlan(**{name: value for name, value in self if name != "uptime"})


class EvacuationEnded(Record):
    """Nothing of it runs any more."""

    KIND = "evacuation-ended"
    outcome: EvacuationOutcome


class EvacuationVerified(Record):
    """Everything was looked at again, from outside."""

    KIND = "verified"
    checks: Verification
    """of the vms that the plan does not speak of, only what does not hold, and how many they are; an earlier version wrote all"""

    @classmethod
    def of(cls, checks: Verification, plan: Plan) -> EvacuationVerified:
        return cls(checks=checks.in_brief({action.vm_name for action in plan.actions}))


class CancelRequested(Record):
    """Nothing new begins; what has not switched over yet is taken back. For good."""

    KIND = "cancel-asked"
    by: str


class PauseRequested(Record):
    """Nothing new begins; what runs finishes."""

    KIND = "pause-asked"
    by: str


class ResumeRequested(Record):
    """A person wants it to go on, and so agrees to the rest of its plan again."""

    KIND = "resume-asked"
    by: str


class RestAbandoned(Record):
    """What had not begun will not begin."""

    KIND = "called-off"
    why: str


class PollFailed(Record):
    """The fleet could not be looked at again meanwhile; what was approved goes on."""

    KIND = "look-failed"
    why: str


class TargetsChanged(Record):
    """What a look meanwhile showed: what has not begun on these nodes is withdrawn."""

    KIND = "looked-again"
    recovered: dict[str, str]
    """source → why it need not be left any more"""
    unfit: dict[str, str]
    """target → why it must take no vm now"""
    urgent: dict[str, str] = Field(default={})
    """source that was left at leisure → why it has to be evacuated now"""
