"""What a forecast has to beat, fitted on the same pairs: chance, the last value, the vendor's rule, and untuned learners.

The untuned learners are scikit-learn's defaults on last values and 7/30/90-day changes (shorter horizons: the same
multiples of the horizon), on event counts where there are events. For anomaly scores: the largest |z|, the PCA error of
single rows, and an isolation forest, each fitted on a unit's healthy rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer
from threadpoolctl import threadpool_limits

from models.forecast.learned.as_of import Index
from models.forecast.learned.dataset import DAY, Dataset, Floats
from models.forecast.learned.evaluate import Bools, average_precision
from models.forecast.learned.labels import Pairs

VENDOR_RULE = ("smart_5", "smart_187", "smart_188", "smart_197", "smart_198")
"""Any of these above 0: the five attributes Backblaze acts on (its post "What SMART Stats Tell Us", 2016)."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Plain features of pairs: `last` values and counts by name, and `full` with the changes too."""

    names: tuple[str, ...]
    last: Floats
    full: Floats


def windows(horizon: int) -> tuple[int, int, int]:
    """7, 30 and 90 days for horizons of a day or more; else 1, 4 and 12 horizons."""
    return (7 * DAY, 30 * DAY, 90 * DAY) if horizon >= DAY else (horizon, 4 * horizon, 12 * horizon)


def inputs(dataset: Dataset, pairs: Pairs, horizon: int) -> Inputs:
    """Last reported rows and their changes; event counts over the windows and a year."""

    names: list[str] = []
    last: list[Floats] = []
    extra: list[Floats] = []
    telemetry, events = dataset.telemetry, dataset.events
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
        for w in (*windows(horizon), 365 * DAY):
            count = now_row - np.maximum(index.at(pairs.unit, pairs.time - w), before)
            names.append(f"events in {w // DAY} d" if w >= DAY else f"events in {w} us")
            last.append(count[:, None].astype(float))
    if not last:
        return Inputs((), np.zeros((len(pairs), 0)), np.zeros((len(pairs), 0)))
    plain = np.concatenate(last, axis=1)
    return Inputs(tuple(names), plain, np.concatenate([plain, *extra], axis=1))


def scores(
    train: Inputs, failed: Bools, test: Inputs, seed: int, *, jobs: int = 1, forest: bool = True
) -> Mapping[str, Floats]:
    """Each baseline's probability (or a rank in 0..1 where it has none) for the test pairs."""

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
    told = np.fmax.reduce(train.full, axis=0) > np.fmin.reduce(train.full, axis=0)
    logistic = make_pipeline(QuantileTransformer(n_quantiles=200, random_state=seed), LogisticRegression(max_iter=500))
    varied = np.ptp(filled_train, axis=0) > 0
    with threadpool_limits(jobs):
        logistic.fit(filled_train[:, varied], failed)
        out["logistic regression"] = logistic.predict_proba(filled_test[:, varied])[:, 1]
        boosting = HistGradientBoostingClassifier(random_state=seed).fit(train.full[:, told], failed)
        out["gradient boosting"] = boosting.predict_proba(test.full[:, told])[:, 1]
    if forest:
        woods = RandomForestClassifier(random_state=seed, n_jobs=jobs).fit(train.full[:, told], failed)
        out["random forest"] = woods.predict_proba(test.full[:, told])[:, 1]
    return out


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
    wood = IsolationForest(random_state=seed).fit(known)
    forest: Callable[[Floats], Floats] = wood.score_samples
    return {
        "random": np.random.default_rng(seed).random(len(rows)),
        "max |z|": np.abs(asked).max(axis=1),
        "PCA reconstruction": ((asked - asked @ directions @ directions.T) ** 2).sum(axis=1),
        "isolation forest": -forest(asked),
    }
