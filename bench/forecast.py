"""Forecast accuracy on the four public data sets, beside untuned learners fitted in the same run.

    python -m bench.forecast DATA_DIR [--sets drives_30d,nodes_7d] [--splits 5] [--jobs 2] [--json]

drives_30d: 5 splits by unit × 2 cuts in time; the others as docs/forecast.md says. Prints every trial and the ratios.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from models.forecast.learned import backtest, evaluate
from models.forecast.learned.dataset import DAY
from models.forecast.learned.train import TrainingSettings
from tools.forecast.datasets import read_dataset

CUTS: dict[str, tuple[int, int, tuple[str, ...]]] = {
    "drives_30d": (30 * DAY, 30 * DAY, ("2014-07-01", "2014-12-01")),
    "drives_7d": (7 * DAY, DAY, ("2013-05-01",)),
    "nodes_7d": (7 * DAY, 7 * DAY, ("2003-07-01", "2004-01-01")),
}
PEERS = ("random forest", "gradient boosting")


def _micros(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1_000_000)


def trials(folder: Path, name: str, splits: int, jobs: int, forest: bool) -> list[dict[str, Any]]:
    """Every split and cut of one set with failures."""

    data = read_dataset(folder / name)
    horizon, every, cuts = CUTS[name]
    rows: list[dict[str, Any]] = []
    for seed in range(splits):
        for cut in cuts:
            began = time.monotonic()
            trial = backtest.run(
                data, horizon, _micros(cut), every, seed=seed, settings=TrainingSettings(jobs=jobs), forest=forest
            )
            # Which value was the best in training differs from trial to trial; it is one method all the same.
            methods = {name.partition(" (")[0]: row for name, row in backtest.summarise(trial, rounds=0).items()}
            ours = trial.scores[backtest.MODEL]
            interval = evaluate.by_unit(
                lambda r, t=trial, p=ours: evaluate.average_precision(t.failed[r], p[r]), trial.unit, rounds=100
            )
            row = {"cut": cut, "seed": seed, "failures": int(trial.failed.sum()), "pairs": int(trial.failed.size)}
            rows.append({**row, "seconds": round(time.monotonic() - began), "interval": interval, "methods": methods})
            print(_line(rows[-1]), file=sys.stderr, flush=True)
    return rows


def _line(row: dict[str, Any]) -> str:
    said = [f"{row['cut']} split {row['seed']} ({row['failures']}/{row['pairs']}, {row['seconds']} s)"]
    for name, numbers in row["methods"].items():
        said.append(
            f"{name}: AP {numbers['average_precision']:.4f} r0.1% {numbers['recall_at_fpr_0.1%']:.3f} "
            f"top1% {numbers['unit_recall_top_1%']:.3f}" + (f" ECE {numbers['ece']:.5f}" if "ece" in numbers else "")
        )
    said.append(f"interval {row['interval'][0]:.3f}–{row['interval'][1]:.3f}")
    return " | ".join(said)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the trials and the ratio to the better peer, measure by measure."""

    names = rows[0]["methods"]
    keys = ("average_precision", "recall_at_fpr_0.1%", "unit_recall_top_1%", "ece")
    means = {
        name: {k: float(np.mean([r["methods"][name][k] for r in rows])) for k in keys if k in rows[0]["methods"][name]}
        for name in names
    }
    ratios: dict[str, float] = {}
    for key in ("average_precision", "recall_at_fpr_0.1%"):
        peers = [means[peer][key] for peer in PEERS if peer in means]
        ratios[key] = means[backtest.MODEL][key] / max(peers) if peers and max(peers) else float("nan")
    return {"means": means, "ratio_to_the_better_peer": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", default="drives_30d,drives_7d,nodes_7d,servers")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--no-forest", action="store_true", help="leave out the (slow) untuned random forest")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    out: dict[str, Any] = {}
    for name in asked.sets.split(","):
        if name == "servers":
            found = backtest.run_anomaly(read_dataset(asked.folder / name))
            per_unit = [{m: evaluate.average_precision(t.failed, s) for m, s in t.scores.items()} for t in found]
            out[name] = {"mean_ap_over_units": {m: float(np.mean([u[m] for u in per_unit])) for m in per_unit[0]}}
            out[name]["units"] = per_unit
        else:
            rows = trials(asked.folder, name, asked.splits, asked.jobs, not asked.no_forest)
            out[name] = {**summary(rows), "trials": rows}
        shown = {k: v for k, v in out[name].items() if k not in ("trials", "units")}
        print(json.dumps({name: shown}, indent=1), file=sys.stderr if asked.json else sys.stdout)
    if asked.json:
        print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
