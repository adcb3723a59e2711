"""The endpoints that people have: whatever form a server answers in, its plan comes out, or the solver's does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scenes import evacuations as scene
from scenes import stub_servers
from scenes.stub_openai import Step, serving

from agent.guard.judge import judge
from agent.llm.choose import planner_named
from agent.settings import LlmSettings
from models.plan import ActionKind, Plan

MOVES = {
    "vm-1": "live_migrate node-2",
    "vm-2": "live_migrate node-3",
    "vm-3": "live_migrate node-2",
    "vm-4": "cold_archive",
    "vm-5": "cold_archive",
}
CHOICES = {"decisions": {vm: {"choice": move, "reason": "as told"} for vm, move in MOVES.items()}, "note": "by choice"}
DECISIONS = [
    {"vm": vm, "action": move.split()[0], "target": move.split()[1] if " " in move else None, "reason": "as told"}
    for vm, move in MOVES.items()
]


def plan_with(
    step: Step, *, directory: Path | None = None, fallback: LlmSettings | None = None, **more: Any
) -> tuple[Plan, Any]:
    with serving(step) as endpoint:
        llm = LlmSettings(base_url=endpoint.url, model="stub", fallback=fallback, **more)
        plan = planner_named("llm", llm, directory=directory)(scene.situation(scene.fleet()), ("node-a",))
    return plan, endpoint


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(stub_servers.by_tools(DECISIONS), id="tools"),
        pytest.param(stub_servers.reasoning(DECISIONS), id="reasoning"),
        pytest.param(stub_servers.tools_when_it_wants(DECISIONS), id="tools-when-it-wants"),
        pytest.param(stub_servers.forgets_its_tools(CHOICES), id="forgets-its-tools"),
        pytest.param(stub_servers.by_schema(CHOICES), id="json-schema"),
        pytest.param(stub_servers.by_object(CHOICES), id="json-object"),
        pytest.param(stub_servers.by_words(CHOICES), id="plain"),
    ],
)
def test_the_models_plan_comes_out(step: Step) -> None:
    plan, endpoint = plan_with(step)
    assert plan.planned_by.planner == "llm", plan.planned_by.fallback_reason
    kinds = {action.vm_name: action.kind for action in plan.actions}
    assert kinds["inference-1"] is ActionKind.LIVE_MIGRATE
    assert kinds["batch-1"] is ActionKind.COLD_ARCHIVE
    assert judge(plan, scene.situation(scene.fleet())).passed
    assert "expected loss" in plan.planned_by.notes, "it stands beside the solver's"
    assert len(endpoint.requests) <= 13, "five to find out, eight to plan"


def test_a_server_is_asked_what_it_can_only_once(tmp_path: Path) -> None:
    memory = tmp_path / "llm"
    with serving(stub_servers.by_object(CHOICES)) as endpoint:
        llm = LlmSettings(base_url=endpoint.url, model="stub")
        planner = planner_named("llm", llm, directory=memory)
        for _ in range(2):
            assert planner(scene.situation(scene.fleet()), ("node-a",)).planned_by.planner == "llm"
        probes = [r for r in endpoint.requests if "6 times 7" in r["messages"][-1]["content"]]
    assert len(probes) == 4
    assert len(endpoint.requests) == 6


def test_a_schema_leaves_no_room_to_make_something_up() -> None:
    _, endpoint = plan_with(stub_servers.by_schema(CHOICES))
    schema = endpoint.requests[-1]["response_format"]["json_schema"]["schema"]
    vms = schema["properties"]["decisions"]["properties"]
    assert list(vms) == list(MOVES)
    assert set(vms["vm-1"]["properties"]["choice"]["enum"]) == {"live_migrate node-2", "live_migrate node-3", "stay"}
    assert "cold_archive" in vms["vm-4"]["properties"]["choice"]["enum"]
    assert schema["required"] == ["decisions", "note"]


def test_no_real_name_is_on_the_sheet() -> None:
    _, endpoint = plan_with(stub_servers.by_words(CHOICES))
    sent = str(endpoint.requests)
    fleet = scene.fleet()
    names = [vm.name for vm in fleet.vms] + [vm.uuid for vm in fleet.vms] + [node.name for node in fleet.nodes]
    assert not [name for name in [*names, "rack-0"] if name in sent]


@pytest.mark.parametrize(
    "broken", ["I can't.", {"decisions": []}, {"decisions": {"vm-1": "fly"}}, {"decisions": {"vm-9": "stay"}}]
)
def test_a_sheet_that_comes_back_broken_is_the_solvers_business(broken: Any) -> None:
    plan, endpoint = plan_with(stub_servers.by_words(broken))
    assert plan.planned_by.planner == "solver"
    assert "malformed" in str(plan.planned_by.fallback_reason) or "no vm" in str(plan.planned_by.fallback_reason)
    assert len(endpoint.requests) <= 13


def test_the_fallback_model_is_asked_before_the_solver() -> None:
    with serving(stub_servers.by_schema(CHOICES)) as second:
        fallback = LlmSettings(base_url=second.url, model="small")
        plan, _ = plan_with(lambda _: 429, fallback=fallback)
    assert (plan.planned_by.planner, plan.planned_by.model) == ("llm", "small")


def test_when_both_fail_the_solver_says_why_of_each() -> None:
    with serving(lambda _: 401) as second:
        fallback = LlmSettings(base_url=second.url, model="small")
        plan, _ = plan_with(lambda _: 429, fallback=fallback)
    assert plan.planned_by.planner == "solver"
    assert "HTTP 429" in str(plan.planned_by.fallback_reason)
    assert "HTTP 401" in str(plan.planned_by.fallback_reason)
