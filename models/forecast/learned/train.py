"""Fits a forecast on a dataset as it stood at one moment.

Nothing after `until` is looked at, and the last training pair lies one horizon before it, so scores from `until` on
share no label with training. Calibration: the same ensemble, fitted on one half of the units, scores the other half
(both ways round). What those scores, which no fit has seen, were worth in the last part of the training time gives the
slope and the metrics in the model file; the level is that of the whole training time, because failures come in waves
and the latest wave is a poor forecast of the next year (docs/forecast-figures.md). The final ensemble is fitted on everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import cast

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from models.errors import BadInput
from models.forecast.data import labels
from models.forecast.data.as_of import span_name
from models.forecast.data.dataset import DAY, FOREVER, Dataset, Floats, known_at
from models.forecast.learned import evaluate
from models.forecast.learned.calibrate import Calibration, at_level, fit_calibration
from models.forecast.learned.concentration import concentration
from models.forecast.learned.ensemble import EnsembleSettings, fit_ensembles
from models.forecast.learned.features.table import CHUNK, Builder, FeatureSpec, Matrix, plan
from models.forecast.learned.predict import Forecast, HorizonStep
from models.forecast.learned.reference import take_reference

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TrainingSettings(EnsembleSettings):
    """What training may spend. The defaults were chosen on rolling origins of real failures (docs/forecast-figures.md).

    enough_failing: with this many failing pairs a horizon apart, none are taken closer together.
    """

    enough_failing: int = 300
    most_failures: int = 4_000
    healthy_per_failure: int = 20
    fewest_healthy: int = 40_000
    most_times: int = 120
    calibration_share: float = 0.25


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
        "concentration": most.sentence if (most := concentration(past)) else "",
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

    every = max(_spacing(past, begin, end, horizon, settings), (end - begin) // settings.most_times, 1)
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


def _spacing(past: Dataset, begin: int, end: int, horizon: int, settings: TrainingSettings) -> int:
    """Microseconds between training moments: a horizon, as scores are asked; down to a seventh where failures are few.

    Closer pairs show one failure several times, and a leaf of twenty pairs is then three units.
    """
    starts = np.zeros(0, np.int64) if past.failures is None else past.failures.start
    failures = int(((starts > begin) & (starts <= end + horizon)).sum())
    return horizon // min(max(-(-settings.enough_failing // max(failures, 1)), 1), 7)


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
    few = _spacing(past, begin, end, horizon, settings) < horizon
    *folds, members = fit_ensembles(parts, builder.names, builder.spec, settings, few=few)
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


__all__ = ["FeatureSpec", "Sample", "Say", "TrainingSettings", "sample", "silent", "train"]
