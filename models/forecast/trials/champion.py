"""Whether a model that knows more of the past is better than the one in use: judged on the latest failures, which neither knew.

Walk forward: the *challenger* is fitted on what was known before the latest failures, the *champion* was trained before that;
both forecast the time since. The measure is the logarithmic score in bits (Good, Rational decisions, J. Royal Stat. Soc. B
14, 1952): it rewards a forecast for the order of units and for its level at once, and no forecast can gain by saying what it
does not mean. The difference is resampled by unit. Only a difference whose 90 % interval lies above 0 is a win; failures are
few, and a model that is replaced by every lucky month gets no better. A champion that no longer fits what it sees needs
less: a challenger that is not behind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.errors import BadInput
from models.forecast.data import labels
from models.forecast.data.dataset import MICROSECONDS, Dataset, Floats, known_at
from models.forecast.learned.evaluate import average_precision, bits, total_by_unit
from models.forecast.learned.predict import Forecast, score
from models.forecast.limits.combine import base_rate

ENOUGH = 10
"""Failures that a comparison needs: with fewer a single unit decides it."""
LEAST_SPANS = 3
"""Horizons of time that a comparison needs at least."""
Fit = Callable[[Dataset, tuple[int, ...], int], Forecast]
"""Fits a model: dataset, horizons, and the moment up to which it is known (microseconds). Raises BadInput."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How challenger and champion forecast the latest failures."""

    since: int
    until: int
    """microseconds: what lies between was known to neither"""
    failures: int
    bits: float
    """log2 of how much likelier the challenger made what came, per failure; positive: it is better"""
    low: float
    high: float
    """90 % interval of that, by unit"""
    champion_precision: float
    challenger_precision: float
    """average precision of each"""

    @property
    def is_win(self) -> bool:
        return self.low > 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether the champion is replaced, and why in one line."""

    replace: bool
    why: str
    comparison: Comparison | None = None
    """None: there was too little to compare on"""


def latest_failures(dataset: Dataset, now: int, horizon: int) -> int | None:
    """The latest moment after which `ENOUGH` failures came, `LEAST_SPANS` horizons back at least (microseconds); None: there
    were not that many."""
    if dataset.failures is None:
        return None
    starts = np.sort(dataset.failures.start[dataset.failures.start <= now])
    if starts.size < ENOUGH:
        return None
    return min(int(starts[-ENOUGH]) - 1, now - LEAST_SPANS * horizon)


def challenge(
    champion: Forecast | None,
    champion_until: int,
    dataset: Dataset,
    horizons: tuple[int, ...],
    now: int,
    fit: Fit,
    misfit: str,
) -> Decision:
    """Compare a model fitted on what `dataset` knew before its latest failures with the one in use.

    champion: None: there is none yet, the base rate stands in for it. champion_until: the last moment it was trained on
    (microseconds). misfit: why it does not fit what it sees; empty: it does. A challenger that wins is worth fitting once more,
    on everything.
    """
    horizon = horizons[-1]
    since = latest_failures(dataset, now, horizon)
    if since is None:
        return Decision(replace=False, why=f"fewer than {ENOUGH} failures are known: nothing can be compared")
    if since < champion_until:
        come = 0 if dataset.failures is None else int((dataset.failures.start > champion_until).sum())
        return Decision(
            replace=False,
            why=f"{come} failures came since the model in use was trained; {ENOUGH} and {LEAST_SPANS} horizons are needed",
        )
    try:
        challenger = fit(known_at(dataset, since), horizons, since)
    except BadInput as error:
        return Decision(replace=False, why=f"no challenger could be trained: {error.message}")
    compared = compare(champion, challenger, dataset, since, now, horizon)
    if compared is None:
        return Decision(
            replace=False, why="no failure since can be told from a unit that left: nothing can be compared"
        )
    return decide(compared, champion=champion is not None, misfit=misfit)


def decide(compared: Comparison, *, champion: bool, misfit: str) -> Decision:
    """What a comparison means for the model in use."""
    other = "the model in use" if champion else "the base rate"
    told = (
        f"{compared.failures} failures: {compared.bits:+.2f} bits a failure against {other} "
        f"(90 % by unit: {compared.low:+.2f} to {compared.high:+.2f})"
    )
    if compared.is_win:
        return Decision(replace=True, why=f"the challenger is better on the latest {told}", comparison=compared)
    if misfit and compared.bits >= 0.0:
        why = f"the model in use does not fit ({misfit}), and the challenger is not behind on the latest {told}"
        return Decision(replace=True, why=why, comparison=compared)
    return Decision(replace=False, why=f"the challenger is not better on the latest {told}", comparison=compared)


def compare(
    champion: Forecast | None, challenger: Forecast, dataset: Dataset, since: int, now: int, horizon: int
) -> Comparison | None:
    """Both models on the scores of `horizon` from `since` on whose outcome is known at `now`; None: no failure among them."""
    moments = labels.grid(since, now - horizon, horizon)
    pairs = labels.at_risk(dataset, moments)
    outcome = labels.outcomes(dataset, pairs, horizon, known_until=now)
    known = outcome != labels.UNKNOWN
    pairs, failed = pairs.where(known), outcome[known] == 1
    if not failed.any():
        return None

    def of(model: Forecast) -> Floats:
        return score(model, dataset, pairs.unit, pairs.time)[:, model.place(horizon)]

    new = of(challenger)
    old = np.full(failed.size, base_rate(horizon / MICROSECONDS)) if champion is None else of(champion)
    gain = bits(failed, new) - bits(failed, old)
    low, high = (total / int(failed.sum()) for total in total_by_unit(gain, pairs.unit))
    return Comparison(
        since=since,
        until=now,
        failures=int(failed.sum()),
        bits=float(gain.sum() / failed.sum()),
        low=low,
        high=high,
        champion_precision=average_precision(failed, old),
        challenger_precision=average_precision(failed, new),
    )
