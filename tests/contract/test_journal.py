"""What every Journal and every Lease does. An implementation is added to the two fixtures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from scenes.postgres_server import PostgresServer

from models.errors import Busy, JournalInvalid, Refused
from models.evacuation import Attempt, AttemptOutcome, EvacuationOutcome
from models.fleet import VmState
from models.plan import Action, ActionKind
from tools.journal.file_lease import FileLease
from tools.journal.sqlite import SqliteJournal
from tools.ports.journal import Entry, Journal, Lease, Record, Scope, UnknownRecord
from tools.ports.records.attempts import AttemptEnded, AttemptIntended
from tools.ports.records.disks import DiskCreated, DiskIntended
from tools.ports.records.evacuations import CancelRequested, EvacuationEnded, PauseRequested
from tools.ports.records.migration import DirtyRateMeasured
from tools.ports.vms import DiskObservation, VmObservation

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
MOVE = Action(kind=ActionKind.LIVE_MIGRATE, vm="vm-1", vm_name="web", source="a", target="b")
FOUND = VmObservation(
    uuid="vm-1",
    name="web",
    node="a",
    state=VmState.RUNNING,
    persistent=True,
    disks=(
        DiskObservation(
            device="vda", path="/web.raw", format="raw", virtual_bytes=1 << 30, allocated_bytes=1 << 20, shared=False
        ),
    ),
)
INTENDED = AttemptIntended(action=MOVE, initial=FOUND)
Opener = Callable[[], Journal]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the same journal again, as another process does."""
    with ExitStack() as stack:
        if request.param == "postgres":
            from tools.journal.postgres import PostgresJournal

            server: PostgresServer = request.getfixturevalue("postgres_server")
            url = server.forget()
            yield lambda: stack.enter_context(closing(PostgresJournal(url)))
        else:
            yield lambda: stack.enter_context(closing(SqliteJournal(tmp_path / "state" / "journal.sqlite")))


@pytest.fixture
def journal(opened: Opener) -> Journal:
    return opened()


@pytest.fixture(params=["file", pytest.param("row", marks=pytest.mark.postgres)])
def leases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Lease]]:
    """The lease as each of several lifeboats has it."""
    with ExitStack() as stack:
        if request.param == "row":
            from tools.journal.row_lease import RowLease

            server: PostgresServer = request.getfixturevalue("postgres_server")
            url, names = server.forget(), iter("abcdef")
            yield lambda: stack.enter_context(closing(RowLease(url, agent=next(names), seconds=1.0)))
        else:
            yield lambda: FileLease(tmp_path)


def ended(outcome: AttemptOutcome = AttemptOutcome.DONE) -> AttemptEnded:
    return AttemptEnded(attempt=Attempt(id="a", action=MOVE, started_at=NOW, ended_at=NOW, outcome=outcome))


def disk(number: int) -> DiskCreated:
    return DiskCreated(node="a", path=f"/vm \u202e ☃ {number}")


class TestRecords:
    def test_what_was_written_is_read_back_as_it_was(self, journal: Journal, opened: Opener) -> None:
        written = [
            journal.append(INTENDED, now=NOW, evacuation="e1", attempt="a1"),
            journal.append(disk(1), now=NOW + timedelta(seconds=0.25), evacuation="e1", attempt="a1"),
            journal.append(ended(), now=NOW + timedelta(seconds=9), evacuation="e1", attempt="a1"),
            journal.append(PauseRequested(by="ana"), now=NOW + timedelta(seconds=10)),
        ]
        assert opened().entries() == written
        assert [entry.seq for entry in written] == [1, 2, 3, 4]
        (intended,) = opened().of(AttemptIntended)
        assert intended.record.initial == FOUND
        assert intended.at == NOW

    def test_kinds_come_in_the_order_they_were_written(self, journal: Journal) -> None:
        for record in (disk(1), PauseRequested(by="ana"), DiskIntended(node="a", path="/2", absent=True), disk(2)):
            journal.append(record, now=NOW)
        kinds = [entry.kind for entry in journal.of(DiskCreated, DiskIntended)]
        assert kinds == ["created-disk", "create-disk", "created-disk"]
        assert journal.of(CancelRequested) == []

    def test_only_those_of_one_evacuation_attempt_or_vm(self, journal: Journal) -> None:
        for evacuation, attempt in (("e1", "a1"), ("e1", "a2"), ("e2", "a3"), (None, "a1"), ("e1", None)):
            journal.append(disk(0), now=NOW, evacuation=evacuation, attempt=attempt)
        for vm in ("vm-1", "vm-2"):
            journal.append(DirtyRateMeasured(vm=vm, bytes_per_second=1e6), now=NOW, evacuation="e2")
        assert [entry.seq for entry in journal.of(DiskCreated, evacuation="e1")] == [1, 2, 5]
        assert [entry.seq for entry in journal.of(DiskCreated, attempt="a1")] == [1, 4]
        assert [entry.seq for entry in journal.of(DiskCreated, evacuation="e1", attempt="a1")] == [1]
        assert [entry.seq for entry in journal.of(DirtyRateMeasured, vm="vm-2")] == [7]
        assert [entry.seq for entry in journal.entries(evacuation="e2")] == [3, 6, 7]
        assert [entry.seq for entry in journal.entries(attempt="a1")] == [1, 4]

    def test_only_the_newer_ones(self, journal: Journal) -> None:
        for seconds in (0, 0.5, 1, 1):
            journal.append(disk(0), now=NOW + timedelta(seconds=seconds))
        assert [entry.seq for entry in journal.of(DiskCreated, since=NOW + timedelta(seconds=0.5))] == [2, 3, 4]
        assert [entry.seq for entry in journal.of(DiskCreated, since=NOW + timedelta(seconds=0.6))] == [3, 4]
        assert [entry.seq for entry in journal.of(DiskCreated, after=3)] == [4]

    def test_what_began_and_did_not_end(self, journal: Journal) -> None:
        for attempt in ("a1", "a2", "a3"):
            journal.append(INTENDED, now=NOW, attempt=attempt)
        journal.append(ended(), now=NOW, attempt="a2")
        journal.append(ended(), now=NOW, attempt="a3")
        journal.append(INTENDED, now=NOW, attempt="a3")
        journal.append(INTENDED, now=NOW)
        still = journal.unended(AttemptIntended, AttemptEnded, by=Scope.ATTEMPT)
        assert [(entry.seq, entry.attempt) for entry in still] == [(1, "a1"), (6, "a3")]
        journal.append(PauseRequested(by="ana"), now=NOW, evacuation="e1")
        journal.append(EvacuationEnded(outcome=EvacuationOutcome.DONE), now=NOW, evacuation="e2")
        (paused,) = journal.unended(PauseRequested, EvacuationEnded, by=Scope.EVACUATION)
        assert paused.evacuation == "e1"

    def test_the_newest_evacuations_by_when_they_were_first_written_about(self, journal: Journal) -> None:
        for evacuation in ("e2", "e1", None, "e3", "e2"):
            journal.append(disk(0), now=NOW, evacuation=evacuation)
        assert journal.evacuations(10) == ["e3", "e1", "e2"]
        assert journal.evacuations(1) == ["e3"]


class TestCompareAndSet:
    KINDS = (PauseRequested, CancelRequested)

    def test_it_is_written_while_nothing_newer_of_its_kinds_is_there(self, journal: Journal) -> None:
        first = journal.append(PauseRequested(by="ana"), now=NOW, evacuation="e1")
        journal.append(CancelRequested(by="eve"), now=NOW, evacuation="e2")
        journal.append(disk(1), now=NOW, evacuation="e1")
        second = self.write(journal, "ana", first.seq)
        assert second is not None
        assert second.seq == 4
        assert self.write(journal, "tom", first.seq) is None
        assert len(journal.entries()) == 4
        assert self.write(journal, "tom", second.seq) is not None
        assert journal.verify() == 5

    def test_of_many_at_once_one_gets_through(self, journal: Journal, opened: Opener) -> None:
        seen = journal.append(PauseRequested(by="ana"), now=NOW, evacuation="e1").seq
        each = [opened() for _ in range(4)]
        together = threading.Barrier(len(each))
        written: list[str] = []

        def write(name: str, mine: Journal) -> None:
            together.wait()
            if self.write(mine, name, seen) is not None:
                written.append(name)

        threads = [threading.Thread(target=write, args=(f"p{n}", mine)) for n, mine in enumerate(each)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [entry.record.by for entry in journal.of(CancelRequested)] == written
        assert len(written) == 1

    def write(self, journal: Journal, by: str, seen: int) -> Entry[Record] | None:
        return journal.append_if_newest(
            CancelRequested(by=by), now=NOW, evacuation="e1", seen=seen, kinds=self.KINDS
        )  # fmt: skip


class FromNewer(Record):
    """A kind that this version does not have."""

    KIND = "warp-begun"
    factor: int


class NewerResult(Record):
    """A result as a newer version may write it."""

    KIND = "result"
    attempt: dict[str, Any]
    colour: str = "blue"


class TestNewerVersions:
    def test_an_unknown_kind_is_kept_and_named(self, journal: Journal, opened: Opener) -> None:
        journal.append(FromNewer(factor=9), now=NOW, evacuation="e1")
        journal.append(disk(1), now=NOW, evacuation="e1")
        read = opened()
        (unknown, known) = read.entries(evacuation="e1")
        assert isinstance(unknown.record, UnknownRecord)
        assert (unknown.kind, unknown.record.content) == ("warp-begun", {"factor": 9})
        assert known.record == disk(1)
        assert [entry.record.path for entry in read.of(DiskCreated)] == [disk(1).path]
        assert read.verify() == 2

    def test_fields_that_this_version_does_not_have_are_left_out(self, journal: Journal) -> None:
        attempt = ended().attempt.model_dump(mode="json")
        attempt["mood"] = attempt["measured"]["smell"] = attempt["action"]["colour"] = 1
        journal.append(NewerResult(attempt=attempt), now=NOW, attempt="a1")
        (entry,) = journal.of(AttemptEnded, attempt="a1")
        assert entry.record == ended()

    def test_nothing_is_decided_by_what_cant_be_read_and_looking_still_works(self, journal: Journal) -> None:
        attempt = ended().attempt.model_dump(mode="json") | {"outcome": "teleported"}
        journal.append(NewerResult(attempt=attempt), now=NOW, attempt="a1")
        with pytest.raises(JournalInvalid, match=r"record 1 \(result\) can't be read: attempt.outcome"):
            journal.of(AttemptEnded, attempt="a1")
        (entry,) = journal.entries()
        assert isinstance(entry.record, UnknownRecord)
        assert entry.kind == "result"
        assert "attempt.outcome" in entry.record.why


class TestChain:
    def test_the_head_is_that_of_the_newest_entry(self, journal: Journal, opened: Opener) -> None:
        empty = journal.head()
        for number in range(3):
            written = journal.append(disk(number), now=NOW)
        assert empty != opened().head() == written.sha256
        assert opened().verify(expected_head=written.sha256) == 3

    def test_two_writers_make_one_chain(self, journal: Journal, opened: Opener) -> None:
        def fill(each: Journal) -> None:
            for number in range(20):
                each.append(disk(number), now=NOW)

        threads = [threading.Thread(target=fill, args=(each,)) for each in (journal, opened(), journal)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert journal.verify() == 60


def test_a_vm_is_locked_for_one_attempt_at_a_time(journal: Journal, opened: Opener) -> None:
    journal.lock("vm-1", "a1", now=NOW)
    journal.lock("vm-1", "a1", now=NOW)
    other = opened()
    with pytest.raises(Refused, match="locked by attempt a1"):
        other.lock("vm-1", "a2", now=NOW)
    other.unlock("vm-1", "a2")
    assert other.lock_holder("vm-1") == "a1"
    journal.unlock("vm-1", "a1")
    other.lock("vm-1", "a2", now=NOW)
    assert journal.locks() == {"vm-1": "a2"}


def test_one_lifeboat_holds_the_lease_and_the_others_see_what_it_does(leases: Callable[[], Lease]) -> None:
    mine, other = leases(), leases()
    assert other.holder() is None
    with mine.hold("evac-1"):
        seen = other.holder()
        assert seen is not None
        assert seen.what == "evac-1"
        with pytest.raises(Busy, match=f"pid {seen.pid}.* at work on evac-1"), other.hold("evac-2"):
            pass
    assert other.holder() is None
    with other.hold("evac-2"):
        seen = mine.holder()
        assert seen is not None
        assert seen.what == "evac-2"
