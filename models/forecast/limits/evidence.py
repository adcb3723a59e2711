"""What one part's history says: where it stands, how it moves, and how far that is from its own healthy self. Pure.

Everything is robust (medians, jumps without the largest) because sensors glitch, and is compared with the part's own past
because parts differ. No figure here is learned; thresholds on them live in `models.forecast.limits.part`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from models.risk.signal import Signal, SignalHistory, SignalKind

Floats = NDArray[np.float64]

RECENT = 1800.0
"""Seconds that count as now; what is older is the part's healthy past."""
SPANS = (25.0, 40.0, 60.0, 90.0, 120.0, 180.0, 300.0, 900.0, 1800.0)
"""Windows looked at, seconds, all ending with the newest sample."""
STEPS = (6, 8, 12, 24)
"""Windows looked at where scrapes are rare, in scrapes."""
SHORT_SPAN, SHORT_STEPS = 120.0, 12.5
"""Up to here a window shows flutter, beyond it wander: seconds, or scrapes where those are rare."""
OFTEN = 20.0
"""Seconds between scrapes up to which SPANS fit; from there on windows are counted in scrapes."""
FEWEST = 6
"""Samples a window needs; shorter ones say nothing."""
RECENT_STEPS = 12
"""Scrapes that count as now at the least, however rare they are."""
_POINTS = 30
"""Longer windows are thinned to about this many block means where a fit is compared."""
INDEPENDENT = 20
"""Neighbouring samples are alike: no window counts for more independent ones than this."""
PAST_SAMPLES, PAST_SECONDS = 30, 3600.0
"""A past that is known has this many samples over this long."""
USUAL = 0.02
"""Share of the past that is left out at each end of what is usual: half an hour of a day."""
COARSEST = 0.02
"""Share of the usual reading that a step of the sensor may be."""
_CADENCE_SAMPLES = 13
_GLITCH_SAMPLES = 10


@dataclass(frozen=True, slots=True)
class Past:
    """How a part reads when it is well, in the signal's unit."""

    center: float
    """median"""
    spread: float
    """standard deviation over the whole past, robust, never below half the sensor's step"""
    jitter: float
    """standard deviation from one sample to the next, same floor"""
    floor: float
    """half the sensor's step"""
    lowest: float
    """third lowest: what it went down to while well, a wild reading or two left out"""
    highest: float
    """third highest"""
    usual_low: float
    """the lowest 2 % read less: what it went down to more than once while well"""
    usual_high: float
    """the highest 2 % read more"""
    known: bool
    """False: too little past; `center` is the nominal value or the recent median"""


@dataclass(frozen=True, slots=True)
class Window:
    """The last `span` seconds of a part."""

    span: float
    slope: float
    """per second; what both steps, from the first third to the second and on to the last, agree on. 0 where they differ
    in sign, and where one step fits better than a line: a jump is no trend, however high"""
    trend: float
    """the smaller of the two steps over its standard error, with the slope's sign"""
    settling: float
    """the second step over the first, 0 to 1: below 1 the movement slows down"""
    spread: float
    """standard deviation from one sample to the next, the largest jumps left out; at most half of high - low"""
    low: float
    """second lowest sample"""
    high: float
    """second highest sample"""
    flutter: float
    """standard normal deviate of `spread` against the healthy one (chi-square, Wilson and Hilferty 1931)"""
    ratio: float
    """`spread` over the healthy one: the jitter for short windows, the whole spread for long ones"""
    middle: float = 0.0
    """median"""
    is_short: bool = False
    """it shows flutter rather than wander"""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One part as of its newest sample."""

    at: float
    """unix seconds of that sample"""
    value: float
    """as reported"""
    level: float
    """median of the last three samples; of a counter the last"""
    windows: tuple[Window, ...]
    """shortest first; empty when there are too few samples"""


def known_samples(history: SignalHistory) -> tuple[Floats, Floats]:
    """Times and values where a number was reported; a counter without its resets, so that it only grows."""
    times, values = history.times, history.values
    keep = np.isfinite(values)
    if not keep.all():
        times, values = times[keep], values[keep]
    if history.signal.kind is SignalKind.COUNTER and values.size:
        lost = np.maximum(values[:-1] - values[1:], 0.0)
        if lost.any():
            times, values = _without_gaps(times, values, np.flatnonzero(lost))
            lost = np.maximum(values[:-1] - values[1:], 0.0)
            values = values + np.concatenate(([0.0], np.cumsum(np.where(lost > 0, values[:-1], 0.0))))
    return times, values


def _without_gaps(times: Floats, values: Floats, drops: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Without stretches in which a counter reads less and then, in one jump, what it read before: it was not reset, its exporter
    had nothing to say and said 0."""
    keep = np.ones(values.size, dtype=bool)
    for drop in drops.tolist():
        before = values[drop]
        after = values[drop + 1 : drop + 2 + _GLITCH_SAMPLES]
        back = np.flatnonzero(after >= before)
        if back.size and back[0] > 0 and after[back[0]] - after[back[0] - 1] >= 0.5 * (before - after.min()):
            keep[drop + 1 : drop + 1 + int(back[0])] = False
    return times[keep], values[keep]


def cadence_of(times: Floats) -> float:
    """Seconds between scrapes, by the newest samples; 0 where there are too few."""
    tail = times[-_CADENCE_SAMPLES:]
    return float(median(tail[1:] - tail[:-1])) if tail.size >= 3 else 0.0


def recent_seconds(cadence: float) -> float:
    """How much counts as now: `RECENT`, or `RECENT_STEPS` scrapes where those are rarer."""
    return max(RECENT, RECENT_STEPS * cadence)


def spans(cadence: float) -> tuple[float, ...]:
    """Windows to look at, seconds, where scrapes are that far apart."""
    if cadence <= OFTEN:
        return SPANS
    steps = (step * cadence for step in STEPS)
    return tuple(sorted({*(s for s in SPANS if s >= FEWEST * cadence), *steps}))


def short_seconds(cadence: float) -> float:
    """Up to which span a window shows flutter rather than wander."""
    return max(SHORT_SPAN, SHORT_STEPS * cadence)


def past(signal: Signal, times: Floats, values: Floats, *, until: float) -> Past:
    """The healthy past: samples before `until`. With less than an hour of them, the nominal value and the noise floor."""
    before = values[: int(np.searchsorted(times, until, side="left"))]
    enough = before.size >= PAST_SAMPLES and times[before.size - 1] - times[0] >= PAST_SECONDS
    ordered = np.sort(before if enough else values)
    step = _step(ordered)
    floor = (
        max(signal.noise, min(step, widest_step(signal.noise, _at(ordered, 0.5))) if signal.noise else step) / 2.0
        or 1e-9
    )
    if not enough:
        nominal = signal.limits.nominal
        center = nominal if nominal is not None else float(np.median(values[:PAST_SAMPLES]))
        return Past(center, floor, floor, floor, -math.inf, math.inf, center, center, known=False)
    center = _at(ordered, 0.5)
    # 1.0364: the 85 % point of a standard normal. A fault that has lasted up to 3.6 of the past 24 hours leaves it alone.
    outer = (_at(ordered, 0.85) - _at(ordered, 0.15)) / (2 * 1.0364)
    spread = max(floor, 1.4826 * _at(np.sort(np.abs(before - center)), 0.5), outer)
    steps = np.sort(np.abs(before[1:] - before[:-1]))
    jitter = max(floor, 1.4826 * _at(steps, 0.5) / math.sqrt(2.0), _at(steps, 0.85) / (1.4395 * math.sqrt(2.0)))
    lowest, highest = float(ordered[2]), float(ordered[-3])
    usual = _at(ordered, USUAL), _at(ordered, 1.0 - USUAL)
    return Past(center, spread, min(jitter, spread), floor, lowest, highest, *usual, known=True)


def evidence(times: Floats, values: Floats, healthy: Past, *, counter: bool) -> Evidence:
    """The part as of its newest sample. Needs at least one sample."""
    windows: list[Window] = []
    cadence = cadence_of(times)
    for span in spans(cadence):
        first = int(np.searchsorted(times, times[-1] - span - 0.5, side="left"))
        if times.size - first >= FEWEST and times[-1] - times[first] >= 0.6 * span:
            windows.append(_window(times[first:], values[first:], healthy, cadence))
    level = float(values[-1]) if counter or is_rare(cadence) else median(values[-3:])
    return Evidence(float(times[-1]), float(values[-1]), level, tuple(windows))


def is_rare(cadence: float) -> bool:
    """Whether two scrapes that agree are enough for a level: of frequent ones it takes three."""
    return cadence >= 45.0


def may_flutter(times: Floats, values: Floats, healthy: Past, *, ratio: float, deviate: float) -> bool:
    """Whether a window of `evidence` can have both this `ratio` and this `flutter`; False is sure, and cheap to say.

    All jumps of a window, where `_window` takes the smaller ones, bound its spread from above.
    """
    cadence = cadence_of(times)
    looked_at = spans(cadence)
    tail = int(np.searchsorted(times, times[-1] - looked_at[-1] - 0.5, side="left"))
    with np.errstate(over="ignore"):  # a wild reading: not sure, then
        squares = np.cumsum(np.square(values[tail + 1 :] - values[tail:-1])[::-1])
    if not squares.size or squares[-1] == 0.0:
        return False
    for first in np.searchsorted(times, times[-1] - np.array(looked_at) - 0.5, side="left").tolist():
        jumps = times.size - first - 1
        if jumps + 1 < FEWEST:
            continue
        kept = jumps - max(2, jumps // 6)
        spread = math.sqrt(float(squares[jumps - 1]) / (2.0 * kept)) / trimmed(kept / jumps) * (1.0 + 1e-9)
        usual = healthy.jitter if times[-1] - times[first] <= short_seconds(cadence) else healthy.spread
        if spread / usual >= ratio and chi_square_deviate(spread / usual, kept) >= deviate:
            return True
    return False


def _window(times: Floats, values: Floats, healthy: Past, cadence: float) -> Window:
    span = float(times[-1] - times[0])
    jumps = np.sort(np.abs(values[1:] - values[:-1]))
    # One wild reading makes two jumps, a step makes one: neither is flutter, which jumps all the time.
    kept = jumps[: -max(2, jumps.size // 6)]
    spread = math.sqrt(float(np.sum(kept * kept)) / (2.0 * kept.size)) / trimmed(kept.size / jumps.size)
    ordered = np.sort(values)
    low, high = float(ordered[1]), float(ordered[-2])
    spread = min(spread, (high - low) / 2.0)
    first, middle, last = (_fine_median(third, 2.0 * healthy.floor) for third in np.array_split(values, 3))
    early, late = middle - first, last - middle
    moved = min(abs(early), abs(late)) if _is_slope(times, values) else 0.0
    steady = math.copysign(moved, late) if early * late > 0 else 0.0
    # What averages out: noise, and the sensor's step where the noise is wider than it.
    share = times.size / 3.0
    noise = 1.2533 * max(spread, healthy.floor) / math.sqrt(share)
    unrounded = healthy.floor / (math.sqrt(share) if spread > healthy.floor else 1.0)
    error = math.sqrt(2.0 * (noise * noise + unrounded * unrounded))
    settling = 1.0 if abs(late) >= abs(early) or steady == 0.0 else late / early
    short = span <= short_seconds(cadence)
    ratio = spread / (healthy.jitter if short else healthy.spread)
    flutter = chi_square_deviate(ratio, kept.size)
    centre = float(ordered[ordered.size // 2])
    return Window(
        span, 3.0 * steady / span, steady / error, settling, spread, low, high, flutter, ratio, centre, short
    )  # fmt: skip


def _is_slope(times: Floats, values: Floats) -> bool:
    """Whether a straight line fits at least as well as one step at the best place (least squares)."""
    block = max(1, values.size // _POINTS)
    keep = values.size - values.size % block
    x = times[-keep:].reshape(-1, block).mean(axis=1)
    y = values[-keep:].reshape(-1, block).mean(axis=1)
    x, y = x - x.mean(), y - y.mean()
    y = y / max(float(np.abs(y).max()), 1e-300)  # squares of what a wild sensor reads would overflow
    total = float(y @ y)
    line = total - float(x @ y) ** 2 / float(x @ x)
    left = np.cumsum(y)[:-1]  # the right part sums to its negative, y having mean 0
    size = np.arange(1, y.size)
    step = total - float(np.max(left * left * (1.0 / size + 1.0 / (y.size - size))))
    return line <= step


def _fine_median(values: Floats, step: float) -> float:
    """The median of rounded readings, finer than their step: where the half lies among those that read the same."""
    middle = median(values)
    equal = int(np.count_nonzero(values == middle))
    if equal == 0:
        return middle
    below = int(np.count_nonzero(values < middle))
    return middle + step * ((values.size / 2.0 - below) / equal - 0.5)


def median(values: Floats) -> float:
    """`numpy.median` to the last bit; of a few numbers it takes a tenth of the time."""
    ordered = np.sort(values)
    half = ordered.size // 2
    return float(ordered[half]) if ordered.size % 2 else float(ordered[half - 1] + ordered[half]) / 2.0


@lru_cache(maxsize=512)
def trimmed(share: float) -> float:
    """What leaving out all but the smallest `share` of normal deviations makes of their standard deviation."""
    edge = NormalDist().inv_cdf(0.5 + share / 2.0)
    return math.sqrt(1.0 - 2.0 * edge * NormalDist().pdf(edge) / share)


def chi_square_deviate(ratio: float, freedom: int) -> float:
    """How unusual a standard deviation `ratio` times the expected one is, as a standard normal deviate."""
    if freedom < 1:
        return 0.0
    freedom = min(freedom, INDEPENDENT)
    part = 2.0 / (9.0 * freedom)
    return float((ratio ** (2.0 / 3.0) - (1.0 - part)) / math.sqrt(part))


def _at(ordered: Floats, share: float) -> float:
    """A quantile of sorted values. numpy's own takes ten times as long for a few hundred."""
    return float(ordered[round(share * (ordered.size - 1))])


def widest_step(noise: float, center: float) -> float:
    """The largest step that a sensor is believed to have: a few values far apart are none. Many BMCs hold 8 bits of twice what is
    usual, or less."""
    return max(3.0 * noise, COARSEST * abs(center))


def _step(ordered: Floats) -> float:
    """The sensor's step: the smallest difference among few distinct values, 0 for a continuous reading. A wild reading or two at
    each end say nothing of it."""
    ordered = ordered[2:-2]
    gaps = ordered[1:] - ordered[:-1]
    gaps = gaps[gaps > 0]
    return float(np.min(gaps)) if 1 <= gaps.size < 60 else 0.0
