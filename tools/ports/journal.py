"""The journal and the lease: what was decided and done is on disk before anything follows from it, and one acts at a time.

A record is a value of one kind (`tools.ports.records`); an entry is a record with what the journal adds. On disk a record is
its kind's name and JSON, so that journals of older and of newer versions read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from models.base import Value


class Record(Value):
    """What one kind of record holds. Built with exactly its fields; read from disk, fields of a newer version are left out."""

    KIND: ClassVar[str]
    """its name on disk, never changed"""

    @property
    def kind(self) -> str:
        return self.KIND

    @classmethod
    def read(cls, data: dict[str, Any]) -> Self:
        """From what is on disk. Raises pydantic's ValidationError when a field is missing or holds something else."""
        return cls.model_validate(data, extra="ignore")

    def data(self) -> dict[str, Any]:
        """What goes to disk."""
        return self.model_dump(mode="json", by_alias=True)


class Timed(Record):
    """A record from which time is counted, over a restart of lifeboat and whoever sets the clock."""

    uptime: str = ""
    """when, as `Clock.uptime` has it; empty: written by an earlier version"""


class UnknownRecord(Record):
    """A record that this version does not understand: kept, named and counted, and nothing is decided by it."""

    KIND = ""
    name: str
    """its kind, as on disk"""
    content: dict[str, Any]
    """as on disk"""
    why: str
    """what is not understood"""

    @property
    def kind(self) -> str:
        return self.name


R = TypeVar("R", bound=Record)
R_co = TypeVar("R_co", bound=Record, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Entry(Generic[R_co]):
    """One record in its place."""

    seq: int
    """1 for the first"""
    at: datetime
    """when it was written, UTC, by the clock of who wrote it"""
    evacuation: str | None
    attempt: str | None
    record: R_co
    sha256: str
    """over this entry and the one before it"""

    @property
    def kind(self) -> str:
        return self.record.kind


@dataclass(frozen=True, kw_only=True)
class StoredEntry:
    """One entry word for word, to be checked and handed on."""

    seq: int
    time: str
    kind: str
    evacuation: str | None
    attempt: str | None
    text: str
    """the record, JSON"""
    previous: str
    """SHA-256 of the entry before"""
    sha256: str


class NotWritten(OSError):
    """A record or lock is not in the journal, or nobody can tell whether it is: whatever it was to announce must not be done.

    Not one of lifeboat's own errors, which much is done in spite of.
    """


class LeaseLost(NotWritten):
    """It was to be written, or done, under a lease that is another lifeboat's by now, or may be: this one leads no longer."""


class Scope(StrEnum):
    """What a beginning and its end have in common."""

    EVACUATION = "evacuation"
    ATTEMPT = "attempt"


class Journal(Protocol):
    """Append-only and hash-chained, with the locks on vms. Safe for several threads and processes.

    Reading a kind raises JournalInvalid when an entry of it can't be read: what is to be decided by it can't be. Writing
    raises NotWritten when it can't be made sure that it is on disk.
    """

    @property
    def name(self) -> str:
        """How messages name it."""
        ...

    def append(
        self, record: Record, *, now: datetime, evacuation: str | None = None, attempt: str | None = None
    ) -> Entry[Record]:
        """Write one record; it is on disk when this returns."""
        ...

    def append_if_newest(
        self, record: Record, *, now: datetime, evacuation: str, seen: int, kinds: Sequence[type[Record]]
    ) -> Entry[Record] | None:
        """Compare and set: write the record about an evacuation, unless an entry of these kinds about it is newer than the one
        with `seq` `seen`. None: there is one, and nothing was written. On disk when this returns."""
        ...

    def of(
        self,
        *kinds: type[R],
        evacuation: str | None = None,
        attempt: str | None = None,
        vm: str | None = None,
        since: datetime | None = None,
        after: int = 0,
    ) -> list[Entry[R]]:
        """Entries of these kinds in order: all, or those of one evacuation, of one attempt, about one vm (its uuid, for
        kinds that have it), written at `since` or later by a clock that may have been set back, or placed after the
        entry with `seq` `after`."""
        ...

    def unended(self, began: type[R], ended: type[Record], *, by: Scope) -> list[Entry[R]]:
        """Entries of `began` in order, after which there is none of `ended` for the same evacuation or attempt."""
        ...

    def entries(self, *, evacuation: str | None = None, attempt: str | None = None) -> list[Entry[Record]]:
        """Everything in order, or all of one evacuation or attempt; what is not understood as UnknownRecord. Never raises
        for what it reads."""
        ...

    def evacuations(self, most: int) -> list[str]:
        """Ids of the newest evacuations that anything was written about, newest first."""
        ...

    def head(self) -> str:
        """SHA-256 of the newest entry: keep it elsewhere to notice a cut-off end."""
        ...

    def stored(self, *, after: int = 0, most: int = 1000) -> list[StoredEntry]:
        """At most so many entries after the one with `seq` `after`, as they are on disk, whatever they hold."""
        ...

    def verify(self, *, expected_head: str | None = None) -> int:
        """Check the whole chain; the number of entries. `expected_head`: a head that was noted once, which has to be in it.
        Raises AuditBroken naming the first entry that does not hold, or that the end is missing."""
        ...

    def lock(self, vm: str, attempt: str, *, now: datetime) -> None:
        """Reserve a vm for one attempt. Raises Refused when another attempt holds it."""
        ...

    def unlock(self, vm: str, attempt: str) -> None:
        """Give a vm free again; only the attempt that holds it can."""
        ...

    def lock_holder(self, vm: str) -> str | None: ...

    def locks(self) -> dict[str, str]:
        """vm → attempt, for everything locked now."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Holder:
    """The lifeboat that is carrying out, or recovering, an evacuation now."""

    pid: int
    what: str
    """the evacuation, or `recovery`"""
    agent: str = ""
    """its name among those that share a database; empty: it runs on this host"""

    @property
    def name(self) -> str:
        """For people."""
        return f"lifeboat {self.agent} (pid {self.pid})" if self.agent else f"lifeboat (pid {self.pid})"


@dataclass(frozen=True, kw_only=True)
class Agent:
    """Another lifeboat that shares the database."""

    name: str
    node: str
    """of the fleet, on which it runs itself; empty: on none"""


class Lease(Protocol):
    """At most one lifeboat carries out evacuations at a time, and everybody can see whether it lives."""

    def hold(self, what: str) -> AbstractContextManager[None]:
        """Be the only one until the end of the block. Raises Busy, naming the one who is, and BadInput."""
        ...

    def holder(self) -> Holder | None:
        """Who holds the lease now; None when nobody does."""
        ...


@dataclass(frozen=True, kw_only=True)
class DatabaseFacts:
    """What a database that lifeboats share is like."""

    name: str
    """as messages name it"""
    version: str
    """the server's"""
    keeps_what_it_took: bool
    """also when its host fails"""
    leader: str
    """empty: nobody"""
    leader_silent_seconds: float
    agents: Mapping[str, str]
    """those that said they stand by, and did not say that they end → the node each runs on, empty for none"""


class Leadership(Lease, Protocol):
    """One of several lifeboats leads: it alone plans, asks and carries out. The others stand by."""

    @property
    def agent(self) -> str:
        """What the others call this one."""
        ...

    node: str
    """of the fleet, on which it runs itself, as far as it knows; empty: on none of them. Whoever finds out sets it"""

    def epoch(self) -> int | None:
        """Under which a journal is written while this one leads, and until what it began under a lease that it lost is over."""
        ...

    def lead(self) -> bool:
        """Be the leader, or stay it, where no other is; whether it leads now. Never waits. Raises BadInput where that can't be
        told."""
        ...

    def leader(self) -> str:
        """Who leads, be it alive or not; empty: nobody. Raises BadInput."""
        ...

    def require(self, *, patience_seconds: float = 0.0) -> None:
        """Raises LeaseLost unless this one leads for certain now, so that it may begin something: it began to lead, and nobody
        can have taken over. While that can't be told, as when the database is away, it is waited for so long."""
        ...

    def resign(self, *, avoiding: str = "") -> None:
        """Let another lead, at once; with `avoiding` not one that runs on that node, as long as there are others."""
        ...

    def others(self) -> Sequence[Agent]:
        """Those that were heard of lately, while this one was `standing_by`."""
        ...

    def standing_by(self) -> AbstractContextManager[None]:
        """For as long as the block runs, the others hear of this one. It resigns at its end."""
        ...

    def close(self) -> None: ...
