"""Features of a unit at a time, from what was known at that time and nothing later.

`plan` decides once, on training data, which features there are (the plan is plain JSON and travels in the model file);
`build` computes them for any (unit, time) pairs. Each unit's features come from its own past, except the event rates of
its group (same static category), which come from the group's past. Sums run within a unit and start at its first row,
so cutting the data off at the scoring time leaves every number bit-for-bit the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelInvalid
from models.forecast.data.as_of import days
from models.forecast.data.dataset import FOREVER, MICROSECONDS, Dataset, Floats, Ints, Telemetry
from models.forecast.learned.features.events import EventFeatures
from models.forecast.learned.features.signals import SignalFeatures

Matrix = NDArray[np.float32]

CHUNK = 100_000
"""Pairs computed at a time: bounds memory, changes no number."""


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """What to compute. `windows` are microseconds, shortest first."""

    windows: tuple[int, ...]
    signals: tuple[str, ...] = ()
    clocks: tuple[float, ...] = ()
    """Per signal: how fast it grows by itself (units a second, e.g. power-on hours), 0 when it does not."""
    spread: bool = False
    """Whether rows are dense enough for means and spreads over the windows to say more than the changes do."""
    kinds: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    categories: tuple[tuple[str, tuple[str, ...]], ...] = ()
    hazards: tuple[tuple[str, tuple[tuple[str, float], ...], float], ...] = ()
    """Per static category: failures per unit-day seen in training for each value, shrunk to the fleet's, and the fleet's."""

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def plan_from_json(data: Mapping[str, object]) -> FeatureSpec:
    """The plan `to_json` wrote. Raises ModelInvalid."""

    def tupled(value: object) -> object:
        return tuple(tupled(item) for item in value) if isinstance(value, list) else value  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]

    try:
        return FeatureSpec(**{name: tupled(value) for name, value in data.items()})  # pyright: ignore[reportArgumentType]
    except TypeError as error:
        raise ModelInvalid(f"the model file's feature plan is not one this version knows ({error})") from None


def plan(
    dataset: Dataset,
    horizons: Sequence[int],
    hazards: Mapping[str, tuple[Mapping[str, float], float]],
    *,
    learnt_until: int = FOREVER,
) -> FeatureSpec:
    """Choose features for `dataset` as it stands (cut it with `known_at` first). horizons: microseconds.

    Signals that nobody reported by `learnt_until`, the last moment that teaches anything, are left out: what is counted
    over all signals would jump with them.
    """

    longest, shortest = max(horizons), min(horizons)
    windows = tuple(sorted({shortest // 4, shortest, longest, 3 * longest, 12 * longest}))
    telemetry, events = dataset.telemetry, dataset.events
    signals: list[str] = []
    clocks: list[float] = []
    spread = False
    if telemetry is not None and telemetry.time.size:
        for place, name in enumerate(telemetry.signals):
            column = telemetry.values[:, place]
            if not np.isnan(column[telemetry.time <= learnt_until]).all():
                signals.append(name)
                clocks.append(_clock_rate(telemetry, column))
        same = np.diff(telemetry.unit) == 0
        gaps = np.diff(telemetry.time)[same]
        spread = bool(gaps.size) and float(np.median(gaps)) * 4 <= shortest
    kinds: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    if events is not None and events.time.size:
        counts = np.bincount(events.kind, minlength=len(events.kinds))
        common = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k] >= 50][:8]
        kinds = tuple(events.kinds[k] for k in common)
        components = tuple(sorted({kind.split(":")[0] for kind in events.kinds}))
        components = components if 1 < len(components) <= 12 else ()
    categories: list[tuple[str, tuple[str, ...]]] = []
    for name, column in sorted(dataset.categories.items()):
        seen, counts = np.unique(column.astype(str), return_counts=True)
        common_values = tuple(str(v) for v in seen[np.argsort(-counts, kind="stable")] if v)[:200]
        if len(common_values) > 1 and counts.max() >= 2:
            categories.append((name, common_values))
    return FeatureSpec(
        windows=windows,
        signals=tuple(signals),
        clocks=tuple(clocks),
        spread=spread,
        kinds=kinds,
        components=components,
        groups=tuple(name for name, _ in categories) if kinds or components else (),
        numbers=tuple(sorted(dataset.numbers)),
        categories=tuple(categories),
        hazards=tuple((name, tuple(sorted(rates.items())), fleet) for name, (rates, fleet) in sorted(hazards.items())),
    )


def _clock_rate(telemetry: Telemetry, column: Floats) -> float:
    """Units a second if the signal counts time itself (power-on hours, uptime), else 0."""

    known = np.flatnonzero(~np.isnan(column))
    pair = np.flatnonzero(np.diff(telemetry.unit[known]) == 0)
    seconds = np.diff(telemetry.time[known])[pair] / MICROSECONDS
    rise = np.diff(column[known])[pair]
    if rise.size < 100:
        return 0.0
    rate = rise / seconds
    typical = float(np.median(rate))
    near = np.abs(rate - typical) <= 0.1 * abs(typical)
    return typical if typical > 0 and float(near.mean()) > 0.8 else 0.0


class Builder:
    """Holds a dataset's running sums, so that several `build` calls share them."""

    def __init__(self, dataset: Dataset, spec: FeatureSpec) -> None:
        self.spec = spec
        self.dataset = dataset
        units = len(dataset.units)
        self._signals = SignalFeatures(
            dataset.telemetry, units, spec.signals, spec.clocks, spec.windows, spread=spec.spread
        )
        groups = {name: self._codes(name) for name in spec.groups}
        self._events = EventFeatures(
            dataset.events,
            units,
            spec.kinds,
            spec.components,
            groups,
            (*spec.windows, 52 * spec.windows[0] * 4),
            dataset.observed_from,
        )
        self.names = (
            "age.observed",
            *self._signals.names,
            *self._events.names,
            *spec.numbers,
            *(name for name, _ in spec.categories),
            *(f"{name}.hazard" for name, _, _ in spec.hazards),
        )

    def _codes(self, category: str) -> Ints:
        values = dict(self.spec.categories)[category]
        where = {value: code for code, value in enumerate(values)}
        column = self.dataset.categories.get(category)
        if column is None:
            return np.full(len(self.dataset.units), len(values), np.int64)
        return np.array([where.get(str(value), len(values)) for value in column], np.int64)

    def build(self, unit: Ints, time: Ints) -> Matrix:
        """Features for each pair, shape (pairs, names); NaN where there is nothing to say."""

        out = np.empty((unit.size, len(self.names)), np.float32)
        for start in range(0, unit.size, CHUNK):
            part = slice(start, start + CHUNK)
            columns = self._columns(unit[part], time[part])
            for place, column in enumerate(columns):
                out[part, place] = column
            if len(columns) != len(self.names):
                raise AssertionError(f"{len(columns)} columns for {len(self.names)} names")
        return out

    def _columns(self, unit: Ints, time: Ints) -> list[NDArray[np.generic]]:
        columns: list[NDArray[np.generic]] = [days(time - self.dataset.observed_from[unit])]
        columns += self._signals.columns(unit, time) if self.spec.signals else []
        columns += self._events.columns(unit, time)
        nothing = np.full(unit.size, np.nan)
        for name in self.spec.numbers:
            column = self.dataset.numbers.get(name)
            columns.append(nothing if column is None else column[unit])
        for name, values in self.spec.categories:
            code = self._codes(name).astype(float)
            code[code == len(values)] = np.nan
            columns.append(code[unit])
        for name, rates, fleet in self.spec.hazards:
            known = dict(rates)
            column = self.dataset.categories.get(name)
            rate = np.array(
                [fleet] * len(self.dataset.units) if column is None else [known.get(str(v), fleet) for v in column]
            )
            columns.append(rate[unit])
        return columns
