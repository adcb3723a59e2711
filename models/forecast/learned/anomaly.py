"""Anomaly scores where there are no failures to learn from: how unlike its own healthy past a unit looks.

Signals are standardised by the unit's healthy part (the rows before `healthy_until`) and looked at in seven ways: the squared
distance of their mean over ten and over thirty rows from the directions in which the healthy part varies (PCA reconstruction
error); the same of single rows, averaged over ten of them; the distance of their mean over thirty, ten and three rows to the
five nearest healthy ones; and that of single rows, averaged over ten. Faults that last show in long means, short ones in the
others, and a mixture of healthy states (night and day) only nearest neighbours can tell from a fault. Each is taken as a
share of what the healthy part itself reaches in 1 % of its rows, and the score is their geometric mean. No label is used
anywhere. A unit that the model has never seen is measured against its own healthy rows before scoring begins, or, having
none, against the fleet's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import BadInput
from models.forecast.data.as_of import Index, span_name
from models.forecast.data.dataset import FOREVER, Dataset, Floats, Ints, Telemetry, known_at

Bools = NDArray[np.bool_]

ROWS = 10
"""Rows averaged: single samples are noisy, and most faults last longer than ten."""
LONG = 30
"""Rows averaged where it is the slow faults that are looked for."""
KEPT_VARIANCE = 0.95
FARTHEST = 20.0
"""Standardised values are clipped here, so that one wild signal cannot hide the rest."""
NEAREST = 5
"""Healthy rows that a row is compared with."""
POINTS = 200
"""Healthy rows kept to compare with, spread evenly over the healthy time; 300 and 1,000 did no better."""
FEWEST_ROWS = 500
"""Fewer healthy rows than this say too little about a unit; the fleet's baseline is used then."""
FLEET_ROWS = 200_000
"""Healthy rows that the fleet's baseline is learnt from, about, in whole units chosen evenly."""
_FLOOR = 0.01
_CHUNK = 4_096


@dataclass(frozen=True, slots=True)
class View:
    """One way to look at a unit: the mean over `before` rows, measured, and that averaged over `after` rows.

    near: distance to the nearest healthy rows; else squared distance from the healthy directions.
    """

    before: int
    after: int
    near: bool


VIEWS = (
    View(ROWS, 1, near=False),
    View(1, ROWS, near=False),
    View(LONG, 1, near=False),
    View(ROWS, 1, near=True),
    View(3, 1, near=True),
    View(LONG, 1, near=True),
    View(1, ROWS, near=True),
)
"""Chosen on every other server of a public set, judged on the rest (docs/forecast-figures.md)."""


@dataclass(frozen=True, slots=True)
class Part:
    """What healthy looks like in one view: centre and scale per signal, kept directions (k, signals) or healthy points
    (n, signals), and the distance that the healthy part itself reaches in 1 % of its rows."""

    view: View
    centre: Floats
    scale: Floats
    directions: Floats
    points: Floats
    extreme: float

    def standardise(self, rows: Floats) -> Floats:
        z = np.clip((rows - self.centre) / self.scale, -FARTHEST, FARTHEST)
        return np.where(np.isnan(z), 0.0, z)

    def distance(self, rows: Floats) -> Floats:
        """How far each row (means over `view.before` rows already taken) is from healthy."""
        z = self.standardise(rows)
        if not self.view.near:
            return ((z - (z @ self.directions.T) @ self.directions) ** 2).sum(axis=1)
        size = (self.points**2).sum(axis=1)
        out = np.empty(len(z))
        for start in range(0, len(z), _CHUNK):
            part = z[start : start + _CHUNK]
            squares = (part**2).sum(axis=1)[:, None] + size - 2.0 * part @ self.points.T
            count = min(NEAREST, len(self.points))
            nearest = np.partition(squares, count - 1, axis=1)[:, :count]
            out[start : start + _CHUNK] = np.sqrt(np.maximum(nearest, 0.0)).mean(axis=1)
        return out


Baseline = tuple[Part, ...]
"""A unit's healthy look in each view."""


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


def _to_json(baseline: Baseline) -> list[dict[str, Any]]:
    return [
        {
            "before": part.view.before,
            "after": part.view.after,
            "near": part.view.near,
            "centre": part.centre.tolist(),
            "scale": part.scale.tolist(),
            "directions": part.directions.tolist(),
            "points": part.points.tolist(),
            "extreme": part.extreme,
        }
        for part in baseline
    ]


def _from_json(data: Any) -> Baseline:
    if isinstance(data, Mapping):  # files from when there was one view
        data = [{**data, "before": ROWS, "after": 1, "near": False, "points": []}]
    parts: list[Part] = []
    for one in data:
        centre, scale = np.array(one["centre"], float), np.array(one["scale"], float)
        directions = np.array(one["directions"], float).reshape(-1, centre.size)
        points = np.array(one["points"], float).reshape(-1, centre.size)
        view = View(int(one["before"]), int(one["after"]), near=bool(one["near"]))
        if scale.shape != centre.shape or min(view.before, view.after) < 1 or (view.near and not len(points)):
            raise ValueError("a baseline's parts differ in length")
        parts.append(Part(view, centre, scale, directions, points, float(one["extreme"])))
    if not parts:
        raise ValueError("a baseline without parts")
    return tuple(parts)


def train_anomaly(dataset: Dataset, *, until: int | None = None) -> AnomalyModel:
    """Learn each unit's healthy look from its rows before `healthy_until` (and before `until`). Raises BadInput."""

    if dataset.telemetry is None:
        raise BadInput("without failures.parquet a model needs telemetry.parquet, and the dataset has none")
    past = dataset if until is None else known_at(dataset, until)
    telemetry = past.telemetry
    if telemetry is None or not telemetry.time.size:
        raise BadInput("there is no telemetry before --until")
    healthy = _healthy(past, telemetry, FOREVER if until is None else until)
    if healthy.sum() < FEWEST_ROWS:
        raise BadInput(
            f"only {int(healthy.sum())} rows lie before their unit's healthy_until: at least {FEWEST_ROWS} are needed"
        )
    units = _baselines(past, telemetry, healthy)
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
    taught = np.unique(telemetry.unit[healthy])
    fleet = _fit(
        [_of_unit(telemetry, healthy, int(u)) for u in taught[:: max(1, -(-int(healthy.sum()) // FLEET_ROWS))]]
    )
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
    own = _baselines(dataset, aligned, _healthy(dataset, aligned, baseline_until))
    index = Index(aligned.unit, aligned.time, len(dataset.units))
    row = index.at(unit, time)
    known = row >= index.start[unit]
    out = np.full(unit.size, np.nan)
    for place in np.unique(unit[known]):
        pairs = known & (unit == place)
        baseline = own.get(int(place)) or model.units.get(dataset.units[place], model.fleet)
        # From what the first asked row's means reach back to, until the last asked one: later rows change nothing.
        first, last = int(index.start[place]), int(row[pairs].max()) + 1
        begin = max(int(row[pairs].min()) - max(part.view.before + part.view.after for part in baseline), first)
        out[pairs] = _score(baseline, aligned.values[begin:last])[row[pairs] - begin]
    return out


def _score(baseline: Baseline, rows: Floats) -> Floats:
    """The score of each of one unit's consecutive rows."""
    total = np.zeros(len(rows))
    for part in baseline:
        total += np.log(np.maximum(_distances(part, rows), 1e-12) / part.extreme)
    return 1.0 / (1.0 + np.exp(-np.clip(total / len(baseline), -40.0, 40.0)))


def _distances(part: Part, rows: Floats) -> Floats:
    """`part.distance` of each of one unit's consecutive rows, with the view's means before and after."""
    distance = part.distance(_trailing_mean(rows, part.view.before))
    return _trailing_mean(distance[:, None], part.view.after)[:, 0]


def _healthy(dataset: Dataset, telemetry: Telemetry, until: int) -> Bools:
    limit = np.full(len(dataset.units), -FOREVER) if dataset.healthy_until is None else dataset.healthy_until
    return (telemetry.time < limit[telemetry.unit]) & (telemetry.time <= until)


def _baselines(dataset: Dataset, telemetry: Telemetry, healthy: Bools) -> dict[int, Baseline]:
    count = np.bincount(telemetry.unit[healthy], minlength=len(dataset.units))
    return {int(u): _fit([_of_unit(telemetry, healthy, int(u))]) for u in np.flatnonzero(count >= FEWEST_ROWS)}


def _of_unit(telemetry: Telemetry, healthy: Bools, place: int) -> tuple[Floats, Bools]:
    """All rows of one unit, and which of them are healthy."""
    start, end = np.searchsorted(telemetry.unit, [place, place + 1])
    return telemetry.values[start:end], healthy[start:end]


def _fit(units: Sequence[tuple[Floats, Bools]]) -> Baseline:
    """The healthy look of some units taken together. A healthy row's mean reaches back to whatever lies before it, as in
    scoring."""
    parts: list[Part] = []
    for view in VIEWS:
        part = _fit_part(np.concatenate([_trailing_mean(rows, view.before)[well] for rows, well in units]), view)
        far = np.concatenate([_distances(part, rows)[well] for rows, well in units])
        parts.append(replace(part, extreme=max(float(np.quantile(far, 0.99)), 1e-9)))
    return tuple(parts)


def _fit_part(rows: Floats, view: View) -> Part:
    known = ~np.isnan(rows)
    count = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, rows, 0.0)
    centre = filled.sum(axis=0) / count
    spread = np.sqrt((np.where(known, rows - centre, 0.0) ** 2).sum(axis=0) / count)
    # A signal that never moved while healthy gets a scale from its size, so that any real move shows.
    scale = np.maximum(spread, _FLOOR * np.maximum(np.abs(centre), 1.0))
    nothing = np.zeros((0, rows.shape[1]))
    bare = Part(view, centre, scale, nothing, nothing, 1.0)
    z = bare.standardise(rows)
    if view.near:
        chosen = np.linspace(0, len(z) - 1, min(POINTS, len(z))).astype(int)
        return replace(bare, points=np.round(z[chosen], 3))
    values, vectors = np.linalg.eigh(z.T @ z / len(z))
    order = np.argsort(values)[::-1]
    share = np.cumsum(values[order]) / max(float(values.sum()), 1e-12)
    kept = int(np.searchsorted(share, KEPT_VARIANCE)) + 1 if values.sum() > 1e-12 else 0
    return replace(bare, directions=vectors[:, order[: min(kept, rows.shape[1] - 1)]].T)


def _trailing_mean(rows: Floats, count: int) -> Floats:
    """Mean of the last `count` of one unit's rows, each column for itself; NaN where none of them reported it."""
    if count == 1:
        return rows
    known = ~np.isnan(rows)
    # Sums over each window by itself: running sums would carry a wild value's rounding into every later row.
    total, told = np.zeros_like(rows), np.zeros(rows.shape)
    filled = np.where(known, rows, 0.0)
    for back in range(min(count, len(rows))):
        total[back:] += filled[: len(rows) - back]
        told[back:] += known[: len(rows) - back]
    return np.divide(total, told, out=np.full_like(rows, np.nan), where=told > 0)


def _when(time: int) -> str:
    return str(np.datetime64(time, "us").astype("datetime64[s]")) + "Z"
