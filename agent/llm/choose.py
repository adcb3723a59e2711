"""Who plans: the solver, or the language model with the solver behind it."""

from __future__ import annotations

from collections.abc import Callable, Collection

from agent.plan import solver
from agent.plan.solver import Planner
from agent.settings import LlmSettings
from models.errors import BadInput, PlannerFailed
from models.plan import Plan
from models.situation import Situation


def planner_named(
    name: str, llm: LlmSettings | None, *, on_fallback: Callable[[str], None] = lambda _: None
) -> Planner:
    """The solver, or the language model: whatever keeps that one from a plan, the solver's is taken and says why.

    `on_fallback` hears why, too. Raises BadInput for another name.
    """
    if name == "solver":
        return solver.plan
    if name != "llm":
        raise BadInput(f"planner {name!r} is not known", hint="solver or llm")

    def plan(situation: Situation, evacuating: Collection[str] = (), *, asked: Collection[str] = ()) -> Plan:
        try:
            if llm is None:
                raise PlannerFailed("no language model is configured", hint="set `llm` in the settings")
            from agent.llm.planner import propose  # langchain takes a second to import

            return propose(situation, llm, evacuating, asked=asked)
        except PlannerFailed as error:
            on_fallback(str(error))
            return solver.plan(situation, evacuating, asked=asked, fallback_reason=str(error))

    return plan
