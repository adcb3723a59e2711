"""A trained forecast and what it says: a curve per pair that never falls as the horizon grows.

Each horizon has a hazard of its own: the probability of failing after the horizon before it and by this one, given that
the unit lasted until then. P(by h) = 1 − Π (1 − hazard), so the curve cannot fall.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import ThreadpoolController

from models.errors import BadInput, ModelInvalid
from models.forecast.data.as_of import span_name
from models.forecast.data.dataset import Dataset, Floats, Ints
from models.forecast.learned.calibrate import Calibration, logit, sigmoid
from models.forecast.learned.features.table import Builder, FeatureSpec, Matrix
from models.forecast.learned.reference import Reference

MISSING = np.float32(-1.0e6)
"""Stands for NaN in a forest, which splits it off as it would any value."""


class Classifier(Protocol):
    """The part of a scikit-learn classifier that scoring needs."""

    def predict_proba(self, X: Matrix) -> NDArray[np.float64]: ...  # noqa: N803


@dataclass(frozen=True, slots=True)
class Member:
    """One fitted classifier of an ensemble, and the feature columns it looks at.

    missing: what stands for NaN in each column; None where the classifier takes NaN as it is.
    logged: it sees sign(x) × log(1 + |x|) of each feature. weight: how much it counts in the ensemble's mean.
    """

    classifier: Classifier
    columns: Ints
    missing: Matrix | None = None
    logged: bool = False
    weight: float = 1.0

    def probability(self, features: Matrix) -> Floats:
        """Its probability of failing, uncalibrated."""
        seen = self.inputs(features)
        if isinstance(self.classifier, LogisticRegression):
            # Column by column: a matrix product's rounding depends on how many rows are asked for at once.
            fitted: Any = self.classifier
            total = np.full(len(seen), float(fitted.intercept_[0]))
            for place, coefficient in enumerate(fitted.coef_[0]):
                total += coefficient * seen[:, place].astype(np.float64)
            return sigmoid(total)
        return self.classifier.predict_proba(seen)[:, 1]

    def inputs(self, features: Matrix) -> Matrix:
        """What the classifier sees of `features`."""
        part = features[:, self.columns]
        if self.missing is not None:
            part = np.where(np.isnan(part), self.missing, part)
        return np.sign(part) * np.log1p(np.abs(part)) if self.logged else part


@functools.cache
def _threads() -> ThreadpoolController:
    """The thread pools of this process, found once: looking through all it has loaded takes longer than a score."""
    return ThreadpoolController()


@dataclass(frozen=True, slots=True)
class HorizonStep:
    """The hazard between the horizon before and this one."""

    horizon: int
    members: tuple[Member, ...]
    calibration: Calibration

    def score(self, features: Matrix) -> Floats:
        """The logit of the members' mean probability."""
        if not self.members:
            return np.zeros(len(features))
        # One core: what there is to do is too little to share, and threads that wait for each other spin.
        with _threads().limit(limits=1):
            total, weights = np.zeros(len(features)), 0.0
            for member in self.members:
                total += member.weight * member.probability(features)
                weights += member.weight
        return logit(total / weights)

    def failure_probability(self, features: Matrix) -> Floats:
        return self.calibration.apply(self.score(features))


@dataclass(frozen=True, slots=True)
class Forecast:
    """A trained model. `steps` are in order of horizon; `about` is the metadata that travels with it."""

    plan: FeatureSpec
    names: tuple[str, ...]
    steps: tuple[HorizonStep, ...]
    typical: Floats
    """Per feature, the median among healthy training pairs (NaN: mostly unknown there); what drivers compare with."""
    about: Mapping[str, object] = field(default_factory=dict[str, object])
    reference: Reference | None = None
    """What training saw of the features; None: an older model file, of which nobody can tell whether it fits."""
    factor: float = 1.0
    """What every hazard is multiplied by (`models.forecast.learned.level`); no part of the file"""

    @property
    def horizons(self) -> tuple[int, ...]:
        return tuple(step.horizon for step in self.steps)

    def curve(self, features: Matrix) -> Floats:
        """P(fails within h) for each pair and each horizon, shape (pairs, horizons)."""
        survival = np.ones(len(features))
        columns: list[Floats] = []
        for step in self.steps:
            survival = survival * (1.0 - step.failure_probability(features)) ** self.factor
            columns.append(1.0 - survival)
        return np.stack(columns, axis=1)

    def builder(self, dataset: Dataset) -> Builder:
        """What builds this model's features from `dataset`. Raises ModelInvalid where it was trained with other ones."""
        builder = Builder(dataset, self.plan)
        if builder.names != self.names:
            raise ModelInvalid(
                "the model was trained by a lifeboat that computed other features", hint="train it again with this one"
            )
        return builder

    def features(self, dataset: Dataset, unit: Ints, time: Ints) -> Matrix:
        return self.builder(dataset).build(unit, time)

    def place(self, horizon: int | None) -> int:
        """Which column of the curve `horizon` (microseconds) is; None: the longest. Raises BadInput."""
        if horizon is None:
            return len(self.steps) - 1
        if horizon not in self.horizons:
            known = ", ".join(span_name(h) for h in self.horizons)
            raise BadInput(f"the model has no horizon {span_name(horizon)}; it was trained for {known}")
        return self.horizons.index(horizon)


def score(model: Forecast, dataset: Dataset, unit: Ints, time: Ints) -> Floats:
    """The curve of each (unit, time) pair from what `dataset` knew at that time, shape (pairs, horizons)."""

    return model.curve(model.features(dataset, unit, time))
