"""The disk that holds lifeboat's journal is full, or full for a while, at any record of an evacuation. SIMULATED nodes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from scenes.simulated_world import POLICY, World

from agent.actions.runner import open_intents, recover_attempts
from models.errors import LifeboatError
from tools.journal.sqlite import SqliteJournal
from tools.ports.journal import Record
from tools.ports.records.attempts import AttemptEnded, TagLeft

KINDS = (
    "intent", "call", "call-over", "shut-down", "create-disk", "define", "start", "archived",
    "undefine-source", "result", "evacuation-ended",
)  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.fleet.guests[world.db].dirty_bytes_per_second = 1e9  # too fast to move live: one of each kind
    yield world
    world.journal.close()


class FullDisk:
    """From one kind of record on SQLite has no room, until some is made."""

    def __init__(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = self.met = False
        original = SqliteJournal._append

        def append(journal: SqliteJournal, record: Record, *about: Any) -> Any:
            if record.kind == kind and not self.met:
                self.full = self.met = True
            if self.full:
                raise sqlite3.OperationalError("database or disk is full")
            return original(journal, record, *about)

        monkeypatch.setattr(SqliteJournal, "_append", append)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost_or_doubled_and_all_is_ended_once_there_is_room(
    world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(kind, monkeypatch)
    with pytest.raises((OSError, LifeboatError)):
        world.evacuate()
    assert disk.met
    assert not world.fleet.ran_twice
    disk.full = False
    recover_attempts(world.hands, POLICY)
    world.check_nothing_lost_or_doubled()
    assert not [each for each in world.journal.of(AttemptEnded) if each.record.attempt.outcome == "indeterminate"]
    assert not open_intents(world.journal)


def test_a_journal_that_is_really_full_says_so_keeps_what_it_has_and_goes_on_once_there_is_room(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count = {pages}")

    def write(records: int) -> None:
        for _ in range(records):
            journal.append(TagLeft(node="a", vm="vm", error="e" * 300), now=datetime.now(UTC), attempt="attempt")

    with pytest.raises(OSError, match="can't be written: database or disk is full"):
        write(1000)
    written = journal.verify()
    with pytest.raises(OSError, match="full"):
        write(100)
    journal._db.execute("PRAGMA max_page_count = 100000")
    before = journal.verify()
    assert before >= written
    write(1)
    assert journal.verify() == before + 1
    journal.close()
