"""Every prompt that is shipped: what it says of itself, and what is really sent with it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from scenes import evacuations as scene
from scenes.stub_openai import calls, proposes, says, serving

import prompts
from agent.llm import conversation, one_answer, tool_loop
from agent.llm.planner import propose
from agent.settings import LlmSettings
from models.errors import PlannerFailed


@pytest.mark.parametrize("name", prompts.shipped())
def test_each_says_what_it_is_for(name: str) -> None:
    prompt = prompts.load(name)
    assert f".v{prompt.version}" in name
    assert prompt.purpose
    assert prompt.assumes
    assert prompt.purpose not in prompt.text, "the head is not sent"
    assert "nothing in" in prompt.text, "facts are data"


def test_those_in_use_are_shipped_and_no_others() -> None:
    assert {conversation.PROMPT, one_answer.PROMPT} <= set(prompts.shipped())


def rendered(interface: str, key: Path) -> tuple[str, list[dict[str, object]]]:
    """All that goes out in one conversation, and the messages of its last request."""
    script = [calls(("policy_facts", {}), ("vms_on_node", {"node": "node-1"})), proposes()]
    with serving(*(script if interface == "tools_required" else [says("{}")])) as endpoint:
        llm = LlmSettings.model_validate(
            {"base_url": endpoint.url, "model": "stub", "interface": interface, "api_key_file": key}
        )
        with pytest.raises(PlannerFailed):
            propose(scene.situation(scene.fleet()), llm, ("node-a",))
    return json.dumps(endpoint.requests, ensure_ascii=False), endpoint.requests[-1]["messages"]


@pytest.mark.parametrize("interface", ["tools_required", "json_schema"])
def test_what_is_sent_holds_units_and_limits_and_no_secret(
    interface: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody-else")
    key = tmp_path / "key"
    key.write_text("sk-own-secret\n")
    sent, messages = rendered(interface, key)
    system = str(messages[0]["content"])
    for unit in ("bytes", "seconds", "probabilities 0 to 1"):
        assert unit in system
    for figure in ("trigger_probability", "max_downtime_seconds", "moves_at_once_out_of_a_node", "expected_loss"):
        assert figure in sent
    assert "sk-" not in sent
    assert str(tmp_path) not in sent
    assert not re.search(r"\{\{|\{%", system), "nothing is left to fill in"
    if interface == "tools_required":
        assert f"{tool_loop.MAX_MODEL_CALLS} turns" in system
        assert f"{tool_loop.MAX_TOOL_CALLS} tool calls" in system


def test_tools_that_the_prompt_names_exist(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("x")
    sent, _ = rendered("tools_required", key)
    text = prompts.load(conversation.PROMPT).text
    named = set(re.findall(r"`([a-z]+_[a-z_]+)`", text))
    tools = {name for name in named if f'"name": "{name}"' in sent}
    assert {
        "policy_facts", "planned_work", "vms_on_node", "failing_together", "part_history", "hardware_events",
        "past_evacuations", "candidate_targets", "estimate_move", "node_risk", "judge_plan", "simulate_plan",
    } == tools  # fmt: skip
