"""A journal's file across versions of lifeboat: taken in, refused, and whole after a kill while it is brought up to date."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.errors import BadInput
from tools.journal.sqlite import SqliteJournal

OLD = Path(__file__).parents[3] / "scenes/journal_v1/journal.sqlite"
RECORDS = 68


def version_of(path: Path) -> int:
    with sqlite3.connect(path) as db:
        found = int(db.execute("PRAGMA user_version").fetchone()[0])
    db.close()
    return found


def tables_of(path: Path) -> set[str]:
    with sqlite3.connect(path) as db:
        found = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    db.close()
    return found


def in_a_process_killed_at(step: int, do: Callable[[], object]) -> bool:
    """Whether it was killed: SIGKILL just before the so many-th statement that SQLite is given."""
    pid = os.fork()
    if not pid:
        try:
            counted = [0]

            class Dying(sqlite3.Connection):
                def execute(self, *arguments: Any) -> sqlite3.Cursor:
                    counted[0] += 1
                    if counted[0] == step:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return super().execute(*arguments)

            sqlite3.connect = functools.partial(sqlite3.connect, factory=Dying)
            do()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def test_a_journal_of_a_newer_lifeboat_is_refused_in_one_line_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    SqliteJournal(path).close()
    newer = version_of(path) + 1
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {newer}")
    db.close()
    with pytest.raises(BadInput, match=rf"is in version {newer}, this lifeboat knows {newer - 1} at most") as refused:
        SqliteJournal(path)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)
    assert version_of(path) == newer


@pytest.mark.slow
@pytest.mark.parametrize("old", [True, False], ids=["one that had no versions", "none yet"])
def test_killed_at_any_step_while_it_is_brought_up_to_date_it_is_whole_and_the_next_start_finishes(
    tmp_path: Path, *, old: bool
) -> None:
    whole = tmp_path / "whole.sqlite"
    SqliteJournal(whole).close()
    step, killed = 0, True
    while killed:
        step += 1
        path = tmp_path / str(step) / "journal.sqlite"
        path.parent.mkdir()
        if old:
            shutil.copy(OLD, path)
        killed = in_a_process_killed_at(step, lambda path=path: SqliteJournal(path))
        if killed and path.exists() and version_of(path) == 0 and not old:
            assert tables_of(path) == set(), "half of a version"
        journal = SqliteJournal(path)
        assert journal.verify() == (RECORDS if old else 0)
        journal.close()
        assert version_of(path) == version_of(whole)
        assert tables_of(path) >= tables_of(whole)
    assert step > 12, "it was never killed in the middle"
