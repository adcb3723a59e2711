"""Cold archives in any store that fsspec opens: a directory, S3-compatible object storage and what else it knows.

    STORE/ID/begun.json                       whose copy it is; what the next copy needs to go on from it
    STORE/ID/disk-vda.000000.1f2e3d4c.zst     the image's first 256 MiB, chunk by chunk
    STORE/ID/disk-vda.000000.1f2e3d4c.index   lengths and SHA-256 of its chunks
    STORE/ID/manifest.sig                     Ed25519 signature of the manifest
    STORE/ID/manifest.json                    written last, after every stored byte was read back and matched

An archive without a manifest is not an archive: it is what an interrupted copy left.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from models.errors import ArchiveFailed
from tools.archive.files import StoreFiles, StoreFull
from tools.archive.images import SEGMENT_CHUNKS, DiffersAfterReadBack, ImageWriter
from tools.archive.manifest import MANIFEST, SIGNATURE, ArchivedImage, Encryption, Manifest
from tools.archive.reading import ArchiveReader, entry_of
from tools.archive.signing import Cipher, Signer
from tools.clock import SystemClock
from tools.ports.archives import ArchiveEntry, ImageFile, Leftover
from tools.ports.clock import Clock
from tools.ports.vms import ImageRole, VmObservation

_BEGUN = "begun.json"
_SEGMENT = re.compile(r"(?P<stem>[a-z]+-[A-Za-z0-9_-]+)\.(?P<number>\d{6,})\.[0-9a-f]{8}")


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """What a copy writes down before its first byte."""

    vm_uuid: str
    vm_name: str
    begun_at: datetime
    sealed_as: str
    key_id: str | None

    def content(self) -> bytes:
        fields = {**self.__dict__, "begun_at": self.begun_at.isoformat(), "version": 1}
        return json.dumps(fields, sort_keys=True).encode()


class FsspecArchiveStore(ArchiveReader):
    """The store at `url`, such as `file:///srv/archives` or `s3://bucket/path`; `options` go to fsspec as they are.

    `key_file` holds the signing key, made on first use (see Signer). With `encryption_key_file`, chunks, definitions and
    snapshots are sealed with AES-256-GCM; whoever loses that file loses the archives. Raises BadInput for a URL or key
    file that can't be used.
    """

    def __init__(
        self,
        url: str,
        *,
        key_file: Path,
        clock: Clock | None = None,
        encryption_key_file: Path | None = None,
        options: Mapping[str, Any] | None = None,
        segment_chunks: int = SEGMENT_CHUNKS,
    ) -> None:
        cipher = Cipher.load(encryption_key_file) if encryption_key_file else None
        super().__init__(StoreFiles(url, options or {}), Signer(key_file), cipher)
        self._clock = clock or SystemClock()
        self._segment_chunks = segment_chunks

    def write(
        self,
        *,
        archive_id: str,
        vm: VmObservation,
        domain_xml: str,
        images: Sequence[tuple[ImageFile, Callable[[], Iterator[bytes]]]],
        on_progress: Callable[[int, int], None],
        snapshots: Sequence[str] = (),
        checkpoints: Sequence[str] = (),
        left_out: Sequence[str] = (),
        account: Sequence[str] = (),
    ) -> ArchiveEntry:
        """As the port says. `on_progress` counts every byte twice: copied, and read back.

        A copy that fails keeps its complete segments, except where the store is full or gave back other bytes.
        """
        directory, what = self._directory(archive_id), f"archive {archive_id}"
        needed = sum(image.image_bytes for image, _ in images)
        with self._files.explained(what, needed=needed):
            if self._files.exists(f"{directory}/{MANIFEST}"):
                raise ArchiveFailed(
                    f"archive {archive_id} exists already in {self.url}", hint="each attempt has its own id"
                )
        try:
            with self._files.explained(what, needed=needed):
                begun = self._begin(directory, vm)
                return self._write(
                    directory,
                    archive_id,
                    begun,
                    vm,
                    domain_xml,
                    images,
                    on_progress,
                    snapshots,
                    checkpoints,
                    left_out,
                    account,
                )
        except (StoreFull, DiffersAfterReadBack):
            with suppress(Exception):  # the first error is the one to tell
                self._files.remove(directory)
            raise
        except BaseException:
            with suppress(Exception):
                self._tidy(directory)
            raise

    def _begin(self, directory: str, vm: VmObservation) -> _Begun:
        """Make the directory, or take over that of the newest interrupted copy of this vm."""
        ours = self._cipher.key_id if self._cipher else None
        usable = [
            (begun.begun_at, name, begun)
            for name in self._unfinished()
            if (begun := self._begun(name)) is not None and (begun.vm_uuid, begun.key_id) == (vm.uuid, ours)
        ]
        sealed_as = secrets.token_hex(16)
        if usable:
            _, name, begun = max(usable)
            sealed_as = begun.sealed_as
            if name != directory:
                self._files.remove(directory)
                self._files.move_directory(name, directory)
        else:
            self._files.remove(directory)
            self._files.make_directory(directory)
        begun = _Begun(vm_uuid=vm.uuid, vm_name=vm.name, begun_at=self._clock.now(), sealed_as=sealed_as, key_id=ours)
        self._files.publish(f"{directory}/{_BEGUN}", begun.content())
        return begun

    def _write(
        self,
        directory: str,
        archive_id: str,
        begun: _Begun,
        vm: VmObservation,
        domain_xml: str,
        images: Sequence[tuple[ImageFile, Callable[[], Iterator[bytes]]]],
        on_progress: Callable[[int, int], None],
        snapshots: Sequence[str],
        checkpoints: Sequence[str],
        left_out: Sequence[str],
        account: Sequence[str],
    ) -> ArchiveEntry:
        progress = _Progress(on_progress, 2 * sum(image.image_bytes or image.virtual_bytes for image, _ in images))
        kept = self._complete_segments(directory)
        archived: list[ArchivedImage] = []
        for number, (image, opener) in enumerate(images):
            stem = _stem(image, number)
            writer = ImageWriter(
                self._files,
                directory,
                stem,
                context=f"{begun.sealed_as} {stem}",
                cipher=self._cipher,
                on_copied=progress.add,
                on_verified=progress.add,
                kept=kept.get(stem, ()),
                segment_chunks=self._segment_chunks,
            )
            with _closed_at_the_end(opener()) as chunks:
                stored = writer.write(chunks)
            archived.append(
                ArchivedImage(
                    role=image.role,
                    device=image.device,
                    path=image.path,
                    format=image.format,
                    backing=image.backing,
                    virtual_bytes=image.virtual_bytes,
                    image_bytes=stored.image_bytes,
                    image_sha256=stored.image_sha256,
                    stored_bytes=stored.stored_bytes,
                    index_sha256=stored.index_sha256,
                    chunks=stored.chunks,
                    segments=stored.segments,
                    mode=image.mode,
                    owner=image.owner,
                    group=image.group,
                )
            )
        progress.finish()
        manifest = Manifest(
            id=archive_id,
            created_at=self._clock.now(),
            vm_uuid=vm.uuid,
            vm_name=vm.name,
            source=vm.node,
            domain_xml=self._seal(domain_xml, f"{begun.sealed_as} definition"),
            images=tuple(archived),
            snapshots=tuple(
                self._seal(xml, f"{begun.sealed_as} snapshot {number}") for number, xml in enumerate(snapshots)
            ),
            checkpoints=tuple(
                self._seal(xml, f"{begun.sealed_as} checkpoint {number}") for number, xml in enumerate(checkpoints)
            ),
            sealed_as=begun.sealed_as,
            encryption=Encryption(key_id=self._cipher.key_id) if self._cipher else None,
            account=tuple(account),
            autostart=vm.autostart,
            left_out=tuple(left_out),
        )
        self._remove_except(
            directory, {name for image in archived for s in image.segments for name in (s.file, s.index)}
        )
        content = manifest.canonical()
        self._files.publish(f"{directory}/{SIGNATURE}", self._signer.sign(content))
        self._files.publish(f"{directory}/{MANIFEST}", content)
        self._files.remove(f"{directory}/{_BEGUN}")
        return entry_of(manifest, content)

    def leftovers(self) -> list[Leftover]:
        """What interrupted copies left, by id."""
        found: list[Leftover] = []
        with self._files.explained(f"archive store {self.url}"):
            for name in self._unfinished():
                begun = self._begun(name)
                found.append(
                    Leftover(
                        id=name,
                        vm_uuid=begun.vm_uuid if begun else "",
                        vm_name=begun.vm_name if begun else "",
                        begun_at=begun.begun_at if begun else None,
                        stored_bytes=self._files.size(name),
                    )
                )
        return found

    def discard(self, archive_id: str) -> None:
        directory = self._directory(archive_id)
        with self._files.explained(f"archive {archive_id}"):
            if self._files.exists(f"{directory}/{MANIFEST}"):
                raise ArchiveFailed(f"archive {archive_id} is finished and is not discarded", hint="verify it instead")
            if archive_id not in self._names():
                raise ArchiveFailed(f"{self.url} holds nothing named {archive_id}", hint="see `lifeboat archive list`")
            self._files.remove(directory)

    def write_record(self, archive_id: str, name: str, record: Mapping[str, Any]) -> str:
        directory = self._directory(archive_id)
        content = json.dumps(record, sort_keys=True, separators=(",", ":"), default=str).encode()
        with self._files.explained(f"archive {archive_id}"):
            self._files.publish(f"{directory}/{name}.sig", self._signer.sign(content))
            self._files.publish(f"{directory}/{name}.json", content)
        return hashlib.sha256(content).hexdigest()

    def free_bytes(self) -> int | None:
        return self._files.free_bytes()

    # --- inside ---------------------------------------------------------------------------------------------------

    def _seal(self, text: str, context: str) -> str:
        if self._cipher is None:
            return text
        return base64.b64encode(self._cipher.seal(text.encode(), context)).decode()

    def _unfinished(self) -> list[str]:
        return [name for name in self._names() if not self._files.exists(f"{name}/{MANIFEST}")]

    def _begun(self, name: str) -> _Begun | None:
        """None when nothing tells whose it is."""
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
            fields = json.loads(self._files.read(f"{name}/{_BEGUN}"))
            return _Begun(
                vm_uuid=str(fields["vm_uuid"]),
                vm_name=str(fields["vm_name"]),
                begun_at=datetime.fromisoformat(fields["begun_at"]),
                sealed_as=str(fields["sealed_as"]),
                key_id=fields["key_id"],
            )
        return None

    def _complete_segments(self, directory: str) -> dict[str, list[str]]:
        """Names of segments whose index is there, by the image's stem; of one number the last."""
        found: dict[str, dict[str, str]] = {}
        for name in self._files.names(directory):
            match = _SEGMENT.fullmatch(name.removesuffix(".index")) if name.endswith(".index") else None
            if match:
                found.setdefault(match["stem"], {})[match["number"]] = name.removesuffix(".index")
        return {stem: list(segments.values()) for stem, segments in found.items()}

    def _tidy(self, directory: str) -> None:
        """Leave of a copy that failed what can be gone on from; nothing, when that is nothing."""
        complete = [name for names in self._complete_segments(directory).values() for name in names]
        if not complete:
            self._files.remove(directory)
            return
        self._remove_except(directory, {f"{name}{end}" for name in complete for end in (".zst", ".zst.aes", ".index")})

    def _remove_except(self, directory: str, keep: set[str]) -> None:
        for name in self._files.names(directory):
            if name not in keep and name != _BEGUN:
                self._files.remove(f"{directory}/{name}")


@contextmanager
def _closed_at_the_end(image: Iterator[bytes]) -> Generator[Iterable[bytes]]:
    try:
        yield image
    finally:
        close = getattr(image, "close", None)  # a generator reads ahead until it is closed
        if close is not None:
            close()


class _Progress:
    """Counts from two threads; an image may turn out longer than announced."""

    def __init__(self, tell: Callable[[int, int], None], total: int) -> None:
        self._tell, self._total, self._done = tell, total, 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            done = self._done
        self._tell(done, max(self._total, done))

    def finish(self) -> None:
        self._tell(self._done, self._done)


def _stem(image: ImageFile, number: int) -> str:
    device = re.sub(r"[^A-Za-z0-9_-]", "_", image.device)
    return f"{image.role}-{device}" if image.role is ImageRole.DISK else f"{image.role}-{device}-{number}"
