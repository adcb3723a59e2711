"""Disk images in chunks: compressed, sealed and hashed on the way in, checked chunk by chunk on the way out.

Memory stays bounded by a few chunks, whatever the size of the disk. Chunks are worked on in parallel (zstd, AES and
SHA-256 let go of Python's lock) and come out in order. Each is a zstd frame of its own, so chunks without encryption,
one after the other, are a valid zstd stream.
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeVar

import zstandard

from models.errors import ArchiveFailed
from tools.archive.signing import Cipher

CHUNK_BYTES = 4 << 20
MAX_STORED = CHUNK_BYTES + (1 << 20)
_RECORD = struct.Struct(">II32s32s")
RECORD_BYTES = _RECORD.size
_LEVEL = 3
_WORKERS = max(1, min(4, os.cpu_count() or 1))
_AHEAD = 2 * _WORKERS

Item = TypeVar("Item")
Result = TypeVar("Result")
_mine = threading.local()


class ChunkRecord(NamedTuple):
    """What the index says of one chunk."""

    stored_bytes: int
    original_bytes: int
    original_sha256: bytes
    stored_sha256: bytes

    def packed(self) -> bytes:
        return _RECORD.pack(*self)


@dataclass(frozen=True)
class Chunk:
    """One chunk of an image, and what is stored of it."""

    original: bytes
    stored: bytes
    record: ChunkRecord


def unpack_index(content: bytes, *, what: str) -> list[ChunkRecord]:
    """Raises ArchiveFailed when it is no index of ours."""
    if len(content) % RECORD_BYTES:
        raise ArchiveFailed(f"{what}: its chunk index is cut off", hint="the archive is damaged")
    records = [ChunkRecord(*fields) for fields in _RECORD.iter_unpack(content)]
    for record in records:
        if record.stored_bytes > MAX_STORED or record.original_bytes > CHUNK_BYTES:
            raise ArchiveFailed(f"{what}: a chunk of {record.stored_bytes} bytes is not one of ours")
    return records


def compress(original: bytes) -> bytes:
    """One zstd frame."""
    if not hasattr(_mine, "compressor"):
        _mine.compressor = zstandard.ZstdCompressor(level=_LEVEL)
    return _mine.compressor.compress(original)


def digest(original: bytes) -> bytes:
    """SHA-256 of an original chunk. Most of many disks is zeros: those are hashed once."""
    return _zeros(len(original))[1] if _is_zeros(original) else hashlib.sha256(original).digest()


def encode(original: bytes, number: int, *, context: str, cipher: Cipher | None, sha256: bytes | None = None) -> Chunk:
    """`context` and `number` bind a sealed chunk to its place."""
    plain = _zeros(len(original))[0] if _is_zeros(original) else compress(original)
    stored = cipher.seal(plain, f"{context} chunk {number}") if cipher is not None else plain
    original_sha = sha256 or digest(original)
    return Chunk(
        original,
        stored,
        ChunkRecord(len(stored), len(original), original_sha, hashlib.sha256(stored).digest()),
    )


def decode(stored: bytes, number: int, record: ChunkRecord, *, context: str, cipher: Cipher | None) -> bytes:
    """The original. Stored bytes of the recorded SHA-256 that open and decompress are what was written, so the
    original is not hashed again. Raises ArchiveFailed."""
    what = f"{context} chunk {number}"
    if len(stored) != record.stored_bytes:
        raise ArchiveFailed(f"{what}: the stored file ends early", hint="the archive is incomplete")
    if hashlib.sha256(stored).digest() != record.stored_sha256:
        raise ArchiveFailed(f"{what}: its SHA-256 differs: the stored bytes changed", hint="the archive is damaged")
    plain = cipher.open(stored, what) if cipher is not None else stored
    if not hasattr(_mine, "decompressor"):
        _mine.decompressor = zstandard.ZstdDecompressor()
    try:
        # The library believes the size that the frame itself states and heeds ours only where it states none.
        if zstandard.frame_content_size(plain) > record.original_bytes:
            raise ArchiveFailed(f"{what}: opens to more than its record says", hint="the archive is damaged")
        original: bytes = _mine.decompressor.decompress(plain, max_output_size=record.original_bytes)
    except zstandard.ZstdError as error:
        raise ArchiveFailed(f"{what}: can't be decompressed: {error}", hint="the archive is damaged") from error
    if len(original) != record.original_bytes:
        raise ArchiveFailed(f"{what}: differs from the disk it was made from", hint="the archive is damaged")
    return original


def in_parallel(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int = _WORKERS, ahead: int = _AHEAD
) -> Generator[Result]:
    """`work(item)` for each item, a few ahead, results in order; when `items` raises, after what came before."""
    pending: deque[Future[Result]] = deque()
    source, broken = iter(items), None
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="archive") as pool:
        try:
            while True:
                try:
                    pending.append(pool.submit(work, next(source)))
                except StopIteration:
                    break
                except Exception as error:
                    broken = error
                    break
                if len(pending) >= ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
            if broken is not None:
                raise broken
        finally:
            for future in pending:
                future.cancel()


_NOTHING = bytes(CHUNK_BYTES)


def _is_zeros(original: bytes) -> bool:
    return original is _NOTHING or original == (_NOTHING if len(original) == CHUNK_BYTES else bytes(len(original)))


@lru_cache(maxsize=4)
def _zeros(length: int) -> tuple[bytes, bytes]:
    """Compressed form and SHA-256 of so many zeros."""
    nothing = bytes(length)
    return compress(nothing), hashlib.sha256(nothing).digest()
