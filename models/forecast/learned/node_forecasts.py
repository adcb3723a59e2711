"""Let learned models speak of the nodes of a fleet: from its history to opinions, and to what they can't say. Pure.

A fleet's own model speaks of nodes, a component model of drives. What a drive's failure means for its node depends on what
stands in for it and what lives on it (`models.forecast.limits.array_loss`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from models.errors import ModelInvalid
from models.forecast.data.dataset import MICROSECONDS, Dataset, Ints, build
from models.forecast.history.lives import SILENCE, History, Life, part_tables, tables
from models.forecast.learned.drift import misfit, outcome_shifts
from models.forecast.learned.explain import drivers_of
from models.forecast.learned.features.table import Builder
from models.forecast.learned.level import recent_level
from models.forecast.learned.predict import Forecast
from models.forecast.learned.yearly import year_before
from models.forecast.limits.array_loss import ArrayRisk, node_risk
from models.forecast.limits.combine import ModelForecast, at_horizons, base_rate, pulled, weight
from models.forecast.limits.part import HORIZON_SECONDS, elapsed
from models.risk.incidents import Incident
from models.risk.risk import Driver
from models.risk.signal import Component
from models.storage_layout import Holds, StoragePolicy
from models.text import percent, visible

STALE = 26 * 3600.0
"""Seconds after which a history that was not kept up says nothing of now: a day's row, and room for hours that are late."""
NEEDED = 0.5
"""Share of a model's signals that must be there; with fewer it is about another kind of fleet."""
EXPLAINED = 20
"""Nodes, those at the highest risk, whose risk the model explains."""
WORTH_SAYING = 2.0
"""Times the base rate from which a model's word is explained."""
WORTH_NAMING = 0.1
"""Share of a learned probability that a driver has to make up."""
MOST_DRIVERS = 3


@dataclass(frozen=True)
class NodeForecasts:
    """What one model says, and of which nodes it can't, by node."""

    opinions: dict[str, ModelForecast] = field(default_factory=dict[str, ModelForecast])
    unknown: dict[str, str] = field(default_factory=dict[str, str])


def of_nodes(
    model: Forecast,
    name: str,
    history: History,
    known: Sequence[Life],
    found: Sequence[Incident],
    nodes: Sequence[str],
    now: float,
) -> NodeForecasts:
    """A fleet's own model on each of `nodes`, at the end of the history. `name` is the model file's; `known` and `found`
    are all lives and failures in it.

    Raises ModelInvalid when too few of its signals are there.
    """
    said = NodeForecasts()
    current = {life.node: life.unit for life in known}  # the last one counts, even if an evacuation ended it
    speaking = _spoken_of(nodes, current, history, now, said)
    if not speaking:
        return said
    data = build(tables(history, known, found))
    missing = _missing(model, data)
    place = {unit: k for k, unit in enumerate(data.units)}
    unit = np.array([place[current[node]] for node in speaking], np.int64)
    time = np.full(unit.size, round(history.until * MICROSECONDS), np.int64)
    builder = model.builder(data)
    features = builder.build(unit, time)
    year = year_before(model, builder, int(time[0]))
    unfit = misfit(model, features, outcome_shifts(model, builder, int(time[0]), year))
    failures = int(str(model.about.get("failures", 0)))
    if (level := recent_level(year)) is not None:
        model = replace(model, factor=level.fleet)
    curves = [_curve(model, row, failures) for row in model.curve(features)]
    worst = sorted(range(len(speaking)), key=lambda k: -curves[k][-1])[:EXPLAINED]
    told = _explained(model, builder, unit, time, [k for k in worst if _is_worth(curves[k])], failures)
    basis = (
        f"this fleet's own {_trained_on(model, name)}, which counts {percent(weight(failures))}, the base rate the rest"
        f"{f'; {level.why}' if level is not None else ''}"
    )
    for k, node in enumerate(speaking):
        said.opinions[node] = ModelForecast(curves[k], name, basis, told.get(k, ()), unfit, is_base=True)
        if missing:
            said.unknown[node] = missing
    return said


def of_drives(
    model: Forecast,
    name: str,
    history: History,
    drives: Mapping[str, Sequence[str]],
    now: float,
    storage: StoragePolicy,
    lacking: Mapping[str, Mapping[str, int]],
) -> NodeForecasts:
    """A model of drives on each node's, which `drives` lists as they report now; `storage` says how they are put together,
    `lacking` by node and array how many drives an array is short of. Raises as `of_nodes` does."""
    component = Component.STORAGE.value
    said = NodeForecasts()
    rows = history.parts.get(component)
    known = set(rows["unit"].unique().to_list()) if rows is not None else set[str]()
    there = {node: [drive for drive in named if f"{node}/{drive}" in known] for node, named in drives.items()}
    speaking = _spoken_of(list(drives), {node: node for node, named in there.items() if named}, history, now, said)
    if not speaking:
        return said
    data = build(part_tables(history, component))
    place = {unit: k for k, unit in enumerate(data.units)}
    missing = _missing(model, data)
    pairs = [(node, drive) for node in speaking for drive in there[node]]
    unit = np.array([place[f"{node}/{drive}"] for node, drive in pairs], np.int64)
    time = np.full(unit.size, round(history.until * MICROSECONDS), np.int64)
    failures = int(str(model.about.get("failures", 0)))
    builder = model.builder(data)
    features = builder.build(unit, time)
    unfit = misfit(model, features)  # which drives have failed, the history does not tell
    curves = [_curve(model, row, failures) for row in model.curve(features)]
    worst = sorted(range(len(pairs)), key=lambda k: -curves[k][-1])[:EXPLAINED]
    told = _explained(model, builder, unit, time, [k for k in worst if _is_worth(curves[k])], failures)
    basis = f"{component}: {_trained_on(model, name)}, in data about such parts"
    for node in speaking:
        own = [k for k, (of, _) in enumerate(pairs) if of == node]
        curve, arrays = node_risk(node, {pairs[k][1]: curves[k] for k in own}, storage, lacking.get(node))
        of = {drive: array for array in arrays for drive in array.disks}
        drivers = [
            Driver(signal=driver.signal, why=f"{visible(pairs[k][1], 40)}: {driver.why}{_stands_in(of[pairs[k][1]])}")
            for k in own
            for driver in told.get(k, ())
        ]
        said.opinions[node] = ModelForecast(curve, name, basis, tuple(drivers[:MOST_DRIVERS]), unfit)
        if missing:
            said.unknown[node] = missing
    return said


def _stands_in(array: ArrayRisk) -> str:
    """What of a drive's failure reaches the node's guests, in words; empty: all of it."""
    layout = array.layout
    if layout is None or (not layout.tolerated and layout.holds is Holds.HOST):
        return ""
    members = f"one of {len(array.disks)} drives ({layout.level}" if layout.tolerated else f"on its own ({layout.level}"
    gap = f", {array.lost} missing" if array.lost and layout.tolerated else ""
    return f"; {members}, {layout.holds}{gap}): {percent(array.curve[-1])} for the guests within 7 d"


def _spoken_of(
    nodes: Sequence[str], known: Mapping[str, str], history: History, now: float, said: NodeForecasts
) -> list[str]:
    """The nodes of which there is something to go by; why there is nothing of the others goes into `said`."""
    last = history.rows.group_by("unit").agg(pl.col("time").max().dt.epoch("us") / MICROSECONDS)
    ends: dict[str, float] = dict(last.iter_rows())
    speaking: list[str] = []
    for node in nodes:
        if not history.until:
            said.unknown[node] = "there is no history yet; `lifeboat run` keeps it, from its first hour on"
        elif now - history.until > STALE:
            said.unknown[node] = f"the history ends {elapsed(now - history.until)} ago: is `lifeboat run` at work?"
        elif node not in known:
            said.unknown[node] = "the history holds nothing of it yet"
        elif history.until - ends.get(node, 0.0) > SILENCE:
            said.unknown[node] = "nothing was reported of it for two days"
        else:
            speaking.append(node)
    return speaking


def _missing(model: Forecast, data: Dataset) -> str:
    """Which of the model's signals are not there, in one line; raises ModelInvalid when they are too many."""
    wanted, telemetry = model.plan.signals, data.telemetry
    there = set(telemetry.signals) if telemetry is not None else set[str]()
    if telemetry is not None:
        there = {s for k, s in enumerate(telemetry.signals) if np.isfinite(telemetry.values[:, k]).any()}
    absent = [signal for signal in wanted if signal not in there]
    if not absent:
        return ""
    more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
    named = ", ".join(visible(signal, 60) for signal in absent[:3]) + more
    if len(absent) > (1.0 - NEEDED) * len(wanted):
        raise ModelInvalid(
            f"the model needs {named}, which nothing here reports: {len(absent)} of its {len(wanted)} signals",
            hint="train it on this fleet's own history, or have these signals collected",
        )
    return f"it needs {named}, which nothing here reports; it goes by the rest"


def _curve(model: Forecast, row: Sequence[float], failures: int) -> tuple[float, ...]:
    known = [
        (h / MICROSECONDS, pulled(float(p), h / MICROSECONDS, failures))
        for h, p in zip(model.horizons, row, strict=True)
    ]
    return at_horizons(known)


def _is_worth(curve: Sequence[float]) -> bool:
    return curve[-1] >= WORTH_SAYING * base_rate(HORIZON_SECONDS[-1])


def _explained(
    model: Forecast, builder: Builder, unit: Ints, time: Ints, rows: Sequence[int], failures: int
) -> dict[int, tuple[Driver, ...]]:
    """Drivers of some of the pairs, judged at the model's longest horizon within a week, or its first."""
    if not rows:
        return {}
    near = [k for k, h in enumerate(model.horizons) if h / MICROSECONDS <= HORIZON_SECONDS[-1]]
    place = near[-1] if near else 0
    seconds = model.horizons[place] / MICROSECONDS
    found: list[Any] = drivers_of(model, builder, unit[list(rows)], time[list(rows)], place, most=MOST_DRIVERS)
    told: dict[int, tuple[Driver, ...]] = {}
    for k, entry in zip(rows, found, strict=True):
        said = pulled(entry["probability"], seconds, failures)
        without = [(one, pulled(one["without"], seconds, failures)) for one in entry["drivers"]]
        told[k] = tuple(
            Driver(
                signal=one["signal"],
                why=f"learned: {one['why']} (P within {elapsed(seconds)} {percent(said)}, without it {percent(left)})",
            )
            for one, left in without
            if left <= (1.0 - WORTH_NAMING) * said
        )
    return told


def _trained_on(model: Forecast, name: str) -> str:
    until = str(model.about.get("data_until", "an unknown day"))[:10]
    return f"{model.about.get('failures', 0):,} failures until {until} (model {name})"
