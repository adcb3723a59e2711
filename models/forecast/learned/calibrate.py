"""From an ensemble's logit to a probability that means what it says.

Two numbers a horizon (slope, intercept of a logistic fit), learnt on scores of units that the fit had not seen: the
slope on a later slice of the training time, the level on all of it. A logistic keeps the order of scores strictly; an
isotonic fit would make ties among the highest scores, which costs recall at small budgets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize

from models.forecast.data.dataset import Floats

CLIP = 1e-7


@dataclass(frozen=True, slots=True)
class Calibration:
    """P = sigmoid(slope × logit + intercept); slope > 0."""

    slope: float
    intercept: float
    positives: int
    pairs: int

    def apply(self, score: Floats) -> Floats:
        return sigmoid(self.slope * score + self.intercept)


def sigmoid(score: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-np.clip(score, -40.0, 40.0)))


def logit(probability: Floats) -> Floats:
    inside = np.clip(probability, CLIP, 1 - CLIP)
    return np.log(inside / (1 - inside))


def fit_calibration(score: Floats, failed: NDArray[np.bool_], *, prior_slope: float = 1.0) -> Calibration:
    """Maximum likelihood with a weak pull of the slope towards `prior_slope`, so that a handful of failures cannot
    turn or flatten the curve. With no failures at all the intercept is the rule-of-three bound's middle."""

    positives, pairs = int(failed.sum()), int(failed.size)
    if positives < 10 or positives == pairs:
        rate = (positives + 0.5) / (pairs + 1.0)
        spread = sigmoid(prior_slope * score)
        shift = float(logit(np.array([rate]))[0] - logit(np.array([float(spread.mean()) if pairs else 0.5]))[0])
        return Calibration(prior_slope, shift, positives, pairs)
    target = failed.astype(float)
    centre = float(score.mean())

    def loss(parameters: Floats) -> tuple[float, Floats]:
        slope, intercept = float(np.exp(parameters[0])), float(parameters[1])
        linear = slope * (score - centre) + intercept
        probability = sigmoid(linear)
        value = float(np.sum(np.logaddexp(0.0, linear) - target * linear))
        error = probability - target
        pull = parameters[0] - np.log(prior_slope)
        gradient = np.array([slope * float(error @ (score - centre)) + 4.0 * pull, float(error.sum())])
        return value + 2.0 * float(pull) ** 2, gradient

    start = np.array([np.log(prior_slope), float(logit(np.array([positives / pairs]))[0])])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-2.0, 2.0), (None, None)])
    slope = float(np.exp(found.x[0]))
    return Calibration(slope, float(found.x[1]) - slope * centre, positives, pairs)


def at_level(calibration: Calibration, score: Floats, failed: NDArray[np.bool_], weight: Floats) -> Calibration:
    """`calibration` with the intercept moved so that forecasts add up to the failures among these weighted pairs."""

    wanted = float(weight @ failed)
    if wanted <= 0.0:
        return calibration

    def excess(intercept: float) -> float:
        return float(weight @ sigmoid(calibration.slope * score + intercept)) - wanted

    low, high = -40.0, 40.0
    if excess(low) > 0.0 or excess(high) < 0.0:
        return calibration
    return replace(calibration, intercept=float(cast("float", brentq(excess, low, high))))
