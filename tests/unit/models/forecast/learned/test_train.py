"""What the trained forecast says, and what it must not know."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scenes.fleet_history import CUT, QUICK, START, frames

from models.errors import BadInput
from models.forecast.data import labels
from models.forecast.data.dataset import DAY, Dataset, build, known_at, take_units
from models.forecast.learned import evaluate
from models.forecast.learned.explain import drivers_of
from models.forecast.learned.predict import Forecast, score
from models.forecast.learned.train import train
from models.forecast.trials import backtest


def test_failing_units_rank_above_healthy_ones_on_time_and_units_never_seen(fleet: Dataset) -> None:
    trial = backtest.run(fleet, 7 * DAY, CUT, 2 * DAY, unseen=0.4, settings=QUICK, forest=False)
    measured = backtest.summarise(trial, rounds=20)
    ours = measured[backtest.MODEL]
    assert float(ours["average_precision"]) > 5 * float(trial.failed.mean())  # type: ignore[arg-type]
    low, high = ours["average_precision_90%"]  # type: ignore[misc]
    assert low <= float(ours["average_precision"]) <= high  # type: ignore[arg-type,has-type]
    assert float(measured["random"]["average_precision"]) < 3 * float(trial.failed.mean())  # type: ignore[arg-type]


@pytest.mark.slow
def test_with_shuffled_labels_everything_falls_to_the_base_rate(fleet: Dataset) -> None:
    """Judged by permutation, not by a multiple of the base rate: a dozen failing units are few enough for luck."""
    trial = backtest.run(fleet, 7 * DAY, CUT, 2 * DAY, unseen=0.4, settings=QUICK, forest=False, shuffle=True)
    random = np.random.default_rng(0)
    rows = {pair: row for row, pair in enumerate(zip(trial.unit.tolist(), trial.time.tolist(), strict=True))}
    deals: list[np.ndarray] = []
    for _ in range(100):
        owner = random.permutation(len(trial.units))[trial.unit].tolist()
        deals.append(np.array([rows.get(pair, -1) for pair in zip(owner, trial.time.tolist(), strict=True)]))
    for name in trial.calibrated & set(trial.scores):
        probability = trial.scores[name]
        by_luck = [evaluate.average_precision(trial.failed[d[d >= 0]], probability[d >= 0]) for d in deals]
        assert evaluate.average_precision(trial.failed, probability) <= np.nanmax(by_luck), name


def test_the_curve_never_falls_as_the_horizon_grows(fleet: Dataset, model: Forecast) -> None:
    pairs = labels.at_risk(fleet, labels.grid(CUT, CUT + 20 * DAY, DAY))
    curve = score(model, fleet, pairs.unit, pairs.time)
    assert (np.diff(curve, axis=1) >= 0).all()
    assert ((curve >= 0) & (curve <= 1)).all()


@pytest.mark.parametrize("later", [0, 3, 17])
def test_cutting_the_data_off_at_the_scoring_time_changes_no_score(fleet: Dataset, model: Forecast, later: int) -> None:
    time = CUT + later * DAY
    pairs = labels.at_risk(fleet, np.array([time]))
    cut = known_at(fleet, time)
    assert np.array_equal(score(model, fleet, pairs.unit, pairs.time), score(model, cut, pairs.unit, pairs.time))


def test_a_unit_scores_the_same_alone_as_among_others_where_no_group_rates_are_used(fleet: Dataset) -> None:
    tables = frames()
    del tables["events"]
    alone = build(tables)
    trained = train(alone, [7 * DAY], until=CUT, settings=QUICK)
    keep = np.zeros(len(alone.units), bool)
    keep[5] = True
    whole = score(trained, alone, np.array([5]), np.array([CUT]))
    assert np.array_equal(whole, score(trained, take_units(alone, keep), np.array([0]), np.array([CUT])))


@pytest.mark.parametrize("missing", [("telemetry",), ("events",), ("telemetry", "events"), ("model",)])
def test_any_part_of_a_dataset_is_enough(missing: tuple[str, ...]) -> None:
    tables = frames()
    for name in missing:
        if name in tables:
            del tables[name]
        else:
            tables["units"] = tables["units"].drop(name)
    data = build(tables)
    trained = train(data, [7 * DAY], until=CUT, settings=QUICK)
    pairs = labels.at_risk(data, np.array([CUT]))
    curve = score(trained, data, pairs.unit, pairs.time)
    assert np.isfinite(curve).all()


def test_a_model_scores_a_dataset_that_lacks_what_it_was_trained_with(model: Forecast) -> None:
    bare = build({"units": frames()["units"].drop("model")})
    pairs = labels.at_risk(bare, np.array([CUT]))
    assert np.isfinite(score(model, bare, pairs.unit, pairs.time)).all()


def test_drivers_name_the_signal_that_climbed_and_say_what_is_left_without_it(fleet: Dataset, model: Forecast) -> None:
    pairs = labels.at_risk(fleet, labels.grid(CUT, CUT + 20 * DAY, DAY))
    curve = score(model, fleet, pairs.unit, pairs.time)[:, 1]
    top = np.argsort(-curve)[:1]
    entry = drivers_of(model, model.builder(fleet), pairs.unit[top], pairs.time[top], 1)[0]
    strongest = entry["drivers"][0]  # type: ignore[index]
    assert strongest["signal"] in ("errors", "memory: ce", "signals", "memory", "events")
    assert strongest["without"] < entry["probability"]
    assert any("in" in d["why"] or "rose" in d["why"] for d in entry["drivers"])  # type: ignore[attr-defined]


def test_units_taken_away_count_as_unknown_not_as_healthy() -> None:
    units = pl.DataFrame(
        {"unit": ["evacuated", "kept"], "observed_from": [START] * 2, "observed_until": [START.replace(day=5), None]}
    )
    data = build({"units": units})
    first = labels.at_risk(data, np.array([int(START.timestamp() * 1_000_000)]))
    assert labels.outcomes(data, first, 30 * DAY).tolist() == [labels.UNKNOWN, 0]


def test_what_cannot_be_learnt_is_one_line(fleet: Dataset) -> None:
    tables = frames()
    del tables["failures"]
    with pytest.raises(BadInput, match=r"no failures\.parquet"):
        train(build(tables), [7 * DAY], settings=QUICK)
    with pytest.raises(BadInput, match="two horizons of history"):
        train(fleet, [90 * DAY], until=CUT, settings=QUICK)
    with pytest.raises(BadInput, match="too few"):
        train(fleet, [DAY // 24], until=CUT - 72 * DAY, settings=QUICK)
