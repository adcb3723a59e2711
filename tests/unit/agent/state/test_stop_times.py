"""What earlier stops took is what the next is expected to take; policy's limit is a deadline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scenes.simulated_world import POLICY, World

from agent.state.refusals import fleet_as_known
from models.fleet import Fleet
from models.migration.estimate import archive_seconds


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.journal.close()


def known(world: World) -> Fleet:
    return fleet_as_known(world.snapshot(), world.journal, POLICY, world.fleet.clock.now())


def test_before_anything_was_stopped_the_limit_counts(world: World) -> None:
    assert all(vm.stop_seconds is None for vm in known(world).vms)


def test_after_an_archive_every_running_guest_is_expected_to_stop_about_as_fast(world: World) -> None:
    evacuation = world.evacuate()
    took = evacuation.attempt_for(world.batch)
    assert took is not None
    assert took.measured.seconds
    before, after = world.snapshot(), known(world)
    assert after.digest() == before.digest(), "what was learned voids no approval"
    web = after.vm_by_uuid[world.web]
    assert web.stop_seconds == took.measured.seconds
    source = after.node_by_name[web.node]
    limit = POLICY.archive.shutdown_timeout.total_seconds()
    spared = archive_seconds(before.vm_by_uuid[world.web], source, 1, POLICY) - archive_seconds(web, source, 1, POLICY)
    assert spared == pytest.approx(limit - min(limit, took.measured.seconds))
