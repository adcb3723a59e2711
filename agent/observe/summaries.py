"""Bring the summary ring up to date: what Prometheus has computed since the last stretch, and no more.

A pass asks for one stretch a signal, however long the history. After a pause it asks for the gap; what the fine ring can't hold
any more comes in hours, a few at a time, so that no pass takes much longer than the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from models.errors import LifeboatError, MetricsUnavailable
from models.risk.signal import Signal, Summaries
from tools.history.summary_ring import COARSE_SECONDS, COARSE_SLOTS, FINE_SECONDS, FINE_SLOTS, SummaryRing
from tools.ports.telemetry import SummarySource

LAG_SECONDS = 20.0
"""A stretch is asked for this long after its end: the last scrape has to arrive."""
AT_ONCE = 24
"""Stretches in one answer: bounds what a gap takes in memory."""
COARSE_RESOLUTION = 60
"""A gap is evaluated this finely, whatever the scrape interval: a day of 5-second steps would be a burden."""
OLDER_AT_ONCE = 2
"""Signals whose old hours are filled in one pass."""
_QUERIES_AT_ONCE = 2
_WAITING = 2 * _QUERIES_AT_ONCE
"""Signals whose answers are in memory at once: a gap of a day is 12 MB a signal at 1,000 nodes."""
_REACH = FINE_SECONDS * (FINE_SLOTS - 1)


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

    def ask(asked: tuple[Signal, int]) -> list[Summaries] | LifeboatError:
        signal, first = asked
        fine = max(5, round(interval_seconds))
        resolution = fine if end - first < 3 * FINE_SECONDS else max(fine, COARSE_RESOLUTION)
        try:
            return [
                source.summaries(
                    signal, first=begin, last=min(end, begin + (AT_ONCE - 1) * FINE_SECONDS), step_seconds=FINE_SECONDS,
                    resolution_seconds=resolution, recorded=recorded,
                )
                for begin in range(first, end + 1, AT_ONCE * FINE_SECONDS)
            ]  # fmt: skip
        except LifeboatError as error:
            return error

    answers = [ask(due[0])]
    if isinstance(answers[0], MetricsUnavailable):
        return {signal.name: answers[0] for signal, _ in due}
    _take(ring, *due[0], answers[0], end, failed)
    with ThreadPoolExecutor(max_workers=_QUERIES_AT_ONCE) as pool:
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
    ring: SummaryRing, signal: Signal, first: int, answer: list[Summaries] | LifeboatError, end: int,
    failed: dict[str, LifeboatError],
) -> None:  # fmt: skip
    if isinstance(answer, LifeboatError):
        failed[signal.name] = answer
        return
    for summaries in answer:
        ring.put(summaries)
    for hour in range(_hour(first + COARSE_SECONDS - FINE_SECONDS), end + 1, COARSE_SECONDS):
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


def _hour(at: int) -> int:
    return at // COARSE_SECONDS * COARSE_SECONDS
