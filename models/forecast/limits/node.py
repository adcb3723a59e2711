"""The first, honest model: how far each part is from its documented limit, and how it moves toward it. Pure.

What each part says is `models.forecast.limits.part`, what the parts of a node say together
`models.forecast.limits.parts_of_node`. Of each fault domain the strongest counts
(`models.forecast.limits.domains`); domains, a base rate and what learned models say of the node's parts
combine as 1 - prod(1 - p). A model that speaks of the whole node takes the base rate's place, and dilutes
none of the others: it may never have seen such a fault. The sum is at most `CAP`: the weights are judgement,
and what stands on judgement is never sure. No factor falls as h grows, hence neither does the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from models.forecast.limits.combine import ModelForecast, base_rate
from models.forecast.limits.domains import Fact, strongest
from models.forecast.limits.events import EventHazard, event_hazards
from models.forecast.limits.evidence import RECENT, cadence_of, known_samples, past
from models.forecast.limits.own_word import own_word
from models.forecast.limits.part import HORIZON_SECONDS, Curve, Unknown, elapsed
from models.forecast.limits.parts_of_node import TWO_HOURS, WEEK, Line, event_fact, parts_of
from models.risk.risk import HORIZONS, Driver, Risk
from models.risk.signal import HardwareEvent, SignalHistory
from models.risk.witness import Witness
from models.text import visible

MODEL = "limits-1"
BASIS = "documented limits and each part's own last day; weights of signals and events are engineering judgement"
UNLEARNED = ", nothing here was learned from failures"

CAP = 0.98
RARE_SECONDS = 240.0
"""Scrapes this far apart or further leave a sample current until the next one is due: policies think in minutes."""
VANISHED = (0.05, 7200.0)
"""(weight, delay in seconds) of signals that vanished: that blindness is not health. Judgement."""


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
    unknown = [Unknown(name, why) for name, why in (unread or {}).items()]
    newest = rated = oldest_scrape = -math.inf
    mine: list[SignalHistory] = []
    for history in histories:
        if history.node != node:
            continue
        if history.times.size and history.times[-1] > now:
            history = history.until(now)
        if history.signal.name in DATING:
            age, stale = _dating(history, now)
            oldest_scrape = max(oldest_scrape, age)
            unknown += stale
            continue
        # A rate goes on after the last sample, and `up` is written by Prometheus itself: neither dates the node's data.
        if not history.signal.looks_back and history.signal.name != "target_up":
            newest = max(newest, _current_until(history))
        elif history.signal.looks_back:
            rated = max(rated, _current_until(history))
        mine.append(history)
    if newest == -math.inf and oldest_scrape > -math.inf:
        newest = rated  # nothing but rates: the scrapes that they were computed from date them
    told = parts_of(mine, now=now)
    unknown += told.unknown
    hazards = event_hazards((event for event in events if event.node == node), now=now)
    if hazards:
        told.word = own_word(mine, now=now)
    facts = [*told.facts, *(event_fact(hazard, told) for hazard in hazards)]
    drivers = [*told.drivers, *_vanished(unknown, facts), *filter(None, map(_event_driver, hazards))]
    drivers.sort(key=lambda d: (-d[0], -d[1], d[2].why))
    curves = strongest(facts, alone=told.alone)
    probability = combine(curves, opinions)
    return Risk(
        node=node,
        probability=dict(zip(HORIZONS, probability, strict=True)),
        misfit="; ".join(f"model {one.model}: {one.misfit}" for one in opinions if one.misfit),
        grounded=dict(zip(HORIZONS, combine(curves), strict=True)) if opinions else None,
        drivers=(*(driver for _, _, driver in drivers), *(driver for one in opinions for driver in one.drivers)),
        data_age_seconds=max(0.0, now - newest, oldest_scrape) if newest > -math.inf else None,
        model="+".join((MODEL, *(one.model for one in opinions))),
        basis="; ".join((BASIS, *(one.basis for one in opinions))) if opinions else BASIS + UNLEARNED,
        unknown=tuple(f"{u.signal}: {u.why}" for u in unknown),
        witnesses=_by_witness(facts, told.alone) if probability[-1] >= WORTH_TELLING_APART else {},
    )


WORTH_TELLING_APART = 0.05
"""P(fails within a week) from which on it is told what each witness says alone: below it no policy empties a node."""


def _by_witness(facts: Sequence[Fact], alone: frozenset[str]) -> dict[Witness, dict[str, float]]:
    """What each witness says, were it the only one; without what says nothing."""
    curves: dict[Witness, dict[str, float]] = {}
    for witness in sorted(frozenset[Witness]().union(*(fact.witnesses for fact in facts))):
        curve = combine(strongest([fact for fact in facts if witness in fact.witnesses], alone=alone))
        if curve[-1] > base_rate(HORIZON_SECONDS[-1]):
            curves[witness] = dict(zip(HORIZONS, curve, strict=True))
    return curves


def _current_until(history: SignalHistory) -> float:
    """The newest sample's time; of what is scraped more rarely than every few minutes, until the next one is due
    (unix seconds)."""
    newest = history.newest
    if newest is None:
        return -math.inf
    cadence = cadence_of(history.times)
    return newest + cadence if cadence >= RARE_SECONDS else newest


def _vanished(unknown: Iterable[Unknown], facts: list[Fact]) -> list[Line]:
    """What no longer reports: a line a component, and one fact, for most often it is one exporter or the BMC."""
    lines: list[Line] = []
    gone = [u for u in unknown if u.vanished]
    weight, delay = VANISHED
    curve = tuple(weight * -math.expm1(-h / delay) for h in HORIZON_SECONDS)
    for component in sorted({u.component for u in gone}):
        names = [u.signal for u in gone if u.component == component]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        why = f"{component}: {names[0]}{more} no longer reported; it was before"
        lines.append((curve[TWO_HOURS], curve[WEEK], Driver(signal=names[0].split(" ")[0], why=why)))
    if lines:
        facts.append(Fact(domain="monitoring", curve=curve, source="vanished"))
    return lines


def _event_driver(hazard: EventHazard) -> Line | None:
    soon, later = (hazard.within(HORIZON_SECONDS[k]) for k in (TWO_HOURS, WEEK))
    return (soon, later, Driver(signal=f"event:{hazard.kind}", why=_tell_event(hazard))) if later >= 0.005 else None


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
