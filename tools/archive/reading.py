"""Reading what a store holds: which archives there are, and what is in one, never believed before it was checked."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager

from models.errors import ArchiveFailed, BadInput
from tools.archive.files import StoreFiles
from tools.archive.images import read_image
from tools.archive.manifest import MANIFEST, SIGNATURE, ArchivedImage, Manifest, parse_manifest
from tools.archive.signing import Cipher, Signer
from tools.ports.archives import ArchiveEntry, ImageFile, UnreadableArchive

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class ArchiveReader:
    """The half of an ArchiveStore that changes nothing."""

    def __init__(self, files: StoreFiles, signer: Signer, cipher: Cipher | None) -> None:
        self._files, self._signer, self._cipher = files, signer, cipher
        self.url = files.url

    def entries(self) -> list[ArchiveEntry]:
        """Every archive, oldest first. Raises ArchiveFailed when the store does not answer, or for a broken manifest."""
        entries, unreadable = self.survey()
        if unreadable:
            raise ArchiveFailed(unreadable[0].why, hint="see `lifeboat archive list`")
        return entries

    def survey(self) -> tuple[list[ArchiveEntry], list[UnreadableArchive]]:
        entries: list[ArchiveEntry] = []
        unreadable: list[UnreadableArchive] = []
        for archive_id in self._names():
            try:
                loaded = self._load(archive_id)
            except ArchiveFailed as error:
                unreadable.append(UnreadableArchive(archive_id, str(error)))
                continue
            if loaded is not None:
                entries.append(entry_of(*loaded))
        return sorted(entries, key=lambda entry: (entry.created_at, entry.id)), unreadable

    def verify(self, archive_id: str) -> ArchiveEntry:
        manifest, content = self._require(archive_id)
        for image in manifest.images:
            for _ in self._reader(manifest, image)():
                pass
        self.domain_xml(archive_id)
        self.snapshots(archive_id)
        self.checkpoints(archive_id)
        return entry_of(manifest, content)

    def domain_xml(self, archive_id: str) -> str:
        manifest, _ = self._require(archive_id)
        return self._open(manifest, manifest.domain_xml, "definition")

    def snapshots(self, archive_id: str) -> tuple[str, ...]:
        manifest, _ = self._require(archive_id)
        return tuple(self._open(manifest, xml, f"snapshot {number}") for number, xml in enumerate(manifest.snapshots))

    def checkpoints(self, archive_id: str) -> tuple[str, ...]:
        manifest = self._require(archive_id)[0]
        return tuple(
            self._open(manifest, xml, f"checkpoint {number}") for number, xml in enumerate(manifest.checkpoints)
        )

    def autostart(self, archive_id: str) -> bool:
        return self._require(archive_id)[0].autostart

    def left_out(self, archive_id: str) -> tuple[str, ...]:
        return self._require(archive_id)[0].left_out

    def images(self, archive_id: str) -> list[tuple[ImageFile, Callable[[], Iterator[bytes]]]]:
        """As the port says; a reader that meets a wrong byte raises ArchiveFailed, so take it to its end."""
        manifest, _ = self._require(archive_id)
        return [
            (
                ImageFile(
                    role=image.role,
                    device=image.device,
                    path=image.path,
                    format=image.format,
                    virtual_bytes=image.virtual_bytes,
                    image_bytes=image.image_bytes,
                    backing=image.backing,
                    mode=image.mode,
                    owner=image.owner,
                    group=image.group,
                    sha256=image.image_sha256,
                ),
                self._reader(manifest, image),
            )
            for image in manifest.images
        ]

    # --- inside ---------------------------------------------------------------------------------------------------

    def _reader(self, manifest: Manifest, image: ArchivedImage) -> Callable[[], Iterator[bytes]]:
        def read() -> Iterator[bytes]:
            context = f"archive {manifest.id} {image.device}"
            if manifest.version > 1:
                context = f"{manifest.sealed_as} {image.segments[0].file.partition('.')[0] if image.segments else ''}"
            with (
                self._files.explained(f"archive {manifest.id}"),
                _named(manifest.id),
                closing(
                    read_image(self._files, manifest.id, image, context=context, cipher=self._cipher_for(manifest))
                ) as chunks,
            ):
                yield from chunks

        return read

    def _require(self, archive_id: str) -> tuple[Manifest, bytes]:
        loaded = self._load(archive_id)
        if loaded is None:
            raise ArchiveFailed(
                f"archive {archive_id} in {self.url} has no manifest: it is unknown or was never finished",
                hint="see `lifeboat archive list`",
            )
        self._cipher_for(loaded[0])
        return loaded

    def _load(self, archive_id: str) -> tuple[Manifest, bytes] | None:
        """The manifest, its signature checked, and its bytes; None when there is none."""
        directory = self._directory(archive_id)
        with self._files.explained(f"archive {archive_id}"):
            try:
                content = self._files.read(f"{directory}/{MANIFEST}")
            except FileNotFoundError:
                return None
            try:
                signature = self._files.read(f"{directory}/{SIGNATURE}")
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

    def _open(self, manifest: Manifest, text: str, part: str) -> str:
        cipher = self._cipher_for(manifest)
        if cipher is None:
            return text
        context = f"{manifest.sealed_as} {part}" if manifest.version > 1 else f"archive {manifest.id} {part}"
        return cipher.open(base64.b64decode(text), context).decode()

    def _names(self) -> list[str]:
        with self._files.explained(f"archive store {self.url}"):
            return [name for name in self._files.names() if _ID.fullmatch(name)]

    def _directory(self, archive_id: str) -> str:
        if not _ID.fullmatch(archive_id):
            raise BadInput(
                f"archive id {archive_id[:60]!r}: expected letters, digits, `.`, `_`, `-`",
                hint="see `lifeboat archive list`",
            )
        return archive_id


@contextmanager
def _named(archive_id: str) -> Generator[None]:
    """Errors say which archive it was."""
    try:
        yield
    except ArchiveFailed as error:
        if archive_id in error.message:
            raise
        raise ArchiveFailed(f"archive {archive_id}: {error.message}", hint=error.hint) from error


def entry_of(manifest: Manifest, content: bytes) -> ArchiveEntry:
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
