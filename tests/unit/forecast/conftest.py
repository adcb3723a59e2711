"""One trained model for all tests of this folder: training is the slow part."""

from __future__ import annotations

from pathlib import Path

import pytest
from scenes.fleet_history import CUT, QUICK, frames

from models.forecast.dataset import DAY, Dataset, build
from models.forecast.predict import Forecast
from models.forecast.train import train


@pytest.fixture(scope="session")
def fleet() -> Dataset:
    return build(frames())


@pytest.fixture(scope="session")
def model(fleet: Dataset) -> Forecast:
    return train(fleet, [3 * DAY, 7 * DAY], until=CUT, settings=QUICK)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What trains a model takes minutes: `./dev test -m learning`."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.stem in (
            "test_forecast_learns",
            "test_forecast_commands",
        ):
            item.add_marker(pytest.mark.learning)
