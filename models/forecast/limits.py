"""The first, honest model: how far each part is from its documented limit, and how it moves toward it. Pure.

For each part the probability of failing within h is the product of

1. *departure*: how surely it has left its own healthy past (level, trend and spread against it), 0 to 1;
2. *progress*: how much of the way from its healthy level to the limit is used up, 0 to 1;
3. *crossing*: P(the limit is reached within h), first passage of a drifting, wandering level (`first_passage`);
4. *weight*: P(the node fails | the limit is crossed) and how long that takes, from the catalogue.

Parts, hardware events, vanished signals and a base rate combine as 1 - prod(1 - p), at most `CAP`: the weights are
judgement, and what stands on judgement is never sure. Parts of one fault are not independent, so the sum overstates a
little what several of them say; every factor alone never falls as h grows, hence neither does the result.

A risk is believed when the newest two samples agree: each part counts as the lesser of what it says with and without
the last sample, so that one wild reading moves nothing. Counters don't glitch; they count at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.base import parse_duration
from models.forecast.event_hazard import EventHazard, event_hazards
from models.forecast.evidence import RECENT, SHORT_SPAN, Evidence, Floats, Past, Window, evidence, known_samples, past
from models.forecast.first_passage import crossing_probability
from models.risk import HORIZONS, Driver, Risk
from models.signal import HardwareEvent, Signal, SignalHistory, SignalKind
from models.text import visible

MODEL = "limits-1"
BASIS = (
    "documented limits and each part's own last day; weights of signals and events are engineering judgement, "
    "nothing here was learned from failures"
)

BASE_PER_YEAR = 0.08
"""Vishwanath and Nagappan, Characterizing cloud computing hardware reliability, SoCC 2010: 8 % of servers have a
hardware incident in a year. What a healthy node starts from."""
CAP = 0.98
STALE_SECONDS = 120.0
"""A signal whose newest number is older than this is unknown."""
DEPARTURE_HALF, DEPARTURE_STEEPNESS = 6.0, 1.6
"""Standard deviations away from the healthy past at which departure is 1/2, and how fast it rises around there."""
PROGRESS, PROGRESS_UNDER_LOAD = (0.10, 0.30), (0.50, 0.80)
"""Share of the way to the limit at which progress begins to count, and counts in full."""
EXCURSIONS = 2.0
"""A fluttering level reaches the limit with its excursions: this many standard deviations before its median does."""
BELIEVED_SPANS, BELIEVED_SPANS_UNDER_LOAD = 20.0, 4.0
"""A trend seen for s seconds is believed for this many times s, then the level is taken to wander as before."""
LOAD_SETTLES = 120.0
"""Signals that follow the load must have said the same this many seconds ago: the load may just have changed."""
SETTLING = 0.8
"""Of signals that follow the load: a movement whose second step is smaller than this share of its first is levelling off."""
NEEDED_MARGIN = 2.0
"""A limit nearer to the healthy level than this many standard deviations does not fit the part, and is not used."""
OFF_NOMINAL = 0.3
"""Without a past, a level this far off the nominal one says that it is another kind of part, not a failing one."""
VANISHED = (0.05, 7200.0)
"""(weight, delay in seconds) of one component whose signals vanished: that blindness is not health. Judgement."""
NEWS, NEWS_RATIO = 6.0, 2.0
"""Flutter from this deviate and this many times the healthy spread on is told, however far the limit is."""

_HORIZON_SECONDS = tuple(parse_duration(h).total_seconds() for h in HORIZONS)
_TWO_HOURS, _WEEK = 1, 3
_YEAR = 365.25 * 86_400.0

Curve = tuple[float, ...]
"""A probability for each of HORIZONS."""


@dataclass(frozen=True, slots=True)
class PartRisk:
    """What one part of a node says."""

    signal: Signal
    part: str
    curve: Curve
    why: str
    newsworthy: bool
    """worth a line even where the curve is low"""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A signal of which nothing can be said."""

    signal: str
    why: str
    vanished: bool = False
    """this node reported it before"""
    component: str = ""


def assess_node(
    node: str,
    histories: Sequence[SignalHistory],
    events: Iterable[HardwareEvent],
    *,
    now: float,
    unread: Mapping[str, str] | None = None,
) -> Risk:
    """The risk of one node at `now` (unix seconds), from its histories and hardware events up to then.

    `unread` names signals or sources that could not be read, with why. Later samples and other nodes' are ignored.
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
        if history.newest is not None and history.signal.name != "target_up":
            newest.append(history.newest)
        said = assess_part(history, now=now)
        if isinstance(said, PartRisk):
            curves.append(said.curve)
            if said.curve[_TWO_HOURS] >= 0.005 or said.curve[_WEEK] >= 0.02 or said.newsworthy:
                drivers.append((said.curve[_TWO_HOURS], said.curve[_WEEK], Driver(signal=said.signal.name, why=said.why)))
        elif said is not None:
            unknown.append(said)
    for component in sorted({u.component for u in unknown if u.vanished}):
        weight, delay = VANISHED
        curves.append(tuple(weight * -math.expm1(-h / delay) for h in _HORIZON_SECONDS))
        names = [u.signal for u in unknown if u.vanished and u.component == component]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        why = f"{component}: {names[0]}{more} no longer reported; it was before"
        drivers.append((curves[-1][_TWO_HOURS], curves[-1][_WEEK], Driver(signal=names[0].split(" ")[0], why=why)))
    for hazard in event_hazards((event for event in events if event.node == node), now=now):
        curve = tuple(hazard.within(h) for h in _HORIZON_SECONDS)
        curves.append(curve)
        if curve[_WEEK] >= 0.005:
            drivers.append((curve[_TWO_HOURS], curve[_WEEK], Driver(signal=f"event:{hazard.kind}", why=_tell_event(hazard))))
    drivers.sort(key=lambda d: (-d[0], -d[1], d[2].why))
    age = max(0.0, now - max(newest), oldest_scrape) if newest else None
    return Risk(
        node=node,
        probability=dict(zip(HORIZONS, combine(curves), strict=True)),
        drivers=tuple(driver for _, _, driver in drivers),
        data_age_seconds=age,
        model=MODEL,
        basis=BASIS,
        unknown=tuple(f"{u.signal}: {u.why}" for u in unknown),
    )


def combine(curves: Iterable[Curve]) -> Curve:
    """1 - prod(1 - p) with the base rate, for each horizon, at most `CAP`."""
    left = [math.exp(-BASE_PER_YEAR * h / _YEAR) for h in _HORIZON_SECONDS]
    for curve in curves:
        left = [rest * (1.0 - p) for rest, p in zip(left, curve, strict=True)]
    return tuple(min(CAP, 1.0 - rest) for rest in left)


def assess_part(history: SignalHistory, *, now: float) -> PartRisk | Unknown | None:
    """What one history says at `now`; None when its signal carries no weight or limit."""
    signal, limits = history.signal, history.signal.limits
    name = f"{signal.name} {visible(history.part, 40)}".strip()
    times, values = known_samples(history)
    watched = signal.failure_weight > 0 and not (limits.low is None and limits.high is None)
    component = signal.component.value
    if not times.size:
        return Unknown(name, "nothing but NaN reported", component=component) if history.times.size and watched else None
    age = now - float(times[-1])
    if age > RECENT:
        return Unknown(name, f"not reported for {_span(age)}", vanished=True, component=component) if watched else None
    if not watched:
        return None
    healthy = past(signal, times, values, until=now - RECENT)
    sides = [s for s in (_Side.of(signal, healthy, low) for low in (True, False)) if s is not None]
    off = 0.0 if limits.nominal is None else abs(float(np.median(values[-5:])) - limits.nominal)
    if not healthy.known and limits.nominal is not None and off > OFF_NOMINAL * abs(limits.nominal):
        why = f"reads {values[-1]:g}, nowhere near {limits.nominal:g}: another kind of part"
        return Unknown(name, why, component=component)
    fitting = [s for s in sides if not healthy.known or s.margin >= NEEDED_MARGIN * healthy.spread]
    if not fitting:
        why = f"its limit {sides[0].limit:g} {signal.unit} does not fit: it was well at {healthy.center:g}; set its own limits"
        return Unknown(name, why, component=component)
    if age <= STALE_SECONDS and all(_is_calm(side, values[times >= times[-1] - RECENT], healthy, signal) for side in fitting):
        return PartRisk(signal, history.part, (0.0,) * len(HORIZONS), f"{name}: calm", newsworthy=False)
    counter = signal.kind is SignalKind.COUNTER
    looks = [evidence(times, values, healthy, counter=counter)]
    if not counter and times.size > 1:
        looks.append(evidence(times[:-1], values[:-1], healthy, counter=counter))
    judged = [[_judge(side, look, healthy, signal) for look in looks] for side in fitting]
    if signal.follows_load:
        settled = times <= times[-1] - LOAD_SETTLES
        if settled.any():
            before = evidence(times[settled], values[settled], healthy, counter=counter)
            for side, both in zip(fitting, judged, strict=True):
                if not all(j.progress >= 1.0 for j in both):
                    both.append(_judge(side, before, healthy, signal))
    # Per side the least of the looks, then the worse of the two sides.
    curves = [tuple(min(p) for p in zip(*(j.curve for j in both), strict=True)) for both in judged]
    worst = max(range(len(curves)), key=lambda k: (curves[k], judged[k][0].progress))
    newsworthy = _can_flutter(signal) and all(_fluttering(look) is not None for look in looks)
    if age > STALE_SECONDS:
        # What it said last still counts; that it fell silent counts too.
        return PartRisk(signal, history.part, curves[worst], f"{name}: not reported for {_span(age)}", newsworthy=True)
    why = _tell(signal, history.part, fitting[worst], looks[0], judged[worst][0], healthy)
    return PartRisk(signal, history.part, curves[worst], why, newsworthy)


@dataclass(frozen=True, slots=True)
class _Side:
    """One limit of a part, turned so that toward it is up."""

    sign: float
    """1 for the upper limit, -1 for the lower"""
    limit: float
    """in the signal's unit, as it stands"""
    margin: float
    """from the healthy center to the limit, positive"""

    @staticmethod
    def of(signal: Signal, healthy: Past, low: bool) -> _Side | None:
        limit = signal.limits.low if low else signal.limits.high
        if limit is None:
            return None
        if signal.limits.relative:
            limit += healthy.center
        sign = -1.0 if low else 1.0
        return _Side(sign, limit, sign * (limit - healthy.center))


@dataclass(frozen=True, slots=True)
class _Judgement:
    curve: Curve
    progress: float
    """share of the way to the limit, excursions included; 1 or more: crossed"""
    window: Window | None
    """the one whose trend says most"""


def _is_calm(side: _Side, recent: Floats, healthy: Past, signal: Signal) -> bool:
    """Nothing of the last half hour comes far enough toward the limit to count, so that it needs no closer look."""
    nearest = float(np.max(side.sign * recent))
    extent = nearest - float(np.min(side.sign * recent))
    if signal.follows_load:
        extent = 0.0
    elif extent > 4.0 * healthy.jitter:
        return False
    left = side.sign * side.limit - nearest - 1.5 * extent  # twice a standard deviation is at most the extent
    low = (PROGRESS_UNDER_LOAD if signal.follows_load else PROGRESS)[0]
    return 1.0 - left / side.margin <= low if side.margin > 0 else False


def _judge(side: _Side, look: Evidence, healthy: Past, signal: Signal) -> _Judgement:
    windows = [w for w in look.windows if w.span > SHORT_SPAN] if signal.follows_load else list(look.windows)
    left = side.sign * (side.limit - look.level)
    if left <= 0.0:
        return _Judgement(_weigh(signal, (1.0,) * len(HORIZONS)), 1.0, _steepest(windows, side))
    flutter = 0.0 if signal.follows_load else max((w.spread for w in windows if w.span <= SHORT_SPAN), default=0.0)
    excursion = EXCURSIONS * flutter if flutter > healthy.jitter else 0.0
    distance = max(0.0, left - excursion)
    progress = 1.0 - distance / side.margin if side.margin > 0 else 0.0
    shift = side.sign * (look.level - healthy.center)
    departure = max(
        shift / healthy.spread,
        max((side.sign * w.trend for w in windows if side.sign * w.slope * w.span > healthy.spread), default=0.0),
        0.0 if signal.follows_load else max((w.flutter for w in windows), default=0.0),
    )
    sure = _logistic(DEPARTURE_STEEPNESS * (departure - DEPARTURE_HALF))
    low, high = PROGRESS_UNDER_LOAD if signal.follows_load else PROGRESS
    sure *= min(1.0, max(0.0, (progress - low) / (high - low)))
    # What wandered so far in a day, or moved just now, may do so again within a day.
    wander = max(healthy.spread, 0.0 if signal.follows_load else shift) / math.sqrt(86_400.0)
    reach = [crossing_probability(distance, 0.0, wander, h) for h in _HORIZON_SECONDS]
    for window in windows:
        drift = side.sign * window.slope * window.trend**2 / (window.trend**2 + 4.0)  # less of it where it may be noise
        grown = max(0.0, window.spread**2 - healthy.jitter**2)
        diffusion = max(wander, 0.0 if signal.follows_load else math.sqrt(grown / window.span))
        believed = (BELIEVED_SPANS_UNDER_LOAD if signal.follows_load else BELIEVED_SPANS) * window.span
        if signal.follows_load and window.settling < SETTLING:
            # A temperature nears its new level exponentially: what is left is the sum of the shrinking steps.
            believed = min(believed, window.span / 3.0 * window.settling / (1.0 - window.settling))
        for k, h in enumerate(_HORIZON_SECONDS):
            reach[k] = max(reach[k], crossing_probability(distance, drift, diffusion, min(h, believed)))
    return _Judgement(_weigh(signal, tuple(sure * p for p in reach)), progress, _steepest(windows, side))


def _weigh(signal: Signal, crossing: Curve) -> Curve:
    """P(fails within h) from P(crosses within h): the failure follows after an exponential delay, taken from now on."""
    delay = signal.failure_delay.total_seconds()
    return tuple(
        signal.failure_weight * p * (1.0 if delay <= 0 else -math.expm1(-h / delay))
        for h, p in zip(_HORIZON_SECONDS, crossing, strict=True)
    )


STATES = ("state", "up", "ok", "bits")
"""Units of signals that only take a few values, told without speed and limit."""


def _can_flutter(signal: Signal) -> bool:
    """Whether a grown spread tells something by itself: of levels, not of counts, rates and states."""
    countable = signal.kind is SignalKind.COUNTER or signal.limits.relative or "/" in signal.unit
    return not (signal.follows_load or countable or signal.unit in STATES)


def _fluttering(look: Evidence) -> Window | None:
    """The window that flutters most, if any does so worth telling."""
    telling = [w for w in look.windows if w.flutter >= NEWS and w.ratio >= NEWS_RATIO]
    return max(telling, key=lambda w: w.ratio, default=None)


def _steepest(windows: Sequence[Window], side: _Side) -> Window | None:
    return max(windows, key=lambda w: side.sign * w.trend, default=None)


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x > -700.0 else 0.0


DATING = ("scrape_age_seconds", "textfile_age_seconds")
"""Signals that say how old the rest is rather than how well the node."""


def _dating(history: SignalHistory, now: float) -> tuple[float, list[Unknown]]:
    """(age of the newest scrape, what is stale)."""
    times, values = known_samples(history)
    if not times.size or now - float(times[-1]) > RECENT:
        return 0.0, []
    since = now - float(times[-1])
    age = float(values[-1]) + since
    if history.signal.name == "scrape_age_seconds":
        return age, []
    usual = past(history.signal, times, values, until=now - RECENT)
    allowed = max(300.0, 3.0 * (usual.center + usual.spread) if usual.known else 0.0)
    if age <= allowed:
        return 0.0, []
    return 0.0, [Unknown(f"textfile {visible(history.part, 80)}", f"not written for {_span(age)}; what comes through it is old")]


def _tell(signal: Signal, part: str, side: _Side, look: Evidence, judgement: _Judgement, healthy: Past) -> str:
    """`PSU1 12V Out: 11.52 V, falling 0.04 V/h, limit 11.40 V`."""
    digits = max(0, math.ceil(-math.log10(signal.noise) - 1e-9)) if 0 < signal.noise < 0.1 else 0
    title = signal.title.format(part=visible(part, 60)) or signal.name
    if signal.unit in STATES:
        return f"{title}: {look.value:g}, usually {healthy.center:g}"
    says = [f"{title}: {look.value:.{digits}f} {signal.unit}"]
    window = judgement.window
    if judgement.progress >= 1.0:
        says.append("past its limit" if side.sign * (look.value - side.limit) >= 0 else "at its limit")
    elif window is not None and side.sign * window.trend >= 1.0:
        word = "falling" if side.sign < 0 else "rising"
        rate, per = abs(window.slope) * 3600.0, "h"
        if rate > 3.0 * side.margin:
            rate, per = rate / 60.0, "min"
        steep = f" {rate:.{max(digits, 0 if rate >= 10 else 2)}f} {signal.unit}/{per}"
        says.append(word if "/" in signal.unit else word + steep)
    flutter = _fluttering(look)
    if _can_flutter(signal) and flutter is not None:
        says.append(f"spread {flutter.ratio:.0f} × its healthy one")
    exact = f"{side.limit:.{digits}f}"
    says.append(f"limit {exact if math.isclose(float(exact), side.limit, abs_tol=1e-9) else f'{side.limit:g}'} {signal.unit}")
    if healthy.known:
        says.append(f"usually {healthy.center:.{digits}f}")
    return ", ".join(says)


def _tell_event(hazard: EventHazard) -> str:
    times = f"{hazard.count} × " if hazard.count > 1 else ""
    where = f" on {visible(hazard.part, 40)}" if hazard.part else ""
    gone = ", gone since" if hazard.gone else ""
    return f"{times}{hazard.kind.value} event{where}, {hazard.severity.value}, last {_span(hazard.age_seconds)} ago{gone}"


def _span(seconds: float) -> str:
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"

