"""Whether a plan passes a scene: by its end state alone, never by how it was told or who made it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from agent.evals.scene import Scene
from agent.evals.true_world import TrueOutcome, true_outcome
from agent.guard.judge import judge
from models.base import Value
from models.plan import ActionKind, Plan

BETTER = 0.8
"""a scene of judgement is passed at this share of the solver's true loss"""
AS_GOOD = 1.05
"""any other at this"""
SLACK = 0.01
"""of true loss: the worth of a hundredth of the least vm"""


class Score(Value):
    """One plan in one scene."""

    passed: bool
    faults: tuple[str, ...]
    """why not, one line each"""
    true_loss: float
    solver_true_loss: float
    true_loss_if_nothing_is_done: float


def score(scene: Scene, plan: Plan, by_solver: Plan, *, planner: str) -> Score:
    """The end state of a plan against what the scene asks. `planner`: who was asked; a plan that somebody else had to stand in
    for scores nothing where there was something to do."""
    carried_out = plan if judge(plan, scene.situation).passed else None
    theirs = by_solver if judge(by_solver, scene.situation).passed else None
    mine, solvers = true_outcome(scene, carried_out), true_outcome(scene, theirs)
    faults = list(_faults(scene, carried_out, mine))
    if scene.needs_action:
        if plan.planned_by.planner != planner:
            faults.insert(0, f"no plan of its own: {plan.planned_by.fallback_reason or 'it was not asked'}")
        limit = BETTER if scene.truth.better_than_solver else scene.truth.expected.more_loss_than_solver or AS_GOOD
        if mine.loss > solvers.loss * limit + SLACK:
            faults.append(f"true loss {mine.loss:g}, the solver's plan {solvers.loss:g}: at most {limit:g} times that")
    return Score(
        passed=not faults,
        faults=tuple(faults),
        true_loss=mine.loss,
        solver_true_loss=solvers.loss,
        true_loss_if_nothing_is_done=true_outcome(scene, None).loss,
    )


def _faults(scene: Scene, plan: Plan | None, outcome: TrueOutcome) -> Iterator[str]:
    """What is not as it must be."""
    expected = scene.truth.expected
    moves = {} if plan is None else {action.vm_name: action for action in plan.moves}
    if expected.nothing_moves and moves:
        yield f"{len(moves)} vms move, and nothing should"
    for name in expected.leave:
        if name not in moves:
            yield f"{name} is left where it is"
    for kind, names in (
        (ActionKind.LIVE_MIGRATE, expected.live),
        (ActionKind.COLD_MIGRATE, expected.cold),
        (ActionKind.COLD_ARCHIVE, expected.archived),
    ):
        for name in names:
            found = moves[name].kind if name in moves else ActionKind.STAY
            if found is not kind:
                yield f"{name}: {found.value}, expected {kind.value}"
    for name in expected.running:
        if name in outcome.stopped:
            yield f"{name} is stopped"
    for name in expected.stay:
        if name in moves:
            yield f"{name} moves, and should not"
    for action in moves.values():
        if action.target in expected.avoid:
            yield f"{action.vm_name} goes to {action.target}"
    for one, other in expected.apart:
        if one in outcome.where and outcome.where.get(one) == outcome.where.get(other):
            yield f"{one} and {other} end up together"
    for one, other in expected.before:
        if outcome.arrived.get(one, math.inf) > outcome.arrived.get(other, math.inf):
            yield f"{one} is safe later than {other}"
