"""What a journal's SQLite file holds, and in which version: SQLite's own `user_version`, raised with the change or not at all."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from models.errors import BadInput

_VERSIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE IF NOT EXISTS records (
            seq INTEGER PRIMARY KEY, time TEXT NOT NULL, kind TEXT NOT NULL, evacuation TEXT, attempt TEXT,
            data TEXT NOT NULL, previous TEXT NOT NULL, sha256 TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX IF NOT EXISTS records_by_attempt ON records (attempt)",
        "CREATE INDEX IF NOT EXISTS records_by_evacuation ON records (evacuation)",
        "CREATE INDEX IF NOT EXISTS records_by_kind ON records (kind, time)",
        "CREATE INDEX IF NOT EXISTS records_by_kind_and_evacuation ON records (kind, evacuation)",
        "CREATE INDEX IF NOT EXISTS records_by_kind_and_attempt ON records (kind, attempt)",
        "CREATE TRIGGER IF NOT EXISTS records_keep BEFORE DELETE ON records "
        "BEGIN SELECT RAISE(ABORT, 'append-only'); END",
        "CREATE TRIGGER IF NOT EXISTS records_stay BEFORE UPDATE ON records "
        "BEGIN SELECT RAISE(ABORT, 'append-only'); END",
        "CREATE TABLE IF NOT EXISTS locks (vm TEXT PRIMARY KEY, attempt TEXT NOT NULL, since TEXT NOT NULL) STRICT",
    ),
)
"""what each version adds to the one before; never changed once released. The first takes in, as they are, the files of lifeboats
that had no versions yet. Another is added only where an older lifeboat must not go on writing: records of new kinds need
none, they are kept as they are"""


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Make, or bring up to date, what a journal holds, whole or not at all: a kill in between leaves the version before. Raises
    BadInput for a file that a newer lifeboat has brought up to date, and sqlite3.Error."""
    if _known_version(db, path) == len(_VERSIONS):
        return
    db.execute("BEGIN IMMEDIATE")  # several lifeboats may start at once
    try:
        for number, statements in enumerate(_VERSIONS[_known_version(db, path) :], _known_version(db, path) + 1):
            for statement in statements:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _known_version(db: sqlite3.Connection, path: Path) -> int:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if not 0 <= version <= len(_VERSIONS):
        raise BadInput(
            f"journal {path} is in version {version}, this lifeboat knows {len(_VERSIONS)} at most",
            hint="a newer lifeboat has used it: use that version here too; nothing was changed",
        )
    return version
