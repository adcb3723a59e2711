"""Somebody sets the clock of lifeboat's host by an hour, in the middle of a move or of a recovery. SIMULATED nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from scenes.simulated_world import POLICY, World

from agent.actions.runner import recover_attempts
from models.evacuation import AttemptOutcome, EvacuationOutcome
from models.plan import ActionKind
from models.policy.policy import LimitPolicy
from tools.clock import SystemClock, VirtualClock, seconds_between
from tools.ports.records.attempts import AttemptEnded

HOUR = timedelta(hours=1)
SETTINGS = pytest.mark.parametrize("by", [-HOUR, HOUR], ids=["back", "forward"])
STEPS = ("tag_attempt", "migrate_live", "shut_down", "create_disk", "write_disk", "define", "start")


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.fleet.guests[world.db].dirty_bytes_per_second = 1e9  # too fast to move live: one of each kind
    yield world
    world.journal.close()


def at_step(world: World, monkeypatch: pytest.MonkeyPatch, step: str, do: Callable[[], Any]) -> None:
    """Have something happen once, right before any node is told to do `step`."""
    happened: list[None] = []
    for node in world.fleet.hypervisors().values():
        original = getattr(node, step)

        def then(*args: Any, original: Callable[..., Any] = original, **more: Any) -> Any:
            if not happened:
                happened.append(None)
                do()
            return original(*args, **more)

        monkeypatch.setattr(node, step, then)


def clock(world: World) -> VirtualClock:
    assert isinstance(world.fleet.clock, VirtualClock)
    return world.fleet.clock


@SETTINGS
@pytest.mark.parametrize("step", STEPS)
def test_a_clock_set_in_the_middle_of_a_move_changes_nothing(
    world: World, step: str, by: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step(world, monkeypatch, step, lambda: clock(world).set_wall_clock(by))
    evacuation = world.evacuate()
    assert evacuation.outcome is EvacuationOutcome.DONE
    assert {attempt.outcome for attempt in evacuation.attempts} == {AttemptOutcome.DONE}
    assert {attempt.action.kind for attempt in evacuation.attempts} == set(ActionKind) - {ActionKind.STAY}
    world.check_nothing_lost_or_doubled()
    world.journal.verify()


@SETTINGS
@pytest.mark.parametrize("step", STEPS)
def test_a_clock_set_between_a_crash_and_its_recovery_changes_nothing(
    world: World, step: str, by: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies() -> None:
        raise Killed

    at_step(world, monkeypatch, step, dies)
    with pytest.raises(Killed):
        world.evacuate()
    clock(world).set_wall_clock(by)
    at_step(world, monkeypatch, "start", lambda: clock(world).set_wall_clock(-by))
    recover_attempts(world.hands, POLICY)
    world.check_nothing_lost_or_doubled()
    outcomes = {entry.record.attempt.outcome for entry in world.journal.of(AttemptEnded)}
    assert AttemptOutcome.INDETERMINATE not in outcomes
    assert world.journal.locks() == {}


@SETTINGS
def test_a_migration_that_went_on_through_a_crash_is_still_this_lifeboats_own(
    world: World, by: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose job it is shows by its age, which libvirt counts by its own clock."""

    def dies() -> None:
        raise Killed

    at_step(world, monkeypatch, "job", dies)
    with pytest.raises(Killed):
        world.evacuate()
    clock(world).set_wall_clock(by)
    recover_attempts(world.hands, POLICY)
    world.check_nothing_lost_or_doubled()
    assert world.journal.locks() == {}


@SETTINGS
def test_an_evacuation_has_the_time_that_policy_gives_it_whatever_the_clock_says(
    world: World, by: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = LimitPolicy(evacuation_timeout=timedelta(minutes=10), outbound_per_node=1)
    at_step(world, monkeypatch, "migrate_live", lambda: clock(world).set_wall_clock(by))
    evacuation = world.evacuate(POLICY.model_copy(update={"limits": limits}))
    assert evacuation.outcome is EvacuationOutcome.DONE


@SETTINGS
def test_a_guest_that_stops_late_is_started_again_whatever_the_clock_says(world: World, by: timedelta) -> None:
    world.fleet.guests[world.batch].stop_seconds = 400.0
    world.evacuate()
    clock(world).set_wall_clock(by)
    recover_attempts(world.hands, POLICY)
    world.fleet.clock.sleep(400.0)
    recover_attempts(world.hands, POLICY)
    assert world.fleet.running_on(world.batch) == ["a"]


def test_uptime_is_told_apart_from_that_of_another_start() -> None:
    taken = SystemClock().uptime()
    later = SystemClock().seconds_since(taken)
    assert later is not None
    assert 0 <= later < 60
    assert seconds_between("first:10", "second:20") is None
    assert seconds_between("", "first:20") is None
    assert seconds_between("first:x", "first:20") is None
    assert seconds_between("first:12.5", "first:20") == 7.5
