"""A model is replaced only by one that forecast the latest failures better, which neither had seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scenes.fleet_history import CUT, QUICK, frames

from models.errors import BadInput
from models.forecast.data.dataset import DAY, Dataset, build
from models.forecast.learned.evaluate import total_by_unit
from models.forecast.learned.predict import Forecast
from models.forecast.learned.train import train
from models.forecast.trials.champion import (
    ENOUGH,
    LEAST_SPANS,
    Comparison,
    challenge,
    decide,
    latest_failures,
)

WEEK = 7 * DAY
EARLY = CUT - 30 * DAY


@pytest.fixture(scope="module")
def fleet() -> Dataset:
    return build(frames(160))


def fit(known: Dataset, spans: tuple[int, ...], until: int) -> Forecast:
    return train(known, spans, until=until, settings=QUICK)


@pytest.fixture(scope="module")
def honest(fleet: Dataset) -> Forecast:
    return fit(fleet, (WEEK,), EARLY)


def backwards(model: Forecast) -> Forecast:
    """One that takes the healthy for the ill."""
    (step,) = model.steps
    return replace(
        model, steps=(replace(step, members=(), calibration=replace(step.calibration, slope=1.0, intercept=1.0)),)
    )


def test_a_model_that_forecasts_nonsense_is_replaced_and_the_line_says_on_what(
    fleet: Dataset, honest: Forecast
) -> None:
    decision = challenge(backwards(honest), EARLY, fleet, (WEEK,), fleet.last_time, fit, "")
    assert decision.replace
    assert decision.comparison is not None
    assert decision.comparison.low > 0.0
    assert decision.comparison.since >= EARLY, "the champion has not seen what it is judged on"
    assert f"{decision.comparison.failures} failures" in decision.why
    assert "bits a failure against the model in use" in decision.why


def test_a_challenger_that_knows_nothing_new_does_not_win(fleet: Dataset, honest: Forecast) -> None:
    same = challenge(honest, EARLY, fleet, (WEEK,), fleet.last_time, lambda *_: honest, "")
    assert not same.replace
    assert same.comparison is not None
    assert same.comparison.bits == pytest.approx(0.0)
    misfit = challenge(honest, EARLY, fleet, (WEEK,), fleet.last_time, lambda *_: honest, "errors moved")
    assert misfit.replace, "one that no longer fits goes as soon as the other is not behind"
    assert "errors moved" in misfit.why


def test_the_challenger_sees_nothing_of_what_both_are_judged_on(fleet: Dataset, honest: Forecast) -> None:
    seen: list[int] = []

    def spy(known: Dataset, spans: tuple[int, ...], until: int) -> Forecast:
        assert known.telemetry is not None
        assert known.failures is not None
        seen.append(max(int(known.telemetry.time.max()), int(known.failures.start.max())))
        assert seen[-1] <= until
        return fit(known, spans, until)

    decision = challenge(honest, EARLY, fleet, (WEEK,), fleet.last_time, spy, "")
    assert decision.comparison is not None
    assert seen[0] <= decision.comparison.since


def test_a_first_model_has_to_beat_the_base_rate(fleet: Dataset) -> None:
    decision = challenge(None, 0, fleet, (WEEK,), fleet.last_time, fit, "")
    assert decision.replace
    assert "against the base rate" in decision.why


def test_too_few_failures_since_the_last_training_compare_nothing(fleet: Dataset, honest: Forecast) -> None:
    decision = challenge(honest, fleet.last_time - WEEK, fleet, (WEEK,), fleet.last_time, fit, "")
    assert not decision.replace
    assert decision.comparison is None
    assert "failures came since the model in use was trained" in decision.why
    assert not challenge(None, 0, replace(fleet, failures=None), (WEEK,), fleet.last_time, fit, "").replace


def test_a_challenger_that_cannot_be_trained_is_said(fleet: Dataset, honest: Forecast) -> None:
    def refuse(*_: object) -> Forecast:
        raise BadInput("too short")

    decision = challenge(honest, EARLY, fleet, (WEEK,), fleet.last_time, refuse, "")
    assert not decision.replace
    assert "too short" in decision.why


def test_the_latest_failures_are_as_many_as_needed_and_some_horizons(fleet: Dataset) -> None:
    since = latest_failures(fleet, fleet.last_time, WEEK)
    assert since is not None
    assert fleet.failures is not None
    assert int((fleet.failures.start > since).sum()) >= ENOUGH
    assert since <= fleet.last_time - LEAST_SPANS * WEEK


@pytest.mark.parametrize(
    ("bits", "low", "misfit", "replaced"),
    [
        (0.4, 0.1, "", True),
        (0.4, -0.1, "", False),
        (-0.2, -0.5, "", False),
        (0.1, -0.2, "it moved", True),
        (-0.1, -0.4, "it moved", False),
    ],
)
def test_what_a_comparison_means(bits: float, low: float, misfit: str, replaced: bool) -> None:
    compared = Comparison(
        since=0,
        until=1,
        failures=12,
        bits=bits,
        low=low,
        high=bits + 0.3,
        champion_precision=0.1,
        challenger_precision=0.2,
    )
    decision = decide(compared, champion=True, misfit=misfit)
    assert decision.replace is replaced
    assert f"{bits:+.2f}" in decision.why


def test_a_lucky_month_is_no_win() -> None:
    """Interval by unit: one unit that fails ten times is one unit."""
    gain = np.array([5.0] * 10 + [-0.1] * 100)
    low, _ = total_by_unit(gain, np.array([0] * 10 + list(range(1, 101))))
    assert low < 0.0
