"""Why a score is what it is: for each signal, what the probability would be were that signal as healthy units have it.

That is a counterfactual on the model, not a cause: two signals that tell the same story each look dispensable. The
static category (drive model, node type) and age are drivers too, since a bad batch is a reason to act.
"""

from __future__ import annotations

import math

import numpy as np

from models.forecast.data.dataset import Dataset, Floats, Ints
from models.forecast.learned import descriptions as wording
from models.forecast.learned.features.table import Builder, Matrix
from models.forecast.learned.predict import Forecast


def groups(names: tuple[str, ...]) -> dict[str, list[int]]:
    """Feature positions by what they are about: a signal, an event kind, a static column, age."""
    found: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        found.setdefault(wording.parted(name)[0], []).append(place)
    return found


def drivers_of(
    model: Forecast, builder: Builder, unit: Ints, time: Ints, place: int, *, most: int = 5
) -> list[dict[str, object]]:
    """For each pair: its unit, probability at horizon number `place`, and up to `most` drivers, strongest first.

    builder: `model.builder(dataset)`; what it has prepared of the dataset's history is not worked out again.
    """

    dataset, features = builder.dataset, builder.build(unit, time)
    probability = model.curve(features)[:, place]
    by_subject = groups(model.names)
    without: dict[str, Floats] = {}
    for subject, columns in by_subject.items():
        changed = features.copy()
        changed[:, columns] = model.typical[columns].astype(np.float32)
        without[subject] = model.curve(changed)[:, place]
    entries: list[dict[str, object]] = []
    for row in range(unit.size):
        gain = {subject: float(probability[row] - p[row]) for subject, p in without.items()}
        ranked = [s for s in sorted(gain, key=lambda s: -gain[s]) if gain[s] > 0.02 * probability[row]][:most]
        entries.append(
            {
                "unit": dataset.units[unit[row]],
                "probability": float(probability[row]),
                "drivers": [
                    {
                        "signal": subject,
                        "why": _why(subject, model, features, row, dataset, int(unit[row])),
                        "without": float(without[subject][row]),
                    }
                    for subject in ranked
                ],
            }
        )
    return entries


def _why(subject: str, model: Forecast, features: Matrix, row: int, dataset: Dataset, unit: int) -> str:
    seen = features[row]
    values = {
        what: (float(seen[place]), float(model.typical[place]))
        for place, (about, what) in enumerate(map(wording.parted, model.names))
        if about == subject
    }
    plan = model.plan
    if subject in dict(plan.categories):
        column = dataset.categories.get(subject)
        rated = next(
            ((r, fleet) for name, rates, fleet in plan.hazards for r in [dict(rates)] if name == subject), None
        )
        value = "" if column is None else str(column[unit])
        known, fleet = rated or ({}, math.nan)
        return wording.of_category(subject, value or "not known", known.get(value, math.nan), fleet)
    if "last" in values:
        clock = bool(dict(zip(plan.signals, plan.clocks, strict=True)).get(subject))
        return wording.of_signal(subject, values, clock=clock)
    match subject:
        case "age":
            return wording.of_age(values)
        case "signals":
            return wording.of_all_signals(values)
        case "fleet":
            return wording.of_rate("the whole fleet", values)
        case _ if any(name.startswith("count_") for name in values):
            return wording.of_events(subject, values, _usual(model, seen) if subject == "events" else None)
        case _:
            return wording.of_number(subject, *next(iter(values.values())))


def _usual(model: Forecast, seen: Matrix) -> tuple[str, float] | None:
    """How often the unit's group, or else the fleet, has events lately: (whose, events a unit and year)."""
    for group in (*model.plan.groups, "fleet"):
        mine = [place for place, name in enumerate(model.names) if name.startswith(f"{group}.rate_")]
        if mine:
            return ("the fleet" if group == "fleet" else f"its {group}"), float(seen[mine[-2]])
    return None
