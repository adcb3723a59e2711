"""What one part of a node says: how likely it is to reach its documented limit, and to take the node with it. Pure.

The probability of failing within h is the product of

1. *departure*: how surely it has left its own healthy past (level, trend and spread against it), 0 to 1;
2. *progress*: how much of the way from its healthy level to the limit is used up, 0 to 1;
3. *crossing*: P(the limit is reached within h), first passage of a drifting, wandering level (`first_passage`);
4. *weight*: P(the node fails | the limit is crossed) and how long that takes, from the catalogue.

Each alone never falls as h grows. A sample is a scrape. A part counts as the lesser of what it says with and without its last
one, so that one wild reading moves nothing; a rate as the lesser of what it says with and without its last burst. Counters don't
glitch; they count at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.base import parse_duration
from models.forecast.limits.evidence import (
    RECENT_STEPS,
    Evidence,
    Floats,
    Past,
    Window,
    cadence_of,
    evidence,
    is_rare,
    known_samples,
    may_flutter,
    median,
    past,
    recent_seconds,
    short_seconds,
)
from models.forecast.limits.first_passage import crossing_probability
from models.forecast.limits.units import unit_change
from models.risk.risk import HORIZONS
from models.risk.signal import Limits, Signal, SignalHistory, SignalKind
from models.text import visible

STALE_SECONDS, STALE_STEPS = 120.0, 2.5
"""A signal whose newest number is older than this, or than that many scrapes, is unknown."""
DEPARTURE_HALF, DEPARTURE_STEEPNESS = 6.0, 1.6
"""Standard deviations away from the healthy past at which departure is 1/2, and how fast it rises around there."""
PROGRESS, PROGRESS_UNDER_LOAD = (0.05, 0.20), (0.50, 0.80)
"""Share of the way to the limit at which progress begins to count, and counts in full."""
EXCURSIONS = 2.0
"""A fluttering level reaches the limit with its excursions: this many standard deviations before its median does."""
BELIEVED_SPANS, BELIEVED_SPANS_UNDER_LOAD = 20.0, 4.0
"""A trend seen for s seconds is believed for this many times s, then the level is taken to wander as before."""
FLUTTER_GROWS = 5.0
"""A grown spread adds up as a random walk: in this many spans by as much again, in the 20 it is believed for by twice that."""
PACE_SECONDS = 360.0
"""A flutter grows no more slowly because it is scraped more rarely: a longer window counts as one of so many seconds."""
LOAD_SETTLES = 120.0
"""Signals that follow the load must have said the same this many seconds ago: the load may just have changed."""
WITHIN_USUAL = 2.0
"""The most that level and trend depart where the part was at times while it was well; each standard deviation beyond adds two."""
SETTLING = 0.8
"""Of signals that follow the load: a movement whose second step is smaller than this share of its first is levelling off."""
NEEDED_MARGIN = 2.0
"""A limit that was reached while the part was well, and is nearer to its healthy level than this many standard deviations,
does not fit the part, and is not used."""
OFF_NOMINAL = 0.3
"""Without a past, a level this far off the nominal one says that it is another kind of part, not a failing one."""
NEWS, NEWS_RATIO = 6.0, 2.0
"""Flutter from this deviate and this many times the healthy spread on is told, however far the limit is."""

MOVING = 0.1
"""What trend and flutter must add to the probability of reaching the limit, for it to be more than a level near it."""
CRITICAL = 1.5
"""A state from here on is critical: 0 nominal, 1 warning, 2 critical."""

HORIZON_SECONDS = tuple(parse_duration(h).total_seconds() for h in HORIZONS)

Curve = tuple[float, ...]
"""A probability for each of HORIZONS."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A signal of which nothing can be said."""

    signal: str
    why: str
    vanished: bool = False
    """this node reported it before"""
    component: str = ""


@dataclass(frozen=True, slots=True)
class PartRisk:
    """What one part of a node says."""

    signal: Signal
    part: str
    curve: Curve
    why: str
    newsworthy: bool
    """worth a line even where the curve is low: it flutters"""
    unknown: Unknown | None = None
    """what can't be said of it all the same: it fell silent, or the limit of one side does not fit"""
    is_known: bool = True
    """False: it has no past, the limits alone speak"""
    level: float = math.nan
    """its newest reading"""
    is_moving: bool = False
    """it flutters or is on its way to the limit: more than a limit says"""


def stale_seconds(cadence: float) -> float:
    """From which age on the newest reading of a part that is scraped so often is old."""
    return max(STALE_SECONDS, STALE_STEPS * cadence + 30.0)


def assess_part(history: SignalHistory, *, now: float) -> PartRisk | Unknown | None:
    """What one history says at `now`; None when its signal carries no weight or limit."""
    signal = history.signal
    name = f"{signal.name} {visible(history.part, 40)}".strip()
    times, values = known_samples(history)
    watched = signal.is_watched
    component = signal.component.value
    if not times.size:
        return (
            Unknown(name, "nothing but NaN reported", component=component) if history.times.size and watched else None
        )
    age = now - float(times[-1])
    cadence = cadence_of(times)
    if age > max(recent_seconds(0.0), 0.5 * RECENT_STEPS * cadence):
        return (
            Unknown(name, f"not reported for {elapsed(age)}", vanished=True, component=component) if watched else None
        )
    if not watched:
        return None
    healthy = past(signal, times, values, until=now - recent_seconds(cadence))
    limits = signal.limits.measured(healthy.center if healthy.known else median(values[-5:]))
    if limits is None:
        return Unknown(name, f"reads {values[-1]:g}: no documented limits are known for that", component=component)
    sides = [s for s in (_Side.of(limits, healthy, low) for low in (True, False)) if s is not None]
    if not healthy.known and limits.nominal is not None:
        off = abs(median(values[-5:]) - limits.nominal)
        if off > OFF_NOMINAL * abs(limits.nominal):
            why = f"reads {values[-1]:g}, nowhere near {limits.nominal:g}: another kind of part"
            return Unknown(name, why, component=component)
    other_unit = unit_change(signal, values, healthy)
    if other_unit is not None:
        return Unknown(name, other_unit, component=component)
    # What only grows was never well above its limit: it has been growing for a while.
    fitting = [s for s in sides if signal.kind is SignalKind.COUNTER or s.fits(healthy)]
    unfit = None
    if len(fitting) < len(sides):
        limit = next(s.limit for s in sides if s not in fitting)
        why = f"its limit {limit:g} {signal.unit} does not fit: it was well at {healthy.center:g}; set its own limits"
        if signal.unit in STATES:
            why = f"has read {healthy.center:g} for as long as it is known, and is not counted: look at the part, or leave it out"
        unfit = Unknown(name, why, component=component)
    if not fitting:
        return unfit
    is_stale = age > stale_seconds(cadence)
    if not is_stale and _is_calm(fitting, times, values, healthy, signal):
        nothing = (0.0,) * len(HORIZONS)
        return PartRisk(signal, history.part, nothing, f"{name}: calm", False, unfit, healthy.known, float(values[-1]))
    looks = _looks(times, values, healthy, signal, cadence)
    judged = [[_judge(side, look, healthy, signal) for look in looks] for side in fitting]
    if signal.follows_load:
        settled = times <= times[-1] - LOAD_SETTLES
        if settled.any():
            before = evidence(times[settled], values[settled], healthy, counter=signal.kind is SignalKind.COUNTER)
            for side, both in zip(fitting, judged, strict=True):
                if not all(j.progress >= 1.0 for j in both):
                    both.append(_judge(side, before, healthy, signal))
    # Per side the least of the looks, then the worse of the two sides.
    curves = [tuple(min(p) for p in zip(*(j.curve for j in both), strict=True)) for both in judged]
    worst = max(range(len(curves)), key=lambda k: (curves[k], judged[k][0].progress))
    newsworthy = can_flutter(signal) and all(_fluttering(look) is not None for look in looks)
    why = _tell(signal, history.part, fitting[worst], looks[0], judged[worst][0], healthy)
    if is_stale:
        # What it said last still counts; that it fell silent counts too.
        unfit = Unknown(name, f"not reported for {elapsed(age)}", vanished=True, component=component)
        why = f"{why}, {unfit.why}"
    moving = newsworthy or (not signal.follows_load and all(j.is_moving for j in judged[worst]))
    return PartRisk(
        signal, history.part, curves[worst], why, newsworthy, unfit, healthy.known, float(values[-1]), moving
    )


def _looks(times: Floats, values: Floats, healthy: Past, signal: Signal, cadence: float) -> list[Evidence]:
    """The part as it is now, and as it was before what may be one wild reading or one burst: both have to say so."""
    counter = signal.kind is SignalKind.COUNTER
    looks = [evidence(times, values, healthy, counter=counter)]
    if not counter and times.size > 1:
        looks.append(evidence(times[:-1], values[:-1], healthy, counter=counter))
    if signal.looks_back and not signal.follows_load:
        # One burst within one scrape holds a rate up for all its window: the burst before it, or a plateau that is longer, has
        # to say the same.
        window = max(signal.window.total_seconds(), 3.0 * cadence) + cadence + 1.0
        rises = np.flatnonzero(values[1:] - values[:-1] > np.maximum(signal.noise / 2.0, 0.05 * np.abs(values[:-1])))
        if rises.size and times[-1] - times[rises[-1] + 1] < window:
            before = int(rises[-1]) + 1
            looks.append(evidence(times[:before], values[:before], healthy, counter=counter))
    return looks


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
    def of(limits: Limits, healthy: Past, low: bool) -> _Side | None:
        limit = limits.low if low else limits.high
        if limit is None:
            return None
        if limits.relative:
            limit += healthy.center
        sign = -1.0 if low else 1.0
        return _Side(sign, limit, sign * (limit - healthy.center))

    def beyond_usual(self, level: float, healthy: Past) -> float:
        """How far a level lies beyond what was usual while the part was well, toward this limit; negative: within."""
        return self.sign * (level - (healthy.usual_high if self.sign > 0 else healthy.usual_low))

    def fits(self, healthy: Past) -> bool:
        """Whether the part was well away from it while it was well: the limit was made for such a part."""
        furthest = healthy.highest if self.sign > 0 else healthy.lowest
        clear = self.sign * (self.limit - furthest) > 2.0 * healthy.floor and self.margin > 0
        return not healthy.known or clear or self.margin >= NEEDED_MARGIN * healthy.spread


@dataclass(frozen=True, slots=True)
class _Judgement:
    curve: Curve
    progress: float
    """share of the way to the limit, excursions included; 1 or more: crossed"""
    window: Window | None
    """the one whose trend says most"""
    is_moving: bool = False
    """its trend and its flutter take it to the limit, where its level would only wander there"""


def _is_calm(sides: Sequence[_Side], times: Floats, values: Floats, healthy: Past, signal: Signal) -> bool:
    """Whether `_judge` would find 0 on each side and no look would flutter: most parts, most of the time.

    No excursion reaches beyond the furthest sample of the short windows.
    """
    cadence = cadence_of(times)
    rare = is_rare(cadence) or signal.kind is SignalKind.COUNTER
    level = float(values[-1]) if rare else median(values[-3:])
    lowest = highest = level
    if not signal.follows_load:
        short = values[int(np.searchsorted(times, times[-1] - short_seconds(cadence), side="left")) :]
        lowest, highest = min(level, float(short.min())), max(level, float(short.max()))
    begins = (PROGRESS_UNDER_LOAD if signal.follows_load else PROGRESS)[0]
    for side in sides:
        left = side.sign * side.limit - (highest if side.sign > 0 else -lowest)
        # Short of the equality itself: the two sums round differently.
        if side.margin <= 0 or 1.0 - left / side.margin > begins - 1e-9:
            return False
    return not (can_flutter(signal) and may_flutter(times, values, healthy, ratio=NEWS_RATIO, deviate=NEWS))


def _judge(side: _Side, look: Evidence, healthy: Past, signal: Signal) -> _Judgement:
    windows = [w for w in look.windows if not w.is_short] if signal.follows_load else list(look.windows)
    left = side.sign * (side.limit - look.level)
    if left <= 0.0:
        crossed = (1.0,) * len(HORIZONS)
        critical = signal.critical_weight is not None and look.level >= CRITICAL
        return _Judgement(_weigh(signal, crossed, critical=critical), 1.0, _steepest(windows, side))
    excursion = 0.0
    for window in windows:
        if not signal.follows_load and window.is_short and window.spread > healthy.jitter:
            reached = side.sign * ((window.high if side.sign > 0 else window.low) - look.level)
            excursion = max(excursion, min(EXCURSIONS * window.spread, reached))
    distance = max(0.0, left - excursion)
    for window in windows:
        if window.is_short and window.flutter >= NEWS and window.ratio >= NEWS_RATIO and can_flutter(signal):
            # Of what flutters the newest readings are chance: the middle of the window stands for the level.
            reached = side.sign * ((window.high if side.sign > 0 else window.low) - window.middle)
            around = side.sign * (side.limit - window.middle) - min(EXCURSIONS * window.spread, reached)
            distance = min(distance, max(0.0, around))
    progress = 1.0 - distance / side.margin if side.margin > 0 else 0.0
    shift = side.sign * (look.level - healthy.center)
    # Healthy readings wander, too, and step with the load: a level and its trend only count as far as they lead out of what was
    # usual while it was well.
    trend = max((min(side.sign * w.trend, side.sign * w.slope * w.span / healthy.spread) for w in windows), default=0.0)
    led_out = WITHIN_USUAL + 2.0 * side.beyond_usual(look.level, healthy) / healthy.spread
    departure = max(
        min(max(shift / healthy.spread, trend), led_out),
        0.0 if signal.follows_load else max((w.flutter for w in windows), default=0.0),
    )
    sure = _logistic(DEPARTURE_STEEPNESS * (departure - DEPARTURE_HALF))
    low, high = PROGRESS_UNDER_LOAD if signal.follows_load else PROGRESS
    sure *= min(1.0, max(0.0, (progress - low) / (high - low)))
    # What wandered so far in a day, or moved just now, may do so again within a day.
    wander = max(healthy.spread, 0.0 if signal.follows_load else shift) / math.sqrt(86_400.0)
    reach = [crossing_probability(distance, 0.0, wander, h) for h in HORIZON_SECONDS]
    wandered = reach[-1]
    for window in windows:
        drift = side.sign * window.slope * window.trend**2 / (window.trend**2 + 4.0)  # less of it where it may be noise
        grown = max(0.0, window.spread**2 - healthy.jitter**2)
        pace = min(window.span, PACE_SECONDS) if window.is_short else window.span
        diffusion = max(wander, 0.0 if signal.follows_load else math.sqrt(grown / (FLUTTER_GROWS * pace)))
        believed = (BELIEVED_SPANS_UNDER_LOAD if signal.follows_load else BELIEVED_SPANS) * window.span
        if signal.follows_load and window.settling < SETTLING:
            # A temperature nears its new level exponentially: what is left is the sum of the shrinking steps.
            believed = min(believed, window.span / 3.0 * window.settling / (1.0 - window.settling))
        for k, h in enumerate(HORIZON_SECONDS):
            reach[k] = max(reach[k], crossing_probability(distance, drift, diffusion, min(h, believed)))
    moving = sure * (reach[-1] - wandered) >= MOVING
    return _Judgement(_weigh(signal, tuple(sure * p for p in reach)), progress, _steepest(windows, side), moving)


def _weigh(signal: Signal, crossing: Curve, *, critical: bool = False) -> Curve:
    """P(fails within h) from P(crosses within h): the failure follows after an exponential delay, taken from now on."""
    weight, wait = signal.failure_weight, signal.failure_delay
    if critical and signal.critical_weight is not None:
        weight, wait = signal.critical_weight, signal.critical_delay or wait
    delay = wait.total_seconds()
    return tuple(
        weight * p * (1.0 if delay <= 0 else -math.expm1(-h / delay))
        for h, p in zip(HORIZON_SECONDS, crossing, strict=True)
    )


STATES = ("state", "up", "ok", "bits")
"""Units of signals that only take a few values, told without speed and limit."""


def can_flutter(signal: Signal) -> bool:
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
    if can_flutter(signal) and flutter is not None:
        says.append(f"spread {flutter.ratio:.0f} × its healthy one")
    exact = f"{side.limit:.{digits}f}"
    says.append(
        f"limit {exact if math.isclose(float(exact), side.limit, abs_tol=1e-9) else f'{side.limit:g}'} {signal.unit}"
    )
    if healthy.known:
        says.append(f"usually {healthy.center:.{digits}f}")
    return ", ".join(says)


def elapsed(seconds: float) -> str:
    """`12 min`, `3 h`."""
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
