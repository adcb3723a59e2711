"""The journal in a file: a change behind lifeboat's back is found, and nobody else can read it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.errors import AuditBroken, BadInput, JournalInvalid
from tools.journal.sqlite import SqliteJournal
from tools.ports.records.disks import DiskCreated

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path / "state" / "journal.sqlite")
    yield journal
    journal.close()


def fill(journal: SqliteJournal, count: int = 5) -> None:
    for n in range(count):
        journal.append(DiskCreated(node="a", path=f"/vm \u202e ☃ {n}"), now=NOW, evacuation="e1", attempt=f"a{n}")


@pytest.mark.parametrize(
    "damage",
    [
        """UPDATE records SET data = '{"n": 9}' WHERE seq = 3""",
        "UPDATE records SET time = '2020-01-01T00:00:00+00:00' WHERE seq = 1",
        "DELETE FROM records WHERE seq = 2",
        "UPDATE records SET attempt = NULL WHERE seq = 5",
    ],
)
def test_a_change_behind_lifeboats_back_is_found_and_named(journal: SqliteJournal, damage: str) -> None:
    fill(journal)
    with sqlite3.connect(journal.path) as db:
        db.executescript("DROP TRIGGER records_keep; DROP TRIGGER records_stay;")
        db.execute(damage)
    db.close()
    with pytest.raises(AuditBroken, match="does not fit the chain"):
        journal.verify()


def test_a_cut_off_end_is_found_when_the_head_was_kept(journal: SqliteJournal) -> None:
    fill(journal)
    head = journal.head()
    with sqlite3.connect(journal.path) as db:
        db.executescript("DROP TRIGGER records_keep; DELETE FROM records WHERE seq = 5;")
    db.close()
    assert journal.verify() == 4
    with pytest.raises(AuditBroken, match="records at the end are missing"):
        journal.verify(expected_head=head)


def test_records_can_be_neither_changed_nor_deleted_by_a_stray_statement(journal: SqliteJournal) -> None:
    fill(journal)
    with sqlite3.connect(journal.path) as db:
        for statement in ("DELETE FROM records", "UPDATE records SET kind = 'x'"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(statement)
    db.close()


def test_a_journal_that_cant_be_opened_is_bad_input(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    with pytest.raises(BadInput, match="can't be opened"):
        SqliteJournal(blocked / "journal.sqlite")
    with pytest.raises(BadInput, match="can't be opened"):
        SqliteJournal(blocked)


def test_nobody_else_can_read_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        journal = SqliteJournal(tmp_path / "state" / "journal.sqlite")
        fill(journal, 1)
        modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "state").iterdir()}
        journal.close()
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("journal.sqlite", "journal.sqlite-shm", "journal.sqlite-wal"), "0o600")
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "damage",
    [
        "data = '{'",
        "data = '[1]'",
        "data = replace(hex(zeroblob(5000)), '00', '[')",
        "time = ''",
        "time = '2026-01-01'",
    ],
)
def test_a_record_that_no_lifeboat_wrote_is_named_and_not_guessed(journal: SqliteJournal, damage: str) -> None:
    fill(journal)
    with sqlite3.connect(journal.path) as db:
        db.executescript(f"DROP TRIGGER records_stay; UPDATE records SET {damage} WHERE seq = 2;")
    db.close()
    with pytest.raises(JournalInvalid, match="record 2 was changed"):
        journal.entries()


def test_a_journal_whose_pages_are_damaged_is_one_clear_line(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    fill(journal)
    journal.close()
    content = bytearray(journal.path.read_bytes())
    for start in range(4096, len(content), 4096):  # behind the first page, which the schema is in
        content[start : start + 64] = b"\xff" * 64
    journal.path.write_bytes(content)
    with pytest.raises(JournalInvalid, match="can't be read"):
        SqliteJournal(journal.path).entries()
    with pytest.raises(AuditBroken, match="can't be read"):
        SqliteJournal(journal.path).verify()


def test_another_process_that_leaves_takes_nothing_away_from_those_that_stay(journal: SqliteJournal) -> None:
    fill(journal, 2)
    SqliteJournal(journal.path).close()  # a second one in this process, as for what runs beside the passes
    leave = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('SELECT * FROM records').fetchall(); db.close()"
    subprocess.run([sys.executable, "-S", "-c", leave, str(journal.path)], check=True)

    fill(journal, 3)

    seen = SqliteJournal(journal.path)
    assert [entry.seq for entry in seen.entries()] == [1, 2, 3, 4, 5]
    assert seen.verify() == 5
    seen.close()
