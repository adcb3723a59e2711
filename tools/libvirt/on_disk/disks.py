"""What a node's libvirt says of a domain's state and disks, and which disks count as shared."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

import libvirt

from models.fleet import VmState
from tools.domain.xml import Domain, DomainDisk
from tools.libvirt.on_disk.volumes import Pool, Volume, describe_volume, find_volume
from tools.ports.shared_storage import SharedStorage
from tools.ports.vms import BackingImage, DiskObservation, ImageRole, OnlyReadFile

Sizes = tuple[int, int, int]
"""capacity, allocation and length of an image, in bytes"""
_PLAIN_FORMATS = ("raw", "qcow2")
"""others, such as `iso`, are bytes to be copied like raw ones"""
_MAX_CHAIN = 200
"""QEMU itself takes no more"""
_PAUSED_REASONS = {
    libvirt.VIR_DOMAIN_PAUSED_USER: "user",
    libvirt.VIR_DOMAIN_PAUSED_MIGRATION: "migration",
    libvirt.VIR_DOMAIN_PAUSED_SAVE: "save",
    libvirt.VIR_DOMAIN_PAUSED_DUMP: "dump",
    libvirt.VIR_DOMAIN_PAUSED_IOERROR: "I/O error",
    libvirt.VIR_DOMAIN_PAUSED_WATCHDOG: "watchdog",
    libvirt.VIR_DOMAIN_PAUSED_FROM_SNAPSHOT: "snapshot",
    libvirt.VIR_DOMAIN_PAUSED_STARTING_UP: "starting up",
    libvirt.VIR_DOMAIN_PAUSED_POSTCOPY: "post-copy",
    libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED: "post-copy failed",
}
_RUNNING_REASONS = {
    libvirt.VIR_DOMAIN_RUNNING_MIGRATED: "migrated",
    libvirt.VIR_DOMAIN_RUNNING_MIGRATION_CANCELED: "migration canceled",
    libvirt.VIR_DOMAIN_RUNNING_POSTCOPY: "post-copy",
    libvirt.VIR_DOMAIN_RUNNING_POSTCOPY_FAILED: "post-copy failed",
}
_SHUTOFF_REASONS = {
    libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN: "shut down",
    libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED: "destroyed",
    libvirt.VIR_DOMAIN_SHUTOFF_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED: "migrated",
    libvirt.VIR_DOMAIN_SHUTOFF_SAVED: "saved",
    libvirt.VIR_DOMAIN_SHUTOFF_FAILED: "failed to start",
}


def shares(shared: SharedStorage, disk: DomainDisk, path: str, pools: list[Pool]) -> bool:
    """Whether every node reaches a disk's data."""
    return (disk.over_network and not disk.on_this_host) or shares_file(shared, path, pools, pool_name=disk.pool)


def shares_file(shared: SharedStorage, path: str, pools: list[Pool], *, pool_name: str = "") -> bool:
    """Whether every node reaches a file: a declared directory holds it, or a pool that is declared or on the network."""
    return shared.declares(path) or any(
        (pool.on_network or pool.name in shared.pools) and (pool.name == (pool_name or None) or pool.holds(path))
        for pool in pools
    )


def shared_by_pools(shared: SharedStorage, pools: list[Pool]) -> SharedStorage:
    """With the pools over the network, which every node that has them sees alike."""
    network = [pool for pool in pools if pool.on_network or pool.name in shared.pools]
    directories = (pool.target for pool in network if pool.target.startswith("/"))
    return SharedStorage(
        paths=tuple(dict.fromkeys((*shared.paths, *directories))),
        pools=tuple(dict.fromkeys((*shared.pools, *(pool.name for pool in network)))),
    )


def read_state(domain: libvirt.virDomain) -> tuple[VmState, str]:
    """State and libvirt's reason in words. When libvirt is unsure whether a process is left, it counts as running."""
    state, reason = (int(figure) for figure in domain.state())
    if state == libvirt.VIR_DOMAIN_SHUTOFF:
        return VmState.SHUTOFF, _SHUTOFF_REASONS.get(reason, "")
    if state == libvirt.VIR_DOMAIN_PAUSED:
        return VmState.PAUSED, _PAUSED_REASONS.get(reason, "")
    if state == libvirt.VIR_DOMAIN_PMSUSPENDED:
        return VmState.PAUSED, "asleep"
    if state == libvirt.VIR_DOMAIN_CRASHED:
        return (VmState.PAUSED if domain.isActive() else VmState.SHUTOFF), "crashed"
    if state == libvirt.VIR_DOMAIN_SHUTDOWN:
        return VmState.RUNNING, "shutting down"
    return VmState.RUNNING, _RUNNING_REASONS.get(reason, "")


def observe_disks(
    connection: libvirt.virConnect, described: Domain, shared: SharedStorage, pools: list[Pool]
) -> tuple[DiskObservation, ...]:
    """The writable disks, as their storage pool has them. Sizes are 0 where no pool can tell: `with_sizes`."""
    observed: list[DiskObservation] = []
    for disk in described.writable_disks:
        path = _volume_path(connection, disk)
        volume = None if disk.over_network else _volume(connection, path)
        backing = disk.backing or (volume.backing if volume is not None else "")
        observed.append(
            DiskObservation(
                device=disk.device,
                path=path,
                format=disk.format,
                virtual_bytes=volume.virtual_bytes if volume is not None else 0,
                allocated_bytes=volume.allocated_bytes if volume is not None else 0,
                shared=shares(shared, disk, path, pools),
                image_bytes=volume.image_bytes if volume is not None else 0,
                backing=backing,
                chain=_chain(connection, backing, shared, pools) if backing else (),
                pooled=volume is not None or disk.over_network,
            )
        )
    return tuple(observed)


def without_sizes(disks: Iterable[DiskObservation]) -> list[str]:
    """Devices of which only the running QEMU can tell how large they are."""
    return [disk.device for disk in disks if not disk.virtual_bytes]


def sizes_from_qemu(connection: libvirt.virConnect, uuid: str, devices: Iterable[str]) -> dict[str, Sizes]:
    """By device: capacity, allocation and length in bytes, as the running QEMU says. Raises libvirtError."""
    domain = connection.lookupByUUIDString(uuid)
    told: dict[str, Sizes] = {}
    for device in devices:
        virtual, allocated, image = (int(figure) for figure in domain.blockInfo(device, 0))
        told[device] = virtual, allocated, image
    return told


def with_sizes(
    disks: Iterable[DiskObservation], described: Domain, sizes: Mapping[str, Sizes]
) -> tuple[DiskObservation, ...]:
    """With what QEMU said. Who said nothing keeps its zeros: a network disk of a vm that is shut off, or whose QEMU is too
    busy. A network disk counts as fully allocated: how much of it holds data only its server knows."""
    remote = {disk.device for disk in described.disks if disk.over_network}

    def measured(disk: DiskObservation) -> DiskObservation:
        if disk.device not in sizes:
            return disk
        virtual, allocated, image = sizes[disk.device]
        allocated = virtual if disk.device in remote else allocated
        return replace(disk, virtual_bytes=virtual, allocated_bytes=allocated, image_bytes=image)

    return tuple(map(measured, disks))


def observe_only_read(
    connection: libvirt.virConnect, described: Domain, shared: SharedStorage, pools: list[Pool]
) -> tuple[OnlyReadFile, ...]:
    """Media and boot files, as their storage pool has them."""
    named = [
        (ImageRole.MEDIUM, disk.device, _volume_path(connection, disk), shares(shared, disk, disk.path, pools))
        for disk in described.media
    ]
    named += [(ImageRole.BOOT, what, path, shares_file(shared, path, pools)) for what, path in described.boot_files]
    found: dict[str, OnlyReadFile] = {}
    for role, device, path, is_shared in named:
        volume = _volume(connection, path)
        found[path] = OnlyReadFile(
            role=role,
            device=device,
            path=path,
            format=volume.format if volume is not None and volume.format in _PLAIN_FORMATS else "raw",
            virtual_bytes=volume.virtual_bytes if volume is not None else 0,
            allocated_bytes=volume.allocated_bytes if volume is not None else 0,
            image_bytes=volume.image_bytes if volume is not None else 0,
            shared=is_shared,
        )
    return tuple(found.values())


def _chain(
    connection: libvirt.virConnect, backing: str, shared: SharedStorage, pools: list[Pool]
) -> tuple[BackingImage, ...]:
    """The images below a disk, nearest first. It ends early at one that no pool holds."""
    images: list[BackingImage] = []
    while backing and len(images) < _MAX_CHAIN:
        volume = _volume(connection, backing)
        if volume is None:
            break
        images.append(
            BackingImage(
                path=backing,
                format=volume.format,
                virtual_bytes=volume.virtual_bytes,
                allocated_bytes=volume.allocated_bytes,
                image_bytes=volume.image_bytes,
                backing=volume.backing,
                shared=shares_file(shared, backing, pools),
            )
        )
        backing = volume.backing
    return tuple(images)


def _volume_path(connection: libvirt.virConnect, disk: DomainDisk) -> str:
    if disk.type != "volume":
        return disk.path
    with suppress(libvirt.libvirtError):
        return connection.storagePoolLookupByName(disk.pool).storageVolLookupByName(disk.volume).path()
    return disk.path


def _volume(connection: libvirt.virConnect, path: str) -> Volume | None:
    # A running QEMU's own figures won't do for a file: it counts as allocated only what it wrote itself.
    with suppress(libvirt.libvirtError, ET.ParseError):
        volume = find_volume(connection, path)
        if volume is not None:
            return describe_volume(volume)
    return None
