"""Bring the summary ring up to date: what Prometheus has computed since the last stretch, and no more.

A pass asks for one stretch a signal, however long the history. After a pause it asks for the gap: in whole hours, and of their
stretches only for the last value, which is all that is ever read of them. What the fine ring can't hold any more comes in hours
alone, a few at a time, so that no pass takes much longer than the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from models.errors import LifeboatError, MetricsUnavailable
from models.risk.signal import Signal, Summaries
from tools.history.summary_ring import COARSE_SECONDS, COARSE_SLOTS, FINE_SECONDS, FINE_SLOTS, SummaryRing
from tools.ports.telemetry import SummarySource

LAG_SECONDS = 20.0
"""A stretch is asked for this long after its end: the last scrape has to arrive."""
AT_ONCE = 24
"""Stretches in one answer, or as many minutes in hours: bounds what a gap takes in memory, here and in Prometheus."""
LAST_AT_ONCE = 2 * AT_ONCE
"""Stretches in one answer where only their last value is asked for."""
COARSE_RESOLUTION = 60
"""A gap is evaluated this finely, whatever the scrape interval: a day of 5-second steps would be a burden."""
OLDER_AT_ONCE = 2
"""Signals whose old hours are filled in one pass."""
SPARE = 1.125
"""Room in a new ring, over what there is: for nodes and disks that come later."""
_QUERIES_AT_ONCE = 2
_WAITING = 2 * _QUERIES_AT_ONCE
"""Signals whose answers are in memory at once: a gap of a day is 12 MB a signal at 1,000 nodes when it is not read in hours."""
_REACH = FINE_SECONDS * (FINE_SLOTS - 1)


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What was read of one signal."""

    stretches: list[Summaries]
    hours: list[Summaries] = field(default_factory=list[Summaries])
    whole: range = range(0)
    """the ends of the hours that were read as such"""


def refresh(
    ring: SummaryRing,
    source: SummarySource,
    signals: Sequence[Signal],
    *,
    now: datetime,
    interval_seconds: float,
    recorded: bool = False,
) -> dict[str, LifeboatError]:
    """Read what is missing into the ring and make it lasting; why each signal failed that did, by name.

    A signal that fails keeps its gap, and is asked for it next time. When nobody answers the first, no more is asked.
    """
    end = int((now.timestamp() - LAG_SECONDS) // FINE_SECONDS) * FINE_SECONDS
    due: list[tuple[Signal, int]] = []
    for signal in signals:
        newest = ring.newest.get(signal.name)
        if newest is not None and newest > end + COARSE_SECONDS:
            newest = None  # the clock was wrong then, or is now: what is dated ahead is read again
        first = end - _REACH if newest is None else max(newest + FINE_SECONDS, end - _REACH)
        if first <= end:
            due.append((signal, first))
            from_hour = end - COARSE_SECONDS * (COARSE_SLOTS - 2) if newest is None else newest
            if newest is None or newest < end - _REACH:
                ring.older[signal.name] = _hour(from_hour), _hour(first)
    failed: dict[str, LifeboatError] = {}
    if not due:
        return failed

    def ask(asked: tuple[Signal, int]) -> _Answer | LifeboatError:
        signal, first = asked
        fine = max(5, round(interval_seconds))
        resolution = fine if end - first < 3 * FINE_SECONDS else max(fine, COARSE_RESOLUTION)

        def read(begin: int, until: int, *, step: int, at_once: int, last_only: bool = False) -> list[Summaries]:
            return [
                source.summaries(
                    signal, first=some, last=min(until, some + (at_once - 1) * step), step_seconds=step,
                    resolution_seconds=resolution, recorded=recorded, last_only=last_only,
                )
                for some in range(begin, until + 1, at_once * step)
            ]  # fmt: skip

        # Recording rules keep no hours: theirs are made out of stretches here.
        hours = range(0) if recorded else _whole_hours(first, end)
        try:
            if not hours:
                return _Answer(stretches=read(first, end, step=FINE_SECONDS, at_once=AT_ONCE))
            begin, until = hours[0] - COARSE_SECONDS, hours[-1]
            stretches = read(first, begin, step=FINE_SECONDS, at_once=AT_ONCE)
            stretches += read(begin + FINE_SECONDS, until, step=FINE_SECONDS, at_once=LAST_AT_ONCE, last_only=True)
            stretches += read(until + FINE_SECONDS, end, step=FINE_SECONDS, at_once=AT_ONCE)
            at_once = AT_ONCE * FINE_SECONDS // COARSE_SECONDS
            return _Answer(
                stretches=stretches, hours=read(hours[0], until, step=COARSE_SECONDS, at_once=at_once), whole=hours
            )
        except LifeboatError as error:
            return error

    answers = [ask(due[0])]
    if isinstance(answers[0], MetricsUnavailable):
        return {signal.name: answers[0] for signal, _ in due}
    new = not ring.newest
    _take(ring, *due[0], answers[0], end, failed)

    def parts(asked: tuple[Signal, int]) -> int:
        found = ask((asked[0], end))
        return 0 if isinstance(found, LifeboatError) else len(found.stretches[0].parts)

    with ThreadPoolExecutor(max_workers=_QUERIES_AT_ONCE) as pool:
        if new and len(due) > 1:  # so that it has its size before a day is written into it
            ring.reserve(int(SPARE * sum(pool.map(parts, due))))
        for begin in range(1, len(due), _WAITING):  # a day of a fleet's signals does not wait in memory for its turn
            some = due[begin : begin + _WAITING]
            for (signal, first), answer in zip(some, pool.map(ask, some), strict=True):
                _take(ring, signal, first, answer, end, failed)
            if any(first < end for _, first in some):
                ring.let_go()
    _fill_older(ring, source, signals, failed)
    ring.flush()
    return failed


def _take(
    ring: SummaryRing, signal: Signal, first: int, answer: _Answer | LifeboatError, end: int,
    failed: dict[str, LifeboatError],
) -> None:  # fmt: skip
    if isinstance(answer, LifeboatError):
        failed[signal.name] = answer
        return
    for summaries in answer.stretches:
        ring.put(summaries)
    for summaries in answer.hours:
        ring.put(summaries, hourly=True)
    for hour in range(_hour(first + COARSE_SECONDS - FINE_SECONDS), end + 1, COARSE_SECONDS):
        if hour not in answer.whole:
            ring.fold(signal, hour)
    ring.newest[signal.name] = end


def _fill_older(
    ring: SummaryRing, source: SummarySource, signals: Sequence[Signal], failed: dict[str, LifeboatError]
) -> None:
    """A few of the hours that nobody looked at, newest first."""
    waiting = [signal for signal in signals if signal.name in ring.older and signal.name not in failed]
    for signal in waiting[:OLDER_AT_ONCE]:
        begin, until = ring.older[signal.name]
        first = max(begin + COARSE_SECONDS, until - (AT_ONCE - 1) * COARSE_SECONDS)
        if first <= until:
            try:
                summaries = source.summaries(
                    signal, first=first, last=until, step_seconds=COARSE_SECONDS, resolution_seconds=FINE_SECONDS
                )
            except LifeboatError as error:
                failed[signal.name] = error
                continue
            ring.put(summaries, hourly=True)
        if first - COARSE_SECONDS <= begin:
            del ring.older[signal.name]
        else:
            ring.older[signal.name] = begin, first - COARSE_SECONDS


def _whole_hours(first: int, end: int) -> range:
    """The ends of the hours that lie wholly within the stretches that end at `first` … `end`."""
    begin = -(-(first - FINE_SECONDS) // COARSE_SECONDS) * COARSE_SECONDS
    return range(begin + COARSE_SECONDS, end + 1, COARSE_SECONDS)


def _hour(at: int) -> int:
    return at // COARSE_SECONDS * COARSE_SECONDS
