"""Features of a unit's signals: held values, changes, rises, time since, means and spreads over windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.forecast.data.as_of import Index, span_name
from models.forecast.data.dataset import DAY, MICROSECONDS, Floats, Ints, Telemetry
from models.forecast.learned.features.running_sums import Rows, RunningSums, running_sums

Bools = NDArray[np.bool_]


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
        self._signals: list[RunningSums | None] = []
        if telemetry is not None and telemetry.time.size and signals:
            self._index = Index(telemetry.unit, telemetry.time, units)
            where = {name: place for place, name in enumerate(telemetry.signals)}
            sums = running_sums(telemetry, [where[name] for name in signals if name in where], spread=spread)
            self._signals = [next(sums) if name in where else None for name in signals]

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
            first = np.where(none, np.nan, signal.first_value(row))
            columns += [
                held,
                np.where(absent, np.nan, signal.peak[row] - held),
                self._since(time, signal.rose[row], none),
                self._since(time, signal.changed[row], none),
                self._since(time, signal.first[row], none),
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
        self, signal: RunningSums, time: Ints, row: Ints, none: Bools, clipped: list[Ints], early: list[Bools]
    ) -> list[NDArray[np.generic]]:
        """Time-weighted mean and standard deviation over each window, and how far the last value is from that mean."""

        telemetry = self._telemetry
        if telemetry is None or signal.integral is None or signal.squares is None:
            raise AssertionError("spread was planned, so its sums were prepared")
        first = signal.first_value(row)
        off = signal.held[row] - first
        lasted = (time - telemetry.time[row]) / MICROSECONDS
        area, square = signal.integral[row] + off * lasted, signal.squares[row] + off * off * lasted
        means: list[NDArray[np.generic]] = []
        spreads: list[NDArray[np.generic]] = []
        offs: list[NDArray[np.generic]] = []
        for k, window in enumerate(self._windows):
            at = clipped[k]
            opened = np.where(early[k], telemetry.time[at], time - window)
            then = signal.held[at] - signal.first_value(at)
            held_for = (opened - telemetry.time[at]) / MICROSECONDS
            span = np.maximum((time - opened) / MICROSECONDS, 1.0)
            mean = (area - signal.integral[at] - then * held_for) / span
            variance = (square - signal.squares[at] - then * then * held_for) / span - mean * mean
            means.append(np.where(none, np.nan, mean + first))
            spreads.append(np.where(none, np.nan, np.sqrt(np.maximum(variance, 0.0))))
            offs.append(np.where(none, np.nan, off - mean))
        return means + spreads + offs

    def _since(self, time: Ints, then: Rows, none: Bools) -> Floats:
        """Days since the row `then`; NaN where there is none."""
        if self._telemetry is None:
            raise AssertionError("there are rows, so there is telemetry")
        return np.where(none | (then < 0), np.nan, (time - self._telemetry.time[then]) / DAY)
