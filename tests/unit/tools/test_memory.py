"""What is no longer needed goes back to the machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from tools import memory

MEGABYTE = 1_000_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no other C library has malloc_trim")
def test_free_memory_below_what_is_still_used_is_given_back() -> None:
    pieces = [b"x" * (60_000 + n) for n in range(1_000)]  # too small to be mapped one by one
    last = b"x" * 60_000
    full = _resident()
    pieces.clear()
    memory.give_back()
    assert _resident() < full - 30 * MEGABYTE
    assert last


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
