"""A plan in many imagined futures, beside doing nothing, one migration after the other, and the largest first.

Description: each run draws when every node fails (from its own risk curve), how much slower or faster each move is than the
move model says, and which moves stall. All strategies live through the same draws, with the plan's own kinds and targets, so that
what differs is order and what runs beside what.
Requirements: pure; the same seed gives the same figures.
Limitations: targets do not fail, a move that stalled is not tried again, and a failed node takes down what has not yet left it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from agent.plan.timing.lane_clock import LaneClock
from agent.plan.timing.waves import NotExecutable, pack, schedule
from models.fleet import VmState
from models.plan import Plan
from models.planning.schedule import Move, Timing
from models.planning.simulation import Simulation, Spread, StrategyOutcome
from models.situation import Situation

THROUGHPUT_SIGMA = 0.12
"""spread of a move's speed around the model's, log-normal: within ± 20 % for 9 of 10 moves, the accuracy asked of the model"""
STALL_SHARE = 0.02
"""moves that stall. An assumption, not a measurement; a stalled one is aborted at policy's `migration.stuck_after`"""
Floats = NDArray[np.float64]


def simulate(situation: Situation, plan: Plan, *, runs: int, seed: int = 1) -> Simulation:
    """`runs` futures of the nodes that `plan` empties. Raises ValueError for fewer than one, or a vm that is not in the fleet."""
    if runs < 1:
        raise ValueError(f"{runs} runs")
    fleet, policy = situation.fleet, situation.policy
    moves = [
        Move(vm=fleet.vm_by_uuid[a.vm], kind=a.kind, source=fleet.vm_by_uuid[a.vm].node, target=a.target)
        for a in plan.moves
    ]
    chance = np.random.default_rng(seed)
    draws = {name: chance.random(runs) for name in plan.evacuating}
    for event in situation.domain_events:  # what takes them along is one event: each has its own time, one luck decides
        together = [name for name in event.nodes if name in draws]
        draws.update(dict.fromkeys(together, draws[together[0]]) if together else {})
    fails = {name: _failure_times(name, situation, draws[name]) for name in plan.evacuating}
    # By vm, so that a vm meets the same luck in every strategy.
    speed = {m.vm.uuid: np.exp(chance.normal(0.0, THROUGHPUT_SIGMA, runs)) for m in moves}
    stalls = {m.vm.uuid: chance.random(runs) < STALL_SHARE for m in moves}
    planned = _as_planned(plan, moves)
    in_order = [move for waves in planned for wave in waves for move in wave]
    strategies: list[tuple[str, list[list[list[Move]]]]] = [
        ("nothing", []),
        (
            "serial",
            [[[move] for move in _room_first(sorted(moves, key=lambda m: (m.vm.name, m.vm.uuid)), in_order, plan)]],
        ),
        ("largest first", [_largest_first(moves, in_order, plan, situation)]),
        ("the plan", planned),
    ]
    leaving = [vm for name in plan.evacuating for vm in fleet.vms_on(name)]
    outcomes: list[StrategyOutcome] = []
    for name, lanes in strategies:
        waves = [wave for each in lanes for wave in each]
        timings = schedule(waves, fleet, policy) if len(lanes) < 2 else _side_by_side(lanes, situation)
        done, finish, downtime = _played(lanes, timings, speed, stalls, situation, runs)
        lost = np.zeros(runs)
        lost_weight = np.zeros(runs)
        for vm in leaving:
            gone = fails[vm.node] < done.get(vm.uuid, np.full(runs, np.inf))
            # What fails after the horizon is another day's plan.
            gone &= fails[vm.node] <= situation.horizon_seconds
            lost += gone
            lost_weight += gone * policy.weights.of(vm.priority)
        outcomes.append(
            StrategyOutcome(
                strategy=name,
                saved=Spread(
                    p50=len(leaving) - float(np.quantile(lost, 0.5, method="higher")),
                    p95=len(leaving) - float(np.quantile(lost, 0.95, method="higher")),
                ),
                lost_mean=round(float(lost.mean()), 4),
                lost_weight_mean=round(float(lost_weight.mean()), 4),
                finish_seconds=_spread(finish) if waves else None,
                downtime_seconds=_spread(downtime) if waves else None,
            )
        )
    return Simulation(
        runs=runs, seed=seed, vms=len(leaving), horizon_seconds=situation.horizon_seconds, strategies=tuple(outcomes)
    )


def _as_planned(plan: Plan, moves: Sequence[Move]) -> list[list[list[Move]]]:
    """The plan's moves by lane and wave."""
    lanes: dict[int, dict[int, list[Move]]] = {}
    for action, move in zip(plan.moves, moves, strict=True):
        lanes.setdefault(action.lane, {}).setdefault(action.wave, []).append(move)
    return [[waves[number] for number in sorted(waves)] for _, waves in sorted(lanes.items())]


def _side_by_side(lanes: Sequence[Sequence[Sequence[Move]]], situation: Situation) -> dict[str, Timing]:
    moves = [move for waves in lanes for wave in waves for move in wave]
    number = {move.vm.uuid: n for n, move in enumerate(moves)}
    each = [[number[move.vm.uuid] for wave in waves for move in wave] for waves in lanes]
    return LaneClock(moves=moves, situation=situation).timings(each)


def _failure_times(node: str, situation: Situation, draws: Floats) -> Floats:
    """When the node fails in each run, seconds; infinite when not within the horizon. The risk curve read the other way."""
    at, p = np.array(situation.risk_curve(node)).T
    rising = np.concatenate(([True], np.diff(p) > 0))
    return np.where(draws < p[-1], np.interp(draws, p[rising], at[rising]), np.inf)


def _room_first(ordered: Sequence[Move], planned: Sequence[Move], plan: Plan) -> list[Move]:
    """The order, with what makes room ahead and in the plan's order: without it nothing else would fit."""
    making = [move for move in planned if move.source not in plan.evacuating]
    return [*making, *(move for move in ordered if move.source in plan.evacuating)]


def _largest_first(
    moves: Sequence[Move], planned: Sequence[Move], plan: Plan, situation: Situation
) -> list[list[Move]]:
    """As many at once as policy's limits and convergence allow."""
    ordered = _room_first(sorted(moves, key=lambda m: (-m.vm.memory_bytes, m.vm.uuid)), planned, plan)
    making = [[move] for move in ordered if move.source not in plan.evacuating]
    rest = [move for move in ordered if move.source in plan.evacuating]
    try:
        return [*making, *pack(rest, situation.fleet, situation.policy, growth_share=1.0)]
    except NotExecutable:  # without room to wait for, nothing ever waits
        return [[move] for move in ordered]


def _played(
    lanes: Sequence[Sequence[Sequence[Move]]],
    timings: Mapping[str, Timing],
    speed: Mapping[str, Floats],
    stalls: Mapping[str, NDArray[np.bool_]],
    situation: Situation,
    runs: int,
) -> tuple[dict[str, Floats], Floats, Floats]:
    """(when each vm is safe, when all is over, how long all together did not answer), each by run."""
    limit = situation.policy.migration.timeout.total_seconds()
    stuck = situation.policy.migration.stuck_after.total_seconds()
    finish, downtime = np.zeros(runs), np.zeros(runs)
    done: dict[str, Floats] = {}
    for waves in lanes:
        start = np.zeros(runs)
        for wave in waves:
            end = start.copy()
            for move in wave:
                timing = timings[move.vm.uuid]
                never = timing.live is not None and not timing.live.converges
                took = np.full(runs, limit) if never else timing.seconds / speed[move.vm.uuid]
                failed = stalls[move.vm.uuid] | never
                took = np.where(stalls[move.vm.uuid], took / 2 + stuck, took)
                done[move.vm.uuid] = np.where(failed, np.inf, start + took)
                end = np.maximum(end, start + took)
                if move.vm.state is VmState.RUNNING and not never:
                    pause = timing.downtime if timing.live is not None else timing.downtime / speed[move.vm.uuid]
                    downtime += np.where(failed, 0.0, pause)
            start = end
        finish = np.maximum(finish, start)
    return done, finish, downtime


def _spread(values: Floats) -> Spread:
    return Spread(p50=round(float(np.quantile(values, 0.5)), 3), p95=round(float(np.quantile(values, 0.95)), 3))
