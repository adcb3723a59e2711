"""The plan from a model that calls no tools: all facts in the prompt, one answer, held to a schema where the server can."""

from __future__ import annotations

import json

import openai

from agent.llm.draft import PlanDraft, choice_schema, draft_of_choices
from models.errors import PlannerFailed
from models.text import visible
from tools.llm.capabilities import Interface
from tools.llm.endpoint import Endpoint, first_json_object, response_format
from tools.llm.fact_sheet import FactSheet, choices_by_vm
from tools.llm.fleet_facts import holds_only_aliases

PROMPT = "plan_once.v2"
MAX_ANSWERS = 3
"""malformed answers; the last of them ends it"""
TOKENS_PER_VM = 80
TOKENS_BESIDES = 1024


def ask_once(
    endpoint: Endpoint,
    interface: Interface,
    system_prompt: str,
    sheet: FactSheet,
    words: frozenset[str],
    max_calls: int,
) -> PlanDraft:
    """The model's draft, with at most `max_calls` requests. A server that refuses one form is asked in the next plainer one.
    `words` are closed words that the sheet may hold.

    Raises PlannerFailed when no answer can be read, openai's errors for what no other form would mend.
    """
    facts = sheet.model_dump(mode="json")
    if not holds_only_aliases(json.dumps(facts), words):
        raise PlannerFailed(
            "the facts for the language model hold text that is no alias", hint="this is a bug: report it"
        )
    choices = choices_by_vm(sheet)
    schema = choice_schema(choices)
    task = json.dumps({"facts": facts, "choices": choices})
    messages = [{"role": "system", "content": system_prompt}, {"role": "user", "content": task}]
    forms = [form for form in Interface if not form.has_tools]
    forms = forms[forms.index(interface) :] if interface in forms else forms
    malformed = 0
    last = endpoint.calls + max_calls
    while endpoint.calls < last:
        try:
            answer = endpoint.complete(
                messages,
                max_tokens=TOKENS_BESIDES + TOKENS_PER_VM * len(choices),
                **response_format(forms[0], "plan", schema),
            )
            return draft_of_choices(first_json_object(answer.content or ""))
        except (openai.BadRequestError, openai.UnprocessableEntityError, openai.InternalServerError):
            if not forms[1:]:
                raise
            forms = forms[1:]
        except (ValueError, TypeError) as error:
            malformed += 1
            if malformed >= MAX_ANSWERS:
                break
            why = "it was cut off, be brief" if endpoint.cut_off else visible(str(error), 300)
            said = f"This plan is malformed, send it again: {why}"
            messages = [*messages[:2], {"role": "user", "content": said}]
    cut = ": its answers don't end before their limit of tokens" if endpoint.cut_off else ""
    raise PlannerFailed(f"the language model gave {malformed} malformed plans and no good one{cut}")
