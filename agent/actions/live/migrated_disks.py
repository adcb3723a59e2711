"""Disks that move along with a live migration: the images made at the target, and the ones left at the source."""

from __future__ import annotations

from agent.actions.attempt import AttemptContext
from agent.actions.reconcile import NodeView
from models.errors import LifeboatError
from models.evacuation import ObservedState
from models.policy.policy import OldDisks
from tools.ports.records.disks import DiskCreated, OldDiskDeleteIntended, OldDiskKept
from tools.ports.storage import Storage
from tools.ports.vms import DiskObservation, VmObservation


def make_images(ctx: AttemptContext, target: Storage, initial: VmObservation) -> None:
    """Make room for the disks that move along. libvirt would too, but never removes it again when the move fails, and
    only what the journal calls ours may be removed."""
    for disk in initial.disks:
        if not disk.shared:
            ctx.files.create_disk(target, disk.path, format=disk.format, virtual_bytes=disk.virtual_bytes)


def settle_old_images(
    ctx: AttemptContext, initial: VmObservation, at_source: NodeView, at_target: NodeView
) -> list[str]:
    """After a move that was observed done: keep or remove what the disks were, as policy says; the paths that are left.

    Removed is only an image that this vm had at the source, whose copy this attempt itself made at the target (so they
    are two images, not one that both nodes reach), that the running vm uses there, and no other vm at the source.
    """
    old = [disk for disk in initial.disks if not disk.shared]
    if not old:
        return []
    if ctx.policy.migration.old_disks is OldDisks.KEEP:
        for disk in old:
            ctx.record(OldDiskKept(node=ctx.action.source, path=disk.path))
        return [disk.path for disk in old]
    return [disk.path for disk in old if not _remove_old(ctx, disk, at_source, at_target)]


def _remove_old(ctx: AttemptContext, disk: DiskObservation, at_source: NodeView, at_target: NodeView) -> bool:
    source = ctx.hands.node(ctx.action.source)
    there = at_target.observation.disks if at_target.observation is not None and at_target.alive else ()
    why = ""
    try:
        if at_source.seen is not ObservedState.ABSENT or not any(disk.path == new.path for new in there):
            why = "the vm was not seen to use its copy at the target"
        elif (at_target.node, disk.path) not in _made(ctx):
            why = "its copy at the target was not made by this attempt"
        elif users := source.users_of(disk.path):
            why = f"vm {', '.join(sorted(users.values()))} uses it too"
        else:
            ctx.record(OldDiskDeleteIntended(node=source.name, path=disk.path))
            source.delete_disk(disk.path)
    except LifeboatError as error:
        why = str(error)
    if why:
        ctx.record(OldDiskKept(node=source.name, path=disk.path, why=why))
    return not why


def _made(ctx: AttemptContext) -> set[tuple[str, str]]:
    return {(entry.record.node, entry.record.path) for entry in ctx.recorded(DiskCreated)}
