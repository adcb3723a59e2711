"""The journal: an append-only, hash-chained record of everything decided and done, and the locks on vms.

Every intent is here, synced to disk, before its side effect begins; what recovery needs is read back from here. The
chain (each record's SHA-256 covers the one before) lets `lifeboat audit verify` find a record changed, removed or
inserted. It can't show that the newest records were cut off unless the head is kept elsewhere: reports carry it for that.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from models.errors import AuditBroken, BadInput, Refused

JOURNAL_FILE = "journal.sqlite"
"""its name under the state directory"""
_GENESIS = "0" * 64
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    seq INTEGER PRIMARY KEY, time TEXT NOT NULL, kind TEXT NOT NULL, evacuation TEXT, attempt TEXT,
    data TEXT NOT NULL, previous TEXT NOT NULL, sha256 TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS records_by_attempt ON records (attempt);
CREATE INDEX IF NOT EXISTS records_by_evacuation ON records (evacuation);
CREATE TRIGGER IF NOT EXISTS records_keep BEFORE DELETE ON records BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER IF NOT EXISTS records_stay BEFORE UPDATE ON records BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TABLE IF NOT EXISTS locks (vm TEXT PRIMARY KEY, attempt TEXT NOT NULL, since TEXT NOT NULL) STRICT;
"""


@dataclass(frozen=True)
class Record:
    """One line of the journal."""

    seq: int
    time: str
    kind: str
    evacuation: str | None
    attempt: str | None
    data: dict[str, Any]
    sha256: str


class Journal:
    """Safe for several threads and several processes on one host."""

    def __init__(self, path: Path) -> None:
        """Open, or make, the journal at `path`. Raises BadInput when that can't be done."""
        self.path = path
        self._mutex = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise BadInput(
                f"journal {path} can't be opened: {error}", hint="check state_dir in the settings"
            ) from error

    def append(
        self,
        kind: str,
        data: dict[str, Any],
        *,
        now: datetime,
        evacuation: str | None = None,
        attempt: str | None = None,
    ) -> Record:
        """Write one record; it is on disk when this returns."""
        with self._writing():
            row = self._db.execute("SELECT seq, sha256 FROM records ORDER BY seq DESC LIMIT 1").fetchone()
            seq, previous = (row[0] + 1, row[1]) if row else (1, _GENESIS)
            time, text = now.isoformat(), json.dumps(data, sort_keys=True, ensure_ascii=False, default=str)
            sha256 = _digest(seq, time, kind, evacuation, attempt, text, previous)
            self._db.execute(
                "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (seq, time, kind, evacuation, attempt, text, previous, sha256),
            )
        return Record(seq, time, kind, evacuation, attempt, json.loads(text), sha256)

    def records(
        self, *, evacuation: str | None = None, attempt: str | None = None, kinds: Sequence[str] = ()
    ) -> list[Record]:
        """Records in order: all of them, or those of one evacuation, of one attempt, of some kinds."""
        query = "SELECT seq, time, kind, evacuation, attempt, data, sha256 FROM records"
        wanted = {"evacuation": evacuation, "attempt": attempt}
        where = [f"{column} = :{column}" for column, value in wanted.items() if value is not None]
        if kinds:
            wanted |= {f"kind{number}": kind for number, kind in enumerate(kinds)}
            where.append(f"kind IN ({', '.join(f':kind{number}' for number in range(len(kinds)))})")
        if where:
            query += " WHERE " + " AND ".join(where)
        with self._mutex:
            rows = self._db.execute(query + " ORDER BY seq", wanted).fetchall()
        return [Record(s, t, k, e, a, json.loads(data), sha256) for s, t, k, e, a, data, sha256 in rows]

    def head(self) -> str:
        """SHA-256 of the newest record: keep it elsewhere to notice a cut-off end."""
        with self._mutex:
            row = self._db.execute("SELECT sha256 FROM records ORDER BY seq DESC LIMIT 1").fetchone()
        return row[0] if row else _GENESIS

    def verify(self, *, expected_head: str | None = None) -> int:
        """Check the whole chain; the number of records. Raises AuditBroken naming the first that does not hold."""
        previous, count = _GENESIS, 0
        with self._mutex:
            rows = self._db.execute("SELECT * FROM records ORDER BY seq").fetchall()
        for seq, time, kind, evacuation, attempt, text, claimed_previous, sha256 in rows:
            count += 1
            intact = claimed_previous == previous and sha256 == _digest(
                seq, time, kind, evacuation, attempt, text, previous
            )
            if seq != count or not intact:
                raise AuditBroken(
                    f"journal {self.path}: record {count} ({kind}, {time}) does not fit the chain",
                    hint="it, or one before it, was changed or removed; compare with a backup",
                )
            previous = sha256
        if expected_head is not None and previous != expected_head:
            raise AuditBroken(
                f"journal {self.path}: the chain holds but ends at {previous[:16]}…, not at {expected_head[:16]}…",
                hint="records at the end are missing, or newer ones were written since that head was noted",
            )
        return count

    def lock(self, vm: str, attempt: str, *, now: datetime) -> None:
        """Reserve a vm for one attempt. Raises Refused when another attempt holds it."""
        with self._writing():
            holder = self.lock_holder(vm)
            if holder is not None and holder != attempt:
                raise Refused(
                    f"vm {vm} is locked by attempt {holder}",
                    hint="wait for it, or look at `lifeboat status`; an indeterminate attempt keeps its lock until a "
                    "human settles it",
                )
            self._db.execute("INSERT OR IGNORE INTO locks VALUES (?, ?, ?)", (vm, attempt, now.isoformat()))

    def unlock(self, vm: str, attempt: str) -> None:
        """Give a vm free again; only the attempt that holds it can."""
        with self._writing():
            self._db.execute("DELETE FROM locks WHERE vm = ? AND attempt = ?", (vm, attempt))

    def lock_holder(self, vm: str) -> str | None:
        with self._mutex:
            row = self._db.execute("SELECT attempt FROM locks WHERE vm = ?", (vm,)).fetchone()
        return row[0] if row else None

    def locks(self) -> dict[str, str]:
        """vm → attempt, for everything locked now."""
        with self._mutex:
            return dict(self._db.execute("SELECT vm, attempt FROM locks").fetchall())

    def close(self) -> None:
        with self._mutex:
            self._db.close()

    @contextmanager
    def _writing(self) -> Generator[None]:
        with self._mutex:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def open_journal(state_dir: Path) -> Journal:
    """The journal of the lifeboat that keeps its state there. Raises BadInput as `Journal` does."""
    return Journal(state_dir / JOURNAL_FILE)


def _digest(*fields: object) -> str:
    return hashlib.sha256(json.dumps(fields, ensure_ascii=False).encode()).hexdigest()
