"""A target whose libvirt can't take a guest is found out before the guest is stopped. SIMULATED."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scenes.simulated_world import World

from agent.actions.runner import needs_recovery, recover_attempts
from models.errors import NodeUnreachable
from models.evacuation import Attempt, AttemptOutcome
from models.plan import ActionKind
from models.policy.policy import Policy
from tools.ports.records.attempts import MoveRefused, ShutdownIntended
from tools.simulated.node import SimulatedNode


def cold_move(world: World) -> Attempt:
    """Of db, which snapshots keep from moving live."""
    world.fleet.machines["a"].domains[world.db].snapshots = 1
    attempt = world.evacuate().attempt_for(world.db)
    assert attempt is not None
    assert attempt.action.kind is ActionKind.COLD_MIGRATE
    return attempt


CAN_NOT: dict[str, tuple[Callable[[str], str | None], str]] = {
    "refuses it": (lambda xml: None, "does not take the definition"),
    "does not know a disk of it": (
        lambda xml: xml.replace("<disk", "<was").replace("</disk", "</was"),
        "knows no disk",
    ),
}


@pytest.mark.parametrize("what", CAN_NOT)
def test_a_target_that_can_not_take_the_guest_is_found_out_before_it_is_stopped(world: World, what: str) -> None:
    takes, said = CAN_NOT[what]
    for name in ("b", "c"):
        world.fleet.machines[name].takes_definition = takes
    attempt = cold_move(world)
    assert attempt.outcome is AttemptOutcome.FAILED
    assert said in attempt.message
    assert "as it was found" in attempt.message
    assert world.journal.of(ShutdownIntended, attempt=attempt.id) == []
    assert world.fleet.known_on(world.db) == ["a"]
    (refused,) = world.journal.of(MoveRefused)
    assert (refused.record.move, refused.record.target) == (ActionKind.COLD_MIGRATE, attempt.action.target)
    world.check_nothing_lost_or_doubled()


def test_a_target_that_goes_silent_with_the_definition_costs_the_guest_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def define_and_fall_silent(node: SimulatedNode) -> Callable[[str], str]:
        def try_definition(xml: str) -> str:
            node.define(xml)
            world.fleet.cut_off(node.name)
            raise NodeUnreachable(f"node {node.name} does not answer")

        return try_definition

    for name in ("b", "c"):
        monkeypatch.setattr(world.fleet.node(name), "try_definition", define_and_fall_silent(world.fleet.node(name)))
    attempt = cold_move(world)
    assert attempt.outcome is AttemptOutcome.FAILED, attempt.message
    assert attempt.action.target is not None
    assert "its definition may be left" in attempt.message
    assert world.fleet.running_on(world.db) == ["a"]
    assert world.fleet.known_on(world.db) == sorted({"a", attempt.action.target})
    world.fleet.reconnect()
    assert needs_recovery(world.journal)
    recover_attempts(world.hands, Policy())
    assert world.fleet.known_on(world.db) == ["a"]
    assert world.fleet.running_on(world.db) == ["a"]
    assert not needs_recovery(world.journal)
    world.check_nothing_lost_or_doubled()
