"""Archives are read again from time to time: what does not verify any more is told, and what can't be reached says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from scenes import evacuations as scene
from scenes.approvals import StoppedClock

from agent.archives.checks import check_archives, what_is_known
from agent.service.upkeep.archive_checks import EVERY, MOST, ArchiveChecks
from agent.settings import Settings
from agent.state.archived_guests import standing_archives
from models.approval import ApprovalRecord
from models.errors import ArchiveFailed
from models.evacuation import EvacuationOutcome
from models.fleet import VmState
from models.policy.policy import Policy
from tools.archive.store import FsspecArchiveStore
from tools.journal.sqlite import SqliteJournal
from tools.ports.archives import ImageFile
from tools.ports.records.cold import Archived
from tools.ports.records.evacuations import EvacuationEnded, EvacuationStarted
from tools.ports.vms import ImageRole, VmObservation

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
MONTH = timedelta(days=30)


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock(NOW)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


@pytest.fixture
def store(tmp_path: Path, clock: StoppedClock, journal: SqliteJournal) -> FsspecArchiveStore:
    """Two archives, a day apart."""
    store = FsspecArchiveStore(f"file://{tmp_path}/archives", key_file=tmp_path / "key", clock=clock)
    for name in ("first", "second"):
        vm = VmObservation(uuid=name, name=name, node="a", state=VmState.SHUTOFF, persistent=True, disks=())
        image = ImageFile(
            role=ImageRole.DISK, device="vda", path="/d", format="raw", virtual_bytes=1000, image_bytes=1000
        )
        images = [(image, lambda: iter([b"a" * 1000]))]
        store.write(
            archive_id=name, vm=vm, domain_xml="<domain/>", images=images, on_progress=lambda _done, _total: None
        )
        journal.append(Archived(archive=name, sha256="0", stored_bytes=1, vm=name, node="a"), now=clock.now())
        clock.time += timedelta(days=1)
    return store


def damage(tmp_path: Path, archive: str) -> None:
    (disk,) = (tmp_path / "archives" / archive).glob("disk-*.zst")
    content = bytearray(disk.read_bytes())
    content[len(content) // 2] ^= 1
    disk.write_bytes(content)


def test_each_is_read_again_when_it_is_due_and_not_before(
    store: FsspecArchiveStore, journal: SqliteJournal, clock: StoppedClock
) -> None:
    assert check_archives(store, journal, clock, every=MONTH) == 0, "they were read when they were made"
    clock.time = NOW + MONTH
    assert check_archives(store, journal, clock, every=MONTH) == 1
    clock.time += timedelta(days=1)
    assert check_archives(store, journal, clock, every=MONTH) == 1
    assert check_archives(store, journal, clock, every=MONTH) == 0
    known = what_is_known(journal)
    assert (known.unsound, known.last_check) == (frozenset(), clock.now())


def test_one_that_rots_is_told_and_its_guest_counts_as_not_archived(
    store: FsspecArchiveStore, journal: SqliteJournal, clock: StoppedClock, tmp_path: Path
) -> None:
    damage(tmp_path, "first")
    clock.time = NOW + 2 * MONTH
    assert check_archives(store, journal, clock, every=MONTH) == 2
    assert what_is_known(journal).unsound == {"first"}
    assert standing_archives(journal).keys() == {"second"}
    clock.time += timedelta(days=1)
    assert check_archives(store, journal, clock, every=MONTH) == 1, "it is tried again, the sound one is not"


def test_one_that_is_gone_is_no_archive_of_its_guest(
    store: FsspecArchiveStore, journal: SqliteJournal, clock: StoppedClock, tmp_path: Path
) -> None:
    (tmp_path / "archives/first").rename(tmp_path / "elsewhere")
    check_archives(store, journal, clock, every=MONTH)
    assert standing_archives(journal).keys() == {"second"}
    assert what_is_known(journal).unsound == set()


def test_a_store_that_is_away_says_nothing_of_what_is_in_it(
    store: FsspecArchiveStore, journal: SqliteJournal, clock: StoppedClock, tmp_path: Path
) -> None:
    clock.time = NOW + 2 * MONTH
    (tmp_path / "archives").rename(tmp_path / "unmounted")
    with pytest.raises(ArchiveFailed, match="mounted"):
        check_archives(store, journal, clock, every=MONTH)
    assert standing_archives(journal).keys() == {"first", "second"}
    assert what_is_known(journal).unsound == set()


def test_nothing_is_read_while_guests_move(
    store: FsspecArchiveStore, journal: SqliteJournal, clock: StoppedClock
) -> None:
    clock.time = NOW + 2 * MONTH
    fleet = scene.fleet()
    plan = scene.plan(fleet)
    agreement = ApprovalRecord(plan_sha256=plan.digest(), by="policy", at=NOW, expires_at=NOW)
    started = EvacuationStarted(
        plan=plan, fleet=fleet, verdict=scene.verdict(plan), policy=Policy(), agreement=agreement
    )
    journal.append(started, now=clock.now(), evacuation="e")
    assert check_archives(store, journal, clock, every=MONTH) == 0
    rounds = Rounds(journal, clock)
    rounds.look()
    assert (rounds.started, rounds.rounds) == ([], {"put-off": 1})
    journal.append(EvacuationEnded(outcome=EvacuationOutcome.DONE), now=clock.now(), evacuation="e")
    assert check_archives(store, journal, clock, every=MONTH) == 2


@dataclass
class Work:
    exitcode: int | None = None

    def terminate(self) -> None:
        self.exitcode = -15


class Rounds(ArchiveChecks):
    """Rounds that a test ends."""

    def __init__(self, journal: SqliteJournal, clock: StoppedClock) -> None:
        self.started: list[Work] = []
        super().__init__(Settings(), journal, clock, start=self._one)

    def _one(self, _: Settings) -> Work:
        self.started.append(Work())
        return self.started[-1]


def test_one_round_at_a_time_and_the_next_after_an_hour(journal: SqliteJournal, clock: StoppedClock) -> None:
    rounds = Rounds(journal, clock)
    rounds.look()
    clock.time += 2 * EVERY
    rounds.look()
    assert len(rounds.started) == 1, "the first is still at work"
    rounds.started[0].exitcode = 0
    rounds.look()
    assert len(rounds.started) == 2
    rounds.started[1].exitcode = 1
    rounds.look()
    assert len(rounds.started) == 2, "what failed waits for its turn"
    assert rounds.rounds == {"done": 1, "failed": 1}


def test_a_store_that_drips_is_given_up(journal: SqliteJournal, clock: StoppedClock) -> None:
    rounds = Rounds(journal, clock)
    rounds.look()
    clock.time += MOST
    rounds.look()
    assert rounds.started[0].exitcode is not None
    assert rounds.rounds["given-up"] == 1
