"""What training saw of the features, small enough to travel in the model file; `drift` holds a fleet against it.

A feature becomes a few questions with a yes or a no: is it reported, is it other than usual, and where it is, is it
above this value? Each is asked of the units under observation at several moments of the training time. Units are the
sample, not rows; and since a fleet moves by itself, the answers of each moment are kept, not their mean.

Left out is what time alone changes (age, time since, windows longer than the horizon, signals that count time) and what a
whole group shares (its event rates): there a fleet is one observation, however many units it has. Totals are kept and
marked, with the age of the fleet: they may grow as it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from models.forecast.data import labels
from models.forecast.data.as_of import span_name
from models.forecast.data.dataset import Dataset, Floats, Ints
from models.forecast.learned.features.table import Builder, FeatureSpec, Matrix

Bools = NDArray[np.bool_]

MOMENTS = 24
"""How often training's own fleet is looked at."""
UNITS = 4_000
"""Most units looked at each time."""
USUAL = 0.5
"""A value that at least this share of units has is the usual one; only the others are asked how large they are."""
AGE = "age.observed"
_QUANTILES = (0.1, 0.5, 0.9)
_FEWEST = 20
"""Fewer values than this give no quantiles."""
_VALUES = 8
"""Of a static category, as many values are asked about by name."""


class Ask(StrEnum):
    MISSING = "missing"
    """of all units: not reported"""
    OTHER = "other"
    """of those that report: other than the usual value"""
    ABOVE = "above"
    """of those that are not at the usual value: above `value`"""
    VALUE = "value"
    """of a static category: it is this one"""
    STRANGE = "strange"
    """of a static category: it is none of those that training's units had"""


@dataclass(frozen=True, slots=True)
class Question:
    """One question, and how many units said yes, of how many that were asked, at each moment of training."""

    feature: str
    ask: Ask
    value: float
    """OTHER: the usual value; ABOVE: the threshold; VALUE: the category's number"""
    usual: float
    """NaN: there is none"""
    yes: tuple[int, ...] = ()
    asked: tuple[int, ...] = ()
    known: tuple[float, ...] = ()
    """STRANGE: the numbers of the values that are not"""
    total: bool = False
    """it is about a signal that hardly ever falls"""

    def grown(self, factor: float) -> Question:
        """The same question of a total that had time to grow by `factor`."""
        return replace(self, value=self.value * factor) if self.ask is Ask.ABOVE and factor != 1.0 else self

    def answers(self, column: Floats) -> tuple[Bools, Bools]:
        """(which units it is asked of, which say yes)."""
        missing = np.isnan(column)
        match self.ask:
            case Ask.MISSING:
                return np.ones(column.size, bool), missing
            case Ask.OTHER:
                return ~missing, ~missing & (column != self.value)
            case Ask.ABOVE:
                asked = ~missing & (column != self.usual)
                return asked, asked & (column > self.value)
            case Ask.VALUE:
                return ~missing, column == self.value
            case Ask.STRANGE:
                return np.ones(column.size, bool), ~np.isin(column, self.known)


@dataclass(frozen=True, slots=True)
class Reference:
    units: int
    """how many training had"""
    age: float
    """mean age of the units at the moment when they were oldest, days"""
    questions: tuple[Question, ...]

    def to_json(self) -> dict[str, object]:
        rows = [
            [
                *(q.feature, q.ask.value, q.value, None if np.isnan(q.usual) else q.usual),
                *(list(q.yes), list(q.asked), list(q.known), q.total),
            ]
            for q in self.questions
        ]
        return {"units": self.units, "age": self.age, "questions": rows}


def reference_from_json(data: Mapping[str, Any]) -> Reference:
    """What `to_json` wrote. Raises KeyError, TypeError or ValueError."""

    def question(row: Sequence[Any]) -> Question:
        feature, ask, value, usual, yes, asked, known, total = row
        return Question(
            str(feature),
            Ask(ask),
            float(value),
            np.nan if usual is None else float(usual),
            tuple(int(n) for n in yes),
            tuple(int(n) for n in asked),
            tuple(float(n) for n in known),
            bool(total),
        )

    rows = cast("list[list[Any]]", data["questions"])
    return Reference(int(data["units"]), float(data["age"]), tuple(question(row) for row in rows))


def compared(plan: FeatureSpec, names: Sequence[str]) -> list[str]:
    """The features worth holding against training's: the state of each signal and what one horizon changed."""

    span = span_name(plan.windows[-3])
    wanted: list[str] = []
    for signal, clock in zip(plan.signals, plan.clocks, strict=True):
        wanted.append(f"{signal}.last")
        wanted += [] if clock else [f"{signal}.change_{span}", f"{signal}.spread_{span}"]
    wanted += [f"{subject}.count_{span}" for subject in dict.fromkeys(("events", *plan.components, *plan.kinds))]
    wanted += [*plan.numbers, *(name for name, _ in plan.categories)]
    there = set(names)
    return [name for name in wanted if name in there]


def take_reference(builder: Builder, begin: int, until: int, horizon: int) -> Reference:
    """The reference of a training time (microseconds). Its first horizon is left out: windows were not full yet."""

    dataset, plan = builder.dataset, builder.spec
    random = np.random.default_rng(11)
    units: list[Ints] = []
    moments = np.unique(np.linspace(min(begin + horizon, until), until, MOMENTS).astype(np.int64))
    for moment in moments:
        unit = labels.at_risk(dataset, np.array([moment])).unit
        units.append(np.sort(random.choice(unit, min(unit.size, UNITS), replace=False)))
    sizes = [unit.size for unit in units]
    features = builder.build(np.concatenate(units), np.repeat(moments, sizes))
    edges = np.r_[0, np.cumsum(sizes)]
    everyone = np.flatnonzero(dataset.observed_from <= until)
    codes = builder.build(everyone, np.full(everyone.size, until))
    categories = {name for name, _ in plan.categories}
    clocks = {f"{name}.last" for name, clock in zip(plan.signals, plan.clocks, strict=True) if clock}
    totals = {f"{name}.last" for name in plan.signals if _is_total(dataset, name)}
    questions: list[Question] = []
    for name in compared(plan, builder.names):
        column = features[:, builder.names.index(name)].astype(np.float64)
        if name in categories:
            questions += _of_category(name, column, edges, codes[:, builder.names.index(name)])
        else:
            asked = _questions(name, column)
            asked = asked[:1] if name in clocks else asked
            questions += [replace(_asked(q, column, edges), total=name in totals) for q in asked]
    age = features[:, builder.names.index(AGE)].astype(np.float64)
    oldest = max(float(age[a:b].mean()) for a, b in pairwise(edges) if b > a)
    return Reference(everyone.size, oldest, tuple(questions))


def _is_total(dataset: Dataset, signal: str) -> bool:
    """Whether a signal hardly ever falls: of its changes one in twenty at most."""

    telemetry = dataset.telemetry
    if telemetry is None or signal not in telemetry.signals:
        return False
    column = telemetry.values[:, telemetry.signals.index(signal)]
    known = np.flatnonzero(~np.isnan(column))
    step = np.diff(column[known])[np.diff(telemetry.unit[known]) == 0]
    return bool((step > 0).any()) and float((step < 0).sum()) <= 0.05 * float((step != 0).sum())


def _questions(name: str, column: Floats) -> list[Question]:
    values = column[~np.isnan(column)]
    questions = [Question(name, Ask.MISSING, 0.0, np.nan)]
    if not values.size:
        return questions
    seen, count = np.unique(values, return_counts=True)
    usual = np.nan
    if count.max() >= USUAL * values.size:
        usual = float(seen[count.argmax()])
        questions.append(Question(name, Ask.OTHER, usual, usual))
        values = values[values != usual]
    if values.size >= _FEWEST:
        cuts = np.unique(np.quantile(values, _QUANTILES, method="lower"))
        questions += [Question(name, Ask.ABOVE, float(cut), usual) for cut in cuts if (values > cut).any()]
    return questions


def _of_category(name: str, column: Floats, edges: Ints, everyone: Matrix) -> list[Question]:
    """Questions about a static category, from its number at each moment and in every unit that training saw.

    Where no second unit has a unit's value, that unit counts as strange: to the others it was.
    """

    seen, count = np.unique(everyone[~np.isnan(everyone)].astype(np.float64), return_counts=True)
    common = seen[np.argsort(-count, kind="stable")][:_VALUES]
    questions = [_asked(Question(name, Ask.VALUE, float(code), np.nan), column, edges) for code in common]
    shared = tuple(float(code) for code in seen[count > 1])
    strange = _asked(Question(name, Ask.STRANGE, 0.0, np.nan, known=shared), column, edges)
    return [replace(strange, known=tuple(float(code) for code in seen)), *questions]


def _asked(question: Question, column: Floats, edges: Ints) -> Question:
    """`question` with its answers; `edges` are where each moment's units begin in `column`."""
    asked, yes = question.answers(column)
    spans = list(pairwise(edges))
    return replace(
        question,
        yes=tuple(int(yes[a:b].sum()) for a, b in spans),
        asked=tuple(int(asked[a:b].sum()) for a, b in spans),
    )
