"""Memory that this process no longer needs, given back to the machine."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache

_M_ARENA_MAX = -8
"""malloc.h"""


def share_one_arena() -> None:
    """Before threads are started: have the C library take memory for all of them from one place.

    glibc gives threads an arena each (mallopt(3), M_ARENA_MAX), and `give_back` does not reach the free end of any but the first:
    threads that come and go leave that much behind in each. Python lets only one thread at a time ask anyway. With another C
    library it does nothing."""
    limit = _call("mallopt")
    if limit is not None:
        limit(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Have the C library return what it holds free: glibc keeps what a large answer took, a piece for each thread that read one.

    With another C library it does nothing. Takes some milliseconds a GB (malloc_trim(3))."""
    trim = _call("malloc_trim")
    if trim is not None:
        trim(0)


@cache
def _call(name: str) -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    try:
        return ctypes.CDLL(None)[name]
    except (OSError, AttributeError):  # musl has neither
        return None
