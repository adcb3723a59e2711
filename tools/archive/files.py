"""The files of an archive store, in whatever fsspec opens: written to last, read, moved, and every error in one line."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from models.errors import ArchiveFailed, BadInput, LifeboatError
from models.extras import missing
from models.text import without_credentials

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_S3 = ("s3:", "s3a:")
_BLOCK_BYTES = 8 << 20
"""what is held before it is sent, and one part of a multipart upload"""


class StoreFiles:
    """Paths are relative to the store's root. Raises BadInput for a URL that can't be used."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        try:
            fs, root = fsspec.core.url_to_fs(url, **options)
        except (ValueError, ImportError, TypeError, OSError) as error:
            if isinstance(error, ImportError) and url.startswith(_S3):
                raise missing("s3") from error
            raise BadInput(
                without_credentials(f"archive_url {url!r} can't be used: {' '.join(str(error).split())}"),
                hint="write it like file:///srv/archives, or install the fsspec driver it needs",
            ) from error
        self.url = without_credentials(url)
        self._fs: Any = fs
        self._root = str(root).rstrip("/")
        self._local = isinstance(fs, LocalFileSystem)

    @contextmanager
    def create(self, path: str) -> Generator[IO[bytes]]:
        """A new file, on disk when the block is left; an object store shows it only then, and whole.

        When the block raises, what was written may be there or not: nothing refers to it.
        """
        file = self._fs.open(self._at(path), "wb", block_size=_BLOCK_BYTES)
        try:
            if self._local:
                os.fchmod(file.fileno(), 0o600)  # a disk image is as private as the vm
            yield file
            if self._local:
                file.flush()
                os.fsync(file.fileno())
                # what is read back shall come from the disk, not from the page cache
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        except BaseException:
            with suppress(Exception):
                if self._local:
                    file.close()
                else:  # closing would publish half an object: the upload is called off instead
                    file.discard()
                    file.closed = True
            raise
        file.close()

    def publish(self, path: str, content: bytes) -> None:
        """A small file that appears whole or not at all. Raises ArchiveFailed when it reads back otherwise."""
        draft = f"{path}.draft" if self._local else path  # an object appears whole anyway
        with self.create(draft) as file:
            file.write(content)
        if self._local:
            os.rename(self._at(draft), self._at(path))
            self.sync(path.rpartition("/")[0])
        if self.read(path) != content:
            raise ArchiveFailed(f"{path} in {self.url} was not stored as it was written", hint="try again")

    @contextmanager
    def open(self, path: str) -> Generator[IO[bytes]]:
        with self._fs.open(self._at(path), "rb", block_size=_BLOCK_BYTES) as file:
            yield file

    def read(self, path: str) -> bytes:
        """Raises FileNotFoundError."""
        return self._fs.cat_file(self._at(path))

    def exists(self, path: str) -> bool:
        return self._fs.exists(self._at(path))

    def names(self, directory: str = "") -> list[str]:
        """Names in a directory, sorted; none when there is no such directory."""
        try:
            found = self._fs.ls(self._at(directory), detail=False, refresh=True)
        except FileNotFoundError:
            return []
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)

    def size(self, directory: str) -> int:
        """Bytes of all files in a directory."""
        return int(self._fs.du(self._at(directory)))

    def make_directory(self, directory: str) -> None:
        self._fs.makedirs(self._at(directory), exist_ok=True)
        if self._local:
            os.chmod(self._at(directory), 0o700)
            self.sync("")

    def move_directory(self, source: str, target: str) -> None:
        """In an object store: object by object, copied there, then removed here."""
        if self._local:
            os.rename(self._at(source), self._at(target))
            self.sync("")
            return
        for name in self.names(source):
            self._fs.copy(self._at(f"{source}/{name}"), self._at(f"{target}/{name}"))
        self.remove(source)

    def remove(self, path: str) -> None:
        """A file, or a directory and all in it. Nothing happens when it is not there."""
        if self._fs.exists(self._at(path)):
            with suppress(FileNotFoundError):
                self._fs.rm(self._at(path), recursive=True)

    def sync(self, directory: str) -> None:
        """Directory entries on disk, where the store has such."""
        if not self._local:
            return
        descriptor = os.open(self._at(directory), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def free_bytes(self) -> int | None:
        """None where the store can't tell."""
        if not self._local:
            return None
        directory = Path(self._root)
        while not directory.exists():
            directory = directory.parent
        figures = os.statvfs(directory)
        return figures.f_bavail * figures.f_frsize

    @contextmanager
    def explained(self, what: str, *, needed: int | None = None) -> Generator[None]:
        """Turn whatever a store raises into one line. fsspec's drivers each bring exceptions of their own."""
        try:
            yield
        except LifeboatError:
            raise
        except OSError as error:
            if error.errno in _FULL:
                free = self.free_bytes()
                raise StoreFull(
                    f"{what}: the store {self.url} is full: up to {needed or 0} bytes are needed"
                    f"{f', {free} are free' if free is not None else ''}; nothing was left there",
                    hint="make room in the store",
                ) from error
            missing = isinstance(error, FileNotFoundError)
            raise (ArchiveFailed if missing else StoreSilent)(
                f"{what}: the store {self.url} says: {error.strerror or ' '.join(str(error).split())[:300]}",
                hint="check the store and its rights",
            ) from error
        except Exception as error:
            raise StoreSilent(
                f"{what}: the store {self.url} says: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
                hint="check the store, its address and credentials",
            ) from error

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root


class StoreFull(ArchiveFailed):
    """What was half-written is removed then: it would only take the room that is missing."""


class StoreSilent(ArchiveFailed):
    """The store did not give what was asked for: nothing is known of the archive."""
