"""Clicks, expiries, edits, drifts and restarts in any order: a plan runs at most once, and never without a valid approval.

What is checked is read from the journal's records, by rules of the test's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from scenes.approvals import NOON, PEOPLE, TTL, ask_about, at, policy

from agent.approve.proposals import answer, note, open_questions, read, write_due
from models.errors import LifeboatError, Refused
from models.policy.approvers import TwoPeoplePolicy
from models.policy.policy import Policy
from models.proposals.rights import why_not_enough
from models.proposals.states import LIVE, ApprovalEvent, ApprovalState, EventKind
from tools.journal.sqlite import SqliteJournal
from tools.ports.journal import Entry, Record
from tools.ports.records.approvals import ApprovalChanged, ApprovalClosed

CLICKERS = (
    "terminal:ana",
    "slack:UANA",
    "slack:UTOM",
    "slack:UEVE",
    "terminal:boss",
    "slack:UNOBODY",
    "terminal:asker",
)
PEOPLE_AND_ASKER = {**PEOPLE, "asker": ("terminal:asker",)}


def under(two: bool, **more: object) -> Policy:
    return policy(
        people=PEOPLE_AND_ASKER,
        groups={"ops": ("ana", "tom", "eve", "asker"), "leads": ("boss",)},
        two_people=TwoPeoplePolicy(stops_guests=two),
        unanswered=({"tiers": ("evacuate",)},),  # never to what stops a guest
        **more,
    )


POLICIES = {two: under(two) for two in (True, False)}
person = st.sampled_from(CLICKERS)
step = st.one_of(
    st.tuples(st.just("agree"), person),
    st.tuples(st.just("agree"), person),
    st.tuples(st.just("reject"), st.sampled_from(CLICKERS[:4])),
    st.tuples(st.just("snooze"), person, st.integers(1, 50)),
    st.tuples(st.just("run")),
    st.tuples(st.just("void"), st.sampled_from([EventKind.SUPERSEDE, EventKind.WITHDRAW])),
    st.tuples(st.just("look")),
    st.tuples(st.just("wait"), st.integers(0, 9)),
)


class RacingJournal:
    """Right before a compare-and-set is written somebody else gets in between, once."""

    def __init__(self, journal: SqliteJournal) -> None:
        self._journal = journal
        self.rival: Callable[[], None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def append_if_newest(self, *args: Any, **kwargs: Any) -> Entry[Record] | None:
        rival, self.rival = self.rival, None
        if rival is not None:
            rival()
        return self._journal.append_if_newest(*args, **kwargs)


@dataclass
class World:
    journal: RacingJournal
    policy: Policy
    name: str
    now: datetime = NOON
    stops: bool = True
    """the plan stops a guest"""
    ran: list[datetime] = field(default_factory=list[datetime])

    def do(self, step: Sequence[Any]) -> None:
        with suppress(Refused):
            self._do(step)

    def _do(self, step: Sequence[Any]) -> None:
        match step:
            case ["agree", by]:
                self.answer(EventKind.AGREE, by)
            case ["reject", by]:
                self.answer(EventKind.REJECT, by)
            case ["snooze", by, minutes]:
                self.answer(EventKind.SNOOZE, by, timedelta(minutes=minutes))
            case ["run"]:  # as the agent does: whoever takes it up carries it out
                proposal = read(self.journal, self.name, at(self.now))
                if proposal.state is ApprovalState.APPROVED and why_not_enough(proposal, self.policy) is None:
                    note(self.journal, self.name, EventKind.EXECUTE, why="", clock=at(self.now))
                    self.ran.append(self.now)
            case ["void", kind]:
                note(self.journal, self.name, kind, why="drift", clock=at(self.now))
            case ["look"]:
                write_due(self.journal, self.name, clock=at(self.now))
            case ["wait", minutes]:
                self.now += timedelta(minutes=minutes)
            case _:
                raise AssertionError(step)

    def answer(self, kind: EventKind, by: str, off: timedelta | None = None) -> None:
        answer(self.journal, self.name, kind, by=by, policy=self.policy, clock=at(self.now), off=off)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path_factory.mktemp("approvals") / "journal.sqlite")
    yield journal
    journal.close()


NUMBER = iter(range(10**9))


def play(
    journal: SqliteJournal, steps: Sequence[tuple[Sequence[Any], Sequence[Any] | None]], two: bool, stops: bool
) -> None:
    world = World(RacingJournal(journal), POLICIES[two], f"evac-{next(NUMBER)}", stops=stops)
    ask_about(journal, world.policy, name=world.name, archive=stops, requested_by="terminal:asker", silence_is_yes=True)
    for first, rival in steps:
        if rival is not None and rival[0] != "wait":
            world.journal.rival = lambda rival=rival: world.do(rival)
        world.do(first)
        world.journal.rival = None
    check(journal, world, needed=2 if two and stops else 1)
    with suppress(Refused):  # so that the next example's look does not read all open ones before it
        note(journal, world.name, EventKind.WITHDRAW, why="played", clock=at(world.now))


def check(journal: SqliteJournal, world: World, *, needed: int) -> None:
    records = [e.record for e in journal.of(ApprovalChanged, ApprovalClosed, evacuation=world.name)]
    events = [record.event for record in records]
    taken = [event for event in events if event.kind is EventKind.EXECUTE]
    assert len(taken) == len(world.ran) <= 1
    assert len({record.question_sha256 for record in records}) <= 1
    closed = [n for n, record in enumerate(records) if isinstance(record, ApprovalClosed)]
    if closed:  # nothing happens after it, but that whoever took it up is gone
        assert all(event.kind is EventKind.FAIL for event in events[closed[0] + 1 :])
        assert read(journal, world.name, at(world.now + timedelta(days=1))).state not in LIVE
    silence = [event for event in events if event.kind is EventKind.PROCEED]
    assert not (silence and world.stops), "what stops a guest went ahead unanswered"
    if silence:
        assert {event.kind for event in events[: events.index(silence[0])]} <= {EventKind.ESCALATE}
        assert silence[0].at == NOON + TTL
    if taken and silence:
        assert taken[0].at < NOON + 2 * TTL
    elif taken:
        assert approvals_before(events[: events.index(taken[0])], taken[0].at) >= needed
    waiting = {each.id for each in open_questions(journal, at(world.now))}
    assert (world.name in waiting) == (read(journal, world.name, at(world.now)).state in LIVE)


def approvals_before(events: Sequence[ApprovalEvent], at: datetime) -> int:
    """How many different people's agreements held at that moment."""
    asked_at, people = NOON, dict[str, datetime]()
    for event in events:
        match event.kind:
            case EventKind.AGREE:
                owner = next(name for name, known in PEOPLE_AND_ASKER.items() if event.by in known)
                assert owner == event.person != "asker"
                assert event.at < asked_at + TTL, "answered after its time"
                assert owner != "boss" or event.at >= asked_at + TTL / 2
                people[owner] = event.at
            case EventKind.SNOOZE:
                people.clear()
                assert event.until is not None
                asked_at = event.until
            case EventKind.WAKE | EventKind.ESCALATE:
                pass
            case _:
                raise AssertionError(f"{event.kind} before it was taken up")
    assert all(yes <= at for yes in people.values())
    assert at < max(people.values()) + TTL, "begun after the agreement's time"
    return len(people)


pairs = st.lists(st.tuples(step, st.none() | step), max_size=16)
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@given(steps=pairs, two=st.booleans(), stops=st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=QUIET)
def test_a_plan_runs_at_most_once_and_never_without_a_valid_approval(
    journal: SqliteJournal, steps: Any, two: bool, stops: bool
) -> None:
    play(journal, steps, two, stops)


@pytest.mark.slow
@pytest.mark.parametrize("thousand", range(10))
def test_the_same_ten_thousand_times(journal: SqliteJournal, thousand: int) -> None:
    @seed(thousand)
    @given(steps=pairs, two=st.booleans(), stops=st.booleans())
    @settings(max_examples=1000, deadline=None, suppress_health_check=QUIET, database=None)
    def a_thousand(steps: Any, two: bool, stops: bool) -> None:
        play(journal, steps, two, stops)

    a_thousand()


def test_the_rules_of_this_test_are_met_by_a_plan_that_ran(journal: SqliteJournal) -> None:
    """Without one the others might check nothing."""
    world = World(RacingJournal(journal), POLICIES[True], "evac-yes")
    ask_about(journal, world.policy, name=world.name, archive=True, requested_by="terminal:asker")
    for step in (("agree", "terminal:ana"), ("agree", "slack:UTOM"), ("run",), ("run",)):
        world.do(step)
    assert len(world.ran) == 1
    check(journal, world, needed=2)
    with pytest.raises(LifeboatError, match="executing"):
        world._do(("reject", "terminal:ana"))
