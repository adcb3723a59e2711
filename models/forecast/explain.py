"""Why a score is what it is: for each signal, what the probability would be were that signal as healthy units have it.

That is a counterfactual on the model, not a cause: two signals that tell the same story each look dispensable. The
static category (drive model, node type) and age are drivers too, since a bad batch is a reason to act.
"""

from __future__ import annotations

import numpy as np

from models.forecast.dataset import Dataset, Floats, Ints
from models.forecast.features import Matrix
from models.forecast.predict import Forecast


def groups(names: tuple[str, ...]) -> dict[str, list[int]]:
    """Feature positions by what they are about: a signal, an event kind, a static column, age."""
    found: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        subject = name.rsplit(".", 1)[0] if "." in name else name
        found.setdefault(subject, []).append(place)
    return found


def drivers_of(
    model: Forecast, dataset: Dataset, unit: Ints, time: Ints, place: int, *, most: int = 5
) -> list[dict[str, object]]:
    """For each pair: its unit, probability at horizon number `place`, and up to `most` drivers, strongest first."""

    features = model.features(dataset, unit, time)
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
    if subject in dataset.categories:
        rate = _value(model, features, row, f"{subject}.hazard")
        rated = "" if np.isnan(rate) else f", of which {rate * 36_525:.1f} in 100 failed a year"
        return f"{subject} {dataset.categories[subject][unit]}{rated}"
    value = {
        name.rsplit(".", 1)[1]: (float(features[row, place]), float(model.typical[place]))
        for place, name in enumerate(model.names)
        if name.startswith(f"{subject}.") and name.rsplit(".", 1)[0] == subject
    }
    parts: list[str] = []
    if "last" in value:
        now, usual = value["last"]
        parts.append("not reported" if np.isnan(now) else f"{_plain(now)}")
        parts += [] if np.isnan(usual) else [f"typically {_plain(usual)}"]
    for name, (amount, _) in value.items():
        if name.startswith("change_") and name != "change_total" and amount and not np.isnan(amount):
            parts.append(f"{amount:+.4g} in {name.removeprefix('change_')}")
            break
    if not np.isnan(value.get("since_rise", (np.nan, 0.0))[0]):
        parts.append(f"last rose {_plain(value['since_rise'][0])} days ago")
    for name, (amount, _) in value.items():
        if name.startswith("count_") and amount:
            parts.append(f"{_plain(amount)} in {name.removeprefix('count_')}")
        if name.startswith("rate_") and amount:
            parts.append(f"{amount:.3g} a unit and year over {name.removeprefix('rate_')}")
    for name, words in (
        ("since", "last {} days ago"),
        ("age", "newest row is {} days old"),
        ("observed", "{} days old"),
    ):
        if name in value and not np.isnan(value[name][0]):
            parts.append(words.format(_plain(value[name][0])))
    plain = _value(model, features, row, subject)
    if not np.isnan(plain):
        parts.append(_plain(plain))
    return f"{subject}: " + (", ".join(parts) or "unlike healthy units")


def _value(model: Forecast, features: Matrix, row: int, name: str) -> float:
    return float(features[row, model.names.index(name)]) if name in model.names else float("nan")


def _plain(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
