"""What the machine itself says leads; limits of ours stand back; a BMC that restarts is no dying machine."""

from __future__ import annotations

import numpy as np
import pytest
from scenes.telemetry import SIGNALS, T0, Course, Floats, changed, seen, steady

from models.forecast.limits.node import assess_node
from models.risk.risk import Risk
from models.risk.signal import SignalHistory

NOMINAL = steady(0, step=1)
HOT = changed(steady(58, spread=1, step=1), lambda t: np.minimum(t / 20.0, 29.0), step=1)
"""87 °C after ten minutes."""


def since(course: Course, to: float) -> Course:
    def together(t: Floats) -> Floats:
        return np.where(t >= 0, to, course(t))

    return together


def risk_of(*histories: SignalHistory, at: float = 1800.0) -> Risk:
    return assess_node("node-a", histories, [], now=T0 + at)


def part(
    name: str, course: Course, of: str = "CPU1 Temp", *, at: float = 1800.0, no_past: bool = False
) -> SignalHistory:
    return seen(name, course, at, part=of, interval=60.0, no_past=no_past)


def test_what_the_bmc_calls_nominal_is_told_and_no_more() -> None:
    alone = risk_of(part("cpu_temperature_celsius", HOT))
    nominal = risk_of(part("cpu_temperature_celsius", HOT), part("cpu_temperature_status", NOMINAL))
    assert alone.probability["2h"] > 0.5 > 0.1 > nominal.probability["7d"]
    assert nominal.drivers[0].why.endswith("the machine itself calls it nominal")


def test_what_the_bmc_calls_critical_needs_no_limit_of_ours() -> None:
    beyond = part("temperature_status", since(NOMINAL, 2.0), "VR Zone 3")
    assert risk_of(beyond).probability["2h"] >= 0.5
    warning = part("temperature_status", since(NOMINAL, 1.0), "VR Zone 3")
    assert risk_of(warning).probability["2h"] < 0.25


def test_a_rail_of_any_name_is_judged_by_the_bmc() -> None:
    assert risk_of(part("rail_status", since(NOMINAL, 2.0), "P1V05_PCH_AUX")).probability["2h"] > 0.7


def test_a_clock_battery_is_no_rail() -> None:
    assert risk_of(part("battery_status", since(NOMINAL, 2.0), "VBAT")).probability["24h"] < 0.05


def test_a_rail_on_its_way_counts_although_the_bmc_has_not_noticed_yet() -> None:
    sag = changed(steady(12.1, spread=0.008, step=0.02), lambda t: -0.0012 * t, step=0.02)
    risk = assess_node(
        "node-a",
        [seen("psu_12v_volts", sag, 300.0, part="12V"), seen("rail_status", NOMINAL, 300.0, part="12V")],
        [],
        now=T0 + 300.0,
    )
    assert risk.probability["2h"] > 0.5


@pytest.mark.parametrize(
    ("feed", "low"), [(100.0, 85.0), (120.0, 100.0), (208.0, 180.0), (240.0, 205.0), (-53.5, -38.0), (53.5, 38.0)]
)
def test_a_feed_is_judged_by_the_voltage_it_has(feed: float, low: float) -> None:
    usual = steady(feed, spread=0.4, step=0.5)
    dip = changed(usual, lambda t: np.full_like(t, -0.02 * feed), step=0.5)
    lost = since(usual, low)
    for course, dangerous in ((dip, False), (lost, True)):
        risk = risk_of(*(part("psu_input_volts", course, f"PS{n} VIN") for n in (1, 2)))
        assert (risk.probability["2h"] > 0.5) is dangerous, risk.drivers
        assert risk.unknown == ()


def test_a_node_without_a_past_is_drained_only_when_the_machine_complains() -> None:
    quiet = [part("fan_speed_rpm", steady(1200, spread=20, step=30), f"FAN{n}", no_past=True) for n in (1, 2, 3)]
    assert 0.0 < risk_of(*quiet).probability["24h"] < 0.1
    hot = part("cpu_temperature_celsius", steady(97, spread=1, step=1), no_past=True)
    assert risk_of(hot).probability["24h"] < 0.25
    critical = part("cpu_temperature_status", steady(2, step=1), no_past=True)
    assert risk_of(hot, critical).probability["2h"] > 0.5


SENSORS = {
    "12V": ("psu_12v_volts", steady(12.1, spread=0.01, step=0.02)),
    "5VCC": ("rail_5v_volts", steady(5.05, spread=0.01, step=0.02)),
    "FAN1": ("fan_speed_rpm", steady(5400, spread=40, step=75)),
    "FAN2": ("fan_speed_rpm", steady(5400, spread=40, step=75)),
    "CPU1 Temp": ("cpu_temperature_celsius", steady(55, spread=1, step=1)),
    "System Temp": ("inlet_temperature_celsius", steady(24, spread=0.5, step=1)),
}


@pytest.mark.parametrize("nothing", [0.0, np.nan])
def test_sensors_that_fall_together_are_the_bmc(nothing: float) -> None:
    fallen = [part(name, since(course, nothing), of, at=200.0) for of, (name, course) in SENSORS.items()]
    alarms = [part("rail_status", since(NOMINAL, 2.0), "12V", at=200.0)]
    risk = risk_of(*fallen, *alarms, at=200.0)
    assert risk.probability["24h"] < 0.1, risk.drivers
    assert risk.unknown


def test_one_rail_that_falls_alone_is_not_the_bmc() -> None:
    others = [part(name, course, of, at=300.0) for of, (name, course) in SENSORS.items() if of != "12V"]
    fallen = part("psu_12v_volts", since(SENSORS["12V"][1], 9.0), "12V", at=300.0)
    assert risk_of(*others, fallen, at=300.0).probability["2h"] > 0.9


def test_disks_that_fail_their_test_in_the_same_scrape_are_the_exporter() -> None:
    def disks(*failing: str) -> Risk:
        well = steady(1, step=1)
        return risk_of(
            *(part("disk_smart_status", since(well, 0.0) if d in failing else well, d) for d in ("sda", "sdb", "sdc"))
        )

    several = disks("sda", "sdc")
    assert several.probability["7d"] < 0.01
    assert sum("the same scrape" in line for line in several.unknown) == 2
    assert disks("sdb").probability["24h"] > 0.3


def test_parts_that_come_back_under_other_names_have_not_vanished() -> None:
    rail = SENSORS["12V"][1]
    gone = part("psu_12v_volts", lambda t: np.where(t < 0, rail(t), np.nan), "12V")
    new = part("psu_12v_volts", lambda t: np.where(t < 0, np.nan, rail(t)), "12V (CPU)")
    risk = risk_of(gone, new)
    assert risk.probability["2h"] < 0.01
    assert "another name" in risk.unknown[0]
    assert risk_of(gone, part("rail_5v_volts", SENSORS["5VCC"][1], "5VCC")).probability["2h"] > 0.01


def test_a_state_of_one_scrape_moves_nothing() -> None:
    glitch = part("psu_status", lambda t: np.where(t >= 1790.0, 2.0, 0.0), "PSU")
    assert risk_of(glitch).probability["7d"] < 0.01


def test_every_state_that_a_signal_names_is_shipped() -> None:
    named = {signal.state for signal in SIGNALS.values() if signal.state}
    assert named <= {name for name, signal in SIGNALS.items() if signal.own_word}
