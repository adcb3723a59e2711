"""Every signal's history out of the metrics, of which a look asks only for what the looks before it have not read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from agent.observe.observation import UnreadSource
from agent.observe.summaries import refresh
from models.errors import LifeboatError, MetricsUnavailable
from models.signal import Signal, SignalHistory
from tools.ports.telemetry import MetricsSource, SummarySource

if TYPE_CHECKING:
    from tools.history.summary_ring import SummaryRing

RECENT = timedelta(minutes=30)
"""Read at the scrape interval."""
BRIEF = timedelta(minutes=5)
"""In place of RECENT for signals without limits: their newest value is all that counts."""
DAY = timedelta(hours=24)
DAY_STEP_SECONDS = 300.0
"""How finely the healthy past is read."""
DAY_KEPT = timedelta(minutes=10)
"""How long a healthy past is used before it is read again."""
DAYS_AT_ONCE = 3
"""Healthy pasts read again in one look, so that no look takes much longer than the others."""
_QUERIES_AT_ONCE = 4


@dataclass
class TelemetryCache:
    """What earlier looks read; hand the same one to every look of one agent, and only what is new is asked for."""

    days: dict[str, tuple[datetime, list[SignalHistory]]] = field(
        default_factory=dict[str, tuple[datetime, list[SignalHistory]]]
    )
    """by signal: when it was read, and the healthy past"""
    recent: dict[str, tuple[datetime, list[SignalHistory]]] = field(
        default_factory=dict[str, tuple[datetime, list[SignalHistory]]]
    )
    """by signal: the last moment asked for, and the last half hour"""
    ring: SummaryRing | None = None
    """where summaries are kept across restarts; without one the healthy past is asked for again and again"""
    summaries: SummarySource | None = None
    """who computes them; needed with a ring"""
    recorded: bool = False
    """Prometheus's recording rules have computed them already"""


def read_signals(
    metrics: MetricsSource, signals: Sequence[Signal], now: datetime, interval: float, memory: TelemetryCache
) -> tuple[list[SignalHistory], list[UnreadSource]]:
    """Every signal's history, and those that could not be read. If nobody answers the first, no more is asked."""
    if not signals:
        return [], []
    due = sorted((at, name) for name, (at, _) in memory.days.items() if not at <= now <= at + DAY_KEPT)
    again = {name for _, name in due[:DAYS_AT_ONCE]}

    def read(signal: Signal) -> list[SignalHistory] | LifeboatError:
        try:
            recent = _recent(metrics, signal, now, interval, memory)
            return _join(_day(metrics, signal, now, memory, again=signal.name in again), recent)
        except LifeboatError as error:
            return error

    failed: dict[str, LifeboatError] = {}
    if memory.ring is not None and memory.summaries is not None:
        failed = refresh(
            memory.ring, memory.summaries, signals, now=now, interval_seconds=interval, recorded=memory.recorded
        )
    first = read(signals[0])
    if isinstance(first, MetricsUnavailable):
        return [], [UnreadSource("metrics", first)]
    with ThreadPoolExecutor(max_workers=_QUERIES_AT_ONCE) as pool:
        rest = list(pool.map(read, signals[1:]))
    histories: list[SignalHistory] = []
    unread: list[UnreadSource] = []
    for signal, outcome in zip(signals, [first, *rest], strict=True):
        if isinstance(outcome, LifeboatError):
            unread.append(UnreadSource(signal.name, outcome))
        else:
            histories += outcome
            if signal.name in failed:
                unread.append(UnreadSource(signal.name, failed[signal.name]))
    return histories, unread


def _recent(
    metrics: MetricsSource, signal: Signal, now: datetime, interval: float, memory: TelemetryCache
) -> list[SignalHistory]:
    """The last half hour, of which only what is newer than the last look is asked for."""
    length = RECENT if _is_limited(signal) else BRIEF
    asked, known = memory.recent.get(signal.name, (now - length, []))
    if not now - length <= asked < now:
        asked, known = now - length, []
    # Counted back from now, so that the newest sample is never a step old.
    steps = int((now - asked).total_seconds() / interval)
    start = now - timedelta(seconds=max(1, steps) * interval)
    fresh = metrics.histories(signal, start=start, end=now, step_seconds=interval)
    begin = (now - length).timestamp()
    recent = [history.since(begin) for history in _join(known, fresh)]
    memory.recent[signal.name] = now, recent
    return recent


def _day(
    metrics: MetricsSource, signal: Signal, now: datetime, memory: TelemetryCache, *, again: bool
) -> list[SignalHistory]:
    """The day before the last half hour; nothing where no limit needs a healthy past to be judged by."""
    if not _is_limited(signal):
        return []
    if signal.name not in memory.days or again:
        if memory.ring is not None:
            begin, end = ((now - ago).timestamp() for ago in (DAY, RECENT))
            memory.days[signal.name] = now, memory.ring.histories(signal, first=math.ceil(begin), last=math.floor(end))
            return memory.days[signal.name][1]
        day = metrics.histories(signal, start=now - DAY, end=now - RECENT, step_seconds=DAY_STEP_SECONDS)
        memory.days[signal.name] = now, day
    return memory.days[signal.name][1]


def _is_limited(signal: Signal) -> bool:
    return signal.failure_weight > 0 and not (signal.limits.low is None and signal.limits.high is None)


def _join(earlier: Iterable[SignalHistory], later: Sequence[SignalHistory]) -> list[SignalHistory]:
    """One history per node and part out of two stretches of time; where they overlap the later one holds.

    A part that only the earlier stretch knows has NaN over the later one: it fell silent.
    """
    before = {(h.node, h.part): h for h in earlier}
    after = {(h.node, h.part): h for h in later}
    times = later[0].times if later else np.zeros(0)
    joined: list[SignalHistory] = []
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if old is None:
            joined += [new] if new is not None else []
            continue
        signal = old.signal if new is None else new.signal
        values = np.full(times.shape, np.nan) if new is None else new.values
        keep = old.times < times[0] if times.size else np.ones(old.times.shape, bool)
        joined.append(
            SignalHistory(
                signal, *key, np.concatenate((old.times[keep], times)), np.concatenate((old.values[keep], values))
            )
        )
    return joined
