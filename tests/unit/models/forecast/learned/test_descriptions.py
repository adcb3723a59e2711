"""Drivers as an operator reads them: units, windows, what is usual; no feature names."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scenes.fleet_history import CUT

from models.forecast.data import labels
from models.forecast.data.dataset import DAY, Dataset
from models.forecast.learned import descriptions as wording
from models.forecast.learned.explain import drivers_of
from models.forecast.learned.predict import Forecast

NAN = math.nan
SMART = {"last": (14.0, 0.0), "change_total": (14.0, 0.0), "change_7.5d": (0.0, 0.0), "change_30d": (12.0, 0.0)}


@pytest.mark.parametrize(
    ("feature", "subject", "what"),
    [
        ("smart_5.last", "smart_5", "last"),
        ("smart_5.change_7.5d", "smart_5", "change_7.5d"),
        ("disk.temp.spread_30d", "disk.temp", "spread_30d"),
        ("memory: ecc v1.2.count_90d", "memory: ecc v1.2", "count_90d"),
        ("events.rate_in_system_21d", "events", "rate_in_system_21d"),
        ("size_tb", "size_tb", "size_tb"),
    ],
)
def test_a_feature_is_parted_where_its_subject_ends(feature: str, subject: str, what: str) -> None:
    assert wording.parted(feature) == (subject, what)


def test_a_count_that_rose() -> None:
    said = wording.of_signal("smart_187", SMART)
    assert said == "smart_187 (reported uncorrectable errors): 14, rose by 12 in 30 d; half of the healthy units have 0"


def test_a_value_that_stands_one_that_is_not_there_and_a_clock() -> None:
    still = {"last": (30.0, 31.5), "change_7d": (0.0, 0.0), "since_change": (12.0, 1.0)}
    assert (
        wording.of_signal("fan_1", still)
        == "fan_1: 30, unchanged for 12 d; half of the healthy units have 31.5 or less"
    )
    assert wording.of_signal("fan_1", {"last": (NAN, 31.5)}) == "fan_1: not reported; most healthy units report it"
    hours = {"last": (17549.0, 12474.0), "change_7d": (168.0, 168.0)}
    assert "rose" not in wording.of_signal("power_on_hours", hours, clock=True)


def test_a_fluttering_voltage() -> None:
    values = {"last": (11.9, 12.1), "change_7d": (-0.2, 0.0), "spread_7d": (0.31, 0.02)}
    said = wording.of_signal("psu_12v", values)
    assert said.startswith("psu_12v: 11.9, fell by 0.2 in 7 d, varies by 0.31 over 7 d, healthy units by 0.02")


def test_failures_of_a_node() -> None:
    counts = {"since": (2.0, 90.0), "count_7d": (1.0, 0.0), "count_90d": (3.0, 0.0), "count_364d": (4.0, 1.0)}
    said = wording.of_events("events", counts, ("its system", 0.8))
    assert said == "events: 3 in 90 d, the last 2.0 d ago; usual for its system 0.2"
    none = {"since": (NAN, 90.0), "count_7d": (0.0, 0.0), "count_90d": (0.0, 0.0)}
    assert wording.of_events("memory", none, None) == "memory events: none so far"


def test_a_drive_model_with_its_record() -> None:
    said = wording.of_category("model", "ST3000DM001", 14.6 / 36_500, 5.0 / 36_500)
    assert said == "model ST3000DM001: 14.6 failures per 100 units and year, 5 in the whole fleet"
    assert wording.of_category("model", "X", NAN, NAN) == "model X"


def test_no_feature_name_reaches_the_reader(fleet: Dataset, model: Forecast) -> None:
    pairs = labels.at_risk(fleet, np.array([CUT + 5 * DAY]))
    for entry in drivers_of(model, model.builder(fleet), pairs.unit[:20], pairs.time[:20], 1, most=20):
        for driver in entry["drivers"]:  # type: ignore[attr-defined]
            why = driver["why"]
            assert not any(jargon in why for jargon in ("nan", "count_", "rate_", "since", "change_", "_7d")), why
            assert "\n" not in why
