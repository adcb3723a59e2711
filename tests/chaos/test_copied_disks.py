"""Disks that move along with a live migration: nothing of a move that did not happen stays at the target."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scenes.simulated_world import World

from models.errors import MigrationFailed
from models.evacuation import AttemptOutcome
from tools.simulated.migration import Phase
from tools.simulated.state import LOCAL_DIRECTORY

PATH = f"{LOCAL_DIRECTORY}/db-0.raw"


def where(world: World) -> set[str]:
    return {name for name, machine in world.fleet.machines.items() if PATH in machine.images}


def test_a_local_disk_is_where_the_vm_is(world: World) -> None:
    evacuation = world.evacuate()
    assert world.outcome(evacuation, world.db) is AttemptOutcome.DONE
    (node,) = world.fleet.running_on(world.db)
    assert where(world) == {"a", node}, "libvirt leaves the old image at the source; so do we"


def fails(_: World) -> None:
    raise MigrationFailed("the mirror broke")


FAULTS: list[Callable[[World], None]] = [fails, lambda w: [w.fleet.cut_link("a", n) for n in ("b", "c")] and None]


@pytest.mark.parametrize("phase", [Phase.BEGIN, Phase.COPYING, Phase.SWITCHOVER])
@pytest.mark.parametrize("fault", FAULTS, ids=["libvirt fails", "link cut"])
def test_a_move_that_failed_leaves_no_image_and_can_be_tried_again(
    world: World, phase: Phase, fault: Callable[[World], None]
) -> None:
    world.fleet.when(world.db, phase, lambda: fault(world))
    evacuation = world.evacuate()
    assert world.outcome(evacuation, world.db) is AttemptOutcome.FAILED
    assert world.fleet.running_on(world.db) == ["a"]
    assert where(world) == {"a"}
    world.fleet.mend_links()
    again = world.evacuate()
    assert world.outcome(again, world.db) is AttemptOutcome.DONE
    world.check_nothing_lost_or_doubled()


def test_an_image_that_was_there_before_is_nobodys_to_remove(world: World) -> None:
    for node in ("b", "c"):
        world.fleet.node(node).create_disk(PATH, format="raw", virtual_bytes=10)
    evacuation = world.evacuate()
    assert world.outcome(evacuation, world.db) is AttemptOutcome.REFUSED
    assert where(world) == {"a", "b", "c"}
    assert world.fleet.running_on(world.db) == ["a"]
