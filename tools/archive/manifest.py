"""The manifest: what an archive holds, and the SHA-256 of every part of it. Signed; written last."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from models.base import UtcTime, Value
from models.errors import ArchiveFailed
from tools.ports.vms import ImageRole

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[a-z]+-[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")]
ArchiveId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class Segment(Value):
    """One stored file: some chunks of an image, one after the other, each a zstd frame (sealed, with encryption)."""

    file: FileName
    stored_bytes: int = Field(ge=0)
    index: FileName
    """72 bytes per chunk: stored length, original length (32-bit, big endian), SHA-256 of the original, of the stored"""


class ArchivedImage(Value):
    """One file that made up the vm. Its segments, one after the other, without encryption are a plain zstd stream."""

    role: ImageRole = ImageRole.DISK
    device: str
    """target device in the guest, such as `vda`; of an image below a disk, that disk's"""
    path: str
    """where it lay on the source"""
    format: str
    """`raw` or `qcow2`"""
    backing: str = ""
    """path of the image below it, which is in the archive as well"""
    virtual_bytes: int = Field(ge=0)
    """size the guest sees"""
    image_bytes: int = Field(ge=0)
    """length of the image"""
    image_sha256: Sha256
    stored_bytes: int = Field(ge=0)
    index_sha256: Sha256
    """over the indexes of all segments, in order"""
    chunks: int = Field(ge=0)
    segments: tuple[Segment, ...]
    stored_sha256: Sha256 | None = None
    """over all stored bytes; only version 1 has it: the index says as much, chunk by chunk"""
    mode: int | None = None
    """permission bits, owner and group of a file that is no disk; of disks the hypervisor takes care"""
    owner: int | None = None
    group: int | None = None


class Encryption(Value):
    cipher: Literal["AES-256-GCM"] = "AES-256-GCM"
    key_id: str


class Manifest(Value):
    """What the archive of one vm holds."""

    version: Literal[1, 2] = 2
    id: ArchiveId
    created_at: UtcTime
    vm_uuid: str
    vm_name: str
    source: str
    """the node it ran on"""
    domain_xml: str
    """the persistent definition; base64 of it sealed, when the archive is encrypted"""
    images: tuple[ArchivedImage, ...]
    """images below others come before them"""
    snapshots: tuple[str, ...] = ()
    """libvirt's XML of each snapshot, parents first; sealed like the definition"""
    checkpoints: tuple[str, ...] = ()
    """libvirt's XML of each checkpoint, parents first; sealed like the definition"""
    sealed_as: str = ""
    """what binds sealed chunks to this archive besides their image and number"""
    compression: Literal["zstd"] = "zstd"
    encryption: Encryption | None = None
    account: tuple[str, ...] = ()
    """what its definition names on a host, and what became of each for this archive, one line each"""
    autostart: bool = False
    """it started by itself when its node came up"""
    left_out: tuple[str, ...] = ()
    """what of the vm is not in the archive, in words, such as a snapshot's memory file"""

    @property
    def stored_bytes(self) -> int:
        return sum(image.stored_bytes for image in self.images)

    @property
    def original_bytes(self) -> int:
        return sum(image.image_bytes for image in self.images)

    def canonical(self) -> bytes:
        """The one byte string that is written, hashed and signed: JSON, keys sorted, no spaces."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()


def parse_manifest(content: bytes, *, archive_id: str) -> Manifest:
    """Raises ArchiveFailed when it is damaged, of a later version, or another archive's."""
    try:
        manifest = Manifest.model_validate(_as_version_2(content))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ArchiveFailed(
            f"archive {archive_id}: its manifest can't be read ({where}: {first['msg']})",
            hint="if a newer lifeboat wrote it, use that one",
        ) from error
    if manifest.id != archive_id:
        raise ArchiveFailed(f"archive {archive_id}: its manifest is that of {manifest.id}", hint="someone renamed it")
    return manifest


def _as_version_2(content: bytes) -> object:
    """Version 1 had one file and one index per disk, and nothing but disks."""
    fields: Any = json.loads(content)
    if not isinstance(fields, dict) or fields.get("version") != 1 or "disks" not in fields:
        return fields
    images: list[dict[str, Any]] = []
    for disk in fields.pop("disks"):
        file, index = disk.pop("file"), disk.pop("index")
        images.append({**disk, "segments": [{"file": file, "index": index, "stored_bytes": disk["stored_bytes"]}]})
    return {**fields, "images": images}
