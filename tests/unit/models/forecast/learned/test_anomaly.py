"""Anomaly scores of one server that no failure taught anything."""

from __future__ import annotations

import numpy as np
import polars as pl

from models.forecast.data.dataset import Dataset, build
from models.forecast.learned.anomaly import score_anomaly, train_anomaly

MINUTE = 60_000_000
HEALTHY, ROWS = 600, 700
RISES = 660


def server() -> Dataset:
    random = np.random.default_rng(5)
    values = random.normal(0.0, 1.0, (ROWS, 3))
    values[RISES:] += 4.0
    time = pl.Series(np.arange(ROWS) * MINUTE).cast(pl.Datetime("us", "UTC"))
    end = pl.Series([HEALTHY * MINUTE]).cast(pl.Datetime("us", "UTC"))
    begin = pl.Series([0]).cast(pl.Datetime("us", "UTC"))
    return build({
        "units": pl.DataFrame({
            "unit": ["a"], "observed_from": begin, "observed_until": pl.Series([None], dtype=pl.Datetime("us", "UTC")),
            "healthy_until": end,
        }),
        "telemetry": pl.DataFrame({"unit": ["a"] * ROWS, "time": time, **{f"s{k}": values[:, k] for k in range(3)}}),
    })  # fmt: skip


def test_a_moment_scores_the_same_asked_alone_or_with_all_others() -> None:
    data = server()
    model, end = train_anomaly(data), HEALTHY * MINUTE
    time = np.arange(HEALTHY, ROWS, dtype=np.int64) * MINUTE
    together = score_anomaly(model, data, np.zeros(time.size, np.int64), time, baseline_until=end)
    for place in (0, 35, 59, 75, 99):
        alone = score_anomaly(model, data, np.zeros(1, np.int64), time[[place]], baseline_until=end)
        assert np.isclose(alone[0], together[place], rtol=1e-9), place


def test_a_server_that_leaves_its_healthy_past_scores_above_a_half_and_before_it_does_not() -> None:
    data = server()
    time = np.arange(HEALTHY, ROWS, dtype=np.int64) * MINUTE
    scores = score_anomaly(
        train_anomaly(data), data, np.zeros(time.size, np.int64), time, baseline_until=HEALTHY * MINUTE
    )
    assert np.mean(scores[: RISES - HEALTHY] > 0.5) < 0.05, "healthy rows reach that in one of a hundred"
    assert scores[RISES - HEALTHY + 5 :].min() > 0.5
