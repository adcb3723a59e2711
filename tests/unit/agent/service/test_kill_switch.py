"""With the kill switch on nothing is begun, and what moves is seen to its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from scenes.simulated_world import POLICY, World

from agent.approve.approvers import DenyingApprover
from agent.archives.restore import restore
from agent.archives.wipe import wipe
from agent.execute.evacuation import Watcher
from agent.llm.choose import planner_named
from agent.service.control_loop import ControlLoop, PassOutcome
from models.errors import Halted
from models.evacuation import Attempt
from models.fleet import Fleet
from models.risk.risk import Risk


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.hands = replace(world.hands, kill_switch=tmp_path / "STOP")
    yield world
    world.journal.close()


def loop_over(world: World, watcher: Watcher | None = None) -> ControlLoop:
    def look() -> tuple[Fleet, list[Risk]]:
        return world.snapshot(), world.risks(("a",))

    return ControlLoop(
        hands=world.hands, policy=POLICY, look=look, planner=planner_named("solver", None), approver=DenyingApprover(),
        watcher=watcher or Watcher(),
    )  # fmt: skip


def where(world: World) -> dict[str, list[str]]:
    return {vm: world.fleet.running_on(vm) for vm in (world.web, world.db, world.batch)}


def test_while_it_is_on_a_node_at_the_trigger_is_looked_at_and_left_alone(world: World, tmp_path: Path) -> None:
    before, switch, loop = where(world), tmp_path / "STOP", loop_over(world)
    switch.touch()
    result = loop.run_once()
    assert result.outcome is PassOutcome.HALTED
    assert str(switch) in result.why
    assert where(world) == before
    switch.unlink()
    assert loop.run_once().outcome is PassOutcome.EVACUATED
    assert where(world)[world.web] != ["a"]


def test_put_on_in_the_middle_it_withdraws_what_has_not_begun(world: World, tmp_path: Path) -> None:
    over: list[Attempt] = []

    def ended(attempt: Attempt) -> None:
        over.append(attempt)
        (tmp_path / "STOP").touch()

    result = loop_over(world, Watcher(on_attempt_finished=ended)).run_once()
    assert result.evacuation is not None
    assert over
    left = [vm for vm, nodes in where(world).items() if nodes == ["a"]]
    assert left, "what had not begun stays"
    assert len(left) < 3, "what had begun is seen to its end"
    world.check_nothing_lost_or_doubled()


def test_archives_are_left_alone_as_well(world: World, tmp_path: Path) -> None:
    loop_over(world).run_once()
    (archive,) = world.store.entries()
    (tmp_path / "STOP").touch()
    with pytest.raises(Halted, match="nothing was changed"):
        restore(world.hands, archive.id, "b", start=True)
    with pytest.raises(Halted, match="nothing was changed"):
        wipe(world.hands, archive.id, by="ana")
    assert world.fleet.running_on(world.batch) == []


def test_a_switch_that_can_not_be_looked_at_counts_as_on(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    world.hands = replace(world.hands, kill_switch=tmp_path / "file" / "STOP")
    result = loop_over(world).run_once()
    assert result.outcome is PassOutcome.HALTED
    assert "can't be told" in result.why
