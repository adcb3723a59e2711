"""Whether a year's forecasts came true: within a fifth, by kind of unit, and only beyond what chance explains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scenes.fleet_history import CUT, QUICK, frames

from models.forecast.data.dataset import DAY, Dataset, build
from models.forecast.learned import drift
from models.forecast.learned.predict import Forecast
from models.forecast.learned.train import train
from models.forecast.learned.yearly import YEAR, YearOutcome, last_year, off_by_more, since_training, year_before

WEEK = 7 * DAY


def outcome(seen: int, expected: float, unknown: int = 0, kind: str = "") -> YearOutcome:
    return YearOutcome(kind=kind, expected=expected, seen=seen, unknown=unknown, span=360 * DAY)


@pytest.mark.parametrize(
    ("seen", "expected", "unknown", "said"),
    [
        (100, 100.0, 0, False),
        (115, 100.0, 0, False),  # within a fifth
        (190, 100.0, 0, True),
        (50, 100.0, 0, True),
        (50, 100.0, 60, False),  # the evacuated may have been about to fail
        (190, 100.0, 500, True),  # nor do they speak against what was seen
        (12, 8.0, 0, False),  # by chance
        (1, 0.2, 0, False),
    ],
)
def test_a_year_that_was_off_is_said_and_chance_is_not(seen: int, expected: float, unknown: int, said: bool) -> None:
    found = off_by_more([outcome(seen, expected, unknown)])
    assert bool(found) is said
    if said:
        assert f"{seen} failures within" in found[0][1]
        assert f"forecast were {expected:g}" in found[0][1]


def test_one_kind_of_unit_can_be_off_where_the_fleet_is_not() -> None:
    found = off_by_more([outcome(200, 200.0), outcome(120, 50.0, kind="model A"), outcome(80, 150.0, kind="model B")])
    assert [one.kind for one, _ in found] == ["model A", "model B"]
    assert "of model A" in found[0][1]


def test_fleets_within_a_fifth_are_left_alone() -> None:
    random = np.random.default_rng(0)
    for true in (85.0, 100.0, 119.0):
        seen = random.poisson(true, 2000)
        assert np.mean([bool(off_by_more([outcome(int(n), 100.0)])) for n in seen]) <= 0.01


@pytest.fixture(scope="module")
def fleet() -> Dataset:
    return build(frames())


@pytest.fixture(scope="module")
def model(fleet: Dataset) -> Forecast:
    return train(fleet, [WEEK], until=CUT, settings=QUICK)


def test_it_counts_what_came_since_training_and_no_more(fleet: Dataset, model: Forecast) -> None:
    now = CUT + 4 * WEEK
    (every, *_) = last_year(year_before(model, model.builder(fleet), now))
    assert fleet.failures is not None
    came = int(((fleet.failures.start > CUT) & (fleet.failures.start <= now)).sum())
    assert every.seen == came > 0
    assert every.span == 4 * WEEK
    assert last_year(year_before(model, model.builder(fleet), CUT + DAY)) == []


def test_a_model_that_promises_a_multiple_does_not_fit(fleet: Dataset, model: Forecast) -> None:
    (step,) = model.steps
    everyone = replace(step, members=(), calibration=replace(step.calibration, slope=1.0, intercept=1.0))
    loud = replace(model, steps=(everyone,))
    assert "forecast were" in drift.fit_at(loud, loud.builder(fleet), CUT + 5 * WEEK).misfit


def test_a_promise_that_is_far_off_is_told_before_its_first_horizon_is_over(fleet: Dataset, model: Forecast) -> None:
    (step,) = model.steps
    everyone = replace(step, members=(), calibration=replace(step.calibration, slope=1.0, intercept=1.0))
    loud = replace(model, steps=(everyone,))
    soon, later = CUT + WEEK // 8, CUT + WEEK // 2
    assert _shifts(loud, fleet, soon) == (), "nothing has come of it yet"
    (first, *_) = _shifts(loud, fleet, later)
    assert "in the last 3.5d, forecast were" in first.why
    assert not _shifts(model, fleet, later), "what was meant is left alone"


def test_stretches_lie_end_to_end_from_training_to_now(model: Forecast) -> None:
    now = CUT + 2 * WEEK + 3 * DAY
    found = since_training(model, now, YEAR)
    assert [one.length for one in found] == [3 * DAY, WEEK, WEEK]
    assert [one.start for one in found] == [CUT, CUT + 3 * DAY, CUT + 3 * DAY + WEEK]
    assert [one.length for one in since_training(model, now, WEEK)] == [WEEK], "no further back than asked"


def _shifts(model: Forecast, fleet: Dataset, now: int) -> tuple[drift.Shift, ...]:
    builder = model.builder(fleet)
    return drift.outcome_shifts(model, builder, now, year_before(model, builder, now))
