"""The journal in a PostgreSQL that several lifeboats share: the same records, chain and locks as in a SQLite file.

Every write is one statement, so one transaction, that also looks at the lease's row and holds it still: under an epoch that is
over nothing is written. The number of a record is the one after the newest, and a primary key, so of two writers one comes
second and tries again: the chain has no fork.
"""

# ruff: noqa: S608  only our own words are put into statements; values are passed beside them
from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, LiteralString, TypeVar, cast

import psycopg

from models.errors import AuditBroken, JournalInvalid, Refused
from tools.journal.chain import GENESIS, check, digest
from tools.journal.postgres_connection import Connection, Database
from tools.journal.postgres_schema import prepare
from tools.journal.rows import COLUMNS, Row, RowReader, text_of
from tools.ports.journal import Entry, LeaseLost, NotWritten, R, Record, Scope, StoredEntry

T = TypeVar("T")

_BATCH = 5_000
_STORED = "seq, time, kind, evacuation, attempt, data, previous, sha256"
_FIELDS = ("seq", "time", "kind", "evacuation", "attempt", "text", "previous", "sha256")
_LEASE = "SELECT 1 FROM lifeboat.lease WHERE id = 1 AND (%(epoch)s::bigint IS NULL OR epoch = %(epoch)s) FOR SHARE"
_APPEND = (
    f"WITH lease AS ({_LEASE}), written AS (INSERT INTO lifeboat.records SELECT %(seq)s, %(time)s, %(kind)s, "
    "%(evacuation)s, %(attempt)s, %(text)s, %(previous)s, %(sha256)s, %(call)s FROM lease WHERE {unless} RETURNING 1) "
    "SELECT (SELECT count(*) FROM lease), (SELECT count(*) FROM written)"
)
_LOCK = (
    f"WITH lease AS ({_LEASE}), taken AS (INSERT INTO lifeboat.locks SELECT %(vm)s, %(attempt)s, %(since)s FROM lease "
    "ON CONFLICT DO NOTHING) SELECT (SELECT count(*) FROM lease)"
)
_UNLOCK = (
    f"WITH lease AS ({_LEASE}), freed AS (DELETE FROM lifeboat.locks USING lease WHERE vm = %(vm)s AND attempt = %(attempt)s) "
    "SELECT (SELECT count(*) FROM lease)"
)
_NEWEST = "SELECT seq, sha256 FROM lifeboat.records ORDER BY seq DESC LIMIT 1"
_OF_CALL = "SELECT seq, sha256 FROM lifeboat.records WHERE call = %s"
_NEWER = (
    "NOT EXISTS (SELECT 1 FROM lifeboat.records AS r WHERE r.kind = ANY(%(kinds)s) AND r.evacuation = %(evacuation)s "
    "AND r.seq > %(seen)s)"
)


class PostgresJournal:
    """A `Journal` for lifeboats on several hosts."""

    def __init__(
        self,
        url: str,
        *,
        epoch: Callable[[], int | None] = lambda: None,
        patience_seconds: float = 5.0,
    ) -> None:
        """`epoch`: that of the lease under which everything is written from here; None: under none, as what people decide is.

        Once it is open, it waits `patience_seconds` for a database that is away. Raises BadInput when it can't be opened.
        """
        self._database = Database(url)
        self._epoch, self._patience = epoch, patience_seconds
        self._where = f"journal {self.name}"
        self._read = RowReader(self._where)
        try:
            prepare(self._database)
        except BaseException:
            self._database.close()
            raise

    @property
    def name(self) -> str:
        return self._database.name

    def append(
        self, record: Record, *, now: datetime, evacuation: str | None = None, attempt: str | None = None
    ) -> Entry[Record]:
        entry = self._append(record, now, evacuation, attempt, "TRUE", {})
        assert entry is not None
        return entry

    def append_if_newest(
        self, record: Record, *, now: datetime, evacuation: str, seen: int, kinds: Sequence[type[Record]]
    ) -> Entry[Record] | None:
        condition = {"seen": seen, "kinds": [kind.KIND for kind in kinds]}
        return self._append(record, now, evacuation, None, _NEWER, condition)

    def _append(
        self,
        record: Record,
        now: datetime,
        evacuation: str | None,
        attempt: str | None,
        unless: LiteralString,
        condition: dict[str, Any],
    ) -> Entry[Record] | None:
        text, time, epoch = text_of(record), now.isoformat(), self._epoch()
        call, tried = uuid.uuid4().hex, False

        def entry(seq: int, sha256: str) -> Entry[Record]:
            return Entry(seq=seq, at=now, evacuation=evacuation, attempt=attempt, record=record, sha256=sha256)

        def write(connection: Connection) -> Entry[Record] | None:
            nonlocal tried
            while True:
                # A statement whose connection broke may have been carried out all the same.
                done = connection.execute(_OF_CALL, (call,)).fetchone() if tried else None
                if done is not None:
                    return entry(done[0], done[1])
                tried = True
                newest = connection.execute(_NEWEST).fetchone()
                seq, previous = (newest[0] + 1, newest[1]) if newest else (1, GENESIS)
                sha256 = digest(seq, time, record.kind, evacuation, attempt, text, previous)
                values = {
                    "epoch": epoch, "seq": seq, "time": time, "kind": record.kind, "evacuation": evacuation,
                    "attempt": attempt, "text": text, "previous": previous, "sha256": sha256, "call": call,
                }  # fmt: skip
                try:
                    found = connection.execute(_APPEND.format(unless=unless), values | condition).fetchone()
                except psycopg.errors.UniqueViolation:  # somebody was faster
                    continue
                assert found is not None
                self._require_lease(found[0], epoch, record.kind)
                return entry(seq, sha256) if found[1] else None

        return self._written(write)

    def of(
        self,
        *kinds: type[R],
        evacuation: str | None = None,
        attempt: str | None = None,
        vm: str | None = None,
        since: datetime | None = None,
        after: int = 0,
    ) -> list[Entry[R]]:
        conditions: list[LiteralString] = ["kind = ANY(%s)"]
        values: list[Any] = [[kind.KIND for kind in kinds]]
        in_data: LiteralString = "CASE WHEN kind = ANY(%s) THEN data::json ->> 'vm' END = %s"
        if vm is not None:
            conditions.append(in_data)
            values += [values[0], vm]
        others: tuple[tuple[LiteralString, Any], ...] = (
            ("evacuation = %s", evacuation),
            ("attempt = %s", attempt),
            ("time >= %s", since.isoformat() if since is not None else None),
            ("seq > %s", after or None),
        )
        for condition, value in others:
            if value is not None:
                conditions.append(condition)
                values.append(value)
        return self._read.of(kinds, self._rows(" AND ".join(conditions), values))

    def unended(self, began: type[R], ended: type[Record], *, by: Scope) -> list[Entry[R]]:
        scope: LiteralString = "evacuation" if by is Scope.EVACUATION else "attempt"
        where = (
            f"kind = %s AND {scope} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM lifeboat.records AS later "
            f"WHERE later.{scope} = records.{scope} AND later.kind = %s AND later.seq > records.seq)"
        )
        return self._read.of((began,), self._rows(where, [began.KIND, ended.KIND]))

    def entries(self, *, evacuation: str | None = None, attempt: str | None = None) -> list[Entry[Record]]:
        where: LiteralString = "(%s::text IS NULL OR evacuation = %s) AND (%s::text IS NULL OR attempt = %s)"
        return self._read.any(self._rows(where, [evacuation, evacuation, attempt, attempt]))

    def evacuations(self, most: int) -> list[str]:
        rows = self._fetched(
            "SELECT evacuation FROM lifeboat.records WHERE evacuation IS NOT NULL GROUP BY evacuation "
            "ORDER BY MIN(seq) DESC LIMIT %s",
            [most],
        )
        return [name for (name,) in rows]

    def head(self) -> str:
        rows = self._fetched(_NEWEST, [])
        return rows[0][1] if rows else GENESIS

    def stored(self, *, after: int = 0, most: int = 1000) -> list[StoredEntry]:
        query: LiteralString = f"SELECT {_STORED} FROM lifeboat.records WHERE seq > %s ORDER BY seq LIMIT %s"
        return [StoredEntry(**dict(zip(_FIELDS, row, strict=True))) for row in self._fetched(query, [after, most])]

    def verify(self, *, expected_head: str | None = None) -> int:
        try:
            return check(self._all_stored(), self._where, expected_head=expected_head)
        except JournalInvalid as error:
            raise AuditBroken(error.message, hint=error.hint) from error

    def _all_stored(self) -> Iterator[StoredEntry]:
        after = -(1 << 62)  # whatever numbers somebody gave them
        while batch := self.stored(after=after, most=_BATCH):
            yield from batch
            after = batch[-1].seq

    def lock(self, vm: str, attempt: str, *, now: datetime) -> None:
        epoch = self._epoch()

        def take(connection: Connection) -> str | None:
            values = {"epoch": epoch, "vm": vm, "attempt": attempt, "since": now.isoformat()}
            found = connection.execute(_LOCK, values).fetchone()
            assert found is not None
            self._require_lease(found[0], epoch, f"the lock of vm {vm}")
            row = connection.execute("SELECT attempt FROM lifeboat.locks WHERE vm = %s", (vm,)).fetchone()
            return row[0] if row else None

        holder = self._written(take)
        if holder != attempt:
            raise Refused(
                f"vm {vm} is locked by attempt {holder}",
                hint="wait for it, or look at `lifeboat status`; an indeterminate attempt keeps its lock until a "
                "human settles it",
            )

    def unlock(self, vm: str, attempt: str) -> None:
        epoch = self._epoch()

        def free(connection: Connection) -> None:
            found = connection.execute(_UNLOCK, {"epoch": epoch, "vm": vm, "attempt": attempt}).fetchone()
            assert found is not None
            self._require_lease(found[0], epoch, f"the end of the lock of vm {vm}")

        self._written(free)

    def lock_holder(self, vm: str) -> str | None:
        return self.locks().get(vm)

    def locks(self) -> dict[str, str]:
        return dict(cast("list[tuple[str, str]]", self._fetched("SELECT vm, attempt FROM lifeboat.locks", [])))

    def close(self) -> None:
        self._database.close()

    def _require_lease(self, found: int, epoch: int | None, what: str) -> None:
        if not found:
            raise LeaseLost(
                f"{self._where}: {what} was not written: this lifeboat led under epoch {epoch}, and another one leads "
                "by now; what it was to announce is not done here"
            )

    def _rows(self, where: LiteralString, values: Iterable[Any]) -> list[Row]:
        query: LiteralString = f"SELECT {COLUMNS} FROM lifeboat.records WHERE {where} ORDER BY seq"
        return cast("list[Row]", self._fetched(query, values))

    def _fetched(self, query: LiteralString, values: Iterable[Any]) -> list[tuple[Any, ...]]:
        """Raises JournalInvalid for a database that is away, or can't read what it holds."""
        arguments = list(values)
        try:
            return self._database.run(
                lambda connection: connection.execute(query, arguments).fetchall(), patience_seconds=self._patience
            )
        except psycopg.Error as error:
            raise JournalInvalid(
                f"{self._where} can't be read: {_said(error)}",
                hint="see that the database runs and is sound; `lifeboat doctor` names what is wrong",
            ) from error

    def _written(self, write: Callable[[Connection], T]) -> T:
        with self._writing():
            return self._database.run(write, patience_seconds=self._patience)

    @contextmanager
    def _writing(self) -> Generator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise NotWritten(f"{self._where} can't be written: {_said(error)}") from error


def _said(error: psycopg.Error) -> str:
    return " ".join(str(error).split())[:300]
