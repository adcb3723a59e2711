"""What holds for the limits model whatever the telemetry."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scenes.telemetry import SIGNALS, T0, seen

from models.forecast.limits import part as part_risk
from models.forecast.limits import parts_of_node
from models.forecast.limits.first_passage import crossing_probability
from models.forecast.limits.node import CAP, assess_node
from models.risk.signal import SignalHistory

distances = st.floats(1e-3, 100)
drifts = st.floats(-10, 10)
diffusions = st.floats(0, 10)
durations = st.floats(0, 1e6)
TOLERANCE = 1e-9


@given(distances, drifts, diffusions, durations)
def test_a_crossing_probability_is_one(d: float, m: float, s: float, t: float) -> None:
    assert 0.0 <= crossing_probability(d, m, s, t) <= 1.0


@given(distances, drifts, diffusions, durations, durations)
def test_more_time_never_makes_a_crossing_less_likely(d: float, m: float, s: float, t: float, more: float) -> None:
    assert crossing_probability(d, m, s, t + more) >= crossing_probability(d, m, s, t) - TOLERANCE


@given(distances, drifts, st.floats(0, 10), diffusions, durations)
def test_a_faster_drift_toward_the_limit_never_makes_it_less_likely(
    d: float, m: float, faster: float, s: float, t: float
) -> None:
    assert crossing_probability(d, m + faster, s, t) >= crossing_probability(d, m, s, t) - TOLERANCE


@given(distances, st.floats(0, 100), drifts, diffusions, durations)
def test_being_farther_away_never_makes_it_more_likely(d: float, farther: float, m: float, s: float, t: float) -> None:
    assert crossing_probability(d + farther, m, s, t) <= crossing_probability(d, m, s, t) + TOLERANCE


@given(st.floats(0.1, 5), st.floats(0.0, 0.5), st.floats(0.05, 2), st.floats(1, 50))
@settings(max_examples=10, deadline=None)
def test_the_formula_agrees_with_simulated_walks(d: float, m: float, s: float, t: float) -> None:
    """An independent check: Brownian paths stepped finely, with Broadie's correction for what happens between steps."""
    rng = np.random.default_rng(0)
    steps, paths = 400, 2000
    dt = t / steps
    walks = np.cumsum(rng.normal(m * dt, s * math.sqrt(dt), (paths, steps)), axis=1)
    crossed = float(np.mean(walks.max(axis=1) >= d - 0.5826 * s * math.sqrt(dt)))
    assert abs(crossed - crossing_probability(d, m, s, t)) < 0.05


levels = st.floats(10.5, 13.5).map(lambda v: round(v, 2))


@st.composite
def rails(draw: st.DrawFn) -> SignalHistory:
    """A 12 V rail with any healthy level, then any course of its last half hour, with gaps."""
    usual, spread = draw(levels), draw(st.sampled_from([0.0, 0.01, 0.05, 0.3]))
    course = np.interp(np.linspace(0, 1, 361), np.linspace(0, 1, 5), draw(st.lists(levels, min_size=5, max_size=5)))
    seed = draw(st.integers(0, 5))
    gaps = draw(st.sampled_from([0.0, 0.1, 0.9]))
    history = seen("psu_12v_volts", lambda t: np.full_like(t, usual), 0.0, part=draw(st.sampled_from(["PSU1", "PSU2"])))
    rng = np.random.default_rng(seed)
    values = history.values + rng.normal(0.0, spread, history.values.size)
    values[-361:] = course + rng.normal(0.0, spread, 361)
    values[rng.random(values.size) < gaps] = np.nan
    return SignalHistory(history.signal, history.node, history.part, history.times, np.round(values, 2))


@given(st.lists(rails(), max_size=3))
@settings(max_examples=60, deadline=None)
def test_a_risk_is_a_curve_within_bounds_whatever_the_rails_do(histories: list[SignalHistory]) -> None:
    risk = assess_node("node-a", histories, [], now=T0)
    curve = list(risk.probability.values())
    assert all(0.0 < p <= CAP for p in curve)
    assert all(earlier <= later for earlier, later in pairwise(curve))


def _nothing_is_calm(histories: list[SignalHistory], *, now: float) -> NDArray[np.bool_]:
    return np.zeros(len(histories), dtype=bool)


@given(rails(), st.sampled_from(["psu_12v_volts", "cpu_temperature_celsius", "fan_speed_rpm"]), st.floats(0.5, 1e3))
@settings(max_examples=50, deadline=None)
def test_the_short_way_for_calm_parts_says_what_the_long_way_says(
    rail: SignalHistory, name: str, stretched: float
) -> None:
    level = float(np.nanmedian(rail.values)) if np.isfinite(rail.values).any() else 12.0
    usual = {"psu_12v_volts": 12.0, "cpu_temperature_celsius": 55.0, "fan_speed_rpm": 6000.0}[name]
    values = usual + (rail.values - level) * stretched * usual / 1200.0
    part = SignalHistory(SIGNALS[name], rail.node, rail.part, rail.times, values)
    short = assess_node("node-a", [part], [], now=T0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(part_risk, "_is_calm", lambda *_: False)
        patched.setattr(parts_of_node, "calm", _nothing_is_calm)
        assert assess_node("node-a", [part], [], now=T0) == short


@pytest.mark.slow
@given(rails(), rails())
@settings(max_examples=40, deadline=None)
def test_the_order_of_parts_does_not_matter_and_more_parts_never_help(one: SignalHistory, two: SignalHistory) -> None:
    judged = assess_node("node-a", [one, two], [], now=T0)
    # one that falls silent as another appears is one part with a new name, and no part that is gone
    assume(not any("another name" in line for line in judged.unknown))
    together = judged.probability
    assert all(math.isclose(a, b) for a, b in zip(
        together.values(), assess_node("node-a", [two, one], [], now=T0).probability.values(), strict=True
    ))  # fmt: skip
    alone = assess_node("node-a", [one], [], now=T0).probability
    assert all(both >= p - TOLERANCE for both, p in zip(together.values(), alone.values(), strict=True))


@given(st.floats(0.0, 0.3), st.floats(0.0, 0.3))
@settings(max_examples=60, deadline=None)
def test_a_rail_that_sank_lower_is_never_the_safer_one(sunk: float, lower: float) -> None:
    """Both sank evenly over the half hour; from 40 % of the way to the limit on."""

    def after(depth: float) -> float:
        course = seen("psu_12v_volts", lambda t: np.round(12.10 - depth * np.clip(t / 1800.0, 0, 1), 4), 1800.0)
        return assess_node("node-a", [course], [], now=T0 + 1800.0).probability["2h"]

    assert after(0.3 + sunk + lower) >= after(0.3 + sunk) - 0.02


def test_every_shipped_signal_can_be_judged_on_any_constant() -> None:
    for signal in SIGNALS.values():
        for level in (-1e6, -1.0, 0.0, 0.5, 1.0, 1e6, 1e300):
            history = seen(signal.name, lambda t, level=level: np.full_like(t, level), 0.0)
            assert assess_node("node-a", [history], [], now=T0).probability["7d"] <= CAP
