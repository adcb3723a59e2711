"""Whether an archived guest has to be archived again, look after look and over restarts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.state.archived_guests import ArchiveWatch
from agent.state.refusals import fleet_as_known
from models.fleet import Fleet, Node, Vm, VmState
from models.plan import ActionKind
from models.policy.policy import Policy
from models.risk.risk import Risk
from tools.clock import VirtualClock
from tools.journal.sqlite import SqliteJournal
from tools.ports.records.cold import Archived
from tools.ports.records.hindsight import NodesSeen

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


class Agent:
    """Looks every five minutes at one node with one guest, and notes once an hour that it does."""

    def __init__(self, journal: SqliteJournal, *, minute: int = 0) -> None:
        self.journal, self.minute, self.state = journal, minute, VmState.SHUTOFF
        self.watch = ArchiveWatch(look_now=self._fleet, journal=journal, clock=VirtualClock(NOW))

    def _fleet(self) -> tuple[Fleet, list[Risk]]:
        vm = Vm(uuid="u", name="x", node="a", memory_bytes=1, state=self.state)
        at = NOW + timedelta(minutes=self.minute)
        return Fleet(observed_at=at, nodes=(Node(name="a", memory_bytes=1, cpus=1),), vms=(vm,)), []

    def look(self, until: int, state: VmState = VmState.SHUTOFF) -> None:
        self.state = state
        for minute in range(self.minute, until, 5):
            self.minute = minute
            self.watch.look()
            if self.minute % 60 == 0:
                self.journal.append(NodesSeen(nodes=1, silent=()), now=NOW + timedelta(minutes=self.minute))

    def kept_from(self) -> set[ActionKind]:
        """What the plan of this moment does not do with the guest."""
        at = NOW + timedelta(minutes=self.minute)
        return {
            each.kind for each in fleet_as_known(self._fleet()[0], self.journal, Policy(), at).vms[0].learned_obstacles
        }


BOTH = {ActionKind.COLD_MIGRATE, ActionKind.COLD_ARCHIVE}


def archived(journal: SqliteJournal, minute: int) -> None:
    record = Archived(archive=f"arch-{minute}", sha256="0", stored_bytes=1, vm="u", node="a")
    journal.append(record, now=NOW + timedelta(minutes=minute), evacuation="e", attempt="e-000")


def test_a_guest_that_stays_off_is_archived_once_however_long_its_node_stays_bad(journal: SqliteJournal) -> None:
    agent = Agent(journal)
    archived(journal, 1)
    agent.look(until=600)
    assert agent.kept_from() == BOTH


def test_one_that_ran_and_is_off_again_is_archived_again(journal: SqliteJournal) -> None:
    agent = Agent(journal)
    archived(journal, 1)
    agent.look(until=60)
    agent.look(until=70, state=VmState.RUNNING)
    agent.look(until=120)
    assert agent.kept_from() == set()
    archived(journal, 121)
    agent.look(until=300)
    assert agent.kept_from() == BOTH


def test_one_that_may_have_run_while_no_agent_was_there_is_archived_again(journal: SqliteJournal) -> None:
    Agent(journal).look(until=65)
    archived(journal, 62)
    at_once = Agent(journal, minute=65)
    at_once.look(until=70)
    assert at_once.kept_from() == BOTH
    an_hour_later = Agent(journal, minute=125)
    an_hour_later.look(until=130)
    assert an_hour_later.kept_from() == set()


def test_what_a_look_saw_before_the_archive_was_whole_says_nothing_of_it(journal: SqliteJournal) -> None:
    agent = Agent(journal)
    agent.state = VmState.RUNNING
    archived(journal, 1)  # the look began at minute 0, and ends now
    agent.watch.look()
    agent.look(until=60)
    assert agent.kept_from() == BOTH


def test_where_no_agent_looks_it_is_known_for_half_an_hour(journal: SqliteJournal) -> None:
    archived(journal, 0)
    assert Agent(journal, minute=29).kept_from() == BOTH
    assert Agent(journal, minute=31).kept_from() == set()
