"""Disk images in chunks: compressed, sealed and hashed on the way in, checked chunk by chunk on the way out.

Memory stays bounded by a few chunks, whatever the size of the disk. Chunks are worked on in parallel (zstd, AES and
SHA-256 let go of Python's lock) and written in order. Each is a zstd frame of its own, so a stored file without
encryption is a valid zstd stream.
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import IO, TypeVar

import zstandard

from models.errors import ArchiveFailed
from tools.archive_signing import Cipher

CHUNK_BYTES = 4 << 20
_MAX_STORED = CHUNK_BYTES + (1 << 20)
_RECORD = struct.Struct(">II32s32s")
_LEVEL = 3
_WORKERS = max(1, min(4, os.cpu_count() or 1))
_AHEAD = 2 * _WORKERS

Result = TypeVar("Result")
_mine = threading.local()


@dataclass(frozen=True)
class Stored:
    """What was written, or read back."""

    image_bytes: int
    image_sha256: str
    stored_bytes: int
    stored_sha256: str
    index_sha256: str
    chunks: int


@dataclass(frozen=True)
class _Chunk:
    original: bytes
    stored: bytes
    original_sha256: bytes
    stored_sha256: bytes


def store_image(
    image: Iterable[bytes],
    into: IO[bytes],
    index: IO[bytes],
    *,
    context: str,
    cipher: Cipher | None,
    on_bytes: Callable[[int], None],
) -> Stored:
    """Write an image's chunks and their index.

    `context` names the archive and disk, `on_bytes` hears of original bytes. The chunks of `image` may have any size
    up to CHUNK_BYTES.
    """

    def encode(number: int, original: bytes) -> _Chunk:
        stored = _compressor().compress(original)
        if cipher is not None:
            stored = cipher.seal(stored, f"{context} chunk {number}")
        return _Chunk(original, stored, hashlib.sha256(original).digest(), hashlib.sha256(stored).digest())

    whole, whole_stored, whole_index = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    image_bytes = stored_bytes = chunks = 0
    for chunk in _in_parallel(encode, (data for data in image if data)):
        record = _RECORD.pack(len(chunk.stored), len(chunk.original), chunk.original_sha256, chunk.stored_sha256)
        whole.update(chunk.original)
        whole_stored.update(chunk.stored)
        whole_index.update(record)
        into.write(chunk.stored)
        index.write(record)
        image_bytes += len(chunk.original)
        stored_bytes += len(chunk.stored)
        chunks += 1
        on_bytes(len(chunk.original))
    return Stored(
        image_bytes, whole.hexdigest(), stored_bytes, whole_stored.hexdigest(), whole_index.hexdigest(), chunks
    )


def read_image(
    stored: IO[bytes], index: IO[bytes], expected: Stored, *, context: str, cipher: Cipher | None
) -> Generator[bytes]:
    """The image back, in order; every chunk is checked before it is given, and the whole at the end.

    Raises ArchiveFailed at the first byte that is not as the (signed) figures in `expected` and the index say. Take it
    to its end: only then has the whole been checked.
    """
    _check_index(index, expected, context)
    index.seek(0)

    def records() -> Iterator[tuple[int, int, bytes, bytes, bytes]]:
        for _ in range(expected.chunks):
            stored_length, length, original_sha, stored_sha = _RECORD.unpack(index.read(_RECORD.size))
            if stored_length > _MAX_STORED or length > CHUNK_BYTES:
                raise ArchiveFailed(f"{context}: a chunk of {stored_length} bytes is not one of ours")
            yield length, stored_length, original_sha, stored_sha, stored.read(stored_length)

    def decode(number: int, record: tuple[int, int, bytes, bytes, bytes]) -> _Chunk:
        length, stored_length, original_sha, stored_sha, data = record
        what = f"{context} chunk {number}"
        if len(data) != stored_length:
            raise ArchiveFailed(f"{what}: the stored file ends early", hint="the archive is incomplete")
        if hashlib.sha256(data).digest() != stored_sha:
            raise ArchiveFailed(f"{what}: its SHA-256 differs: the stored bytes changed", hint="the archive is damaged")
        plain = cipher.open(data, what) if cipher is not None else data
        try:
            original = _decompressor().decompress(plain, max_output_size=length)
        except zstandard.ZstdError as error:
            raise ArchiveFailed(f"{what}: can't be decompressed: {error}", hint="the archive is damaged") from error
        if len(original) != length or hashlib.sha256(original).digest() != original_sha:
            raise ArchiveFailed(f"{what}: differs from the disk it was made from", hint="the archive is damaged")
        return _Chunk(original, data, original_sha, stored_sha)

    whole, whole_stored = hashlib.sha256(), hashlib.sha256()
    image_bytes = stored_bytes = 0
    with closing(_in_parallel(decode, records())) as chunks:
        for chunk in chunks:
            whole.update(chunk.original)
            whole_stored.update(chunk.stored)
            image_bytes += len(chunk.original)
            stored_bytes += len(chunk.stored)
            yield chunk.original
    if stored.read(1):
        raise ArchiveFailed(f"{context}: the stored file is longer than it was", hint="the archive is damaged")
    found = (image_bytes, whole.hexdigest(), stored_bytes, whole_stored.hexdigest())
    if found != (expected.image_bytes, expected.image_sha256, expected.stored_bytes, expected.stored_sha256):
        raise ArchiveFailed(f"{context}: the whole differs from its manifest", hint="the archive is damaged")


def _check_index(index: IO[bytes], expected: Stored, context: str) -> None:
    found, size = hashlib.sha256(), 0
    while block := index.read(1 << 20):
        found.update(block)
        size += len(block)
    if size != expected.chunks * _RECORD.size or found.hexdigest() != expected.index_sha256:
        raise ArchiveFailed(f"{context}: its chunk index differs from its manifest", hint="the archive is damaged")


def _in_parallel(work: Callable[..., Result], items: Iterable[object]) -> Generator[Result]:
    """`work(number, item)` for each item, a few ahead, results in order."""
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(max_workers=_WORKERS, thread_name_prefix="archive") as pool:
        try:
            for number, item in enumerate(items):
                pending.append(pool.submit(work, number, item))
                if len(pending) >= _AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _compressor() -> zstandard.ZstdCompressor:
    if not hasattr(_mine, "compressor"):
        _mine.compressor = zstandard.ZstdCompressor(level=_LEVEL)
    return _mine.compressor


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_mine, "decompressor"):
        _mine.decompressor = zstandard.ZstdDecompressor()
    return _mine.decompressor
