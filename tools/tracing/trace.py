"""The trace id of what goes on now: 32 hex digits, as in W3C Trace Context. Log lines and journal records carry it."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from structlog.contextvars import bind_contextvars, bound_contextvars, get_contextvars

_FIELD = "trace"
_links: ContextVar[tuple[str, ...]] = ContextVar("lifeboat_links", default=())


@contextmanager
def tracing(trace: str = "", **about: str) -> Generator[str]:
    """For as long as the block runs, what this thread logs carries this trace id and the fields of `about`; the id.

    Empty: the id that there is already, or a new one. Threads that are started meanwhile know nothing of it.
    """
    chosen = trace or current_trace() or secrets.token_hex(16)
    links = _links.set(() if chosen != current_trace() else _links.get())
    try:
        with bound_contextvars(**{_FIELD: chosen}, **about):
            yield chosen
    finally:
        _links.reset(links)


@contextmanager
def new_trace() -> Generator[str]:
    """As `tracing`, under an id that nothing had before."""
    with tracing(secrets.token_hex(16)) as trace:
        yield trace


@contextmanager
def within_trace() -> Generator[None]:
    """Under the id that there is, or under a new one."""
    if current_trace():
        yield
    else:
        with new_trace():
            yield


def follow(trace: str = "", *others: str) -> None:
    """Until the block of `tracing` ends that this is in: what happens belongs to an earlier trace, and has to do with the one
    that it belonged to and with `others`. Empty: to its own."""
    if trace:
        own = current_trace()
        bind_contextvars(**{_FIELD: trace})
        link(*others, own)


def link(*traces: str) -> None:
    """As long as for `follow`: what happens has to do with these, too."""
    _links.set(tuple(dict.fromkeys((*_links.get(), *traces))))


def current_links() -> tuple[str, ...]:
    """Other traces that what happens now has to do with, the oldest first."""
    return tuple(each for each in _links.get() if each and each != current_trace())


def current_trace() -> str:
    """Empty outside every block of `tracing`."""
    return str(get_contextvars().get(_FIELD, ""))
