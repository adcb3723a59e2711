"""The members of an ensemble, each fitted on the same pairs; their probabilities are averaged.

Where signals are reported: a forest on plain values (what is reported now, its changes over up to three horizons, static
columns) and, counting twice, one on every feature that does not count from where observation began. Where so few units failed
that pairs had to be taken close together, a leaf of twenty pairs is three units and forests alone are coarse: both count once,
beside a third on plain values and age and boosting in small steps with four leaves. Where there are only events: two forests
on everything, with leaves of another size, and a regression on logs of counts. How each was chosen, and what it is worth
beside learners on the same features, is in docs/forecast-figures.md.

None sees the sample's weights: drawing healthy pairs shifts every logit by the same amount, which calibration undoes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from models.forecast.data.as_of import span_name
from models.forecast.data.dataset import Ints
from models.forecast.learned.descriptions import parted
from models.forecast.learned.features.table import FeatureSpec, Matrix
from models.forecast.learned.predict import MISSING, Classifier, Member
from models.forecast.learned.reference import AGE

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class EnsembleSettings:
    """What fitting may spend. Chosen on rolling origins of real failures (docs/forecast-figures.md).

    leaf, event_leaf: pairs in a leaf at least, with signals and with events alone (of one forest; the other's are half).
    rounds: of boosting.
    """

    trees: int = 100
    leaf: int = 20
    event_leaf: int = 100
    rounds: int = 300
    jobs: int = 1


def fit_ensembles(
    parts: Sequence[tuple[Matrix, Bools]],
    names: Sequence[str],
    spec: FeatureSpec,
    settings: EnsembleSettings,
    *,
    few: bool = False,
) -> list[tuple[Member, ...]]:
    """An ensemble for each part (features, who failed). few: so few units failed that pairs lie closer than a horizon.

    `prefer` is a wish: where a backend is set, such as Ray, that one takes the jobs."""
    of_parts = [_jobs(features, failed, names, spec, settings, few=few) for features, failed in parts]
    jobs = [job for of_part in of_parts for job in of_part]
    fitted = iter(cast("list[Member]", Parallel(n_jobs=settings.jobs, prefer="threads")(jobs)))
    return [tuple(islice(fitted, len(of_part))) for of_part in of_parts]


def _jobs(
    features: Matrix,
    failed: Bools,
    names: Sequence[str],
    spec: FeatureSpec,
    settings: EnsembleSettings,
    *,
    few: bool,
) -> list[Any]:
    low, high = np.fmin.reduce(features, axis=0), np.fmax.reduce(features, axis=0)
    told = np.flatnonzero(high > low)

    def where(columns: Ints, holds: Callable[[str], bool]) -> Ints:
        listed: list[str] = np.array(names)[columns].tolist()
        return columns[np.array([holds(name) for name in listed], dtype=bool)]

    def forest(columns: Ints, leaf: int, seed: int, weight: float = 1.0) -> Any:
        return delayed(_forest)(features, failed, columns, leaf, settings.trees, seed, weight)

    if not spec.signals:
        sizes = sorted({settings.event_leaf, max(settings.event_leaf // 2, 1)})
        jobs = [forest(told, leaf, seed) for seed, leaf in enumerate(sizes)]
        counts = where(told, lambda name: name.startswith("events.count_"))
        return [*jobs, delayed(_regression)(features, failed, counts)] if counts.size else jobs
    lasting = where(told, lambda name: not counts_from_the_start(name, spec))
    lasting = lasting if lasting.size else told
    plain = where(lasting, lambda name: is_plain(name, spec))
    jobs = [forest(plain, settings.leaf, 0)] if 0 < plain.size < lasting.size else []
    if not few:
        return [*jobs, forest(lasting, settings.leaf, 1, weight=2.0)]
    aged = where(told, lambda name: is_plain(name, spec))
    jobs += [forest(aged, settings.leaf, 2)] if aged.size > plain.size else []
    boosted = delayed(_boosting)(features, failed, lasting, settings.rounds)
    return [*jobs, forest(lasting, settings.leaf, 1), boosted]


def counts_from_the_start(name: str, spec: FeatureSpec) -> bool:
    """Whether a feature of signals grows with how long they have been watched: age, totals, the longest window, clocks.

    A year on, every unit is where no unit of training was; and among those of training it tells who was there from the
    beginning. What a forest learns of that does not last (docs/forecast-figures.md).
    """
    subject, what = parted(name)
    if name == AGE or what in {"reported_for", "change_total", "rises_total"}:
        return True
    if subject in spec.signals and spec.clocks[spec.signals.index(subject)]:
        return True
    return subject in {*spec.signals, "signals"} and what.endswith(f"_{span_name(spec.windows[-1])}")


def is_plain(name: str, spec: FeatureSpec) -> bool:
    """Whether the feature is what a person would read first: a value, its recent change, age, a static column."""
    subject, what = parted(name)
    recent = {f"change_{span_name(window)}" for window in spec.windows[:-1]}
    static = {*spec.numbers, *(category for category, _ in spec.categories)}
    return name == AGE or name in static or (subject in spec.signals and what in {"last", *recent})


def _forest(features: Matrix, failed: Bools, columns: Ints, leaf: int, trees: int, seed: int, weight: float) -> Member:
    how: dict[str, Any] = {"min_samples_leaf": leaf, "max_features": "sqrt", "n_jobs": 1}
    model = RandomForestClassifier(trees, random_state=seed, **how)
    member = Member(cast("Classifier", model), columns, np.full(columns.size, MISSING), weight=weight)
    model.fit(member.inputs(features), failed)
    return member


def _boosting(features: Matrix, failed: Bools, columns: Ints, rounds: int) -> Member:
    # Without the penalty the leaves of rare events run away.
    how: dict[str, Any] = {"learning_rate": 0.03, "min_samples_leaf": 100, "max_leaf_nodes": 4, "early_stopping": False}
    how |= {"l2_regularization": 5.0, "max_features": 0.3}
    model = HistGradientBoostingClassifier(max_iter=rounds, random_state=3, **how)
    member = Member(cast("Classifier", model), columns)
    model.fit(member.inputs(features), failed)
    return member


def _regression(features: Matrix, failed: Bools, columns: Ints) -> Member:
    """A logistic regression on logs, fitted on standardised ones and told in terms of the logs themselves."""
    model = LogisticRegression(C=0.1, max_iter=500)
    member = Member(cast("Classifier", model), columns, np.zeros(columns.size, np.float32), logged=True)
    seen = member.inputs(features).astype(np.float64)
    centre, scale = seen.mean(axis=0), seen.std(axis=0)
    model.fit((seen - centre) / scale, failed)
    model.coef_ = model.coef_ / scale
    model.intercept_ = model.intercept_ - model.coef_ @ centre
    return member
