"""One question put to people, under the id of the evacuation that it may become; its plan is in `EvacuationPlanned`."""

from __future__ import annotations

from models.base import Duration, UtcTime
from models.fleet import Fleet
from models.plan import Plan, Verdict
from models.policy.approvers import Occasion
from models.proposals.states import ApprovalEvent, ApprovalState, Needs, Question
from models.risk.risk import Risk
from tools.ports.journal import Timed


class ApprovalAsked(Timed):
    """A plan was put to the people whom policy names."""

    KIND = "approval-asked"
    touched: Fleet
    """the nodes that the plan leaves or fills, with their vms, as they were"""
    policy_sha256: str
    requested_by: str
    """`lifeboat`, or the identity of a person"""
    occasions: dict[str, Occasion]
    """node → why it is left"""
    risks: tuple[Risk, ...]
    needs: Needs
    silence_is_yes: bool = False
    """policy lets it go ahead when nobody answers"""
    asked_at: UtcTime
    time_to_live: Duration
    supersedes: str
    """the question whose place this one takes; empty for none"""
    changes: tuple[str, ...]
    """what is different from that one"""

    @classmethod
    def of(cls, question: Question, *, uptime: str) -> ApprovalAsked:
        return cls(
            uptime=uptime, **{field: getattr(question, field) for field in cls.model_fields if field != "uptime"}
        )

    def question(self, evacuation: str, plan: Plan, verdict: Verdict) -> Question:
        fields = {name: value for name, value in self if name != "uptime"}
        return Question(id=evacuation, plan=plan, verdict=verdict, **fields)


class ApprovalChanged(Timed):
    """Something happened to a question that is still open: one of two people agreed, a snooze, an escalation."""

    KIND = "approval-changed"
    event: ApprovalEvent
    state: ApprovalState
    """in which it is now"""
    question_sha256: str
    """what an answer is bound to: plan, fleet, policy"""


class ApprovalClosed(Timed):
    """The question is closed: rejected, expired, superseded, withdrawn; or its plan is carried out, once, from here on."""

    KIND = "approval-closed"
    event: ApprovalEvent
    state: ApprovalState
    question_sha256: str
