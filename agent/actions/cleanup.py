"""What attempts that are over had to leave on a node that did not answer: found in the journal, removed at the next start."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from agent.actions.made_files import MadeFile, why_not_removed
from agent.actions.resources import Resources
from models.errors import LifeboatError
from models.evacuation import ObservedState
from tools.ports.hypervisor import Hypervisor
from tools.ports.journal import Journal
from tools.ports.records.attempts import TagLeft, TagRemoved
from tools.ports.records.cold import DefinitionLeft, DefinitionRemoved
from tools.ports.records.disks import DiskIntended, DiskKept, DiskLeft, DiskRemoved
from tools.ports.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Left:
    """One image or state file at a target, an attempt's mark on a vm (`path` empty), or the definition of one."""

    attempt: str
    node: str
    vm: str
    path: str = ""
    state: bool = False
    definition: bool = False
    made: MadeFile | None = field(default=None, compare=False)
    """what is known of the file, so that another at its path is not taken for it"""
    since: datetime | None = field(default=None, compare=False)
    """when it was left, by lifeboat's clock"""


def left_behind(journal: Journal) -> list[Left]:
    """What was left and never removed, overlays before what they lie on; not of attempts that a human must settle first.
    What a later attempt found gone before it made its own is no longer this one's."""
    ever = journal.of(DiskLeft, TagLeft, DefinitionLeft)
    if not ever:
        return []
    still: dict[tuple[str, str, str], Left] = {}
    kinds = (DiskLeft, DiskRemoved, DiskKept, TagLeft, TagRemoved, DiskIntended, DefinitionLeft, DefinitionRemoved)
    for entry in journal.of(*kinds, after=ever[0].seq - 1):
        attempt = entry.attempt or ""
        match entry.record:
            case DiskLeft() as disk:
                left = Left(
                    attempt=attempt,
                    node=disk.node,
                    vm=disk.vm,
                    path=disk.path,
                    state=disk.state,
                    made=_made(disk),
                    since=entry.at,
                )
                still.setdefault((disk.node, disk.path, ""), left)
            case TagLeft() as tag:
                still.setdefault((tag.node, "", attempt), Left(attempt=attempt, node=tag.node, vm=tag.vm))
            case TagRemoved(node=node):
                still.pop((node, "", attempt), None)
            case DefinitionLeft() as defined:
                left = Left(attempt=attempt, node=defined.node, vm=defined.vm, definition=True)
                still.setdefault((defined.node, "definition", attempt), left)
            case DefinitionRemoved(node=node):
                still.pop((node, "definition", attempt), None)
            case (
                DiskRemoved(node=node, path=path)
                | DiskKept(node=node, path=path)
                | DiskIntended(node=node, path=path, absent=True)
            ):
                still.pop((node, path, ""), None)
            case DiskIntended():
                pass
    frozen = set(journal.locks().values())
    return [left for left in still.values() if left.attempt not in frozen]


def sweep(hands: Resources) -> None:
    """Remove what can be: a file only from a node that answers, does not know its vm, and has there what was left. What is
    not seen to be that stays for good, and the journal says why. Only for a journal that no other lifeboat works on."""
    for left in sorted(
        left_behind(hands.journal), key=lambda each: not each.definition
    ):  # what uses the files goes first
        node = hands.nodes.get(left.node)
        if node is None:
            continue
        try:
            end = _remove if left.path else _undefine if left.definition else _unmark
            ended = end(hands, node, left)
        except LifeboatError:
            continue  # at the next start, then
        if ended is not None:
            hands.journal.append(ended, now=hands.clock.now(), attempt=left.attempt)


def _made(left: DiskLeft) -> MadeFile:
    return MadeFile(
        node=left.node,
        path=left.path,
        state=left.state,
        created=left.created,
        identity=left.identity,
        sha256=left.sha256,
        format=left.format,
        virtual_bytes=left.virtual_bytes,
    )


def _remove(hands: Resources, node: Storage, left: Left) -> DiskRemoved | DiskKept | None:
    """What became of it; None when the vm is there, or may be: not now, then."""
    if left.made is None or hands.observe(left.node, left.vm).seen is not ObservedState.ABSENT:
        return None
    there = left.state or node.disk_exists(left.path)
    why = why_not_removed(node, left.made, left_at=left.since)
    if why is not None:
        return DiskKept(node=left.node, path=left.path, vm=left.vm, why=why)
    return DiskRemoved(node=left.node, path=left.path, vm=left.vm, how="removed" if there else "it was gone")


def _unmark(hands: Resources, node: Hypervisor, left: Left) -> TagRemoved | None:
    view = hands.observe(left.node, left.vm)
    if view.seen is ObservedState.UNREACHABLE:
        return None
    if view.observation is None or view.observation.attempt != left.attempt:
        return TagRemoved(node=left.node, vm=left.vm, how="it was gone")
    node.tag_attempt(left.vm, None)
    return TagRemoved(node=left.node, vm=left.vm, how="removed")


def _undefine(hands: Resources, node: Hypervisor, left: Left) -> DefinitionRemoved | None:
    """Only one that is shut off, of a vm that another node has: the last one is nobody's to remove."""
    there = hands.observe(left.node, left.vm)
    if there.seen is ObservedState.UNREACHABLE:
        return None
    how = "it was gone"
    if there.alive or there.arriving:
        how = f"it stays: {there}"
    elif there.observation is not None:
        others = hands.observe_on_all_nodes(left.vm, except_for=frozenset({left.node}))
        if not any(view.alive or view.seen is ObservedState.SHUTOFF for view in others):
            return None
        node.undefine(left.vm)
        how = "removed"
    return DefinitionRemoved(node=left.node, vm=left.vm, how=how)
