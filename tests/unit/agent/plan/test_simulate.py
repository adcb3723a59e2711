"""A plan in imagined futures: drawn from the node's own risk, the same luck for every strategy, and the same each time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes.topology import Topology

from agent.plan.simulate import simulate
from agent.plan.solver import plan
from models.planning.simulation import Simulation, StrategyOutcome
from models.situation import Situation


def dying(risk: float = 0.8) -> Topology:
    scene = Topology().node("a", risk=risk).node("b").node("c")
    for number, (gib, priority) in enumerate([(8, "low"), (2, "high"), (4, "normal"), (1, "high"), (6, "low")]):
        scene.vm(f"v{number}", on="a", gib=gib, priority=priority)
    return scene


def futures(situation: Situation, *, runs: int = 2000, seed: int = 1) -> Simulation:
    return simulate(situation, plan(situation), runs=runs, seed=seed)


def of(told: Simulation, strategy: str) -> StrategyOutcome:
    return next(one for one in told.strategies if one.strategy == strategy)


def test_the_strategies_in_the_order_they_are_told() -> None:
    told = futures(dying().situation, runs=10)
    assert [one.strategy for one in told.strategies] == ["nothing", "serial", "largest first", "the plan"]
    assert told.vms == 5
    assert of(told, "nothing").finish_seconds is None


@pytest.mark.parametrize("risk", [0.5, 0.8, 1.0])
def test_doing_nothing_loses_what_the_forecast_says(risk: float) -> None:
    situation = dying(risk).situation
    made = plan(situation)
    nothing = of(simulate(situation, made, runs=4000), "nothing")
    assert nothing.lost_mean == pytest.approx(5 * risk, abs=0.15)
    assert nothing.lost_weight_mean == pytest.approx(made.expected_loss_if_nothing_is_done, rel=0.05)


def test_a_node_that_is_sure_to_fail_takes_all_that_stayed() -> None:
    scene = Topology().node("a", risk=1.0).vm("x", on="a", migratable=False, cold_obstacle="a mediated device")
    for one in futures(scene.situation).strategies:
        assert (one.saved.p50, one.saved.p95, one.lost_mean) == (0, 0, 1)


def test_a_node_that_can_not_fail_takes_nothing() -> None:
    scene = Topology().node("a", risk=0.0).node("b").vm("x", on="a")
    situation = scene.situation
    told = simulate(situation, plan(situation, asked=["a"]), runs=500)
    assert {one.saved.p95 for one in told.strategies} == {1}


def test_the_plan_loses_no_more_than_the_others_where_time_is_short() -> None:
    situation = dying().situation
    risks = [
        r.model_copy(update={"probability": {"2m": 0.7, "2h": 0.8}}) if r.node == "a" else r
        for r in situation.risks or ()
    ]
    told = futures(Situation(fleet=situation.fleet, risks=risks, policy=situation.policy, now=situation.now), runs=4000)
    ours = of(told, "the plan").lost_weight_mean
    assert ours < of(told, "serial").lost_weight_mean
    assert ours < of(told, "largest first").lost_weight_mean


def test_the_same_seed_gives_the_same_figures_and_another_others() -> None:
    situation = dying().situation
    assert futures(situation, runs=300) == futures(situation, runs=300)
    assert futures(situation, runs=300, seed=2) != futures(situation, runs=300)


def test_half_the_runs_end_sooner_than_95_of_100() -> None:
    for one in futures(dying().situation).strategies[1:]:
        assert one.finish_seconds is not None
        assert one.downtime_seconds is not None
        assert 0 < one.finish_seconds.p50 <= one.finish_seconds.p95
        assert 0 < one.downtime_seconds.p50 <= one.downtime_seconds.p95


def test_room_is_made_before_it_is_needed_whatever_the_strategy() -> None:
    scene = Topology(target={"memory_headroom": 0}).node("a", risk=0.8).vm("x", on="a", gib=16, priority="high")
    scene.node("b").vm("r", on="b", gib=8, priority="low").vm("b1", on="b", gib=40, migratable=False)
    scene.node("c").vm("c1", on="c", gib=50, migratable=False)
    told = futures(scene.situation, runs=200)
    assert told.vms == 1
    assert all(one.saved.p50 == 1 for one in told.strategies[1:])


def test_no_run_is_no_simulation() -> None:
    situation = dying().situation
    with pytest.raises(ValueError, match="0 runs"):
        simulate(situation, plan(situation), runs=0)


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(runs=st.integers(1, 50), seed=st.integers(0, 1000), risk=st.sampled_from([0.5, 0.9]))
def test_figures_stay_within_what_there_is(runs: int, seed: int, risk: float) -> None:
    told = futures(dying(risk).situation, runs=runs, seed=seed)
    for one in told.strategies:
        assert 0 <= one.saved.p95 <= one.saved.p50 <= told.vms
        assert 0 <= one.lost_mean <= told.vms
