"""The level of a forecast follows what came of it, only where that has proved better, and never from what came later."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scenes.fleet_history import CUT, QUICK, frames

from models.forecast.data import labels
from models.forecast.data.dataset import DAY, Dataset, Spans, build, known_at
from models.forecast.learned.features.table import Builder
from models.forecast.learned.level import MOST, curve_at_recent_level, recent_level
from models.forecast.learned.predict import Forecast
from models.forecast.learned.train import train
from models.forecast.learned.yearly import Came, Year, year_before

WEEK = 7 * DAY
TRAINED = CUT - 5 * WEEK
NOW = CUT + 5 * WEEK
UNITS = 4_000


def year(*come: float, said: float = 0.01, kinds: int = 1) -> Year:
    """Weeks in which this share of the units failed (of the first kind alone, where there are more), for 1 % forecast."""
    random = np.random.default_rng(0)
    unit, code = np.arange(UNITS), np.arange(UNITS) % kinds
    came = [
        Came(
            unit=unit,
            probability=np.full(UNITS, said),
            outcome=(random.random(UNITS) < np.where(code == 0, share, said)).astype(np.int8),
        )
        for share in come
    ]
    names = [f"model {k}" for k in range(kinds)]
    return Year(span=len(come) * WEEK, category="model" if kinds > 1 else None, kinds=names, code=code, came=came)


@pytest.mark.parametrize(("share", "least", "most"), [(0.02, 1.6, 2.1), (0.004, 0.4, 0.7)])
def test_a_level_that_is_off_for_months_is_followed(share: float, least: float, most: float) -> None:
    level = recent_level(year(*[share] * 8))
    assert level is not None
    assert least < level.fleet < most
    assert "failures came within 56d" in level.why
    assert level.bits > 0.0


def test_what_was_right_or_chance_is_left_alone() -> None:
    assert recent_level(None) is None
    assert recent_level(year(0.02)) is None, "one week has proved nothing"
    for share in (0.0095, 0.01, 0.0105):
        level = recent_level(year(*[share] * 8))
        assert level is None or 0.9 < level.fleet < 1.1


def test_a_wave_that_is_over_by_the_time_it_is_known_is_not_followed() -> None:
    assert recent_level(year(0.02, 0.004, 0.02, 0.004, 0.02, 0.004)) is None


def test_only_the_kind_that_is_off_is_moved() -> None:
    level = recent_level(year(*[0.04] * 8, kinds=4))
    assert level is not None
    assert level.factors["model 0"] > 2.0
    assert all(0.75 < level.factors[f"model {k}"] < 1.35 for k in (1, 2, 3))


def test_no_hazard_is_moved_by_more_than_is_credible() -> None:
    level = recent_level(year(*[0.2] * 8))
    assert level is not None
    assert level.fleet == MOST


@pytest.fixture(scope="module")
def fleet() -> Dataset:
    return build(frames())


@pytest.fixture(scope="module")
def timid(fleet: Dataset) -> Forecast:
    """Says far less than training found."""
    model = train(fleet, [WEEK], until=TRAINED, settings=QUICK)
    (step,) = model.steps
    low = replace(step.calibration, intercept=step.calibration.intercept - np.log(5.0))
    return replace(model, steps=(replace(step, calibration=low),))


def test_it_brings_forecasts_near_to_what_comes_and_uses_nothing_later(fleet: Dataset, timid: Forecast) -> None:
    pairs = labels.at_risk(fleet, np.array([TRAINED + WEEK, NOW]))
    curve, level = curve_at_recent_level(timid, timid.builder(fleet), pairs.unit, pairs.time)
    assert level is not None
    assert level.fleet > 1.2
    plain = timid.curve(timid.builder(fleet).build(pairs.unit, pairs.time))
    latest = pairs.time == NOW
    assert np.array_equal(curve[~latest], plain[~latest]), "a week after training nothing is proved"
    assert (curve[latest] > plain[latest]).all()
    then = known_at(fleet, NOW)
    again, _ = curve_at_recent_level(timid, timid.builder(then), pairs.unit[latest], pairs.time[latest])
    assert np.array_equal(again, curve[latest])


def test_without_failures_the_level_is_training_s(fleet: Dataset, timid: Forecast) -> None:
    empty = Spans(*(np.zeros(0, np.int64),) * 3)
    for silent in (replace(fleet, failures=None), replace(fleet, failures=empty)):
        builder: Builder = timid.builder(silent)
        level = recent_level(year_before(timid, builder, NOW))
        assert level is None or level.fleet < 1.0
