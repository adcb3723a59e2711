"""What an ensemble is made of, by what there is to learn from, and how its members are added up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.errors import ModelInvalid
from models.forecast.data.dataset import DAY
from models.forecast.learned import serialise
from models.forecast.learned.calibrate import Calibration
from models.forecast.learned.ensemble import EnsembleSettings, fit_ensembles
from models.forecast.learned.features.table import FeatureSpec
from models.forecast.learned.predict import Forecast, HorizonStep, Member

SMALL = EnsembleSettings(trees=5, leaf=5, event_leaf=5, rounds=5)
COUNTS = FeatureSpec(windows=(7 * DAY, 84 * DAY), kinds=("disk: error",))
NAMES = ("age.observed", "events.since", "events.count_7d", "events.count_84d")


class Says:
    """A classifier that gives every pair the same probability."""

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def predict_proba(self, X: np.ndarray) -> np.ndarray:  # noqa: N803
        return np.tile([1.0 - self.probability, self.probability], (len(X), 1))


def test_members_count_by_their_weight_and_probabilities_are_averaged() -> None:
    few, many = Member(Says(0.1), np.array([0])), Member(Says(0.4), np.array([0]), weight=2.0)
    step = HorizonStep(DAY, (few, many), Calibration(1.0, 0.0, 0, 0))
    assert step.failure_probability(np.zeros((3, 1), np.float32)) == pytest.approx([0.3, 0.3, 0.3])


def test_one_member_that_never_saw_a_failure_like_it_does_not_silence_the_others() -> None:
    step = HorizonStep(
        DAY, (Member(Says(0.0), np.array([0])), Member(Says(0.2), np.array([0]))), Calibration(1, 0, 0, 0)
    )
    assert step.failure_probability(np.zeros((1, 1), np.float32)) == pytest.approx([0.1])


def counted(size: int = 2_000) -> tuple[np.ndarray, np.ndarray]:
    """Units that fail the more often the more events they had lately; columns as NAMES."""
    random = np.random.default_rng(0)
    lately = random.poisson(random.gamma(0.5, 1.0, size))
    features = np.column_stack([random.random(size) * 400, random.random(size) * 84, lately, lately * 3])
    return features.astype(np.float32), random.random(size) < 1.0 - np.exp(-0.02 - 0.05 * lately)


def test_where_there_are_only_events_more_of_them_than_training_saw_is_worse_still() -> None:
    features, failed = counted()
    ((*members,),) = fit_ensembles([(features, failed)], NAMES, COUNTS, SMALL)
    step = HorizonStep(DAY, tuple(members), Calibration(1.0, 0.0, 0, 0))
    most = float(features[:, 2].max())
    asked = np.array([[100, 1, n, 3 * n] for n in (most, 3 * most, 9 * most)], np.float32)
    said = step.failure_probability(asked)
    assert said[0] < said[1] < said[2], "forests alone know nothing beyond what they saw"


def test_a_weight_that_is_none_is_refused_with_the_file() -> None:
    features, failed = counted(400)
    ((*members,),) = fit_ensembles([(features, failed)], NAMES, COUNTS, SMALL)
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        step = HorizonStep(DAY, (replace(members[0], weight=weight),), Calibration(1.0, 0.0, 0, 0))
        file = serialise.dumps(Forecast(COUNTS, NAMES, (step,), np.zeros(len(NAMES))))
        with pytest.raises(ModelInvalid, match="not laid out"):
            serialise.loads(file)


def test_few_failing_units_are_looked_at_in_more_ways_than_many() -> None:
    spec = FeatureSpec(windows=(DAY, 3 * DAY), signals=("smart_5",), clocks=(0.0,))
    names = ("age.observed", "smart_5.last", "smart_5.change_24h", "smart_5.rises_24h")
    features, failed = counted()
    many, few = (
        {type(m.classifier).__name__ for m in fit_ensembles([(features, failed)], names, spec, SMALL, few=is_few)[0]}
        for is_few in (False, True)
    )
    assert len(many) < len(few)
    assert many == {"RandomForestClassifier"}
