"""What the header of a qcow2 image names besides itself. Pure; format: docs/interop/qcow2.txt of QEMU."""

from __future__ import annotations

import struct
from dataclasses import dataclass

HEADER_BYTES = 64 << 10
"""one cluster by default, in which header, extensions and the name of the image below lie; what is beyond is not read"""
_MAGIC = b"QFI\xfb"
_EXTERNAL_DATA_FILE = 1 << 2
"""incompatible feature: guest data is not in this file"""
_DATA_FILE_NAME = 0x44415441


@dataclass(frozen=True)
class Qcow2Header:
    """One header."""

    version: int
    backing: str
    """name of the image below, as it is written there; empty when it stands alone"""
    external_data: bool
    """the guest's data lies in another file"""
    data_file: str
    """its name, where the header gives one"""


def read_header(content: bytes) -> Qcow2Header | None:
    """None for what is no qcow2 image. `content`: its first bytes, HEADER_BYTES of them where it is that long."""
    if len(content) < 72 or content[:4] != _MAGIC:
        return None
    version, backing_offset, backing_length = struct.unpack_from(">IQI", content, 4)
    incompatible, header_length = 0, 72
    if version >= 3 and len(content) >= 104:
        (incompatible,) = struct.unpack_from(">Q", content, 72)
        (header_length,) = struct.unpack_from(">I", content, 100)
    return Qcow2Header(
        version=version,
        backing=_text(content[backing_offset : backing_offset + backing_length]) if backing_offset else "",
        external_data=bool(incompatible & _EXTERNAL_DATA_FILE),
        data_file=_extension(content, header_length, _DATA_FILE_NAME),
    )


def _extension(content: bytes, offset: int, wanted: int) -> str:
    """Extensions follow the header: type, length, data padded to 8 bytes; type 0 ends them."""
    while offset + 8 <= len(content):
        kind, length = struct.unpack_from(">II", content, offset)
        if kind == 0:
            break
        if kind == wanted:
            return _text(content[offset + 8 : offset + 8 + length])
        offset += 8 + (length + 7) // 8 * 8
    return ""


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
