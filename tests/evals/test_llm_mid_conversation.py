"""What may go wrong once a conversation is under way, over a real socket: the model's plan or the solver's, never none."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from scenes import good_model
from scenes.stub_openai import Answer, Step, calls, serving

from agent.evals.run import shipped_scenes
from agent.evals.scene import Scene
from agent.evals.scene_files import load_scenes
from agent.llm import tool_loop
from agent.llm.choose import planner_named
from agent.settings import LlmSettings
from models.plan import Plan

Body = dict[str, Any]


@pytest.fixture(scope="module")
def month_end() -> Scene:
    return load_scenes(shipped_scenes(), ("judge-month-end-batch",))[0]


def plan_with(scene: Scene, *steps: Step, seconds: float = 30.0) -> tuple[Plan, int]:
    """The plan, and how many requests it took. The last step goes on for ever."""
    with serving(*steps) as endpoint:
        llm = LlmSettings(base_url=endpoint.url, model="m", interface="tools_required", timeout_seconds=seconds)
        plan = planner_named("llm", llm, knowledge=lambda _: scene.knowledge)(scene.situation)
    return plan, len(endpoint.requests)


def breaks_off(_: Body) -> Answer:
    return b'{"id": "1", "object": "chat.completion", "choices": [{"index": 0, "mess'


CONTEXT = (400, "This model's maximum context length is 4096 tokens. However, your messages resulted in 9120 tokens.")


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([good_model.step, lambda _: 429, good_model.step], id="busy-for-a-moment"),
        pytest.param(
            [good_model.step, lambda _: 500, good_model.step], id="an-error-for-a-moment", marks=pytest.mark.slow
        ),
        pytest.param(
            [calls(("delete_vm", {"vm": "vm-1"})), good_model.step], id="a-tool-that-is-none", marks=pytest.mark.slow
        ),
        pytest.param([calls(("vms_on_node", '{"node": ')), good_model.step], id="arguments-that-break-off"),
        pytest.param(
            [calls(("estimate_move", {"vm": "vm-77", "action": "fly"})), good_model.step],
            id="made-up",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [calls(("judge_plan", {"decisions": [{"vm": "vm-1", "action": "live_migrate"}]})), good_model.step],
            id="a-draft-that-does-not-fit-together",
        ),
    ],
)
def test_a_stumble_is_survived(month_end: Scene, steps: list[Step]) -> None:
    plan, asked = plan_with(month_end, *steps)
    assert plan.planned_by.planner == "llm", plan.planned_by.fallback_reason
    assert asked <= 5
    assert plan.planned_by.compared is not None
    assert plan.planned_by.compared.differs, "and its judgement is in the plan"


@pytest.mark.parametrize(
    ("steps", "said", "most"),
    [
        pytest.param([good_model.step, lambda _: 429], "429", 3, id="busy-for-good", marks=pytest.mark.slow),
        pytest.param([good_model.step, lambda _: 500], "HTTP 500", 3, id="broken-for-good", marks=pytest.mark.slow),
        pytest.param([good_model.step, lambda _: CONTEXT], "context is too small", 2, id="context-too-small"),
        pytest.param([good_model.step, breaks_off], "language model", 3, id="an-answer-that-breaks-off"),
        pytest.param(
            [calls(("policy_facts", {}))],
            "no plan within 8 calls",
            tool_loop.MAX_MODEL_CALLS,
            id="loops",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [calls(*[("planned_work", {})] * 9)],
            "and 24 tool calls",
            tool_loop.MAX_MODEL_CALLS,
            id="loops-by-tools",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_lasts_is_the_solvers_business(month_end: Scene, steps: list[Step], said: str, most: int) -> None:
    plan, asked = plan_with(month_end, *steps)
    assert plan.planned_by.planner == "solver"
    assert plan.moves
    assert said in str(plan.planned_by.fallback_reason)
    assert "\n" not in str(plan.planned_by.fallback_reason)
    assert asked <= most


@pytest.mark.slow
def test_a_model_that_falls_silent_costs_its_time_and_no_more(month_end: Scene) -> None:
    over = threading.Event()

    def hang(_: Body) -> Answer:
        over.wait(20)
        return 500

    try:
        plan, asked = plan_with(month_end, good_model.step, hang, seconds=1.5)
    finally:
        over.set()
    assert plan.planned_by.planner == "solver"
    assert "within 1.5 s" in str(plan.planned_by.fallback_reason)
    assert asked <= 2
