"""One question put to people: may this plan be carried out? From the question to what became of it. Pure.

    pending ─┬─ escalated ─┬→ approved → executing → done | failed | rolled back | indeterminate
             └─ snoozed  ──┘→ rejected | expired | superseded | withdrawn

A proposal is the fold of its events (`advance`); `TRANSITIONS` is all of it. What time alone brings (an end of a snooze, half of
the time to live, its end) follows from the clock (`due`), whether or not anybody was there to write it down: silence is no.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from models.base import Duration, UtcTime, Value, format_duration
from models.errors import AlreadyDecided, Refused
from models.fleet import Fleet
from models.plan import ActionKind, Plan, Verdict
from models.policy.approvers import Occasion
from models.risk.risk import Risk
from models.text import moment


class ApprovalState(StrEnum):
    """Where one question stands."""

    PENDING = "pending"
    ESCALATED = "escalated"
    """half of its time is over without an answer: the next may answer as well"""
    SNOOZED = "snoozed"
    """asked again later; it can be answered meanwhile"""
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    """nobody answered in time, or what was approved was not begun in time"""
    SUPERSEDED = "superseded"
    """the plan does not fit the fleet or the policy any more; a new one may have been proposed"""
    WITHDRAWN = "withdrawn"
    """it is not wanted any more"""
    EXECUTING = "executing"
    DONE = "done"
    FAILED = "failed"
    """not everything was done; every vm is accounted for"""
    ROLLED_BACK = "rolled back"
    """cancelled: nothing of it was done, and every vm is where it was"""
    INDETERMINATE = "indeterminate"
    """a vm is frozen until a human has looked"""


OPEN: Final = frozenset({ApprovalState.PENDING, ApprovalState.ESCALATED, ApprovalState.SNOOZED})
"""waits for an answer"""
LIVE: Final = OPEN | {ApprovalState.APPROVED}
"""may still be carried out"""
OVER: Final = frozenset(ApprovalState) - LIVE - {ApprovalState.EXECUTING}


class EventKind(StrEnum):
    """What can happen to a question."""

    AGREE = "agree"
    PROCEED = "proceed"
    """nobody answered, and policy lets it go ahead then"""
    REJECT = "reject"
    SNOOZE = "snooze"
    WAKE = "wake"
    ESCALATE = "escalate"
    EXPIRE = "expire"
    SUPERSEDE = "supersede"
    WITHDRAW = "withdraw"
    EXECUTE = "execute"
    FINISH = "finish"
    FAIL = "fail"
    ROLL_BACK = "roll back"
    LOSE = "lose"
    """a vm of it is where nobody can tell"""


TRANSITIONS: Final[Mapping[EventKind, tuple[frozenset[ApprovalState], ApprovalState]]] = {
    EventKind.AGREE: (OPEN, ApprovalState.APPROVED),  # or as before, while another person is needed
    EventKind.PROCEED: (frozenset({ApprovalState.PENDING, ApprovalState.ESCALATED}), ApprovalState.APPROVED),
    EventKind.REJECT: (OPEN, ApprovalState.REJECTED),
    EventKind.SNOOZE: (OPEN, ApprovalState.SNOOZED),
    EventKind.WAKE: (frozenset({ApprovalState.SNOOZED}), ApprovalState.PENDING),
    EventKind.ESCALATE: (frozenset({ApprovalState.PENDING}), ApprovalState.ESCALATED),
    EventKind.EXPIRE: (LIVE, ApprovalState.EXPIRED),
    EventKind.SUPERSEDE: (LIVE, ApprovalState.SUPERSEDED),
    EventKind.WITHDRAW: (LIVE, ApprovalState.WITHDRAWN),
    EventKind.EXECUTE: (frozenset({ApprovalState.APPROVED}), ApprovalState.EXECUTING),
    EventKind.FINISH: (frozenset({ApprovalState.EXECUTING}), ApprovalState.DONE),
    EventKind.FAIL: (frozenset({ApprovalState.EXECUTING}), ApprovalState.FAILED),
    EventKind.ROLL_BACK: (frozenset({ApprovalState.EXECUTING}), ApprovalState.ROLLED_BACK),
    EventKind.LOSE: (frozenset({ApprovalState.EXECUTING}), ApprovalState.INDETERMINATE),
}
"""Event → from which states, to which. Whatever is not here does not happen."""

DECISIONS: Final = frozenset({EventKind.AGREE, EventKind.REJECT, EventKind.SNOOZE})
"""what people do"""


class ApprovalEvent(Value):
    """One thing that happened to a question."""

    kind: EventKind
    at: UtcTime
    by: str
    """an identity such as `terminal:ana`, `lifeboat`, or `time`"""
    person: str = ""
    """who of the policy's people that is; empty for lifeboat and for time"""
    why: str = ""
    until: UtcTime | None = None
    """of a snooze"""


class Agreement(Value):
    """One person's yes."""

    person: str
    by: str
    """the identity they used"""
    at: UtcTime


class Needs(Value):
    """What it takes to approve a plan."""

    people: int = 1
    """how many different ones"""
    outside_slack: bool = False
    """one of them at a terminal or by webhook"""
    why: str = ""
    """why more than one"""


class Question(Value):
    """What people are asked, as it was when they were asked."""

    id: str
    """of the evacuation that it becomes"""
    plan: Plan
    """bound to the fleet by its `fleet_sha256`"""
    verdict: Verdict
    touched: Fleet
    """the nodes that the plan leaves or fills, with their vms"""
    policy_sha256: str
    requested_by: str
    """`lifeboat`, or the identity of a person; who asked never agrees"""
    occasions: dict[str, Occasion]
    """node → why it is left"""
    risks: tuple[Risk, ...] = ()
    """of the nodes that are left"""
    needs: Needs = Needs()
    silence_is_yes: bool = False
    """policy lets it go ahead when nobody answers at all"""
    asked_at: UtcTime
    time_to_live: Duration
    supersedes: str = ""
    """the one before, whose place this one takes"""
    changes: tuple[str, ...] = ()
    """what is different from that one, a line each"""

    def open_until(self, opened_at: datetime) -> datetime:
        """Until when it may be answered: what begins later may be answered until then."""
        return max(opened_at + self.time_to_live, self.plan.starts_at or opened_at)

    def digest(self) -> str:
        """SHA-256 that an answer is bound to: over plan (and in it the fleet's), the facts it touches, and policy."""
        bound = (self.id, self.plan.digest(), self.touched.digest(), self.policy_sha256)
        return hashlib.sha256("\n".join(bound).encode()).hexdigest()


class Proposal(Value):
    """A question and what became of it so far."""

    question: Question
    state: ApprovalState = ApprovalState.PENDING
    since: UtcTime
    """when it came into that state"""
    opened_at: UtcTime
    """when it was asked, or asked again after a snooze"""
    expires_at: UtcTime
    agreements: tuple[Agreement, ...] = ()
    snoozed_until: UtcTime | None = None
    last: ApprovalEvent | None = None
    """what brought it into that state"""
    begun: bool = False
    """its evacuation began"""
    seen_at: UtcTime
    """when it was read: by the question's own time, which goes on evenly whatever the wall clock is set to"""

    @classmethod
    def asked(cls, question: Question) -> Proposal:
        at = question.asked_at
        return cls(question=question, since=at, opened_at=at, expires_at=question.open_until(at), seen_at=at)

    @property
    def id(self) -> str:
        return self.question.id

    @property
    def halfway(self) -> datetime:
        """From then on the next group may answer as well."""
        return self.opened_at + (self.expires_at - self.opened_at) / 2

    @property
    def approved_by(self) -> str:
        """`terminal:ana`, or `terminal:ana and slack:U024BE7LH`; `silence` where nobody had to."""
        return " and ".join(one.by for one in self.agreements) or SILENCE

    @property
    def goes_ahead_unanswered(self) -> bool:
        """At the end of its time: nobody has answered it so far, put it off or agreed in part, and it stops no guest."""
        untouched = not self.agreements and self.opened_at == self.question.asked_at
        moves = self.question.plan.moves
        return self.question.silence_is_yes and untouched and all(one.kind is ActionKind.LIVE_MIGRATE for one in moves)

    @property
    def missing(self) -> str:
        """What it still takes to approve it, in words; empty when nothing."""
        needs = self.question.needs
        left = needs.people - len(self.agreements)
        only_slack = needs.outside_slack and all(one.by.startswith("slack:") for one in self.agreements)
        if left <= 0:
            return "a person outside Slack" if only_slack else ""
        people = (
            "a person" if not self.agreements and left == 1 else f"{left} more" if self.agreements else f"{left} people"
        )
        return f"{people}{', one of them outside Slack' if only_slack else ''}"


SILENCE: Final = "silence"
"""who approved what nobody answered"""
BEGIN_WITHIN: Final = timedelta(minutes=5)
"""An evacuation begins a second after it was taken up; when it has not after this long, whoever took it up is gone."""


def due(proposal: Proposal, now: datetime) -> ApprovalEvent | None:
    """What time alone has brought and nobody has written down yet; None: nothing."""
    if proposal.state is ApprovalState.SNOOZED and proposal.snoozed_until is not None and now >= proposal.snoozed_until:
        return ApprovalEvent(kind=EventKind.WAKE, at=proposal.snoozed_until, by="time", why="the snooze is over")
    if proposal.state in LIVE and proposal.state is not ApprovalState.SNOOZED and now >= proposal.expires_at:
        if proposal.state is not ApprovalState.APPROVED and proposal.goes_ahead_unanswered:
            why = "nobody answered, and policy lets it go ahead then (approval.unanswered)"
            return ApprovalEvent(kind=EventKind.PROCEED, at=proposal.expires_at, by="time", why=why)
        why = "it was not begun in time" if proposal.state is ApprovalState.APPROVED else "nobody decided in time"
        return ApprovalEvent(kind=EventKind.EXPIRE, at=proposal.expires_at, by="time", why=why)
    if proposal.state is ApprovalState.PENDING and now >= proposal.halfway:
        return ApprovalEvent(
            kind=EventKind.ESCALATE, at=proposal.halfway, by="time", why="half of the time to live is over"
        )
    if proposal.state is ApprovalState.EXECUTING and not proposal.begun and now >= proposal.since + BEGIN_WITHIN:
        return ApprovalEvent(
            kind=EventKind.FAIL, at=proposal.since + BEGIN_WITHIN, by="time",
            why="the lifeboat that took it up ended before anything began; nothing was changed",
        )  # fmt: skip
    return None


def as_of(proposal: Proposal, now: datetime) -> Proposal:
    """With everything that time has brought."""
    while (event := due(proposal, now)) is not None:
        proposal = advance(proposal, event)
    return proposal.model_copy(update={"seen_at": now})


def advance(proposal: Proposal, event: ApprovalEvent) -> Proposal:
    """After one event. Raises AlreadyDecided when it comes too late, saying what was decided, by whom and when."""
    sources, target = TRANSITIONS[event.kind]
    if proposal.state not in sources:
        raise AlreadyDecided(
            f"{proposal.id} is {described(proposal)}", hint="nothing was changed; see `lifeboat approvals`"
        )
    changed: dict[str, object] = {"state": target, "since": event.at, "last": event, "snoozed_until": None}
    ttl = proposal.question.time_to_live
    begins = max(event.at, proposal.question.plan.starts_at or event.at)
    match event.kind:
        case EventKind.AGREE:
            if any(one.person == event.person for one in proposal.agreements):
                raise AlreadyDecided(
                    f"{event.person} has agreed to {proposal.id} already; it needs {proposal.missing}",
                    hint="another person has to agree as well",
                )
            yes = Agreement(person=event.person, by=event.by, at=event.at)
            after = proposal.model_copy(update={"agreements": (*proposal.agreements, yes)})
            if after.missing:
                return after.model_copy(update={"last": event})
            changed |= {"agreements": after.agreements, "expires_at": begins + ttl}
        case EventKind.PROCEED:
            if not proposal.goes_ahead_unanswered:
                raise Refused(f"silence is no for {proposal.id}", hint="nothing was changed")
            changed |= {"expires_at": begins + ttl}
        case EventKind.SNOOZE:
            if event.until is None or event.until <= event.at:
                raise Refused("a snooze needs a time that is still to come")
            changed |= {"snoozed_until": event.until, "expires_at": event.until + ttl, "agreements": ()}
        case EventKind.WAKE:
            changed |= {"opened_at": event.at, "expires_at": proposal.question.open_until(event.at)}
        case _:
            pass
    return proposal.model_copy(update=changed)


def described(proposal: Proposal) -> str:
    """`rejected by terminal:ana (person ana) at 2026-11-23 04:00:07 UTC: too risky now`."""
    event = proposal.last
    if event is None:
        return f"{proposal.state} since {moment(proposal.since)}"
    who = proposal.approved_by if proposal.state is ApprovalState.APPROVED else event.by
    why = f": {event.why}" if event.why else ""
    until = f" until {moment(proposal.snoozed_until)}" if proposal.snoozed_until is not None else ""
    return f"{proposal.state}{until} by {who} at {moment(event.at)}{why}"


def seconds_left(proposal: Proposal) -> int:
    """How long it may still be answered, or carried out, when it was read."""
    return max(0, round((proposal.expires_at - proposal.seen_at).total_seconds()))


def left(proposal: Proposal) -> str:
    """As above, in words: `7m12s`."""
    return format_duration(timedelta(seconds=seconds_left(proposal)))
