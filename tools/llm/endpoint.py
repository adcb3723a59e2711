"""What an OpenAI-compatible endpoint can: found by asking it.

Servers differ in what they take: forced tool calls, tools the model may call or not, answers held to a JSON schema, or
nothing but text. Which of it works is a property of the server, the model and its chat template together, so it is tried
with four words of arithmetic instead of looked up by the product's name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, cast

import openai

from tools.llm.capabilities import Capabilities, Interface

PROBE_TOKENS = 256
"""room for a model that thinks aloud before it answers"""


class NoInterface(Exception):
    """Nothing that was tried brought an answer that can be read."""

    def __init__(self, missing: dict[Interface, str]) -> None:
        self.missing = missing
        last = list(missing.values())[-1]
        super().__init__(f"it answers in no form that can be read; the plainest: {last}")


@dataclass(kw_only=True)
class Endpoint:
    """One model behind one URL. Holds no connection that it did not get; `client` is the caller's to close."""

    client: openai.OpenAI
    model: str
    refused: tuple[str, ...] = ()
    """request parameters that are left out"""
    calls: int = field(default=0, init=False)
    """requests sent that got an answer or an error"""
    cut_off: bool = field(default=False, init=False)
    """the newest answer ended at the limit of its length"""

    def complete(self, messages: list[dict[str, str]], *, max_tokens: int, **asked: Any) -> Any:
        """One answer: the first choice's message, as openai gives it. Leaves out parameters that the server refuses.

        Raises openai's errors, ValueError for an answer without a message.
        """
        while True:
            options = {"temperature": 0, "max_tokens": max_tokens}
            options = {name: value for name, value in options.items() if name not in self.refused}
            self.calls += 1
            try:
                answer = self.client.chat.completions.create(
                    model=self.model, messages=cast("Any", messages), **options, **asked
                )
            except openai.BadRequestError as error:
                # Reasoning models take no temperature and count tokens under another name.
                named = [name for name in options if name in str(error.message)]
                if not named:
                    raise
                self.refused = (*self.refused, *named)
                continue
            choices = getattr(answer, "choices", None)
            if not choices or choices[0].message is None:
                raise ValueError("an answer without a message")
            self.cut_off = choices[0].finish_reason == "length"
            return choices[0].message


def response_format(interface: Interface, name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The request's parameters that hold an answer to `schema`; empty for plain text. Not for tools."""
    if interface is Interface.JSON_SCHEMA:
        strict = {"name": name, "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": strict}}
    if interface is Interface.JSON_OBJECT:
        return {"response_format": {"type": "json_object", "schema": schema}}
    return {}


def first_json_object(text: str) -> dict[str, Any]:
    """The first JSON object in a text, whatever stands around it (prose, a code fence, a model's thoughts).

    Raises ValueError when there is none that is whole.
    """
    decoder = json.JSONDecoder()
    at = text.find("{")
    while at >= 0:
        try:
            found, _ = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
            continue
        if isinstance(found, dict):
            return cast("dict[str, Any]", found)
        at = text.find("{", at + 1)
    raise ValueError("no JSON object in the answer" if text.strip() else "an empty answer")


_SCHEMA = {
    "type": "object",
    "properties": {"number": {"type": "integer"}},
    "required": ["number"],
    "additionalProperties": False,
}
_TOOL = {
    "type": "function",
    "function": {"name": "give_number", "description": "Takes the answer, a whole number.", "parameters": _SCHEMA},
}
_BY_TOOL = "How much is 6 times 7? Answer by calling the tool give_number."
_BY_JSON = 'How much is 6 times 7? Answer with a JSON object such as {"number": 1} and nothing else.'


def probe(endpoint: Endpoint) -> Capabilities:
    """The best interface that works, tried from the best down with one short question each; the answer need not be right.

    Leaves what the server refuses in `endpoint.refused`. Raises openai's errors where no form would help (no connection, no
    time, a wrong key, no such model, no quota), NoInterface when the server answers and nothing of it can be read.
    """
    missing: dict[Interface, str] = {}
    for interface in Interface:
        try:
            works = _answers(endpoint, interface)
        except (openai.APIConnectionError, openai.AuthenticationError, openai.PermissionDeniedError):
            raise
        except openai.RateLimitError:
            raise
        except openai.APIStatusError as error:
            # 400, 404, 422 and 500 are all in use for "not with this model".
            if interface is Interface.PLAIN_JSON:
                raise
            missing[interface] = f"HTTP {error.status_code}"
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            cut = f"cut off after {PROBE_TOKENS} tokens" if endpoint.cut_off else str(error)[:80]
            missing[interface] = cut
        else:
            if works:
                return Capabilities(interface=interface, refused=endpoint.refused, missing=missing)
            missing[interface] = "the model called no tool" if interface.has_tools else "no number in the answer"
    raise NoInterface(missing)


def _answers(endpoint: Endpoint, interface: Interface) -> bool:
    if interface.has_tools:
        choice = "required" if interface is Interface.TOOLS_REQUIRED else "auto"
        asked = [{"role": "user", "content": _BY_TOOL}]
        message = endpoint.complete(asked, max_tokens=PROBE_TOKENS, tools=[_TOOL], tool_choice=choice)
        return any("number" in first_json_object(call.function.arguments) for call in message.tool_calls or ())
    asked = [{"role": "user", "content": _BY_JSON}]
    message = endpoint.complete(asked, max_tokens=PROBE_TOKENS, **response_format(interface, "answer", _SCHEMA))
    return "number" in first_json_object(message.content or "")
