"""Random orders of answers, expiries, drifts, restarts and takings-up of plans, and what must hold of each.

What is checked is read from the journal's records, by rules of its own. `PYTHONPATH=tests python -m chaos.approval_orders`
plays as many as one likes, each a thousand from a seed of its own.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from scenes.approvals import NOON, PEOPLE, TTL, ask_about, at, policy

from agent.approve.proposals import answer, note, open_questions, read, write_due
from models.errors import Refused
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


def play_many(journal: SqliteJournal, orders: int, number: int) -> None:
    """So many orders, the same for the same number."""

    @seed(number)
    @given(steps=pairs, two=st.booleans(), stops=st.booleans())
    @settings(max_examples=orders, deadline=None, suppress_health_check=QUIET, database=None)
    def played(steps: Any, two: bool, stops: bool) -> None:
        play(journal, steps, two, stops)

    played()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m chaos.approval_orders", description=__doc__)
    parser.add_argument("--thousands", type=int, default=10, help="how many thousand orders to play")
    asked = parser.parse_args()
    for number in range(asked.thousands):
        with tempfile.TemporaryDirectory() as directory, closing(SqliteJournal(Path(directory) / "journal")) as journal:
            play_many(journal, 1000, number)
        print(f"{number + 1},000 orders: each plan ran at most once, never without a valid approval", flush=True)


if __name__ == "__main__":
    main()
