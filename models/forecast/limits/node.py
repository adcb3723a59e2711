"""The first, honest model: how far each part is from its documented limit, and how it moves toward it. Pure.

What each part says is `part_risk`. Parts, hardware events, vanished signals, a base rate and what learned models say of
the node's parts combine as 1 - prod(1 - p); a model that speaks of the whole node takes the base rate's place, and dilutes
none of the others: it may never have seen such a fault. The sum is at most `CAP`: the weights are judgement, and what
stands on judgement is never sure. Parts of one fault are not independent, so the sum overstates a little what several of
them say. No factor falls as h grows, hence neither does the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from models.forecast.limits.combine import ModelForecast, base_rate
from models.forecast.limits.events import EventHazard, event_hazards
from models.forecast.limits.evidence import RECENT, known_samples, past
from models.forecast.limits.part import HORIZON_SECONDS, Curve, PartRisk, Unknown, assess_part, elapsed
from models.risk import HORIZONS, Driver, Risk
from models.signal import HardwareEvent, SignalHistory
from models.text import visible

MODEL = "limits-1"
BASIS = "documented limits and each part's own last day; weights of signals and events are engineering judgement"
UNLEARNED = ", nothing here was learned from failures"

CAP = 0.98
VANISHED = (0.05, 7200.0)
"""(weight, delay in seconds) of one component whose signals vanished: that blindness is not health. Judgement."""

_TWO_HOURS, _WEEK = 1, 3


def assess_node(
    node: str,
    histories: Sequence[SignalHistory],
    events: Iterable[HardwareEvent],
    *,
    now: float,
    unread: Mapping[str, str] | None = None,
    opinions: Sequence[ModelForecast] = (),
) -> Risk:
    """The risk of one node at `now` (unix seconds), from its histories and hardware events up to then.

    `unread` names signals or sources that could not be read, with why; `opinions` are what learned models say of this node.
    Later samples and other nodes' are ignored.
    """
    curves: list[Curve] = []
    drivers: list[tuple[float, float, Driver]] = []
    unknown = [Unknown(name, why) for name, why in (unread or {}).items()]
    newest: list[float] = []
    oldest_scrape = 0.0
    for history in histories:
        if history.node != node:
            continue
        history = history.until(now)
        if history.signal.name in DATING:
            age, stale = _dating(history, now)
            oldest_scrape = max(oldest_scrape, age)
            unknown += stale
            continue
        # A rate goes on after the last sample, and `up` is written by Prometheus itself: neither dates the node's data.
        if history.newest is not None and not history.signal.looks_back and history.signal.name != "target_up":
            newest.append(history.newest)
        said = assess_part(history, now=now)
        if isinstance(said, PartRisk):
            curves.append(said.curve)
            unknown += [said.unknown] if said.unknown is not None else []
            if said.curve[_TWO_HOURS] >= 0.005 or said.curve[_WEEK] >= 0.02 or said.newsworthy:
                drivers.append(
                    (said.curve[_TWO_HOURS], said.curve[_WEEK], Driver(signal=said.signal.name, why=said.why))
                )
        elif said is not None:
            unknown.append(said)
    for component in sorted({u.component for u in unknown if u.vanished}):
        weight, delay = VANISHED
        curves.append(tuple(weight * -math.expm1(-h / delay) for h in HORIZON_SECONDS))
        names = [u.signal for u in unknown if u.vanished and u.component == component]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        why = f"{component}: {names[0]}{more} no longer reported; it was before"
        drivers.append((curves[-1][_TWO_HOURS], curves[-1][_WEEK], Driver(signal=names[0].split(" ")[0], why=why)))
    for hazard in event_hazards((event for event in events if event.node == node), now=now):
        curve = tuple(hazard.within(h) for h in HORIZON_SECONDS)
        curves.append(curve)
        if curve[_WEEK] >= 0.005:
            drivers.append(
                (curve[_TWO_HOURS], curve[_WEEK], Driver(signal=f"event:{hazard.kind}", why=_tell_event(hazard)))
            )
    drivers.sort(key=lambda d: (-d[0], -d[1], d[2].why))
    age = max(0.0, now - max(newest), oldest_scrape) if newest else None
    return Risk(
        node=node,
        probability=dict(zip(HORIZONS, combine(curves, opinions), strict=True)),
        misfit="; ".join(f"model {one.model}: {one.misfit}" for one in opinions if one.misfit),
        grounded=dict(zip(HORIZONS, combine(curves), strict=True)) if opinions else None,
        drivers=(*(driver for _, _, driver in drivers), *(driver for one in opinions for driver in one.drivers)),
        data_age_seconds=age,
        model="+".join((MODEL, *(one.model for one in opinions))),
        basis="; ".join((BASIS, *(one.basis for one in opinions))) if opinions else BASIS + UNLEARNED,
        unknown=tuple(f"{u.signal}: {u.why}" for u in unknown),
    )


def combine(curves: Iterable[Curve], opinions: Sequence[ModelForecast] = ()) -> Curve:
    """1 - prod(1 - p) for each horizon, at most `CAP`, on top of the base rate or of the opinion that takes its place."""
    base = next((one.curve for one in opinions if one.is_base), None)
    left = [1.0 - p for p in (base or (base_rate(h) for h in HORIZON_SECONDS))]
    for curve in (*curves, *(one.curve for one in opinions if not one.is_base)):
        left = [rest * (1.0 - p) for rest, p in zip(left, curve, strict=True)]
    return tuple(min(CAP, 1.0 - rest) for rest in left)


DATING = ("scrape_age_seconds", "textfile_age_seconds")
"""Signals that say how old the rest is rather than how well the node."""


def _dating(history: SignalHistory, now: float) -> tuple[float, list[Unknown]]:
    """(age of the newest scrape that succeeded, what is stale)."""
    times, values = known_samples(history)
    if not times.size:
        return 0.0, []
    since = now - float(times[-1])
    age = float(values[-1]) + since
    if history.signal.name == "scrape_age_seconds":
        return age, []
    usual = past(history.signal, times, values, until=now - RECENT)
    allowed = max(300.0, 3.0 * (usual.center + usual.spread) if usual.known else 0.0)
    if age <= allowed:
        return 0.0, []
    return 0.0, [
        Unknown(
            f"textfile {visible(history.part, 80)}", f"not written for {elapsed(age)}; what comes through it is old"
        )
    ]


def _tell_event(hazard: EventHazard) -> str:
    times = f"{hazard.count} × " if hazard.count > 1 else ""
    where = f" on {visible(hazard.part, 40)}" if hazard.part else ""
    gone = ", gone since" if hazard.gone else ""
    return f"{times}{hazard.kind.value} event{where}, {hazard.severity.value}, last {elapsed(hazard.age_seconds)} ago{gone}"
