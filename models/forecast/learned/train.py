"""Fits a forecast on a dataset as it stood at one moment.

Nothing after `until` is looked at, and the last training pair lies one horizon before it, so scores from `until` on
share no label with training. Calibration: the same ensemble, fitted on one half of the units, scores the other half
(both ways round). What those scores, which no fit has seen, were worth in the last part of the training time gives the
slope and the metrics in the model file; the level is that of the whole training time, because failures come in waves
and the latest wave is a poor forecast of the next year (docs/forecast.md). The final ensemble is fitted on everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, cast

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from models.errors import BadInput
from models.forecast.learned import evaluate, labels
from models.forecast.learned.as_of import span_name
from models.forecast.learned.calibrate import Calibration, at_level, fit_calibration
from models.forecast.learned.damage_counters import damage
from models.forecast.learned.dataset import DAY, FOREVER, Dataset, Floats, Ints, known_at
from models.forecast.learned.descriptions import parted
from models.forecast.learned.features import CHUNK, Builder, FeatureSpec, Matrix, plan
from models.forecast.learned.predict import MISSING, Classifier, Forecast, HorizonStep, Member
from models.forecast.learned.reference import take_reference
from models.forecast.learned.regression import fit_regression

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What training may spend. The defaults were chosen by cross-validation on real failures (docs/forecast.md)."""

    trees: int = 60
    rounds: int = 150
    leaf: int = 20
    most_failures: int = 4_000
    healthy_per_failure: int = 20
    fewest_healthy: int = 40_000
    most_times: int = 120
    calibration_share: float = 0.25
    jobs: int = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """Training pairs of one step: every failure, and a known share of the healthy."""

    pairs: labels.Pairs
    failed: Bools
    weight: Floats


Say = Callable[[str], None]
"""Takes a line about what is being done and how far it is."""


def silent(line: str) -> None:
    """Says nothing."""
    del line


def train(
    dataset: Dataset,
    horizons: Sequence[int],
    *,
    until: int | None = None,
    settings: TrainingSettings | None = None,
    say: Say = silent,
) -> Forecast:
    """Fit a forecast for `horizons` (microseconds) on what `dataset` knew at `until` (default: its last moment).

    Raises BadInput where the data cannot carry a forecast (no failures file, none inside the window, too short).
    """

    settings = settings or TrainingSettings()
    if not horizons or min(horizons) <= 0:
        raise BadInput("a horizon must be longer than nothing")
    wanted = sorted(set(horizons))
    until = dataset.last_time if until is None else until
    if dataset.failures is None:
        raise BadInput(
            "the dataset has no failures.parquet (nor healthy_until in units.parquet): nothing to learn from"
        )
    past = known_at(dataset, until)
    begin = int(past.observed_from[past.observed_from > -FOREVER].min(initial=until))
    if until - begin <= 2 * wanted[-1]:
        raise BadInput(
            f"a forecast {span_name(wanted[-1])} ahead needs more than two horizons of history before "
            f"{_when(until)}, and the dataset starts at {_when(begin)}"
        )
    say(f"{int((past.observed_from <= until).sum())} units from {_when(begin)} to {_when(until)}: preparing features")
    spec = plan(past, wanted, _hazards(past, until), learnt_until=until - wanted[0])
    builder = Builder(past, spec)
    steps: list[HorizonStep] = []
    metrics: dict[str, object] = {}
    typical = np.zeros(len(builder.names))
    shorter = 0
    for horizon in wanted:
        # Members are fitted side by side, so each gets one core: nested OpenMP teams spin while they wait for each other.
        with threadpool_limits(1):
            step, numbers, typical = _fit_step(past, builder, begin, until, shorter, horizon, settings, say)
        steps.append(step)
        metrics[span_name(horizon)] = numbers
        shorter = horizon
    about: dict[str, object] = {
        "kind": "failure forecast",
        "data_from": _when(begin),
        "data_until": _when(until),
        "units": len(past.units),
        "failures": int(past.failures.start.size) if past.failures is not None else 0,
        "horizons": [span_name(h) for h in wanted],
        "held_out": metrics,
    }
    reference = take_reference(builder, begin, until, wanted[-1])
    return Forecast(spec, builder.names, tuple(steps), typical, about, reference)


def _when(time: int) -> str:
    return str(np.datetime64(time, "us").astype("datetime64[s]")) + "Z"


def _hazards(past: Dataset, until: int) -> dict[str, tuple[Mapping[str, float], float]]:
    """Failures per unit-day for each value of each static category, pulled towards the fleet's by 5 failures' weight."""

    failures = past.failures
    days = np.maximum(np.minimum(past.observed_until, until) - past.observed_from, 0) / DAY
    days = np.where(past.observed_from > -FOREVER, days, 0.0)
    if failures is None or not failures.start.size or not days.sum():
        return {}
    fleet = failures.start.size / float(days.sum())
    failed = np.bincount(failures.unit, minlength=len(past.units)).astype(float)
    tables: dict[str, tuple[Mapping[str, float], float]] = {}
    for name, column in past.categories.items():
        values, code = np.unique(column.astype(str), return_inverse=True)
        if len(values) < 2 or len(values) > len(past.units) // 2:
            continue
        count, time = np.bincount(code, failed), np.bincount(code, days)
        rates = (count + 5.0) / (time + 5.0 / fleet)
        tables[name] = ({str(v): float(r) for v, r in zip(values, rates, strict=True)}, fleet)
    return tables


def sample(
    past: Dataset,
    begin: int,
    end: int,
    known_until: int,
    after: int,
    horizon: int,
    settings: TrainingSettings,
    seed: int,
) -> Sample:
    """Pairs from `begin` to `end` with known outcomes: the failures, some of the healthy (weighted back up)."""

    every = max(horizon // 7, (end - begin) // settings.most_times, 1)
    times = np.arange(end, begin - 1, -every, dtype=np.int64)[::-1]
    pairs = labels.at_risk(past, times)
    outcome = labels.outcomes(past, pairs, horizon, after=after, known_until=known_until)
    failed, healthy = np.flatnonzero(outcome == 1), np.flatnonzero(outcome == 0)
    random = np.random.default_rng(seed)
    share = min(1.0, settings.most_failures / max(failed.size, 1))
    if share < 1.0:
        failed = np.sort(random.choice(failed, settings.most_failures, replace=False))
    keep = min(healthy.size, max(settings.healthy_per_failure * failed.size, settings.fewest_healthy))
    chosen = np.sort(random.choice(healthy, keep, replace=False))
    rows = np.concatenate([failed, chosen])
    weight = np.ones(rows.size)
    weight[failed.size :] = share * healthy.size / max(keep, 1)
    return Sample(pairs.where(rows), outcome[rows] == 1, weight)


def _fit_step(
    past: Dataset,
    builder: Builder,
    begin: int,
    until: int,
    after: int,
    horizon: int,
    settings: TrainingSettings,
    say: Say,
) -> tuple[HorizonStep, dict[str, object], Floats]:
    end = until - horizon
    drawn = sample(past, begin, end, until, after, horizon, settings, seed=0)
    failures = int(drawn.failed.sum())
    if failures < 5:
        raise BadInput(
            f"only {failures} moments before {_when(until)} were followed by a failure within {span_name(horizon)}: "
            "too few to learn from"
        )
    name = span_name(horizon)
    say(
        f"{name}: computing {len(builder.names)} features of {failures} failing and {len(drawn.pairs) - failures} healthy pairs"
    )
    features = _features(builder, drawn.pairs, settings)
    slice_start = max(int(end - (end - begin) * settings.calibration_share), begin + horizon)
    slice_pairs, slice_failed = _slice(past, slice_start, end, until, after, horizon)
    slice_features = _features(builder, slice_pairs, settings)
    half = np.random.default_rng(7).random(len(past.units)) < 0.5
    held_out, everywhere = np.full(len(slice_pairs), np.nan), np.full(len(drawn.pairs), np.nan)
    sides = [half[drawn.pairs.unit] == side for side in (False, True)]
    sides = [rows for rows in sides if drawn.failed[rows].any()]
    say(f"{name}: {len(sides) + 1} fits, on each half of the units to calibrate on the other, and on all")
    # All at once: where there are more cores than members, none waits.
    parts = [*((features[rows], drawn.failed[rows]) for rows in sides), (features, drawn.failed)]
    *folds, members = _fit(parts, builder.names, settings)
    for rows, fold in zip(sides, folds, strict=True):
        step = HorizonStep(horizon, fold, Calibration(1.0, 0.0, 0, 0))
        other = half[slice_pairs.unit] != half[drawn.pairs.unit[rows][0]]
        held_out[other] = step.score(slice_features[other])
        everywhere[~rows] = step.score(features[~rows])
    scored, told = ~np.isnan(held_out), ~np.isnan(everywhere)
    recent = fit_calibration(held_out[scored], slice_failed[scored])
    calibration = at_level(recent, everywhere[told], drawn.failed[told], drawn.weight[told])
    probability = calibration.apply(held_out[scored])
    numbers: dict[str, object] = {
        "from": _when(slice_start),
        "until": _when(end),
        **evaluate.headline(slice_failed[scored], probability),
        "calibration": asdict(calibration),
    }
    healthy = features[~drawn.failed]
    known = np.isfinite(healthy).mean(axis=0) >= 0.5
    typical = np.full(features.shape[1], np.nan)
    typical[known] = np.nanmedian(healthy[:, known], axis=0)
    return HorizonStep(horizon, members, calibration), numbers, typical


def _slice(
    past: Dataset, begin: int, end: int, known_until: int, after: int, horizon: int
) -> tuple[labels.Pairs, Bools]:
    """Calibration pairs: every unit, at moments a third of a horizon apart or more, with known outcomes."""

    every = max(horizon // 3, (end - begin) // 12, 1)
    pairs = labels.at_risk(past, np.arange(end, begin - 1, -every, dtype=np.int64)[::-1])
    outcome = labels.outcomes(past, pairs, horizon, after=after, known_until=known_until)
    known = outcome != labels.UNKNOWN
    return pairs.where(known), outcome[known] == 1


def _features(builder: Builder, pairs: labels.Pairs, settings: TrainingSettings) -> Matrix:
    """The features of all pairs, a joblib job for each CHUNK of them."""
    starts = range(0, len(pairs), CHUNK)
    if len(starts) < 2:
        return builder.build(pairs.unit, pairs.time)
    jobs = [delayed(builder.build)(pairs.unit[k : k + CHUNK], pairs.time[k : k + CHUNK]) for k in starts]
    return np.concatenate(cast("list[Matrix]", Parallel(n_jobs=settings.jobs, prefer="threads")(jobs)))


def _fit(
    parts: Sequence[tuple[Matrix, Bools]], names: Sequence[str], settings: TrainingSettings
) -> list[tuple[Member, ...]]:
    """An ensemble for each part (features, who failed). `prefer` is a wish: where a backend is set, such as Ray, that one
    takes the jobs."""
    of_parts = [_jobs(features, failed, names, settings) for features, failed in parts]
    jobs = [job for of_part in of_parts for job in of_part]
    fitted = iter(cast("list[Member]", Parallel(n_jobs=settings.jobs, prefer="threads")(jobs)))
    return [tuple(islice(fitted, len(of_part))) for of_part in of_parts]


def _jobs(features: Matrix, failed: Bools, names: Sequence[str], settings: TrainingSettings) -> list[Any]:
    """Boosted trees, a forest and a regression on the logs of rates and counts of damage; their logits are averaged.

    None sees the sample's weights: drawing healthy pairs shifts every logit by the same amount, which calibration undoes.
    """
    low, high = np.fmin.reduce(features, axis=0), np.fmax.reduce(features, axis=0)
    told = np.flatnonzero(high > low)
    listed = np.array(names)[told].tolist()
    never_safer = np.array([damage(name) for name in listed], dtype=np.int8)
    jobs: list[Any] = [
        delayed(_boost)(features, failed, told, never_safer, settings),
        delayed(_forest)(features, failed, told, never_safer, settings),
    ]
    straight = np.array([_is_straight(name) for name in listed], dtype=bool)
    if straight.any():
        jobs.append(delayed(_regression)(features, failed, told[straight], never_safer[straight] > 0))
    return jobs


def _is_straight(name: str) -> bool:
    """Whether a feature's logarithm is what its log-odds go with: rates of events, counts of damage, age."""
    subject, what = parted(name)
    rate = subject == "events" or what.startswith("rate_") or what == "hazard"
    return rate or name == "age.observed" or bool(damage(name))


def _boost(
    features: Matrix, failed: Bools, columns: Ints, never_safer: NDArray[np.int8], settings: TrainingSettings
) -> Member:
    # The categories are numbers here: scikit-learn's own encoding of them brings types that skops rightly refuses.
    how: dict[str, Any] = {
        "learning_rate": 0.05,
        "max_iter": settings.rounds,
        "max_leaf_nodes": 4,
        "min_samples_leaf": 40,
        "l2_regularization": 5.0,
        "max_features": 0.3,
        "early_stopping": False,
        "categorical_features": None,
        "monotonic_cst": never_safer,
    }
    model = HistGradientBoostingClassifier(random_state=0, **how)
    with threadpool_limits(1):  # in this thread, too
        model.fit(features[:, columns], failed)
    return Member(model, columns)


def _forest(
    features: Matrix, failed: Bools, columns: Ints, never_safer: NDArray[np.int8], settings: TrainingSettings
) -> Member:
    # Where a value may only raise the risk, "not reported" must not be the lowest of all: it stands as none there, and
    # the features beside it (reported for how long, how many are missing) still tell that it is not known.
    missing = np.where(never_safer > 0, np.float32(0.0), MISSING)
    how: dict[str, Any] = {"min_samples_leaf": settings.leaf, "max_features": 0.15, "max_samples": 0.5, "n_jobs": 1}
    model = RandomForestClassifier(settings.trees, random_state=0, monotonic_cst=never_safer, **how)
    member = Member(cast("Classifier", model), columns, missing)
    model.fit(member.inputs(features), failed)
    return member


def _regression(features: Matrix, failed: Bools, columns: Ints, never_safer: Bools) -> Member:
    missing = np.nan_to_num(np.nanmedian(features[:, columns], axis=0)).astype(np.float32)
    model = LogisticRegression()
    member = Member(cast("Classifier", model), columns, missing, logged=True)
    fit_regression(model, member.inputs(features).astype(np.float64), failed, never_safer)
    return member


__all__ = ["FeatureSpec", "Sample", "Say", "TrainingSettings", "sample", "silent", "train"]
