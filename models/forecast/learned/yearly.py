"""Whether forecasts came true over the last year: for the fleet, and for each kind of unit that failed often enough.

A forecast a fifth too high or too low shifts what is worth doing by as much: the tiers compare it with prices. Failures come
in waves, so a month says little; a year should balance. It is said as soon as chance no longer explains it: the exact Poisson
test that the true number lies within a fifth of the forecast, 1 false in 100 for all kinds together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import poisson

from models.forecast.data import labels
from models.forecast.data.as_of import span_name
from models.forecast.data.dataset import DAY, Dataset, Floats, Ints
from models.forecast.learned.concentration import finest_category
from models.forecast.learned.features.table import Builder
from models.forecast.learned.predict import Forecast

YEAR = 365 * DAY
WITHIN = 0.2
"""Forecasts that are off by at most this share of what came are as good as can be asked for."""
FALSE_ALARMS = 0.01
ENOUGH = 20
"""Failures of a kind of unit, come or forecast, from which on it is judged by itself."""
MOST_MOMENTS = 24
"""Moments of the year that are looked at, spread evenly where there are more horizons in it: bounds what it costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class YearOutcome:
    """Forecast and come since training, over a year at most."""

    kind: str
    """such as `model ST3000DM001`; empty: all units"""
    expected: float
    seen: int
    unknown: int
    """units that left before it could be known"""
    span: int
    """how far back it goes, microseconds"""

    @property
    def off(self) -> float:
        """By what share of what came the forecast was too high (positive) or too low."""
        return self.expected / max(self.seen, 0.5) - 1.0

    def why(self, chance: float) -> str:
        """What a person reads where the forecast was off by more than `WITHIN` beyond chance; else empty."""
        test: Any = poisson
        too_low = float(test.sf(self.seen - 1, self.expected / (1.0 - WITHIN)))
        too_high = float(test.cdf(self.seen + self.unknown, self.expected / (1.0 + WITHIN)))
        if min(too_low, too_high) > chance / 2:
            return ""
        of = f" of {self.kind}" if self.kind else ""
        left = f" (and {self.unknown} units left before it could be known)" if self.unknown else ""
        return f"{self.seen} failures{of} within {span_name(self.span)}{left}, forecast were {self.expected:.3g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A moment at which the model spoke, and how long after it outcomes are counted (microseconds, one horizon at most)."""

    start: int
    length: int


def since_training(model: Forecast, time: int, look_back: int) -> list[Stretch]:
    """The time before `time`, a horizon at a stretch, `look_back` far but not past the end of training (microseconds).

    What is left between training and the first whole horizon counts too, from a quarter of one on: a forecast that is far off
    is told before its first horizon is over. Empty: nothing is known since training.
    """
    horizon = model.horizons[-1]
    trained = np.datetime64(str(model.about.get("data_until", "")).removesuffix("Z") or "NaT", "us")
    if np.isnat(trained):
        return []
    begun, count = int(trained.astype(np.int64)), max(look_back // horizon, 1)
    whole = [start for start in range(time - count * horizon, time, horizon) if start >= begun]
    left = (whole[0] if whole else time) - begun
    first = [Stretch(start=begun, length=left)] if len(whole) < count and left >= horizon // 4 else []
    return [*first, *(Stretch(start=start, length=horizon) for start in whole)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """Of the units at risk at the start of a stretch: who they are, P(fails within it) of each, and what came of them."""

    unit: Ints
    probability: Floats
    outcome: labels.Outcomes


def came_of(model: Forecast, builder: Builder, stretch: Stretch, time: int) -> Came:
    """Forecast and outcome as known at `time`. Part of a horizon is forecast at a constant hazard over it."""
    pairs = labels.at_risk(builder.dataset, np.array([stretch.start]))
    whole = model.curve(builder.build(pairs.unit, pairs.time))[:, -1] if len(pairs) else np.zeros(0)
    part = -np.expm1(np.log1p(-np.minimum(whole, 1.0 - 1e-12)) * (stretch.length / model.horizons[-1]))
    outcome = labels.outcomes(builder.dataset, pairs, stretch.length, known_until=time)
    return Came(unit=pairs.unit, probability=part, outcome=outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Year:
    """What came of a model's forecasts over the last year, or since training."""

    span: int
    """how far back it goes, microseconds"""
    category: str | None
    """the static category that tells kinds of unit apart; None: there is none"""
    kinds: list[str]
    code: Ints
    """of each unit of the dataset: the number of its kind"""
    came: list[Came]
    """in order of time"""


def year_before(model: Forecast, builder: Builder, time: int) -> Year | None:
    """The year before `time`, as known then; None: nothing since training has a known outcome."""
    dataset = builder.dataset
    stretches = [] if dataset.failures is None else since_training(model, time, YEAR)
    if not stretches:
        return None
    span = time - stretches[0].start
    if len(stretches) > MOST_MOMENTS:
        stretches = [stretches[k] for k in np.linspace(0, len(stretches) - 1, MOST_MOMENTS).round().astype(int)]
    category = finest_category(dataset)
    kinds, code = _kinds(dataset, category)
    # One stretch at a time: the features of a year of a large fleet would not fit into memory.
    came = [came_of(model, builder, stretch, time) for stretch in stretches]
    return Year(span=span, category=category, kinds=kinds, code=code, came=came)


def last_year(year: Year | None) -> list[YearOutcome]:
    """The fleet's outcome first, then those of its kinds; empty: nothing is known."""
    if year is None:
        return []
    kinds, category, span = year.kinds, year.category, year.span
    expected = np.zeros(len(kinds))
    seen, unknown = np.zeros(len(kinds), np.int64), np.zeros(len(kinds), np.int64)
    for came in year.came:
        of = year.code[came.unit]
        expected += np.bincount(of, came.probability, len(kinds))
        seen += np.bincount(of[came.outcome == 1], minlength=len(kinds))
        unknown += np.bincount(of[came.outcome == labels.UNKNOWN], minlength=len(kinds))
    found = [
        YearOutcome(
            kind="", expected=float(expected.sum()), seen=int(seen.sum()), unknown=int(unknown.sum()), span=span
        )
    ]
    for k in np.argsort(-seen, kind="stable"):
        if category is not None and max(float(seen[k]), float(expected[k])) >= ENOUGH:
            name = f"{category} {kinds[k]}"
            found.append(
                YearOutcome(
                    kind=name, expected=float(expected[k]), seen=int(seen[k]), unknown=int(unknown[k]), span=span
                )
            )
    return found


def off_by_more(outcomes: Sequence[YearOutcome]) -> list[tuple[YearOutcome, str]]:
    """Those that were off by more than a fifth beyond chance, each with the line that says so."""
    # Half of the false alarms are for the fleet, half for its kinds together: many kinds do not silence the fleet.
    of_kinds = FALSE_ALARMS / (2 * max(len(outcomes) - 1, 1))
    return [(one, why) for one in outcomes if (why := one.why(of_kinds if one.kind else FALSE_ALARMS / 2))]


def _kinds(dataset: Dataset, category: str | None) -> tuple[list[str], Any]:
    if category is None:
        return [""], np.zeros(len(dataset.units), np.int64)
    values, code = np.unique(dataset.categories[category].astype(str), return_inverse=True)
    return [str(value) for value in values], code
