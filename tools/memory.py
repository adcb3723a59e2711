"""Memory that this process no longer needs, given back to the machine."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Have the C library return what it holds free: glibc keeps what a large answer took, a piece for each thread that read one.

    With another C library it does nothing. Takes some milliseconds a GB (malloc_trim(3))."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # musl has none
        return None
