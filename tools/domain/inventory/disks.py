"""Disks: each `<disk>` of any type, what lies below it, its data file, and what it needs to be opened."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from tools.domain.inventory.images import (
    COPYABLE_FORMATS,
    Location,
    copied_cold,
    is_shared,
    is_whole_device,
    live_with,
    location,
    pool_tells,
    read_only_fates,
    unreadable,
)
from tools.domain.inventory.machine import needed
from tools.domain.inventory.registry import accounts_for
from tools.domain.inventory.resource import (
    COPIED,
    PRESENT,
    SHARED,
    Fate,
    Resource,
    ResourceKind,
    refuses,
)
from tools.domain.inventory.walk import Place, unknown
from tools.ports.shared_storage import SharedStorage

_REMOVABLE = ("cdrom", "floppy")
_DEVICES = ("disk", "lun", *_REMOVABLE)
_TYPES = ("file", "block", "dir", "network", "volume", "nvme", "vhostuser", "vhostvdpa")
_DROPPED_IF_MISSING = {"live": ("requisite", "optional"), "cold": ("optional",)}
"""`startupPolicy` under which libvirt lets a medium be missing"""


@accounts_for("devices/disk")
def disk(place: Place) -> Iterator[Resource]:
    element, target = place.element, place.disk_target()
    device, disk_type = element.get("device", "disk"), element.get("type", "file")
    source = element.find("source")
    image = location(source, disk_type)
    if disk_type not in _TYPES or device not in _DEVICES:
        yield unknown(place, f"disks of type {disk_type!r}, device {device!r}")
        return
    if image is None:
        if device not in _REMOVABLE:
            yield unknown(place, "where the data of a disk without a source is")
        return
    if image.pool:
        yield needed(
            ResourceKind.STORAGE_POOL, "storage pool", image.pool, tells=f"whether the target has the pool {image.pool}"
        )
    if device in _REMOVABLE or element.find("readonly") is not None:
        yield _medium(place, image, target, optional=_may_be_missing(source, device))
        return
    driver = element.find("driver")
    format_ = driver.get("type", "raw") if driver is not None else "raw"
    live = live_with(format_, _live(element, image, place.storage, format_))
    cold, archive = copied_cold(image, place.storage, format=format_)
    if element.find("shareable") is not None:
        if not is_shared(image, place.storage):
            live = cold = refuses(
                "it is shareable and not on shared storage: a copy would part it from the other guests"
            )
        archive = refuses("it is shareable: other guests may write to it while it is copied")
    qcow2 = format_ == "qcow2" and element.find("backingStore") is None
    tells = pool_tells(image)
    if qcow2 and unreadable(image) is None:
        tells += f"; what the header of {image.where} names: images below it, a data file"
    yield Resource(
        what=f"disk {target}",
        kind=ResourceKind.DISK,
        where=image.where,
        device=target,
        live_migrate=live,
        cold_migrate=cold,
        cold_archive=archive,
        host_tells=tells,
    )


def _live(element: ET.Element, image: Location, storage: SharedStorage, format_: str) -> Fate:
    """Of a disk that the guest writes to. What is not shared is mirrored over the network into a new image."""
    if element.find("transient") is not None:
        return refuses("it is transient: libvirt moves no such disk live")
    why = unreadable(image)
    if why is not None and not is_shared(image, storage):
        return refuses(why)
    if is_shared(image, storage):
        return SHARED
    if is_whole_device(image):
        return refuses("it is a whole device of this host, and the target has another")
    if format_ not in COPYABLE_FORMATS:
        return refuses(f"lifeboat makes no image of format {format_!r} at a target")
    if element.find("encryption") is not None or element.find("source/encryption") is not None:
        return refuses("it is encrypted and not on shared storage: lifeboat makes no encrypted image at a target")
    if element.find("backingStore/source") is not None:
        return refuses("it is an overlay, and what lies below would be left behind by a live move")
    if element.find("source/slices") is not None:
        return refuses("it is a slice of a larger image, which a live move would not make again")
    return COPIED


def _medium(place: Place, image: Location, target: str, *, optional: dict[str, bool]) -> Resource:
    device = place.element.get("device", "disk")
    driver = place.element.find("driver")
    format_ = driver.get("type", "raw") if driver is not None else "raw"
    live, cold, archive = read_only_fates(image, place.storage, format=format_)
    if optional["live"] and live != SHARED:
        live = Fate(PRESENT.outcome, "left out where it is missing, as its startupPolicy says")
    if optional["cold"] and cold not in (SHARED, COPIED):
        cold = archive = Fate(PRESENT.outcome, "left out where it is missing, as its startupPolicy says")
    if place.element.find("shareable") is not None and device not in _REMOVABLE and cold == COPIED:
        archive = COPIED
    return Resource(
        what=f"{'read-only disk' if device not in _REMOVABLE else device} {target}",
        kind=ResourceKind.MEDIUM,
        where=image.where,
        device=target,
        live_migrate=live,
        cold_migrate=cold,
        cold_archive=archive,
        host_tells=pool_tells(image),
    )


def _may_be_missing(source: ET.Element | None, device: str) -> dict[str, bool]:
    policy = source.get("startupPolicy", "mandatory") if source is not None else "mandatory"
    return {move: device in _REMOVABLE and policy in allowed for move, allowed in _DROPPED_IF_MISSING.items()}


@accounts_for("devices/disk/backingStore")
def backing_image(place: Place) -> Iterator[Resource]:
    """One image below a disk. An empty element says that there is none."""
    element, target = place.element, place.disk_target()
    source = element.find("source")
    if source is None:
        return
    image = location(source, element.get("type", "file"))
    if image is None:
        yield unknown(place, "where the image below a disk is")
        return
    format_element = element.find("format")
    format_ = format_element.get("type", "raw") if format_element is not None else "raw"
    cold, archive = copied_cold(image, place.storage, format=format_)
    shared = is_shared(image, place.storage)
    yield Resource(
        what=f"image below disk {target}",
        kind=ResourceKind.BACKING_IMAGE,
        where=image.where,
        device=target,
        live_migrate=live_with(format_, SHARED) if shared else refuses("it would be left behind by a live move"),
        cold_migrate=cold,
        cold_archive=archive,
        host_tells=pool_tells(image),
    )


@accounts_for("image/source/dataStore")
def data_file(place: Place) -> Iterator[Resource]:
    source = place.element.find("source")
    image = location(source, place.element.get("type", "file"))
    if image is None:
        yield unknown(place, "where the data file of an image is")
        return
    why = "the data of a qcow2 image lies in a file of its own, which lifeboat does not copy yet"
    fate = SHARED if is_shared(image, place.storage) else refuses(why)
    yield Resource(
        what=f"data file of disk {place.disk_target()}",
        kind=ResourceKind.DATA_FILE,
        where=image.where,
        device=place.disk_target(),
        live_migrate=fate,
        cold_migrate=fate,
        cold_archive=refuses(why),
    )


@accounts_for("devices/disk/mirror")
def mirror(place: Place) -> Iterator[Resource]:
    """A block job that copies the disk elsewhere just now. libvirt refuses to migrate, and a stop would end it halfway."""
    image = location(place.element.find("source"), place.element.get("type", "file"))
    fate = refuses("a block job is copying its disk: wait for its end, or end it")
    yield Resource(
        what=f"mirror of disk {place.disk_target()}",
        kind=ResourceKind.DISK,
        where=image.where if image else place.element.get("file", ""),
        device=place.disk_target(),
        live_migrate=fate,
        cold_migrate=fate,
        cold_archive=fate,
    )


@accounts_for(
    "image/source/auth/secret",
    "image/source/encryption/secret",
    "devices/disk/auth/secret",
    "devices/disk/encryption/secret",
    "devices/hostdev/source/auth/secret",
    "devices/tpm/backend/encryption",
)
def secret(place: Place) -> Iterator[Resource]:
    """Known to libvirt by its UUID, or by what it is for; its value is in neither the definition nor an archive."""
    element = place.element
    where = element.get("uuid") or element.get("usage") or element.get("secret") or ""
    if not where:
        yield unknown(place, "which secret is meant")
        return
    target = place.disk_target()
    yield Resource(
        what=f"secret of {f'disk {target}' if target else 'the TPM' if 'tpm' in place.path else 'a device'}",
        kind=ResourceKind.SECRET,
        where=where,
        device=target,
        live_migrate=PRESENT,
        cold_migrate=PRESENT,
        cold_archive=Fate(PRESENT.outcome, "its value is not in the archive"),
        host_tells=f"whether the target has the secret {where}",
    )


@accounts_for("image/source/config", "image/source/identity", "image/source/knownHosts")
def access_file(place: Place) -> Iterator[Resource]:
    """Files of the host with which a network disk is reached: Ceph's configuration, a private key, known hosts."""
    element = place.element
    names = [element.get(name) for name in ("file", "path", "keyfile", "agentsock")]
    for where in filter(None, names):
        yield Resource(
            what=f"access to disk {place.disk_target()}",
            kind=ResourceKind.HOST_FILE,
            where=where,
            device=place.disk_target(),
            live_migrate=PRESENT,
            cold_migrate=PRESENT,
            cold_archive=PRESENT,
            host_tells=f"whether the target has {where}",
        )


@accounts_for("image/source/reservations")
def reservations(place: Place) -> Iterator[Resource]:
    """SCSI persistent reservations. libvirt starts the helper itself (`managed`), or finds its socket."""
    source = place.element.find("source")
    where = source.get("path", "") if source is not None else "libvirt's own helper"
    yield Resource(
        what=f"reservations of disk {place.disk_target()}",
        kind=ResourceKind.SOCKET,
        where=where,
        device=place.disk_target(),
        live_migrate=PRESENT,
        cold_migrate=PRESENT,
        cold_archive=PRESENT,
        host_tells=f"whether the target has {where}",
    )
