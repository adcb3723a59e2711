"""The talk with one endpoint, in the form in which it can answer, within one wall-clock budget."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx2

import prompts
from agent.guard.rules import RULES
from agent.llm import one_answer, tool_loop
from agent.llm.budget import why_over_budget
from agent.llm.connection import api_key, endpoint_of, explained, http_client
from agent.llm.draft import PlanDraft
from agent.llm.record import ConversationRecord, LlmDirectory, Recorder
from agent.llm.task import PlanTask
from agent.llm.tool_loop import MAX_MODEL_CALLS, NoDraft
from agent.settings import LlmSettings
from models.errors import PlannerFailed
from models.text import without_credentials
from tools.bounded_call import BoundedCall
from tools.llm.capabilities import Capabilities, EndpointMemory, Interface
from tools.llm.endpoint import Endpoint, probe

PROMPT = "plan.v3"


class NoProposal(PlannerFailed):
    """No draft came of a conversation."""

    def __init__(self, message: str, *, conversation_sha256: str | None = None) -> None:
        """`conversation_sha256` is of the record of what was said; None when none was kept."""
        super().__init__(message)
        self.conversation_sha256 = conversation_sha256


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A draft, and what helped to make it."""

    draft: PlanDraft
    prompt: prompts.Prompt
    conversation_sha256: str | None
    """of the record; None when none was kept"""


class Conversation:
    """One draft asked of one endpoint, in the form in which the endpoint can give it."""

    def __init__(
        self,
        llm: LlmSettings,
        task: PlanTask,
        directory: LlmDirectory | None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """`directory` is where the conversation is kept; None: nowhere. `transport` stands in for the network."""
        self._llm = llm
        self._task = task
        self._directory = directory
        self._transport = transport
        self._deadline = time.monotonic() + llm.timeout_seconds
        self._prompt = self._interface = ""

    def hold(self) -> Outcome:
        """The draft, within the wall-clock budget. Raises NoProposal, which names the record of what was said.

        In a thread of its own, so that an endpoint that never ends costs no more than the budget.
        """
        over = why_over_budget(self._llm, self._directory)
        if over is not None:
            raise NoProposal(over)
        recorder = Recorder(self._directory)
        client = http_client(
            self._deadline,
            timeout_seconds=self._llm.timeout_seconds,
            recorder=recorder,
            transport=self._transport,
        )
        call = BoundedCall(lambda: self._draft(client), name="llm-planner")
        in_time = call.wait(self._deadline - time.monotonic())
        client.close()
        try:
            if not in_time:
                raise PlannerFailed(f"the language model gave no plan within {self._llm.timeout_seconds:g} s")
            draft, prompt = call.result()
        except Exception as error:
            why = str(explained(error, self._llm))
            raise NoProposal(why, conversation_sha256=self._keep(recorder, why)) from None
        kept = self._keep(recorder, "")
        return Outcome(draft=draft, prompt=prompt, conversation_sha256=kept)

    def _keep(self, recorder: Recorder, failed: str) -> str | None:
        if self._directory is None:
            return None
        facts = self._task.facts
        record = ConversationRecord(
            at=datetime.now(UTC),
            base_url=without_credentials(self._llm.base_url),
            model=self._llm.model,
            prompt=self._prompt,
            interface=self._interface,
            names={**facts.nodes.known(), **self._task.vm_names()},
            knowledge=self._task.knowledge,
            exchanges=tuple(recorder.exchanges),
            failed=failed,
        )
        return self._directory.keep(record)

    def _draft(self, http_client: Any) -> tuple[PlanDraft, prompts.Prompt]:
        key = api_key(self._llm)
        endpoint = endpoint_of(self._llm, key, http_client)
        can = self._capabilities(endpoint)
        endpoint.refused = can.refused
        self._interface = can.interface.value
        interface = can.interface
        if interface.has_tools:
            prompt = self._load(PROMPT)
            try:
                facts, around = self._task.facts, self._task.surroundings
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
                        around.part_history,
                        around.hardware_events,
                        around.failing_together,
                        around.planned_work,
                        around.past_evacuations,
                        self._task.judge_plan,
                        self._task.simulate_plan,
                    ),
                    frozenset(rule.id for rule in RULES) | self._task.words,
                    http_client,
                    self._deadline,
                )
            except NoDraft:
                if interface is Interface.TOOLS_REQUIRED:
                    raise
                # It may call tools and did not: it gets the facts without asking for them.
                interface = Interface.JSON_SCHEMA
            else:
                return draft, prompt
        prompt = self._load(one_answer.PROMPT)
        sheet = self._task.sheet()
        words = self._task.words
        return one_answer.ask_once(endpoint, interface, prompt.text, sheet, words, MAX_MODEL_CALLS // 2), prompt

    def _load(self, name: str) -> prompts.Prompt:
        self._prompt = name
        return prompts.load(name)

    def _capabilities(self, endpoint: Endpoint) -> Capabilities:
        """As settings have it, as remembered, or as found by asking now."""
        if self._llm.interface != "auto":
            return Capabilities(interface=Interface(self._llm.interface))
        now = datetime.now(UTC)
        memory = EndpointMemory(self._directory.endpoints) if self._directory else None
        if memory and (known := memory.recall(self._llm.base_url, self._llm.model, now)):
            return known
        found = probe(endpoint)
        if memory:
            memory.keep(self._llm.base_url, self._llm.model, found, now)
        return found
