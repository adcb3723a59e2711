"""The talk with one endpoint, in the form in which it can answer, within one wall-clock budget."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import openai

import prompts
from agent.guard.rules import RULES
from agent.llm import one_answer, tool_loop
from agent.llm.connection import api_key, endpoint_of, explained
from agent.llm.draft import PlanDraft
from agent.llm.task import PlanTask
from agent.llm.tool_loop import MAX_MODEL_CALLS, NoDraft
from agent.settings import LlmSettings
from models.errors import PlannerFailed
from tools.bounded_call import BoundedCall
from tools.llm.capabilities import Capabilities, EndpointMemory, Interface
from tools.llm.endpoint import Endpoint, probe

PROMPT = "plan.v2"


class Conversation:
    """One draft asked of one endpoint, in the form in which the endpoint can give it."""

    def __init__(self, llm: LlmSettings, task: PlanTask, memory: EndpointMemory | None) -> None:
        self._llm = llm
        self._task = task
        self._memory = memory
        self._deadline = time.monotonic() + llm.timeout_seconds

    def hold(self) -> tuple[PlanDraft, prompts.Prompt]:
        """The draft, and the prompt that helped to make it, within the wall-clock budget. Raises PlannerFailed.

        In a thread of its own, so that an endpoint that never ends costs no more than the budget.
        """
        client = openai.DefaultHttpxClient(follow_redirects=False, timeout=self._llm.timeout_seconds)
        call = BoundedCall(lambda: self._draft(client), name="llm-planner")
        in_time = call.wait(self._deadline - time.monotonic())
        client.close()
        if not in_time:
            raise PlannerFailed(f"the language model gave no plan within {self._llm.timeout_seconds:g} s")
        try:
            return call.result()
        except Exception as error:
            raise explained(error, self._llm) from None

    def _draft(self, http_client: Any) -> tuple[PlanDraft, prompts.Prompt]:
        key = api_key(self._llm)
        endpoint = endpoint_of(self._llm, key, http_client)
        can = self._capabilities(endpoint)
        endpoint.refused = can.refused
        if can.interface.has_tools:
            prompt = prompts.load(PROMPT)
            try:
                facts = self._task.facts
                draft = tool_loop.converse(
                    self._llm,
                    can,
                    key,
                    prompt.text,
                    self._task.question(),
                    (
                        facts.policy_facts,
                        facts.node_risk,
                        facts.vms_on_node,
                        facts.candidate_targets,
                        facts.estimate_move,
                        self._task.judge_plan,
                    ),
                    frozenset(rule.id for rule in RULES),
                    http_client,
                    self._deadline,
                )
            except NoDraft:
                if can.interface is Interface.TOOLS_REQUIRED:
                    raise
                # It may call tools and did not: it gets the facts without asking for them.
                can = can.model_copy(update={"interface": Interface.JSON_SCHEMA})
            else:
                return draft, prompt
        prompt = prompts.load(one_answer.PROMPT)
        draft = one_answer.ask_once(endpoint, can.interface, self._task.sheet(), MAX_MODEL_CALLS // 2)
        return draft, prompt

    def _capabilities(self, endpoint: Endpoint) -> Capabilities:
        """As settings have it, as remembered, or as found by asking now."""
        if self._llm.interface != "auto":
            return Capabilities(interface=Interface(self._llm.interface))
        now = datetime.now(UTC)
        if self._memory and (known := self._memory.recall(self._llm.base_url, self._llm.model, now)):
            return known
        found = probe(endpoint)
        if self._memory:
            self._memory.keep(self._llm.base_url, self._llm.model, found, now)
        return found
