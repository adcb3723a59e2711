"""Cold archives in any store that fsspec opens: a directory, S3-compatible object storage and what else it knows.

    STORE/ID/disk-vda.zst        the image, chunk by chunk
    STORE/ID/disk-vda.index      lengths and SHA-256 of the chunks
    STORE/ID/manifest.sig        Ed25519 signature of the manifest
    STORE/ID/manifest.json       written last, after every stored byte was read back and matched

An archive without a manifest is not an archive: it is what an interrupted copy left.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from models.errors import ArchiveFailed, BadInput, LifeboatError
from tools.archive_chunks import CHUNK_BYTES, Stored, read_image, store_image
from tools.archive_manifest import MANIFEST, SIGNATURE, ArchivedDisk, Encryption, Manifest, parse_manifest
from tools.archive_signing import Cipher, Signer
from tools.clock import SystemClock
from tools.ports import ArchiveEntry, Clock, DiskObservation, VmObservation

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FsspecArchiveStore:
    """The store at `url`, such as `file:///srv/archives` or `s3://bucket/path`; `options` go to fsspec as they are.

    `key_file` holds the signing key, made on first use (see Signer). With `encryption_key_file`, chunks and definitions
    are sealed with AES-256-GCM; whoever loses that file loses the archives. Raises BadInput for a URL or key file that
    can't be used.
    """

    def __init__(
        self,
        url: str,
        *,
        key_file: Path,
        clock: Clock | None = None,
        encryption_key_file: Path | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            fs, root = fsspec.core.url_to_fs(url, **(options or {}))
        except (ValueError, ImportError, TypeError, OSError) as error:
            raise BadInput(
                f"archive_url {url!r} can't be used: {' '.join(str(error).split())}",
                hint="write it like file:///srv/archives, or install the fsspec driver it needs",
            ) from error
        self.url = url
        self._fs: Any = fs
        self._root = str(root).rstrip("/")
        self._local = isinstance(fs, LocalFileSystem)
        self._signer = Signer(key_file)
        self._cipher = Cipher.load(encryption_key_file) if encryption_key_file else None
        self._clock = clock or SystemClock()

    def write(
        self,
        *,
        archive_id: str,
        vm: VmObservation,
        domain_xml: str,
        disks: Sequence[tuple[DiskObservation, Callable[[], Iterator[bytes]]]],
        on_progress: Callable[[int, int], None],
    ) -> ArchiveEntry:
        """As the port says. What an interrupted write of the same id left is removed first. `on_progress` counts every
        byte twice: once copied, once read back."""
        directory = self._directory(archive_id)
        needed = sum(disk.allocated_bytes or disk.virtual_bytes for disk, _ in disks)
        with self._explained(f"archive {archive_id}", needed=needed):
            if self._fs.exists(f"{directory}/{MANIFEST}"):
                raise ArchiveFailed(
                    f"archive {archive_id} exists already in {self.url}", hint="each attempt has its own id"
                )
            self._remove(directory)
            self._make_directory(directory)
        try:
            with self._explained(f"archive {archive_id}", needed=needed):
                return self._write(directory, archive_id, vm, domain_xml, disks, on_progress)
        except BaseException:
            with suppress(Exception):  # the first error is the one to tell
                self._remove(directory)
            raise

    def _write(
        self,
        directory: str,
        archive_id: str,
        vm: VmObservation,
        domain_xml: str,
        disks: Sequence[tuple[DiskObservation, Callable[[], Iterator[bytes]]]],
        on_progress: Callable[[int, int], None],
    ) -> ArchiveEntry:
        progress = _Progress(on_progress, 2 * sum(disk.image_bytes or disk.virtual_bytes for disk, _ in disks))
        archived: list[ArchivedDisk] = []
        for disk, opener in disks:
            file = f"disk-{re.sub(r'[^A-Za-z0-9_-]', '_', disk.device)}.zst{'.aes' if self._cipher else ''}"
            index = f"{file.partition('.')[0]}.index"
            with (
                self._create(f"{directory}/{file}") as into,
                self._create(f"{directory}/{index}") as index_file,
                _closed_at_the_end(opener()) as image,
            ):
                stored = store_image(
                    image,
                    into,
                    index_file,
                    context=f"archive {archive_id} {disk.device}",
                    cipher=self._cipher,
                    on_bytes=progress.add,
                )
            archived.append(
                ArchivedDisk(
                    device=disk.device,
                    path=disk.path,
                    format=disk.format,
                    virtual_bytes=disk.virtual_bytes,
                    image_bytes=stored.image_bytes,
                    image_sha256=stored.image_sha256,
                    file=file,
                    stored_bytes=stored.stored_bytes,
                    stored_sha256=stored.stored_sha256,
                    index=index,
                    index_sha256=stored.index_sha256,
                    chunks=stored.chunks,
                )
            )
        self._sync_directory(directory)
        progress.halfway()
        for disk in archived:
            for chunk in self._read(archive_id, disk, self._cipher):
                progress.add(len(chunk))
        manifest = Manifest(
            id=archive_id,
            created_at=self._clock.now(),
            vm_uuid=vm.uuid,
            vm_name=vm.name,
            source=vm.node,
            domain_xml=self._seal(domain_xml, archive_id),
            disks=tuple(archived),
            encryption=Encryption(key_id=self._cipher.key_id) if self._cipher else None,
            left_out=_left_out(vm),
        )
        return self._publish(directory, manifest)

    def _publish(self, directory: str, manifest: Manifest) -> ArchiveEntry:
        content = manifest.canonical()
        with self._create(f"{directory}/{SIGNATURE}") as file:
            file.write(self._signer.sign(content))
        if self._local:  # an object appears whole or not at all; a file must be renamed into place for that
            with self._create(f"{directory}/{MANIFEST}.draft") as file:
                file.write(content)
            os.rename(f"{directory}/{MANIFEST}.draft", f"{directory}/{MANIFEST}")
        else:
            with self._create(f"{directory}/{MANIFEST}") as file:
                file.write(content)
        self._sync_directory(directory)
        if self._fs.cat_file(f"{directory}/{MANIFEST}") != content:
            raise ArchiveFailed(
                f"archive {manifest.id}: its manifest was not stored as it was written", hint="try again"
            )
        return _entry(manifest, content)

    def entries(self) -> list[ArchiveEntry]:
        """Every archive, oldest first. Raises ArchiveFailed when the store does not answer, or for a broken manifest."""
        found: list[ArchiveEntry] = []
        for archive_id in self._names():
            loaded = self._load(archive_id, missing_ok=True)
            if loaded is not None:
                found.append(_entry(*loaded))
        return sorted(found, key=lambda entry: (entry.created_at, entry.id))

    def leftovers(self) -> list[str]:
        """Ids under which an interrupted write left something."""
        with self._explained(f"archive store {self.url}"):
            return [name for name in self._names() if not self._fs.exists(f"{self._root}/{name}/{MANIFEST}")]

    def discard(self, archive_id: str) -> None:
        """Remove what an interrupted write left. Raises ArchiveFailed when it is a finished archive."""
        directory = self._directory(archive_id)
        with self._explained(f"archive {archive_id}"):
            if self._fs.exists(f"{directory}/{MANIFEST}"):
                raise ArchiveFailed(f"archive {archive_id} is finished and is not discarded", hint="verify it instead")
            self._remove(directory)

    def verify(self, archive_id: str) -> ArchiveEntry:
        manifest, content = self._require(archive_id)
        with self._explained(f"archive {archive_id}"):
            for disk in manifest.disks:
                for _ in self._read(archive_id, disk, self._cipher_for(manifest)):
                    pass
            self.domain_xml(archive_id)
        return _entry(manifest, content)

    def domain_xml(self, archive_id: str) -> str:
        manifest, _ = self._require(archive_id)
        cipher = self._cipher_for(manifest)
        if cipher is None:
            return manifest.domain_xml
        return cipher.open(base64.b64decode(manifest.domain_xml), f"archive {archive_id} definition").decode()

    def disks(self, archive_id: str) -> list[tuple[DiskObservation, int, Callable[[], Iterator[bytes]]]]:
        """As the port says; a reader that meets a wrong byte raises ArchiveFailed, so take it to its end."""
        manifest, _ = self._require(archive_id)
        return [
            (
                DiskObservation(
                    device=disk.device,
                    path=disk.path,
                    format=disk.format,
                    virtual_bytes=disk.virtual_bytes,
                    allocated_bytes=disk.image_bytes,
                    shared=False,
                    image_bytes=disk.image_bytes,
                ),
                disk.image_bytes,
                self._reader(archive_id, disk, self._cipher_for(manifest)),
            )
            for disk in manifest.disks
        ]

    def free_bytes(self) -> int | None:
        if not self._local:
            return None
        directory = Path(self._root)
        while not directory.exists():
            directory = directory.parent
        figures = os.statvfs(directory)
        return figures.f_bavail * figures.f_frsize

    def _reader(self, archive_id: str, disk: ArchivedDisk, cipher: Cipher | None) -> Callable[[], Iterator[bytes]]:
        def read() -> Iterator[bytes]:
            with self._explained(f"archive {archive_id}"):
                yield from self._read(archive_id, disk, cipher)

        return read

    def _read(self, archive_id: str, disk: ArchivedDisk, cipher: Cipher | None) -> Iterator[bytes]:
        directory = self._directory(archive_id)
        expected = Stored(
            disk.image_bytes, disk.image_sha256, disk.stored_bytes, disk.stored_sha256, disk.index_sha256, disk.chunks
        )
        with (
            self._fs.open(f"{directory}/{disk.file}", "rb", block_size=CHUNK_BYTES) as stored,
            self._fs.open(f"{directory}/{disk.index}", "rb") as index,
            closing(
                read_image(stored, index, expected, context=f"archive {archive_id} {disk.device}", cipher=cipher)
            ) as image,
        ):
            yield from image

    def _require(self, archive_id: str) -> tuple[Manifest, bytes]:
        loaded = self._load(archive_id, missing_ok=False)
        assert loaded is not None
        self._cipher_for(loaded[0])
        return loaded

    def _load(self, archive_id: str, *, missing_ok: bool) -> tuple[Manifest, bytes] | None:
        """The manifest, its signature checked, and its bytes."""
        directory = self._directory(archive_id)
        with self._explained(f"archive {archive_id}"):
            try:
                content = self._fs.cat_file(f"{directory}/{MANIFEST}")
            except FileNotFoundError:
                if missing_ok:
                    return None
                raise ArchiveFailed(
                    f"archive {archive_id} in {self.url} has no manifest: it is unknown or was never finished",
                    hint="see `lifeboat archive list`",
                ) from None
            try:
                signature = self._fs.cat_file(f"{directory}/{SIGNATURE}")
            except FileNotFoundError:
                raise ArchiveFailed(
                    f"archive {archive_id} has no signature", hint="someone removed it; don't restore it"
                ) from None
        self._signer.verify(content, signature, what=f"archive {archive_id}")
        return parse_manifest(content, archive_id=archive_id), content

    def _cipher_for(self, manifest: Manifest) -> Cipher | None:
        """None for an archive that is not encrypted, whether or not a key is set now. Raises ArchiveFailed."""
        if manifest.encryption is None:
            return None
        if self._cipher is None:
            why = "and no archive_key_file is set"
        elif self._cipher.key_id != manifest.encryption.key_id:
            why = f"with key {manifest.encryption.key_id}, not with this one"
        else:
            return self._cipher
        raise ArchiveFailed(
            f"archive {manifest.id} is encrypted {why}", hint="set archive_key_file to the key it was made with"
        )

    def _seal(self, domain_xml: str, archive_id: str) -> str:
        if self._cipher is None:
            return domain_xml
        return base64.b64encode(self._cipher.seal(domain_xml.encode(), f"archive {archive_id} definition")).decode()

    def _names(self) -> list[str]:
        with self._explained(f"archive store {self.url}"):
            try:
                found = self._fs.ls(self._root, detail=False, refresh=True)
            except FileNotFoundError:
                return []
        names = (str(path).rstrip("/").rpartition("/")[2] for path in found)
        return sorted(name for name in names if _ID.fullmatch(name))

    def _directory(self, archive_id: str) -> str:
        if not _ID.fullmatch(archive_id):
            raise BadInput(
                f"archive id {archive_id[:60]!r}: expected letters, digits, `.`, `_`, `-`",
                hint="see `lifeboat archive list`",
            )
        return f"{self._root}/{archive_id}"

    @contextmanager
    def _create(self, path: str) -> Generator[IO[bytes]]:
        """A new file that is on disk when the block is left."""
        with self._fs.open(path, "wb", block_size=8 << 20) as file:
            if self._local:
                os.fchmod(file.fileno(), 0o600)  # a disk image is as private as the vm
            yield file
            if self._local:
                file.flush()
                os.fsync(file.fileno())
                # what is read back shall come from the disk, not from the page cache
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def _make_directory(self, directory: str) -> None:
        self._fs.makedirs(directory, exist_ok=True)
        if self._local:
            os.chmod(directory, 0o700)
            self._sync_directory(self._root)

    def _sync_directory(self, directory: str) -> None:
        if not self._local:
            return
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _remove(self, directory: str) -> None:
        if self._fs.exists(directory):
            with suppress(FileNotFoundError):
                self._fs.rm(directory, recursive=True)

    @contextmanager
    def _explained(self, what: str, *, needed: int | None = None) -> Generator[None]:
        """Turn whatever a store raises into one line. fsspec's drivers each bring exceptions of their own."""
        try:
            yield
        except LifeboatError:
            raise
        except OSError as error:
            if error.errno in _FULL:
                free = self.free_bytes()
                raise ArchiveFailed(
                    f"{what}: the store {self.url} is full: up to {needed or 0} bytes are needed"
                    f"{f', {free} are free' if free is not None else ''}; nothing was left there",
                    hint="make room in the store",
                ) from error
            raise ArchiveFailed(
                f"{what}: the store {self.url} says: {error.strerror or error}", hint="check the store and its rights"
            ) from error
        except Exception as error:
            raise ArchiveFailed(
                f"{what}: the store {self.url} says: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
                hint="check the store, its address and credentials",
            ) from error


@contextmanager
def _closed_at_the_end(image: Iterator[bytes]) -> Generator[Iterable[bytes]]:
    try:
        yield image
    finally:
        close = getattr(image, "close", None)  # a generator reads ahead until it is closed
        if close is not None:
            close()


class _Progress:
    def __init__(self, tell: Callable[[int, int], None], total: int) -> None:
        self._tell, self._total, self._done = tell, total, 0

    def add(self, count: int) -> None:
        self._done += count
        self._tell(self._done, max(self._total, self._done))

    def halfway(self) -> None:
        """All is copied: from here on the total is known, not guessed."""
        self._total = 2 * self._done


def _left_out(vm: VmObservation) -> tuple[str, ...]:
    left: list[str] = []
    if vm.nvram is not None:
        left.append(f"UEFI variables ({vm.nvram})")
    if vm.tpm:
        left.append("TPM state")
    return tuple(left)


def _entry(manifest: Manifest, content: bytes) -> ArchiveEntry:
    return ArchiveEntry(
        id=manifest.id,
        vm_uuid=manifest.vm_uuid,
        vm_name=manifest.vm_name,
        source=manifest.source,
        created_at=manifest.created_at,
        stored_bytes=manifest.stored_bytes,
        original_bytes=manifest.original_bytes,
        sha256=hashlib.sha256(content).hexdigest(),
    )
