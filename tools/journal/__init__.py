"""Opens the journal and the lease that some settings name. Everything else speaks to `tools.ports.journal`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from tools.journal.chain import check_file, export
from tools.journal.file_lease import FileLease, only_one_running
from tools.journal.sqlite import SqliteJournal
from tools.ports.journal import DatabaseFacts, Holder, Journal, Leadership, Lease

AWAY_SECONDS = 20.0
"""how long a shared database may be away, as for a restart, without anything failing for it"""
_FILE = "journal.sqlite"


class JournalPlace(Protocol):
    """Where they are: `Settings`."""

    @property
    def state_dir(self) -> Path: ...
    @property
    def database_url(self) -> str | None:
        """A PostgreSQL that several lifeboats share; None: files in `state_dir`."""
        ...


def open_journal(place: JournalPlace | Path, *, under: Leadership | None = None) -> Journal:
    """The journal, begun when there is none yet. Raises BadInput.

    `place`: settings, or the directory of a lifeboat that shares no database. `under`: while it leads, nothing is written from
    here once another does; None: whoever leads, as for what people decide.
    """
    if isinstance(place, Path):
        return SqliteJournal(place / _FILE)
    if place.database_url is None:
        return SqliteJournal(place.state_dir / _FILE)
    from tools.journal.postgres import PostgresJournal

    if under is None:
        return PostgresJournal(place.database_url, patience_seconds=AWAY_SECONDS)
    return PostgresJournal(place.database_url, epoch=under.epoch, patience_seconds=AWAY_SECONDS)


def open_existing_journal(place: JournalPlace) -> Journal | None:
    """As `open_journal`; None when there is none yet, and nothing is made then."""
    return open_journal(place) if place.database_url is not None else local_journal(place.state_dir)


def local_journal(state_dir: Path) -> Journal | None:
    """What a lifeboat without a database has written there; None when none has. Raises BadInput."""
    return SqliteJournal(state_dir / _FILE) if (state_dir / _FILE).exists() else None


def be_the_only_one(state_dir: Path) -> AbstractContextManager[None]:
    """For as long as it is entered, this is the only background agent with that state folder. Raises BadInput."""
    return only_one_running(state_dir)


def local_lease(state_dir: Path) -> Lease:
    """The lease of the lifeboats that keep their state there. Opens nothing yet."""
    return FileLease(state_dir)


def open_leadership(url: str, *, agent: str, lease_seconds: float) -> Leadership:
    """The lease of the lifeboats that share a PostgreSQL, for the one that the others call `agent`. Opens nothing yet. Raises
    BadInput when it is no URL of one."""
    from tools.journal.row_lease import RowLease

    return RowLease(url, agent=agent, seconds=lease_seconds)


def lease_holder(place: JournalPlace) -> Holder | None:
    """Who is at work now; None when nobody is. Raises BadInput."""
    if place.database_url is None:
        return local_lease(place.state_dir).holder()
    leadership = open_leadership(place.database_url, agent="", lease_seconds=0.0)
    try:
        return leadership.holder()
    finally:
        leadership.close()


def read_database_facts(url: str) -> DatabaseFacts:
    """What a database that lifeboats share is like now. Raises BadInput, in one line, where no lifeboat could lead with it."""
    from tools.journal.postgres_facts import read_facts

    return read_facts(url)


def sqlalchemy_url(url: str) -> str:
    """The same PostgreSQL as SQLAlchemy names it. Raises BadInput when it is no URL of one."""
    from tools.journal.postgres_connection import for_sqlalchemy, parsed

    parsed(url)
    return for_sqlalchemy(url)


def export_journal(journal: Journal, path: Path) -> int:
    """Write every entry into a file; how many. Raises BadInput."""
    return export(journal, path)


def check_exported(path: Path, *, expected_head: str | None = None) -> tuple[int, str]:
    """Of a file that `export_journal` wrote: how many entries, and the head. Raises AuditBroken and BadInput."""
    return check_file(path, expected_head=expected_head)
