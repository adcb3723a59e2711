"""One suite for every implementation of a port."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scenes.hypervisor_worlds import LabWorld, SimulatedWorld, World
from scenes.postgres_server import postgres_server  # noqa: F401  a fixture

from tools.ports.migration import MigrationOptions


@pytest.fixture(scope="session")
def lab_world() -> Iterator[LabWorld]:
    from lab.lifecycle.down import down
    from lab.lifecycle.up import up
    from lab.nodes.preflight import preflight

    missing = preflight()
    if missing:
        pytest.skip(f"no lab here: {'; '.join(str(thing) for thing in missing)}")
    name = "port" + os.environ.get("PYTEST_XDIST_WORKER", "")
    down(name)
    world = LabWorld(up(name, print, bare=True))
    yield world
    world.close()
    down(name)


@pytest.fixture(params=["simulated", pytest.param("libvirt", marks=pytest.mark.lab)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "simulated":
        yield SimulatedWorld()
        return
    lab_world: LabWorld = request.getfixturevalue("lab_world")
    lab_world.settle()
    yield lab_world


@pytest.fixture
def options() -> Callable[..., MigrationOptions]:
    def make(**changed: Any) -> MigrationOptions:
        defaults: dict[str, Any] = {
            "tls": True,
            "max_downtime_seconds": 0.5,
            "timeout_seconds": 180.0,
            "auto_converge": True,
            "post_copy": False,
            "parallel_connections": 0,
            "bandwidth_bytes_per_second": None,
            "copy_disks": (),
        }
        return MigrationOptions(**(defaults | changed))

    return make
