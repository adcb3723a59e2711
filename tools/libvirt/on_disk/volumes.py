"""The images of one node as libvirt's storage pools know them: found, described, made and removed."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath

import libvirt

from models.errors import PrecheckFailed
from tools.domain.xml import Domain, DomainDisk, parse_domain
from tools.libvirt.connection import one_line
from tools.ports.vms import StorageFacts

_NETWORK_POOLS = ("netfs", "iscsi", "iscsi-direct", "rbd", "gluster", "vstorage")


@dataclass(frozen=True)
class Pool:
    """A running storage pool."""

    name: str
    type: str
    target: str
    """directory, or what its volumes' paths begin with"""

    @property
    def on_network(self) -> bool:
        """Its storage is reached over the network, so every node that has the pool sees the same volumes."""
        return self.type in _NETWORK_POOLS

    def holds(self, path: str) -> bool:
        return bool(self.target) and str(PurePosixPath(path).parent) == self.target.rstrip("/")


@dataclass(frozen=True)
class Volume:
    """What libvirt knows of one image now."""

    path: str
    format: str
    virtual_bytes: int
    allocated_bytes: int
    image_bytes: int
    backing: str
    changed: str
    """time of the last write, where the storage keeps one"""


def list_pools(connection: libvirt.virConnect) -> list[Pool]:
    pools: list[Pool] = []
    for pool in connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
        with suppress(libvirt.libvirtError):  # stopped between the two calls
            root = ET.fromstring(pool.XMLDesc(0))  # noqa: S314 — libvirt wrote it
            pools.append(Pool(pool.name(), root.get("type", ""), root.findtext("./target/path", "")))
    return pools


def _pool_for(connection: libvirt.virConnect, node: str, path: str) -> libvirt.virStoragePool:
    pools = list_pools(connection)
    for pool in pools:
        if pool.holds(path):
            running = connection.storagePoolLookupByName(pool.name)
            with suppress(libvirt.libvirtError):  # another job uses it; its figures are recent enough then
                running.refresh(0)
            return running
    known = ", ".join(f"{pool.name} at {pool.target}" for pool in pools) or "none"
    raise PrecheckFailed(
        f"no running storage pool on node {node} holds {path} (pools: {known})",
        hint="define and start a pool over that directory, as on the other nodes",
    )


def find_volume(connection: libvirt.virConnect, path: str) -> libvirt.virStorageVol | None:
    """The volume at `path`; its pool is read anew once when libvirt does not know it yet. None when no pool has it."""
    with suppress(libvirt.libvirtError):
        return connection.storageVolLookupByPath(path)
    for pool in list_pools(connection):
        if pool.holds(path):
            with suppress(libvirt.libvirtError):
                connection.storagePoolLookupByName(pool.name).refresh(0)
                return connection.storageVolLookupByPath(path)
    return None


def describe_volume(volume: libvirt.virStorageVol) -> Volume:
    root = ET.fromstring(volume.XMLDesc(0))  # noqa: S314 — libvirt wrote it, and read the image for it
    format_ = root.find("./target/format")
    physical = root.findtext("physical")
    virtual = int(root.findtext("capacity", "0"))
    return Volume(
        path=volume.path(),
        format=format_.get("type", "raw") if format_ is not None else "raw",
        virtual_bytes=virtual,
        allocated_bytes=int(root.findtext("allocation", "0")),
        image_bytes=int(physical) if physical else virtual,
        backing=root.findtext("./backingStore/path", ""),
        changed=root.findtext("./target/timestamps/mtime", ""),
    )


def free_bytes(connection: libvirt.virConnect, node: str, path: str) -> int:
    pool = _pool_for(connection, node, path)
    return int(pool.info()[3])


def volume_exists(connection: libvirt.virConnect, node: str, path: str) -> bool:
    _pool_for(connection, node, path)
    return find_volume(connection, path) is not None


def create_volume(
    connection: libvirt.virConnect,
    node: str,
    path: str,
    *,
    format: str,
    virtual_bytes: int,
    needed_bytes: int,
) -> str:
    """Its identity, empty where it has none besides its path.

    Raises PrecheckFailed when no pool holds the path, it exists or does not fit."""
    pool = _pool_for(connection, node, path)
    if find_volume(connection, path) is not None:
        raise PrecheckFailed(
            f"disk {path} exists on node {node} already", hint="find out whose it is; nothing was overwritten"
        )
    free = int(pool.info()[3])
    if free < needed_bytes:
        raise PrecheckFailed(
            f"pool {pool.name()} on node {node} has {free} bytes free, disk {path} needs {needed_bytes}",
            hint="make room or choose another node",
        )
    root = ET.Element("volume")
    ET.SubElement(root, "name").text = PurePosixPath(path).name
    ET.SubElement(root, "capacity", unit="bytes").text = str(virtual_bytes)
    ET.SubElement(root, "allocation", unit="bytes").text = "0"
    ET.SubElement(ET.SubElement(root, "target"), "format", type=format)
    try:
        return _identity(pool.createXML(ET.tostring(root, encoding="unicode"), 0))
    except libvirt.libvirtError as error:
        raise PrecheckFailed(
            f"disk {path} could not be made on node {node}: {one_line(error)}",
            hint="check the pool, or choose another node",
        ) from error


def delete_volume(connection: libvirt.virConnect, path: str) -> None:
    """Nothing happens when it is gone already."""
    volume = find_volume(connection, path)
    if volume is not None:
        volume.delete(0)


def storage_facts(
    connection: libvirt.virConnect, node: str, path: str, shared: Callable[[str, list[Pool]], bool]
) -> StorageFacts:
    """`shared` says whether other nodes reach it too. Raises PrecheckFailed when no pool holds it."""
    _pool_for(connection, node, path)
    volume = find_volume(connection, path)
    if volume is None:
        raise PrecheckFailed(f"disk {path} is not there on node {node}", hint="look what became of it")
    described = describe_volume(volume)
    pool = volume.storagePoolLookupByVolume()
    return StorageFacts(
        format=described.format,
        image_bytes=described.image_bytes,
        pool_type=ET.fromstring(pool.XMLDesc(0)).get("type", ""),  # noqa: S314 — libvirt wrote it
        shared=shared(path, list_pools(connection)),
        users=users_of(connection, path),
        virtual_bytes=described.virtual_bytes,
        allocated_bytes=described.allocated_bytes,
        identity=_identity(volume),
        changed=_changed(volume),
    )


def users_of(connection: libvirt.virConnect, path: str) -> dict[str, str]:
    """uuid → name of the vms that have a file as a disk, below one, or beside their disks, as they run or are defined."""
    users: dict[str, str] = {}
    for domain in connection.listAllDomains(0):
        try:
            texts = [domain.XMLDesc(0)]
            if domain.isPersistent() == 1:
                texts.append(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:  # undefined between the two calls
                continue
            raise
        if any(_names(connection, parse_domain(text), path) for text in texts):
            users[domain.UUIDString()] = domain.name()
    return users


def _names(connection: libvirt.virConnect, domain: Domain, path: str) -> bool:
    beside = {domain.nvram, domain.tpm_file, *(file for _, file in domain.boot_files)}
    plain = PurePosixPath(path)
    in_tpm = domain.tpm and domain.uuid in plain.parts  # where libvirt keeps it, the vm's uuid is a directory
    in_tpm = in_tpm or (domain.tpm_directory is not None and plain.is_relative_to(domain.tpm_directory))
    return path in beside or in_tpm or any(_lies_on(connection, disk, path) for disk in domain.disks)


def _lies_on(connection: libvirt.virConnect, disk: DomainDisk, path: str) -> bool:
    """Whether an image is this disk or below it."""
    below, seen, stated = disk.path, set[str](), disk.backing
    if disk.pool:
        with suppress(libvirt.libvirtError):
            below = connection.storagePoolLookupByName(disk.pool).storageVolLookupByName(disk.volume).path()
    while below and below not in seen and below != path:
        seen.add(below)
        volume = find_volume(connection, below)
        below, stated = (describe_volume(volume).backing if volume is not None else stated), ""
    return below == path


def _identity(volume: libvirt.virStorageVol) -> str:
    """libvirt's key, where it is more than the path: of LVM, a volume's own UUID."""
    key = volume.key()
    return key if key != volume.path() else ""


def _changed(volume: libvirt.virStorageVol) -> datetime | None:
    """The newer of the file's two times: a copy may keep that of its last write, none keeps that of its last change."""
    root = ET.fromstring(volume.XMLDesc(0))  # noqa: S314 — libvirt wrote it
    times = [root.findtext(f"./target/timestamps/{tag}", "") for tag in ("mtime", "ctime")]
    seconds = [float(time) for time in times if time]
    return datetime.fromtimestamp(max(seconds), UTC) if seconds else None
