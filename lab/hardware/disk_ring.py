"""Reads, from outside, what a lab guest wrote to its disk: the ring of records of lab/nodes/guest/guest.c.

It works on raw and qcow2 files, of a running guest (what has reached the file by then), a stopped one or an archive.
"""

from __future__ import annotations

import subprocess
import tempfile
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from struct import Struct

from models.errors import LabError

RECORD_BYTES = 512
RING_SLOTS = 2048
_RECORD = Struct("<8sQQQQ32s436xI")
_MAGIC = b"LBRING01"


@dataclass(frozen=True)
class RingRecord:
    """One durable count. `sequence` goes on over boots; `boot_id` is 16 hex digits, new at each boot."""

    sequence: int
    boot_id: str
    written_at: datetime
    longest_gap_seconds: float
    name: str


@dataclass(frozen=True)
class DiskRing:
    """All records on one disk, by sequence. `torn` counts records whose checksum is wrong: none on a sound disk."""

    records: tuple[RingRecord, ...]
    torn: int

    @property
    def last(self) -> RingRecord | None:
        return self.records[-1] if self.records else None

    def missing(self) -> list[int]:
        """Sequences that should be there, between the first and the last, and are not."""
        have = {record.sequence for record in self.records}
        return [n for n in range(min(have), max(have)) if n not in have] if have else []

    def boots(self) -> list[str]:
        """Boot ids in the order they wrote."""
        return list(dict.fromkeys(record.boot_id for record in self.records))


def parse(data: bytes) -> DiskRing:
    """The ring in the first RING_SLOTS × RECORD_BYTES bytes of a disk."""
    records: list[RingRecord] = []
    torn = 0
    for at in range(0, min(len(data), RING_SLOTS * RECORD_BYTES), RECORD_BYTES):
        sector = data[at : at + RECORD_BYTES]
        if len(sector) < RECORD_BYTES or not sector.strip(b"\0"):
            continue
        magic, sequence, boot_id, realtime_ns, gap_ns, name, crc = _RECORD.unpack(sector)
        if magic != _MAGIC or crc != zlib.crc32(sector[:-4]) or sequence % RING_SLOTS != at // RECORD_BYTES:
            torn += 1
            continue
        records.append(
            RingRecord(
                sequence=sequence,
                boot_id=f"{boot_id:016x}",
                written_at=datetime.fromtimestamp(realtime_ns / 1e9, UTC),
                longest_gap_seconds=gap_ns / 1e9,
                name=name.rstrip(b"\0").decode(errors="replace"),
            )
        )
    return DiskRing(tuple(sorted(records, key=lambda record: record.sequence)), torn)


def read_disk(image: Path) -> DiskRing:
    """Read the ring of a raw or qcow2 file, also while a guest uses it. Raises LabError when it can't be read."""
    with tempfile.TemporaryDirectory() as directory:
        head = Path(directory) / "head.raw"
        command = [
            "qemu-img", "dd", "-U", "-O", "raw", f"bs={RECORD_BYTES}", f"count={RING_SLOTS}",
            f"if={image}", f"of={head}",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0:
            raise LabError(f"{image}: {done.stderr.strip()}")
        return parse(head.read_bytes())
