"""Forecast accuracy on the four public data sets, beside tuned peers fitted on the same rows in the same run.

    python -m bench.forecast DATA_DIR [--sets drives_30d,nodes_7d] [--splits 0,4] [--jobs 2] [--keep FOLDER] [--json]

Rolling origin: for each split by unit (a seed), six cuts in time; trained before, tested up to 14 months after on held-out units.
The best of all peers, measure by measure, is the one to beat; the difference to it is resampled by unit. Every figure is
also told without the kind of unit (drive model, system) with the most failures in training. With --keep each trial is kept
in that folder and not run again: a long run may be broken off, and goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bench import kept_trials
from models.errors import BadInput
from models.forecast.data.dataset import DAY
from models.forecast.learned import evaluate
from models.forecast.learned.train import TrainingSettings
from models.forecast.trials import backtest, compare
from tools.forecast.datasets import read_dataset

LONGEST_TEST = 425 * DAY
"""14 months."""
CUTS: dict[str, tuple[int, int, tuple[str, ...]]] = {
    "drives_30d": (
        30 * DAY,
        30 * DAY,
        ("2014-04-01", "2014-06-01", "2014-08-01", "2014-10-01", "2014-12-01", "2015-02-01"),
    ),
    "drives_7d": (7 * DAY, DAY, ("2013-04-26", "2013-04-28", "2013-04-30", "2013-05-02", "2013-05-04", "2013-05-06")),
    "nodes_7d": (
        7 * DAY,
        7 * DAY,
        ("2002-10-01", "2003-01-01", "2003-04-01", "2003-07-01", "2003-10-01", "2004-01-01"),
    ),
}
MEASURES: dict[str, compare.Measure] = {
    "average_precision": evaluate.average_precision,
    "recall_at_fpr_0.1%": lambda failed, scores: evaluate.recall_at_fpr(failed, scores, 0.001),
}


def micros(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1_000_000)


def _plain(name: str) -> str:
    """Which value was the best in training differs from trial to trial; it is one method all the same."""
    return name.partition(" (")[0]


def trials(
    folder: Path, name: str, splits: Sequence[int], jobs: int, keeping: Path | None = None
) -> list[list[backtest.Trial]]:
    """Every split's trials, a cut each, in order of time; those kept in `keeping` are not run again."""

    data = read_dataset(folder / name)
    horizon, every, cuts = CUTS[name]
    found: list[list[backtest.Trial]] = []
    for seed in splits:
        found.append([])
        for cut in cuts:
            began, start = time.monotonic(), micros(cut)
            path = None if keeping is None else keeping / f"{name}-{seed}-{cut}.npz"
            if path and (old := kept_trials.kept(path)):
                found[-1].append(old)
                continue
            until = min(start + LONGEST_TEST, data.last_time)
            settings = TrainingSettings(jobs=jobs)
            try:
                trial = backtest.run(data, horizon, start, every, until=until, seed=seed, settings=settings, own=True)
            except BadInput as error:
                print(f"{name} {cut} split {seed}: {error.message}", file=sys.stderr, flush=True)
                continue
            found[-1].append(_renamed(trial))
            print(
                f"{name} {cut} split {seed}: {_line(found[-1][-1], time.monotonic() - began)}",
                file=sys.stderr,
                flush=True,
            )
            if path:
                kept_trials.keep(found[-1][-1], path)
    return found


def _renamed(trial: backtest.Trial) -> backtest.Trial:
    from dataclasses import replace

    return replace(trial, scores={_plain(name): scores for name, scores in trial.scores.items()})


def _line(trial: backtest.Trial, seconds: float) -> str:
    rest = compare.without_largest(trial)
    parts = [f"{int(trial.failed.sum())}/{trial.failed.size}, {seconds:.0f} s"]
    for name, scores in trial.scores.items():
        precision = evaluate.average_precision(trial.failed, scores)
        parts.append(f"{name} {precision:.4f}" + (f"/{rest[name]['average_precision']:.4f}" if rest else ""))
    return " | ".join(parts)


def summary(splits: list[list[backtest.Trial]]) -> dict[str, Any]:
    """Means over the trials, the best peer of each measure, the ratio and the paired difference to it."""

    every = [trial for trials_ in splits for trial in trials_]
    rows = [backtest.summarise(trial, rounds=0) for trial in every]
    rest = [compare.without_largest(trial) for trial in every]
    names = [name for name in rows[0] if all(name in row for row in rows)]
    keys = (
        "average_precision",
        "recall_at_fpr_0.1%",
        "unit_recall_top_1%",
        "ece",
        "ece_by_rank",
        "expected",
        "failures",
    )
    means = {n: {k: float(np.nanmean([row[n][k] for row in rows])) for k in keys if k in rows[0][n]} for n in names}  # type: ignore[misc]
    out: dict[str, Any] = {"trials": len(every), "base_rate": float(np.mean([t.failed.mean() for t in every]))}
    out |= {"means": means, "to_the_best_peer": {}, "without_the_largest_kind": {}}
    for key, measure in MEASURES.items():
        out["to_the_best_peer"][key] = _beside(splits, {n: means[n][key] for n in names}, measure, without=False)
        if all(rest):
            table = {n: float(np.nanmean([r[n][key] for r in rest])) for n in names}
            out["without_the_largest_kind"][key] = {
                "means": table,
                **_beside(splits, table, measure, without=True),
                "kinds": sorted({trial.largest for trial in every}),
            }
    recall = {n: means[n]["unit_recall_top_1%"] for n in names if n != backtest.MODEL}
    best = max(recall, key=lambda n: recall[n])
    ours = means[backtest.MODEL]["unit_recall_top_1%"]
    out["to_the_best_peer"]["unit_recall_top_1%"] = {"peer": best, "ratio": ours / max(recall[best], 1e-9)}
    return out


def _beside(
    splits: list[list[backtest.Trial]], table: dict[str, float], measure: compare.Measure, *, without: bool
) -> dict[str, Any]:
    best = max((name for name in table if name != backtest.MODEL), key=lambda name: table[name])
    found = [compare.difference(one, backtest.MODEL, best, measure, without=without) for one in splits if one]
    return {
        "peer": best,
        "ratio": table[backtest.MODEL] / max(table[best], 1e-9),
        "difference_by_split": [[d.value, d.low, d.high, d.verdict] for d in found],
    }


def servers(folder: Path) -> dict[str, Any]:
    """Average precision of each method over the servers' unlabelled rows; the difference resampled by server."""
    per_unit = [
        {m: evaluate.average_precision(t.failed, s) for m, s in t.scores.items()}
        for t in backtest.run_anomaly(read_dataset(folder / "servers"))
    ]
    means = {m: float(np.mean([u[m] for u in per_unit])) for m in per_unit[0]}
    best = max((m for m in means if m != backtest.MODEL), key=lambda m: means[m])
    gaps = np.array([u[backtest.MODEL] - u[best] for u in per_unit])
    drawn = np.random.default_rng(0).choice(gaps, (2000, gaps.size)).mean(axis=1)
    low, high = (float(q) for q in np.quantile(drawn, (0.05, 0.95)))
    difference = compare.Difference(float(gaps.mean()), low, high)
    return {
        "mean_ap_over_units": means,
        "to_the_best_peer": {
            "peer": best,
            "ratio": means[backtest.MODEL] / means[best],
            "difference": [difference.value, low, high, difference.verdict],
        },
        "units": per_unit,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", default="drives_30d,drives_7d,nodes_7d,servers")
    parser.add_argument("--splits", default="0,4", help="seeds of the splits by unit; 1 to 3 were chosen on")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep each trial here, and do not run it again")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    seeds = [int(seed) for seed in asked.splits.split(",")]
    out: dict[str, Any] = {}
    for name in asked.sets.split(","):
        folder = asked.folder
        found = servers(folder) if name == "servers" else summary(trials(folder, name, seeds, asked.jobs, asked.keep))
        out[name] = found
        shown = {k: v for k, v in found.items() if k != "units"}
        print(json.dumps({name: shown}, indent=1), file=sys.stderr if asked.json else sys.stdout, flush=True)
    if asked.json:
        print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
