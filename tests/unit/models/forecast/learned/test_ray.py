"""`--backend ray`: the cluster takes the jobs, the same model comes out. Skipped where ray is not installed (`lifeboat[ray]`)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_config
from scenes.fleet_history import CUT, QUICK, START

from agent.cli.forecast import _running_on
from models.errors import BadInput
from models.forecast.data.dataset import DAY, Dataset
from models.forecast.learned import train as training
from models.forecast.learned.predict import Forecast, score

AT = int(START.timestamp() * 1_000_000) + 90 * DAY


@pytest.fixture(scope="module")
def ray() -> Iterator[object]:
    ray = pytest.importorskip("ray", reason="ray is not installed: lifeboat[ray]")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    yield ray
    ray.shutdown()


@pytest.mark.filterwarnings("ignore")
def test_ray_takes_the_jobs_and_the_same_model_comes_out(
    ray: object, fleet: Dataset, model: Forecast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHUNK", 1000)  # features in several jobs, too
    with _running_on("ray"):
        assert os.getpid() not in Parallel(n_jobs=2, prefer="threads")([delayed(os.getpid)() for _ in range(3)])
        there = training.train(fleet, [3 * DAY, 7 * DAY], until=CUT, settings=QUICK)
    units = np.arange(len(fleet.units))
    times = np.full(units.size, AT)
    np.testing.assert_array_equal(score(there, fleet, units, times), score(model, fleet, units, times))
    assert there.about == model.about


def test_features_built_in_several_jobs_give_the_same_model(
    fleet: Dataset, model: Forecast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHUNK", 1000)
    with parallel_config(backend="threading", n_jobs=2):
        chunked = training.train(fleet, [3 * DAY, 7 * DAY], until=CUT, settings=QUICK)
    units = np.arange(len(fleet.units))
    times = np.full(units.size, AT)
    np.testing.assert_array_equal(score(chunked, fleet, units, times), score(model, fleet, units, times))


def test_another_backend_is_one_line() -> None:
    with pytest.raises(BadInput, match="neither threads nor ray"), _running_on("dask"):
        pass
