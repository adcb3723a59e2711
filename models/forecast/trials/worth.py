"""What a forecast is worth to an operator: what a budget of evacuations catches, and whether forecasts mean what they say.

An evacuation that is not needed costs `price` (policy's word: its cost as a share of what a failure with everything still
on it costs); one that was needed saves 1, if it was over before the failure came: one that was begun too late costs as much as
a needless one and saves nothing. Units stand for themselves: no shared fate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np

from models.forecast.data.dataset import DAY, Floats, Ints
from models.forecast.learned import evaluate
from models.forecast.trials import backtest, compare
from models.forecast.trials.backtest import Trial
from models.share import Z_90, wilson

MONTH = 30 * DAY
EDGES = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 1.0)
"""Shares of the forecasts, lowest first, between which a reliability curve takes its bins: most failures are in the last few."""
RATIOS = tuple(float(r) for r in np.round(np.geomspace(1.0, 1000.0, 25), 2))
"""Prices of a missed failure in false alarms for the cost curve."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What came of acting on at most `moves_a_month` units, those with the highest scores first."""

    moves_a_month: float
    moves: int
    caught: int
    failures: int
    lead_days: tuple[float, float, float]
    """10th, 50th and 90th percentile of the days from the move to the failure it was for; NaN where none was caught"""
    in_time: int
    """of those caught, how many lay at least an evacuation's own time ahead"""
    saving: float
    """failures' worth saved: in time − price × (needless + too late)"""

    @property
    def needless(self) -> int:
        return self.moves - self.caught


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Forecast and frequency between two shares of the forecasts; low and high: 90 % Wilson interval of the frequency."""

    forecast: float
    frequency: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True, slots=True)
class Month:
    """Failures forecast and come of the pairs scored in 30 days from `start` (microseconds)."""

    start: int
    expected: float
    failures: int


def spend(trial: Trial, method: str, moves_a_month: float, horizon: int, price: float, *, takes: int = 0) -> Budget:
    """Walk through the test time: at each scoring time act on the highest scores that the budget allows by then.

    A unit acted on is not acted on again for a horizon. What is left of the budget is kept for the next scoring time.
    takes: how long an evacuation takes, microseconds.
    """
    scores, acted = trial.scores[method], np.full(len(trial.units), -(2**62), np.int64)
    moments = np.unique(trial.time)
    starts = np.searchsorted(trial.time, moments)
    moves, left, before = 0, 0.0, int(moments[0]) - int(_step(moments))
    caught: dict[tuple[int, int], float] = {}
    for start, end, now in zip(starts, [*starts[1:], trial.time.size], moments, strict=True):
        left += moves_a_month * (int(now) - before) / MONTH
        before = int(now)
        rows = np.arange(start, end)
        free = rows[acted[trial.unit[rows]] <= now - horizon]
        chosen = free[np.argsort(-scores[free], kind="stable")[: int(left + 1e-9)]]
        left -= chosen.size
        moves += chosen.size
        acted[trial.unit[chosen]] = now
        for row in chosen[trial.failed[chosen]]:
            key = int(trial.unit[row]), int(trial.failed_at[row])
            caught.setdefault(key, (key[1] - int(now)) / DAY)
    failures = len(set(zip(trial.unit[trial.failed].tolist(), trial.failed_at[trial.failed].tolist(), strict=True)))
    lead = np.quantile(list(caught.values()), (0.1, 0.5, 0.9)) if caught else np.full(3, np.nan)
    in_time = sum(days * DAY >= takes for days in caught.values())
    return Budget(
        moves_a_month=moves_a_month,
        moves=moves,
        caught=len(caught),
        failures=failures,
        lead_days=(float(lead[0]), float(lead[1]), float(lead[2])),
        in_time=in_time,
        saving=float(in_time - price * (moves - in_time)),
    )


def _step(moments: Ints) -> int:
    return int(np.median(np.diff(moments))) if moments.size > 1 else MONTH


def budgets(trial: Trial) -> tuple[float, ...]:
    """Budgets worth looking at, in moves a month: from a tenth to ten times as many as units fail a month."""
    span = max(int(trial.time.max()) - int(trial.time.min()) + _step(np.unique(trial.time)), MONTH)
    monthly = len(np.unique(trial.unit[trial.failed])) * MONTH / span
    return tuple(round(max(monthly * share, 0.1), 1) for share in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0))


def reliability(trial: Trial, method: str) -> tuple[ReliabilityBin, ...]:
    """Forecast against frequency, from the lowest forecasts to the highest."""
    probability = trial.scores[method]
    order = np.argsort(probability, kind="stable")
    cuts = np.unique(np.round(np.array(EDGES) * order.size).astype(int))
    bins: list[ReliabilityBin] = []
    for start, end in pairwise(cuts):
        rows = order[start:end]
        low, high = wilson(int(trial.failed[rows].sum()), rows.size, Z_90)
        bins.append(
            ReliabilityBin(float(probability[rows].mean()), float(trial.failed[rows].mean()), low, high, int(rows.size))
        )
    return tuple(bins)


def months(trial: Trial, method: str) -> tuple[Month, ...]:
    """Failures forecast and come, 30 days at a time."""
    first = int(trial.time.min())
    place = (trial.time - first) // MONTH
    return tuple(
        Month(
            first + int(number) * MONTH,
            float(trial.scores[method][place == number].sum()),
            int(trial.failed[place == number].sum()),
        )
        for number in np.unique(place)
    )


def cost_curve(trial: Trial, method: str, ratios: Sequence[float] = RATIOS) -> Floats:
    """`evaluate.expected_cost` at each price ratio."""
    return np.array([evaluate.expected_cost(trial.failed, trial.scores[method], ratio) for ratio in ratios])


def described(trial: Trial, horizon: int, price: float, *, takes: int = 0, rounds: int = 200) -> dict[str, object]:
    """All that a trial says, as plain data: every method's measures, ours beside the best peer, by kind of unit, by budget.

    takes: how long an evacuation takes, microseconds. rounds: bootstrap rounds of the intervals; 0 leaves them out.
    """
    methods = backtest.summarise(trial, rounds=rounds)
    for name, row in compare.without_largest(trial).items():
        methods[name] |= {f"{key}_without_largest": value for key, value in row.items()}
    peers = {name: float(str(row["average_precision"])) for name, row in methods.items() if name != backtest.MODEL}
    report: dict[str, object] = {
        "pairs": int(trial.failed.size),
        "failures": int(trial.failed.sum()),
        "misfit": trial.misfit,
        "largest": {trial.category: trial.largest} if trial.category else {},
        "concentration": trial.concentrated,
        "methods": methods,
        "by_kind": compare.by_kind(trial, backtest.MODEL) if trial.category else [],
        "price": price,
        "evacuation_seconds": takes / 1e6,
        "budgets": [
            asdict(spent) | {"needless": spent.needless}
            for spent in (spend(trial, backtest.MODEL, moves, horizon, price, takes=takes) for moves in budgets(trial))
        ],
    }
    if rounds and peers:
        best = max(peers, key=lambda name: peers[name])
        gap = compare.difference([trial], backtest.MODEL, best, evaluate.average_precision, rounds=min(rounds, 100))
        report["beside_the_best_peer"] = {"peer": best, **asdict(gap), "verdict": gap.verdict}
    return report
