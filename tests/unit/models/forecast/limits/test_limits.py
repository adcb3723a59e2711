"""What the limits model calls dangerous, what it lets pass, and how it says so. Telemetry by hand or SYNTHETIC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scenes.telemetry import SIGNALS, T0, Course, Floats, changed, seen, steady

from lab.hardware import physics, replay
from lab.hardware.trajectory import KINDS, Fault
from models.forecast.limits.node import CAP, assess_node
from models.risk.risk import Risk
from models.risk.signal import Component, HardwareEvent, HardwareEventKind, Severity, SignalHistory

RAIL = steady(12.10, spread=0.008, step=0.02)
HARMLESS = 0.1
"""A node above this takes no vm (the default policy): a harmless change must stay below."""


def risk_of(*histories: SignalHistory, events: tuple[HardwareEvent, ...] = (), at: float = 0.0) -> Risk:
    return assess_node("node-a", histories, events, now=T0 + at)


def highest(name: str, course: Course, *, until: float) -> float:
    """The highest P(2h) over some forty looks from before T0 on."""
    looks = np.arange(-10.0, until, max(5.0, until / 40.0))
    return max(risk_of(seen(name, course, float(at)), at=float(at)).probability["2h"] for at in looks)


# ---- what is let pass ----


@pytest.mark.parametrize(
    ("name", "course", "until"),
    [
        ("psu_12v_volts", RAIL, 60),
        ("psu_12v_volts", changed(RAIL, lambda t: np.full_like(t, -0.10), step=0.02), 200),
        ("psu_12v_volts", changed(RAIL, lambda t: np.full_like(t, -0.20), step=0.02), 200),
        ("psu_12v_volts", changed(steady(12.1, spread=0.02, step=0.06), lambda t: np.full_like(t, -0.12), step=0.06), 200),
        ("psu_12v_volts", changed(RAIL, lambda t: np.where(t < 5, -12.1, 0.0)), 60),
        ("psu_12v_volts", changed(RAIL, lambda t: np.where(t < 5, 0.9, 0.0)), 60),
        ("psu_input_volts", changed(steady(230, spread=0.5, step=1), lambda t: np.where(t < 40, -8.0, 0.0), step=1), 120),
        ("psu_input_volts", lambda t: np.round(230 + 1.5 * np.sin(t / 150.0) + np.cos(t / 1100.0)), 3600),
        ("psu_input_volts", steady(120, spread=1, step=1), 15),
        ("psu_input_volts", steady(208, spread=1, step=1), 15),
        ("fan_speed_rpm", steady(1500, spread=30, step=40), 15),
        ("cpu_temperature_celsius", changed(steady(45, spread=0.5, step=1), lambda t: 32 * (1 - np.exp(-t / 60)), step=1), 600),
        ("fan_speed_rpm", changed(steady(8000, spread=30, step=40), lambda t: -4000 * (1 - np.exp(-t / 30)), step=40), 400),
        ("memory_corrected_errors", changed(steady(3, step=1), np.ones_like, step=1), 60),
        ("target_up", changed(steady(1, step=1), lambda t: -np.ones_like(t), step=1), 120),
        ("disk_reallocated_sectors", steady(8, step=1), 15),
    ],
    ids=[
        "a healthy rail", "a load step of 0.1 V", "a load step of 0.2 V", "a load step on a coarse sensor", "one reading of 0 V",
        "one reading too high", "a dip of the mains",
        "a mains voltage that wanders", "a 120 V feed", "a 208 V feed", "slow fans", "full load after a quiet day",
        "fans slowing down", "one more corrected error", "an exporter that is down", "old reallocated sectors",
    ],
)  # fmt: skip
def test_harmless(name: str, course: Course, until: float) -> None:
    assert highest(name, course, until=until) < HARMLESS


def test_healthy_machines_are_calm_for_a_day() -> None:
    """A few nodes here; bench/limits_replay.py does hundreds of node-days."""
    for seed in range(2):
        machine = physics.Machine("node-a", seed, T0)
        for hour in np.arange(0.0, 24.0, 3.7):
            now = T0 + hour * 3600.0
            histories = replay.histories(machine, replay.grid(now, interval=15.0), signals=list(SIGNALS.values()))
            assert assess_node("node-a", histories, [], now=now).probability["2h"] < 0.01


# ---- what is seen ----


def test_the_demo_s_power_supply_is_noticed_within_40_seconds_before_any_alarm() -> None:
    """Flutter of 75 s, then errors: P(2h) must be at 0.9 within 20 to 40 s, without one record in the log."""
    for seed in range(4):
        machine, fault = (
            physics.Machine("node-a", seed, T0),
            Fault(node="node-a", kind="psu", onset=T0, seconds_to_errors=75.0, seconds_to_death=125.0),
        )
        assert look(machine, fault, -5.0) < 0.01
        assert max(look(machine, fault, at) for at in (25.0, 30.0, 35.0, 40.0)) >= 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_each_fault_of_the_lab_is_seen_with_time_to_spare(kind: str) -> None:
    """At the lab's default tempo (errors after 6 minutes, death after 10), telemetry alone, two minutes before the end."""
    fault = Fault(node="node-a", kind=kind, onset=T0, seconds_to_errors=360.0, seconds_to_death=600.0)  # pyright: ignore[reportArgumentType]
    assert look(physics.Machine("node-a", 1, T0), fault, 480.0) >= 0.5


def look(machine: physics.Machine, fault: Fault, at: float) -> float:
    times = replay.grid(T0 + at, interval=5.0)
    histories = replay.histories(machine, times, [fault], signals=list(SIGNALS.values()))
    return assess_node("node-a", histories, [], now=T0 + at).probability["2h"]


def test_a_level_past_its_limit_counts_in_full_after_three_samples() -> None:
    risk = risk_of(seen("psu_12v_volts", changed(RAIL, lambda t: np.full_like(t, -0.8)), 15.0), at=15.0)
    assert risk.probability["2h"] > 0.9
    assert risk.drivers[0].why.startswith("part: 11.30 V, past its limit, limit 11.40 V")


def test_a_fault_that_lasts_for_hours_does_not_become_the_usual() -> None:
    risk = risk_of(
        seen("psu_status", changed(steady(0, step=1), lambda t: np.full_like(t, 2.0)), 3 * 3600.0), at=3 * 3600.0
    )
    assert risk.probability["2h"] > 0.3
    assert risk.drivers[0].why == "part: 2, usually 0"


def test_a_rail_that_stays_near_its_limit_stays_dangerous() -> None:
    risk = risk_of(seen("psu_12v_volts", changed(RAIL, lambda t: np.full_like(t, -0.64), step=0.02), 1800.0), at=1800.0)
    assert risk.probability["24h"] > 0.5


def test_flutter_is_told_before_the_limit_is_near() -> None:
    def flutter(t: Floats) -> Floats:
        return 0.08 * np.sign(np.sin(t / 5.0 * 2.4))

    risk = risk_of(seen("psu_12v_volts", changed(RAIL, flutter, step=0.02), 120.0), at=120.0)
    assert risk.probability["2h"] < 0.5
    assert re.search(r"spread \d+ × its healthy one", risk.drivers[0].why)


def test_a_driver_reads_like_a_person_would_say_it() -> None:
    sag = changed(RAIL, lambda t: -0.0002 * t, step=0.02)
    risk = risk_of(seen("psu_12v_volts", sag, 1800.0, part="PSU1 12V Out"), at=1800.0)
    assert re.fullmatch(
        r"PSU1 12V Out: 11\.7\d V, falling 0\.\d\d V/h, limit 11\.40 V, usually 12\.10", risk.drivers[0].why
    )


def test_a_hostile_part_name_can_not_write_on_the_terminal() -> None:
    sunk = changed(RAIL, lambda t: np.full_like(t, -0.8))
    risk = risk_of(seen("psu_12v_volts", sunk, 60.0, part="\x1b[2J\u202eUSP\n"), at=60.0)
    assert not re.search(r"[\x00-\x1f\u202e]", risk.drivers[0].why)


# ---- unknown is never healthy ----


def test_no_telemetry_is_no_age_and_no_word_of_health() -> None:
    risk = assess_node("node-a", [], [], now=T0, unread={"metrics": "Prometheus is unreachable"})
    assert risk.data_age_seconds is None
    assert risk.unknown == ("metrics: Prometheus is unreachable",)


def test_nan_is_unknown() -> None:
    risk = risk_of(seen("psu_12v_volts", lambda t: np.full_like(t, np.nan), 0.0))
    assert risk.data_age_seconds is None
    assert risk.unknown == ("psu_12v_volts part: nothing but NaN reported",)


def test_a_sensor_that_vanished_is_a_driver_and_unknown() -> None:
    gone = seen("psu_12v_volts", lambda t: np.where(t < -3600, 12.1, np.nan), 0.0, part="PSU1 12V Out")
    there = seen("rail_5v_volts", steady(5.05, spread=0.003), 0.0)
    risk = risk_of(gone, there)
    assert risk.unknown == ("psu_12v_volts PSU1 12V Out: not reported for 65 min",)
    assert risk.drivers[0].why.startswith("power: psu_12v_volts PSU1 12V Out no longer reported")
    assert risk.probability["2h"] > risk_of(there).probability["2h"]
    assert risk.data_age_seconds == 0.0


def test_what_a_part_said_last_still_counts_when_it_falls_silent() -> None:
    dying = changed(RAIL, lambda t: np.where(t < 60, -0.8, np.nan))
    risk = risk_of(seen("psu_12v_volts", dying, 300.0), at=300.0)
    assert risk.probability["2h"] > 0.9
    assert risk.drivers[0].why.startswith("part: 11.3")
    assert risk.drivers[0].why.endswith("not reported for 4 min")
    assert risk.unknown == ("psu_12v_volts part: not reported for 4 min",)


def test_a_healthy_part_that_falls_silent_is_unknown_within_minutes() -> None:
    quiet = seen("psu_12v_volts", changed(RAIL, lambda t: np.where(t < 5, 0.0, np.nan)), 180.0)
    risk = risk_of(quiet, at=180.0)
    assert risk.unknown == ("psu_12v_volts part: not reported for 3 min",)
    assert [driver.why for driver in risk.drivers] == ["power: psu_12v_volts part no longer reported; it was before"]


def test_the_age_is_that_of_the_newest_sample_or_scrape() -> None:
    old = seen("psu_12v_volts", changed(RAIL, lambda t: np.where(t < 40, 0.0, np.nan)), 100.0)
    assert risk_of(old, at=100.0).data_age_seconds == 65.0
    repeated = seen("psu_12v_volts", RAIL, 100.0)
    scrape = seen("scrape_age_seconds", lambda t: np.maximum(t, 3.0), 100.0, part="")
    assert risk_of(repeated, scrape, at=100.0).data_age_seconds == 100.0, (
        "Prometheus repeats the last sample for 5 minutes"
    )


def test_a_rate_that_goes_on_after_the_last_sample_does_not_make_the_data_young() -> None:
    """Prometheus computes a rate over five minutes for as long after a node's death."""
    gone = seen("psu_12v_volts", lambda t: np.where(t <= 0, 12.1, np.nan), 200.0)
    rate = seen("memory_corrected_errors_per_hour", np.zeros_like, 200.0)
    up = seen("target_up", lambda t: np.where(t <= 0, 1.0, 0.0), 200.0)
    assert risk_of(gone, rate, up, at=200.0).data_age_seconds == 200.0


def test_where_there_are_only_rates_the_scrapes_date_them() -> None:
    rate = seen("cpu_throttles_per_hour", np.zeros_like, 200.0)
    scrape = seen("scrape_age_seconds", lambda t: np.maximum(t, 3.0), 200.0, part="")
    assert risk_of(rate, scrape, at=200.0).data_age_seconds == 200.0
    assert risk_of(rate, at=200.0).data_age_seconds is None


@pytest.mark.parametrize(
    ("promql", "looks_back"),
    [
        ("rate(x[5m])", True),
        ('x{name=~"[+]?12"}', False),
        ('max(increase(x{d!~"a[0-9]"}[5m]))', True),
        ("max(x)", False),
    ],
)
def test_which_promql_looks_back(promql: str, looks_back: bool) -> None:
    assert SIGNALS["psu_12v_volts"].model_copy(update={"promql": promql}).looks_back is looks_back


def test_a_textfile_nobody_writes_makes_what_comes_through_it_unknown() -> None:
    age = seen("textfile_age_seconds", lambda t: np.where(t < 0, 5.0, t), 900.0, part="/srv/smart.prom")
    assert risk_of(age, seen("psu_12v_volts", RAIL, 900.0), at=900.0).unknown == (
        "textfile /srv/smart.prom: not written for 15 min; what comes through it is old",
    )


def test_a_limit_that_never_fitted_is_not_used_and_says_so() -> None:
    (line,) = risk_of(seen("fan_speed_rpm", steady(1200, spread=1, step=40), 0.0)).unknown
    assert re.fullmatch(
        r"fan_speed_rpm part: its limit 2000 rpm does not fit: it was well at 1200; set its own limits", line
    )


@pytest.mark.parametrize("level", [5.0, 0.0])
def test_without_a_past_another_kind_of_part_is_not_a_failing_one(level: float) -> None:
    risk = risk_of(seen("psu_12v_volts", steady(level, step=1), 0.0, no_past=True))
    assert risk.probability["2h"] < 0.01
    assert "another kind of part" in risk.unknown[0]


def test_without_a_past_a_documented_limit_keeps_vms_away_and_drains_nothing() -> None:
    risk = risk_of(seen("psu_12v_volts", steady(11.2, spread=0.01, step=0.02), 0.0, no_past=True))
    assert 0.1 < risk.probability["2h"] <= risk.probability["24h"] < 0.25
    assert risk.drivers[0].why.endswith("it has no past to compare with")


def test_samples_from_the_future_and_of_other_nodes_are_left_aside() -> None:
    now, later = (
        seen("psu_12v_volts", RAIL, 0.0),
        seen("psu_12v_volts", changed(RAIL, lambda t: np.full_like(t, -2.0)), 600.0),
    )
    other = seen("psu_12v_volts", steady(10.0, step=0.02), 0.0, node="node-b")
    assert risk_of(later.until(T0 + 600), at=0.0).probability["2h"] < 0.01
    assert risk_of(now, other).drivers == ()


def test_a_counter_reset_is_no_rise() -> None:
    rebooted = seen("memory_corrected_errors", lambda t: np.where(t < -60, 4000.0, 0.0), 0.0)
    assert risk_of(rebooted).drivers == ()


# ---- hardware events ----


def event(kind: str, severity: str, *, ago: float = 60.0, asserted: bool = True, part: str = "PSU1") -> HardwareEvent:
    return HardwareEvent(
        node="node-a", time=datetime.fromtimestamp(T0, UTC) - timedelta(seconds=ago), kind=HardwareEventKind(kind),
        component=Component.POWER, severity=Severity(severity), part=part, asserted=asserted,
    )  # fmt: skip


def after(*events: HardwareEvent) -> float:
    return risk_of(seen("psu_12v_volts", RAIL, 0.0), events=events).probability["2h"]


def test_events_weigh_by_severity_age_and_number() -> None:
    critical, warning = event("voltage", "critical"), event("voltage", "warning")
    assert after(critical) > after(warning) > after() + 0.1
    assert after(critical) > after(event("voltage", "critical", ago=6 * 3600.0)) > 0.1
    assert after(event("voltage", "critical", ago=4 * 86_400.0)) == after()
    again = [event("link-down", "warning", ago=10.0 * n, part="eno1") for n in range(1, 9)]
    assert after(*again) > after(again[0]) + 0.1


def test_a_condition_that_went_away_counts_for_less_but_still_counts() -> None:
    went = after(event("temperature", "critical", ago=600), event("temperature", "critical", ago=60, asserted=False))
    assert after() + 0.01 < went < after(event("temperature", "critical", ago=600))


def test_boots_and_links_coming_up_add_nothing() -> None:
    assert after(event("boot", "info"), event("link-up", "info"), event("other", "critical")) == after()


def test_an_event_from_far_in_the_future_is_not_believed() -> None:
    assert after(event("voltage", "critical", ago=-86_400.0)) == after()
    assert after(event("voltage", "critical", ago=-30.0)) > 0.5, "a log's clock may be a little ahead"


def test_the_sum_never_claims_certainty() -> None:
    everything = [
        event(kind, "critical", part=f"{kind}{n}")
        for kind in ("voltage", "temperature", "machine-check", "memory-uncorrected", "disk-io")
        for n in range(5)
    ]
    assert after(*everything) == CAP
