"""`./dev bench audit [DIRECTORY…]`: what one record of the audit log takes, beside the bare write that a disk makes durable.

Every record is its own transaction, synced before whatever follows from it; so what a disk takes for one sync is the least that
it can be. The two are measured in turn, so that a busy machine is busy for both.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tools.journal.sqlite import SqliteJournal
from tools.ports.records.evacuations import PauseRequested

RECORDS = 2_000
WRITTEN_BYTES = 28 << 10
"""what SQLite writes for one of them: a page of the table, and one of each index"""


def measure(directory: Path, records: int = RECORDS) -> dict[str, float]:
    """Milliseconds, at the median and the 95th percentile, of a record and of a bare write with fdatasync."""
    journal, now = SqliteJournal(directory / "journal.sqlite"), datetime.now(UTC)
    bare = os.open(directory / "bare", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(bare, 0, WRITTEN_BYTES)

    def write() -> None:
        os.pwrite(bare, b"x" * WRITTEN_BYTES, 0)
        os.fdatasync(bare)

    taken: dict[str, list[float]] = {"record": [], "bare": []}
    for number in range(records):
        name = f"evac-{number % 50}"
        for what, do in (
            ("record", lambda name=name: journal.append(PauseRequested(by="terminal:ana"), now=now, evacuation=name)),
            ("bare", write),
        ):
            taken[what].append(_seconds(do))
    journal.close()
    os.close(bare)
    return {
        f"{what}_{percent}_ms": round(1e3 * sorted(times)[int(percent / 100 * (len(times) - 1))], 3)
        for what, times in taken.items()
        for percent in (50, 95)
    }


def _seconds(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def main() -> None:
    for where in sys.argv[1:] or [".", "/dev/shm"]:
        with tempfile.TemporaryDirectory(dir=where) as made:
            print(json.dumps({"directory": where, "load": os.getloadavg()[0], **measure(Path(made))}))


if __name__ == "__main__":
    main()
