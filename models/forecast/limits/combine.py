"""What a learned model says of one node, brought to the horizons and the weight it has in a risk. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from models.forecast.limits.part import HORIZON_SECONDS, Curve
from models.risk.risk import Driver

BASE_PER_YEAR = 0.08
"""Vishwanath and Nagappan, Characterizing cloud computing hardware reliability, SoCC 2010: 8 % of servers have a
hardware incident in a year. What a healthy node starts from."""
EVIDENCE_HALF = 20
"""Failures in training at which a model counts as much as the base rate. Calibration fits two numbers, slope and level, and
a logistic fit wants some ten failures for each (Peduzzi et al., A simulation study of the number of events per variable in
logistic regression analysis, J Clin Epidemiol 49, 1996)."""
_YEAR = 365.25 * 86_400.0
_CERTAIN = 1.0 - 1e-9


@dataclass(frozen=True, slots=True)
class ModelForecast:
    """One model's word on one node."""

    curve: Curve
    """P(fails within h) for each of `models.risk.risk.HORIZONS`"""
    model: str
    """which file said so"""
    basis: str
    """what that model stands on: whose failures, how many, until when"""
    drivers: tuple[Driver, ...] = ()
    misfit: str = ""
    """why it does not fit what it sees, or why nobody can tell; empty: nothing speaks against it"""
    is_base: bool = False
    """it speaks of the whole node, in place of the base rate; False: of some of its parts, beside everything else"""


def base_rate(seconds: float) -> float:
    """P(a node of which nothing else is known fails within `seconds`)."""
    return -math.expm1(-BASE_PER_YEAR * seconds / _YEAR)


def weight(failures: int) -> float:
    """How much a model trained on that many failures counts against the base rate: 0 none, towards 1 many."""
    return failures / (failures + EVIDENCE_HALF)


def pulled(probability: float, seconds: float, failures: int) -> float:
    """`probability` within `seconds`, pulled towards the base rate in log-odds as far as `failures` are few."""
    share = weight(failures)
    odds = share * _logit(probability) + (1.0 - share) * _logit(base_rate(seconds))
    return 1.0 / (1.0 + math.exp(-odds))


def at_horizons(known: Sequence[tuple[float, float]], seconds: Sequence[float] = HORIZON_SECONDS) -> Curve:
    """A curve known at some (seconds, probability), ascending, read off at others; it never falls.

    Between them, and before the first, the hazard is constant. After the last nothing was learned: the base rate goes on.
    """
    hazards: list[tuple[float, float]] = [(0.0, 0.0)]
    for at, p in known:
        hazards.append((at, max(hazards[-1][1], -math.log1p(-min(p, _CERTAIN)))))
    last = hazards[-1]
    return tuple(
        -math.expm1(-(last[1] + BASE_PER_YEAR * (h - last[0]) / _YEAR if h > last[0] else _between(hazards, h)))
        for h in seconds
    )


def _between(hazards: Sequence[tuple[float, float]], h: float) -> float:
    for (t, low), (u, high) in pairwise(hazards):
        if h <= u:
            return low + (high - low) * (h - t) / (u - t)
    return hazards[-1][1]


def _logit(p: float) -> float:
    inside = min(max(p, 1e-9), _CERTAIN)
    return math.log(inside / (1.0 - inside))
