"""A plan proposed by a language model, over any OpenAI-compatible endpoint.

The model decides which vm goes where, and nothing else: it sees aliases and typed facts, answers with aliases, and has no tool
that changes anything. Order, waves, estimates and losses are worked out by the solver's own code. What it proposes must pass
the guard and come near the solver's own answer, or it is not proposed at all. Every way this can go wrong ends in one
`PlannerFailed`, within one wall-clock budget; the caller then takes the solver's plan and says why.
"""

from __future__ import annotations

from collections.abc import Collection

import httpx2

from agent.guard.judge import judge
from agent.llm.conversation import Conversation, NoProposal
from agent.llm.draft import MAX_VMS
from agent.llm.record import LlmDirectory
from agent.llm.task import PlanTask
from agent.plan import solver
from agent.settings import LlmSettings
from models.errors import PlannerFailed
from models.knowledge import Knowledge
from models.plan import Plan, PlannedBy
from models.situation import Situation
from models.text import visible


def propose(
    situation: Situation,
    llm: LlmSettings,
    evacuating: Collection[str] = (),
    *,
    asked: Collection[str] = (),
    knowledge: Knowledge | None = None,
    directory: LlmDirectory | None = None,
    transport: httpx2.BaseTransport | None = None,
) -> Plan:
    """The language model's plan. Takes at most about `llm.timeout_seconds` of wall clock, and the solver's own time.

    Which nodes are emptied is settled as for `agent.plan.solver.plan`: by tiers (`evacuating`) or a person (`asked`), else by
    risk. `knowledge` is what is known besides; None: nothing. `directory` is where it is kept what endpoints can, what was said
    and what it cost; None: nowhere. `transport` stands in for the network.
    Raises PlannerFailed, with why in one line, whenever there is no plan that passes the guard and loses no more than
    policy's `language_model.max_loss_ratio` times what the solver's plan loses (about as much where nothing is known that the
    figures do not hold: `agent.llm.grounds`); NoProposal once the model was asked.
    Raises ValueError as `agent.plan.solver.plan` does.
    """
    by_solver = solver.plan(situation, evacuating, asked=asked)
    if not by_solver.evacuating:
        return by_solver
    count = sum(vm.node in by_solver.evacuating for vm in situation.fleet.vms)
    if count > MAX_VMS:
        raise PlannerFailed(f"{count} vms are more than the language model is asked about ({MAX_VMS})")
    task = PlanTask(situation, by_solver, asked, knowledge)
    outcome = Conversation(llm, task, directory, transport).hold()
    by = PlannedBy(
        planner="llm",
        model=llm.model,
        prompt_sha256=outcome.prompt.sha256,
        conversation_sha256=outcome.conversation_sha256,
    )
    try:
        plan = task.assemble(outcome.draft, by)
        _accept(plan, by_solver, situation, task.most_loss_ratio(plan))
    except ValueError as error:
        why = f"the language model's plan can't be used: {visible(str(error))}"
        raise NoProposal(why, conversation_sha256=outcome.conversation_sha256) from error
    except PlannerFailed as error:
        raise NoProposal(str(error), conversation_sha256=outcome.conversation_sha256) from error
    return plan


def _accept(plan: Plan, by_solver: Plan, situation: Situation, most: float) -> None:
    """Raise PlannerFailed unless the guard passes the plan and it loses at most so many times what the solver's loses."""
    verdict = judge(plan, situation)
    if not verdict.passed:
        first = verdict.failures[0]
        raise PlannerFailed(f"the guard refused the language model's plan: {first.rule}: {visible(first.why)}")
    if plan.expected_loss > by_solver.expected_loss * most + 1e-6:
        bound = f"policy takes {most:g} times as much at most (language_model.max_loss_ratio)"
        if most < situation.policy.language_model.max_loss_ratio:
            bound = "nothing is known besides the figures that speaks for it"
        raise PlannerFailed(
            f"the language model's plan is expected to lose {plan.expected_loss:.3g}, the solver's "
            f"{by_solver.expected_loss:.3g}: {bound}"
        )
