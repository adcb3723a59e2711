"""Whether one method is better than another on the same pairs, and on the kinds of unit they are made of.

Two intervals that overlap say little about a difference, because both methods rise and fall with the units drawn; so the
difference itself is resampled, by unit, over all trials that hold out the same units. "Better" is only where its interval
says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.forecast.data.dataset import Floats, Ints
from models.forecast.learned import evaluate
from models.forecast.learned.evaluate import Bools
from models.forecast.trials.backtest import Trial

Measure = Callable[[Bools, Floats], float]
ENOUGH = 20
"""Failures of a kind of unit from which on its figures are told."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean over trials of (one − other), with its 90 % interval by unit."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """better, worse, or cannot be told."""
        return "better" if self.low > 0.0 else "worse" if self.high < 0.0 else "cannot be told"


def difference(
    trials: Sequence[Trial],
    one: str,
    other: str,
    measure: Measure,
    *,
    without: bool = False,
    rounds: int = 100,
    seed: int = 0,
) -> Difference:
    """How much more `measure(failed, scores)` says of `one` than of `other`, on `trials` that hold out the same units.

    without: leave out each trial's kind of unit with the most failures.
    """
    rows = [_rows(trial, without=without) for trial in trials]
    names = np.unique(np.concatenate([trial.unit[kept] for trial, kept in zip(trials, rows, strict=True)]))
    places = [_by_unit(trial.unit[kept], names) for trial, kept in zip(trials, rows, strict=True)]

    def gap(trial: Trial, kept: Ints) -> float:
        failed = trial.failed[kept]
        return measure(failed, trial.scores[one][kept]) - measure(failed, trial.scores[other][kept])

    random = np.random.default_rng(seed)
    values: list[float] = []
    for _ in range(rounds):
        drawn = random.integers(0, len(names), len(names))
        gaps = [
            gap(trial, kept[_drawn(order, edges, drawn)])
            for trial, kept, (order, edges) in zip(trials, rows, places, strict=True)
        ]
        values.append(float(np.nanmean(gaps)) if not np.isnan(gaps).all() else float("nan"))
    told = np.array(values)[~np.isnan(values)]
    low, high = (float(np.quantile(told, q)) for q in (0.05, 0.95)) if told.size else (float("nan"),) * 2
    whole = [gap(trial, kept) for trial, kept in zip(trials, rows, strict=True)]
    return Difference(float(np.nanmean(whole)), low, high)


def _rows(trial: Trial, *, without: bool) -> Ints:
    kept = trial.kind != trial.largest if without and trial.category else np.ones(trial.unit.size, bool)
    return np.flatnonzero(kept)


def _by_unit(unit: Ints, names: Ints) -> tuple[Ints, Ints]:
    order = np.argsort(unit, kind="stable")
    return order, np.searchsorted(unit[order], np.append(names, names[-1] + 1))


def _drawn(order: Ints, edges: Ints, drawn: Ints) -> Ints:
    sizes = edges[drawn + 1] - edges[drawn]
    return order[np.repeat(edges[drawn] - np.r_[0, np.cumsum(sizes)[:-1]], sizes) + np.arange(sizes.sum())]


def without_largest(trial: Trial) -> dict[str, dict[str, float]]:
    """Average precision and recall of every method without the kind of unit with the most failures; empty: no kinds."""
    kept = _rows(trial, without=True)
    if not trial.category or not trial.failed[kept].any():
        return {}
    failed = trial.failed[kept]
    return {
        name: {
            "average_precision": evaluate.average_precision(failed, probability[kept]),
            "recall_at_fpr_0.1%": evaluate.recall_at_fpr(failed, probability[kept], 0.001),
        }
        for name, probability in trial.scores.items()
    }


def by_kind(trial: Trial, method: str) -> list[Mapping[str, object]]:
    """For each kind of unit with `ENOUGH` failures, most first: failures, how many were forecast, and how well ranked."""
    found: list[Mapping[str, object]] = []
    probability = trial.scores[method]
    for value in sorted(set(trial.kind.tolist())):
        rows = trial.kind == value
        failures = int(trial.failed[rows].sum())
        if failures < ENOUGH:
            continue
        found.append(
            {
                "kind": str(value),
                "pairs": int(rows.sum()),
                "failures": failures,
                "expected": float(probability[rows].sum()) if method in trial.calibrated else float("nan"),
                "average_precision": evaluate.average_precision(trial.failed[rows], probability[rows]),
            }
        )
    return sorted(found, key=lambda row: -int(str(row["failures"])))
