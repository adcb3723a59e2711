"""Which process of this host is meant, for as long as the host is up: a number alone is given out again."""

from __future__ import annotations

import os
from pathlib import Path


def this_process() -> str:
    """The name of the process that asks."""
    return _name(os.getpid())


def is_alive(process: str) -> bool:
    """Whether a process that `this_process` named still runs here. One that this host can't see does not."""
    pid = process.rpartition(":")[2]
    return pid.isdigit() and _name(int(pid)) == process


def _name(pid: int) -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # proc(5): the name in brackets may hold anything; the start, in ticks since the host came up, is field 22
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else f"{boot}:{fields[19]}:{pid}"
