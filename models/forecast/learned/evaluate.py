"""What a set of probabilities is worth, measured the way an operator would pay for it.

No accuracy, no balanced test sets, no point-adjusted F1: with failures at a third of a percent they flatter anything.
Intervals resample units, not rows: a unit's rows are not independent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from models.forecast.data.dataset import DAY, Floats, Ints

Bools = NDArray[np.bool_]


def average_precision(failed: Bools, probability: Floats) -> float:
    """Area under the precision-recall curve; compare with the base rate. NaN when nothing failed."""
    return float(average_precision_score(failed, probability)) if failed.any() else float("nan")


def recall_at_fpr(failed: Bools, probability: Floats, rate: float) -> float:
    """Share of failures scored strictly above the level that `rate` of the healthy pairs exceed."""
    if not failed.any() or failed.all():
        return float("nan")
    level = np.quantile(probability[~failed], 1.0 - rate)
    return float((probability[failed] > level).mean())


def calibration_error(failed: Bools, probability: Floats, bins: int = 10) -> float:
    """Expected calibration error over equal-width bins: mean distance of forecast from frequency, by pairs."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    gap = np.abs(np.bincount(place, probability, bins) - np.bincount(place, failed.astype(float), bins))
    return float(gap.sum() / max(count.sum(), 1))


def calibration_error_by_rank(failed: Bools, probability: Floats, bins: int = 10) -> float:
    """Expected calibration error over bins of equal size, from the lowest forecasts to the highest.

    With failures at a third of a percent nearly all forecasts lie in the first of ten equal-width bins; this one sees them.
    """
    order = np.argsort(probability, kind="stable")
    parts = np.array_split(order, bins)
    gap = sum(abs(float(probability[part].sum()) - float(failed[part].sum())) for part in parts)
    return gap / max(failed.size, 1)


def top_tenth(failed: Bools, probability: Floats) -> tuple[float, int]:
    """(failures forecast, failures that came) among the highest tenth of forecasts."""
    highest = np.argsort(probability, kind="stable")[-max(probability.size // 10, 1) :]
    return float(probability[highest].sum()), int(failed[highest].sum())


def daily_top(failed: Bools, probability: Floats, time: Ints, unit: Ints, share: float) -> tuple[float, float]:
    """(precision, unit recall) when at each scoring time the top `share` of units (at least one) is acted on.

    Unit recall: of the units with a failure to catch, how many were in the top at least once before it.
    """
    order = np.lexsort((unit, -probability, time))
    start = np.flatnonzero(np.r_[True, np.diff(time[order]) != 0])
    size = np.diff(np.r_[start, order.size])
    budget = np.maximum(np.floor(size * share + 1e-9).astype(int), 1)
    rank = np.arange(order.size) - np.repeat(start, size)
    chosen = order[rank < np.repeat(budget, size)]
    caught = np.unique(unit[chosen[failed[chosen]]])
    all_failing = np.unique(unit[failed])
    recall = len(caught) / len(all_failing) if len(all_failing) else float("nan")
    return float(failed[chosen].mean()) if chosen.size else float("nan"), recall


def lead_days(failed: Bools, probability: Floats, time: Ints, unit: Ints, failed_at: Ints, share: float) -> Floats:
    """For each failure caught in the daily top `share`: days from the first such warning (within the horizon) to it."""
    order = np.lexsort((unit, -probability, time))
    start = np.flatnonzero(np.r_[True, np.diff(time[order]) != 0])
    size = np.diff(np.r_[start, order.size])
    budget = np.maximum(np.floor(size * share + 1e-9).astype(int), 1)
    rank = np.arange(order.size) - np.repeat(start, size)
    chosen = order[rank < np.repeat(budget, size)]
    chosen = chosen[failed[chosen]]
    first: dict[tuple[int, int], int] = {}
    for row in chosen:
        key = (int(unit[row]), int(failed_at[row]))
        first[key] = min(first.get(key, int(time[row])), int(time[row]))
    return np.array(sorted((end - begin) / DAY for (_, end), begin in first.items()))


def expected_cost(failed: Bools, probability: Floats, ratio: float) -> float:
    """Mean cost a pair, in false alarms, of acting wherever P × ratio > 1 (missed failure = `ratio` false alarms).

    Divided by the cost of the better of never acting and always acting: below 1 the forecast pays.
    """
    acted = probability * ratio > 1.0
    cost = (acted & ~failed).sum() + ratio * (~acted & failed).sum()
    idle = min(ratio * failed.sum(), (~failed).sum())
    return float(cost / idle) if idle else float("nan")


def headline(failed: Bools, probability: Floats) -> dict[str, object]:
    """The numbers that travel in a model file."""
    return {
        "pairs": int(failed.size),
        "failures": int(failed.sum()),
        "base_rate": float(failed.mean()) if failed.size else float("nan"),
        "average_precision": average_precision(failed, probability),
        "recall_at_fpr_0.1%": recall_at_fpr(failed, probability, 0.001),
        "recall_at_fpr_1%": recall_at_fpr(failed, probability, 0.01),
        "ece": calibration_error(failed, probability),
    }


CLIP = 1e-6
"""A forecast of none counts as this probability: one surprise must not outweigh every other forecast."""


def bits(failed: Bools, probability: Floats) -> Floats:
    """The logarithmic score of each forecast: log2 of the probability that it gave to what came."""
    inside = np.clip(probability, CLIP, 1.0 - CLIP)
    return np.log2(np.where(failed, inside, 1.0 - inside))


def total_by_unit(gain: Floats, unit: Ints, rounds: int = 1000) -> tuple[float, float]:
    """90 % interval of the sum of `gain`, units drawn with replacement."""
    _, place = np.unique(unit, return_inverse=True)
    of_unit = np.bincount(place, gain)
    random = np.random.default_rng(0)
    drawn = np.array([of_unit[random.integers(0, of_unit.size, of_unit.size)].sum() for _ in range(rounds)])
    low, high = np.quantile(drawn, (0.05, 0.95))
    return float(low), float(high)


def by_unit(
    measure: Callable[[Ints], float], unit: Ints, *, rounds: int = 200, seed: int = 0, level: float = 0.9
) -> tuple[float, float]:
    """Bootstrap interval of `measure(rows)` with whole units resampled. `measure` takes row positions."""
    names, place = np.unique(unit, return_inverse=True)
    order = np.argsort(place, kind="stable")
    edges = np.searchsorted(place[order], np.arange(len(names) + 1))
    random = np.random.default_rng(seed)
    values: list[float] = []
    for _ in range(rounds):
        drawn = random.integers(0, len(names), len(names))
        sizes = edges[drawn + 1] - edges[drawn]
        offsets = np.repeat(edges[drawn] - np.r_[0, np.cumsum(sizes)[:-1]], sizes) + np.arange(sizes.sum())
        values.append(measure(order[offsets]))
    kept = np.array(values)[~np.isnan(values)]
    if not kept.size:
        return float("nan"), float("nan")
    edge = (1.0 - level) / 2.0
    return float(np.quantile(kept, edge)), float(np.quantile(kept, 1.0 - edge))
