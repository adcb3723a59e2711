"""Most parts are calm most of the time: told for many at once, in a tenth of the time it takes one by one. Pure.

A part is calm when its healthy past is known, its newest readings are nowhere on the way to a limit, and
nothing of it can flutter. `models.forecast.limits.part` would find 0 for it; whoever is in doubt is left to that.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from models.forecast.limits.evidence import (
    COARSEST,
    FEWEST,
    INDEPENDENT,
    PAST_SAMPLES,
    PAST_SECONDS,
    Floats,
    cadence_of,
    recent_seconds,
    short_seconds,
    spans,
    trimmed,
)
from models.forecast.limits.part import (
    NEEDED_MARGIN,
    NEWS,
    NEWS_RATIO,
    PROGRESS,
    PROGRESS_UNDER_LOAD,
    can_flutter,
    stale_seconds,
)
from models.risk.signal import Limits, Signal, SignalHistory, SignalKind

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Figures:
    """What of a signal the screen needs, read once."""

    limits: Limits
    low: float
    high: float
    relative: bool
    noise: float
    begins: float
    is_counter: bool
    follows_load: bool
    flutters: bool
    is_celsius: bool


def calm(histories: Sequence[SignalHistory], *, now: float) -> Bools:
    """Which of one node's histories, none later than `now`, are surely calm. Histories on one grid are judged together."""
    found: Bools = np.zeros(len(histories), dtype=bool)
    grids: dict[tuple[int, int], list[int]] = defaultdict(list)
    figures: list[_Figures | None] = []
    for place, history in enumerate(histories):
        known = _figures(history.signal)
        figures.append(known)
        if known is not None and history.times.size > PAST_SAMPLES:
            grids[history.times.__array_interface__["data"][0], history.times.size].append(place)
    for places in grids.values():
        times = histories[places[0]].times
        values: Floats = np.stack([histories[place].values for place in places])
        rows = [figure for place in places if (figure := figures[place]) is not None]
        found[places] = _calm(times, values, rows, now)
    return found


_KNOWN: dict[int, tuple[ref[Signal], _Figures | None]] = {}
"""By identity: to hash a signal takes longer than to judge its part. Held weakly: after a reload the catalogue is another one."""


def _figures(signal: Signal) -> _Figures | None:
    """None: not watched."""
    place = id(signal)
    known = _KNOWN.get(place)
    if known is None or known[0]() is not signal:
        known = _KNOWN[place] = ref(signal, lambda _: _KNOWN.pop(place, None)), _read(signal)
    return known[1]


def _read(signal: Signal) -> _Figures | None:
    limits = signal.limits
    if not signal.is_watched:
        return None
    return _Figures(
        limits,
        -math.inf if limits.low is None else limits.low,
        math.inf if limits.high is None else limits.high,
        limits.relative,
        signal.noise,
        (PROGRESS_UNDER_LOAD if signal.follows_load else PROGRESS)[0],
        signal.kind is SignalKind.COUNTER,
        signal.follows_load,
        can_flutter(signal),
        signal.unit == "°C",
    )


def _calm(times: Floats, values: Floats, rows: Sequence[_Figures], now: float) -> Bools:
    """`values` are parts × times, one grid."""
    known = np.asarray(np.isfinite(values).all(axis=1), dtype=bool)
    cadence = cadence_of(times)
    before = int(np.searchsorted(times, now - recent_seconds(cadence), side="left"))
    if (
        now - float(times[-1]) > stale_seconds(cadence)
        or before < PAST_SAMPLES
        or times[before - 1] - times[0] < PAST_SECONDS
    ):
        return np.zeros(len(rows), dtype=bool)
    low, high, noise, begins = (
        np.array([getattr(row, name) for row in rows]) for name in ("low", "high", "noise", "begins")
    )
    relative, counter, load, flutters, celsius = (
        np.array([getattr(row, name) for row in rows], dtype=bool)
        for name in ("relative", "is_counter", "follows_load", "flutters", "is_celsius")
    )
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        jumps = values[:, 1:] - values[:, :-1]
        known &= ~(counter & (jumps < 0).any(axis=1))
        center, spread, jitter, least, greatest = _past(values[:, :before], jumps[:, : before - 1], noise)
        low, high = np.where(relative, low + center, low), np.where(relative, high + center, high)
        for k, row in enumerate(rows):
            if row.limits.rows:
                measured = row.limits.measured(float(center[k]))
                known[k] &= measured is not None
                if measured is not None and measured.low is not None and measured.high is not None:
                    low[k], high[k] = measured.low, measured.high
        below, above = center - low, high - center
        last = values[:, -1]
        near = int(np.searchsorted(times, times[-1] - short_seconds(cadence), side="left"))
        short, three = values[:, min(near, times.size - 3) :], values[:, -3:]
        # Of what follows the load only the level counts, of which the newest three are the bounds.
        lowest = np.where(load, three.min(axis=1), short.min(axis=1))
        highest = np.where(load, three.max(axis=1), short.max(axis=1))
        lowest, highest = np.where(counter, last, lowest), np.where(counter, last, highest)
        fits = (below >= NEEDED_MARGIN * spread) | ((least - low > 2.0 * noise) & (below > 0))
        fits &= (above >= NEEDED_MARGIN * spread) | ((high - greatest > 2.0 * noise) & (above > 0))
        away = (1.0 - (lowest - low) / below <= begins - 1e-9) | np.isinf(low)
        away &= (1.0 - (high - highest) / above <= begins - 1e-9) | np.isinf(high)
        # What may be another unit is for the long way to tell.
        same = (np.abs(last) < 1.7 * np.abs(center)) & (np.abs(last) > 0.6 * np.abs(center)) | (center <= 4.0 * spread)
        same &= ~celsius | (last < center + 20.0)
    known &= fits & away & same
    tell = np.flatnonzero(known & flutters)
    if tell.size:
        known[tell] = ~_may_flutter(times, jumps[tell], spread[tell], jitter[tell], cadence)
    return known


def _past(before: Floats, jumps: Floats, noise: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Center, spread, jitter, third lowest and third highest of each row, as `models.forecast.limits.evidence.past`."""
    ordered = np.sort(before, axis=1)
    size = before.shape[1]
    half = round(0.5 * (size - 1))
    center = ordered[:, half]
    gaps = ordered[:, 3:-2] - ordered[:, 2:-3]  # as in `evidence`: a wild reading or two at each end left out
    positive = gaps > 0
    count = positive.sum(axis=1)
    step = np.where((count >= 1) & (count < 60), np.where(positive, gaps, np.inf).min(axis=1), 0.0)
    widest = np.maximum(3.0 * noise, COARSEST * np.abs(center))
    floor = np.maximum(noise, np.where(noise > 0, np.minimum(step, widest), step)) / 2.0
    floor = np.where(floor > 0, floor, 1e-9)
    outer = (ordered[:, round(0.85 * (size - 1))] - ordered[:, round(0.15 * (size - 1))]) / (2 * 1.0364)
    off = np.partition(np.abs(before - center[:, None]), half, axis=1)[:, half]
    spread = np.maximum(floor, np.maximum(1.4826 * off, outer))
    places = [round(0.5 * (size - 2)), round(0.85 * (size - 2))]
    steps = np.partition(np.abs(jumps), places, axis=1)
    jitter = np.maximum(
        floor,
        np.maximum(1.4826 * steps[:, places[0]] / math.sqrt(2.0), steps[:, places[1]] / (1.4395 * math.sqrt(2.0))),
    )
    return center, spread, np.minimum(jitter, spread), ordered[:, 2], ordered[:, -3]


def _may_flutter(times: Floats, jumps: Floats, spread: Floats, jitter: Floats, cadence: float) -> Bools:
    """As `models.forecast.limits.evidence.may_flutter`, of many."""
    looked_at = spans(cadence)
    first = np.searchsorted(times, times[-1] - np.array(looked_at) - 0.5, side="left")
    tail = int(first.min())
    squares = np.cumsum(np.square(jumps[:, tail:])[:, ::-1], axis=1)
    found: Bools = np.zeros(jumps.shape[0], dtype=bool)
    for begin in first.tolist():
        count = times.size - begin - 1
        if count + 1 < FEWEST:
            continue
        kept = count - max(2, count // 6)
        wide = np.sqrt(squares[:, count - 1] / (2.0 * kept)) / trimmed(kept / count) * (1.0 + 1e-9)
        usual = jitter if times[-1] - times[begin] <= short_seconds(cadence) else spread
        part = 2.0 / (9.0 * min(kept, INDEPENDENT))
        ratio = wide / usual
        found |= (ratio >= NEWS_RATIO) & ((ratio ** (2.0 / 3.0) - (1.0 - part)) / math.sqrt(part) >= NEWS)
    return found
