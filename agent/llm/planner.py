"""A plan proposed by a language model, over any OpenAI-compatible endpoint. The only module that imports langchain.

The model decides which vm goes where, and nothing else: it sees aliases and typed facts, answers with aliases, and has no tool
that changes anything. Order, waves, estimates and losses are worked out by the solver's own code. What it proposes must pass
the guard and come near the solver's own answer, or it is not proposed at all. Every way this can go wrong ends in one
`PlannerFailed`, within one wall-clock budget; the caller then takes the solver's plan and says why.
"""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

import openai
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ModelCallLimitMiddleware,
    ModelRetryMiddleware,
    ToolCallLimitMiddleware,
    ToolErrorMiddleware,
)
from langchain.agents.middleware.model_call_limit import ModelCallLimitExceededError
from langchain.agents.middleware.tool_call_limit import ToolCallLimitExceededError
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import StructuredTool
from langchain_openai import ChatOpenAI
from langgraph.errors import GraphRecursionError
from langsmith import tracing_context
from pydantic import BaseModel, ConfigDict, Field, SecretStr

import prompts
from agent.guard.judge import judge
from agent.plan import solver
from agent.plan.capacity import free_capacity
from agent.plan.options import options_of, possible_targets
from agent.settings import LlmSettings
from models.errors import PlannerFailed
from models.plan import ActionKind, Plan, PlannedBy
from models.signal import Component
from models.situation import Situation
from models.text import visible
from tools.bounded_call import BoundedCall
from tools.llm.fleet_facts import FleetFacts, FreeRoom, UnknownAlias, Way, holds_only_aliases
from tools.signals import load_catalogue

PROMPT = "plan.v1"
MAX_VMS = 80
"""more vms than this and the model's answer grows too long to trust; the solver has no such limit"""
MAX_MODEL_CALLS = 8
MAX_TOOL_CALLS = 24
MAX_TOKENS = 200_000
"""prompt and completion together, as the endpoint counts them"""
MAX_MALFORMED = 3
"""malformed answers; the last of them ends it"""
RECURSION_LIMIT = 40
MAX_LOSS_RATIO = 1.25
"""a proposal may lose this many times what the solver's plan loses; beyond, it is no proposal worth an approver's time"""
REASON_CHARACTERS = 160
NOTE_CHARACTERS = 300


class DraftDecision(BaseModel):
    """What is to happen to one vm."""

    model_config = ConfigDict(extra="forbid")

    vm: str = Field(max_length=24, description="label of the vm, such as vm-3")
    action: Literal["live_migrate", "cold_migrate", "cold_archive", "stay"]
    target: str | None = Field(
        default=None, max_length=24, description="label of a node for live_migrate and cold_migrate, else null"
    )
    reason: str = Field(default="", max_length=400, description="one short sentence for the person who approves")


class PlanDraft(BaseModel):
    """The whole proposal: one decision for every vm on every node to be emptied."""

    model_config = ConfigDict(extra="forbid")

    decisions: list[DraftDecision] = Field(max_length=2 * MAX_VMS)
    note: str = Field(default="", max_length=800, description="anything else the approver should know; may be empty")


def propose(
    situation: Situation, llm: LlmSettings, evacuating: Collection[str] = (), *, asked: Collection[str] = ()
) -> Plan:
    """The language model's plan. Takes at most about `llm.timeout_seconds` of wall clock, and the solver's own time.

    Which nodes are emptied is settled as for `agent.plan.solver.plan`: by tiers (`evacuating`) or a person (`asked`), else by
    risk.
    Raises PlannerFailed, with why in one line, whenever there is no plan that passes the guard and loses no more than
    1.25 times what the solver's plan loses. Raises ValueError as `agent.plan.solver.plan` does.
    """
    by_solver = solver.plan(situation, evacuating, asked=asked)
    if not by_solver.evacuating:
        return by_solver
    count = sum(vm.node in by_solver.evacuating for vm in situation.fleet.vms)
    if count > MAX_VMS:
        raise PlannerFailed(f"{count} vms are more than the language model is asked about ({MAX_VMS})")
    facts = facts_for(situation, by_solver.evacuating)
    prompt = prompts.load(PROMPT)
    draft = _ask(llm, prompt.text, _task(facts, by_solver.evacuating), facts)
    by = PlannedBy(
        planner="llm",
        model=llm.model,
        prompt_sha256=prompt.sha256,
        notes=_in_real_names(draft.note, facts, NOTE_CHARACTERS),
    )
    try:
        decided = _decisions(draft, facts)
        plan = solver.assemble(situation, decided, by_solver.evacuating, by, asked=asked)
    except ValueError as error:
        raise PlannerFailed(f"the language model's plan can't be used: {visible(str(error))}") from error
    _accept(plan, by_solver, situation)
    return plan


def facts_for(situation: Situation, evacuating: Sequence[str]) -> FleetFacts:
    """The snapshot the model may ask about."""
    fleet, policy = situation.fleet, situation.policy
    targets = possible_targets(situation, evacuating)
    capacities = {node.name: free_capacity(node, fleet, policy) for node in targets}
    ways = {
        vm.uuid: [
            Way(option.kind, option.target, option.seconds)
            for option in options_of(vm, fleet.node_by_name[name], targets, policy).moves
        ]
        for name in evacuating
        for vm in fleet.vms_on(name)
    }
    return FleetFacts(
        situation,
        evacuating=evacuating,
        rooms={name: FreeRoom(capacity.memory, capacity.vcpus) for name, capacity in capacities.items()},
        ways=ways,
        components=_components(),
    )


@functools.cache
def _components() -> dict[str, Component]:
    """Which part of a node each shipped signal is about. A user's own signals stay unnamed: their names are free text."""
    return {signal.name: signal.component for signal in load_catalogue()}


def _task(facts: FleetFacts, evacuating: Sequence[str]) -> str:
    """The first message: which nodes to empty, by alias, and how many vms each holds."""
    nodes = [facts.nodes.alias(name) for name in evacuating]
    counted = [{"node": node, "vms": len(facts.vms_on_node(node).vms)} for node in nodes]
    return json.dumps({"nodes_to_be_emptied": counted})


def _decisions(draft: PlanDraft, facts: FleetFacts) -> list[solver.PlanDecision]:
    """The draft in real names. Raises UnknownAlias (a ValueError) for a vm or node the model made up."""
    return [
        solver.PlanDecision(
            vm=facts.vms.name(decision.vm),
            kind=ActionKind(decision.action),
            target=facts.nodes.name(decision.target) if decision.target else None,
            reason=_in_real_names(decision.reason, facts, REASON_CHARACTERS)
            or ("the language model leaves it and does not say why" if decision.action == "stay" else None),
        )
        for decision in draft.decisions
    ]


def _in_real_names(text: str, facts: FleetFacts, limit: int) -> str:
    """The model's words in one short line, its aliases of nodes put back: `node-2` means nothing to an approver."""
    known = facts.nodes.known()
    named = re.sub(r"\bnode-\d+\b", lambda alias: known.get(alias[0], alias[0]), visible(text, limit))
    return visible(named, limit)


def _accept(plan: Plan, by_solver: Plan, situation: Situation) -> None:
    """Raise PlannerFailed unless the guard passes the plan and it loses little more than the solver's."""
    verdict = judge(plan, situation)
    if not verdict.passed:
        first = verdict.failures[0]
        raise PlannerFailed(f"the guard refused the language model's plan: {first.rule}: {visible(first.why)}")
    if plan.expected_loss > by_solver.expected_loss * MAX_LOSS_RATIO + 1e-6:
        raise PlannerFailed(
            f"the language model's plan is expected to lose {plan.expected_loss:.3g}, "
            f"the solver's {by_solver.expected_loss:.3g}"
        )


# The conversation ------------------------------------------------------------------------------------------------------


def _ask(llm: LlmSettings, system_prompt: str, task: str, facts: FleetFacts) -> PlanDraft:
    """Hold the conversation in a thread of its own, so that an endpoint that never ends costs no more than the budget."""
    deadline = time.monotonic() + llm.timeout_seconds
    client = openai.DefaultHttpxClient(follow_redirects=False, timeout=llm.timeout_seconds)

    def converse() -> PlanDraft:
        # Tracing would send the conversation to a third party if the environment asks for it.
        with tracing_context(enabled=False):
            return _converse(llm, system_prompt, task, facts, client, deadline)

    call = BoundedCall(converse, name="llm-planner")
    in_time = call.wait(deadline - time.monotonic())
    client.close()
    if not in_time:
        raise PlannerFailed(f"the language model gave no plan within {llm.timeout_seconds:g} s")
    try:
        return call.result()
    except Exception as error:
        raise _explained(error, llm) from None


def _converse(
    llm: LlmSettings, system_prompt: str, task: str, facts: FleetFacts, client: Any, deadline: float
) -> PlanDraft:
    model = ChatOpenAI(
        model=llm.model,
        base_url=llm.base_url,
        # Never the environment's key: it may belong to another service than this endpoint.
        api_key=SecretStr(_api_key(llm)),
        timeout=llm.timeout_seconds,
        max_retries=0,
        temperature=0,
        use_responses_api=False,
        stream_usage=False,
        http_client=client,
    )
    agent: Any = create_agent(
        model,
        tools=_tools(facts),
        system_prompt=system_prompt,
        middleware=_middleware(deadline),
        response_format=ToolStrategy(PlanDraft, handle_errors=_patience()),
    )
    state = agent.invoke({"messages": [{"role": "user", "content": task}]}, config={"recursion_limit": RECURSION_LIMIT})
    draft = state.get("structured_response")
    if not isinstance(draft, PlanDraft):  # it stops without an exception when the model just talks
        raise PlannerFailed("the language model answered without a plan")
    return draft


def _api_key(llm: LlmSettings) -> str:
    if llm.api_key_file is None:
        return "none"
    try:
        return llm.api_key_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PlannerFailed(f"the language model's key file {llm.api_key_file} can't be read: {error}") from error


def _tools(facts: FleetFacts) -> list[StructuredTool]:
    questions: tuple[Callable[..., BaseModel], ...] = (
        facts.policy_facts,
        facts.node_risk,
        facts.vms_on_node,
        facts.candidate_targets,
        facts.estimate_move,
    )
    return [_tool(question) for question in questions]


def _tool(question: Callable[..., BaseModel]) -> StructuredTool:
    @functools.wraps(question)
    def answer(*args: Any, **kwargs: Any) -> str:
        return question(*args, **kwargs).model_dump_json()

    return StructuredTool.from_function(answer)


def _patience() -> Callable[[Exception], str]:
    """Tells the model what was malformed, twice; then gives up. Without this it would be asked again for ever."""
    seen = 0

    def handle(error: Exception) -> str:
        nonlocal seen
        seen += 1
        if seen >= MAX_MALFORMED:
            raise PlannerFailed(f"the language model gave {seen} malformed plans")
        return f"This plan is malformed, send it again: {visible(str(error), 500)}"

    return handle


def _middleware(deadline: float) -> list[AgentMiddleware[Any, Any, Any]]:
    """In this order: own budget, call limits, one retry, tool errors, and the check of what tools answer."""
    return [
        _Budget(deadline),
        ModelCallLimitMiddleware(run_limit=MAX_MODEL_CALLS, exit_behavior="error"),
        ToolCallLimitMiddleware(run_limit=MAX_TOOL_CALLS, exit_behavior="error"),
        ModelRetryMiddleware(
            max_retries=1, retry_on=_worth_retrying, on_failure="error", initial_delay=0.2, jitter=False
        ),
        ToolErrorMiddleware(_describe_tool_error),
        _OnlyAliases(),
    ]


class _Budget(AgentMiddleware[Any, Any, Any]):
    """Stops before a model call when the time or the tokens are spent."""

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._deadline = deadline

    def before_model(self, state: Any, runtime: Any) -> None:  # noqa: ARG002 -- the interface's arguments
        if time.monotonic() >= self._deadline:
            raise PlannerFailed("the language model's time is spent")
        used = sum(
            message.usage_metadata["total_tokens"]
            for message in state["messages"]
            if isinstance(message, AIMessage) and message.usage_metadata
        )
        if used > MAX_TOKENS:
            raise PlannerFailed(f"the language model used {used} tokens, allowed {MAX_TOKENS}")


class _OnlyAliases(AgentMiddleware[Any, Any, Any]):
    """A second lock: an answer of a tool that holds any text but aliases and closed words is withheld."""

    def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        result = handler(request)
        if isinstance(result, ToolMessage) and result.status != "error" and not holds_only_aliases(str(result.content)):
            return result.model_copy(update={"content": "withheld", "status": "error"})
        return result


def _worth_retrying(error: Exception) -> bool:
    """What may be gone a moment later. A timeout is not: it has used up the budget already."""
    if isinstance(error, openai.APITimeoutError):
        return False
    return isinstance(error, openai.APIConnectionError | openai.InternalServerError | openai.RateLimitError)


def _describe_tool_error(error: Exception, request: Any) -> str | None:  # noqa: ARG001 -- the interface's arguments
    """What the model is told of a tool that failed; None lets the error end the run."""
    return str(error) if isinstance(error, UnknownAlias) else None


def _explained(error: Exception, llm: LlmSettings) -> PlannerFailed:
    """Why there is no plan, in one line. What the endpoint sent is cut short: it may be anything."""
    if isinstance(error, PlannerFailed):
        return error
    where = f"the language model at {visible(llm.base_url, 80)}"
    if isinstance(error, openai.APITimeoutError):
        why = f"{where} did not answer within {llm.timeout_seconds:g} s"
    elif isinstance(error, openai.APIConnectionError):
        why = f"{where} can't be reached"
    elif isinstance(error, openai.APIStatusError):
        why = f"{where} answered with HTTP {error.status_code}"
    elif isinstance(error, ModelCallLimitExceededError | ToolCallLimitExceededError | GraphRecursionError):
        why = f"the language model found no plan within {MAX_MODEL_CALLS} calls and {MAX_TOOL_CALLS} tool calls"
    else:
        why = f"{where} gave no usable answer: {type(error).__name__}: {visible(str(error), 120)}"
    failed = PlannerFailed(why)
    failed.__cause__ = error
    return failed
