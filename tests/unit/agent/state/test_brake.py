"""What the journal remembers for the brake: own moves, others' moves, and a breaker that waits for a person."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from scenes.command_line import lifeboat, work_in
from scenes.simulated_world import POLICY, World

from agent.approve.approvers import DenyingApprover, PreapprovedBy
from agent.execute.evacuation import Watcher
from agent.guard.judge import judge
from agent.llm.choose import planner_named
from agent.plan.solver import plan as solve
from agent.service.control_loop import ControlLoop, PassOutcome
from agent.state.brake import past_moves
from models.brake import emptied_today
from models.fleet import Fleet
from models.past_moves import Mover
from models.policy.policy import DrainPolicy, Policy
from models.risk.risk import Risk
from models.situation import Situation
from tools.ports.records.brake import BreakerReset, BreakerTripped


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path)
    work_in(tmp_path, monkeypatch, settings=f"state_dir: {tmp_path}\n")
    monkeypatch.setattr("tools.clock.SystemClock", lambda: world.fleet.clock)
    yield world
    world.journal.close()


def agent(world: World, *failing: str, policy: Policy = POLICY, said: list[str] | None = None) -> ControlLoop:
    def look() -> tuple[Fleet, list[Risk]]:
        return world.snapshot(), world.risks(failing)

    return ControlLoop(
        hands=world.hands,
        policy=policy,
        look=look,
        planner=planner_named("solver", None),
        approver=DenyingApprover(),
        watcher=Watcher(on_message=(said if said is not None else []).append),
    )


def later(world: World, minutes: float) -> None:
    world.fleet.clock.sleep(minutes * 60)


def carried(world: World, vm: str, source: str, target: str) -> None:
    """Somebody else moves it."""
    machines = world.fleet.machines
    machines[target].domains[vm] = machines[source].domains.pop(vm)


def test_a_storm_that_lasts_stops_everything_until_a_person_resets_it_over_restarts_too(world: World) -> None:
    stormy = agent(world, "a", "b")
    assert stormy.run_once().outcome is PassOutcome.REFUSED
    assert world.journal.of(BreakerTripped) == []
    later(world, 6)
    assert "storm" in stormy.run_once().why
    (trip,) = world.journal.of(BreakerTripped)
    assert trip.record.nodes == ("a", "b")
    later(world, 60 * 30)
    world.reopen()
    result = agent(world, "a").run_once()
    assert result.outcome is PassOutcome.REFUSED
    assert "the breaker tripped at" in result.why
    assert "lifeboat breaker reset" in result.why
    assert json.loads(lifeboat("status", "--json")[1])["breaker"]["rule"] == "storm"
    code, said = lifeboat("resume")
    assert (code, "`lifeboat breaker reset`" in said) == (2, True)
    code, said = lifeboat("breaker", "reset", "--why", "a switch was rebooted")
    assert code == 0
    assert "by storm: 2 of 3 active nodes look risky" in said
    (entry,) = world.journal.of(BreakerReset)
    assert entry.record.by.startswith("terminal:")
    assert entry.record.why == "a switch was rebooted"
    assert agent(world, "a").run_once().outcome is PassOutcome.EVACUATED
    assert lifeboat("breaker", "reset")[0] == 2
    world.check_nothing_lost_or_doubled()


def test_storms_that_come_and_go_within_the_hour_are_one(world: World) -> None:
    agent(world, "a", "b").run_once()
    later(world, 2)
    agent(world).run_once()
    later(world, 40)
    agent(world, "a", "b").run_once()
    assert len(world.journal.of(BreakerTripped)) == 1


def test_the_cap_of_a_day_trips_it_and_a_person_has_the_count_begin_anew(world: World) -> None:
    policy = POLICY.model_copy(update={"churn": POLICY.churn.model_copy(update={"guests_a_day": 2})})
    loop = agent(world, "a", policy=policy)
    result = loop.run_once()
    assert "day-cap" in result.why
    assert world.fleet.running_on(world.web) == ["a"]
    assert "by day-cap" in lifeboat("breaker")[1]
    lifeboat("breaker", "reset")
    assert "day-cap" in loop.run_once().why, "three at once are over the cap, whoever counts"


def test_only_policys_people_reset_it_where_it_names_any(world: World) -> None:
    (world.directory / "policy.yaml").write_text(
        "approval: {people: {ana: ['terminal:somebody-else']}, approvers: [{may: [ana]}]}"
    )
    (world.directory / "lifeboat.yaml").write_text(f"state_dir: {world.directory}\npolicy_file: policy.yaml\n")
    world.journal.append(BreakerTripped(rule="storm", why="all of them"), now=world.fleet.clock.now())
    code, said = lifeboat("breaker", "reset")
    assert (code, "none of policy's people" in said) == (3, True)
    assert "tripped" in lifeboat("breaker")[1]


def test_what_somebody_else_moved_is_said_once_and_left_alone(world: World) -> None:
    said: list[str] = []
    loop = agent(world, said=said)
    loop.run_once()
    carried(world, world.web, "a", "b")
    loop.run_once()
    loop.run_once()
    assert said == ["somebody else moved web from a to b: lifeboat leaves it alone for a while"]
    loop.look = agent(world, "b").look
    result = loop.run_once()
    assert result.outcome is PassOutcome.NOTHING_TO_MOVE
    assert result.plan is not None
    assert "somebody else moved it from a to b" in result.plan.actions[0].reason
    later(world, 11)
    assert loop.run_once().outcome is PassOutcome.EVACUATED
    assert world.fleet.running_on(world.web) != ["b"]


def test_own_moves_are_not_taken_for_somebody_elses(world: World) -> None:
    said: list[str] = []
    loop = agent(world, "a", said=said)
    assert loop.run_once().outcome is PassOutcome.EVACUATED
    loop.run_once()
    assert not [line for line in said if "somebody else" in line]
    past = past_moves(world.journal, world.fleet.clock.now())
    assert {move.by for move in past.moves} == {Mover.LIFEBOAT}
    assert all(move.emptied for move in past.moves)


def test_what_was_moved_back_while_lifeboat_was_stopped_is_noticed_at_its_first_look(world: World) -> None:
    agent(world, "a").run_once()
    (now_on,) = world.fleet.running_on(world.web)
    carried(world, world.web, now_on, "a")
    world.reopen()
    later(world, 31)
    said: list[str] = []
    agent(world, said=said).run_once()
    assert said == [f"somebody else moved web from {now_on} to a: lifeboat leaves it alone for a while"]


def test_beside_a_balancer_a_drain_waits_and_says_so(world: World) -> None:
    policy = POLICY.model_copy(
        update={
            "drain": DrainPolicy(act=True),
            "churn": replace_field(POLICY, others_moves=2),
        }
    )
    loop = agent(world, policy=policy)
    loop.run_once()
    carried(world, world.web, "a", "b")
    carried(world, world.batch, "a", "b")
    now = world.fleet.clock.now()
    loop.look = lambda: (
        world.snapshot(),
        [
            Risk(node=n, probability={"2h": 0.05, "24h": p}, data_age_seconds=1.0, assessed_at=now)
            for n, p in {"a": 0.4, "b": 0.05, "c": 0.05}.items()
        ],
    )
    result = loop.run_once()
    assert result.outcome is PassOutcome.REFUSED
    assert "vm db can wait: somebody else moves vms: 2 moves in the last 30m" in result.why
    assert world.fleet.running_on(world.db) == ["a"]


def replace_field(policy: Policy, **fields: object) -> object:
    return policy.churn.model_copy(update=fields)


def test_what_a_person_asked_for_counts_towards_no_cap_and_still_cools_the_vms_down(world: World) -> None:
    """Two of three nodes are emptied for a repair by hand; the third may still be left when it fails."""
    quiet = agent(world)
    now = world.fleet.clock.now()
    situation = Situation(fleet=world.snapshot(), risks=world.risks(()), policy=POLICY, now=now)
    made = solve(situation, asked=("a",))
    quiet.approver = PreapprovedBy("ana")
    assert quiet.execute_plan(made, judge(made, situation), situation, now).outcome is PassOutcome.EVACUATED
    past = past_moves(world.journal, now)
    assert past.moves
    assert all(move.asked and move.emptied for move in past.moves)
    fleet = world.snapshot().model_copy(update={"past_moves": past})
    assert emptied_today(fleet, world.fleet.clock.now()) == set()
    assert Situation(fleet=fleet, risks=[], policy=POLICY, now=world.fleet.clock.now()).held


def test_yesterdays_moves_are_forgotten(world: World) -> None:
    agent(world, "a").run_once()
    assert past_moves(world.journal, world.fleet.clock.now()).moves
    assert past_moves(world.journal, world.fleet.clock.now() + timedelta(hours=25)).moves == ()
