"""When Python's cycle collector may run: a search through everything holds each other thread up, for 0.4 s at 1,000 nodes.

What is dropped goes at once all the same, by its count of references; the collector is for what refers to itself in a circle.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Generator
from contextlib import contextmanager

from tools.ports.clock import Clock

COLLECT_SECONDS = 3600.0
"""Between two searches through everything."""


_YOUNG = 1
"""The generations whose objects no search has been through, or one: what was made since the last look."""


class _Uncollected:
    """Holds the collector back while much is made that has no circles, such as a large answer: it would search a million new
    objects again and again, for three quarters of the time. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._was_on = False

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._was_on = gc.isenabled()
                gc.disable()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._was_on:
                gc.enable()


UNCOLLECTED = _Uncollected()


class LongLived:
    """What a look makes stays until the next one: the collector leaves it out, but for once in COLLECT_SECONDS.

    Not what failed meanwhile: an error's traceback refers to itself, and holds whatever was at hand. Left out as well, a look's
    answers of an hour would stay.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._collected_at = clock.monotonic()

    @contextmanager
    def making(self) -> Generator[None]:
        """Nothing is searched within the block. At its end only what is new is, and what stays of it is left out from then on."""
        with UNCOLLECTED:
            try:
                yield
            finally:
                if self._clock.monotonic() - self._collected_at >= COLLECT_SECONDS:
                    self._collected_at = self._clock.monotonic()
                    gc.unfreeze()
                    gc.collect()
                else:
                    gc.collect(_YOUNG)
                gc.freeze()

    def let_go(self) -> None:
        """Nothing is left out any more."""
        gc.unfreeze()
