"""What is no longer needed goes back to the machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tools import memory

MEGABYTE = 1_000_000
ROOT = Path(__file__).parents[3]
_THREADS = f"""
import os, threading
from tools import memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def work():
    pieces = [b"x" * (60_000 + n) for n in range(300)]
    together.wait()
    pieces.clear()
    together.wait()  # each has its own until all are done

memory.share_one_arena()
large = bytearray(24_000_000)  # glibc maps what is smaller no more, and keeps as much free, once this is freed (mallopt(3))
del large
together = threading.Barrier(6)
before = resident()
threads = [threading.Thread(target=work) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
memory.give_back()
print((resident() - before) // {MEGABYTE})
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no other C library has malloc_trim")
def test_free_memory_below_what_is_still_used_is_given_back() -> None:
    pieces = [b"x" * (60_000 + n) for n in range(1_000)]  # too small to be mapped one by one
    last = b"x" * 60_000
    full = _resident()
    pieces.clear()
    memory.give_back()
    assert _resident() < full - 30 * MEGABYTE
    assert last


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no other C library has arenas")
def test_threads_that_are_over_leave_no_memory_behind() -> None:
    ran = subprocess.run([sys.executable, "-c", _THREADS], capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(ran.stdout) < 20, "of 108 MB"


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
