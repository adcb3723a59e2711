"""Stretches of work under a trace id, for whoever collects them; without a collector they cost nothing and go nowhere.

Ids that have to be found again are made from what is durable (a look's trace id, an evacuation's id, an attempt's), so that the
process that goes on with another's work adds to the same trace, and a child can be told before its parent is over.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import structlog

from models.errors import LifeboatError
from models.text import visible
from tools.tracing.log import without_secrets
from tools.tracing.trace import current_trace

log = structlog.get_logger("lifeboat")

Attribute = str | bool | int | float

_LONGEST = 1000
"""characters of one attribute"""
_ROOT = "pass"
_inside: ContextVar[tuple[str, str]] = ContextVar("lifeboat_span", default=("", ""))
"""trace and id of the span that this thread is in"""


@dataclass(frozen=True, kw_only=True)
class SpanEvent:
    """Something that happened at one moment of a span."""

    name: str
    at: float
    """seconds since 1970"""
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, kw_only=True)
class FinishedSpan:
    """What a collector is handed."""

    name: str
    trace: str
    """32 hex digits"""
    id: str
    """16 hex digits"""
    parent: str
    """id of the span it is part of; empty: it is the first of its trace"""
    began: float
    """seconds since 1970"""
    ended: float
    """seconds since 1970"""
    attributes: Mapping[str, Attribute]
    events: tuple[SpanEvent, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    """trace and id of spans of other traces that it has to do with"""
    error: str = ""
    """what went wrong; empty: nothing did"""


class Collector(Protocol):
    """Where spans go. Never waits for anybody outside."""

    def take(self, span: FinishedSpan) -> None: ...


_collector: Collector | None = None


@contextmanager
def collecting(collector: Collector) -> Generator[None]:
    """For as long as the block runs, all spans of this process go there."""
    global _collector  # noqa: PLW0603  # like the log, there is one a process
    before, _collector = _collector, collector
    try:
        yield
    finally:
        _collector = before


@dataclass(kw_only=True)
class Span:
    """One that is under way."""

    attributes: dict[str, Any] = field(default_factory=dict[str, Any])
    events: list[SpanEvent] = field(default_factory=list[SpanEvent])
    error: str = ""

    def tell(self, **about: Any) -> None:
        """What is known of it by now. None is left out."""
        self.attributes |= about

    def happened(self, name: str, **about: Any) -> None:
        """An event, now."""
        self.events.append(SpanEvent(name=name, at=time.time(), attributes=_attributes(about)))

    def failed(self, why: str) -> None:
        """It did not come to what it was for."""
        self.error = why or "failed"


@contextmanager
def span(
    name: str, *, key: str = "", within: str = "", began: datetime | None = None, first: bool = False, **about: Any
) -> Generator[Span]:
    """The block is one span of the trace that goes on; outside every trace, of none. What it raises is its error.

    `key`: what it is known by for good; empty: it gets an id at random. `within`: the key of the span it is part of; empty: the
    one this thread is in, or the first of the trace. `began`: before the block. `first`: of the trace, the one that the others
    are part of. When the thread comes to follow another trace meanwhile, the span stays in its own and is linked with that one.
    """
    told, trace = Span(attributes=dict(about)), current_trace()
    if _collector is None or not trace:
        yield told
        return
    started = began.timestamp() if began is not None else time.time()
    known_by = _ROOT if first else key
    own = span_id(trace, known_by) if known_by else secrets.token_hex(8)
    outer = _inside.get()
    before = _inside.set((trace, own))
    try:
        yield told
    except BaseException as error:
        told.failed(f"{error.code}: {error}" if isinstance(error, LifeboatError) else repr(error))
        raise
    finally:
        _inside.reset(before)
        now = current_trace()
        links = [outer] if outer[0] and outer[0] != trace and not within else []
        links += [(now, span_id(now, _ROOT))] if now and now != trace else []
        parent = "" if first else _parent(trace, within, outer)
        _hand_over(name, trace, own, parent, started, time.time(), told, links)


def finished_span(
    name: str,
    *,
    trace: str,
    key: str,
    began: datetime,
    ended: datetime,
    within: str = "",
    error: str = "",
    links: tuple[str, ...] = (),
    **about: Any,
) -> None:
    """One that is over, as the journal knows it. `links`: other traces that it has to do with."""
    if _collector is None or not trace:
        return
    told = Span(attributes=dict(about), error=error)
    others = [(other, span_id(other, _ROOT)) for other in links if other and other != trace]
    parent = _parent(trace, within, ("", ""))
    _hand_over(name, trace, span_id(trace, key), parent, began.timestamp(), ended.timestamp(), told, others)


def span_id(trace: str, key: str) -> str:
    """Of the span of this trace that is known by `key`: 16 hex digits, in every process the same."""
    return hashlib.sha256(f"{trace} {key}".encode()).hexdigest()[:16]


def _parent(trace: str, within: str, outer: tuple[str, str]) -> str:
    if within:
        return span_id(trace, within)
    return outer[1] if outer[0] == trace else span_id(trace, _ROOT)


def _hand_over(
    name: str, trace: str, own: str, parent: str, began: float, ended: float, told: Span, links: list[tuple[str, str]]
) -> None:
    collector = _collector
    if collector is None:
        return
    try:
        collector.take(
            FinishedSpan(
                name=name, trace=trace, id=own, parent=parent, began=began, ended=max(began, ended),
                attributes=_attributes(told.attributes), events=tuple(told.events), links=tuple(dict.fromkeys(links)),
                error=str(_attributes({"error": told.error}).get("error", "")),
            )
        )  # fmt: skip
    except Exception as error:  # who watches must not stop who is watched
        log.warning("span-lost", span=name, error=repr(error))


def _attributes(about: Mapping[str, Any]) -> dict[str, Attribute]:
    """As they may leave the process: what logs in somewhere cut out, texts of bounded length without control characters."""
    told = {name: _plain(value) for name, value in about.items() if value is not None and value != ""}
    clean = without_secrets(None, "", dict(told))
    return {name: visible(value, _LONGEST) if isinstance(value, str) else value for name, value in clean.items()}


def _plain(value: Any) -> Attribute:
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(str, value))
    return str(value)
