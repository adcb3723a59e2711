"""Features of a unit's signals: held values, changes, rises, time since, means and spreads over windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.forecast.data.as_of import Index, span_name
from models.forecast.data.dataset import DAY, FOREVER, MICROSECONDS, Floats, Ints, Telemetry

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Signal:
    """What is worked out once per signal, for every row of the telemetry."""

    held: Floats
    first: Floats
    rises: Ints
    rose_at: Ints
    changed_at: Ints
    changes: Ints
    first_at: Ints
    peak: Floats
    integral: Floats | None
    squares: Floats | None


class SignalFeatures:
    """Running sums of each signal of `telemetry` (None: nothing was reported), shared by all lookups."""

    def __init__(
        self,
        telemetry: Telemetry | None,
        units: int,
        signals: Sequence[str],
        clocks: Sequence[float],
        windows: Sequence[int],
        *,
        spread: bool,
    ) -> None:
        self._telemetry = telemetry
        self._signals_named = tuple(signals)
        self._clocks = tuple(clocks)
        self._windows = tuple(windows)
        self._spread_too = spread
        self._index: Index | None = None
        self._signals: list[_Signal | None] = []
        if telemetry is not None and signals:
            self._index = Index(telemetry.unit, telemetry.time, units)
            where = {name: place for place, name in enumerate(telemetry.signals)}
            for name in signals:
                place = where.get(name)
                self._signals.append(None if place is None else self._prepare(telemetry, telemetry.values[:, place]))

    @property
    def names(self) -> list[str]:
        """What `columns` returns, in order."""
        if not self._signals_named:
            return []
        spans = [span_name(w) for w in self._windows]
        names = ["rows.age", *(f"rows.count_{w}" for w in spans)] if self._spread_too else []
        for name, clock in zip(self._signals_named, self._clocks, strict=True):
            if clock:
                # Whatever else it told would be how often rows came: a new exporter would look like a change of the unit.
                names.append(f"{name}.last")
                continue
            names += [f"{name}.last", f"{name}.peak_gap", f"{name}.since_rise", f"{name}.since_change"]
            names += [f"{name}.reported_for", f"{name}.change_total", f"{name}.rises_total"]
            names += [f"{name}.change_{w}" for w in spans] + [f"{name}.rises_{w}" for w in spans]
            if self._spread_too:
                names += [f"{name}.mean_{w}" for w in spans] + [f"{name}.spread_{w}" for w in spans]
                names += [f"{name}.off_mean_{w}" for w in spans]
        together = [f"signals.rising_{w}" for w in spans] + [f"signals.changes_{w}" for w in spans]
        return [*names, "signals.nonzero", "signals.missing", *together]

    def _prepare(self, telemetry: Telemetry, column: Floats) -> _Signal:
        frame = pl.DataFrame({"u": telemetry.unit, "t": telemetry.time, "v": column}).with_columns(
            pl.col("v").fill_nan(None).forward_fill().over("u")
        )
        rise = (pl.col("v") > pl.col("v").shift(1).over("u")).fill_null(False)
        change = (pl.col("v") != pl.col("v").shift(1).over("u")).fill_null(False)
        appears = pl.col("v").is_not_null() & pl.col("v").shift(1).over("u").is_null()
        frame = frame.with_columns(
            rise.cast(pl.Int64).cum_sum().over("u").alias("rises"),
            pl.when(rise).then(pl.col("t")).forward_fill().over("u").alias("rose_at"),
            change.cast(pl.Int64).cum_sum().over("u").alias("changes"),
            pl.when(change).then(pl.col("t")).forward_fill().over("u").alias("changed_at"),
            pl.when(appears).then(pl.col("t")).forward_fill().over("u").alias("first_at"),
            pl.when(appears).then(pl.col("v")).forward_fill().over("u").alias("first"),
            pl.col("v").fill_null(-np.inf).cum_max().over("u").alias("peak"),
        )
        integral = squares = None
        if self._spread_too:
            seconds = (pl.col("t").shift(-1).over("u") - pl.col("t")) / MICROSECONDS
            off = pl.col("v") - pl.col("first")
            frame = frame.with_columns(
                (off * seconds).fill_null(0.0).shift(1).fill_null(0.0).alias("area"),
                (off * off * seconds).fill_null(0.0).shift(1).fill_null(0.0).alias("area2"),
                (pl.col("u") != pl.col("u").shift(1)).fill_null(True).alias("new"),
            ).with_columns(
                pl.when("new").then(0.0).otherwise(pl.col("area")).cum_sum().over("u").alias("area"),
                pl.when("new").then(0.0).otherwise(pl.col("area2")).cum_sum().over("u").alias("area2"),
            )
            integral, squares = frame["area"].to_numpy(), frame["area2"].to_numpy()

        def times(name: str) -> Ints:
            return frame[name].fill_null(-FOREVER).to_numpy()

        return _Signal(
            held=frame["v"].fill_null(np.nan).to_numpy(),
            first=frame["first"].fill_null(np.nan).to_numpy(),
            rises=frame["rises"].to_numpy(),
            rose_at=times("rose_at"),
            changed_at=times("changed_at"),
            changes=frame["changes"].to_numpy(),
            first_at=times("first_at"),
            peak=frame["peak"].to_numpy(),
            integral=integral,
            squares=squares,
        )

    def columns(self, unit: Ints, time: Ints) -> list[NDArray[np.generic]]:
        telemetry, index, windows = self._telemetry, self._index, self._windows
        nothing = np.full(unit.size, np.nan)
        blank = [nothing] * (7 + len(windows) * (5 if self._spread_too else 2))
        if telemetry is None or index is None or not telemetry.time.size:
            silent = [column for clock in self._clocks for column in ([nothing] if clock else blank)]
            together = [nothing] * (2 * len(windows))
            rows = [nothing] * (1 + len(windows)) if self._spread_too else []
            return [*rows, *silent, nothing, np.full(unit.size, float(len(self._signals_named))), *together]
        start = index.start[unit]
        row = index.at(unit, time)
        none = row < start
        row = np.maximum(row, 0)
        before = [index.at(unit, time - w) for w in windows]
        early = [b < start for b in before]
        clipped = [np.maximum(np.where(e, start, b), 0) for b, e in zip(before, early, strict=True)]
        clipped = [np.minimum(c, telemetry.time.size - 1) for c in clipped]
        columns: list[NDArray[np.generic]] = []
        if self._spread_too:  # rows come regularly, so one that is missing tells something
            columns.append(np.where(none, np.nan, (time - telemetry.time[row]) / DAY))
            columns += [np.where(none, np.nan, row - np.maximum(b, start - 1)) for b in before]
        nonzero, missing = np.zeros(unit.size), np.zeros(unit.size)
        rising = [np.zeros(unit.size) for _ in windows]
        changed = [np.zeros(unit.size) for _ in windows]
        for signal, clock in zip(self._signals, self._clocks, strict=True):
            if signal is None:
                columns += [nothing] if clock else blank
                missing += 1
                continue
            held = np.where(none, np.nan, signal.held[row])
            absent = np.isnan(held)
            missing += absent
            if clock:
                columns.append(held + clock * ((time - telemetry.time[row]) / MICROSECONDS))
                continue
            first = np.where(none, np.nan, signal.first[row])
            columns += [
                held,
                np.where(absent, np.nan, signal.peak[row] - held),
                _since(time, signal.rose_at[row], none),
                _since(time, signal.changed_at[row], none),
                _since(time, signal.first_at[row], none),
                held - first,
                np.where(absent, np.nan, signal.rises[row]),
            ]
            changes: list[NDArray[np.generic]] = []
            rises: list[NDArray[np.generic]] = []
            for k, at in enumerate(clipped):
                then = np.where(early[k], first, signal.held[at])
                then = np.where(np.isnan(then), first, then)
                # Rises are counted after row `at`; a window that opens before the first row counts them all.
                count = signal.rises[row] - np.where(early[k], 0, signal.rises[at])
                changes.append(held - then)
                rises.append(np.where(absent, np.nan, count))
                rising[k] += ~absent & (count > 0)
                changed[k] += np.where(absent, 0, signal.changes[row] - np.where(early[k], 0, signal.changes[at]))
            columns += changes + rises
            if self._spread_too:
                columns += self._spread(signal, time, row, none, clipped, early)
            nonzero += ~absent & (held > 0)
        together = [np.where(none, np.nan, column) for column in (*rising, *changed)]
        return [*columns, np.where(none, np.nan, nonzero), missing, *together]

    def _spread(
        self, signal: _Signal, time: Ints, row: Ints, none: Bools, clipped: list[Ints], early: list[Bools]
    ) -> list[NDArray[np.generic]]:
        """Time-weighted mean and standard deviation over each window, and how far the last value is from that mean."""

        telemetry = self._telemetry
        if telemetry is None or signal.integral is None or signal.squares is None:
            raise AssertionError("spread was planned, so its sums were prepared")
        off = signal.held[row] - signal.first[row]
        lasted = (time - telemetry.time[row]) / MICROSECONDS
        area, square = signal.integral[row] + off * lasted, signal.squares[row] + off * off * lasted
        means: list[NDArray[np.generic]] = []
        spreads: list[NDArray[np.generic]] = []
        offs: list[NDArray[np.generic]] = []
        for k, window in enumerate(self._windows):
            at = clipped[k]
            opened = np.where(early[k], telemetry.time[at], time - window)
            then = signal.held[at] - signal.first[at]
            held_for = (opened - telemetry.time[at]) / MICROSECONDS
            span = np.maximum((time - opened) / MICROSECONDS, 1.0)
            mean = (area - signal.integral[at] - then * held_for) / span
            variance = (square - signal.squares[at] - then * then * held_for) / span - mean * mean
            means.append(np.where(none, np.nan, mean + signal.first[row]))
            spreads.append(np.where(none, np.nan, np.sqrt(np.maximum(variance, 0.0))))
            offs.append(np.where(none, np.nan, off - mean))
        return means + spreads + offs


def _since(time: Ints, then: Ints, none: Bools) -> Floats:
    return np.where(none | (then <= -FOREVER), np.nan, (time - then) / DAY)
