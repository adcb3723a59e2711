"""What the rule by which a fleet's model is replaced is worth, walked forward on the public data sets.

    python -m bench.retraining DATA_DIR [--sets drives_30d,nodes_7d] [--every 90] [--splits 1] [--json]

From one moment on, every 90 days, three ways to go on: keep the first model, train a new one each time, or let a challenger
replace it only where it wins (`models.forecast.trials.champion`, as `lifeboat retrain` does). Each knows the units it may learn
from up to that moment, and is measured on the units held out until the next: average precision, forecast and come, and the
logarithmic score in bits a failure against the first model.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.forecast import CUTS, micros
from models.forecast.data import labels
from models.forecast.data.dataset import DAY, Dataset, Floats, Ints, known_at, take_units
from models.forecast.learned import evaluate
from models.forecast.learned.drift import fit_at
from models.forecast.learned.predict import Forecast, score
from models.forecast.learned.train import TrainingSettings, train
from models.forecast.trials.champion import challenge

FIRST: dict[str, str] = {"drives_30d": "2014-04-01", "nodes_7d": "2001-07-01"}
"""When the first model is trained."""
KEPT, ALWAYS, RULE = "the first model, kept", "a new one each time", "champion and challenger"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one way said of the held-out units between two moments."""

    scores: Floats
    failed: evaluate.Bools
    unit: Ints


def walk(data: Dataset, name: str, every: int, seed: int) -> dict[str, Any]:
    """One split by unit, walked forward."""
    horizon, asked, _ = CUTS[name]
    held_out = np.random.default_rng(seed).random(len(data.units)) < 0.3
    learn, test = take_units(data, ~held_out), take_units(data, held_out)
    fitted: dict[int, Forecast] = {}

    def fit(known: Dataset, horizons: tuple[int, ...], until: int) -> Forecast:
        if until not in fitted:
            fitted[until] = train(known, horizons, until=until, settings=TrainingSettings())
        return fitted[until]

    start = now = micros(FIRST[name])
    champion, champion_until = fit(known_at(learn, start), (horizon,), start), start
    told: dict[str, list[Told]] = {KEPT: [], ALWAYS: [], RULE: []}
    decisions: list[dict[str, Any]] = []
    while now + horizon + asked <= data.last_time:
        known = known_at(learn, now)
        newest = fit(known, (horizon,), now)
        if now > start:
            misfit = fit_at(champion, champion.builder(known), now).misfit
            found = challenge(champion, champion_until, known, (horizon,), now, fit, misfit)
            if found.replace:
                champion, champion_until = newest, now
            decisions.append({"at": _day(now), "replaced": found.replace, "why": found.why, "misfit": misfit})
            print(f"{name} split {seed} {decisions[-1]}", file=sys.stderr, flush=True)
        until = min(now + every, data.last_time - horizon)
        pairs = labels.at_risk(test, labels.grid(now, until - 1, asked))
        outcome = labels.outcomes(test, pairs, horizon, known_until=data.last_time)
        kept = outcome != labels.UNKNOWN
        pairs, failed = pairs.where(kept), outcome[kept] == 1
        for way, model in ((KEPT, fitted[start]), (ALWAYS, newest), (RULE, champion)):
            scores = score(model, test, pairs.unit, pairs.time)[:, 0]
            told[way].append(Told(scores=scores, failed=failed, unit=pairs.unit))
        now += every
    return {"decisions": decisions, "ways": {way: _measured(one, told[KEPT]) for way, one in told.items()}}


def _measured(told: list[Told], first: list[Told]) -> dict[str, Any]:
    """Means over the stretches after the first, in which all ways are the same; the difference in bits by unit."""
    told, first = told[1:], first[1:]
    failed = np.concatenate([one.failed for one in told])
    scores = np.concatenate([one.scores for one in told])
    gain = evaluate.bits(failed, scores) - evaluate.bits(failed, np.concatenate([one.scores for one in first]))
    low, high = (
        total / int(failed.sum()) for total in evaluate.total_by_unit(gain, np.concatenate([o.unit for o in told]))
    )
    return {
        "average_precision": float(np.mean([evaluate.average_precision(o.failed, o.scores) for o in told])),
        "forecast": float(scores.sum()),
        "came": int(failed.sum()),
        "bits_a_failure": [float(gain.sum() / failed.sum()), low, high],
    }


def _day(time: int) -> str:
    return str(np.datetime64(time, "us").astype("datetime64[D]"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", default="drives_30d,nodes_7d")
    parser.add_argument("--every", type=int, default=90, help="days between challenges")
    parser.add_argument("--splits", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    from tools.forecast.datasets import read_dataset

    out: dict[str, Any] = {}
    for name in asked.sets.split(","):
        data = read_dataset(asked.folder / name)
        out[name] = [walk(data, name, asked.every * DAY, seed) for seed in range(asked.splits)]
        if not asked.json:
            print(json.dumps({name: [one["ways"] for one in out[name]]}, indent=1), flush=True)
    if asked.json:
        print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
