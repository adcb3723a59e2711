"""The journal: what is appended stays, and a change anywhere is found."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.errors import AuditBroken, BadInput, Refused
from tools.journal.sqlite import Journal

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "state" / "journal.sqlite")
    yield journal
    journal.close()


def fill(journal: Journal, count: int = 5) -> None:
    for n in range(count):
        journal.append("intent", {"n": n, "name": "vm \u202e ☃"}, now=NOW, evacuation="e1", attempt=f"a{n}")


def test_what_was_written_is_read_back_after_reopening(journal: Journal) -> None:
    fill(journal)
    reopened = Journal(journal.path)
    assert [record.data["n"] for record in reopened.records(evacuation="e1")] == [0, 1, 2, 3, 4]
    assert [record.attempt for record in reopened.records(attempt="a3")] == ["a3"]
    assert reopened.verify() == 5
    assert reopened.head() == journal.head()
    reopened.close()


@pytest.mark.parametrize(
    "damage",
    [
        """UPDATE records SET data = '{"n": 9}' WHERE seq = 3""",
        "UPDATE records SET time = '2020-01-01T00:00:00+00:00' WHERE seq = 1",
        "DELETE FROM records WHERE seq = 2",
        "UPDATE records SET attempt = NULL WHERE seq = 5",
    ],
)
def test_a_change_behind_lifeboats_back_is_found_and_named(journal: Journal, damage: str) -> None:
    fill(journal)
    with sqlite3.connect(journal.path) as db:
        db.executescript("DROP TRIGGER records_keep; DROP TRIGGER records_stay;")
        db.execute(damage)
    db.close()
    with pytest.raises(AuditBroken, match="does not fit the chain"):
        journal.verify()


def test_a_cut_off_end_is_found_when_the_head_was_kept(journal: Journal) -> None:
    fill(journal)
    head = journal.head()
    with sqlite3.connect(journal.path) as db:
        db.executescript("DROP TRIGGER records_keep; DELETE FROM records WHERE seq = 5;")
    db.close()
    assert journal.verify() == 4
    with pytest.raises(AuditBroken, match="records at the end are missing"):
        journal.verify(expected_head=head)


def test_records_can_be_neither_changed_nor_deleted_by_a_stray_statement(journal: Journal) -> None:
    fill(journal)
    with sqlite3.connect(journal.path) as db:
        for statement in ("DELETE FROM records", "UPDATE records SET kind = 'x'"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(statement)
    db.close()


def test_two_writers_make_one_chain(journal: Journal) -> None:
    other = Journal(journal.path)
    threads = [threading.Thread(target=fill, args=(j, 20)) for j in (journal, other, journal)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert journal.verify() == 60
    other.close()


def test_a_vm_is_locked_for_one_attempt_at_a_time(journal: Journal) -> None:
    journal.lock("vm-1", "a1", now=NOW)
    journal.lock("vm-1", "a1", now=NOW)
    other = Journal(journal.path)
    with pytest.raises(Refused, match="locked by attempt a1"):
        other.lock("vm-1", "a2", now=NOW)
    other.unlock("vm-1", "a2")
    assert other.lock_holder("vm-1") == "a1"
    journal.unlock("vm-1", "a1")
    other.lock("vm-1", "a2", now=NOW)
    assert journal.locks() == {"vm-1": "a2"}
    other.close()


def test_a_journal_that_cant_be_opened_is_bad_input(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    with pytest.raises(BadInput, match="can't be opened"):
        Journal(blocked / "journal.sqlite")
    with pytest.raises(BadInput, match="can't be opened"):
        Journal(blocked)
