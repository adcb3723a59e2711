"""What is worked out once for each signal, row by row, so that a feature at any moment is a look-up.

Rows are sorted by unit and time. Sums run within a unit and start at its first row: cutting the data off anywhere leaves every
number before it bit for bit the same. A moment or a value that a row stands for is kept as the number of the row it came
from (four bytes), and what equals the signal's own column is that column: this is what memory goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.forecast.data.dataset import MICROSECONDS, Floats, Ints, Telemetry

Rows = NDArray[np.int32]
"""A row for each row; -1: none yet."""
AT_ONCE = 8
"""Signals worked out together: enough to make the loop over units cheap, few enough to bound what is held meanwhile."""


@dataclass(frozen=True, slots=True)
class RunningSums:
    """One signal, for every row of the telemetry."""

    held: Floats
    """the last value reported until then; NaN: none yet"""
    first: Rows
    """where it was first reported"""
    rises: Rows
    """how often it rose until then"""
    rose: Rows
    """where it last rose"""
    changes: Rows
    """how often it changed until then"""
    changed: Rows
    """where it last changed"""
    peak: Floats
    """the highest value until then; -inf: none yet"""
    integral: Floats | None
    """seconds x (held - first) until then; None: not asked for"""
    squares: Floats | None
    """seconds x (held - first) squared until then"""

    def first_value(self, row: Ints) -> Floats:
        """What was first reported, as known at each of these rows; NaN: nothing yet."""
        at = self.first[row]
        return np.where(at < 0, np.nan, self.held[at])


def running_sums(telemetry: Telemetry, places: Sequence[int], *, spread: bool) -> Iterator[RunningSums]:
    """The sums of the columns `places`, in order. spread: integrals too."""
    rows = telemetry.unit.size
    fresh = np.ones(rows, bool)
    fresh[1:] = telemetry.unit[1:] != telemetry.unit[:-1]
    starts = np.flatnonzero(fresh)
    edges = np.append(starts, rows)
    begin = np.repeat(starts, np.diff(edges)).astype(np.int32)
    # The last row of a unit lasts until a moment that nobody has asked for yet.
    seconds = np.zeros(rows)
    seconds[:-1] = np.where(fresh[1:], 0.0, np.diff(telemetry.time) / MICROSECONDS)
    for k in range(0, len(places), AT_ONCE):
        yield from _block(telemetry, places[k : k + AT_ONCE], fresh, begin, edges, seconds, spread=spread)


def _block(
    telemetry: Telemetry,
    places: Sequence[int],
    fresh: NDArray[np.bool_],
    begin: Rows,
    edges: Ints,
    seconds: Floats,
    *,
    spread: bool,
) -> Iterator[RunningSums]:
    held = [_held(telemetry.values[:, place], begin) for place in places]
    first = [_latest(~np.isnan(one) & (fresh | np.isnan(_before(one))), begin) for one in held]
    peak = _within(np.maximum, [np.where(np.isnan(one), -np.inf, one) for one in held], edges)
    area: list[Floats] = []
    squares: list[Floats] = []
    if spread:
        off = [np.nan_to_num(one - one[at]) for one, at in zip(held, first, strict=True)]
        area = _within(np.add, [_shifted(one * seconds, fresh) for one in off], edges)
        squares = _within(np.add, [_shifted(one * one * seconds, fresh) for one in off], edges)
    for k, now in enumerate(held):
        then = _before(now)
        told = ~fresh & ~np.isnan(now) & ~np.isnan(then)
        rise, change = told & (now > then), told & (now != then)
        yield RunningSums(
            held=now,
            first=first[k],
            rises=_counted(rise, begin),
            rose=_latest(rise, begin),
            changes=_counted(change, begin),
            changed=_latest(change, begin),
            peak=now if np.array_equal(peak[k], now) else peak[k],
            integral=area[k] if spread else None,
            squares=squares[k] if spread else None,
        )


def _held(column: Floats, begin: Rows) -> Floats:
    missing = np.isnan(column)
    if not missing.any():
        return column
    row = _latest(~missing, begin)
    return np.where(row < 0, np.nan, column[row])


def _before(values: Floats) -> Floats:
    """The value of the row before; a unit's first row has none, which callers mind."""
    back = np.empty_like(values)
    back[0], back[1:] = np.nan, values[:-1]
    return back


def _shifted(values: Floats, fresh: NDArray[np.bool_]) -> Floats:
    """What the row before lasted for, nothing for a unit's first."""
    back = _before(values)
    back[fresh] = 0.0
    return back


def _latest(marked: NDArray[np.bool_], begin: Rows) -> Rows:
    """For each row the last marked one of its unit so far."""
    row = np.maximum.accumulate(np.where(marked, np.arange(marked.size, dtype=np.int32), np.int32(-1)))
    row[row < begin] = -1
    return row


def _counted(marked: NDArray[np.bool_], begin: Rows) -> Rows:
    """How many are marked within the unit so far."""
    total = np.cumsum(marked, dtype=np.int32)
    before = total[begin] - marked[begin]
    return (total - before).astype(np.int32)


def _within(how: np.ufunc, columns: list[Floats], edges: Ints) -> list[Floats]:
    """`how` accumulated within each unit. One unit after the other: a running total over all, less what came before the unit,
    would round otherwise once another unit is left out."""
    together = np.stack(columns, axis=1)
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if end - start > 1:
            how.accumulate(together[start:end], axis=0, out=together[start:end])
    return [np.ascontiguousarray(together[:, k]) for k in range(together.shape[1])]
