"""One word against a node moves guests live and stops none; a second one, or a person, stops them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scenes.simulated_world import POLICY, World

from agent.approve.approvers import DenyingApprover
from agent.llm.choose import planner_named
from agent.service.control_loop import ControlLoop, PassOutcome
from agent.service.people.questions import Questions
from models.fleet import Fleet, Vm
from models.risk.risk import Risk
from models.risk.witness import Witness

ONE = {Witness.BMC_METRICS: {"2h": 0.95}}
TWO = {**ONE, Witness.BMC_LOG: {"2h": 0.18}}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.journal.close()


class Watched:
    """A loop over a world in which some nodes fail by the word of some witnesses, and `db` and `other` can't move live."""

    def __init__(self, world: World, said: dict[str, dict[Witness, dict[str, float]]]) -> None:
        self.world, self.said = world, said
        self.loop = ControlLoop(
            hands=world.hands,
            policy=POLICY,
            look=self._look,
            planner=planner_named("solver", None),
            approver=DenyingApprover(),
        )

    def _look(self) -> tuple[Fleet, list[Risk]]:
        fleet = self.world.snapshot()
        bound = [self._bound(vm) for vm in fleet.vms]
        risks = self.world.risks(tuple(self.said))
        told = [risk.model_copy(update={"witnesses": self.said.get(risk.node, {})}) for risk in risks]
        return fleet.model_copy(update={"vms": tuple(bound)}), told

    def _bound(self, vm: Vm) -> Vm:
        return vm.model_copy(update={"live_obstacle": "a device of the host"}) if vm.name in ("db", "other") else vm


def test_on_one_word_what_can_moves_live_nobody_is_stopped_and_then_a_person_is_asked(world: World) -> None:
    watched = Watched(world, {"a": ONE})
    first = watched.loop.run_once()
    assert first.outcome is PassOutcome.EVACUATED, first.why
    assert world.fleet.running_on(world.web) != ["a"]
    assert world.fleet.running_on(world.batch) != ["a"]
    assert world.store.entries() == [], "it consents to an archive, and was not archived"
    assert world.fleet.running_on(world.db) == ["a"]
    second = watched.loop.run_once()
    assert second.outcome is PassOutcome.REFUSED
    assert second.verdict is not None
    assert "only bmc-metrics speaks against a" in second.verdict.approval_why
    assert world.fleet.running_on(world.db) == ["a"]
    world.check_nothing_lost_or_doubled()


def test_a_second_word_ends_the_wait_at_once(world: World) -> None:
    watched = Watched(world, {"a": ONE})
    watched.loop.run_once()
    watched.loop.run_once()
    assert watched.loop.run_once().outcome is PassOutcome.IDLE, "nobody agreed: it cools down"
    watched.said["a"] = TWO
    assert watched.loop.run_once().outcome is PassOutcome.EVACUATED
    assert world.fleet.running_on(world.db) not in ([], ["a"])
    world.check_nothing_lost_or_doubled()


def test_a_question_about_the_word_of_one_is_void_once_a_second_speaks(world: World) -> None:
    watched = Watched(world, {"a": ONE})
    watched.loop.questions = Questions(hands=world.hands, policy=POLICY)
    watched.loop.run_once()
    assert watched.loop.run_once().outcome is PassOutcome.ASKED
    assert watched.loop.run_once().outcome is PassOutcome.WAITING
    watched.said["a"] = TWO
    assert watched.loop.run_once().outcome is PassOutcome.EVACUATED
    assert world.fleet.running_on(world.db) not in ([], ["a"])


def test_a_lie_about_one_node_does_not_hold_up_another(world: World) -> None:
    other = world.fleet.add_vm("b", "other", memory_bytes=1 << 30)
    world.fleet.add_node("d")
    world.fleet.add_node("e")
    world.fleet.add_node("f")
    watched = Watched(world, {"b": ONE, "a": TWO})
    first = watched.loop.run_once()
    assert first.outcome is PassOutcome.EVACUATED, first.why
    assert first.plan is not None
    assert first.plan.evacuating == ("a",)
    assert world.fleet.running_on(world.db) not in ([], ["a"])
    watched.loop.run_once()
    assert world.fleet.running_on(other) == ["b"]
    world.check_nothing_lost_or_doubled()
