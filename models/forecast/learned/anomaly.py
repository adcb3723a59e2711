"""Anomaly scores where there are no failures to learn from: how unlike its own healthy past a unit looks.

Signals are averaged over the last rows, standardised by the unit's healthy part (the rows before `healthy_until`), and
projected on the directions in which that healthy part varies; the score is the squared distance from them (PCA
reconstruction error), as a share of what the healthy part itself reaches in 1 % of its rows. No label is used anywhere.
A unit that the model has never seen is measured against its own healthy rows before scoring begins, or, having none,
against the fleet's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from models.errors import BadInput
from models.forecast.learned.as_of import Index, span_name
from models.forecast.learned.dataset import FOREVER, Dataset, Floats, Ints, Telemetry, known_at

ROWS = 10
"""Rows averaged: single samples are noisy, and most faults last longer than ten."""
KEPT_VARIANCE = 0.95
FARTHEST = 20.0
"""Standardised values are clipped here, so that one wild signal cannot hide the rest."""
FEWEST_ROWS = 500
"""Fewer healthy rows than this say too little about a unit; the fleet's baseline is used then."""
_FLOOR = 0.01


@dataclass(frozen=True, slots=True)
class Baseline:
    """What healthy looks like: centre and scale per signal, kept directions (k, signals), typical extreme error."""

    centre: Floats
    scale: Floats
    directions: Floats
    extreme: float

    def standardise(self, rows: Floats) -> Floats:
        z = np.clip((rows - self.centre) / self.scale, -FARTHEST, FARTHEST)
        return np.where(np.isnan(z), 0.0, z)

    def residual(self, rows: Floats) -> Floats:
        """What of each standardised row the healthy directions do not explain, shape (rows, signals)."""
        z = self.standardise(rows)
        return z - (z @ self.directions.T) @ self.directions


@dataclass(frozen=True, slots=True)
class AnomalyModel:
    """Baselines by unit name and for the fleet; `about` is the metadata that travels with it."""

    signals: tuple[str, ...]
    fleet: Baseline
    units: Mapping[str, Baseline]
    about: Mapping[str, object] = field(default_factory=dict[str, object])

    def to_json(self) -> dict[str, Any]:
        return {
            "signals": list(self.signals),
            "fleet": _to_json(self.fleet),
            "units": {name: _to_json(baseline) for name, baseline in self.units.items()},
        }


def anomaly_from_json(data: Mapping[str, Any], about: Mapping[str, object]) -> AnomalyModel:
    """The model `to_json` wrote. Raises KeyError, TypeError or ValueError on anything else."""

    return AnomalyModel(
        tuple(data["signals"]),
        _from_json(data["fleet"]),
        {name: _from_json(baseline) for name, baseline in data["units"].items()},
        about,
    )


def _to_json(baseline: Baseline) -> dict[str, Any]:
    return {
        "centre": baseline.centre.tolist(),
        "scale": baseline.scale.tolist(),
        "directions": baseline.directions.tolist(),
        "extreme": baseline.extreme,
    }


def _from_json(data: Mapping[str, Any]) -> Baseline:
    centre, scale = np.array(data["centre"], float), np.array(data["scale"], float)
    directions = np.array(data["directions"], float).reshape(-1, centre.size)
    if scale.shape != centre.shape:
        raise ValueError("centre and scale differ in length")
    return Baseline(centre, scale, directions, float(data["extreme"]))


def train_anomaly(dataset: Dataset, *, until: int | None = None) -> AnomalyModel:
    """Learn each unit's healthy look from its rows before `healthy_until` (and before `until`). Raises BadInput."""

    if dataset.telemetry is None:
        raise BadInput("without failures.parquet a model needs telemetry.parquet, and the dataset has none")
    past = dataset if until is None else known_at(dataset, until)
    telemetry = past.telemetry
    if telemetry is None or not telemetry.time.size:
        raise BadInput("there is no telemetry before --until")
    smooth = _smoothed(telemetry)
    healthy = _healthy(past, telemetry, FOREVER if until is None else until)
    if healthy.sum() < FEWEST_ROWS:
        raise BadInput(
            f"only {int(healthy.sum())} rows lie before their unit's healthy_until: at least {FEWEST_ROWS} are needed"
        )
    units = _baselines(past, telemetry, smooth, healthy)
    times = telemetry.time[healthy]
    about: dict[str, object] = {
        "kind": "anomaly score",
        "data_from": _when(int(times.min())),
        "data_until": _when(int(times.max())),
        "units": len(past.units),
        "rows": int(healthy.sum()),
        "smoothing_rows": ROWS,
        "row_interval": span_name(int(np.median(np.diff(telemetry.time[telemetry.unit == telemetry.unit[0]])))),
        "labels_used": False,
    }
    fleet = _fit(smooth[healthy][:: max(1, int(healthy.sum()) // 200_000)])
    return AnomalyModel(telemetry.signals, fleet, {past.units[u]: b for u, b in units.items()}, about)


def score_anomaly(model: AnomalyModel, dataset: Dataset, unit: Ints, time: Ints, *, baseline_until: int) -> Floats:
    """A score in 0..1 for each pair, from rows at or before its time; 0.5 is what healthy reaches in 1 % of its rows.

    It is a rank made comparable between units, not a probability of failing. NaN where a unit has no row yet: unknown.
    baseline_until: units with enough healthy rows up to here (at most the first scored time) are measured against those.
    """

    telemetry = dataset.telemetry
    if telemetry is None or not telemetry.time.size:
        raise BadInput("an anomaly model scores telemetry.parquet, and the dataset has none")
    missing = [name for name in model.signals if name not in telemetry.signals]
    if len(missing) == len(model.signals):
        raise BadInput(f"telemetry.parquet has none of the model's signals ({', '.join(model.signals[:5])} …)")
    columns = np.full((telemetry.time.size, len(model.signals)), np.nan)
    for place, name in enumerate(model.signals):
        if name in telemetry.signals:
            columns[:, place] = telemetry.values[:, telemetry.signals.index(name)]
    aligned = Telemetry(telemetry.unit, telemetry.time, model.signals, columns)
    smooth = _smoothed(aligned)
    own = _baselines(dataset, aligned, smooth, _healthy(dataset, aligned, baseline_until))
    index = Index(aligned.unit, aligned.time, len(dataset.units))
    row = index.at(unit, time)
    known = row >= index.start[unit]
    out = np.full(unit.size, np.nan)
    for place in np.unique(unit[known]):
        rows = known & (unit == place)
        baseline = own.get(int(place)) or model.units.get(dataset.units[place], model.fleet)
        error = (baseline.residual(smooth[row[rows]]) ** 2).sum(axis=1) / baseline.extreme
        out[rows] = error / (1.0 + error)
    return out


def _healthy(dataset: Dataset, telemetry: Telemetry, until: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    limit = np.full(len(dataset.units), -FOREVER) if dataset.healthy_until is None else dataset.healthy_until
    return (telemetry.time < limit[telemetry.unit]) & (telemetry.time <= until)


def _baselines(
    dataset: Dataset, telemetry: Telemetry, smooth: Floats, healthy: np.ndarray[Any, np.dtype[np.bool_]]
) -> dict[int, Baseline]:
    found: dict[int, Baseline] = {}
    edges = np.searchsorted(telemetry.unit, np.arange(len(dataset.units) + 1))
    for place in range(len(dataset.units)):
        part = slice(edges[place], edges[place + 1])
        rows = smooth[part][healthy[part]]
        if len(rows) >= FEWEST_ROWS:
            found[place] = _fit(rows)
    return found


def _fit(rows: Floats) -> Baseline:
    known = ~np.isnan(rows)
    count = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, rows, 0.0)
    centre = filled.sum(axis=0) / count
    spread = np.sqrt((np.where(known, rows - centre, 0.0) ** 2).sum(axis=0) / count)
    # A signal that never moved while healthy gets a scale from its size, so that any real move shows.
    scale = np.maximum(spread, _FLOOR * np.maximum(np.abs(centre), 1.0))
    bare = Baseline(centre, scale, np.zeros((0, rows.shape[1])), 1.0)
    z = bare.standardise(rows)
    values, vectors = np.linalg.eigh(z.T @ z / len(z))
    order = np.argsort(values)[::-1]
    share = np.cumsum(values[order]) / max(float(values.sum()), 1e-12)
    kept = int(np.searchsorted(share, KEPT_VARIANCE)) + 1 if values.sum() > 1e-12 else 0
    directions = vectors[:, order[: min(kept, rows.shape[1] - 1)]].T
    fitted = Baseline(centre, scale, directions, 1.0)
    error = (fitted.residual(rows) ** 2).sum(axis=1)
    return Baseline(centre, scale, directions, max(float(np.quantile(error, 0.99)), 1e-9))


def _smoothed(telemetry: Telemetry) -> Floats:
    """Mean of the last ROWS rows of the same unit, each signal for itself; NaN where none of them reported it."""

    out = np.full_like(telemetry.values, np.nan)
    edges = np.flatnonzero(np.r_[True, np.diff(telemetry.unit) != 0, True])
    for start, end in pairwise(edges):
        part = telemetry.values[start:end]
        known = ~np.isnan(part)
        # Sums over each window by itself: running sums would carry a wild value's rounding into every later row.
        total, count = np.zeros_like(part), np.zeros(part.shape)
        filled = np.where(known, part, 0.0)
        for back in range(min(ROWS, len(part))):
            total[back:] += filled[: len(part) - back]
            count[back:] += known[: len(part) - back]
        np.divide(total, count, out=out[start:end], where=count > 0)
    return out


def _when(time: int) -> str:
    return str(np.datetime64(time, "us").astype("datetime64[s]")) + "Z"
