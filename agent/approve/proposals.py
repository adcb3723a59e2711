"""The durable question: proposed, answered, carried out once. The journal decides; a terminal, Slack or a webhook only show it.

Every change is a compare-and-set in the journal, so of two answers one counts, and whoever comes second is told what was
decided, by whom and when. What time brings is written down before any answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

from models.errors import AlreadyDecided, BadInput, NotAnApprover, Refused
from models.evacuation import AttemptOutcome, EvacuationOutcome
from models.policy.policy import Policy
from models.proposals.rights import asked_for, person_of, why_may_not
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
from tools.ports.clock import Clock
from tools.ports.journal import Entry, Journal, Scope, Timed
from tools.ports.records.approvals import ApprovalAsked, ApprovalChanged, ApprovalClosed
from tools.ports.records.attempts import AttemptEnded
from tools.ports.records.evacuations import EvacuationEnded, EvacuationPlanned, EvacuationStarted

_KINDS = (ApprovalAsked, ApprovalChanged, ApprovalClosed)
_MOST_KNOWN = 64
_KNOWN: WeakKeyDictionary[Journal, dict[str, tuple[Question, Entry[ApprovalAsked]]]] = WeakKeyDictionary()
_TRIES = 50
"""against others who write about the same question at the same moment; each try loses to somebody who got on"""


def policy_digest(policy: Policy) -> str:
    """SHA-256 of all that the operator allows: an answer is bound to it."""
    return hashlib.sha256(policy.model_dump_json().encode()).hexdigest()


def ask(journal: Journal, question: Question, *, clock: Clock) -> Proposal:
    """Put a question down, whose plan is in the journal already (`EvacuationPlanned`)."""
    journal.append(ApprovalAsked.of(question, uptime=clock.uptime()), now=question.asked_at, evacuation=question.id)
    return Proposal.asked(question)


def read(journal: Journal, evacuation: str, clock: Clock) -> Proposal:
    """How one question stands. Raises BadInput when it was never asked."""
    proposal, newest = _read(journal, evacuation)
    return as_of(proposal, _own_time(newest, clock))


def open_questions(journal: Journal, clock: Clock, *, due_too: bool = False) -> list[Proposal]:
    """Those that wait for an answer or, approved, to be carried out; oldest first. `due_too`: also those whose time is over and
    nobody has written it down."""
    asked = journal.unended(ApprovalAsked, ApprovalClosed, by=Scope.EVACUATION)
    names = dict.fromkeys(entry.evacuation for entry in asked if entry.evacuation is not None)
    proposals = (read(journal, name, clock) for name in names)
    return [each for each in proposals if due_too or each.state in LIVE]


def recent_questions(journal: Journal, clock: Clock, most: int) -> list[Proposal]:
    """The newest `most`, newest first, whatever became of them. Not every evacuation is asked about."""
    found: list[Proposal] = []
    for name in journal.evacuations(20 * most):
        if len(found) == most:
            break
        try:
            found.append(read(journal, name, clock))
        except BadInput:
            continue
    return found


def find(journal: Journal, evacuation: str, clock: Clock) -> Proposal:
    """The one of that id; without an id the only one that is open. Raises BadInput when there is none, or too many."""
    if evacuation:
        return read(journal, evacuation, clock)
    waiting = open_questions(journal, clock)
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
    clock: Clock,
    why: str = "",
    off: timedelta | None = None,
    after: int | None = None,
) -> Proposal:
    """One person's answer, as it stands in the journal when this returns. Who asked for it takes it back by rejecting it, also
    once others agreed, until it is begun.

    `off`: for how long a snooze puts it off. `after`: seq of the entry under which they were shown the question; what people
    answered since makes it void. Raises NotAnApprover when policy does not let them, AlreadyDecided when somebody or time was
    faster, Refused when the policy is another than it was asked under, BadInput when nothing of that id was asked.
    """
    assert kind in DECISIONS

    def decide(proposal: Proposal) -> ApprovalEvent:
        now = proposal.seen_at
        if kind is EventKind.REJECT and asked_for(by, proposal.question, policy.approval):
            person = person_of(by, policy.approval) or ""
            return ApprovalEvent(kind=EventKind.WITHDRAW, at=now, by=by, person=person, why=visible(why, 500))
        _require_same_policy(proposal, policy)
        obstacle = why_may_not(by, proposal, policy.approval)
        if obstacle is not None:
            raise NotAnApprover(
                f"{visible(by, 60)} can't answer for {proposal.id}: {obstacle}", hint="nothing was decided"
            )
        if now < proposal.question.asked_at:
            raise Refused("this clock is behind the one of who asked", hint="nothing was decided; set the clock")
        if off is not None and off > policy.approval.longest_snooze:
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
        until = now + off if off is not None else None
        return ApprovalEvent(kind=kind, at=now, by=by, person=person, why=visible(why, 500), until=until)

    return change(journal, evacuation, decide, clock=clock)


def note(
    journal: Journal, evacuation: str, kind: EventKind, *, why: str, clock: Clock, by: str = "lifeboat"
) -> Proposal:
    """What lifeboat itself has to say of a question. Raises AlreadyDecided when that comes too late."""
    return change(
        journal, evacuation, lambda now: ApprovalEvent(kind=kind, at=now.seen_at, by=by, why=why), clock=clock
    )


def write_due(journal: Journal, evacuation: str, *, clock: Clock) -> Proposal:
    """Put down what time has brought, if anything, so that every view shows it."""
    return change(journal, evacuation, lambda _: None, clock=clock)


def change(
    journal: Journal, evacuation: str, decide: Callable[[Proposal], ApprovalEvent | None], *, clock: Clock
) -> Proposal:
    """Read, let time pass, decide, write if nobody wrote meanwhile; else again. `decide` may be asked several times."""
    for _ in range(_TRIES):
        proposal, newest = _read(journal, evacuation)
        now = _own_time(newest, clock)
        proposal = proposal.model_copy(update={"seen_at": now})
        event = due(proposal, now)
        by_time = event is not None
        if event is None:
            event = decide(proposal)
        if event is None:
            return proposal
        after = advance(proposal, event)
        kind = ApprovalChanged if after.state in LIVE else ApprovalClosed
        record = kind(event=event, state=after.state, question_sha256=proposal.question.digest(), uptime=clock.uptime())
        if journal.append_if_newest(record, now=now, evacuation=evacuation, seen=newest.seq, kinds=_KINDS) is None:
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


def _own_time(newest: Entry[Timed], clock: Clock) -> datetime:
    """Now, by the question's own time: as much later than its newest entry as the host was up meanwhile, so that a wall clock
    which is set back or forward neither keeps it open nor ends it. Where that can't be told (the host has started since,
    another host wrote it, or an earlier version) the wall clock says it, and no time has passed at least."""
    passed = clock.seconds_since(newest.record.uptime)
    return newest.at + timedelta(seconds=passed) if passed is not None else max(clock.now(), newest.at)


def _read(journal: Journal, evacuation: str) -> tuple[Proposal, Entry[Timed]]:
    """As it was written down, and the newest entry about it."""
    question, asked = _question(journal, evacuation)
    newest: Entry[Timed] = asked
    proposal = Proposal.asked(question)
    begun = bool(journal.of(EvacuationStarted, evacuation=evacuation))
    for entry in journal.of(ApprovalChanged, ApprovalClosed, evacuation=evacuation):
        newest = entry
        if not (begun and proposal.state is ApprovalState.EXECUTING):  # taken for dead before it began: it began
            proposal = advance(proposal, entry.record.event)
    if begun and proposal.state is ApprovalState.EXECUTING:
        proposal = proposal.model_copy(update={"begun": True})
        for entry in journal.of(EvacuationEnded, evacuation=evacuation):
            kind, why = _ending(journal, evacuation, entry.record.outcome)
            return advance(proposal, ApprovalEvent(kind=kind, at=entry.at, by="lifeboat", why=why)), newest
    return proposal, newest


def _question(journal: Journal, evacuation: str) -> tuple[Question, Entry[ApprovalAsked]]:
    """What was asked, and its entry. Read once: it never changes, and a plan of hundreds of guests takes a while to
    read. Raises BadInput when nobody was asked."""
    known = _KNOWN.setdefault(journal, {})
    if evacuation not in known:
        asked = next(iter(journal.of(ApprovalAsked, evacuation=evacuation)), None)
        planned = next(iter(journal.of(EvacuationPlanned, evacuation=evacuation)), None)
        if asked is None or planned is None:
            raise BadInput(f"nobody was asked about {evacuation!r}", hint="see `lifeboat approvals --all`")
        if len(known) >= _MOST_KNOWN:
            known.clear()
        known[evacuation] = asked.record.question(evacuation, planned.record.plan, planned.record.verdict), asked
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
