"""The level of a forecast, moved by what came of it since training, and only where that has proved better.

Failures come in waves and fleets change, so next year's level is not training's: of real drives 40 % too few failures were
forecast in one year, of real nodes 44 % too many in another (docs/forecast-figures.md). What came since says so: the hazard of
each kind of unit is multiplied by (come + 20 × the fleet's factor) / (forecast + 20), where the fleet's factor is
(come + 20) / (forecast + 20): with few failures nothing moves (20 as in `models.forecast.limits.combine`). Whether to do it
is asked of the same past, walked forward: each stretch is forecast with the factors of those before it, and only where the
logarithmic score gained by that, with a 90 % interval by unit above 0, are forecasts of now moved. Order within a kind stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from models.forecast.data import labels
from models.forecast.data.as_of import span_name
from models.forecast.data.dataset import Floats, Ints
from models.forecast.learned import evaluate
from models.forecast.learned.features.table import Builder
from models.forecast.learned.predict import Forecast
from models.forecast.learned.yearly import Year, year_before

PRIOR = 20.0
"""Failures, come and forecast alike, that are added to both: so many weigh as much as what came."""
MOST = 3.0
"""No hazard is multiplied or divided by more: what is further off is another fleet, and the model a misfit."""
ENOUGH = 20
"""Failures that the proof needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What each unit's hazard is multiplied by, and what that was worth."""

    category: str
    """the static category that tells kinds apart; empty: there is none"""
    factors: Mapping[str, float]
    """by kind of unit"""
    fleet: float
    """of kinds that were not there"""
    seen: int
    expected: float
    """failures come and forecast since training, over a year at most"""
    span: int
    """how far back that goes, microseconds"""
    bits: float
    """gain in bits a failure, walked forward"""

    def curve(self, model: Forecast, builder: Builder, unit: Ints, time: Ints) -> Floats:
        """What `model` says of each pair at this level, as `Forecast.curve`."""
        features = builder.build(unit, time)
        column = builder.dataset.categories.get(self.category)
        if column is None:
            return replace(model, factor=self.fleet).curve(features)
        factor = np.array([self.factors.get(str(kind), self.fleet) for kind in column])[unit]
        curve = np.empty((unit.size, len(model.steps)))
        for one in np.unique(factor):
            rows = factor == one
            curve[rows] = replace(model, factor=float(one)).curve(features[rows])
        return curve

    @property
    def why(self) -> str:
        """One line for people."""
        return (
            f"{self.seen} failures came within {span_name(self.span)} for {self.expected:.3g} forecast: hazards are "
            f"multiplied by {self.fleet:.2g}{' and by kind' if self.category else ''}, which was better by "
            f"{self.bits:.2f} bits a failure"
        )


def recent_level(year: Year | None) -> Level | None:
    """The level to forecast at from the end of `year` on; None: that of training, because nothing else has proved better."""
    if year is None:
        return None
    come, forecast = np.zeros(len(year.kinds)), np.zeros(len(year.kinds))
    gains: list[Floats] = []
    units: list[Ints] = []
    judged = 0
    for one in year.came:
        known = one.outcome != labels.UNKNOWN
        unit, said, failed = one.unit[known], one.probability[known], one.outcome[known] == 1
        of = year.code[unit]
        if forecast.any():
            moved = _multiplied(said, _factors(come, forecast)[of])
            gains.append(evaluate.bits(failed, moved) - evaluate.bits(failed, said))
            units.append(unit)
            judged += int(failed.sum())
        come += np.bincount(of[failed], minlength=come.size)
        forecast += np.bincount(of, said, come.size)
    if judged < ENOUGH:
        return None
    gain = np.concatenate(gains)
    low, _ = evaluate.total_by_unit(gain, np.concatenate(units))
    if low <= 0.0:
        return None
    factors = _factors(come, forecast)
    return Level(
        category=year.category or "",
        factors=dict(zip(year.kinds, factors.tolist(), strict=True)),
        fleet=_fleet(come, forecast),
        seen=int(come.sum()),
        expected=float(forecast.sum()),
        span=year.span,
        bits=float(gain.sum()) / judged,
    )


def curve_at_recent_level(model: Forecast, builder: Builder, unit: Ints, time: Ints) -> tuple[Floats, Level | None]:
    """`Forecast.curve` of each pair at the level of its own time, as known then, and the level of the last time."""
    curve = np.empty((unit.size, len(model.steps)))
    level: Level | None = None
    for moment in np.unique(time):
        rows = time == moment
        level = recent_level(year_before(model, builder, int(moment)))
        if level is None:
            curve[rows] = model.curve(builder.build(unit[rows], time[rows]))
        else:
            curve[rows] = level.curve(model, builder, unit[rows], time[rows])
    return curve, level


def _fleet(come: Floats, forecast: Floats) -> float:
    return float(np.clip((come.sum() + PRIOR) / (forecast.sum() + PRIOR), 1.0 / MOST, MOST))


def _factors(come: Floats, forecast: Floats) -> Floats:
    if come.size == 1:
        return np.array([_fleet(come, forecast)])
    return np.clip((come + PRIOR * _fleet(come, forecast)) / (forecast + PRIOR), 1.0 / MOST, MOST)


def _multiplied(probability: Floats, factor: Floats) -> Floats:
    """The probability at `factor` times the hazard."""
    return -np.expm1(np.log1p(-np.minimum(probability, 1.0 - 1e-12)) * factor)
