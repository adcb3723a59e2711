"""Whether a model still fits what it sees, in two measures; each cries wolf at most once in a hundred fleets.

*Inputs*: the fleet's answers to the reference's questions against training's. A question has moved when the units that
say yes are more (or fewer) than at any moment of training, by Fisher's exact test with Bonferroni's correction over all
questions, and by a population stability index of `MOVED` or more on yes and no. The test knows how little a small fleet
tells; the index keeps a large one from calling every ripple a change. (The usual reading of the index alone, 0.1 and 0.25,
says nothing about sample size: Yurdakul and Naranjo, Statistical properties of the population stability index, Journal of
Risk Model Validation 14(4), 2020; du Pisanie et al., arXiv:2303.01227.)

*Outcomes*: failures seen since training against failures forecast, over the last weeks by the exact Poisson test that the
true number is within a factor `OFF` of the forecast, over the last year that it is within a fifth (`yearly`). A unit that
left before its horizon ended is unknown: it may have been about to fail, so it speaks for no too high forecast.

What cannot be told is not taken for fitting: a model file without a reference has a misfit of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import hypergeom, poisson

from models.forecast.data import labels
from models.forecast.data.as_of import span_name
from models.forecast.data.dataset import DAY, Ints
from models.forecast.learned.descriptions import parted, spaced
from models.forecast.learned.features.table import Builder, Matrix
from models.forecast.learned.predict import Forecast
from models.forecast.learned.reference import AGE, Ask, Question, Reference
from models.forecast.learned.yearly import Year, came_of, last_year, off_by_more, since_training, year_before

FALSE_ALARMS = 0.01
"""Of fleets that are as training was, this share at most is said to have drifted; for each of the two measures."""
MOVED = 0.25
"""Population stability index of a question from which on it has moved."""
OFF = 2.0
"""Forecasts that are off by less than this factor are not worth mistrusting a model for: failures come in waves."""
LEAST = 0.01
"""A question that concerns fewer of the units than this share says nothing about the fleet."""
LOOK_BACK = 60 * DAY
"""Outcomes are counted over this long, or one horizon where that is longer."""
ENOUGH = 100
"""A moment of training at which this many units, or a quarter of the most, were asked a question, counts."""
NO_REFERENCE = "cannot tell whether the model fits: its file says nothing of what training saw; train it again"


NO_UNITS = "cannot tell whether the model fits: no unit is under observation"


@dataclass(frozen=True, slots=True)
class Shift:
    """One thing that is not as training saw it."""

    subject: str
    """the signal, event kind or static column; empty: the outcomes"""
    why: str
    """what a person reads"""
    distance: float
    """population stability index; of outcomes: the factor they are off by"""


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a model fits what it sees now. `misfit` is empty when nothing speaks against it."""

    shifts: tuple[Shift, ...] = ()
    """what moved, most first"""
    untold: str = ""
    """why it cannot be told"""

    @property
    def misfit(self) -> str:
        if not self.shifts:
            return self.untold
        others = sorted({shift.subject for shift in self.shifts[1:]} - {self.shifts[0].subject, ""})
        more = f"; also moved: {', '.join(others[:3])}{f' and {len(others) - 3} more' if len(others) > 3 else ''}"
        return self.shifts[0].why + (more if others else "")


def misfit(model: Forecast, features: Matrix, outcomes: Sequence[Shift] = ()) -> str:
    """Why `model` does not fit a fleet; empty where nothing speaks against it.

    features: as `model.features` builds them, one row a unit, all at one moment. outcomes: what `outcome_shifts` said
    last (it costs more, and failures are few: once a day is often enough).
    """
    return fit(model, features, outcomes).misfit


def fit(model: Forecast, features: Matrix, outcomes: Sequence[Shift] = ()) -> Fit:
    """`misfit` with all that moved, most first; outcomes that are off come first."""

    if model.reference is None:
        return Fit(tuple(outcomes), NO_REFERENCE)
    if not len(features):
        return Fit(tuple(outcomes), NO_UNITS)
    values = dict(model.plan.categories)
    return Fit((*outcomes, *input_shifts(model.reference, model.names, features, values)))


def fit_at(model: Forecast, builder: Builder, time: int) -> Fit:
    """Both measures on the units of the builder's dataset at `time` (microseconds), from what was known then."""

    unit = labels.at_risk(builder.dataset, np.array([time])).unit
    outcomes = outcome_shifts(model, builder, time, year_before(model, builder, time))
    return fit(model, builder.build(unit, np.full(unit.size, time)), outcomes)


def input_shifts(
    reference: Reference, names: Sequence[str], features: Matrix, categories: Mapping[str, Sequence[str]]
) -> tuple[Shift, ...]:
    """What is not as at any moment of training, most moved first. categories: what their numbers stand for."""

    place = {name: number for number, name in enumerate(names)}
    chance = FALSE_ALARMS / max(2 * len(reference.questions), 1)
    age = float(features[:, place[AGE]].mean()) if AGE in place and len(features) else 0.0
    grown = max(1.0, age / reference.age) if reference.age > 0 else 1.0
    found: list[Shift] = []
    for question in reference.questions:
        column = features[:, place[question.feature]].astype(np.float64)
        before = np.array(question.asked, np.int64)
        told = before >= max(min(before.max(initial=0) / 4, ENOUGH), 1)
        before, said = before[told], np.array(question.yes, np.int64)[told]
        for up in (True, False):
            allowed = grown if up and question.total else 1.0
            asked, yes = question.grown(allowed).answers(column)
            many, count = int(asked.sum()), int(yes.sum())
            if not before.size or not many or many < LEAST * len(column):
                continue
            # Of a total, more units have left zero by the time they are older.
            then = np.minimum(before, np.ceil(said * allowed).astype(np.int64)) if question.ask is Ask.OTHER else said
            distance = _stability(count, many, then, before)
            beyond = np.all(count * before > then * many) if up else np.all(count * before < then * many)
            if beyond and distance >= MOVED and _by_chance(count, many, then, before, up=up) <= chance:
                shares, values = said / before, categories.get(question.feature, ())
                why = _tell(question, count / many, float(shares.min()), float(shares.max()), values)
                found.append(Shift(parted(question.feature)[0], why, distance))
    return tuple(sorted(found, key=lambda shift: -shift.distance))


def _stability(count: int, many: int, said: Ints, before: Ints) -> float:
    """Population stability index between now and the nearest moment, with half a unit more on each side."""
    now, then = (count + 0.5) / (many + 1.0), (said + 0.5) / (before + 1.0)
    return float(np.min((now - then) * np.log(now / then) + (then - now) * np.log((1.0 - now) / (1.0 - then))))


def _by_chance(count: int, many: int, said: Ints, before: Ints, *, up: bool) -> float:
    """Fisher's exact one-sided p against the moment of training that explains `count` best."""
    test: Any = hypergeom
    if up:
        return float(np.max(test.sf(count - 1, many + before, count + said, many)))
    return float(np.max(test.cdf(count, many + before, count + said, many)))


def outcome_shifts(model: Forecast, builder: Builder, time: int, year: Year | None) -> tuple[Shift, ...]:
    """Failures seen against failures forecast over the last weeks and the last year before `time`; empty: as forecast, or too
    few to say. year: `year_before(model, builder, time)`.

    Only what came since the end of training counts, from a quarter of a horizon on. A dataset without failures says nothing.
    """

    stretches = [] if builder.dataset.failures is None else since_training(model, time, LOOK_BACK)
    if not stretches:
        return ()
    came = [came_of(model, builder, stretch, time) for stretch in stretches]
    expected = sum(float(one.probability.sum()) for one in came)
    seen = sum(int((one.outcome == 1).sum()) for one in came)
    unknown = sum(int((one.outcome == labels.UNKNOWN).sum()) for one in came)
    found = compare_outcomes(seen, unknown, expected, f"in the last {span_name(time - stretches[0].start)}")
    of_year = [Shift("", why, 1.0 + abs(one.off)) for one, why in off_by_more(last_year(year))]
    return (*found, *of_year)


def compare_outcomes(seen: int, unknown: int, expected: float, when: str) -> tuple[Shift, ...]:
    """A shift where `seen` failures, or up to `unknown` more, cannot be what `expected` ones were forecast as."""

    test: Any = poisson
    too_many = float(test.sf(seen - 1, OFF * expected))
    too_few = float(test.cdf(seen + unknown, expected / OFF))
    if min(too_many, too_few) > FALSE_ALARMS / 2:
        return ()
    left = f" (and {unknown} units left before it could be known)" if unknown else ""
    why = f"{seen} failures {when}{left}, forecast were {expected:.3g}"
    bounded = max(expected, 1e-9), max(seen, 0.5)
    return (Shift("", why, max(bounded[1] / bounded[0], bounded[0] / bounded[1])),)


def _tell(question: Question, now: float, low: float, high: float, values: Sequence[str]) -> str:
    """One line: the question as a statement, its share now and in training; the rarer answer is turned round."""

    subject, what = parted(question.feature)
    window = spaced(what.rpartition("_")[2])
    if what.startswith("change_"):
        thing = f"the change of {subject} in {window}"
    elif what.startswith("spread_"):
        thing = f"the spread of {subject} over {window}"
    elif what.startswith("count_"):
        counted = subject if subject == "events" else f"{subject} events"
        thing = f"the number of {counted} in {window}"
    else:
        thing = subject
    fewer = now < low
    match question.ask:
        case Ask.MISSING:
            said = f"{thing} is {'' if fewer else 'not '}reported on"
        case Ask.STRANGE:
            said = f"{thing} is one that training {'saw' if fewer else 'never saw'} on"
        case Ask.OTHER:
            said = f"{thing} is {'' if fewer else 'not '}{question.value:g} on"
        case Ask.ABOVE:
            where = "" if np.isnan(question.usual) else f", where it is not {question.usual:g},"
            said = f"{thing}{where} is {f'{question.value:g} or less' if fewer else f'above {question.value:g}'} on"
        case Ask.VALUE:
            said = f"{thing} is {values[int(question.value)]} on"
    if fewer and question.ask is not Ask.VALUE:
        now, low, high = 1.0 - now, 1.0 - high, 1.0 - low
    then = _share(low) if _share(low) == _share(high) else f"{_share(low)} to {_share(high)}"
    return f"{said} {_share(now)} of units, {then} in training"


def _share(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.2g} %"
