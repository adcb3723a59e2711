"""What is closed once nobody has used it for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Generic, TypeVar

Kept = TypeVar("Kept")


class Idle(Generic[Kept]):
    """Closes what `take_out` gives when nobody has been `busy` for `seconds`; None: never. `take_out` is called while nobody can
    begin to be busy, so it must be quick; what it gave nobody gets any more, and `close` may take its time. Thread-safe."""

    def __init__(
        self, seconds: float | None, take_out: Callable[[], Iterable[Kept]], close: Callable[[Kept], object]
    ) -> None:
        self._seconds, self._take_out, self._close = seconds, take_out, close
        self._lock = threading.Lock()
        self._users = 0
        self._timer: threading.Timer | None = None

    @contextmanager
    def busy(self) -> Generator[None]:
        """In use for as long as this is entered."""
        with self._lock:
            self._users += 1
            self._stop()
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0 and self._seconds is not None:
                    self._timer = threading.Timer(self._seconds, self._over)
                    self._timer.daemon = True
                    self._timer.start()

    def stop(self) -> None:
        """Nothing is closed any more, until somebody was busy again."""
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _over(self) -> None:
        with self._lock:
            if self._timer is not threading.current_thread():
                return  # somebody began, and maybe ended, while this one waited for the lock
            self._timer = None
            taken = list(self._take_out())
        for each in taken:
            self._close(each)
