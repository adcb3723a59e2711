"""What becomes of an image, by where it lies: a file, a volume, a device, a server, something nobody can read."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from tools.domain.inventory.resource import COPIED, PRESENT, SHARED, Fate, Outcome, refuses
from tools.ports.shared_storage import SharedStorage

_NOT_LIVE = ("qcow", "vdi", "vhdx", "vmdk", "vpc", "parallels")
"""formats with an open image of which QEMU moves no guest live, shared or not: their drivers in its block/ add a migration
blocker (seen in 2.11 to 10)"""
COPYABLE_FORMATS = ("raw", "qcow2")
"""formats that lifeboat makes and fills at a target, and whose other files it finds in the header"""
_LOOPBACK = re.compile(r"localhost(\..*)?|127\.\d+\.\d+\.\d+|::1|\[::1\]|::ffff:127\..*", re.IGNORECASE)
_VOLUME_OF_A_GROUP = re.compile(r"/dev/(?!disk/|mapper/|block/|bus/|cdrom|dri/|input/|shm/|char/)[^/]+/[^/]+")
"""an LVM volume by its usual name, `/dev/GROUP/VOLUME`: what a pool of type `logical` makes and removes"""
_POOL_TELLS = "whether a running storage pool holds {where}, here and at the target, and the room it has there"


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where the bytes of an image lie."""

    type: str
    """libvirt's source type: `file`, `block`, `volume`, `network`, …"""
    where: str
    pool: str = ""
    transport: str = ""
    """of a network disk: how it is reached, `tcp` unless told"""
    host: str = ""

    @property
    def on_this_host(self) -> bool:
        """A server of this host itself: a network disk only by name."""
        return self.type == "network" and (self.transport == "unix" or bool(_LOOPBACK.fullmatch(self.host)))


def location(source: ET.Element | None, source_type: str) -> Location | None:
    """None where there is no image: an empty drive, or a source without a name."""
    if source is None:
        return None
    get = source.get
    if source_type == "volume":
        return Location(type="volume", where=f"{get('pool', '')}/{get('volume', '')}", pool=get("pool", ""))
    if source_type == "network":
        hosts = source.findall("host")
        host = hosts[0] if hosts else None
        address, transport = "", ""
        if host is not None:
            transport = host.get("transport", "tcp")
            name = host.get("name") or host.get("socket") or ""
            address = name + (f":{host.get('port')}" if host.get("port") else "")
        if host is None and get("protocol") in ("nbd", "http", "https", "ftp", "ftps", "ssh", "sheepdog"):
            address, transport = "localhost", "tcp"  # what QEMU takes where none is named
        name = host.get("name", "") if host is not None else address
        where = f"{get('protocol', '')}://{address}/{get('name', '')}"
        return Location(type="network", where=where, transport=transport, host=name)
    if source_type == "nvme":
        address = source.find("address")
        slot = "" if address is None else ":".join(address.get(part, "") for part in ("domain", "bus", "slot"))
        return Location(type="nvme", where=f"NVMe {slot} namespace {get('namespace', '')}")
    where = get("file") or get("dev") or get("dir") or get("path") or get("name") or ""
    return Location(type=source_type, where=where) if where else None


def is_shared(image: Location, storage: SharedStorage) -> bool:
    if image.type == "network":
        return not image.on_this_host
    return image.type in ("file", "block", "volume", "dir") and storage.holds(image.where, pool=image.pool)


def unreadable(image: Location) -> str | None:
    """Why lifeboat can't read the bytes of an image at all; None when it can, through a storage pool."""
    reasons = {
        "nvme": "its data is on an NVMe drive of this host, which only QEMU reaches",
        "vhostuser": "its data is behind a process of this host (vhost-user), which lifeboat can't read",
        "vhostvdpa": "its data is behind a device of this host (vDPA), which lifeboat can't read",
        "dir": "it is a directory of this host, shown as a disk",
    }
    if image.type in reasons:
        return reasons[image.type]
    if image.on_this_host:
        return "its data is behind a server on this host, which the target does not reach"
    if image.type == "network":
        return "its data is on a server, which lifeboat does not read"
    return None if image.type in ("file", "block", "volume") else f"lifeboat does not know disks of type {image.type!r}"


def is_whole_device(image: Location) -> bool:
    """A disk or partition of this host: lifeboat makes and fills volumes, it does not find their like elsewhere."""
    return image.type == "block" and not _VOLUME_OF_A_GROUP.fullmatch(image.where)


def copied_cold(image: Location, storage: SharedStorage, *, format: str) -> tuple[Fate, Fate]:
    """Of an image that goes along while its guest is stopped: cold migration, cold archive."""
    why = unreadable(image)
    if image.type == "network" and not image.on_this_host:
        return SHARED, refuses(f"{why}; it stays there when this host fails")
    if why is not None:
        return refuses(why), refuses(why)
    if format not in COPYABLE_FORMATS:
        why = f"lifeboat does not know which other files an image of format {format!r} needs"
        return (SHARED if is_shared(image, storage) else refuses(why)), refuses(why)
    if is_shared(image, storage):
        return SHARED, COPIED
    if is_whole_device(image):
        return refuses("it is a whole device of this host, and the target has another"), COPIED
    return COPIED, COPIED


def live_with(format: str, fate: Fate) -> Fate:
    """The fate of an image of this format in a live move, where `fate` is what its place says."""
    if format in _NOT_LIVE and fate.outcome is not Outcome.REFUSES:
        return refuses(f"QEMU moves no guest live that has an image of format {format!r}")
    return fate


def read_only_fates(image: Location, storage: SharedStorage, *, format: str) -> tuple[Fate, Fate, Fate]:
    """Of an image that the guest only reads, or can do without. libvirt copies none in a live migration: its QEMU there
    opens its own, at the same path."""
    if is_shared(image, storage):
        return live_with(format, SHARED), SHARED, SHARED
    why = unreadable(image)
    if why is not None:
        return refuses(why), refuses(why), refuses(why)
    if is_whole_device(image):
        why = "it is a drive of this host, with what lies in it now"
        return refuses(why), refuses(why), refuses(why)
    return live_with(format, PRESENT), COPIED, COPIED


def pool_tells(image: Location) -> str:
    return _POOL_TELLS.format(where=image.where) if image.type in ("file", "block", "volume") else ""
