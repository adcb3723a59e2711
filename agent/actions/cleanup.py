"""What attempts that are over had to leave on a node that did not answer: found in the journal, removed at the next start."""

from __future__ import annotations

from dataclasses import dataclass

from agent.actions.resources import Resources
from models.errors import LifeboatError
from models.evacuation import ObservedState
from tools.ports.hypervisor import Hypervisor
from tools.ports.journal import Journal
from tools.ports.records.attempts import TagLeft, TagRemoved
from tools.ports.records.disks import DiskIntended, DiskLeft, DiskRemoved
from tools.ports.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Left:
    """One image or state file at a target, or an attempt's mark on a vm (`path` empty)."""

    attempt: str
    node: str
    vm: str
    path: str = ""
    state: bool = False


def left_behind(journal: Journal) -> list[Left]:
    """What was left and never removed, overlays before what they lie on; not of attempts that a human must settle first.
    What a later attempt found gone before it made its own is no longer this one's."""
    ever = journal.of(DiskLeft, TagLeft)
    if not ever:
        return []
    still: dict[tuple[str, str, str], Left] = {}
    for entry in journal.of(DiskLeft, DiskRemoved, TagLeft, TagRemoved, DiskIntended, after=ever[0].seq - 1):
        attempt = entry.attempt or ""
        match entry.record:
            case DiskLeft() as disk:
                still.setdefault(
                    (disk.node, disk.path, ""),
                    Left(attempt=attempt, node=disk.node, vm=disk.vm, path=disk.path, state=disk.state),
                )
            case TagLeft() as tag:
                still.setdefault((tag.node, "", attempt), Left(attempt=attempt, node=tag.node, vm=tag.vm))
            case TagRemoved(node=node):
                still.pop((node, "", attempt), None)
            case DiskRemoved(node=node, path=path) | DiskIntended(node=node, path=path, absent=True):
                still.pop((node, path, ""), None)
            case DiskIntended():
                pass
    frozen = set(journal.locks().values())
    return [left for left in still.values() if left.attempt not in frozen]


def sweep(hands: Resources) -> None:
    """Remove what can be: an image only from a node that answers, does not know its vm, and has no other vm that uses it.
    Only for a journal that no other lifeboat works on."""
    for left in left_behind(hands.journal):
        node = hands.nodes.get(left.node)
        if node is None:
            continue
        try:
            removed = _remove(hands, node, left) if left.path else _unmark(hands, node, left)
        except LifeboatError:
            continue  # at the next start, then
        if removed:
            gone = (
                DiskRemoved(node=left.node, path=left.path, vm=left.vm, how=removed)
                if left.path
                else TagRemoved(node=left.node, vm=left.vm, how=removed)
            )
            hands.journal.append(gone, now=hands.clock.now(), attempt=left.attempt)


def _remove(hands: Resources, node: Storage, left: Left) -> str:
    if hands.observe(left.node, left.vm).seen is not ObservedState.ABSENT:
        return ""
    if left.state:
        node.delete_state_file(left.path)
        return "removed"
    if not node.disk_exists(left.path):
        return "it was gone"
    if node.storage_facts(left.path).used_by:
        return ""
    node.delete_disk(left.path)
    return "removed"


def _unmark(hands: Resources, node: Hypervisor, left: Left) -> str:
    view = hands.observe(left.node, left.vm)
    if view.seen is ObservedState.UNREACHABLE:
        return ""
    if view.observation is None or view.observation.attempt != left.attempt:
        return "it was gone"
    node.tag_attempt(left.vm, None)
    return "removed"
