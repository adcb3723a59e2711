"""Conditions on a vm's files: they can be read where they lie, and put where they go. As `prechecks` says."""

from __future__ import annotations

from models.errors import DisksUnmovable, Lasting, PrecheckFailed
from models.fleet import Vm
from tools.domain.files import ONLY_READ_ROLES, image_files
from tools.ports.archives import ArchiveStore, ImageFile
from tools.ports.hypervisor import Hypervisor
from tools.ports.vms import DiskObservation, VmObservation


def require_shared_disks(target: Hypervisor, before: VmObservation) -> None:
    """What is not copied is there, as far as a pool of the target can tell: network disks, and directories without a pool
    there, are believed to be where the settings say."""
    for disk in before.disks:
        if not disk.shared or not disk.path.startswith("/"):
            continue
        try:
            there = target.disk_exists(disk.path)
        except PrecheckFailed:
            continue
        if not there:
            raise DisksUnmovable(
                f"disk {disk.path} of vm {before.name} counts as shared, and node {target.name} does not see it",
                hint="mount the storage there, or fix shared_paths and shared_pools; nothing was changed",
                lasting=Lasting.AT_TARGET,
            )


def require_only_read_files(target: Hypervisor, before: VmObservation) -> None:
    """Media and boot files are there, at the same path, as far as a pool of the target can tell: a live migration copies
    none of them, and QEMU opens them when it starts there."""
    for file in before.only_read:
        if file.shared:
            continue
        try:
            there = target.disk_exists(file.path)
        except PrecheckFailed:
            continue
        if not there:
            raise DisksUnmovable(
                f"{file.role} {file.path} of vm {before.name} is not on node {target.name}",
                hint="put it there, eject it from the guest, or let the vm move cold: then it goes along",
                lasting=Lasting.AT_TARGET,
            )


def require_disks_movable(target: Hypervisor, before: VmObservation) -> None:
    """Disks that move along stand alone, have a pool and enough room at the target, and overwrite nothing there.

    There has to be room for the size the guest sees.
    """
    needed: dict[str, int] = {}
    for disk in (disk for disk in before.disks if not disk.shared):
        require_no_backing(disk, before)
        if target.disk_exists(disk.path):  # also catches a shared directory that nobody declared
            raise DisksUnmovable(
                f"disk {disk.path} of vm {before.name} exists on node {target.name} already",
                hint="if both nodes reach the same storage, list it under shared_paths; else find out whose it is",
                lasting=Lasting.AT_TARGET,
            )
        directory = disk.path.rpartition("/")[0]
        size = disk.virtual_bytes
        needed[directory] = needed.get(directory, 0) + size
        free = target.free_disk_bytes(disk.path)
        if free < needed[directory]:
            raise DisksUnmovable(
                f"vm {before.name} needs {needed[directory]} bytes under {directory}, node {target.name} has {free} free",
                hint="make room there or choose another target",
            )


def require_images_movable(target: Hypervisor, before: VmObservation) -> None:
    """There is a pool and room at the target for every image that moves along, and none overwrites another.

    An image below a disk may be there already; whether it is the same is for the copy to find out.
    """
    needed: dict[str, int] = {}
    for image in image_files(before, shared=False):
        if target.disk_exists(image.path):  # also catches a shared directory that nobody declared
            if image.role in ONLY_READ_ROLES:
                continue
            raise DisksUnmovable(
                f"disk {image.path} of vm {before.name} exists on node {target.name} already",
                hint="if both nodes reach the same storage, list it under shared_paths; else find out whose it is",
                lasting=Lasting.AT_TARGET,
            )
        directory = image.path.rpartition("/")[0]
        needed[directory] = needed.get(directory, 0) + image.needed_bytes
        free = target.free_disk_bytes(image.path)
        if free < needed[directory]:
            raise DisksUnmovable(
                f"vm {before.name} needs {needed[directory]} bytes under {directory}, node {target.name} has {free} free",
                hint="make room there or choose another target",
            )


def require_whole_chains(before: VmObservation) -> None:
    """Every image below every disk was found, down to one that stands alone."""
    for disk in before.disks:
        below = disk.backing
        for image in disk.chain:
            below = image.backing if image.path == below else below
        if below:
            raise DisksUnmovable(
                f"disk {disk.device} of vm {before.name} needs {below}, which is in no running storage pool of node "
                f"{before.node}, so a copy would leave it behind",
                hint="define a pool over its directory, or flatten the disk with `virsh blockpull`",
                lasting=Lasting.EVERYWHERE,
            )


def require_no_backing(disk: DiskObservation, before: VmObservation) -> None:
    if disk.backing:
        raise DisksUnmovable(
            f"disk {disk.device} of vm {before.name} is an overlay over {disk.backing}, which a copy would leave behind",
            hint="flatten it with `virsh blockpull`",
            lasting=Lasting.EVERYWHERE,
        )


def require_readable(source: Hypervisor, image: ImageFile, before: VmObservation) -> None:
    """A storage pool of the source holds the image, so that it can be read through libvirt."""
    if not source.disk_exists(image.path):
        raise DisksUnmovable(
            f"disk {image.device} of vm {before.name} is not at {image.path} on node {source.name}",
            hint="refresh the storage pool, or look where the image went",
        )


def require_store_space(store: ArchiveStore, before: VmObservation, vm: Vm) -> None:
    """Room for the disks as if nothing in them could be compressed: running out halfway costs time nobody has."""
    free = store.free_bytes()
    needed = vm.disk_bytes
    if before.disks:
        files = (file for disk in before.disks for file in (disk, *disk.chain))
        needed = sum(file.allocated_bytes or file.virtual_bytes for file in files)
    if free is not None and free < needed:
        raise PrecheckFailed(
            f"the archive store has {free} bytes free, vm {before.name} may need {needed}",
            hint="make room in the store",
        )
