"""Language model servers as they differ in what they take: each a step for `stub_openai.serving`.

What each refuses, and how, is after the behaviour of the named servers; the plan they give is the caller's.
"""

from __future__ import annotations

import json
from typing import Any

from scenes.stub_openai import Answer, Step

Body = dict[str, Any]


def _tools(body: Body) -> list[str]:
    return [tool["function"]["name"] for tool in body.get("tools", [])]


def _call(name: str, arguments: Any) -> Answer:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": function}]}


def _says(text: str) -> Answer:
    return {"role": "assistant", "content": text}


def by_tools(decisions: list[Body]) -> Step:
    """OpenAI, Azure, vLLM with a tool parser: tools, also forced."""

    def step(body: Body) -> Answer:
        if "give_number" in _tools(body):
            return _call("give_number", {"number": 42})
        return _call("PlanDraft", {"decisions": decisions, "note": ""})

    return step


def reasoning(decisions: list[Body]) -> Step:
    """OpenAI's reasoning models: neither `temperature` nor `max_tokens`."""

    def step(body: Body) -> Answer:
        if "max_tokens" in body:
            return 400, "Unsupported parameter: 'max_tokens' is not supported with this model."
        if "temperature" in body:
            return 400, "Unsupported value: 'temperature' does not support 0 with this model."
        return by_tools(decisions)(body)

    return step


def tools_when_it_wants(decisions: list[Body]) -> Step:
    """vLLM without guided decoding, older LiteLLM routes: `tool_choice: required` is an error, `auto` works."""

    def step(body: Body) -> Answer:
        return 400 if body.get("tool_choice") == "required" else by_tools(decisions)(body)

    return step


def forgets_its_tools(answer: Any) -> Step:
    """A small model on Ollama: calls a tool when it is asked to and nothing else, then just talks."""

    def step(body: Body) -> Answer:
        if body.get("tool_choice") == "required":
            return 400
        if "give_number" in _tools(body):
            return _call("give_number", {"number": 42})
        return _says("I would move the machines.") if _tools(body) else _says(json.dumps(answer))

    return step


def by_schema(answer: Any) -> Step:
    """llama.cpp's server without a tool template: tools are refused, a JSON schema holds."""

    def step(body: Body) -> Answer:
        if _tools(body):
            return 500
        if (body.get("response_format") or {}).get("type") != "json_schema":
            return 400
        asked = body["response_format"]["json_schema"]["schema"]["properties"]
        return _says('{"number": 42}' if "number" in asked else json.dumps(answer))

    return step


def by_object(answer: Any) -> Step:
    """llama-cpp-python: forced tools are a 500, tools are passed over, `json_object` takes the schema."""

    def step(body: Body) -> Answer:
        if body.get("tool_choice") == "required":
            return 500
        if _tools(body):
            return _says("42")
        kind = (body.get("response_format") or {}).get("type")
        if kind == "json_schema":
            return 422
        asked = (body.get("response_format") or {}).get("schema", {}).get("properties", {})
        return _says('{"number": 42}' if "number" in asked else json.dumps(answer))

    return step


def by_words(answer: Any) -> Step:
    """A bare proxy: whatever is beside the messages is an error; the model thinks aloud and fences its answer."""

    def step(body: Body) -> Answer:
        if _tools(body) or "response_format" in body:
            return 400
        asked = body["messages"][-1]["content"]
        said = {"number": 42} if "6 times 7" in asked else answer
        return _says(f"<think>{{hm}}</think>Here it is:\n```json\n{json.dumps(said)}\n```\nGood luck!")

    return step
