"""From hourly summaries of parts to the rows that a forecast learns from: few columns, and few rows. Pure.

Columns of a node say the same whatever its parts are called and however many there are:

    SIGNAL            the part that is worst off: nearest its upper or lower limit; of signals without a limit the highest
    SIGNAL.margin     where a signal has a limit on both sides: how far the worst part is from the nearer one, in its unit
    SIGNAL.swing      of levels that can flutter: the widest spread between high and low within the hour, of any part
    parts.COMPONENT   how many parts report anything; a disk that vanishes shows here

Levels are the hour's mean, counts its last value. A row is kept when something moved by more than its dead band (the sensor's
noise; ten times that where it follows the load), and a day after the one before at the latest. What carries no weight rides
along. Whether a row is kept depends on what came before it alone, so a history cut off at any moment is the history as
it stood then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from models.forecast.limits.node import DATING
from models.forecast.limits.part import STATES
from models.risk.signal import STATISTICS, Component, Floats, Signal, SignalKind, Summaries

HOUR = 3600
HEARTBEAT = 86_400
"""Seconds: the longest that a node which reports anything goes without a row."""
LOAD_BAND = 10.0
"""Times the noise: what follows the load moves that far every day."""
SWING_BAND = 5.0
"""Times the noise: how much the spread of a healthy hour differs from the next one's."""
UPTIME, UP = "node_uptime_seconds", "target_up"
LEFT_OUT = frozenset((*DATING, "clock_offset_seconds"))
"""Signals that date the rest."""


class Reading(StrEnum):
    """What becomes of the parts of a node."""

    LOWEST = "lowest"
    HIGHEST = "highest"
    MARGIN = "margin"
    SWING = "swing"
    PARTS = "parts"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the rows, and the signals it is made of."""

    name: str
    reading: Reading
    signals: tuple[Signal, ...]
    band: float
    """a row is kept when it moved by more than this; infinite: it never begins a row"""


@dataclass
class Kept:
    """The rows kept last, one a unit: what `thin` needs of the past. Grows as units appear."""

    units: list[str]
    time: NDArray[np.int64]
    values: Floats
    """units × columns; NaN: never reported"""

    @staticmethod
    def nothing(columns: int) -> Kept:
        return Kept([], np.zeros(0, np.int64), np.zeros((0, columns)))

    def place(self, units: Sequence[str]) -> NDArray[np.int64]:
        """Where each of `units` stands; new ones get a place."""
        known = {name: k for k, name in enumerate(self.units)}
        new = [name for name in dict.fromkeys(units) if name not in known]
        if new:
            known |= {name: len(known) + k for k, name in enumerate(new)}
            self.units = [*self.units, *new]
            self.time = np.concatenate((self.time, np.zeros(len(new), np.int64)))
            self.values = np.concatenate((self.values, np.full((len(new), self.values.shape[1]), np.nan)))
        return np.array([known[name] for name in units], np.int64)


@dataclass(frozen=True)
class Rows:
    """Rows in order of time: unit names, unix seconds, and one value a column (NaN: not reported)."""

    units: tuple[str, ...]
    times: NDArray[np.int64]
    values: Floats


def node_columns(signals: Sequence[Signal]) -> tuple[Column, ...]:
    """The columns of a node's rows, in the order of the catalogue."""
    found: list[Column] = []
    for signal in signals:
        if signal.name in LEFT_OUT:
            continue
        low, high = signal.limits.low is not None, signal.limits.high is not None
        weighty = signal.failure_weight > 0 and (low or high)
        band = signal.noise * (LOAD_BAND if signal.follows_load else 1.0) if weighty else np.inf
        if low and high and not signal.limits.relative:
            found.append(Column(f"{signal.name}.margin", Reading.MARGIN, (signal,), band))
        else:
            reading = Reading.LOWEST if low and not high else Reading.HIGHEST
            found.append(Column(signal.name, reading, (signal,), band))
        if weighty and _can_flutter(signal):
            found.append(Column(f"{signal.name}.swing", Reading.SWING, (signal,), SWING_BAND * signal.noise))
    for component in Component:
        parted = tuple(s for s in signals if s.component is component and s.part_label and s.name not in LEFT_OUT)
        if parted:
            found.append(Column(f"parts.{component.value}", Reading.PARTS, parted, 0.5))
    return tuple(found)


def part_columns(signals: Sequence[Signal], component: Component) -> tuple[Column, ...]:
    """The columns of one part's rows, named as data sets of such parts name them (`Signal.column`). Hours pass by themselves."""
    return tuple(
        Column(s.column, Reading.HIGHEST, (s,), np.inf if s.unit == "h" else 0.0)
        for s in signals
        if s.component is component and s.column
    )


def node_values(
    columns: Sequence[Column], hours: Mapping[str, Summaries], nodes: Sequence[str], times: Sequence[int]
) -> Floats:
    """hours × nodes × columns of what the summaries (by signal, hour by hour at `times`) say; NaN: not reported."""
    where = {name: k for k, name in enumerate(nodes)}
    values = np.full((len(times), len(nodes), len(columns)), np.nan)
    for place, column in enumerate(columns):
        out = values[:, :, place].T  # a view: nodes × hours
        for signal in column.signals:
            found = hours.get(signal.name)
            if found is None or not found.parts:
                continue
            at = np.array([where.get(node, -1) for node, _ in found.parts], np.int64)
            ours = np.flatnonzero(at >= 0)
            said, at = _reading(column.reading, signal, found.values)[ours], at[ours]
            if column.reading is Reading.PARTS:
                # The signal that most parts report: the others are about the same parts.
                count = np.zeros_like(out)
                np.add.at(count, at, np.isfinite(said).astype(float))
                np.fmax(out, count, out=out)
            elif column.reading in (Reading.LOWEST, Reading.MARGIN):
                _worst(np.fmin, out, at, said)
            else:
                _worst(np.fmax, out, at, said)
    counts = [k for k, column in enumerate(columns) if column.reading is Reading.PARTS]
    seen = np.isfinite(np.delete(values, counts, axis=2)).any(axis=2, keepdims=True)
    values[:, :, counts] = np.where(seen, np.nan_to_num(values[:, :, counts]), np.nan)
    return values


def part_values(
    columns: Sequence[Column], hours: Mapping[str, Summaries], times: Sequence[int]
) -> tuple[list[str], Floats]:
    """(`node/part` names, hours × parts × columns) of what each part last said in each hour."""
    names = sorted(
        {
            f"{node}/{part}"
            for column in columns
            if (found := hours.get(column.signals[0].name))
            for node, part in found.parts
        }
    )
    where = {name: k for k, name in enumerate(names)}
    values = np.full((len(times), len(names), len(columns)), np.nan)
    for place, column in enumerate(columns):
        found = hours.get(column.signals[0].name)
        if found is not None and found.parts:
            at = [where[f"{node}/{part}"] for node, part in found.parts]
            values[:, at, place] = found.values[STATISTICS.index("last")].T
    return names, values


def thin(
    columns: Sequence[Column],
    units: Sequence[str],
    times: Sequence[int],
    values: Floats,
    kept: Kept,
    *,
    heartbeat: int | None = HEARTBEAT,
) -> Rows:
    """The rows worth keeping of hours × units × columns; `kept` is brought up to date.

    heartbeat: None keeps a row only where something moved, as data sets with "rows at changes" do.
    """
    band = np.array([column.band for column in columns])
    at = kept.place(units)
    names: list[str] = []
    when: list[int] = []
    rows: list[Floats] = [np.zeros((0, len(columns)))]
    for hour, now in zip(times, values, strict=True):
        before, since = kept.values[at], kept.time[at]
        moved = (np.abs(now - before) > band) | (np.isfinite(now) & np.isnan(before))
        due = (since == 0) | (False if heartbeat is None else hour - since >= heartbeat)
        keep = np.flatnonzero(np.isfinite(now).any(axis=1) & (moved.any(axis=1) | due))
        kept.values[at[keep]] = np.where(np.isnan(now[keep]), before[keep], now[keep])
        kept.time[at[keep]] = hour
        names += [units[int(k)] for k in keep]
        when += [hour] * keep.size
        rows.append(now[keep])
    return Rows(tuple(names), np.array(when, np.int64), np.concatenate(rows))


def boots(uptime: Summaries | None, up: Summaries | None, times: Sequence[int]) -> dict[str, list[tuple[int, float]]]:
    """For each node the hours (ends, unix seconds) it worked through whole, and when it had booted by then.

    Only such hours tell: of one in which it came or went, the summary does not say which moment its last value is of. A node
    whose uptime nobody reports worked where one of its exporters answered all the hour; its boot is 0 then.
    """
    found: dict[str, list[tuple[int, float]]] = {}
    if uptime is not None:
        low, last = (uptime.values[STATISTICS.index(name)] for name in ("min", "last"))
        for part, (node, _) in enumerate(uptime.parts):
            whole = [k for k in range(len(times)) if last[part, k] - low[part, k] >= WHOLE_HOUR]
            found[node] = [(times[k], times[k] - float(last[part, k])) for k in whole]
    if up is not None:
        mean = up.values[STATISTICS.index("mean")]
        mute: dict[str, set[int]] = {}
        for part, (node, _) in enumerate(up.parts):
            if node not in found:
                mute.setdefault(node, set()).update(times[k] for k in range(len(times)) if mean[part, k] > 0.999)
        found |= {node: [(at, 0.0) for at in sorted(answered)] for node, answered in mute.items()}
    return found


WHOLE_HOUR = 3000.0
"""Seconds that uptime must have grown by within an hour: the finest grid leaves out up to five minutes at each end."""
BOOT_TOLERANCE = 900.0
"""Seconds that a boot time read so may wander. Two boots that whole hours tell of lie at least `WHOLE_HOUR` apart."""


def _can_flutter(signal: Signal) -> bool:
    countable = signal.kind is SignalKind.COUNTER or signal.limits.relative or "/" in signal.unit
    return not (signal.follows_load or countable or signal.unit in STATES)


def _reading(reading: Reading, signal: Signal, values: Floats) -> Floats:
    """parts × hours."""
    last, low, high, mean, _ = values
    if reading is Reading.SWING:
        return high - low
    level = last if signal.kind is SignalKind.COUNTER else mean
    if reading is Reading.MARGIN and signal.limits.low is not None and signal.limits.high is not None:
        return np.minimum(level - signal.limits.low, signal.limits.high - level)
    return level


def _worst(choose: np.ufunc, out: Floats, at: NDArray[np.int64], said: Floats) -> None:
    with np.errstate(invalid="ignore"):
        choose.at(out, at, np.where(np.isfinite(said), said, np.nan))
