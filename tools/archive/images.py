"""One file of a vm in a store: written in segments, each read back as soon as it is on disk; read again, checked.

A segment is complete exactly when its index is there, which is written after it. So what an interrupted copy left can
be gone on from: the image is read and hashed again, and a segment whose every chunk is still the same is kept as it
is. What was kept is read back and compared like all the rest.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from typing import IO

from models.errors import ArchiveFailed
from tools.archive.chunks import RECORD_BYTES, Chunk, ChunkRecord, decode, digest, encode, in_parallel, unpack_index
from tools.archive.files import StoreFiles
from tools.archive.manifest import ArchivedImage, Segment
from tools.archive.signing import Cipher

SEGMENT_CHUNKS = 64
"""256 MiB: what an interrupted copy loses at most, and small enough for any object store's limits"""
_UNVERIFIED_SEGMENTS = 2


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What was written of one image, and read back."""

    image_bytes: int
    image_sha256: str
    index_sha256: str
    chunks: int
    segments: tuple[Segment, ...]

    @property
    def stored_bytes(self) -> int:
        return sum(segment.stored_bytes for segment in self.segments)


def segment_files(name: str, cipher: Cipher | None) -> tuple[str, str]:
    """File and index of a segment."""
    return f"{name}.zst{'.aes' if cipher else ''}", f"{name}.index"


class DiffersAfterReadBack(ArchiveFailed):
    """What the store gave back is not what the disk held: nothing of it is gone on from."""


@dataclass(frozen=True)
class _Kept:
    """A complete segment of an interrupted copy, that may be kept."""

    name: str
    index: bytes

    def record(self, at: int) -> ChunkRecord | None:
        """Of the chunk at this place in the segment."""
        packed = self.index[at * RECORD_BYTES : (at + 1) * RECORD_BYTES]
        return unpack_index(packed, what=self.name)[0] if packed else None

    @property
    def records(self) -> list[ChunkRecord]:
        return unpack_index(self.index, what=self.name)


@dataclass(frozen=True)
class _Read:
    """A chunk as it came from the image."""

    original: bytes
    sha256: bytes
    made: Chunk | None
    """None: the kept segment has the same"""


class _Draft:
    """A segment being written."""

    def __init__(self, files: StoreFiles, path: str, name: str) -> None:
        self.name = name
        self.records: list[ChunkRecord] = []
        self.stored_bytes = 0
        self._creation = files.create(path)
        self._file = self._creation.__enter__()

    def add(self, stored: bytes, record: ChunkRecord) -> None:
        self._file.write(stored)
        self.records.append(record)
        self.stored_bytes += len(stored)

    def finish(self) -> None:
        """It is on disk when this returns."""
        self._creation.__exit__(None, None, None)

    def abandon(self, why: BaseException) -> None:
        with suppress(BaseException):
            self._creation.__exit__(type(why), why, why.__traceback__)


class ImageWriter:
    """Writes one image. `stem` begins the names of its files, `context` is sealed into its chunks; `on_copied` and
    `on_verified` hear of original bytes. `kept` are names of complete segments found, in any order."""

    def __init__(
        self,
        files: StoreFiles,
        directory: str,
        stem: str,
        *,
        context: str,
        cipher: Cipher | None,
        on_copied: Callable[[int], None],
        on_verified: Callable[[int], None],
        kept: Iterable[str] = (),
        segment_chunks: int = SEGMENT_CHUNKS,
    ) -> None:
        self._files, self._directory, self._stem = files, directory, stem
        self._context, self._cipher = context, cipher
        self._on_copied, self._on_verified = on_copied, on_verified
        self._segment_chunks = segment_chunks
        self._kept = {int(name.split(".")[1]): self._load_kept(name) for name in kept}
        self._whole, self._whole_back, self._whole_index = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
        self._image_bytes = self._chunks = 0

    def write(self, image: Iterable[bytes]) -> Stored:
        """Every byte is on disk, was read back and matched when this returns.

        Chunks of up to CHUNK_BYTES, all but the last of one size. Raises ArchiveFailed, and what `image` and the store
        raise.
        """
        verifying: list[Future[Segment]] = []
        with (
            ThreadPoolExecutor(1, "archive-verify") as verifier,  # when the image fails, what is complete is finished
            closing(in_parallel(self._look_at, enumerate(data for data in image if data))) as chunks,
        ):
            while (written := self._write_segment(self._chunks, chunks)) is not None:
                first = self._segment_chunks * len(verifying)
                verifying.append(verifier.submit(self._read_back, written, first))
                _keep_up(verifying)
            segments = tuple(future.result() for future in verifying)
        if self._whole_back.digest() != self._whole.digest():
            raise DiffersAfterReadBack(
                f"{self._context}: what was read back differs from the disk", hint="check the store; try again"
            )
        return Stored(
            image_bytes=self._image_bytes,
            image_sha256=self._whole.hexdigest(),
            index_sha256=self._whole_index.hexdigest(),
            chunks=self._chunks,
            segments=segments,
        )

    def _look_at(self, numbered: tuple[int, bytes]) -> _Read:
        number, original = numbered
        sha256 = digest(original)
        kept = self._kept.get(number // self._segment_chunks)
        record = kept.record(number % self._segment_chunks) if kept is not None else None
        if record is not None and record.original_sha256 == sha256:
            return _Read(original, sha256, None)
        made = encode(original, number, context=self._context, cipher=self._cipher, sha256=sha256)
        return _Read(original, sha256, made)

    def _write_segment(self, first: int, chunks: Iterator[_Read]) -> _Draft | _Kept | None:
        """The next segment: the kept one when every chunk is the same, else a new one. None at the image's end."""
        kept = self._kept.get(first // self._segment_chunks)
        draft: _Draft | None = None
        try:
            for at, chunk in enumerate(islice(chunks, self._segment_chunks)):
                if draft is None and chunk.made is not None:
                    draft = self._begin(first, kept, at)
                if draft is not None:
                    stored, record = (chunk.made.stored, chunk.made.record) if chunk.made else self._again(kept, at)
                    draft.add(stored, record)
                self._whole.update(chunk.original)
                self._image_bytes += len(chunk.original)
                self._chunks += 1
                self._on_copied(len(chunk.original))
            count = self._chunks - first
            if draft is None and kept is not None and 0 < count < len(kept.records):
                draft = self._begin(first, kept, count)  # the image has become shorter
        except BaseException as error:
            if draft is not None:
                draft.abandon(error)
            raise
        return draft or (kept if self._chunks > first else None)

    def _begin(self, first: int, kept: _Kept | None, same: int) -> _Draft:
        """A new segment, with as many chunks of the kept one as are the same."""
        name = f"{self._stem}.{first // self._segment_chunks:06d}.{secrets.token_hex(4)}"
        draft = _Draft(self._files, f"{self._directory}/{segment_files(name, self._cipher)[0]}", name)
        try:
            for at in range(same):
                draft.add(*self._again(kept, at))
        except BaseException as error:
            draft.abandon(error)
            raise
        return draft

    def _again(self, kept: _Kept | None, at: int) -> tuple[bytes, ChunkRecord]:
        """A chunk out of the kept segment."""
        assert kept is not None
        records = kept.records
        with self._files.open(f"{self._directory}/{segment_files(kept.name, self._cipher)[0]}") as file:
            file.seek(sum(record.stored_bytes for record in records[:at]))
            return file.read(records[at].stored_bytes), records[at]

    def _read_back(self, written: _Draft | _Kept, first: int) -> Segment:
        """In the verifying thread: have it on disk, read every byte again, then write its index."""
        records = written.records
        file, index = segment_files(written.name, self._cipher)
        if isinstance(written, _Draft):
            written.finish()
            self._files.sync(self._directory)
        try:
            with self._files.open(f"{self._directory}/{file}") as stored:
                for original in _originals(stored, records, first, self._context, self._cipher):
                    self._whole_back.update(original)
                    self._on_verified(len(original))
        except ArchiveFailed as error:
            raise DiffersAfterReadBack(error.message, hint=error.hint) from error
        packed = b"".join(record.packed() for record in records)
        self._whole_index.update(packed)
        if isinstance(written, _Draft):
            with self._files.create(f"{self._directory}/{index}") as into:
                into.write(packed)
            self._files.sync(self._directory)
        if self._files.read(f"{self._directory}/{index}") != packed:
            raise DiffersAfterReadBack(f"{self._context}: its index was not stored as it was written")
        return Segment(file=file, index=index, stored_bytes=sum(record.stored_bytes for record in records))

    def _load_kept(self, name: str) -> _Kept:
        return _Kept(name, self._files.read(f"{self._directory}/{segment_files(name, self._cipher)[1]}"))


def read_image(
    files: StoreFiles, directory: str, image: ArchivedImage, *, context: str, cipher: Cipher | None
) -> Generator[bytes]:
    """The image back, in order; every chunk is checked before it is given, and the whole at the end.

    Raises ArchiveFailed at the first byte that is not as the (signed) figures of `image` and the indexes say. Take it
    to its end: only then has the whole been checked.
    """
    _check_indexes(files, directory, image, context)

    def stored_chunks() -> Iterator[tuple[int, ChunkRecord, bytes]]:
        number = 0
        for segment in image.segments:
            records = unpack_index(files.read(f"{directory}/{segment.index}"), what=context)
            with files.open(f"{directory}/{segment.file}") as stored:
                for record in records:
                    yield number, record, stored.read(record.stored_bytes)
                    number += 1
                _require_end(stored, context)

    def original(item: tuple[int, ChunkRecord, bytes]) -> bytes:
        number, record, data = item
        return decode(data, number, record, context=context, cipher=cipher)

    whole, image_bytes = hashlib.sha256(), 0
    with closing(in_parallel(original, stored_chunks())) as chunks:
        for chunk in chunks:
            whole.update(chunk)
            image_bytes += len(chunk)
            yield chunk
    if (image_bytes, whole.hexdigest()) != (image.image_bytes, image.image_sha256):
        raise ArchiveFailed(f"{context}: the whole differs from its manifest", hint="the archive is damaged")


def _originals(
    stored: IO[bytes], records: list[ChunkRecord], first: int, context: str, cipher: Cipher | None
) -> Iterator[bytes]:
    for number, record in enumerate(records, first):
        yield decode(stored.read(record.stored_bytes), number, record, context=context, cipher=cipher)
    _require_end(stored, context)


def _require_end(stored: IO[bytes], context: str) -> None:
    if stored.read(1):
        raise ArchiveFailed(f"{context}: a stored file is longer than it was", hint="the archive is damaged")


def _check_indexes(files: StoreFiles, directory: str, image: ArchivedImage, context: str) -> None:
    found, size = hashlib.sha256(), 0
    for segment in image.segments:
        content = files.read(f"{directory}/{segment.index}")
        found.update(content)
        size += len(content)
    if size != image.chunks * RECORD_BYTES or found.hexdigest() != image.index_sha256:
        raise ArchiveFailed(f"{context}: its chunk index differs from its manifest", hint="the archive is damaged")


def _keep_up(verifying: list[Future[Segment]]) -> None:
    """Not too far ahead of what was read back, and no further once that failed."""
    waiting: list[Future[Segment]] = []
    for future in verifying[-_UNVERIFIED_SEGMENTS - 2 :]:
        if future.done():
            future.result()
        else:
            waiting.append(future)
    if len(waiting) > _UNVERIFIED_SEGMENTS:
        waiting[0].result()
