"""Every signal's history out of the metrics, of which a look asks only for what the looks before it have not read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from agent.observe.observation import UnreadSource
from agent.observe.summaries import refresh
from models.errors import LifeboatError, MetricsRefused, MetricsUnavailable
from models.risk.signal import Floats, Signal, SignalHistory
from tools.ports.telemetry import MetricsSource, ScrapeSource, SummarySource

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
CADENCE_KEPT = timedelta(minutes=30)
"""How long what was learned of the scrapes is used before it is learned again."""
RARER = 1.5
"""Series that are scraped more rarely than this many steps of an answer are thinned to their scrapes."""
_QUERIES_AT_ONCE = 4
_TRIES = 3
"""Signals asked for before nobody is taken to be there: one alone may be refused."""


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
    cadences: dict[str, tuple[datetime, Mapping[str, float]]] = field(
        default_factory=dict[str, tuple[datetime, Mapping[str, float]]]
    )
    """by signal: when it was learned, and the seconds between scrapes by node"""
    windowed: dict[str, Signal] = field(default_factory=dict[str, Signal])
    """by name: signals whose window was made to hold three scrapes"""
    grids: dict[tuple[bytes, bytes], Floats] = field(default_factory=dict[tuple[bytes, bytes], Floats])
    """times of a day and the last half hour, one array for all parts that have the same: they are judged together"""
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

    memory.grids.clear()
    learning = {s.name for s in signals if s.is_watched and _is_due(memory.cadences.get(s.name), now)}

    def read(asked: Signal) -> list[SignalHistory] | LifeboatError:
        try:
            cadences = _cadences(metrics, asked, now, memory, learn=asked.name in learning)
            signal = _windowed(asked, cadences, memory)
            recent = _recent(metrics, signal, now, interval, memory)
            if any(cadence > RARER * interval for cadence in cadences.values()):
                recent = _thinned(recent, _scrapes(metrics, signal, now, interval, memory), cadences, interval, memory)
            joined = _join(_day(metrics, signal, now, memory, again=signal.name in again), recent, memory)
            _hold_once(signal.name, joined, memory)
            return joined
        except LifeboatError as error:
            return error

    failed: dict[str, LifeboatError] = {}
    if memory.ring is not None and memory.summaries is not None:
        known = [memory.windowed.get(signal.name, signal) for signal in signals]
        failed = refresh(
            memory.ring, memory.summaries, known, now=now, interval_seconds=interval, recorded=memory.recorded
        )
    outcomes: list[list[SignalHistory] | LifeboatError] = []
    for signal in signals[:_TRIES]:
        outcome = read(signal)
        outcomes.append(outcome)
        if not isinstance(outcome, MetricsUnavailable):
            break
        if not isinstance(outcome, MetricsRefused) or len(outcomes) == min(_TRIES, len(signals)):
            return [], [UnreadSource("metrics", outcome)]
    with ThreadPoolExecutor(max_workers=_QUERIES_AT_ONCE) as pool:
        outcomes += pool.map(read, signals[len(outcomes) :])
    histories: list[SignalHistory] = []
    unread: list[UnreadSource] = []
    for signal, outcome in zip(signals, outcomes, strict=True):
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
    length = RECENT if signal.is_watched else BRIEF
    asked, known = memory.recent.get(signal.name, (now - length, []))
    if not now - length <= asked < now:
        asked, known = now - length, []
    # Counted back from now, so that the newest sample is never a step old.
    steps = int((now - asked).total_seconds() / interval)
    start = now - timedelta(seconds=max(1, steps) * interval)
    fresh = metrics.histories(signal, start=start, end=now, step_seconds=interval)
    begin = (now - length).timestamp()
    recent = _lean(_since(_join(known, fresh, None), begin))
    memory.recent[signal.name] = now, recent
    return recent


def _day(
    metrics: MetricsSource, signal: Signal, now: datetime, memory: TelemetryCache, *, again: bool
) -> list[SignalHistory]:
    """The day before the last half hour; nothing where no limit needs a healthy past to be judged by."""
    if not signal.is_watched:
        return []
    if signal.name not in memory.days or again:
        if memory.ring is not None:
            begin, end = ((now - ago).timestamp() for ago in (DAY, RECENT))
            past = memory.ring.histories(signal, first=math.ceil(begin), last=math.floor(end))
            memory.days[signal.name] = now, _lean(past)
            return memory.days[signal.name][1]
        day = metrics.histories(signal, start=now - DAY, end=now - RECENT, step_seconds=DAY_STEP_SECONDS)
        memory.days[signal.name] = now, _lean(day)
    return memory.days[signal.name][1]


# ---- scrapes: what an answer repeats at every step was read once ----


def _is_due(known: tuple[datetime, object] | None, now: datetime) -> bool:
    return known is None or not known[0] <= now <= known[0] + CADENCE_KEPT


def _cadences(
    metrics: MetricsSource, signal: Signal, now: datetime, memory: TelemetryCache, *, learn: bool
) -> Mapping[str, float]:
    """Seconds between scrapes by node; nothing where nobody can tell, as for an answer that is refused."""
    if learn and isinstance(metrics, ScrapeSource):
        try:
            memory.cadences[signal.name] = now, metrics.cadences(signal, at=now)
        except LifeboatError as error:
            if isinstance(error, MetricsUnavailable) and not isinstance(error, MetricsRefused):
                raise
            memory.cadences[signal.name] = now, memory.cadences.get(signal.name, (now, {}))[1]
    return memory.cadences.get(signal.name, (now, {}))[1]


def _windowed(signal: Signal, cadences: Mapping[str, float], memory: TelemetryCache) -> Signal:
    """The signal with a window that holds three scrapes of the node that is scraped most rarely."""
    wanted = signal.with_window(max(cadences.values(), default=0.0))
    known = memory.windowed.get(signal.name)
    if known is None or known.window != wanted.window or known.promql != wanted.promql:
        memory.windowed[signal.name] = wanted
        memory.recent.pop(signal.name, None)
        return wanted
    return known


def _scrapes(
    metrics: MetricsSource, signal: Signal, now: datetime, interval: float, memory: TelemetryCache
) -> dict[str, SignalHistory]:
    """By node: the moment of the newest scrape, at each step of the last half hour. Asked for as the signal itself."""
    if not isinstance(metrics, ScrapeSource):
        return {}
    name = f"{signal.name} scrapes"
    asked, known = memory.recent.get(name, (now - RECENT, []))
    if not now - RECENT <= asked < now:
        asked, known = now - RECENT, []
    steps = int((now - asked).total_seconds() / interval)
    start = now - timedelta(seconds=max(1, steps) * interval)
    fresh = metrics.scrapes(signal, start=start, end=now, step_seconds=interval)
    recent = [history.since((now - RECENT).timestamp()) for history in _join(known, fresh, None)]
    memory.recent[name] = now, recent
    return {history.node: history for history in recent}


def _thinned(
    recent: Iterable[SignalHistory],
    scrapes: Mapping[str, SignalHistory],
    cadences: Mapping[str, float],
    interval: float,
    memory: TelemetryCache,
) -> list[SignalHistory]:
    """Only the readings that are scrapes of their own, dated by these."""
    places: dict[str, tuple[Floats, Floats] | None] = {}
    thinned: list[SignalHistory] = []
    for history in recent:
        if cadences.get(history.node, 0.0) <= RARER * interval:
            thinned.append(history)
            continue
        if history.node not in places:
            places[history.node] = _new_scrapes(scrapes.get(history.node), memory)
        found = places[history.node]
        if found is None:
            thinned.append(history)
            continue
        steps, moments = found
        where = np.minimum(np.searchsorted(history.times, steps), history.times.size - 1)
        values = np.where(history.times[where] == steps, history.values[where], np.nan)
        thinned.append(SignalHistory(history.signal, history.node, history.part, moments, values))
    return thinned


def _new_scrapes(history: SignalHistory | None, memory: TelemetryCache) -> tuple[Floats, Floats] | None:
    """The steps at which a new scrape shows first, and the moments of these scrapes."""
    if history is None:
        return None
    known = np.flatnonzero(np.isfinite(history.values))
    if not known.size:
        return None
    moments = history.values[known]
    new = np.concatenate(([True], moments[1:] > moments[:-1] + 0.5))
    steps, moments = history.times[known][new], np.minimum(moments, history.times[known])[new]
    key = b"", moments.tobytes()
    return steps, memory.grids.setdefault(key, moments)


def _join(
    earlier: Iterable[SignalHistory], later: Sequence[SignalHistory], memory: TelemetryCache | None
) -> list[SignalHistory]:
    """One history per node and part out of two stretches of time; where they overlap the later one holds.

    A part that only the earlier stretch knows has NaN over the later one: it fell silent.
    """
    before = {(h.node, h.part): h for h in earlier}
    after = {(h.node, h.part): h for h in later}
    of_node = {h.node: h.times for h in later}
    usual = later[0].times if later else np.zeros(0)
    grids: dict[tuple[tuple[int, int], tuple[int, int]], tuple[Floats, Floats, int, Floats]] = {}
    joined: list[SignalHistory] = []
    places = _Places()
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if old is None:
            joined += [new] if new is not None else []
            continue
        signal = old.signal if new is None else new.signal
        times = of_node.get(key[0], usual) if new is None else new.times
        values = np.full(times.shape, np.nan) if new is None else new.values
        grid = places.of(old.times), places.of(times)
        if grid not in grids:
            kept = int(np.searchsorted(old.times, times[0], side="left")) if times.size else old.times.size
            whole = np.concatenate((old.times[:kept], times))
            whole.flags.writeable = False
            if memory is not None:  # parts of one grid are judged together
                whole = memory.grids.setdefault((whole[-1:].tobytes(), whole.tobytes()), whole)
            grids[grid] = old.times, times, kept, whole
        kept, whole = grids[grid][2:]
        joined.append(SignalHistory(signal, *key, whole, _one_after_the_other(old.values[:kept], values)))
    return joined


def _one_after_the_other(before: Floats, after: Floats) -> Floats:
    """Both stretches. What never moved in either, as most states and counts of damage, is one number seen many times: a day of
    10,000 nodes is 2 GB otherwise, and 0.7 GB so."""
    if not before.size or not after.size or before[0] != after[0] or not (_is_steady(before) and _is_steady(after)):
        values = np.concatenate((before, after))
        values.flags.writeable = False  # so that it is kept as it is, without a view of its own
        return values
    return _number(float(before[0]), before.size + after.size)


def _hold_once(name: str, joined: Iterable[SignalHistory], memory: TelemetryCache) -> None:
    """Let what is kept for the next look be the beginning and the end of what this one joined, not a second copy of them."""
    whole = {(h.node, h.part): h for h in joined}
    if name in memory.days:
        read, day = memory.days[name]
        memory.days[name] = read, [_beginning(h, whole.get((h.node, h.part))) for h in day]
    if name in memory.recent:
        asked, recent = memory.recent[name]
        memory.recent[name] = asked, [_end(h, whole.get((h.node, h.part))) for h in recent]


def _beginning(day: SignalHistory, whole: SignalHistory | None) -> SignalHistory:
    # Where the stretches overlap, the later one took the place of the day's last samples: another number stays apart.
    return _held(day, whole, slice(0, day.values.size))


def _end(recent: SignalHistory, whole: SignalHistory | None) -> SignalHistory:
    # What was thinned to its scrapes has other times and stays apart.
    return _held(recent, whole, slice(0 if whole is None else whole.values.size - recent.values.size, None))


def _held(part: SignalHistory, whole: SignalHistory | None, where: slice) -> SignalHistory:
    """`part` as the stretch of `whole` that it is, if that has the same ends."""
    count = part.values.size
    if whole is None or part.values.strides == (0,) or not 0 < count <= whole.values.size:
        return part
    times, values = whole.times[where], whole.values[where]
    same = times[0] == part.times[0] and times[-1] == part.times[-1]
    if not same or values[0] != part.values[0] or values[-1] != part.values[-1]:
        return part
    return SignalHistory(part.signal, part.node, part.part, part.times, values)


def _is_steady(values: Floats) -> bool:
    return values.strides == (0,) or bool(values[0] == values[-1] and (values == values[0]).all())


@lru_cache(maxsize=4096)
def _number(value: float, count: int) -> Floats:
    """One number `count` times, in eight bytes; the same array for all who ask for it."""
    return np.broadcast_to(np.float64(value), (count,))


def _lean(histories: Iterable[SignalHistory]) -> list[SignalHistory]:
    """The same, each that never moved as one number, and the times of one grid as one array."""
    grids: dict[tuple[int, int], Floats] = {}
    places = _Places()
    return [
        SignalHistory(
            h.signal,
            h.node,
            h.part,
            grids.setdefault(places.of(h.times), h.times),
            _number(float(h.values[0]), h.values.size) if h.values.size and _is_steady(h.values) else h.values,
        )
        for h in histories
    ]


def _since(histories: Iterable[SignalHistory], start: float) -> Iterable[SignalHistory]:
    """The part of each at or after `start`."""
    cuts: dict[tuple[int, int], tuple[int, Floats]] = {}
    places = _Places()
    for h in histories:
        place = places.of(h.times)
        if place not in cuts:
            first = int(np.searchsorted(h.times, start, side="left"))
            cuts[place] = first, h.times[first:]
        first, times = cuts[place]
        yield SignalHistory(h.signal, h.node, h.part, times, h.values[first:])


class _Places:
    """`_place` of many arrays, of which most are the same: asked of each once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[tuple[int, int], Floats]] = {}
        """with the array itself, whose id is another's once it is gone"""

    def of(self, times: Floats) -> tuple[int, int]:
        known = self._known.get(id(times))
        if known is None:
            known = self._known[id(times)] = _place(times), times
        return known[0]


def _place(times: Floats) -> tuple[int, int]:
    """The same for views of the same stretch of one array."""
    return times.__array_interface__["data"][0], times.size
