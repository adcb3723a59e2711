"""A sample is a scrape: the same machine seen every 15 seconds or every 10 minutes."""

from __future__ import annotations

import numpy as np
import pytest
from scenes.telemetry import SIGNALS, T0, Course, Floats, changed, steady

from models.forecast.limits.evidence import cadence_of, known_samples
from models.forecast.limits.node import assess_node
from models.risk.risk import Risk
from models.risk.signal import SignalHistory

RAIL = steady(12.06, spread=0.012, step=0.001)


def every(seconds: float, name: str, course: Course, at: float, *, part: str = "12V") -> SignalHistory:
    """A history whose last hours hold one sample a scrape, as an observation makes it."""
    recent = np.arange(T0 + at - max(1800.0, 14 * seconds), T0 + at + 0.1, seconds)
    day = np.arange(T0 + at - 86_400.0, recent[0] - 1.0, max(300.0, seconds))
    times = np.concatenate((day, recent))
    return SignalHistory(SIGNALS[name], "node-a", part, times, np.asarray(course(times - T0), dtype=np.float64))


def judged(*histories: SignalHistory, at: float) -> Risk:
    return assess_node("node-a", histories, [], now=T0 + at)


@pytest.mark.parametrize(("seconds", "at"), [(5, 600), (15, 600), (30, 600), (60, 600), (300, 3600)])
def test_a_rail_that_flutters_is_seen_at_any_interval(seconds: float, at: float) -> None:
    rng = np.random.default_rng(3)

    def flutter(t: Floats) -> Floats:
        return rng.uniform(-0.29, 0.29, t.shape)

    risk = judged(every(seconds, "psu_12v_volts", changed(RAIL, flutter, step=0.001), at), at=at)
    assert risk.probability["2h"] > 0.1
    assert "spread" in risk.drivers[0].why


@pytest.mark.parametrize("seconds", [15, 60, 300, 600])
@pytest.mark.parametrize("wild", [0.0, 25.5])
def test_one_wild_reading_moves_nothing_however_long_it_stands(seconds: float, wild: float) -> None:
    at = 3600.0

    def course(t: Floats) -> Floats:
        return np.where(t > at - seconds + 1.0, wild, RAIL(t))

    assert judged(every(seconds, "psu_12v_volts", course, at), at=at).probability["7d"] < 0.01


@pytest.mark.parametrize("seconds", [60, 300, 600])
def test_two_scrapes_that_agree_are_enough_where_scrapes_are_rare(seconds: float) -> None:
    at = 3600.0

    def course(t: Floats) -> Floats:
        return np.where(t > at - 2 * seconds + 1.0, 10.9, RAIL(t))

    assert judged(every(seconds, "psu_12v_volts", course, at), at=at).probability["2h"] > 0.9


def test_what_is_scraped_every_ten_minutes_is_neither_silent_nor_old_between_scrapes() -> None:
    history = every(600, "disk_reallocated_sectors", steady(8, step=1), 0.0, part="sda")
    for late in (60.0, 480.0, 590.0):
        risk = judged(history, at=late)
        assert risk.unknown == ()
        assert risk.data_age_seconds == 0.0
    overdue = judged(history, at=2400.0)
    assert overdue.unknown != ()
    assert overdue.data_age_seconds == 1800.0


def test_a_burst_within_one_scrape_is_no_storm_and_a_storm_is() -> None:
    quiet = steady(0, step=12)

    def storm(seconds: float) -> Risk:
        course = changed(quiet, lambda t: np.where(t < seconds, 1800.0, 0.0), step=12)
        return judged(every(60, "memory_corrected_errors_per_hour", course, 240.0, part="0"), at=240.0)

    assert storm(1e9).probability["2h"] < 0.01, "four minutes of a five minutes' window: one burst"
    lasting = changed(quiet, lambda t: np.full_like(t, 1800.0), step=12)
    later = judged(every(60, "memory_corrected_errors_per_hour", lasting, 900.0, part="0"), at=900.0)
    assert later.probability["2h"] > 0.5
    growing = changed(quiet, lambda t: 600.0 * np.floor(t / 60.0), step=12)
    assert (
        judged(every(60, "memory_corrected_errors_per_hour", growing, 240.0, part="0"), at=240.0).probability["2h"]
        > 0.5
    )


def test_a_counter_that_reads_0_for_a_while_and_goes_on_was_not_reset() -> None:
    course = changed(steady(400, step=1), lambda t: np.where((t >= 0) & (t < 120), -400.0, 0.0), step=1)
    history = every(60, "memory_uncorrected_errors", course, 600.0, part="0")
    assert known_samples(history)[1].max() == 400.0
    assert judged(history, at=600.0).probability["7d"] < 0.01


def test_the_cadence_is_that_of_the_newest_samples() -> None:
    assert cadence_of(np.array([0.0, 300.0, 600.0, *np.arange(615.0, 900.0, 15.0)])) == 15.0
    assert cadence_of(np.array([0.0])) == 0.0


def test_a_step_of_a_coarse_sensor_is_no_movement() -> None:
    """Steps of 0.06 V, of which a load that has just begun makes one."""

    def course(t: Floats) -> Floats:
        busy = (t % 43_200.0) > 42_000.0  # twice a day for a while, so that both values are usual
        return np.where(busy | (t > 0) & (np.sin(t / 50.0) > -0.3), 3.36, 3.30)

    assert judged(every(60, "rail_3v3_volts", course, 1100.0), at=1100.0).probability["24h"] < 0.05


def test_a_load_s_sag_to_where_the_rail_was_at_times_today_is_no_departure() -> None:
    def course(t: Floats) -> Floats:
        busy = (t > -40_000.0) & (t < -36_000.0)  # a job of an hour this morning
        sag = np.clip(t / 120.0, 0.0, 1.0)  # and one that begins now
        return np.round((12.10 - 0.08 * np.where(busy, 1.0, sag)) / 0.02) * 0.02

    for at in (120.0, 180.0, 240.0, 300.0):
        risk = judged(every(15, "psu_12v_volts", course, at), at=at)
        assert risk.probability["24h"] < 0.05, at

    def falling(t: Floats) -> Floats:
        return course(t) - np.where(t > 0, 0.0005 * t, 0.0)

    assert judged(every(15, "psu_12v_volts", falling, 600.0), at=600.0).probability["2h"] > 0.5, (
        "what goes on falling is"
    )


def test_what_only_grows_counts_although_it_has_grown_for_hours() -> None:
    def grown(t: Floats) -> Floats:
        return 3.0 + np.floor(np.maximum(t, 0.0) / 70.0)

    risk = judged(every(300, "scsi_uncorrected_errors", grown, 21_600.0, part="sdc"), at=21_600.0)
    assert "past its limit" in risk.drivers[0].why
    assert not any("does not fit" in line for line in risk.unknown)
