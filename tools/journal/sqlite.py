"""The journal in a SQLite file: an append-only, hash-chained record of everything decided and done, and the locks on vms.

Every intent is here, synced to disk, before its side effect begins; what recovery needs is read back from here. The
chain (each record's SHA-256 covers the one before) lets `lifeboat audit verify` find a record changed, removed or
inserted. It can't show that the newest records were cut off unless the head is kept elsewhere: reports carry it for that.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from models.errors import AuditBroken, BadInput, JournalInvalid, Refused
from tools.journal.chain import GENESIS, check, digest
from tools.journal.rows import COLUMNS, Row, RowReader, text_of
from tools.journal.sqlite_schema import prepare
from tools.journal.state_files import cannot_open
from tools.ports.journal import Entry, NotWritten, R, Record, Scope, StoredEntry

_FIELDS = ("seq", "time", "kind", "evacuation", "attempt", "text", "previous", "sha256")
_STORED = "seq, time, kind, evacuation, attempt, data, previous, sha256"
_BATCH = 5_000
"""entries held at once while the chain is checked"""


def _make_private(path: Path) -> None:
    """Make the file, for this user alone, if there is none: SQLite makes its own files beside it alike. One that is there is not
    opened: to close it again drops every lock that this process has on it (fcntl(2)), and another process that takes its leave of
    the journal then takes SQLite's log of it away from under the agent (https://www.sqlite.org/howtocorrupt.html, 2.2)."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if not os.access(path, os.R_OK | os.W_OK):
            os.close(os.open(path, os.O_RDWR))  # says why not


class SqliteJournal:
    """A `Journal` for the lifeboats of one host."""

    def __init__(self, path: Path) -> None:
        """Open, or make, the journal at `path`, for this user alone. Raises BadInput when that can't be done."""
        self.path = path
        self._read = RowReader(f"journal {path}")
        self._mutex = threading.RLock()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make_private(path)
            self._db = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            prepare(self._db, path)
        except OSError as error:
            raise cannot_open(path, error, what="journal") from error
        except sqlite3.Error as error:
            raise BadInput(
                f"journal {path} can't be opened: {error}",
                hint="check that its disk has room and can be written to, and state_dir in the settings",
            ) from error

    @property
    def name(self) -> str:
        return str(self.path)

    def append(
        self, record: Record, *, now: datetime, evacuation: str | None = None, attempt: str | None = None
    ) -> Entry[Record]:
        with self._writing():
            return self._append(record, now, evacuation, attempt)

    def append_if_newest(
        self, record: Record, *, now: datetime, evacuation: str, seen: int, kinds: Sequence[type[Record]]
    ) -> Entry[Record] | None:
        with self._writing():
            newer = self._db.execute(
                f"SELECT 1 FROM records WHERE kind IN ({', '.join('?' * len(kinds))}) "  # noqa: S608
                "AND evacuation = ? AND seq > ? LIMIT 1",
                [*(kind.KIND for kind in kinds), evacuation, seen],
            ).fetchone()
            return None if newer else self._append(record, now, evacuation, None)

    def _append(self, record: Record, now: datetime, evacuation: str | None, attempt: str | None) -> Entry[Record]:
        """Inside a transaction."""
        kind, text = record.kind, text_of(record)
        row = self._db.execute("SELECT seq, sha256 FROM records ORDER BY seq DESC LIMIT 1").fetchone()
        seq, previous = (row[0] + 1, row[1]) if row else (1, GENESIS)
        time = now.isoformat()
        sha256 = digest(seq, time, kind, evacuation, attempt, text, previous)
        self._db.execute(
            "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (seq, time, kind, evacuation, attempt, text, previous, sha256),
        )
        return Entry(seq=seq, at=now, evacuation=evacuation, attempt=attempt, record=record, sha256=sha256)

    def of(
        self,
        *kinds: type[R],
        evacuation: str | None = None,
        attempt: str | None = None,
        vm: str | None = None,
        since: datetime | None = None,
        after: int = 0,
    ) -> list[Entry[R]]:
        conditions = [f"kind IN ({', '.join('?' * len(kinds))})"]
        values: list[str | int] = [kind.KIND for kind in kinds]
        for condition, value in (
            ("evacuation = ?", evacuation),
            ("attempt = ?", attempt),
            ("json_extract(data, '$.vm') = ?", vm),
            ("time >= ?", since.isoformat() if since is not None else None),
            ("seq > ?", after or None),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        return self._read.of(kinds, self._rows(" AND ".join(conditions), values))

    def unended(self, began: type[R], ended: type[Record], *, by: Scope) -> list[Entry[R]]:
        scope = by.value
        rows = self._rows(
            f"kind = ? AND {scope} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM records AS later "  # noqa: S608
            f"WHERE later.{scope} = records.{scope} AND later.kind = ? AND later.seq > records.seq)",
            [began.KIND, ended.KIND],
        )
        return self._read.of((began,), rows)

    def entries(self, *, evacuation: str | None = None, attempt: str | None = None) -> list[Entry[Record]]:
        only = [(c, v) for c, v in (("evacuation", evacuation), ("attempt", attempt)) if v is not None]
        where = " AND ".join(f"{column} = ?" for column, _ in only) or "TRUE"
        return self._read.any(self._rows(where, [v for _, v in only]))

    def evacuations(self, most: int) -> list[str]:
        with self._reading():
            rows = self._db.execute(
                "SELECT evacuation FROM records WHERE evacuation IS NOT NULL GROUP BY evacuation "
                "ORDER BY MIN(seq) DESC LIMIT ?",
                (most,),
            ).fetchall()
        return [name for (name,) in rows]

    def head(self) -> str:
        with self._reading():
            row = self._db.execute("SELECT sha256 FROM records ORDER BY seq DESC LIMIT 1").fetchone()
        return row[0] if row else GENESIS

    def stored(self, *, after: int = 0, most: int = 1000) -> list[StoredEntry]:
        with self._reading():
            rows = self._db.execute(
                f"SELECT {_STORED} FROM records WHERE seq > ? ORDER BY seq LIMIT ?",  # noqa: S608
                (after, most),
            ).fetchall()
        return [StoredEntry(**dict(zip(_FIELDS, row, strict=True))) for row in rows]

    def verify(self, *, expected_head: str | None = None) -> int:
        try:
            return check(self._all_stored(), f"journal {self.path}", expected_head=expected_head)
        except JournalInvalid as error:
            raise AuditBroken(error.message, hint=error.hint) from error

    def _all_stored(self) -> Iterator[StoredEntry]:
        after = -(1 << 62)  # whatever numbers somebody gave them
        while batch := self.stored(after=after, most=_BATCH):
            yield from batch
            after = batch[-1].seq

    def lock(self, vm: str, attempt: str, *, now: datetime) -> None:
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
        with self._writing():
            self._db.execute("DELETE FROM locks WHERE vm = ? AND attempt = ?", (vm, attempt))

    def lock_holder(self, vm: str) -> str | None:
        with self._reading():
            row = self._db.execute("SELECT attempt FROM locks WHERE vm = ?", (vm,)).fetchone()
        return row[0] if row else None

    def locks(self) -> dict[str, str]:
        with self._reading():
            return dict(self._db.execute("SELECT vm, attempt FROM locks").fetchall())

    def close(self) -> None:
        with self._mutex:
            self._db.close()

    def _rows(self, where: str, values: Iterable[str | int]) -> list[Row]:
        query = f"SELECT {COLUMNS} FROM records WHERE {where} ORDER BY seq"  # noqa: S608  only our own words are put in
        with self._reading():
            return self._db.execute(query, list(values)).fetchall()

    @contextmanager
    def _reading(self) -> Generator[None]:
        """Raises JournalInvalid for a file that SQLite can't read."""
        with self._mutex:
            try:
                yield
            except sqlite3.Error as error:
                raise JournalInvalid(
                    f"journal {self.path} can't be read: {error}",
                    hint="see that its disk is sound and has room, else restore it from a backup",
                ) from error

    @contextmanager
    def _writing(self) -> Generator[None]:
        """Raises NotWritten, as on a full disk."""
        with self._mutex:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:  # SQLite ends it itself when the disk is full
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise NotWritten(f"journal {self.path} can't be written: {error}") from error
                raise
