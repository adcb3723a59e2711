"""The manifest: what an archive holds, and the SHA-256 of every part of it. Signed; written last."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from models.base import UtcTime, Value
from models.errors import ArchiveFailed

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^disk-[A-Za-z0-9_-]+\.[a-z.]+$")]


class ArchivedDisk(Value):
    """One disk image: compressed (and sealed) chunk by chunk into one file, with an index of the chunks beside it."""

    device: str
    """target device in the guest, such as `vda`"""
    path: str
    """where it lay on the source"""
    format: str
    """`raw` or `qcow2`"""
    virtual_bytes: int = Field(ge=0)
    """size the guest sees"""
    image_bytes: int = Field(ge=0)
    """length of the image"""
    image_sha256: Sha256
    file: FileName
    """the chunks, one after the other; without encryption a plain zstd stream that `zstd -d` turns into the image"""
    stored_bytes: int = Field(ge=0)
    stored_sha256: Sha256
    index: FileName
    """72 bytes per chunk: stored length, original length (32-bit, big endian), SHA-256 of the original, of the stored"""
    index_sha256: Sha256
    chunks: int = Field(ge=0)


class Encryption(Value):
    cipher: Literal["AES-256-GCM"] = "AES-256-GCM"
    key_id: str


class Manifest(Value):
    """What the archive of one vm holds."""

    version: Literal[1] = 1
    id: str
    created_at: UtcTime
    vm_uuid: str
    vm_name: str
    source: str
    """the node it ran on"""
    domain_xml: str
    """the persistent definition; base64 of it sealed, when the archive is encrypted"""
    disks: tuple[ArchivedDisk, ...]
    compression: Literal["zstd"] = "zstd"
    encryption: Encryption | None = None
    left_out: tuple[str, ...] = ()
    """what of the vm is not in the archive, in words: UEFI variables, TPM state"""

    @property
    def stored_bytes(self) -> int:
        return sum(disk.stored_bytes for disk in self.disks)

    @property
    def original_bytes(self) -> int:
        return sum(disk.image_bytes for disk in self.disks)

    def canonical(self) -> bytes:
        """The one byte string that is written, hashed and signed: JSON, keys sorted, no spaces."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()


def parse_manifest(content: bytes, *, archive_id: str) -> Manifest:
    """Raises ArchiveFailed when it is damaged, of a later version, or another archive's."""
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ArchiveFailed(
            f"archive {archive_id}: its manifest can't be read ({where}: {first['msg']})",
            hint="if a newer lifeboat wrote it, use that one",
        ) from error
    if manifest.id != archive_id:
        raise ArchiveFailed(f"archive {archive_id}: its manifest is that of {manifest.id}", hint="someone renamed it")
    return manifest
