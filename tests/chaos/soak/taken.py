"""What the agent's process takes, seen from within it."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tools.memory import give_back

_MANY = 500
_LEAVE_SECONDS = 60.0
"""of the machine, at most: threads of pools that were told to end have ended by then"""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What the agent's process took, at one hour of the fleet."""

    hour: float
    rss_megabytes: float
    anonymous_megabytes: float
    """of these, what is no file of the ring or of the programs: the part that nothing else can take back"""
    threads: int
    handles: int
    disk_bytes: dict[str, int]
    """by what it is, under state_dir"""
    log_bytes: int
    objects: dict[str, int]
    """by type, those of which there are many"""


def sampled(hour: float, state: Path, log: Path) -> Sample:
    """Now, what is no longer needed put away; `state`: the agent's state_dir, `log`: where its lines go."""
    gc.unfreeze()  # what a look left, too
    gc.collect()
    give_back()
    resident, shared = (
        int(pages) * os.sysconf("SC_PAGE_SIZE") for pages in Path("/proc/self/statm").read_text().split()[1:3]
    )
    kinds: Counter[str] = Counter()
    for path in state.rglob("*"):
        with suppress(OSError):
            if path.is_file():
                kinds[path.relative_to(state).parts[0]] += path.stat().st_blocks * 512
    objects = Counter(type(each).__name__ for each in gc.get_objects())
    return Sample(
        hour=hour, rss_megabytes=round(resident / 1e6, 1),
        anonymous_megabytes=round((resident - shared) / 1e6, 1),
        threads=threading.active_count(), handles=len(list(Path("/proc/self/fd").iterdir())),
        disk_bytes=dict(kinds), log_bytes=log.stat().st_size if log.exists() else 0,
        objects={name: count for name, count in objects.items() if count >= _MANY},
    )  # fmt: skip


def threads_left() -> list[str]:
    """What runs beside the soak itself once `lifeboat run` has ended, and does not end by itself."""
    until = time.monotonic() + _LEAVE_SECONDS
    while True:
        left = [each.name for each in threading.enumerate() if each is not threading.main_thread()]
        left = sorted(name for name in left if not name.startswith("soak-"))
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.05)


@contextmanager
def output_into(file: Path) -> Generator[None]:
    """What this process writes to stdout and stderr, until the block is over."""
    kept = [os.dup(number) for number in (1, 2)]
    with file.open("ab") as log:
        for number in (1, 2):
            os.dup2(log.fileno(), number)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, was in zip((1, 2), kept, strict=True):
            os.dup2(was, number)
            os.close(was)
