"""What has not begun is withdrawn when its node recovers or its target is no place for a vm any more. SIMULATED nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from scenes.simulated_world import POLICY, World

from agent.approve.approvers import DenyingApprover, PreapprovedBy
from agent.execute.evacuation import Run, Watcher
from agent.execute.withdrawal import TargetChanges, after_failed_look, changes_since, why_withdraw
from agent.guard.judge import judge
from agent.llm.choose import planner_named
from agent.plan.solver import plan as solve
from agent.service.control_loop import ControlLoop, PassOutcome, PassResult
from models.errors import MetricsUnavailable
from models.evacuation import Attempt, AttemptOutcome, EvacuationOutcome
from models.fleet import Fleet, Node, NodeState
from models.plan import Action, ActionKind
from models.policy.policy import DrainPolicy, LimitPolicy, TierPolicy
from models.risk.risk import Risk
from models.risk.risk_level import NodeRisk, RiskLevel
from models.risk.tier import NodeTier, Tier
from models.situation import Situation
from tools.ports.journal import Record
from tools.ports.records.evacuations import EvacuationEnded, PollFailed, TargetsChanged
from tools.simulated.migration import Phase

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ONE_BY_ONE = POLICY.model_copy(
    update={"limits": LimitPolicy(per_fleet=1), "tiers": TierPolicy(dwell=timedelta(0))},
)
MOVE = Action(kind=ActionKind.LIVE_MIGRATE, vm="x", source="a", target="b")
ARCHIVE = Action(kind=ActionKind.COLD_ARCHIVE, vm="x", source="a")


@pytest.mark.parametrize(
    ("tier", "stands", "by_risk", "recovered"),
    [
        (Tier.WATCH, RiskLevel.ACCEPTABLE, True, True),
        (Tier.WATCH, RiskLevel.ACCEPTABLE, False, False),
        (Tier.WATCH, RiskLevel.UNKNOWN, True, False),
        (Tier.CORDON, RiskLevel.ACCEPTABLE, True, False),
        (Tier.DRAIN, RiskLevel.ELEVATED, True, False),
        (Tier.EVACUATE, RiskLevel.TRIGGERED, True, False),
    ],
)
def test_a_source_has_recovered_only_when_it_is_watched_and_known(
    tier: Tier, stands: RiskLevel, by_risk: bool, recovered: bool
) -> None:
    seen = look(a=stands, tier=tier, by_risk=by_risk)
    assert ("a" in seen.recovered) is recovered
    assert (why_withdraw(ARCHIVE, seen) is not None) is recovered
    assert why_withdraw(ARCHIVE, after_failed_look(seen)) is None, "unknown is not healthy"


@pytest.mark.parametrize(
    ("state", "stands", "why"),
    [
        (NodeState.ACTIVE, RiskLevel.ACCEPTABLE, None),
        (NodeState.ACTIVE, RiskLevel.TRIGGERED, "P says so"),
        (NodeState.ACTIVE, RiskLevel.ELEVATED, "P says so"),
        (NodeState.ACTIVE, RiskLevel.UNKNOWN, "P says so"),
        (NodeState.OFFLINE, RiskLevel.ACCEPTABLE, "it is offline"),
        (NodeState.DRAINING, RiskLevel.ACCEPTABLE, "it is draining"),
        (None, RiskLevel.ACCEPTABLE, "not in the fleet any more"),
    ],
)
def test_nothing_moves_to_a_node_that_must_take_no_vm(
    state: NodeState | None, stands: RiskLevel, why: str | None
) -> None:
    seen = look(b=stands, state=state)
    said = why_withdraw(MOVE, seen)
    assert said == why_withdraw(MOVE, after_failed_look(seen))
    if why is None:
        assert said is None
    else:
        assert said is not None
        assert "target b" in said
        assert why in said
    assert why_withdraw(ARCHIVE, seen) is None, "an archive goes to no node"


@pytest.mark.parametrize(("recovered", "withdrawn"), [((), False), (("x",), False), (("x", "y"), True)])
def test_room_is_made_as_long_as_a_node_is_being_emptied(recovered: tuple[str, ...], withdrawn: bool) -> None:
    """`a` is none of those: its vm moves so that one of theirs finds room."""
    seen = TargetChanges(recovered=dict.fromkeys(recovered, "its tier is watch"))
    said = why_withdraw(MOVE, seen, evacuating=("x", "y"))
    assert (said == "nothing needs the room any more that it makes on a") is withdrawn
    assert why_withdraw(MOVE, seen) is None, "a plan that empties no node makes no room either"


def look(
    *, a: RiskLevel = RiskLevel.TRIGGERED, b: RiskLevel = RiskLevel.ACCEPTABLE, tier: Tier = Tier.EVACUATE, by_risk: bool = True,
    state: NodeState | None = NodeState.ACTIVE,
) -> TargetChanges:  # fmt: skip
    nodes = [Node(name="a", memory_bytes=1 << 30, cpus=1)]
    if state is not None:
        nodes.append(Node(name="b", memory_bytes=1 << 30, cpus=1, state=state))
    node_risks = {
        n: NodeRisk(node=n, level=s, probability=0.1, why="P says so", risk=None) for n, s in (("a", a), ("b", b))
    }
    tiers = {"a": NodeTier(node="a", tier=tier, since=NOW, upheld_at=NOW, why="why")}
    fleet = Fleet(observed_at=NOW, nodes=tuple(nodes), vms=())
    return changes_since(fleet, node_risks, tiers, by_risk=("a",) if by_risk else (), targets=("b",))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.journal.close()


class Agent:
    """A cycle on the world that looks again every second, and what it was told."""

    def __init__(self, world: World, then: Callable[[], list[Risk]]) -> None:
        """`then`: the risks that every look finds once the first move copies; it may raise."""
        self.world, self.turned, self.said, self.ended = world, False, list[str](), list[Attempt]()

        def look() -> tuple[Fleet, list[Risk]]:
            return world.snapshot(), then() if self.turned else world.risks()

        watcher = Watcher(on_message=self.said.append, on_attempt_finished=self.ended.append)
        self.cycle = ControlLoop(
            hands=world.hands, policy=ONE_BY_ONE, look=look, planner=planner_named("solver", None), approver=DenyingApprover(),
            watcher=watcher, look_again=timedelta(seconds=1),
        )  # fmt: skip
        for vm in (world.web, world.db):
            world.fleet.when(vm, Phase.COPYING, self.turn)

    def situation(self) -> Situation:
        fleet, risks = self.cycle.look()
        return Situation(fleet=fleet, risks=risks, policy=ONE_BY_ONE, now=self.world.fleet.clock.now())

    def turn(self) -> None:
        self.turned = True

    def outcomes(self, result: PassResult) -> list[AttemptOutcome | None]:
        assert result.outcome is PassOutcome.EVACUATED, result.why
        self.world.check_nothing_lost_or_doubled()
        return [attempt.outcome for attempt in self.ended]

    def recorded(self, kind: type[Record]) -> int:
        return len(self.world.journal.of(kind))


def test_a_node_that_recovers_keeps_what_has_not_begun(world: World) -> None:
    agent = Agent(world, lambda: world.risks(()))
    outcomes = agent.outcomes(agent.cycle.run_once())
    assert outcomes[0] is AttemptOutcome.DONE, "what had begun is finished"
    assert outcomes[-1] is AttemptOutcome.CANCELLED
    assert "not begun: node a has recovered (P(fails within 2 h)" in agent.ended[-1].message
    assert world.fleet.running_on(world.batch) == ["a"]
    assert agent.recorded(TargetsChanged) == 1
    assert any("node a has recovered" in line for line in agent.said)


def test_a_node_that_a_person_wants_left_is_left_though_it_recovers(world: World) -> None:
    agent = Agent(world, lambda: world.risks(()))
    agent.cycle.approver = PreapprovedBy("ana")
    now = world.fleet.clock.now()
    situation = Situation(fleet=world.snapshot(), risks=world.risks(()), policy=ONE_BY_ONE, now=now)
    made = solve(situation, asked=("a",))
    result = agent.cycle.execute_plan(made, judge(made, situation), situation, now)
    assert set(agent.outcomes(result)) == {AttemptOutcome.DONE}


def test_a_target_that_looks_risky_takes_nothing_more(world: World) -> None:
    agent = Agent(world, lambda: world.risks(("a", "b", "c")))
    outcomes = agent.outcomes(agent.cycle.run_once())
    moves = [(a.action.kind, a.outcome) for a in agent.ended]
    assert outcomes[0] is AttemptOutcome.DONE
    assert (ActionKind.LIVE_MIGRATE, AttemptOutcome.CANCELLED) in moves
    assert (ActionKind.COLD_ARCHIVE, AttemptOutcome.DONE) in moves, "the store is as good as before"
    (called_off,) = [a.message for a in agent.ended if a.outcome is AttemptOutcome.CANCELLED]
    assert "must take no vm now: P(fails) 0.95 reaches 0.5" in called_off


def test_a_vm_whose_target_sinks_goes_to_another_in_the_same_pass(world: World) -> None:
    sunk = ""

    def then() -> list[Risk]:
        now = world.fleet.clock.now()
        return [
            risk
            if risk.node != sunk
            else Risk(node=sunk, probability={"2h": 0.3}, data_age_seconds=1.0, assessed_at=now)
            for risk in world.risks()
        ]

    agent = Agent(world, then)
    first, second = [action for action in solve(agent.situation()).moves if action.kind is ActionKind.LIVE_MIGRATE][:2]
    sunk = second.target or ""
    assert sunk != first.target
    result = agent.cycle.run_once()
    agent.outcomes(result)
    tries = [attempt for attempt in agent.ended if attempt.action.vm == second.vm]
    assert [attempt.outcome for attempt in tries] == [AttemptOutcome.CANCELLED, AttemptOutcome.DONE]
    assert tries[1].action.target not in (sunk, "a")
    assert world.fleet.running_on(second.vm) == [tries[1].action.target]
    assert result.evacuation is not None
    assert result.evacuation.outcome is EvacuationOutcome.DONE


def test_a_drain_gives_way_when_its_node_has_to_be_evacuated(world: World) -> None:
    def day(worse: bool) -> list[Risk]:
        now = world.fleet.clock.now()
        curve = {"2h": 0.9, "24h": 0.95} if worse else {"2h": 0.05, "24h": 0.9}
        risks = [risk for risk in world.risks(()) if risk.node != "a"]
        return [*risks, Risk(node="a", probability=curve, data_age_seconds=1.0, assessed_at=now)]

    agent = Agent(world, lambda: day(worse=True))
    agent.cycle.look = lambda: (world.snapshot(), day(worse=agent.turned))
    agent.cycle.policy = ONE_BY_ONE.model_copy(update={"drain": DrainPolicy(act=True)})
    agent.outcomes(agent.cycle.run_once())
    drained = len(agent.ended)
    assert agent.ended[0].outcome is AttemptOutcome.DONE
    assert {attempt.outcome for attempt in agent.ended[1:]} == {AttemptOutcome.CANCELLED}
    assert "node a has to be evacuated now" in agent.ended[-1].message
    agent.outcomes(agent.cycle.run_once())
    kinds = {attempt.action.kind for attempt in agent.ended[drained:]}
    assert kinds == {ActionKind.LIVE_MIGRATE, ActionKind.COLD_ARCHIVE}, "an evacuation may stop guests, a drain may not"
    assert all(world.fleet.running_on(vm) != ["a"] for vm in (world.web, world.db, world.batch))


def test_what_was_approved_goes_on_when_nobody_can_look(world: World) -> None:
    def blind() -> list[Risk]:
        if len(agent.ended) < 3:
            raise MetricsUnavailable("Prometheus does not answer")
        return world.risks()

    agent = Agent(world, blind)
    assert set(agent.outcomes(agent.cycle.run_once())) == {AttemptOutcome.DONE}
    (said,) = [line for line in agent.said if "could not be looked at" in line]
    assert "what was approved goes on: Prometheus does not answer" in said
    assert agent.recorded(PollFailed) == 1


def test_while_an_evacuation_is_not_over_nothing_is_planned_or_written(world: World) -> None:
    Run(world.approved(), world.hands, "evac-paused").begin()
    agent = Agent(world, world.risks)
    before = agent.cycle.run_once(), len(world.journal.entries())
    result = agent.cycle.run_once()
    assert (result.outcome, result.plan) == (PassOutcome.WAITING, None)
    assert "a should be left, and evacuation evac-paused is not over" in result.why
    assert len(world.journal.entries()) == before[1]
    ended = EvacuationEnded(outcome=EvacuationOutcome.CANCELLED)
    world.journal.append(ended, now=world.fleet.clock.now(), evacuation="evac-paused")
    assert agent.cycle.run_once().outcome is PassOutcome.EVACUATED
