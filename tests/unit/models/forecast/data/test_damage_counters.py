"""Which names count damage, and what a trained forecast makes of more of it."""

from __future__ import annotations

import numpy as np
import pytest
from scenes.fleet_history import CUT

from models.forecast.data import labels
from models.forecast.data.damage_counters import is_damage
from models.forecast.data.dataset import DAY, Dataset
from models.forecast.learned.descriptions import parted
from models.forecast.learned.predict import Forecast


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("smart_5", True),
        ("smart_197_raw", True),
        ("memory: ce", True),
        ("edac_uncorrectable_errors", True),
        ("smart_1", False),
        ("smart_194", False),
        ("temperature", False),
        ("places", False),
        ("hardware: cpu", False),
        ("age", False),
    ],
)
def test_only_counts_of_damage_are_told_as_such(name: str, expected: bool) -> None:
    assert is_damage(name) == expected


def test_more_errors_raise_the_risk_of_a_fleet(fleet: Dataset, model: Forecast) -> None:
    """Of the fleet and of nine units in ten: for a single one, forests held to one direction rank real drives worse."""
    pairs = labels.at_risk(fleet, labels.grid(CUT, CUT + 20 * DAY, 4 * DAY))
    features = model.features(fleet, pairs.unit, pairs.time)
    before = model.steps[0].score(features)
    more = features.copy()
    counts = [k for k, name in enumerate(model.names) if is_damage(parted(name)[0])]
    rising = [
        k for k in counts if parted(model.names[k])[1].startswith(("last", "change_", "rises_", "count_", "total"))
    ]
    more[:, rising] += 3.0
    moved = model.steps[0].score(more) - before
    assert moved.mean() > 0.0
    assert (moved >= -1e-9).mean() > 0.9
    assert np.isfinite(before).all()
