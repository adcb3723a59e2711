"""The members of an ensemble, each fitted on the same pairs; their logits are averaged.

Two forests. Where signals are reported, one sees only plain values (what is reported now, its changes over up to three
horizons, static columns), the other every feature that does not count from where observation began; where there are only
events, both see every feature and differ in how large their leaves are. On rolling origins of real drives and nodes that
beat boosting, a regression on counts, any mix with them, and two seeds of one forest (docs/forecast.md): a rare event needs
large leaves and many views, not more rounds.

None sees the sample's weights: drawing healthy pairs shifts every logit by the same amount, which calibration undoes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from models.forecast.data.as_of import span_name
from models.forecast.data.dataset import Ints
from models.forecast.learned.descriptions import parted
from models.forecast.learned.features import FeatureSpec, Matrix
from models.forecast.learned.predict import MISSING, Classifier, Member
from models.forecast.learned.reference import AGE

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class EnsembleSettings:
    """What fitting may spend. Chosen on rolling origins of real failures (docs/forecast.md).

    leaf, event_leaf: pairs in a leaf at least, with signals and with events alone (of one forest; the other's are half).
    """

    trees: int = 100
    leaf: int = 20
    event_leaf: int = 100
    jobs: int = 1


def fit_ensembles(
    parts: Sequence[tuple[Matrix, Bools]], names: Sequence[str], spec: FeatureSpec, settings: EnsembleSettings
) -> list[tuple[Member, ...]]:
    """An ensemble for each part (features, who failed). `prefer` is a wish: where a backend is set, such as Ray, that one
    takes the jobs."""
    of_parts = [_jobs(features, failed, names, spec, settings) for features, failed in parts]
    jobs = [job for of_part in of_parts for job in of_part]
    fitted = iter(cast("list[Member]", Parallel(n_jobs=settings.jobs, prefer="threads")(jobs)))
    return [tuple(islice(fitted, len(of_part))) for of_part in of_parts]


def _jobs(
    features: Matrix, failed: Bools, names: Sequence[str], spec: FeatureSpec, settings: EnsembleSettings
) -> list[Any]:
    low, high = np.fmin.reduce(features, axis=0), np.fmax.reduce(features, axis=0)
    told = np.flatnonzero(high > low)
    listed: list[str] = np.array(names)[told].tolist()
    if spec.signals:
        lasting = np.array([not counts_from_the_start(name, spec) for name in listed], dtype=bool)
        told = told[lasting] if lasting.any() else told
        listed = np.array(names)[told].tolist()
        plain = told[np.array([is_plain(name, spec) for name in listed], dtype=bool)]
        views = [plain, told] if 0 < plain.size < told.size else [told]
        return [
            delayed(_forest)(features, failed, view, settings.leaf, settings.trees, seed)
            for seed, view in enumerate(views)
        ]
    sizes = sorted({settings.event_leaf, max(settings.event_leaf // 2, 1)})
    return [delayed(_forest)(features, failed, told, leaf, settings.trees, seed) for seed, leaf in enumerate(sizes)]


def counts_from_the_start(name: str, spec: FeatureSpec) -> bool:
    """Whether a feature of signals grows with how long they have been watched: age, totals, the longest window, clocks.

    A year on, every unit is where no unit of training was; and among those of training it tells who was there from the
    beginning. What a forest learns of that does not last (docs/forecast.md).
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


def _forest(features: Matrix, failed: Bools, columns: Ints, leaf: int, trees: int, seed: int) -> Member:
    how: dict[str, Any] = {"min_samples_leaf": leaf, "max_features": "sqrt", "n_jobs": 1}
    model = RandomForestClassifier(trees, random_state=seed, **how)
    member = Member(cast("Classifier", model), columns, np.full(columns.size, MISSING))
    model.fit(member.inputs(features), failed)
    return member
