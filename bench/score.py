"""What it costs to judge a fleet at one moment. SYNTHETIC: nothing is drawn from a real fleet.

    .venv/bin/python -m bench.score learned [--nodes 10000] [--signals 60] [--days 28] [--runs 5]
    .venv/bin/python -m bench.score limits [--nodes 500]

*learned*: `train` fits its usual ensemble on a generated fleet; then every node is scored at one moment, features and prediction.
Peer, in the same run: scikit-learn's predict_proba alone, the same fitted classifiers on the same matrix. Preparing the history
(running sums over all its rows) comes before and is told apart; it is what grows with the history's length.
*limits*: `assess_node` on healthy machines of `lab.hardware.physics`, each with a day behind it, scaled to 10,000 nodes. Peer:
numpy's sort, median and standard deviation of the same histories.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from models.forecast.data.dataset import DAY, Dataset, build
from models.forecast.learned.features.table import Builder
from models.forecast.learned.predict import Forecast, score
from models.forecast.learned.train import TrainingSettings, train

START = datetime(2026, 1, 1, tzinfo=UTC)


def fleet(nodes: int, signals: int, days: int) -> Dataset:
    """Levels, counters and rare defects, a row a day; about one node in fifty climbs for days and then fails."""
    rng = np.random.default_rng(nodes)
    failing = rng.random(nodes) < 0.02
    failed_on = np.where(failing, rng.uniform(days * 0.3, days, nodes), np.inf)
    day = np.arange(days)
    columns: dict[str, object] = {
        "unit": np.repeat([f"node-{n:05d}" for n in range(nodes)], days),
        "time": pl.Series(np.tile(START.timestamp() + 86_400.0 * day, nodes) * 1e6).cast(pl.Int64).cast(
            pl.Datetime("us", "UTC")
        ),
    }  # fmt: skip
    near = np.clip(1.0 - (failed_on[:, None] - day[None, :]) / 6.0, 0.0, 1.0)  # 0 until six days before, then up to 1
    for s in range(signals):
        if s % 3 == 0:  # a level, with the sensor's noise
            values = rng.normal(50.0 + s, 5.0, (nodes, 1)) + rng.normal(0.0, 0.5, (nodes, days)) + (s % 2) * 4.0 * near
        elif s % 3 == 1:  # a counter
            values = np.cumsum(rng.poisson(20.0, (nodes, days)), axis=1).astype(float)
        else:  # defects: mostly none
            values = np.cumsum(rng.poisson(0.002 + (s % 2) * near), axis=1).astype(float)
        columns[f"signal_{s:02d}"] = values.ravel()
    failures = np.flatnonzero(failing)
    return build({
        "telemetry": pl.DataFrame(columns),
        "units": pl.DataFrame({
            "unit": [f"node-{n:05d}" for n in range(nodes)],
            "observed_from": [START] * nodes,
            "observed_until": pl.Series([None] * nodes, dtype=pl.Datetime("us", "UTC")),
        }),
        "failures": pl.DataFrame({
            "unit": [f"node-{n:05d}" for n in failures],
            "failed_at": pl.Series((START.timestamp() + 86_400.0 * failed_on[failures]) * 1e6).cast(pl.Int64).cast(
                pl.Datetime("us", "UTC")
            ),
        }),
    })  # fmt: skip


def timed(do: Callable[[], object], runs: int) -> tuple[list[float], list[float]]:
    """(wall seconds, processor seconds) of each run."""
    walls: list[float] = []
    works: list[float] = []
    for _ in range(runs):
        began, worked = time.perf_counter(), time.process_time()
        do()
        walls.append(round(time.perf_counter() - began, 3))
        works.append(round(time.process_time() - worked, 3))
    return walls, works


def _resident() -> float:
    """Megabytes this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def learned(nodes: int, signals: int, days: int, runs: int) -> None:
    # Fewer training pairs than usual, the usual ensemble: scoring costs by its trees and the width of the matrix.
    model: Forecast = train(
        fleet(1500, signals, days), [7 * DAY], settings=TrainingSettings(fewest_healthy=4_000, jobs=1)
    )  # fmt: skip
    data = fleet(nodes, signals, days)
    unit, at = np.arange(nodes), np.full(nodes, data.last_time)
    before, began = _resident(), time.process_time()
    builder = Builder(data, model.plan)
    prepared, kept = time.process_time() - began, _resident() - before
    matrix = builder.build(unit, at)
    members = model.steps[0].members
    inputs = [member.inputs(matrix) for member in members]

    def peer() -> None:
        with threadpool_limits(1):
            for member, seen in zip(members, inputs, strict=True):
                member.classifier.predict_proba(seen)

    rows: dict[str, tuple[list[float], list[float]]] = {}
    rows["features"] = timed(lambda: builder.build(unit, at), runs)
    rows["prediction"] = timed(lambda: model.curve(matrix), runs)
    rows["features and prediction"] = timed(lambda: model.curve(builder.build(unit, at)), runs)
    rows["predict_proba alone"] = timed(peer, runs)
    both, alone = (min(rows[name][1]) for name in ("features and prediction", "predict_proba alone"))
    whole = timed(lambda: score(model, data, unit, at), 1)
    print(json.dumps({
        "nodes": nodes, "signals": signals, "rows_a_node": days, "features": matrix.shape[1],
        "load": round(os.getloadavg()[0], 1), "wall_and_cpu_seconds": rows,
        "least_cpu_seconds": both, "over_predict_proba": round(both / alone, 2),
        "cpu_seconds_to_prepare_the_history": round(prepared, 2), "megabytes_that_takes": round(kept),
        "with_preparation": whole,
        "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }))  # fmt: skip


def limits(nodes: int) -> None:
    from bench.limits_replay import SIGNALS, START
    from lab.hardware import physics, replay
    from models.forecast.limits.node import assess_node

    now = START + 86_400.0
    ours: list[float] = []
    peer: list[float] = []
    parts = 0
    for seed in range(nodes):
        times = replay.grid(now, interval=15.0)
        seen = replay.histories(physics.Machine(f"node-{seed}", seed, START), times, signals=SIGNALS)
        parts += len(seen)
        began = time.process_time()
        assess_node(f"node-{seed}", seen, [], now=now)
        ours.append(time.process_time() - began)
        began = time.process_time()
        for history in seen:
            np.sort(history.values)
            np.median(history.values)
            np.std(history.values)
        peer.append(time.process_time() - began)
    print(json.dumps({
        "nodes": nodes, "histories_a_node": round(parts / nodes, 1), "load": round(os.getloadavg()[0], 1),
        "cpu_seconds_for_10000_nodes": round(10_000 * statistics.mean(ours), 1),
        "over_sort_median_and_spread": round(statistics.median(a / b for a, b in zip(ours, peer, strict=True)), 2),
    }))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    of_learned = commands.add_parser("learned")
    of_learned.add_argument("--nodes", type=int, default=10_000)
    of_learned.add_argument("--signals", type=int, default=60)
    of_learned.add_argument("--days", type=int, default=28)
    of_learned.add_argument("--runs", type=int, default=5)
    commands.add_parser("limits").add_argument("--nodes", type=int, default=500)
    chosen = parser.parse_args()
    if chosen.what == "learned":
        learned(chosen.nodes, chosen.signals, chosen.days, chosen.runs)
    else:
        limits(chosen.nodes)


if __name__ == "__main__":
    main()
