"""Restore: an archived vm back on any node, and never a second copy of it."""

from __future__ import annotations

from contextlib import suppress

from agent.hands import Hands
from agent.settle import Sight
from models.errors import ActionFailed, BadInput, LifeboatError, PrecheckFailed
from models.evacuation import SeenState


def restore(hands: Hands, archive_id: str, node: str, *, start: bool, gone: frozenset[str] = frozenset()) -> Sight:
    """Write the disks, define the vm and, with `start`, start it; what the node shows then.

    Every other node must have been seen not to know the vm: one that shows it, even shut off, or does not answer makes
    this raise PrecheckFailed with nothing changed. `gone` names nodes that a person saw dead (and that will not come
    back with this vm): they are not asked. Raises ArchiveFailed when the archive does not verify; what was written is
    removed again.
    """
    if hands.archives is None:
        raise BadInput("no archive store is configured", hint="set `archive_url` in the settings")
    store, target = hands.archives, hands.node(node)
    entry = store.verify(archive_id)
    what = f"vm {entry.vm_name} ({entry.vm_uuid})"
    for sight in hands.look_everywhere(entry.vm_uuid, except_for=gone):
        if sight.seen is SeenState.UNREACHABLE:
            raise PrecheckFailed(
                f"{what} can't be restored: node {sight.node} does not answer and may still have it",
                hint="bring the node back, or name it with --gone once you have seen that it is off for good",
            )
        if sight.seen is not SeenState.ABSENT:
            raise PrecheckFailed(
                f"{what} can't be restored: node {sight.node} has it already ({sight.seen})",
                hint="start it there, or undefine it there first",
            )
    now = hands.clock.now
    hands.journal.append("restore-begun", {"archive": archive_id, "node": node, "gone": sorted(gone)}, now=now())
    made: list[str] = []
    try:
        for disk, image_bytes, read in store.disks(archive_id):
            target.create_disk(disk.path, format=disk.format, virtual_bytes=disk.virtual_bytes)
            made.append(disk.path)
            target.write_disk(disk.path, read(), total_bytes=image_bytes)
        uuid = target.define(store.domain_xml(archive_id))
    except LifeboatError:
        for path in made:
            with suppress(LifeboatError):
                target.delete_disk(path)
        raise
    if start:
        target.start(uuid)
    sight = hands.look(node, uuid)
    wanted = SeenState.RUNNING if start else SeenState.SHUTOFF
    hands.journal.append("restored", {"archive": archive_id, "node": node, "seen": sight.seen}, now=now())
    if sight.seen is not wanted:
        raise ActionFailed(
            f"{what} was defined on node {node} and shows {sight.seen}, expected {wanted}",
            hint=f"look with `virsh domstate {uuid}` on {node}; the archive is untouched",
        )
    return sight
