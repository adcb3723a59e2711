"""A model file under a right hash, from a stranger, whose trees point where nothing is: refused, not walked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from models.errors import ModelInvalid
from models.forecast.learned import serialise
from models.forecast.learned.calibrate import Calibration
from models.forecast.learned.features.table import FeatureSpec
from models.forecast.learned.predict import Forecast, HorizonStep, Member

COLUMNS = 3
KINDS = ("forest", "boosting", "regression")


def _fitted(kind: str) -> Any:
    random = np.random.default_rng(0)
    rows = random.random((300, COLUMNS)).astype(np.float32)
    failed = rows[:, 0] + rows[:, 1] > 1.0
    if kind == "forest":
        return RandomForestClassifier(3, random_state=0).fit(rows, failed)
    if kind == "boosting":
        return HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(rows, failed)
    return LogisticRegression().fit(rows, failed)


def _file(classifier: Any, columns: int = COLUMNS) -> bytes:
    names = tuple(f"number_{k}" for k in range(columns))
    step = HorizonStep(1_000_000, (Member(classifier, np.arange(columns)),), Calibration(1.0, 0.0, 0, 0))
    return serialise.dumps(Forecast(FeatureSpec(windows=(1,)), names, (step,), np.zeros(columns)))


def _tree(classifier: Any) -> Any:
    return classifier.estimators_[0].tree_


def _nodes(classifier: Any) -> Any:
    return classifier._predictors[0][0].nodes


@pytest.mark.parametrize("kind", KINDS)
def test_what_training_fits_is_within_its_bounds(kind: str) -> None:
    assert isinstance(serialise.loads(_file(_fitted(kind))), Forecast)


def _far_child(classifier: Any) -> None:
    _tree(classifier).children_left[0] = 10**9


def _negative_child(classifier: Any) -> None:
    _tree(classifier).children_right[0] = -7


def _circle(classifier: Any) -> None:
    _tree(classifier).children_left[0] = 0


def _one_child(classifier: Any) -> None:
    _tree(classifier).children_left[0] = -1


def _strange_feature(classifier: Any) -> None:
    _tree(classifier).feature[0] = COLUMNS


def _negative_feature(classifier: Any) -> None:
    _tree(classifier).feature[0] = -(10**9)


@pytest.mark.parametrize(
    "damage", [_far_child, _negative_child, _circle, _one_child, _strange_feature, _negative_feature]
)
def test_a_forest_that_points_outside_itself_is_refused(damage: Callable[[Any], None]) -> None:
    forest = _fitted("forest")
    damage(forest)
    with pytest.raises(ModelInvalid, match="damaged"):
        serialise.loads(_file(forest))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("left", 10**9),
        ("right", 10**9),
        ("left", 0),
        ("feature_idx", COLUMNS),
        ("feature_idx", -5),
        ("is_categorical", 1),
    ],
)
def test_boosted_trees_that_point_outside_themselves_are_refused(field: str, value: int) -> None:
    boosting = _fitted("boosting")
    _nodes(boosting)[field][0] = value
    with pytest.raises(ModelInvalid, match="damaged"):
        serialise.loads(_file(boosting))


@pytest.mark.parametrize("kind", KINDS)
def test_parts_fitted_on_other_features_than_the_file_names_are_refused(kind: str) -> None:
    with pytest.raises(ModelInvalid, match="damaged"):
        serialise.loads(_file(_fitted(kind), COLUMNS + 1))


def test_columns_that_the_model_does_not_have_are_refused() -> None:
    step = HorizonStep(1, (Member(_fitted("forest"), np.array([0, 1, 7])),), Calibration(1.0, 0.0, 0, 0))
    data = serialise.dumps(Forecast(FeatureSpec(windows=(1,)), ("a", "b", "c"), (step,), np.zeros(3)))
    with pytest.raises(ModelInvalid, match="does not have"):
        serialise.loads(data)


@pytest.mark.slow
def test_scoring_with_such_a_file_ends_with_a_line_not_with_the_process(tmp_path: Path) -> None:
    forest = _fitted("forest")
    _far_child(forest)
    path = tmp_path / "model.lifeboat"
    path.write_bytes(_file(forest))
    program = "from agent.cli.main import main; main()"
    command = [sys.executable, "-c", program, "score", str(tmp_path), "--model", str(path)]
    run = subprocess.run(
        [*command, "--from", "2026-01-01", "--until", "2026-01-02"],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        cwd=Path(__file__).parents[5],
        check=False,
    )
    assert run.returncode == 2, run.stderr
    assert "damaged" in run.stderr
