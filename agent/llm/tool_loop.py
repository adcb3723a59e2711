"""The plan from a model that calls tools: it asks what it wants to know, and ends with a draft."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from typing import Any, cast

import openai
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ModelCallLimitMiddleware,
    ModelRetryMiddleware,
    ToolCallLimitMiddleware,
    ToolErrorMiddleware,
    hook_config,
)
from langchain.agents.middleware.model_call_limit import ModelCallLimitExceededError
from langchain.agents.middleware.tool_call_limit import ToolCallLimitExceededError
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import StructuredTool, create_schema_from_function
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_openai import ChatOpenAI
from langgraph.errors import GraphRecursionError
from langsmith import tracing_context
from pydantic import BaseModel, SecretStr

from agent.llm.draft import PlanDraft
from agent.settings import LlmSettings
from models.errors import PlannerFailed
from models.text import visible
from tools.llm.capabilities import Capabilities, Interface
from tools.llm.fleet_facts import UnknownAlias, holds_only_aliases

MAX_MODEL_CALLS = 8
MAX_TOOL_CALLS = 24
MAX_TOKENS = 200_000
"""prompt and completion together, as the endpoint counts them"""
MAX_MALFORMED = 3
"""malformed answers; the last of them ends it"""
RECURSION_LIMIT = 40

Question = Callable[..., BaseModel]
"""a tool: its docstring is what the model reads"""


class NoDraft(PlannerFailed):
    """The model stopped calling tools and just talked."""


def converse(
    llm: LlmSettings,
    capabilities: Capabilities,
    key: str,
    system_prompt: str,
    task: str,
    questions: tuple[Question, ...],
    words: frozenset[str],
    http_client: Any,
    deadline: float,
) -> PlanDraft:
    """The model's draft. `deadline` is in monotonic seconds; `questions` answer with values of aliases, lifeboat's
    closed words and `words`.

    Raises NoDraft when the model ends without one, PlannerFailed when a limit is reached, openai's errors.
    """
    model_type = _Model if capabilities.interface is Interface.TOOLS_REQUIRED else _ToolsWhenItWants
    model = model_type(
        model=llm.model,
        base_url=llm.base_url,
        # Never the environment's key: it may belong to another service than this endpoint.
        api_key=SecretStr(key),
        timeout=llm.timeout_seconds,
        max_retries=0,
        temperature=None if "temperature" in capabilities.refused else 0,
        use_responses_api=False,
        stream_usage=False,
        http_client=http_client,
    )
    agent: Any = create_agent(
        model,
        tools=[_tool(question) for question in questions],
        system_prompt=system_prompt,
        middleware=_middleware(deadline, words),
        response_format=ToolStrategy(PlanDraft, handle_errors=_patience()),
    )
    asked = {"messages": [{"role": "user", "content": task}]}
    try:
        # Tracing would send the conversation to a third party if the environment asks for it.
        with tracing_context(enabled=False):
            state = agent.invoke(asked, config={"recursion_limit": RECURSION_LIMIT})
    except (ModelCallLimitExceededError, ToolCallLimitExceededError, GraphRecursionError):
        limits = f"{MAX_MODEL_CALLS} calls and {MAX_TOOL_CALLS} tool calls"
        raise PlannerFailed(f"the language model found no plan within {limits}") from None
    draft = state.get("structured_response")
    if not isinstance(draft, PlanDraft):  # it stops without an exception when the model just talks
        raise NoDraft("the language model answered without a plan")
    return draft


class _Model(ChatOpenAI):
    """Works out what it sends of each tool once, not in every turn."""

    def bind_tools(self, tools: Any, *, tool_choice: Any = None, **kwargs: Any) -> Any:
        return super().bind_tools([_as_sent(tool) for tool in tools], tool_choice=tool_choice, **kwargs)


class _ToolsWhenItWants(_Model):
    """For servers that refuse `tool_choice: required`, which the agent asks for where the answer is a tool call."""

    def bind_tools(self, tools: Any, *, tool_choice: Any = None, **kwargs: Any) -> Any:  # noqa: ARG002
        return super().bind_tools(tools, tool_choice="auto", **kwargs)


_SENT: dict[tuple[str, type[BaseModel]], dict[str, Any]] = {}


def _as_sent(tool: Any) -> Any:
    """A tool as OpenAI's API has it, remembered by its name and the class of its arguments."""
    schema = getattr(tool, "args_schema", None)
    if not isinstance(schema, type) or not issubclass(schema, BaseModel):
        return tool
    key = (str(tool.name), schema)
    if key not in _SENT:
        _SENT[key] = convert_to_openai_tool(tool)
    return _SENT[key]


def _tool(question: Question) -> StructuredTool:
    @functools.wraps(question)
    def answer(*args: Any, **kwargs: Any) -> str:
        return question(*args, **kwargs).model_dump_json()

    function = getattr(question, "__func__", question)
    return StructuredTool.from_function(
        answer, name=question.__name__, description=inspect.getdoc(question), args_schema=_arguments(function)
    )


@functools.cache
def _arguments(function: Callable[..., BaseModel]) -> type[BaseModel]:
    """What a tool takes, as a class: made once, which takes longer than the tool itself."""
    schema = create_schema_from_function(function.__name__, function, filter_args=("self",), parse_docstring=False)
    return cast("type[BaseModel]", schema)


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


def _middleware(deadline: float, words: frozenset[str]) -> list[AgentMiddleware[Any, Any, Any]]:
    """In this order: own budget, call limits, one retry, tool errors, broken calls, and the check of what tools answer."""
    return [
        _Budget(deadline),
        ModelCallLimitMiddleware(run_limit=MAX_MODEL_CALLS, exit_behavior="error"),
        ToolCallLimitMiddleware(run_limit=MAX_TOOL_CALLS, exit_behavior="error"),
        ModelRetryMiddleware(
            max_retries=1, retry_on=_worth_retrying, on_failure="error", initial_delay=0.2, jitter=False
        ),
        ToolErrorMiddleware(_describe_tool_error),
        _BrokenCalls(),
        _OnlyAliases(words),
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


class _BrokenCalls(AgentMiddleware[Any, Any, Any]):
    """Calls whose arguments are no JSON, such as those that broke off, are told so: left alone they would end it all."""

    @hook_config(can_jump_to=["model"])
    def after_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:  # noqa: ARG002 -- the interface's arguments
        last = state["messages"][-1]
        if not isinstance(last, AIMessage) or last.tool_calls or not last.invalid_tool_calls:
            return None
        told = [
            ToolMessage(
                content="these arguments are no JSON: make the call again",
                tool_call_id=call["id"] or "",
                status="error",
            )
            for call in last.invalid_tool_calls
        ]
        return {"messages": told, "jump_to": "model"}


class _OnlyAliases(AgentMiddleware[Any, Any, Any]):
    """A second lock: an answer of a tool that holds any text but aliases and closed words is withheld."""

    def __init__(self, words: frozenset[str]) -> None:
        super().__init__()
        self._words = words

    def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        result = handler(request)
        told = isinstance(result, ToolMessage) and result.status != "error"
        if told and not holds_only_aliases(str(result.content), self._words):
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
