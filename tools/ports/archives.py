"""Where cold archives lie, and what goes into them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from tools.ports.vms import ImageRole, VmObservation


@dataclass(frozen=True, kw_only=True)
class ArchiveEntry:
    """One archive in the store."""

    id: str
    vm_uuid: str
    vm_name: str
    source: str
    created_at: datetime
    stored_bytes: int
    original_bytes: int
    sha256: str
    """of the manifest"""


@dataclass(frozen=True)
class UnreadableArchive:
    """An archive whose manifest is missing its signature, was changed or can't be read; it says nothing of the others."""

    id: str
    why: str


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """One file of a vm on its way into an archive or out of it."""

    role: ImageRole
    device: str
    """the disk's target, such as `vda`; for an image below it, that disk's; `nvram` or `tpm`"""
    path: str
    format: str
    virtual_bytes: int
    image_bytes: int
    """its length; while its vm runs, only about"""
    backing: str = ""
    allocated_bytes: int = 0
    """what it takes on its node; 0 when not known"""
    mode: int | None = None
    owner: int | None = None
    group: int | None = None
    sha256: str = ""
    """of the whole file; known of what comes out of an archive"""

    @property
    def needed_bytes(self) -> int:
        """Room it takes where it is put."""
        return self.allocated_bytes or self.image_bytes or self.virtual_bytes


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """What an interrupted copy left in a store. It is no archive; the next copy of the same vm goes on from it."""

    id: str
    vm_uuid: str
    """empty when it can't be told"""
    vm_name: str
    begun_at: datetime | None
    stored_bytes: int


@dataclass(frozen=True, kw_only=True)
class WipedImage:
    """What became of one file of an archived vm that its node had kept."""

    path: str
    sha256: str
    """before, and in the archive"""
    bytes: int
    """its length"""
    pool_type: str
    done: str
    """what was done, or why nothing was"""
    wiped: bool


class ArchiveStore(Protocol):
    """Where cold archives lie. An archive that has no manifest is not an archive."""

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
        """Copy, SHA-256, fsync, re-read and verify, then write the signed manifest. `account`: what the definition names
        on its host and what became of each; `left_out`: what of it is not in the archive.

        What an interrupted copy of the same vm left is gone on from, as far as it is still what the image holds. Raises
        ArchiveFailed; then there is no archive, but perhaps a leftover that the next copy goes on from.
        """
        ...

    def entries(self) -> list[ArchiveEntry]:
        """Every archive, oldest first. Raises ArchiveFailed when one of them can't be read."""
        ...

    def survey(self) -> tuple[list[ArchiveEntry], list[UnreadableArchive]]:
        """Every archive, oldest first, and those that can't be read. Raises ArchiveFailed when the store does not answer."""
        ...

    def leftovers(self) -> list[Leftover]: ...

    def discard(self, archive_id: str) -> None:
        """Remove a leftover. Raises ArchiveFailed when it is a finished archive or there is none."""
        ...

    def verify(self, archive_id: str) -> ArchiveEntry:
        """Read every byte again and check it against the signed manifest. Raises ArchiveFailed."""
        ...

    def domain_xml(self, archive_id: str) -> str: ...

    def snapshots(self, archive_id: str) -> tuple[str, ...]: ...

    def checkpoints(self, archive_id: str) -> tuple[str, ...]: ...

    def autostart(self, archive_id: str) -> bool:
        """Whether libvirt started it by itself when its node came up."""
        ...

    def left_out(self, archive_id: str) -> tuple[str, ...]:
        """What of the vm is not in it, in words."""
        ...

    def images(self, archive_id: str) -> list[tuple[ImageFile, Callable[[], Iterator[bytes]]]]:
        """Each file, images below others first, and a reader of it, verified as it is read."""
        ...

    def write_record(self, archive_id: str, name: str, record: Mapping[str, Any]) -> str:
        """Put a signed record beside the manifest as NAME.json and NAME.sig; the SHA-256 of it."""
        ...

    def free_bytes(self) -> int | None:
        """None where the store can't tell."""
        ...
