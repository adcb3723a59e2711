"""One trained model for all tests of this folder: training is the slow part."""

from __future__ import annotations

import pytest
from scenes.fleet_history import CUT, QUICK, frames

from models.forecast.data.dataset import DAY, Dataset, build
from models.forecast.learned.predict import Forecast
from models.forecast.learned.train import train


@pytest.fixture(scope="session")
def fleet() -> Dataset:
    return build(frames())


@pytest.fixture(scope="session")
def model(fleet: Dataset) -> Forecast:
    return train(fleet, [3 * DAY, 7 * DAY], until=CUT, settings=QUICK)
