"""Reading archives again, long after they were made: what can't be restored is not an archive, and somebody has to notice."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from agent.state.archived_guests import standing_archives
from agent.state.requests import unfinished
from models.errors import ArchiveFailed
from tools.archive.files import StoreSilent
from tools.ports.archives import ArchiveStore
from tools.ports.clock import Clock
from tools.ports.journal import Journal
from tools.ports.records.cold import ArchiveChecked, ArchiveOutdated

log = structlog.get_logger("lifeboat")

UNSOUND_AGAIN = timedelta(days=1)
"""one that did not verify is read again so often: a store may have had a bad day"""

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class ArchivesKnown:
    """What the checks so far say."""

    unsound: frozenset[str] = frozenset()
    """archives whose last check failed"""
    last_check: datetime | None = None


def known_checks(journal: Journal) -> dict[str, tuple[datetime, bool]]:
    """archive → when it was read last, and whether every byte was as it should."""
    return {entry.record.archive: (entry.at, entry.record.sound) for entry in journal.of(ArchiveChecked)}


def what_is_known(journal: Journal) -> ArchivesKnown:
    """By the journal."""
    checks = known_checks(journal)
    return ArchivesKnown(
        unsound=frozenset(archive for archive, (_, sound) in checks.items() if not sound),
        last_check=max((at for at, _ in checks.values()), default=None),
    )


def check_archives(store: ArchiveStore, journal: Journal, clock: Clock, *, every: timedelta) -> int:
    """Read what is due, longest unread first, and write down what was found; how many. Ends early when guests are to be moved:
    the store and the disks are theirs then.

    Making an archive counts as reading it. Raises ArchiveFailed when the store does not answer, which says nothing of what is
    in it.
    """
    entries, unreadable = store.survey()
    names = {entry.id for entry in entries} | {each.id for each in unreadable}
    standing = standing_archives(journal)
    if standing and not names:
        raise StoreSilent("the store is empty, and archives were made in it", hint="is it mounted, and the right one?")
    for gone in standing.keys() - names:
        journal.append(ArchiveOutdated(archive=gone, why="it is no longer in the store"), now=clock.now())
    checks, now = known_checks(journal), clock.now()
    read = {each.id: (_LONG_AGO, True) for each in unreadable} | {each.id: (each.created_at, True) for each in entries}
    read |= {name: checks[name] for name in names & checks.keys()}
    due = [
        (at, name) for name, (at, sound) in read.items() if now - at >= (every if sound else min(every, UNSOUND_AGAIN))
    ]
    done = 0
    for _, name in sorted(due):
        if unfinished(journal):
            log.info("archive-checks-put-off", left=len(due) - done, why="guests are being moved")
            break
        _check(store, journal, clock, name)
        done += 1
    return done


def _check(store: ArchiveStore, journal: Journal, clock: Clock, archive: str) -> None:
    began, why = time.monotonic(), ""
    try:
        store.verify(archive)
    except StoreSilent:
        raise
    except ArchiveFailed as error:
        why = str(error)
        log.error("archive-unsound", archive=archive, why=why, mend="docs/runbook.md#archive-failed")
    seconds = round(time.monotonic() - began, 1)
    journal.append(ArchiveChecked(archive=archive, sound=not why, why=why, seconds=seconds), now=clock.now())
