"""Something that is done again and again beside a block of code, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import copy_context

import structlog

log = structlog.get_logger("lifeboat")


@contextmanager
def meanwhile(
    do: Callable[[], None], over_before_next: Callable[[threading.Event], bool], *, name: str
) -> Generator[None]:
    """Do it for as long as the block runs; the turn that is under way at its end is waited for.

    An error ends one turn, not the turns after it: whoever is followed goes on, and has to be followed.
    `over_before_next` waits until the next turn is due or the event is set, and says whether it is set.
    """
    over = threading.Event()

    def follow() -> None:
        while not over_before_next(over):
            try:
                do()
            except Exception as error:
                log.warning("turn-failed", name=name, error=repr(error))

    follower = threading.Thread(
        target=copy_context().run, args=(follow,), name=name, daemon=True
    )  # under the same trace id
    follower.start()
    try:
        yield
    finally:
        over.set()
        follower.join()
