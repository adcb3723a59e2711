"""The measures, on cases small enough to count by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.forecast.data.dataset import DAY
from models.forecast.learned import evaluate
from models.forecast.learned.calibrate import fit_calibration, sigmoid


def test_recall_at_a_false_alarm_rate_counts_failures_above_the_healthy_quantile() -> None:
    healthy = np.arange(1000) / 1000.0
    failed = np.r_[np.zeros(1000, bool), np.ones(4, bool)]
    probability = np.r_[healthy, 0.45, 0.98, 0.995, 1.0]
    assert evaluate.recall_at_fpr(failed, probability, 0.01) == 0.5
    assert evaluate.recall_at_fpr(failed, probability, 0.5) == 0.75
    assert math.isnan(evaluate.recall_at_fpr(failed[:1000], probability[:1000], 0.01))


def test_daily_top_spends_the_budget_each_day_and_counts_units_once() -> None:
    units = np.tile(np.arange(100), 2)
    time = np.repeat([0, DAY], 100).astype(np.int64)
    probability = np.zeros(200)
    probability[[7, 107]] = 0.9
    failed = np.zeros(200, bool)
    failed[[7, 107, 150]] = True
    assert evaluate.daily_top(failed, probability, time, units, 0.01) == (1.0, 0.5)


def test_lead_is_from_the_first_warning_to_the_failure() -> None:
    units = np.tile(np.arange(10), 3)
    time = np.repeat([0, DAY, 2 * DAY], 10).astype(np.int64)
    failed_at = np.full(30, 5 * DAY, np.int64)
    probability = np.zeros(30)
    probability[[14, 24]] = 1.0
    failed = np.zeros(30, bool)
    failed[[4, 14, 24]] = True
    assert evaluate.lead_days(failed, probability, time, units, failed_at, 0.1).tolist() == [4.0]


def test_calibration_error_is_the_gap_between_said_and_seen() -> None:
    probability = np.full(1000, 0.25)
    failed = np.arange(1000) < 200
    assert evaluate.calibration_error(failed, probability) == pytest.approx(0.05)


def test_cost_below_one_pays_and_doing_nothing_costs_one() -> None:
    failed = np.arange(100) < 5
    assert evaluate.expected_cost(failed, np.where(failed, 0.9, 0.0), 10.0) == 0.0
    assert evaluate.expected_cost(failed, np.zeros(100), 10.0) == 1.0


def test_intervals_resample_units_not_rows() -> None:
    """One unit's hundred equal rows are one observation: by rows the interval would be far too narrow."""
    unit = np.repeat(np.arange(10), 100)
    value = np.repeat(np.arange(10.0), 100)
    low, high = evaluate.by_unit(lambda rows: float(value[rows].mean()), unit, rounds=300)
    assert high - low > 2.0


def test_calibration_finds_the_rate_and_keeps_the_order() -> None:
    random = np.random.default_rng(0)
    score = random.normal(size=50_000)
    failed = random.random(50_000) < sigmoid(1.5 * score - 6.0)
    fitted = fit_calibration(score, failed)
    said = fitted.apply(score)
    assert said.mean() == pytest.approx(failed.mean(), rel=0.05)
    assert fitted.slope == pytest.approx(1.5, abs=0.25)
    assert (np.argsort(said, kind="stable") == np.argsort(score, kind="stable")).all()


def test_with_no_failures_calibration_is_small_and_not_zero() -> None:
    said = fit_calibration(np.zeros(1000), np.zeros(1000, bool)).apply(np.zeros(1))[0]
    assert 0 < said < 0.002
