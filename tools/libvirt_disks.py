"""Disk images of one node, reached through libvirt's storage pools and streams, never through a shell on the node."""

from __future__ import annotations

import queue
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath

import libvirt

from models.errors import ActionFailed, ArchiveFailed, LifeboatError, PrecheckFailed
from tools.domain_xml import parse_domain
from tools.libvirt_connection import LibvirtConnection, alive, one_line
from tools.ports import StorageFacts

_PACKET_BYTES = 262_120  # the most one stream message carries to any libvirt server
_QUEUED_CHUNKS = 3
_NETWORK_POOLS = ("netfs", "iscsi", "iscsi-direct", "rbd", "gluster", "vstorage")
_RECV_HOLE = -3


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


def read_volume(node: LibvirtConnection, path: str, *, chunk_bytes: int) -> Generator[bytes]:
    """The image's bytes in order, holes as zeros. A thread reads ahead by a few chunks.

    Raises ArchiveFailed when the image can't be found or read, ends early or changed while it was read, and
    NodeUnreachable when the node stops answering.
    """
    chunks: queue.Queue[bytes | LifeboatError | None] = queue.Queue(maxsize=_QUEUED_CHUNKS)
    given_up = threading.Event()

    def put(item: bytes | LifeboatError | None) -> bool:
        while not given_up.is_set():
            with suppress(queue.Full):
                chunks.put(item, timeout=0.2)
                return True
        return False

    def read() -> None:
        try:
            with node.dedicated() as connection:
                for chunk in _receive(node, connection, path, chunk_bytes):
                    if not put(chunk):
                        return
            put(None)
        except LifeboatError as error:
            put(error)
        except Exception as error:
            put(ArchiveFailed(f"disk {path} on node {node.node}: unexpected {type(error).__name__}: {error}"))

    threading.Thread(target=read, name=f"read-{node.node}-{PurePosixPath(path).name}", daemon=True).start()
    patience = node.connect_seconds + 2 * node.answer_seconds
    try:
        while True:
            try:
                item = chunks.get(timeout=patience)
            except queue.Empty:
                raise node.unreachable(f"no byte of disk {path} within {patience:g} s") from None
            if item is None:
                return
            if isinstance(item, LifeboatError):
                raise item
            yield item
    finally:
        given_up.set()


def _receive(node: LibvirtConnection, connection: libvirt.virConnect, path: str, chunk_bytes: int) -> Iterator[bytes]:
    what = f"disk {path} on node {node.node}"
    zeros = bytes(chunk_bytes)
    try:
        volume = find_volume(connection, path)
        if volume is None:
            raise ArchiveFailed(
                f"{what}: no running storage pool holds it", hint="define a pool over its directory, and start it"
            )
        before = describe_volume(volume)
        stream = connection.newStream(0)
        volume.download(stream, 0, 0, libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM)
        total = 0
        pending: list[bytes] = []  # of one chunk, joined once: each byte is copied once here
        waiting = 0
        try:
            for piece in _pieces(stream):
                if isinstance(piece, int):
                    total += piece
                    while piece > 0:
                        if not waiting and piece >= chunk_bytes:
                            yield zeros
                            piece -= chunk_bytes
                            continue
                        step = min(piece, chunk_bytes - waiting)
                        pending.append(bytes(step))
                        waiting += step
                        piece -= step
                        if waiting == chunk_bytes:
                            yield b"".join(pending)
                            pending, waiting = [], 0
                    continue
                total += len(piece)
                while waiting + len(piece) >= chunk_bytes:
                    room = chunk_bytes - waiting
                    pending.append(piece[:room])
                    yield b"".join(pending)
                    pending, waiting, piece = [], 0, piece[room:]
                if piece:
                    pending.append(piece)
                    waiting += len(piece)
        except GeneratorExit:
            with suppress(libvirt.libvirtError):
                stream.abort()
            raise
        stream.finish()
        after = describe_volume(volume)
        if (before.changed, before.image_bytes) != (after.changed, after.image_bytes):
            raise ArchiveFailed(f"{what} was written to while it was read", hint="make sure that no vm uses it")
        if total != after.image_bytes:
            raise ArchiveFailed(f"{what}: {total} bytes came, {after.image_bytes} were expected", hint="try again")
        if pending:
            yield b"".join(pending)
    except libvirt.libvirtError as error:
        if not alive(connection):
            raise node.unreachable(f"reading {path}: {one_line(error)}") from error
        raise ArchiveFailed(f"{what}: {one_line(error)}", hint="the image was only read; try again") from error


def _pieces(stream: libvirt.virStream) -> Iterator[bytes | int]:
    """Data as it comes, and the lengths of holes."""
    while True:
        data = stream.recvFlags(_PACKET_BYTES, libvirt.VIR_STREAM_RECV_STOP_AT_HOLE)
        if data == _RECV_HOLE:
            yield stream.recvHole()
            continue
        assert isinstance(data, bytes)
        if not data:
            return
        yield data


def create_volume(
    connection: libvirt.virConnect,
    node: str,
    path: str,
    *,
    format: str,
    virtual_bytes: int,
    needed_bytes: int,
) -> None:
    """Raises PrecheckFailed when no pool holds the path, it exists or does not fit."""
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
        pool.createXML(ET.tostring(root, encoding="unicode"), 0)
    except libvirt.libvirtError as error:
        raise PrecheckFailed(
            f"disk {path} could not be made on node {node}: {one_line(error)}",
            hint="check the pool, or choose another node",
        ) from error


def write_volume(
    node: LibvirtConnection,
    connection: libvirt.virConnect,
    path: str,
    chunks: Iterator[bytes],
    *,
    total_bytes: int | None = None,
) -> int:
    """Upload an image; its length. Zero chunks become holes where nothing lies below them. Raises ArchiveFailed."""
    what = f"disk {path} on node {node.node}"
    try:
        volume = find_volume(connection, path)
        if volume is None:
            raise ArchiveFailed(f"{what} is not there to be written", hint="create it first")
        fresh = describe_volume(volume)
        # A hole skips, it does not erase: below this offset what the new image came with would show through.
        holes_from = 0 if fresh.allocated_bytes == 0 else fresh.image_bytes
        stream = connection.newStream(0)
        volume.upload(stream, 0, 0, libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM)
        total = 0
        try:
            for chunk in chunks:
                if total >= holes_from and chunk.count(0) == len(chunk):
                    stream.sendHole(len(chunk))
                else:
                    for start in range(0, len(chunk), _PACKET_BYTES):
                        packet = chunk[start : start + _PACKET_BYTES]
                        while packet:
                            packet = packet[stream.send(packet) :]
                total += len(chunk)
        except BaseException:
            with suppress(libvirt.libvirtError):
                stream.abort()
            raise
        stream.finish()
    except libvirt.libvirtError as error:
        if not alive(connection):
            raise node.unreachable(f"writing {path}: {one_line(error)}") from error
        raise ArchiveFailed(f"{what}: {one_line(error)}", hint="the image there is incomplete; delete it") from error
    written = describe_volume(volume).image_bytes
    if written < total:
        raise ArchiveFailed(
            f"{what}: {total} bytes were sent, {written} are there", hint="the image there is incomplete"
        )
    if total_bytes is not None and total != total_bytes:
        raise ArchiveFailed(
            f"{what}: {total} bytes came, {total_bytes} were announced", hint="the image there is incomplete"
        )
    return total


def free_bytes(connection: libvirt.virConnect, node: str, path: str) -> int:
    pool = _pool_for(connection, node, path)
    return int(pool.info()[3])


def volume_exists(connection: libvirt.virConnect, node: str, path: str) -> bool:
    _pool_for(connection, node, path)
    return find_volume(connection, path) is not None


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
        used_by=_users(connection, path),
    )


def _users(connection: libvirt.virConnect, path: str) -> tuple[str, ...]:
    """Names of the vms that have an image as a disk, or below one."""
    found: list[str] = []
    for domain in connection.listAllDomains(0):
        with suppress(libvirt.libvirtError):  # undefined between the two calls
            texts = [domain.XMLDesc(0)]
            if domain.isPersistent() == 1:
                texts.append(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
            for disk in (disk for text in texts for disk in parse_domain(text).disks):
                below, seen = disk.path, set[str]()
                if disk.pool:
                    with suppress(libvirt.libvirtError):
                        below = connection.storagePoolLookupByName(disk.pool).storageVolLookupByName(disk.volume).path()
                while below and below not in seen and below != path:
                    seen.add(below)
                    volume = find_volume(connection, below)
                    below = describe_volume(volume).backing if volume is not None else ""
                if below == path and domain.name() not in found:
                    found.append(domain.name())
    return tuple(sorted(found))


def wipe_volume(node: LibvirtConnection, connection: libvirt.virConnect, path: str, *, overwrite: bool) -> str:
    """How it was done, in words. libvirt's own wipe of a sparse file only gives its blocks back to the file system, and
    lengthens a dense one to whole blocks (seen with 9.0); here a file's data is overwritten where it lies. Raises
    ActionFailed."""
    what = f"disk {path} on node {node.node}"
    try:
        volume = find_volume(connection, path)
        if volume is None:
            raise ActionFailed(f"{what} is not there", hint="look what became of it")
        if not overwrite:
            volume.wipePattern(libvirt.VIR_STORAGE_VOL_WIPE_ALG_TRIM, 0)
            return "discarded (virStorageVolWipePattern, trim)"
        if int(volume.info()[0]) != libvirt.VIR_STORAGE_VOL_FILE:
            volume.wipe(0)
            return "overwritten with zeros from end to end (virStorageVolWipe)"
        extents = _data_extents(connection, volume)
        for offset, length in extents:
            stream = connection.newStream(0)
            volume.upload(stream, offset, length, 0)
            sent = 0
            while sent < length:
                sent += stream.send(bytes(min(_PACKET_BYTES, length - sent)))
            stream.finish()
        written = sum(length for _, length in extents)
        return (
            f"the {written} bytes that held data ({len(extents)} extents) overwritten with zeros, holes left as holes"
        )
    except libvirt.libvirtError as error:
        if not alive(connection):
            raise node.unreachable(f"wiping {path}: {one_line(error)}") from error
        raise ActionFailed(
            f"{what} could not be wiped: {one_line(error)}",
            hint="overwrite it instead of discarding" if not overwrite else "it may be overwritten in part",
        ) from error


def _data_extents(connection: libvirt.virConnect, volume: libvirt.virStorageVol) -> list[tuple[int, int]]:
    """Offset and length of what is no hole."""
    extents: list[tuple[int, int]] = []
    stream = connection.newStream(0)
    volume.download(stream, 0, 0, libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM)
    at = 0
    for piece in _pieces(stream):
        if isinstance(piece, int):
            at += piece
            continue
        if extents and sum(extents[-1]) == at:
            extents[-1] = (extents[-1][0], extents[-1][1] + len(piece))
        else:
            extents.append((at, len(piece)))
        at += len(piece)
    stream.finish()
    return extents


def _pool_for(connection: libvirt.virConnect, node: str, path: str) -> libvirt.virStoragePool:
    pools = list_pools(connection)
    for pool in pools:
        if pool.holds(path):
            found = connection.storagePoolLookupByName(pool.name)
            with suppress(libvirt.libvirtError):  # another job uses it; its figures are recent enough then
                found.refresh(0)
            return found
    known = ", ".join(f"{pool.name} at {pool.target}" for pool in pools) or "none"
    raise PrecheckFailed(
        f"no running storage pool on node {node} holds {path} (pools: {known})",
        hint="define and start a pool over that directory, as on the other nodes",
    )
