"""Opens the journal and the lease that a state directory holds. Everything else speaks to `tools.ports.journal`."""

from __future__ import annotations

from pathlib import Path

from tools.journal.chain import check_file, export
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


def export_journal(journal: Journal, path: Path) -> int:
    """Write every entry into a file; how many. Raises BadInput."""
    return export(journal, path)


def check_exported(path: Path, *, expected_head: str | None = None) -> tuple[int, str]:
    """Of a file that `export_journal` wrote: how many entries, and the head. Raises AuditBroken and BadInput."""
    return check_file(path, expected_head=expected_head)
