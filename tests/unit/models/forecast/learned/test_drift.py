"""A model that no longer fits what it sees says so, and one that does is left alone, however small the fleet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes.fleet_history import CUT, START, frames

from models.forecast.data import labels
from models.forecast.data.dataset import DAY, Dataset, build, known_at
from models.forecast.learned import drift
from models.forecast.learned import serialise as store
from models.forecast.learned.features.table import Builder, Matrix, plan
from models.forecast.learned.predict import Forecast
from models.forecast.learned.reference import Ask, Question, Reference, take_reference

DAYS = 60
TRAINED = int(START.timestamp() * 1e6) + 40 * DAY
NOW = TRAINED + 18 * DAY


def history(units: int = 600, seed: int = 0, days: int = DAYS) -> dict[str, pl.DataFrame]:
    """Healthy units: a temperature, an error count that one in thirty has, hours that run, two models."""
    random = np.random.default_rng(seed)
    unit = np.repeat(np.arange(units), days)
    day = np.tile(np.arange(days), units)
    broken = np.repeat(random.random(units) < 1 / 30, days)
    warmth = np.repeat(random.normal(30.0, 3.0, units), days)
    errors = np.where(broken, np.cumsum(random.poisson(np.where(broken, 0.3, 0.0))), 0.0)
    first = errors.reshape(units, days)[:, :1].repeat(days, axis=1).reshape(-1)
    names = [f"n{k:04}" for k in range(units)]
    return {
        "units": pl.DataFrame({
            "unit": names, "observed_from": [START] * units, "observed_until": [None] * units,
            "model": np.where(random.random(units) < 0.4, "x1", "x2"), "size": random.choice([1.0, 2.0, 4.0], units),
        }),
        "telemetry": pl.DataFrame({
            "unit": np.array(names)[unit], "time": [START + timedelta(days=int(d)) for d in day],
            "temperature": warmth + random.normal(size=unit.size),
            "errors": errors - first, "hours": np.repeat(random.uniform(0, 20_000, units), days) + 24.0 * day,
        }),
    }  # fmt: skip


class Seen:
    """A reference of training, and the features of any fleet as the model would see them."""

    def __init__(self) -> None:
        past = known_at(build(history()), TRAINED)
        self.plan = plan(past, [7 * DAY], {})
        builder = Builder(past, self.plan)
        self.names = builder.names
        self.reference = take_reference(builder, TRAINED - 40 * DAY, TRAINED, 7 * DAY)

    def features(self, tables: dict[str, pl.DataFrame], time: int = NOW) -> Matrix:
        dataset = build(tables)
        pairs = labels.at_risk(dataset, np.array([time]))
        return Builder(dataset, self.plan).build(pairs.unit, pairs.time)

    def shifts(self, features: Matrix) -> tuple[drift.Shift, ...]:
        return drift.input_shifts(self.reference, self.names, features, dict(self.plan.categories))


@pytest.fixture(scope="module")
def seen() -> Seen:
    return Seen()


@pytest.fixture(scope="module")
def alike(seen: Seen) -> Matrix:
    """Another fleet of the same make, later."""
    return seen.features(history(800, seed=1))


@pytest.mark.parametrize("size", [3, 5, 50, 800])
def test_fleets_as_training_was_are_left_alone(seen: Seen, alike: Matrix, size: int) -> None:
    random = np.random.default_rng(size)
    alarms = sum(bool(seen.shifts(alike[random.integers(0, len(alike), size)])) for _ in range(200))
    assert alarms <= 200 * drift.FALSE_ALARMS


def milli(name: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda table: table.with_columns(pl.col(name) * 1000)


def vanished(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(pl.lit(None, pl.Float64).alias("temperature"))


@pytest.mark.parametrize(
    ("size", "change", "subject", "said"),
    [
        (5, milli("temperature"), "temperature", "temperature is above"),
        (50, milli("temperature"), "temperature", "temperature is above"),
        (50, vanished, "temperature", "temperature is not reported on 100 % of units, 0 % in training"),
        (5, vanished, "temperature", "temperature is not reported on 100 % of units, 0 % in training"),
        (800, milli("errors"), "errors", "where it is not 0, is above"),  # on one unit in thirty
    ],
)
def test_a_signal_that_became_another_one_is_named(
    seen: Seen, size: int, change: Callable[[pl.DataFrame], pl.DataFrame], subject: str, said: str
) -> None:
    tables = history(size, seed=2)
    tables["telemetry"] = change(tables["telemetry"])
    shifts = seen.shifts(seen.features(tables))
    assert shifts
    assert any(shift.subject == subject and said in shift.why for shift in shifts), shifts
    assert {shift.subject for shift in shifts} == {subject}, "nothing else moved"


def test_a_model_of_drive_that_training_never_saw_is_named(seen: Seen) -> None:
    tables = history(100, seed=3)
    tables["units"] = tables["units"].with_columns(
        pl.when(pl.int_range(pl.len()) < 30).then(pl.lit("x9")).otherwise("model").alias("model")
    )
    shifts = seen.shifts(seen.features(tables))
    assert shifts[0].why == "model is one that training never saw on 30 % of units, 0 % in training"


def test_one_stranger_among_many_is_no_drift(seen: Seen) -> None:
    tables = history(100, seed=3)
    tables["units"] = tables["units"].with_columns(
        pl.when(pl.int_range(pl.len()) < 1).then(pl.lit("x9")).otherwise("model").alias("model")
    )
    assert not seen.shifts(seen.features(tables))


def test_time_itself_is_no_drift(seen: Seen) -> None:
    """Twice as long after training as training lasted: hours run, totals and ages grow."""
    assert not seen.shifts(seen.features(history(400, seed=4, days=120), NOW + 60 * DAY))


@settings(max_examples=30)
@given(st.permutations(range(40)), st.integers(2, 5))
def test_units_are_the_sample(order: list[int], times: int) -> None:
    """Their order says nothing; the same shares of more units are at least as sure."""
    reference = _reference(yes=3, asked=300)
    column = np.r_[np.full(12, np.nan), np.zeros(28)].astype(np.float32)[:, None]
    found = drift.input_shifts(reference, ["a.last"], column, {})
    assert found
    assert drift.input_shifts(reference, ["a.last"], column[order], {}) == found
    assert drift.input_shifts(reference, ["a.last"], np.tile(column, (times, 1)), {})


@given(st.integers(1, 400), st.integers(0, 300))
def test_what_is_as_at_one_moment_of_training_never_moved(size: int, before: int) -> None:
    """Here the fleet has just the share that training had at its second moment."""
    reference = _reference(yes=0, asked=300, later=before)
    missing = round(size * before / 300)
    column = np.r_[np.full(missing, np.nan), np.zeros(size - missing)].astype(np.float32)[:, None]
    assert not drift.input_shifts(reference, ["a.last"], column, {})


def _reference(*, yes: int, asked: int, later: int | None = None) -> Reference:
    answers = (yes, yes if later is None else later)
    return Reference(asked, 10.0, (Question("a.last", Ask.MISSING, 0.0, np.nan, answers, (asked, asked)),))


@pytest.mark.parametrize(
    ("failures", "unknown", "expected", "said"),
    [
        (0, 0, 0.01, False),
        (1, 0, 0.01, False),  # once in a hundred such fleets
        (3, 0, 0.05, True),
        (30, 0, 20.0, False),  # a wave
        (60, 0, 20.0, True),
        (0, 0, 5.0, False),
        (0, 0, 12.0, True),
        (0, 12, 12.0, False),  # the evacuated may have been about to fail
        (60, 500, 20.0, True),  # nor do they speak against what was seen
    ],
)
def test_outcomes_both_ways(failures: int, unknown: int, expected: float, said: bool) -> None:
    found = drift.compare_outcomes(failures, unknown, expected, "in the last 8w")
    assert bool(found) is said
    if said:
        assert f"{failures} failures in the last 8w" in found[0].why
        assert f"forecast were {expected:g}" in found[0].why


def test_fleets_that_fail_as_forecast_are_left_alone() -> None:
    random = np.random.default_rng(0)
    for expected in (0.01, 0.3, 5.0, 200.0):
        seen = random.poisson(expected, 1000)
        assert np.mean([bool(drift.compare_outcomes(int(n), 0, expected, "")) for n in seen]) <= drift.FALSE_ALARMS


# With a trained model ----------------------------------------------------------------------------------------------------


def test_the_reference_travels_in_the_model_file(model: Forecast) -> None:
    back = store.loads(store.dumps(model))
    assert isinstance(back, Forecast)
    assert back.reference is not None
    assert back.reference.to_json() == model.reference.to_json()  # type: ignore[union-attr]


def test_an_older_model_file_is_not_taken_for_fitting(model: Forecast, fleet: Dataset) -> None:
    old = store.loads(store.dumps(replace(model, reference=None)))
    assert isinstance(old, Forecast)
    assert "cannot tell whether the model fits" in drift.fit_at(old, old.builder(fleet), CUT + 10 * DAY).misfit


def test_the_same_fleet_later_fits_and_with_another_unit_does_not(model: Forecast, fleet: Dataset) -> None:
    assert drift.fit_at(model, model.builder(fleet), CUT + 14 * DAY).misfit == ""
    tables = frames()
    tables["telemetry"] = milli("temperature")(tables["telemetry"])
    said = drift.fit_at(model, model.builder(build(tables)), CUT + 14 * DAY).misfit
    assert said.startswith("temperature is above")
    assert "\n" not in said


def test_failures_that_nobody_forecast_are_said(model: Forecast) -> None:
    """After training half of the fleet dies in a fortnight."""
    tables = frames()
    doomed = tables["units"].filter(pl.col("observed_until") > START + timedelta(days=95))["unit"].to_list()[::2]
    at = START + timedelta(days=92)
    tables["failures"] = pl.concat([
        tables["failures"].filter(~pl.col("unit").is_in(doomed)),
        pl.DataFrame({"unit": doomed, "failed_at": [at] * len(doomed)}, schema=tables["failures"].schema),
    ])  # fmt: skip
    said = drift.fit_at(model, model.builder(build(tables)), CUT + 14 * DAY).misfit
    assert "failures in the last" in said
    assert "forecast were" in said
