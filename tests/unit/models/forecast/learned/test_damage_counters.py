"""More damage is never good news: what the names say, and what a trained forecast does about it."""

from __future__ import annotations

import numpy as np
import pytest
from scenes.fleet_history import CUT

from models.forecast.learned import labels
from models.forecast.learned.damage_counters import damage
from models.forecast.learned.dataset import DAY, Dataset
from models.forecast.learned.predict import Forecast


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("smart_5.last", 1),
        ("smart_197_raw.change_30d", 1),
        ("memory: ce.count_7d", 1),
        ("edac_uncorrectable_errors.rises_total", 1),
        ("smart_5.since_rise", 0),
        ("smart_1.last", 0),
        ("smart_194.last", 0),
        ("temperature.last", 0),
        ("places.last", 0),
        ("hardware: cpu.count_7d", 0),
        ("age.observed", 0),
    ],
)
def test_only_counts_of_damage_are_held_to_one_direction(name: str, expected: int) -> None:
    assert damage(name) == expected


def test_with_all_else_alike_more_errors_never_lower_the_risk(fleet: Dataset, model: Forecast) -> None:
    pairs = labels.at_risk(fleet, labels.grid(CUT, CUT + 20 * DAY, 4 * DAY))
    features = model.features(fleet, pairs.unit, pairs.time)
    before = model.steps[0].score(features)
    for place in [k for k, name in enumerate(model.names) if damage(name)]:
        more = features.copy()
        more[:, place] += 3.0
        assert (model.steps[0].score(more) >= before - 1e-9).all(), model.names[place]
    assert np.isfinite(before).all()
