"""What must hold after anything: one function, for every scenario, every random schedule, and both kinds of stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from chaos.stage import Copy, Stage

from models.errors import LifeboatError
from models.evacuation import Attempt, AttemptOutcome
from models.fleet import VmState
from models.plan import ActionKind
from tools.journal.sqlite import SqliteJournal
from tools.ports.records.attempts import AttemptEnded, AttemptIntended

_THROTTLES = ("io_limits", "throttles")
_LOOKING_SECONDS = 15.0
"""what an attempt says it saw may be this old when it ends: two silent nodes were asked in between"""


@dataclass(frozen=True)
class Before:
    """The fleet as it was found."""

    copies: Mapping[str, tuple[Copy, ...]]
    images: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, stage: Stage) -> Before:
        return cls({vm: tuple(stage.copies(vm)) for vm in stage.uuids}, frozenset(stage.images()))


@dataclass(frozen=True)
class Account:
    """What one journal says."""

    attempts: tuple[Attempt, ...]
    """that ended, in the order they did"""
    found: Mapping[str, tuple[str, str]]
    """attempt → node and state in which it found its vm, for those that began"""
    open: tuple[str, ...]
    """ids of those with an intent and no result"""
    locks: Mapping[str, str]
    broken: str = ""


def read_account(path: Path) -> Account:
    journal = SqliteJournal(path)
    try:
        ended = [entry.record.attempt for entry in journal.of(AttemptEnded)]
        found = {
            entry.attempt or "": (entry.record.initial.node, entry.record.initial.state)
            for entry in journal.of(AttemptIntended)
        }
        locks = journal.locks()
        try:
            journal.verify()
        except LifeboatError as error:
            return Account((), {}, (), {}, str(error))
    finally:
        journal.close()
    return Account(tuple(ended), found, tuple(i for i in found if i not in {a.id for a in ended}), locks)


def broken_invariants(stage: Stage, journals: Iterable[Path], before: Before, *, finished: bool = True) -> list[str]:
    """Every invariant that does not hold now, one sentence each; empty when all do.

    `finished`: lifeboat has had its chance to recover, so nothing may be open or left.
    """
    accounts = [read_account(path) for path in journals]
    names = {uuid: vm for vm, uuid in stage.uuids.items()}
    wrong = [f"journal: {account.broken}" for account in accounts if account.broken]
    wrong += [f"{vm} ran twice at once" for vm in sorted(stage.ran_twice())]
    frozen = {
        names[attempt.action.vm]
        for account in accounts
        for attempt in account.attempts
        if attempt.outcome is AttemptOutcome.INDETERMINATE
    }
    archived = _archived(stage, wrong)
    for vm in stage.uuids:
        copies = stage.copies(vm)
        running = [copy for copy in copies if _runs(copy) and stage.powered(copy.node)]
        if len(running) > 1:
            wrong.append(f"{vm} runs {len(running)} times: {', '.join(map(str, running))}")
        in_archive = stage.uuids[vm] in archived or stage.store_is_gone()
        if not copies and not in_archive and vm not in stage.removed:
            wrong.append(f"{vm} is lost: on no node, and in no verified archive")
        if not copies or vm in stage.removed:
            continue
        if vm in stage.held and running:
            wrong.append(f"{vm} was paused by a person and runs again: {', '.join(map(str, running))}")
        wrong += _as_it_was(stage, vm, copies, before, accounts, frozen)
        if finished:
            wrong += _leftovers(stage, vm, copies, before, frozen)
    for account in accounts:
        wrong += _journal_agrees(stage, account, before)
        if finished:
            wrong += [f"attempt {attempt} was never ended" for attempt in account.open]
            for uuid, holder in account.locks.items():
                if not any(a.id == holder and a.outcome is AttemptOutcome.INDETERMINATE for a in account.attempts):
                    wrong.append(f"{names.get(uuid, uuid)} is locked by {holder}, which is not indeterminate")
    if finished:
        wrong += _stray_images(stage, before, frozen)
        wrong += _unfinished_archives(stage, archived)
    return wrong


def _runs(copy: Copy) -> bool:
    return copy.state is VmState.RUNNING and not copy.arriving


def _moment(time: datetime, stage: Stage) -> float:
    """A journal's time on the stage's monotonic clock."""
    return stage.clock.monotonic() - (stage.clock.now() - time).total_seconds()


def _archived(stage: Stage, wrong: list[str]) -> set[str]:
    """uuids with an archive whose every byte verifies."""
    whole: set[str] = set()
    try:
        store = stage.store
        for entry in store.entries():
            store.verify(entry.id)
            whole.add(entry.vm_uuid)
    except LifeboatError as error:
        if not stage.store_is_gone():
            wrong.append(f"archive store: {error}")
    return whole


def _as_it_was(
    stage: Stage,
    vm: str,
    copies: list[Copy],
    before: Before,
    accounts: list[Account],
    frozen: set[str],
) -> list[str]:
    """Running stays running, paused stays paused, off stays off — unless somebody else changed it, it was archived, or a
    human was called."""
    if vm in stage.touched or vm in frozen:
        return []
    if any(
        attempt.action.vm == stage.uuids[vm]
        and attempt.action.kind is ActionKind.COLD_ARCHIVE
        and attempt.outcome is AttemptOutcome.DONE
        for account in accounts
        for attempt in account.attempts
    ):
        return [f"{vm} is archived and runs as well" for copy in copies if _runs(copy)]
    if any(stage.uuids[vm] in account.locks or account.open for account in accounts):
        return []  # a move is under way, or was cut off and not recovered yet
    (was,) = before.copies[vm]
    now = [copy.state for copy in copies if not copy.arriving]
    if was.state in now and (was.state is VmState.SHUTOFF or now.count(was.state) == 1):
        return []
    return [f"{vm} was {was.state} and is now {', '.join(map(str, copies))}, though nobody touched it"]


def _journal_agrees(stage: Stage, account: Account, before: Before) -> list[str]:
    """What each vm's last attempt says is what the nodes show, unless somebody changed that vm since it looked."""
    wrong: list[str] = []
    names = {uuid: vm for vm, uuid in stage.uuids.items()}
    last = {attempt.action.vm: attempt for attempt in account.attempts}
    open_vms = bool(account.open)
    for attempt in account.attempts:
        if attempt.outcome is AttemptOutcome.INDETERMINATE and account.locks.get(attempt.action.vm) != attempt.id:
            wrong.append(
                f"{names[attempt.action.vm]}: the journal says indeterminate, but it is not locked by that attempt"
            )
    for uuid, attempt in last.items():
        vm = names[uuid]
        what = f"{vm}: the journal says {attempt.outcome} ({attempt.action.kind}), but"
        assert attempt.ended_at is not None
        touched = stage.touched.get(vm)
        since = touched is not None and touched >= _moment(attempt.ended_at, stage) - _LOOKING_SECONDS
        copies = stage.copies(vm)
        shown = ", ".join(map(str, copies)) or "it is nowhere"
        if attempt.outcome is AttemptOutcome.INDETERMINATE:
            nodes = [attempt.action.source, *([attempt.action.target] if attempt.action.target else [])]
            missing = [word for word in (*nodes, "locked") if word not in attempt.message]
            if missing:
                wrong.append(f"{vm}: indeterminate, and its message does not name {', '.join(missing)}")
        elif since or open_vms or vm in stage.removed:
            continue
        elif attempt.outcome is AttemptOutcome.DONE and attempt.action.target is not None:
            (was,) = before.copies[vm]
            if [c.node for c in copies] != [attempt.action.target] or copies[0].arriving:
                wrong.append(f"{what} {shown}")
            elif copies[0].state is not was.state and vm not in stage.touched:
                wrong.append(f"{what} it was {was.state}: {shown}")
        elif attempt.outcome is AttemptOutcome.DONE and attempt.action.kind is ActionKind.COLD_ARCHIVE:
            if any(_runs(copy) for copy in copies):
                wrong.append(f"{what} {shown}")
        elif attempt.outcome in (AttemptOutcome.FAILED, AttemptOutcome.CANCELLED) and attempt.id in account.found:
            node, state = account.found[attempt.id]
            if vm not in stage.touched and [(c.node, c.state) for c in copies] != [(node, state)]:
                wrong.append(f"{what} it was found {state} on {node}: {shown}")
        elif attempt.outcome is AttemptOutcome.REFUSED and attempt.id in account.found:
            wrong.append(f"{what} it had begun")
    return wrong


def _leftovers(stage: Stage, vm: str, copies: list[Copy], before: Before, frozen: set[str]) -> list[str]:
    wrong: list[str] = []
    if vm in frozen:  # not even then is a guest left held back
        (was,) = before.copies[vm]
        held = [
            copy
            for copy in copies
            if any(copy.settings.get(t, was.settings.get(t)) != was.settings.get(t) for t in _THROTTLES)
        ]
        return [f"{vm} on {copy.node} is still held back" for copy in held]
    if len(copies) > 1:
        wrong.append(f"{vm} is left defined twice: {', '.join(map(str, copies))}")
    (was,) = before.copies[vm]
    for copy in copies:
        if copy.attempt is not None:
            wrong.append(f"{vm} on {copy.node} still carries the mark of attempt {copy.attempt}")
        if vm not in stage.touched and copy.settings != was.settings:
            changed = [key for key, value in copy.settings.items() if value != was.settings.get(key)]
            wrong.append(f"{vm} on {copy.node} was left with other settings: {', '.join(changed)}")
    return wrong


def _stray_images(stage: Stage, before: Before, frozen: set[str]) -> list[str]:
    """No image that was not there, but with its vm; and none gone that its vm needs."""
    now = stage.images()
    wrong: list[str] = []
    for node, path in sorted(now ^ before.images):
        vm = max((name for name in stage.uuids if path.rpartition("/")[2].startswith(name)), key=len, default="")
        if vm in frozen or vm in stage.removed:
            continue
        lives_here = any(copy.node == node and not copy.arriving for copy in stage.copies(vm)) if vm else False
        if (node, path) in now and not lives_here and stage.powered(node):
            wrong.append(f"image {path} is left on {node}")
        if (node, path) not in now and lives_here:
            wrong.append(f"image {path} of {vm} is gone from {node}")
    return wrong


def _unfinished_archives(stage: Stage, archived: set[str]) -> list[str]:
    """Part of a copy may stay for the next copy of the same vm to go on from; not once there is an archive of it."""
    if stage.store_is_gone():
        return []
    resumable = set(stage.uuids.values()) - archived
    return [
        f"an unfinished archive {left.id} is left in the store, and nothing goes on from it"
        for left in stage.store.leftovers()
        if left.vm_uuid not in resumable
    ]
