"""What lies in an image of one node, through libvirt's streams, never through a shell on the node: read, written, wiped."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import PurePosixPath
from typing import cast

import libvirt

from models.errors import ActionFailed, ArchiveFailed, LifeboatError, PrecheckFailed
from tools.libvirt.connection import LibvirtConnection, alive, one_line
from tools.libvirt.on_disk.reads import Reads
from tools.libvirt.on_disk.volumes import describe_volume, find_volume

_PACKET_BYTES = 262_120  # the most one stream message carries to any libvirt server
_QUEUED_CHUNKS = 3
_RECV_HOLE = -3


def read_volume(node: LibvirtConnection, reads: Reads, path: str, *, chunk_bytes: int) -> Generator[bytes]:
    """The image's bytes in order, holes as zeros. A thread reads ahead by a few chunks.

    Raises ArchiveFailed when the image can't be found or read, ends early or changed while it was read, and
    NodeUnreachable when the node stops answering, or an earlier read there still hangs.
    """
    chunks: queue.Queue[bytes | LifeboatError | None] = queue.Queue(maxsize=_QUEUED_CHUNKS)
    given_up = threading.Event()

    def put(item: bytes | LifeboatError | None) -> bool:
        while not given_up.is_set():
            with suppress(queue.Full):
                chunks.put(item, timeout=0.2)
                return True
        return False

    def receive(connection: libvirt.virConnect) -> None:
        for chunk in _receive(node, connection, path, chunk_bytes):
            if not put(chunk):
                return
        put(None)

    read = reads.begin(receive, name=f"read-{node.node}-{PurePosixPath(path).name}")
    read.call.future.add_done_callback(lambda _: (error := read.call.error) is None or put(_as_told(error, node, path)))
    patience = node.connect_seconds + 2 * node.answer_seconds
    try:
        while True:
            try:
                item = chunks.get(timeout=patience)
            except queue.Empty:
                node.given_up()
                read.give_up()
                raise node.unreachable(f"no byte of disk {path} within {patience:g} s") from None
            if item is None:
                return
            if isinstance(item, LifeboatError):
                raise item
            yield item
    finally:
        given_up.set()
        reads.leave(read)


def _as_told(error: BaseException, node: LibvirtConnection, path: str) -> LifeboatError:
    if isinstance(error, LifeboatError):
        return error
    return ArchiveFailed(f"disk {path} on node {node.node}: unexpected {type(error).__name__}: {error}")


def read_header(connection: libvirt.virConnect, node: str, path: str, length: int) -> bytes:
    """The first bytes of an image. Raises PrecheckFailed."""
    content = bytearray()
    try:
        volume = find_volume(connection, path)
        if volume is None:
            raise PrecheckFailed(
                f"disk {path} on node {node}: no running storage pool holds it",
                hint="define a pool over its directory, and start it",
            )
        stream = connection.newStream(0)
        volume.download(stream, 0, min(length, describe_volume(volume).image_bytes), 0)
        while data := stream.recv(_PACKET_BYTES):
            assert isinstance(data, bytes)
            content += data
        stream.finish()
    except libvirt.libvirtError as error:
        if not alive(connection):
            raise
        raise PrecheckFailed(
            f"disk {path} on node {node}: {one_line(error)}", hint="look why it can't be read"
        ) from error
    return bytes(content)


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
        received = stream.recvFlags(_PACKET_BYTES, libvirt.VIR_STREAM_RECV_STOP_AT_HOLE)
        if received == _RECV_HOLE:
            yield stream.recvHole()
            continue
        data = cast("bytes", received)  # the other number, "would block", is for streams that don't block
        if not data:
            return
        yield data


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
