"""Who plans: the solver, or the language model with the solver behind it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from agent.plan import solver
from agent.plan.solver import Planner
from agent.settings import LlmSettings
from models.errors import BadInput, PlannerFailed
from models.extras import extra_missing
from models.knowledge import Knowledge
from models.plan import Plan
from models.situation import Situation


def planner_named(
    name: str,
    llm: LlmSettings | None,
    *,
    directory: Path | None = None,
    knowledge: Callable[[Situation], Knowledge] | None = None,
    on_fallback: Callable[[str], None] = lambda _: None,
) -> Planner:
    """The solver, or the language model: whatever keeps that one from a plan, its fallback is asked, then the solver.

    `directory` is where it is kept what endpoints can, what was said and what it cost; None: nowhere. `on_fallback` hears
    why the solver stands in; the plan says so, too. `knowledge` is asked what is known
    besides; None: nothing is. Raises BadInput for another name.
    """
    if name == "solver":
        return solver.plan
    if name != "llm":
        raise BadInput(f"planner {name!r} is not known", hint="solver or llm")

    def plan(situation: Situation, evacuating: Collection[str] = (), *, asked: Collection[str] = ()) -> Plan:
        failed: list[str] = []
        conversation: str | None = None
        known = knowledge(situation) if knowledge is not None else None
        for endpoint in _in_turn(llm):
            try:
                from agent.llm.conversation import NoProposal
                from agent.llm.planner import propose  # langchain takes a second to import
                from agent.llm.record import LlmDirectory
            except ModuleNotFoundError as error:
                lacking = extra_missing(error)
                if lacking is None:
                    raise
                failed.append(str(lacking))
                break  # the fallback models are asked by the same packages
            kept = LlmDirectory(directory) if directory else None
            try:
                return propose(situation, endpoint, evacuating, asked=asked, knowledge=known, directory=kept)
            except PlannerFailed as error:
                failed.append(str(error))
                conversation = error.conversation_sha256 if isinstance(error, NoProposal) else conversation
        why = "; then ".join(failed) or "no language model is configured; set `llm` in the settings"
        on_fallback(why)
        by_solver = solver.plan(situation, evacuating, asked=asked, fallback_reason=why)
        planned_by = by_solver.planned_by.model_copy(update={"conversation_sha256": conversation})
        return by_solver.model_copy(update={"planned_by": planned_by})

    return plan


def _in_turn(llm: LlmSettings | None) -> Iterator[LlmSettings]:
    """The model, then its fallbacks."""
    while llm is not None:
        yield llm
        llm = llm.fallback
