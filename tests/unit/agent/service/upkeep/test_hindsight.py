"""Looking back, from the agent's passes to `lifeboat hindsight`; and shadow mode."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scenes.command_line import lifeboat, work_in
from scenes.simulated_world import POLICY, World

from agent.approve.approvers import DenyingApprover
from agent.llm.choose import planner_named
from agent.service.control_loop import ControlLoop, PassOutcome
from agent.service.upkeep.hindsight import HindsightKeeper
from models.fleet import Fleet, NodeState
from models.policy.policy import Autonomy, Policy
from models.risk.risk import Risk
from tools.ports.records.attempts import AttemptIntended
from tools.ports.records.hindsight import DecisionScored, NodesSeen, RisksNoted, ShadowDecided


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path)
    work_in(tmp_path, monkeypatch, settings=f"state_dir: {tmp_path}\n")
    monkeypatch.setattr("tools.clock.SystemClock", lambda: world.fleet.clock)
    yield world
    world.journal.close()


class Agent:
    """The loop, with what it is shown."""

    def __init__(self, world: World, policy: Policy = POLICY) -> None:
        self.world = world
        self.failing: tuple[str, ...] = ()
        self.silent: set[str] = set()
        self.loop = ControlLoop(
            hands=world.hands,
            policy=policy,
            look=self.look,
            planner=planner_named("solver", None),
            approver=DenyingApprover(),
            hindsight=HindsightKeeper(world.journal),
        )

    def look(self) -> tuple[Fleet, list[Risk]]:
        fleet = self.world.snapshot()
        nodes = tuple(
            node.model_copy(update={"state": NodeState.OFFLINE}) if node.name in self.silent else node
            for node in fleet.nodes
        )
        return fleet.model_copy(update={"nodes": nodes}), self.world.risks(self.failing)

    def hours(self, count: float) -> None:
        for _ in range(int(count)):
            self.world.fleet.clock.sleep(3600)
            self.loop.run_once()


def told(*arguments: str) -> dict[str, Any]:
    code, said = lifeboat("hindsight", *arguments, "--json")
    assert code == 0
    return json.loads(said)


def test_an_evacuation_of_a_node_that_worked_on_was_not_needed(world: World) -> None:
    agent = Agent(world)
    agent.failing = ("a",)
    assert agent.loop.run_once().outcome is PassOutcome.EVACUATED
    assert told()["decisions"] == [], "too early"
    agent.failing = ()
    agent.hours(26)
    (entry,) = world.journal.of(DecisionScored)
    assert (entry.record.hindsight, entry.record.decision.node) == ("unneeded", "a")
    (decision,) = told()["decisions"]
    assert decision["hindsight"] == "unneeded"
    assert decision["decision"]["probability"] == 0.95
    assert len(decision["decision"]["guests"]) == 3
    calibration = told()["calibration"]
    assert calibration["evacuations"] == {"averted": 0, "unneeded": 1, "missed": 0, "unknowable": 0}
    assert calibration["seconds"]["moves"] == 3
    code, said = lifeboat("hindsight")
    assert code == 0
    assert "carried out: 0 averted, 1 unneeded" in said
    assert "needed: 0 of 1 (0% to 79%)" in said


def test_whether_an_emptied_node_failed_is_for_a_person_to_say(world: World) -> None:
    agent = Agent(world)
    agent.failing = ("a",)
    agent.loop.run_once()
    agent.failing, agent.silent = (), {"a"}
    agent.hours(26)
    (decision,) = told()["decisions"]
    assert decision["hindsight"] == "unknowable"
    assert "whether it failed or was switched off nobody told" in decision["why"]
    id_ = decision["decision"]["id"]
    assert lifeboat("hindsight", "correct", id_, "averted", "--why", "its board was dead")[0] == 0
    (decision,) = told()["decisions"]
    assert decision["hindsight"] == "averted"
    assert decision["corrected_by"].startswith("terminal:")
    assert decision["why"].endswith("says so: its board was dead")
    assert lifeboat("hindsight", "correct", "evac-never", "averted")[0] == 2
    assert lifeboat("hindsight", "correct", id_, "maybe")[0] == 2


def test_advice_that_nobody_took_before_a_node_fell_silent_was_missed(world: World) -> None:
    agent = Agent(world, Policy())
    agent.failing = ("a",)
    assert agent.loop.run_once().outcome is PassOutcome.REFUSED
    agent.silent = {"a"}
    agent.hours(3)
    (decision,) = told()["decisions"]
    assert decision["hindsight"] == "missed"
    assert "needs a human" in decision["why"]


def test_a_node_that_nobody_thought_of_was_missed_as_well(world: World) -> None:
    agent = Agent(world)
    agent.loop.run_once()
    agent.silent = {"a"}
    agent.hours(3)
    (decision,) = told()["decisions"]
    assert (decision["hindsight"], decision["decision"]["occasion"]) == ("missed", "none")
    assert told()["calibration"]["unadvised"] == 1


def test_little_is_written_while_nothing_happens_and_a_restart_writes_nothing_again(world: World) -> None:
    agent = Agent(world)
    for _ in range(5):
        agent.loop.run_once()
        world.fleet.clock.sleep(60)
    world.reopen()
    Agent(world).loop.run_once()
    assert len(world.journal.of(NodesSeen)) == 1
    (noted,) = world.journal.of(RisksNoted)
    assert (noted.record.probability, noted.record.others) == ({}, 3)


def test_in_shadow_mode_nothing_moves_and_what_would_have_is_kept_and_judged(world: World) -> None:
    agent = Agent(world, POLICY.model_copy(update={"autonomy": Autonomy.SHADOW}))
    agent.failing = ("a",)
    result = agent.loop.run_once()
    assert result.outcome is PassOutcome.SHADOW
    assert result.why == "would have moved 3 vms off a; nothing was done (autonomy: shadow)"
    assert world.journal.of(AttemptIntended) == []
    assert world.fleet.running_on(world.web) == ["a"]
    assert agent.loop.run_once().outcome is PassOutcome.IDLE, "said once a cooldown"
    assert len(world.journal.of(ShadowDecided)) == 1
    machines = world.fleet.machines
    machines["b"].domains[world.web] = machines["a"].domains.pop(world.web)  # a person does the same
    agent.failing = ()
    agent.hours(26)
    (decision,) = told()["decisions"]
    assert (decision["hindsight"], decision["decision"]["occasion"]) == ("unneeded", "shadow")
    assert told()["agreement"]["people_did_the_same"]["count"] == 1
    assert told()["agreement"]["people_did_the_same"]["of"] == 3
    assert "(shadow)" in lifeboat("hindsight")[1]
