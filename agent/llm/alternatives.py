"""The solver's plan, and the other plans worth weighing against it: for whoever chooses.

Each is the solver's own answer to the same task with one more wish, priced and judged as what it is in the real one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from agent.guard.judge import judge
from agent.plan import solver
from agent.plan.timing.waves import NotExecutable
from models.fleet import NodeState
from models.knowledge import Knowledge
from models.plan import ActionKind, Plan, PlannedBy
from models.situation import Situation

WORK_AHEAD = timedelta(days=1)
"""planned work further off than this leaves time to move again"""


class AlternativeName(StrEnum):
    SOLVER = "solver"
    """what the solver proposes: least expected loss"""
    STOP_NOTHING = "stop-nothing"
    """live moves alone; who can't move live stays"""
    APART = "apart"
    """no target in the failure domain of a node that is left"""
    AWAY_FROM_WORK = "away-from-work"
    """no target on which work is planned within a day"""
    CAREFUL = "careful"
    """all three of these at once"""


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """One plan to choose from."""

    name: AlternativeName
    plan: Plan
    passes: bool
    """the guard's answer"""


def alternatives(
    situation: Situation, by_solver: Plan, knowledge: Knowledge, asked: Collection[str] = ()
) -> tuple[Alternative, ...]:
    """The solver's plan first, then those that differ from it and from one another."""
    leaving = by_solver.evacuating
    nodes = situation.fleet.node_by_name
    domains = {nodes[name].failure_domain for name in leaving} - {""}
    same = {node.name for node in situation.fleet.nodes if node.failure_domain in domains} - set(leaving)
    worked = knowledge.nodes_worked_on(situation.now, WORK_AHEAD) - set(leaving)
    wishes = {
        AlternativeName.STOP_NOTHING: _wish(situation, stops=False),
        AlternativeName.APART: _wish(situation, closed=same) if same else None,
        AlternativeName.AWAY_FROM_WORK: _wish(situation, closed=worked) if worked else None,
        AlternativeName.CAREFUL: _wish(situation, stops=False, closed=same | worked) if same | worked else None,
    }
    found = [Alternative(name=AlternativeName.SOLVER, plan=by_solver, passes=judge(by_solver, situation).passed)]
    seen = {_moves(by_solver)}
    for name, wished in wishes.items():
        if wished is None:
            continue
        plan = _as_it_is(wished, situation, leaving, asked)
        if plan is not None and _moves(plan) not in seen:
            seen.add(_moves(plan))
            found.append(Alternative(name=name, plan=plan, passes=judge(plan, situation).passed))
    return tuple(found)


def _wish(situation: Situation, *, stops: bool = True, closed: Collection[str] = ()) -> Situation:
    """The task with one more wish: no stops, or nodes that take no vm."""
    policy, fleet = situation.policy, situation.fleet
    if not stops:
        none_archived = policy.archive.model_copy(update={"priorities": ()})
        none_stopped = policy.cold_migrate.model_copy(update={"priorities": ()})
        policy = policy.model_copy(update={"archive": none_archived, "cold_migrate": none_stopped})
    if closed:
        nodes = tuple(
            node.model_copy(update={"state": NodeState.DRAINING})
            if node.name in closed and node.state is NodeState.ACTIVE
            else node
            for node in fleet.nodes
        )
        fleet = fleet.model_copy(update={"nodes": nodes})
    return replace(situation, policy=policy, fleet=fleet)


def _as_it_is(wished: Situation, situation: Situation, leaving: Sequence[str], asked: Collection[str]) -> Plan | None:
    """The answer to the wish, with losses and order as the real task has them; None: no order carries it out."""
    decisions = solver.decide(wished, leaving, asked=asked)
    try:
        return solver.assemble(
            situation, decisions, leaving, PlannedBy(planner="solver"), asked=asked, compared_only=True
        )
    except NotExecutable:
        return None


def _moves(plan: Plan) -> frozenset[tuple[str, ActionKind, str | None]]:
    return frozenset((action.vm, action.kind, action.target) for action in plan.actions)
