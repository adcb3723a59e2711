"""Opens the journal and the lease that a state directory holds. Everything else speaks to `tools.ports.journal`."""

from __future__ import annotations

from pathlib import Path

from tools.journal.file_lease import FileLease
from tools.journal.sqlite import SqliteJournal
from tools.ports.journal import Journal, Lease

_FILE = "journal.sqlite"


def open_journal(state_dir: Path) -> Journal:
    """The journal of the lifeboat that keeps its state there, begun when there is none yet. Raises BadInput."""
    return SqliteJournal(state_dir / _FILE)


def open_existing_journal(state_dir: Path) -> Journal | None:
    """As `open_journal`; None when there is none yet, and nothing is made then."""
    return open_journal(state_dir) if (state_dir / _FILE).exists() else None


def open_lease(state_dir: Path) -> Lease:
    """The lease of the lifeboats that keep their state there. Opens nothing yet."""
    return FileLease(state_dir)
