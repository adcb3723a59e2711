"""What a forecast has to beat, fitted on the same pairs: chance, the last value, the vendor's rule, a rate, tuned learners.

The learners see what a practitioner would give them first: last values and 7/30/90-day changes (shorter horizons: the same
multiples of the horizon), event counts, age and static columns; and they are set up as one would for rare events.
scikit-learn's defaults (leaves of one row, fast boosting) are weak there and flatter whatever stands beside them: on
`drives_30d` a leaf of 20 doubles a forest's average precision. `own` are the same learners on the forecast's own features.
For anomaly scores: the largest |z|, PCA errors of rows and of their mean over ten, nearest neighbours and an isolation
forest, each fitted on a unit's healthy rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from models.forecast.data.as_of import Index
from models.forecast.data.dataset import DAY, FOREVER, Dataset, Floats
from models.forecast.data.labels import Pairs
from models.forecast.learned.calibrate import logit, sigmoid
from models.forecast.learned.evaluate import Bools, average_precision

VENDOR_RULE = ("smart_5", "smart_187", "smart_188", "smart_197", "smart_198")
"""Any of these above 0: the five attributes Backblaze acts on (its post "What SMART Stats Tell Us", 2016)."""
FOREST, BOOSTING, LOGISTIC = "random forest", "gradient boosting", "logistic regression"
RATE = "empirical Bayes rate"
OWN = ", own features"
PROBABILITIES = frozenset({FOREST, BOOSTING, LOGISTIC, RATE, FOREST + OWN, BOOSTING + OWN})
"""Methods whose scores claim to be probabilities."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Plain features of pairs: `last` values and counts by name, and `full` with changes, age and static columns too."""

    names: tuple[str, ...]
    last: Floats
    full: Floats
    age: Floats
    """Days under observation."""
    events: Floats
    """Events since observation began; no columns where the dataset has no events."""


def windows(horizon: int) -> tuple[int, int, int]:
    """7, 30 and 90 days for horizons of a day or more; else 1, 4 and 12 horizons."""
    return (7 * DAY, 30 * DAY, 90 * DAY) if horizon >= DAY else (horizon, 4 * horizon, 12 * horizon)


def inputs(dataset: Dataset, pairs: Pairs, horizon: int, values: Mapping[str, tuple[str, ...]]) -> Inputs:
    """Last reported rows and their changes; event counts over the windows and a year; age and static columns.

    values: each static category's values in the order that numbers them (training's, for the test too).
    """

    names: list[str] = []
    last: list[Floats] = []
    extra: list[Floats] = []
    telemetry, events = dataset.telemetry, dataset.events
    total = np.zeros((len(pairs), 0))
    if telemetry is not None:
        index = Index(telemetry.unit, telemetry.time, len(dataset.units))

        def rows_at(back: int) -> Floats:
            row = index.at(pairs.unit, pairs.time - back)
            known = row >= index.start[pairs.unit]
            return np.where(known[:, None], telemetry.values[np.maximum(row, 0)], np.nan)

        now = rows_at(0)
        names += telemetry.signals
        last.append(now)
        extra += [now - rows_at(w) for w in windows(horizon)]
    if events is not None:
        index = Index(events.unit, events.time, len(dataset.units))
        before = index.start[pairs.unit] - 1
        now_row = np.maximum(index.at(pairs.unit, pairs.time), before)
        total = (now_row - before)[:, None].astype(float)
        for w in (*windows(horizon), 365 * DAY):
            count = now_row - np.maximum(index.at(pairs.unit, pairs.time - w), before)
            names.append(f"events in {w // DAY} d" if w >= DAY else f"events in {w} us")
            last.append(count[:, None].astype(float))
    begun = dataset.observed_from[pairs.unit]
    age = np.where(begun > -FOREVER, (pairs.time - begun) / DAY, 0.0)
    static = [age, *(column[pairs.unit] for _, column in sorted(dataset.numbers.items()))]
    for name, known_values in sorted(values.items()):
        places = {value: float(code) for code, value in enumerate(known_values)}
        column = dataset.categories.get(name)
        codes = (
            np.full(len(dataset.units), np.nan)
            if column is None
            else np.array([places.get(str(value), np.nan) for value in column])
        )
        static.append(codes[pairs.unit])
    plain = np.concatenate(last, axis=1) if last else np.zeros((len(pairs), 0))
    full = np.concatenate([plain, *extra, np.stack(static, axis=1)], axis=1) if names else plain
    return Inputs(tuple(names), plain, full, age, total)


def category_values(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """Each static category's values, in order."""
    return {name: tuple(np.unique(column.astype(str)).tolist()) for name, column in dataset.categories.items()}


def scores(
    train: Inputs,
    failed: Bools,
    weight: Floats,
    test: Inputs,
    seed: int,
    horizon: int,
    *,
    jobs: int = 1,
    forest: bool = True,
) -> Mapping[str, Floats]:
    """Each baseline's probability (or a rank in 0..1 where it has none) for the test pairs.

    weight: how many pairs each training pair stands for; the healthy ones are a sample, which shifts a learner's log-odds.
    """

    random = np.random.default_rng(seed)
    out: dict[str, Floats] = {"random": random.random(len(test.full))}
    if not train.names:
        return out
    filled_train, filled_test = np.nan_to_num(train.last, nan=-1.0), np.nan_to_num(test.last, nan=-1.0)
    best = max(range(len(train.names)), key=lambda k: average_precision(failed, filled_train[:, k]))
    out[f"last value ({train.names[best]})"] = _rank(filled_test[:, best])
    rule = [k for k, name in enumerate(train.names) if name in VENDOR_RULE]
    if rule:
        out["vendor's rule"] = (filled_test[:, rule] > 0).any(axis=1).astype(float)
    if train.events.size:
        # The failure rate of a unit of its own age, its events counted against the fleet's by a gamma prior of shape 1.
        days = float(weight @ train.age)
        fleet = float(weight @ train.events[:, 0]) / max(days, 1e-9)
        rate = (test.events[:, 0] + 1.0) / (test.age + 1.0 / max(fleet, 1e-9))
        out[RATE] = -np.expm1(-rate * horizon / DAY)
    shift = prior_shift(failed, weight)
    logistic = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    told = np.ptp(filled_train, axis=0) > 0
    with threadpool_limits(jobs):
        logistic.fit(_logs(filled_train[:, told]), failed)
        out[LOGISTIC] = _shifted(logistic.predict_proba(_logs(filled_test[:, told])), shift)
    plain = learners(train.full, failed, test.full, seed, shift, few=not _has_signals(train), jobs=jobs, forest=forest)
    return {**out, **plain}


def learners(
    train: Any, failed: Bools, test: Any, seed: int, shift: float, *, few: bool, jobs: int = 1, forest: bool = True
) -> dict[str, Floats]:
    """A forest and boosting on any features, set up for rare events. few: there are event counts alone, so larger leaves."""

    told = np.flatnonzero(np.fmax.reduce(train, axis=0) > np.fmin.reduce(train, axis=0))
    out: dict[str, Floats] = {}
    # Without the penalty the leaves of rare events run away: 0.025 instead of 0.16 on the forecast's own features of drives.
    how: dict[str, Any] = {"learning_rate": 0.03, "max_iter": 300, "min_samples_leaf": 100, "early_stopping": False}
    how |= {"l2_regularization": 5.0, "max_features": 0.3}
    with threadpool_limits(jobs):
        boosting = HistGradientBoostingClassifier(random_state=seed, max_leaf_nodes=4 if few else 15, **how)
        boosting.fit(train[:, told], failed)
        out[BOOSTING] = _shifted(boosting.predict_proba(test[:, told]), shift)
        if forest:
            leaf: dict[str, Any] = {"min_samples_leaf": 100 if few else 20, "n_jobs": jobs}
            woods = RandomForestClassifier(100, random_state=seed, **leaf).fit(train[:, told], failed)
            out[FOREST] = _shifted(woods.predict_proba(test[:, told]), shift)
    return out


def prior_shift(failed: Bools, weight: Floats) -> float:
    """What sampling the healthy pairs added to every log-odds."""
    odds, sampled = weight @ failed / max(weight @ ~failed, 1e-9), failed.sum() / max((~failed).sum(), 1)
    return float(np.log(sampled / odds))


def _has_signals(inputs_: Inputs) -> bool:
    return any(not name.startswith("events in ") for name in inputs_.names)


def _shifted(probability: Any, shift: float) -> Floats:
    return sigmoid(logit(cast("Floats", probability)[:, 1]) - shift)


def _logs(values: Floats) -> Floats:
    return np.sign(values) * np.log1p(np.abs(values))


def _rank(values: Floats) -> Floats:
    order = np.unique(values, return_inverse=True)[1]
    return order / max(int(order.max()), 1)


def anomaly_scores(healthy: Floats, rows: Floats, seed: int) -> Mapping[str, Floats]:
    """Baselines of one unit: fitted on its healthy rows, scored on `rows` (missing counts as typical)."""

    centre = np.nanmean(healthy, axis=0)
    scale = np.maximum(np.nanstd(healthy, axis=0), 0.01)

    def z(values: Floats) -> Floats:
        return np.nan_to_num((values - centre) / scale, nan=0.0)

    known, asked = z(healthy), z(rows)
    values, vectors = np.linalg.eigh(known.T @ known / len(known))
    order = np.argsort(values)[::-1]
    kept = int(np.searchsorted(np.cumsum(values[order]) / values.sum(), 0.95)) + 1
    directions = vectors[:, order[:kept]]
    residual = ((asked - asked @ directions @ directions.T) ** 2).sum(axis=1)
    wood = IsolationForest(random_state=seed).fit(known)
    forest: Callable[[Floats], Floats] = wood.score_samples
    points = known[np.sort(np.random.default_rng(seed).choice(len(known), min(3_000, len(known)), replace=False))]
    near: Any = NearestNeighbors(n_neighbors=min(5, len(points))).fit(points)
    nearest = cast("Floats", near.kneighbors(asked)[0]).mean(axis=1)
    return {
        "random": np.random.default_rng(seed).random(len(rows)),
        "max |z|": np.abs(asked).max(axis=1),
        "PCA reconstruction": residual,
        "PCA reconstruction, mean of 10": _trailing(residual),
        "5 nearest neighbours": nearest,
        "5 nearest neighbours, mean of 10": _trailing(nearest),
        "isolation forest": -forest(asked),
    }


def _trailing(values: Floats, count: int = 10) -> Floats:
    """Mean of the last `count` values."""
    total = np.cumsum(np.r_[0.0, values])
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - count, 0)
    return (total[end] - total[start]) / (end - start)
