"""What a budget catches, whether forecasts mean what they say, and whether one method is better than another."""

from __future__ import annotations

import numpy as np
import pytest

from models.forecast.data.dataset import DAY, FOREVER, Dataset, Spans
from models.forecast.learned import evaluate
from models.forecast.learned.concentration import concentration
from models.forecast.trials import compare, worth
from models.forecast.trials.backtest import MODEL, Trial

WEEK = 7 * DAY


def _trial(scores: dict[str, list[float]], failed: list[bool], units: int, kinds: list[str] | None = None) -> Trial:
    """Weekly scores of `units` units; a failure comes three days after its score."""
    pairs = len(failed)
    unit = np.tile(np.arange(units), pairs // units)
    time = np.repeat(np.arange(pairs // units) * WEEK, units).astype(np.int64)
    hit = np.array(failed)
    return Trial(
        tuple(f"unit-{k}" for k in range(units)),
        unit,
        time,
        hit,
        np.where(hit, time + 3 * DAY, FOREVER),
        {name: np.array(values) for name, values in scores.items()},
        frozenset(scores),
        category="model" if kinds else "",
        kind=np.array(kinds, object)[unit] if kinds else np.zeros(0, object),
        largest=kinds[0] if kinds else "",
    )


def test_a_budget_is_spent_on_the_highest_scores_and_never_on_more() -> None:
    """Four weeks, five units: one move a week. The third week's failure is ranked second and missed."""
    failed = [False] * 20
    failed[1] = failed[12] = True
    scores = [0.1, 0.9, 0.1, 0.1, 0.1, 0.8, 0.1, 0.1, 0.1, 0.1, 0.9, 0.1, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1, 0.7, 0.1]
    trial = _trial({MODEL: scores}, failed, 5)
    spent = worth.spend(trial, MODEL, 30 / 7, WEEK, price=0.25)
    assert (spent.moves, spent.caught, spent.needless, spent.failures) == (4, 1, 3, 2)
    assert spent.lead_days[1] == pytest.approx(3.0)
    assert spent.saving == pytest.approx(1 - 0.25 * 3)


def test_a_failure_that_comes_before_an_evacuation_is_over_saves_nothing() -> None:
    failed = [False] * 20
    failed[1] = True
    trial = _trial({MODEL: [0.9 if k == 1 else 0.1 for k in range(20)]}, failed, 5)
    quick = worth.spend(trial, MODEL, 30 / 7, WEEK, price=0.25, takes=2 * DAY)
    slow = worth.spend(trial, MODEL, 30 / 7, WEEK, price=0.25, takes=4 * DAY)
    assert (quick.caught, quick.in_time, slow.caught, slow.in_time) == (1, 1, 1, 0)
    assert quick.saving - slow.saving == pytest.approx(1.25), "it saves nothing and costs what a needless one costs"


def test_a_unit_acted_on_rests_for_a_horizon() -> None:
    trial = _trial({MODEL: [0.9, 0.1, 0.9, 0.1]}, [False, True, False, True], 2)
    once_a_week = worth.spend(trial, MODEL, 30 / 7, 2 * WEEK, price=0.25)
    assert (once_a_week.moves, once_a_week.caught) == (2, 1)


def test_less_than_a_move_a_week_is_saved_up() -> None:
    trial = _trial({MODEL: [0.9, 0.1] * 4}, [False] * 7 + [True], 2)
    assert worth.spend(trial, MODEL, 30 / 14, WEEK, price=0.25).moves == 2


def test_the_reliability_curve_follows_what_came() -> None:
    random = np.random.default_rng(0)
    forecast = random.uniform(0.0, 0.2, 20_000)
    failed = random.random(20_000) < forecast
    trial = _trial({MODEL: forecast.tolist()}, failed.tolist(), 100)
    curve = worth.reliability(trial, MODEL)
    assert sum(point.pairs for point in curve) == 20_000
    inside = [point.low <= point.forecast <= point.high for point in curve]
    assert np.mean(inside) >= 0.7
    assert [point.forecast for point in curve] == sorted(point.forecast for point in curve)


def test_both_calibration_errors_are_nothing_when_forecasts_come_true_and_see_a_slope_that_is_too_flat() -> None:
    probability = np.repeat([0.0, 0.02], [900, 100])
    failed = np.zeros(1000, bool)
    failed[900:902] = True
    assert evaluate.calibration_error_by_rank(failed, probability) == pytest.approx(0.0)
    assert evaluate.top_tenth(failed, probability) == (pytest.approx(2.0), 2)
    flat = np.full(1000, 0.002)
    assert evaluate.calibration_error(failed, flat) == pytest.approx(0.0)
    assert evaluate.calibration_error_by_rank(failed, flat) == pytest.approx(0.0036)


def test_better_is_only_where_the_interval_of_the_difference_says_so() -> None:
    random = np.random.default_rng(1)
    failed = random.random(4_000) < 0.05
    good = failed * 1.0 + random.normal(0, 0.5, 4_000)
    poor = random.random(4_000)
    trial = _trial({MODEL: good.tolist(), "poor": poor.tolist(), "same": good.tolist()}, failed.tolist(), 400)
    measure = evaluate.average_precision
    assert compare.difference([trial], MODEL, "poor", measure, rounds=50).verdict == "better"
    assert compare.difference([trial], "poor", MODEL, measure, rounds=50).verdict == "worse"
    same = compare.difference([trial, trial], MODEL, "same", measure, rounds=20)
    assert (same.value, same.verdict) == (0.0, "cannot be told")


def test_figures_without_the_largest_kind_leave_it_out() -> None:
    failed = [True, False, True, False] * 30
    scores = [0.9, 0.1, 0.0, 0.5] * 30
    trial = _trial({MODEL: scores}, failed, 4, ["big", "big", "small", "small"])
    rest = compare.without_largest(trial)[MODEL]
    assert rest["average_precision"] == pytest.approx(0.5)
    assert evaluate.average_precision(trial.failed, trial.scores[MODEL]) > 0.5
    kinds = compare.by_kind(trial, MODEL)
    assert {(row["kind"], row["failures"]) for row in kinds} == {("big", 30), ("small", 30)}


@pytest.mark.parametrize(
    ("failing_share", "units_share", "failures", "named"),
    [(0.6, 0.2, 50, True), (0.6, 0.5, 50, False), (0.4, 0.1, 50, False), (0.6, 0.2, 15, False)],
)
def test_one_kind_is_named_when_it_makes_up_most_failures_and_not_most_units(
    failing_share: float, units_share: float, failures: int, named: bool
) -> None:
    count = 200
    models = np.array(["a" if k < units_share * count else f"b{k % 3}" for k in range(count)], object)
    of_a = round(failing_share * failures)
    unit = np.r_[np.zeros(of_a, np.int64), np.arange(count - failures + of_a, count)]
    spans = Spans(unit, np.arange(failures) * DAY, np.arange(failures) * DAY)
    data = Dataset(
        tuple(map(str, range(count))), np.zeros(count, np.int64), np.full(count, FOREVER), categories={"model": models},
        failures=spans,
    )  # fmt: skip
    found = concentration(data)
    assert found is not None
    assert bool(found.sentence) == named
