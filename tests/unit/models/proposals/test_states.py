"""What can happen to a question, and what can't."""

from __future__ import annotations

from datetime import timedelta

import pytest
from scenes.approvals import ALONE, NOON, TTL, fleet, plan, policy, question

from models.errors import AlreadyDecided
from models.proposals.states import (
    LIVE,
    OPEN,
    OVER,
    TRANSITIONS,
    ApprovalEvent,
    ApprovalState,
    EventKind,
    Proposal,
    advance,
    as_of,
    described,
)

MINUTE = timedelta(minutes=1)


def asked(*, archive: bool = False) -> Proposal:
    there = fleet()
    return Proposal.asked(question(plan(there, archive=archive), there, policy() if archive else ALONE))


def event(
    kind: EventKind, person: str = "ana", *, after: timedelta = MINUTE, until: timedelta | None = None
) -> ApprovalEvent:
    return ApprovalEvent(
        kind=kind, at=NOON + after, by=f"terminal:{person}", person=person, until=NOON + until if until else None
    )


def in_state(state: ApprovalState) -> Proposal:
    return asked().model_copy(update={"state": state, "last": event(EventKind.REJECT)})


def test_what_is_over_stays_as_it_is_whatever_comes() -> None:
    for state in OVER:
        for kind in EventKind:
            with pytest.raises(AlreadyDecided):
                advance(in_state(state), event(kind, until=2 * MINUTE))


def test_only_what_was_approved_is_carried_out_and_only_once() -> None:
    for state in ApprovalState:
        if state is ApprovalState.APPROVED:
            taken = advance(in_state(state), event(EventKind.EXECUTE))
            with pytest.raises(AlreadyDecided):
                advance(taken, event(EventKind.EXECUTE))
        else:
            with pytest.raises(AlreadyDecided):
                advance(in_state(state), event(EventKind.EXECUTE))


def test_every_state_is_reached_and_every_open_one_can_be_left() -> None:
    reached = {target for _, target in TRANSITIONS.values()}
    assert reached == set(ApprovalState)
    left = {state for sources, _ in TRANSITIONS.values() for state in sources}
    assert left == LIVE | {ApprovalState.EXECUTING}
    for kind in (EventKind.AGREE, EventKind.REJECT, EventKind.SNOOZE):
        assert TRANSITIONS[kind][0] == OPEN


def test_who_comes_second_reads_what_was_decided_by_whom_and_when() -> None:
    refused = advance(asked(), event(EventKind.REJECT).model_copy(update={"why": "not at night"}))
    with pytest.raises(AlreadyDecided, match=r"rejected by terminal:ana at 2026-11-23 12:01:00 UTC: not at night"):
        advance(refused, event(EventKind.AGREE, "tom", after=2 * MINUTE))


def test_silence_is_no_and_wakes_the_next_half_way() -> None:
    assert as_of(asked(), NOON + TTL / 2 - timedelta(seconds=1)).state is ApprovalState.PENDING
    assert as_of(asked(), NOON + TTL / 2).state is ApprovalState.ESCALATED
    expired = as_of(asked(), NOON + TTL)
    assert expired.state is ApprovalState.EXPIRED
    assert "nobody decided in time" in described(expired)


def test_two_different_people_where_it_stops_a_guest() -> None:
    first = advance(asked(archive=True), event(EventKind.AGREE, "ana"))
    assert first.state is ApprovalState.PENDING
    assert first.missing == "1 more"
    with pytest.raises(AlreadyDecided, match="ana has agreed"):
        advance(first, event(EventKind.AGREE, "ana"))
    both = advance(first, event(EventKind.AGREE, "tom"))
    assert both.state is ApprovalState.APPROVED
    assert both.approved_by == "terminal:ana and terminal:tom"


def test_a_snoozed_question_comes_back_with_all_its_time_and_no_half_answer() -> None:
    half = advance(asked(archive=True), event(EventKind.AGREE, "ana"))
    snoozed = advance(half, event(EventKind.SNOOZE, "tom", until=40 * MINUTE))
    assert as_of(snoozed, NOON + 39 * MINUTE).state is ApprovalState.SNOOZED, "its time does not run meanwhile"
    back = as_of(snoozed, NOON + 41 * MINUTE)
    assert back.state is ApprovalState.PENDING
    assert back.agreements == ()
    assert back.expires_at == NOON + 40 * MINUTE + TTL
    assert as_of(snoozed, NOON + 40 * MINUTE + TTL).state is ApprovalState.EXPIRED


def test_an_agreement_that_nobody_acted_on_expires_too() -> None:
    agreed = advance(asked(), event(EventKind.AGREE, after=14 * MINUTE))
    assert as_of(agreed, NOON + 28 * MINUTE).state is ApprovalState.APPROVED
    expired = as_of(agreed, NOON + 29 * MINUTE)
    assert expired.state is ApprovalState.EXPIRED
    assert "not begun in time" in described(expired)


def test_taken_up_and_never_begun_is_a_failure_that_changed_nothing() -> None:
    taken = advance(advance(asked(), event(EventKind.AGREE)), event(EventKind.EXECUTE))
    assert as_of(taken, NOON + 5 * MINUTE).state is ApprovalState.EXECUTING
    assert as_of(taken, NOON + 7 * MINUTE).state is ApprovalState.FAILED
    begun = taken.model_copy(update={"begun": True})
    assert as_of(begun, NOON + timedelta(days=1)).state is ApprovalState.EXECUTING
