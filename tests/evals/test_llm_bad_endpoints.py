"""A wrong key, address or model, no quota, no room, no end: one clear line each at run time, and the solver plans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scenes import evacuations as scene
from scenes.odd_servers import Reply, answering, refusal

from agent.llm.choose import planner_named
from agent.settings import LlmSettings
from models.situation import Situation


def one_guest() -> Situation:
    """The scene with a single guest on the failing node: nothing here depends on more."""
    fleet = scene.fleet()
    return scene.situation(fleet.model_copy(update={"vms": fleet.vms[:1]}))


KEY = "sk-0123456789abcdef"
TALK = {"role": "assistant", "content": "Let me think about that at length, for ever and"}
UNENDING = json.dumps(
    {"object": "chat.completion", "choices": [{"index": 0, "finish_reason": "length", "message": TALK}]}
)
PAGE = Reply(body="<!doctype html><title>Welcome</title>", kind="text/html")


@pytest.mark.parametrize(
    ("reply", "said", "do"),
    [
        pytest.param(refusal(401, f"Incorrect API key provided: {KEY}."), "refuses the key", "renew the key", id="key"),
        pytest.param(refusal(404, "The model `m` does not exist"), "has no model 'm'", "llm.model", id="model"),
        pytest.param(
            refusal(400, "Invalid model name passed in model=m"), "has no model 'm'", "llm.model", id="model-400"
        ),
        pytest.param(
            Reply(status=404, body="<h1>Not Found</h1>", kind="text/html"), "no API at", "base_url", id="address"
        ),
        pytest.param(PAGE, "it sent a web page", "llm.base_url", id="html"),
        pytest.param(
            Reply(body='{"status": "success", "data": []}'), "JSON of another kind", "llm.base_url", id="other"
        ),
        pytest.param(refusal(429, "You exceeded your current quota"), "quota is used up", "add credit", id="quota"),
        pytest.param(
            refusal(400, "This model's maximum context length is 2048 tokens"),
            "context is too small",
            "8192",
            id="context",
        ),
        pytest.param(Reply(body=UNENDING), "cut off after 256 tokens", "docs/llm.md", id="cut-off"),
    ],
)
def test_each_is_one_line_with_what_to_do_and_the_solver_plans(
    reply: Reply, said: str, do: str, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(KEY)
    with answering(reply) as server:
        llm = LlmSettings(base_url=server.url, model="m", api_key_file=tmp_path / "key")
        plan = planner_named("llm", llm)(one_guest(), ("node-a",))
    why = str(plan.planned_by.fallback_reason)
    assert plan.planned_by.planner == "solver"
    assert plan.moves
    assert said in why
    assert do in why
    assert "\n" not in why
    assert KEY not in why


def test_an_answer_that_never_ends_is_cut_at_the_time_and_at_the_size() -> None:
    situation = one_guest()
    with answering(Reply(body=" ", endless=True)) as dripping:
        slow = LlmSettings(base_url=dripping.url, model="m", timeout_seconds=0.5)
        why = str(planner_named("llm", slow)(situation, ("node-a",)).planned_by.fallback_reason)
    assert "within 0.5 s" in why
    with answering(Reply(body="{" * (5 << 20), endless=True)) as flooding:
        llm = LlmSettings(base_url=flooding.url, model="m")
        why = str(planner_named("llm", llm)(situation, ("node-a",)).planned_by.fallback_reason)
    assert "an answer of more than 4 MiB" in why


def test_without_a_key_it_says_that_none_is_configured() -> None:
    with answering(refusal(401, "You didn't provide an API key.")) as server:
        plan = planner_named("llm", LlmSettings(base_url=server.url, model="m"))(one_guest(), ("node-a",))
    assert "asks for a key and none is configured" in str(plan.planned_by.fallback_reason)
