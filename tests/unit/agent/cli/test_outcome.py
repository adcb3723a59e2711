"""How a command ends that carried something out: by what was seen afterwards, and whatever is gone meanwhile. SIMULATED."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scenes.simulated_world import POLICY, World

from agent.approve.approvers import DenyingApprover
from agent.cli.outcome import exit_code_of, unproven_moves
from agent.execute.evacuation import Watcher
from agent.service.control_loop import ControlLoop, PassOutcome
from agent.verify import verify
from models.errors import MetricsUnavailable
from models.evacuation import AttemptOutcome, EvacuationOutcome
from models.fleet import Fleet
from models.risk.risk import Risk


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.journal.close()


def test_a_guest_that_somebody_started_during_its_archive_is_not_reported_safe(world: World) -> None:
    before = world.snapshot()
    done = world.evacuate()
    assert world.outcome(done, world.batch) is AttemptOutcome.DONE
    assert exit_code_of(done) == 0
    assert unproven_moves(done, verify(done, before, world.hands)) == []
    world.fleet.node("a").start(world.batch)
    (check,) = unproven_moves(done, verify(done, before, world.hands))
    assert check.name == "vm batch"


def test_a_terminal_that_is_gone_ends_no_attempt(world: World) -> None:
    def gone(*_: object) -> None:
        raise OSError(5, "Input/output error")

    watcher = Watcher(on_progress=gone, on_attempt_finished=gone, on_message=gone, should_withdraw=gone)
    evacuation = world.evacuate(watcher=watcher)
    assert evacuation.outcome is EvacuationOutcome.DONE
    world.check_nothing_lost_or_doubled()


def test_what_can_not_be_read_afterwards_does_not_hide_how_it_ended(world: World) -> None:
    looks = 0

    def look() -> tuple[Fleet, list[Risk]]:
        nonlocal looks
        looks += 1
        if world.journal.locks() == {} and world.fleet.running_on(world.batch) == []:
            raise MetricsUnavailable("Prometheus is gone")
        return world.snapshot(), world.risks()

    approved = world.approved()
    loop = ControlLoop(
        hands=world.hands, policy=POLICY, look=look, planner=lambda *_: approved.plan, approver=DenyingApprover()
    )
    result = loop.run_once()
    assert result.outcome is PassOutcome.EVACUATED
    assert result.evacuation is not None
    assert result.evacuation.outcome is EvacuationOutcome.DONE
    assert result.fleet_after is None
