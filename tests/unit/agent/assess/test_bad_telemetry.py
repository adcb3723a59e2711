"""Telemetry that lies, breaks off or changes its meaning: each case is named in one line, and none passes for healthy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scenes.telemetry import T0, Course, Floats, changed, seen, steady

from models.forecast.limits.node import assess_node
from models.risk.risk import Risk


def risk(name: str, course: Course, at: float = 600.0, **more: object) -> Risk:
    return assess_node("node-a", [seen(name, course, at, **more)], [], now=T0 + at)  # pyright: ignore[reportArgumentType]


def from_start(course: Course, change: Callable[[Floats], Floats]) -> Course:
    """The course with every reading from T0 on put through `change`."""

    def together(t: Floats) -> Floats:
        return np.where(t >= 0, change(course(t)), course(t))

    return together


RAIL = steady(12.1, spread=0.01)


@pytest.mark.parametrize(
    ("name", "course", "said"),
    [
        ("psu_12v_volts", from_start(RAIL, lambda v: v * 1000), "usually 12.1: 1000 × that, so another unit"),
        ("psu_12v_volts", from_start(RAIL, lambda v: v / 1000), "1000 times less, so another unit"),
        ("fan_speed_rpm", from_start(steady(6000, spread=30, step=10), lambda v: v / 60 * 3600), "60 × that"),
        (
            "inlet_temperature_celsius",
            from_start(steady(22, spread=0.4, step=1), lambda v: v * 1.8 + 32),
            "as if in °F",
        ),
        ("cpu_temperature_celsius", from_start(steady(45, spread=1.5, step=1), lambda v: v * 1.8 + 32), "as if in °F"),
        ("psu_12v_volts", from_start(RAIL, lambda v: np.full_like(v, np.nan)), "not reported for 10 min"),
        ("psu_12v_volts", lambda t: np.full_like(t, np.nan), "nothing but NaN reported"),
        ("psu_12v_volts", lambda t: np.full_like(t, np.inf), "nothing but NaN reported"),
    ],
    ids=["to millivolts", "to kilovolts", "per hour", "inlet to Fahrenheit", "cpu to Fahrenheit", "gap", "NaN", "Inf"],
)
def test_what_cannot_be_read_is_unknown_and_moves_nothing(name: str, course: Course, said: str) -> None:
    found = risk(name, course)
    lines = [line for line in found.unknown if line.startswith(name)]
    assert len(lines) == 1, found
    assert said in lines[0]
    assert found.probability["2h"] < 0.2, "a change of unit is no fault"


@pytest.mark.parametrize(
    ("name", "course"),
    [
        ("psu_12v_volts", changed(RAIL, lambda t: np.full_like(t, -0.9))),
        ("psu_12v_volts", from_start(RAIL, lambda v: v * 0)),
        ("fan_speed_rpm", from_start(steady(6000, spread=30, step=10), lambda v: v * 0)),
        ("cpu_temperature_celsius", changed(steady(45, spread=1.0, step=1), lambda t: np.minimum(t / 4, 65), step=1)),
    ],
    ids=["rail low", "rail dead", "fan stopped", "overheated by degrees"],
)
def test_a_real_fault_is_not_taken_for_a_change_of_unit(name: str, course: Course) -> None:
    assert risk(name, course).probability["2h"] > 0.3


def test_one_infinite_reading_among_good_ones_is_left_out() -> None:
    found = risk("psu_12v_volts", lambda t: np.where(np.abs(t - 300) < 3, np.inf, RAIL(t)))
    assert found.probability["2h"] < 0.01
    assert not found.unknown


def test_a_counter_that_is_reset_has_not_erred_again() -> None:
    found = risk("memory_corrected_errors", lambda t: np.where(t < 0, 400.0, 0.0))
    assert found.probability["2h"] < 0.01
    again = risk("memory_corrected_errors", lambda t: np.where(t < 0, 400.0, np.maximum(t, 0.0)))
    assert again.probability["7d"] > 0.01, "what it counts after the reset counts"


def test_readings_from_the_future_are_not_used() -> None:
    ahead = seen("psu_12v_volts", changed(RAIL, lambda t: np.full_like(t, -0.9)), 600.0)
    assert assess_node("node-a", [ahead], [], now=T0 - 60.0).probability["2h"] < 0.01


def test_a_node_that_appears_is_judged_by_documented_limits_alone() -> None:
    assert risk("psu_12v_volts", steady(12.1), no_past=True).probability["2h"] < 0.01
    below = risk("psu_12v_volts", steady(11.2), no_past=True).probability
    assert 0.1 < below["2h"] <= below["24h"] < 0.25, (
        "told, and kept from vms; no reason to drain a node nobody knows yet"
    )
