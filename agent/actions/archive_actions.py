"""A restore or wipe as one action on its vm: an intent on disk before anything, the vm locked, and an end to one that was cut
off."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

from agent.actions.made_files import MadeFiles
from agent.actions.resources import Resources
from models.errors import LifeboatError
from models.evacuation import ObservedState
from tools.ports.archives import ArchiveEntry
from tools.ports.journal import Entry, Journal, Scope
from tools.ports.records.cold import (
    ArchiveActionEnded,
    ArchiveActionIntended,
    DefineIntended,
    DefineRefused,
    Restored,
    RestoreFailed,
    StartIntended,
)
from tools.process import is_alive, this_process

_under_way: set[tuple[str, str]] = set()
"""(journal, action) of all that go on in this process"""


@dataclass(frozen=True)
class ArchiveAction:
    """One restore or wipe that goes on."""

    id: str
    files: MadeFiles
    """what a restore makes"""


@contextmanager
def archive_action(
    hands: Resources, what: Literal["restore", "wipe"], entry: ArchiveEntry, node: str
) -> Generator[ArchiveAction]:
    """The vm of an archive for oneself, until the end of the block. Raises Refused when something else has it.

    What an earlier one of this vm left that was cut off is ended first. Recovery by another lifeboat leaves it alone for as
    long as this process lives.
    """
    journal, clock = hands.journal, hands.clock
    recover_archive_actions(hands, vm=entry.vm_uuid)
    begun_at = clock.now()
    # A clock that was set back, or two in one second, must not give one id twice.
    name = f"{what}-{begun_at:%Y%m%dT%H%M%SZ}-{entry.id}"
    number = sum(
        each.attempt is not None and each.attempt.startswith(name) for each in journal.of(ArchiveActionIntended)
    )
    action = f"{name}-{number + 1}" if number else name
    intended = ArchiveActionIntended(what=what, archive=entry.id, vm=entry.vm_uuid, node=node, process=this_process())
    _under_way.add((journal.name, action))
    try:
        journal.append(intended, now=begun_at, attempt=action)
        how = "refused"
        try:
            journal.lock(entry.vm_uuid, action, now=begun_at)
            how = "failed"
            yield ArchiveAction(action, MadeFiles(hands=hands, vm=entry.vm_uuid, attempt=action))
            how = "done"
        finally:
            journal.append(ArchiveActionEnded(how=how), now=clock.now(), attempt=action)
            journal.unlock(entry.vm_uuid, action)
    finally:
        _under_way.discard((journal.name, action))


def open_archive_actions(journal: Journal) -> list[Entry[ArchiveActionIntended]]:
    """Those that have no end: under way, or cut off."""
    return journal.unended(ArchiveActionIntended, ArchiveActionEnded, by=Scope.ATTEMPT)


def recover_archive_actions(hands: Resources, *, vm: str | None = None) -> None:
    """End those that were cut off, all or of one vm, by looking; what can't be seen now stays locked until the next start.

    One that ended right before it could give its vm free has no claim to it any more."""
    for held, action in hands.journal.locks().items():
        if vm in (None, held) and hands.journal.of(ArchiveActionEnded, attempt=action):
            hands.journal.unlock(held, action)
    for entry in open_archive_actions(hands.journal):
        if vm not in (None, entry.record.vm) or _goes_on(hands.journal, entry):
            continue
        action = entry.attempt or ""
        with suppress(LifeboatError):
            how = _end_restore(hands, entry) if entry.record.what == "restore" else "cut off"
            hands.journal.append(ArchiveActionEnded(how=how), now=hands.clock.now(), attempt=action)
            hands.journal.unlock(entry.record.vm, action)


def may_have_defined(journal: Journal, action: str) -> bool:
    """Whether the vm that its node shows may be the one that this restore defined."""
    return bool(journal.of(DefineIntended, attempt=action)) and not journal.of(DefineRefused, attempt=action)


def _goes_on(journal: Journal, entry: Entry[ArchiveActionIntended]) -> bool:
    if (journal.name, entry.attempt or "") in _under_way:
        return True
    return entry.record.process != this_process() and is_alive(entry.record.process)


def _end_restore(hands: Resources, entry: Entry[ArchiveActionIntended]) -> str:
    """A vm that was defined is whole, and stays: it may have run, and holds then what the archive does not. What was made
    for one that was not is removed. Raises LifeboatError when the node can't be asked now."""
    record, action, journal = entry.record, entry.attempt or "", hands.journal
    view = hands.observe(record.node, record.vm)
    defined = may_have_defined(journal, action)
    if view.observation is not None and defined:
        started = bool(journal.of(StartIntended, attempt=action))
        if not started and hands.archives is not None and (snapshots := hands.archives.snapshots(record.archive)):
            hands.node(record.node).restore_snapshots(record.vm, snapshots)
        journal.append(
            Restored(archive=record.archive, node=record.node, seen=view.seen), now=hands.clock.now(), attempt=action
        )
        return f"cut off; it is {view.seen} on {record.node}"
    files = MadeFiles(hands=hands, vm=record.vm, attempt=action)
    if view.seen is ObservedState.UNREACHABLE:
        if defined:
            hands.node(record.node).observe(record.vm)  # raises: it may run there
        left = files.defer_removal(str(view))
    elif view.seen is ObservedState.ABSENT:
        left = files.remove()
    else:
        left = files.defer_removal(f"{view}, and not by this restore")
    journal.append(
        RestoreFailed(archive=record.archive, node=record.node, left=tuple(left)), now=hands.clock.now(), attempt=action
    )
    return "cut off; " + ("; ".join(left) or "what it had made was removed")
