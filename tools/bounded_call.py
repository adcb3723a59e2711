"""A call that may hang, waited for only so long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class BoundedCall(Generic[T]):
    """A function called at once, in a thread of its own.

    Not in a pool: one that hangs keeps neither the process from ending nor another call from its turn. A call given up on
    goes on, and may still take effect later: whoever gives up has to observe what became of it.
    """

    def __init__(self, function: Callable[[], T], *, name: str) -> None:
        """`name` is the thread's."""
        self._future: Future[T] = Future()
        threading.Thread(target=self._run, args=(function,), name=name, daemon=True).start()

    def _run(self, function: Callable[[], T]) -> None:
        try:
            self._future.set_result(function())
        except BaseException as error:  # raised again in the thread that asks for the result
            self._future.set_exception(error)

    @property
    def over(self) -> bool:
        """Whether it returned or raised."""
        return self._future.done()

    @property
    def future(self) -> Future[T]:
        """What it comes to."""
        return self._future

    def wait(self, seconds: float) -> bool:
        """Wait until it is over, at most that long; whether it is."""
        return bool(wait((self._future,), max(0.0, seconds)).done)

    @property
    def error(self) -> BaseException | None:
        """What it raised; None when it returned. Raises TimeoutError when it is not over."""
        return self._future.exception(timeout=0)

    def result(self) -> T:
        """What it returned; raises what it raised. Raises TimeoutError when it is not over."""
        return self._future.result(timeout=0)


def wait_for_any(calls: Iterable[BoundedCall[Any]], seconds: float) -> None:
    """Until one of them is over, at most that long."""
    wait([call.future for call in calls], max(0.0, seconds), return_when=FIRST_COMPLETED)
