"""The durable question: proposed, answered, carried out once. The journal decides; a terminal, Slack or a webhook only show it.

Every change is a compare-and-set in the journal, so of two answers one counts, and whoever comes second is told what was
decided, by whom and when. What time brings is written down before any answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from weakref import WeakKeyDictionary

from models.errors import AlreadyDecided, BadInput, NotAnApprover, Refused
from models.evacuation import AttemptOutcome, EvacuationOutcome
from models.policy import Policy
from models.proposals.rights import person_of, why_may_not
from models.proposals.states import (
    DECISIONS,
    LIVE,
    ApprovalEvent,
    ApprovalState,
    EventKind,
    Proposal,
    Question,
    advance,
    as_of,
    described,
    due,
)
from models.text import moment, visible
from tools.ports.journal import Journal, Scope
from tools.ports.records.approvals import ApprovalAsked, ApprovalChanged, ApprovalClosed
from tools.ports.records.attempts import AttemptEnded
from tools.ports.records.evacuations import EvacuationEnded, EvacuationPlanned, EvacuationStarted

_KINDS = (ApprovalAsked, ApprovalChanged, ApprovalClosed)
_MOST_KNOWN = 64
_KNOWN: WeakKeyDictionary[Journal, dict[str, tuple[Question, int]]] = WeakKeyDictionary()
_TRIES = 50
"""against others who write about the same question at the same moment; each try loses to somebody who got on"""


def policy_digest(policy: Policy) -> str:
    """SHA-256 of all that the operator allows: an answer is bound to it."""
    return hashlib.sha256(policy.model_dump_json().encode()).hexdigest()


def ask(journal: Journal, question: Question, *, now: datetime) -> Proposal:
    """Put a question down, whose plan is in the journal already (`EvacuationPlanned`)."""
    journal.append(ApprovalAsked.of(question), now=now, evacuation=question.id)
    return Proposal.asked(question)


def read(journal: Journal, evacuation: str, now: datetime) -> Proposal:
    """How one question stands. Raises BadInput when it was never asked."""
    return as_of(_read(journal, evacuation)[0], now)


def open_questions(journal: Journal, now: datetime, *, due_too: bool = False) -> list[Proposal]:
    """Those that wait for an answer or, approved, to be carried out; oldest first. `due_too`: also those whose time is over and
    nobody has written it down."""
    asked = journal.unended(ApprovalAsked, ApprovalClosed, by=Scope.EVACUATION)
    names = dict.fromkeys(entry.evacuation for entry in asked if entry.evacuation is not None)
    proposals = (read(journal, name, now) for name in names)
    return [each for each in proposals if due_too or each.state in LIVE]


def recent_questions(journal: Journal, now: datetime, most: int) -> list[Proposal]:
    """The newest `most`, newest first, whatever became of them. Not every evacuation is asked about."""
    found: list[Proposal] = []
    for name in journal.evacuations(20 * most):
        if len(found) == most:
            break
        try:
            found.append(read(journal, name, now))
        except BadInput:
            continue
    return found


def find(journal: Journal, evacuation: str, now: datetime) -> Proposal:
    """The one of that id; without an id the only one that is open. Raises BadInput when there is none, or too many."""
    if evacuation:
        return read(journal, evacuation, now)
    waiting = open_questions(journal, now)
    if len(waiting) != 1:
        raise BadInput(
            f"{len(waiting)} plans wait for an answer" if waiting else "no plan waits for an answer",
            hint=f"name one: {', '.join(each.id for each in waiting)}" if waiting else "see `lifeboat approvals --all`",
        )
    return waiting[0]


def answer(
    journal: Journal,
    evacuation: str,
    kind: EventKind,
    *,
    by: str,
    policy: Policy,
    now: datetime,
    why: str = "",
    until: datetime | None = None,
    after: int | None = None,
) -> Proposal:
    """One person's answer, as it stands in the journal when this returns.

    `after`: seq of the entry under which they were shown the question; what people answered since makes it void. Raises
    NotAnApprover when policy does not let them, AlreadyDecided when somebody or time was faster, Refused when the policy is
    another than it was asked under, BadInput when nothing of that id was asked.
    """
    assert kind in DECISIONS

    def decide(proposal: Proposal) -> ApprovalEvent:
        _require_same_policy(proposal, policy)
        obstacle = why_may_not(by, proposal, policy.approval, now)
        if obstacle is not None:
            raise NotAnApprover(
                f"{visible(by, 60)} can't answer for {proposal.id}: {obstacle}", hint="nothing was decided"
            )
        if now < proposal.question.asked_at:
            raise Refused("this clock is behind the one of who asked", hint="nothing was decided; set the clock")
        if kind is EventKind.SNOOZE and until is not None and until - now > policy.approval.longest_snooze:
            raise Refused(
                f"policy puts a question off until {moment(now + policy.approval.longest_snooze)} at most",
                hint="approval.longest_snooze; nothing was decided",
            )
        person = person_of(by, policy.approval) or ""
        if after is not None and proposal.state in LIVE and _answered(journal, evacuation) > after:
            raise AlreadyDecided(
                f"somebody answered {evacuation} since you were shown it: {described(proposal)}",
                hint="look at it as it is now",
            )
        return ApprovalEvent(kind=kind, at=now, by=by, person=person, why=visible(why, 500), until=until)

    return change(journal, evacuation, decide, now=now)


def note(
    journal: Journal, evacuation: str, kind: EventKind, *, why: str, now: datetime, by: str = "lifeboat"
) -> Proposal:
    """What lifeboat itself has to say of a question. Raises AlreadyDecided when that comes too late."""
    event = ApprovalEvent(kind=kind, at=now, by=by, why=why)
    return change(journal, evacuation, lambda _: event, now=now)


def write_due(journal: Journal, evacuation: str, *, now: datetime) -> Proposal:
    """Put down what time has brought, if anything, so that every view shows it."""
    return change(journal, evacuation, lambda _: None, now=now)


def change(
    journal: Journal, evacuation: str, decide: Callable[[Proposal], ApprovalEvent | None], *, now: datetime
) -> Proposal:
    """Read, let time pass, decide, write if nobody wrote meanwhile; else again. `decide` may be asked several times."""
    for _ in range(_TRIES):
        proposal, seen = _read(journal, evacuation)
        event = due(proposal, now)
        by_time = event is not None
        if event is None:
            event = decide(proposal)
        if event is None:
            return proposal
        after = advance(proposal, event)
        kind = ApprovalChanged if after.state in LIVE else ApprovalClosed
        record = kind(event=event, state=after.state, question_sha256=proposal.question.digest())
        if journal.append_if_newest(record, now=now, evacuation=evacuation, seen=seen, kinds=_KINDS) is None:
            continue
        if not by_time:
            return after
    raise AlreadyDecided(f"others write about {evacuation} all the time", hint="see `lifeboat show`, then try again")


def _require_same_policy(proposal: Proposal, policy: Policy) -> None:
    if proposal.question.policy_sha256 != policy_digest(policy) and proposal.state in LIVE:
        raise Refused(
            f"{proposal.id} was asked under another policy than this one",
            hint="nothing was decided; use the policy file of `lifeboat run`, which asks anew when it has changed",
        )


def _answered(journal: Journal, evacuation: str) -> int:
    """Seq of the newest answer of a person; 0: none yet."""
    entries = journal.of(ApprovalChanged, ApprovalClosed, evacuation=evacuation)
    return max((entry.seq for entry in entries if entry.record.event.kind in DECISIONS), default=0)


def _read(journal: Journal, evacuation: str) -> tuple[Proposal, int]:
    """As it was written down, and the seq of the newest entry about it."""
    question, seq = _question(journal, evacuation)
    proposal, seen = Proposal.asked(question), seq
    begun = bool(journal.of(EvacuationStarted, evacuation=evacuation))
    for entry in journal.of(ApprovalChanged, ApprovalClosed, evacuation=evacuation):
        seen = entry.seq
        if not (begun and proposal.state is ApprovalState.EXECUTING):  # taken for dead before it began: it began
            proposal = advance(proposal, entry.record.event)
    if begun and proposal.state is ApprovalState.EXECUTING:
        proposal = proposal.model_copy(update={"begun": True})
        for entry in journal.of(EvacuationEnded, evacuation=evacuation):
            kind, why = _ending(journal, evacuation, entry.record.outcome)
            return advance(proposal, ApprovalEvent(kind=kind, at=entry.at, by="lifeboat", why=why)), seen
    return proposal, seen


def _question(journal: Journal, evacuation: str) -> tuple[Question, int]:
    """What was asked, and the seq of its entry. Read once: it never changes, and a plan of hundreds of guests takes a while to
    read. Raises BadInput when nobody was asked."""
    known = _KNOWN.setdefault(journal, {})
    if evacuation not in known:
        asked = next(iter(journal.of(ApprovalAsked, evacuation=evacuation)), None)
        planned = next(iter(journal.of(EvacuationPlanned, evacuation=evacuation)), None)
        if asked is None or planned is None:
            raise BadInput(f"nobody was asked about {evacuation!r}", hint="see `lifeboat approvals --all`")
        if len(known) >= _MOST_KNOWN:
            known.clear()
        known[evacuation] = asked.record.question(evacuation, planned.record.plan, planned.record.verdict), asked.seq
    return known[evacuation]


def _ending(journal: Journal, evacuation: str, outcome: EvacuationOutcome) -> tuple[EventKind, str]:
    ended = [entry.record.attempt.outcome for entry in journal.of(AttemptEnded, evacuation=evacuation)]
    done = sum(one is AttemptOutcome.DONE for one in ended)
    match outcome:
        case EvacuationOutcome.DONE:
            return EventKind.FINISH, ""
        case EvacuationOutcome.INDETERMINATE:
            return EventKind.LOSE, "a vm is frozen until a human has looked: see `lifeboat status`"
        case EvacuationOutcome.CANCELLED if done == 0:
            return EventKind.ROLL_BACK, "cancelled before anything was done; every vm is where it was"
        case _:
            return EventKind.FAIL, f"{outcome}: {done} of {len(ended)} actions done"
