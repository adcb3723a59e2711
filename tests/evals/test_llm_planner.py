"""The language model's planner against a scripted endpoint: what it may propose, and every way it may fail."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from scenes import evacuations as scene
from scenes.stub_openai import Step, calls, proposes, says, serving

import prompts
from agent.guard.judge import judge
from agent.llm import conversation, tool_loop
from agent.llm.planner import propose
from agent.plan import solver
from agent.settings import LlmSettings
from models.errors import PlannerFailed
from models.fleet import Fleet
from models.plan import ActionKind, Approval, Plan
from models.policy.policy import Policy
from models.situation import Situation

NOW = scene.at(0)
LOOK = calls(("policy_facts", {}), ("vms_on_node", {"node": "node-1"}))
LOOK_AT_TARGETS = calls(("candidate_targets", {"vm": "vm-1"}), ("node_risk", {"node": "node-2"}))
ESTIMATE = calls(("estimate_move", {"vm": "vm-1", "action": "live_migrate", "target": "node-2"}))


def decide(vm: int, action: str, target: str | None = None, reason: str = "") -> dict[str, Any]:
    return {"vm": f"vm-{vm}", "action": action, "target": target, "reason": reason}


GOOD = (
    decide(1, "live_migrate", "node-2", "node-2 has the most room"),
    decide(2, "live_migrate", "node-3", "spread"),
    decide(3, "live_migrate", "node-2"),
    decide(4, "cold_archive", None, "low priority, its owner agreed"),
    decide(5, "cold_archive"),
)


def ask(*script: Step, fleet: Fleet | None = None, seconds: float = 60.0, key: Path | None = None) -> tuple[Plan, Any]:
    with serving(*script) as endpoint:
        llm = LlmSettings(
            base_url=endpoint.url,
            model="stub-7b",
            interface="tools_required",
            timeout_seconds=seconds,
            api_key_file=key,
        )
        plan = propose(scene.situation(fleet or scene.fleet()), llm, ("node-a",))
    return plan, endpoint


def fails(*script: Step, seconds: float = 60.0) -> str:
    with pytest.raises(PlannerFailed) as raised:
        ask(*script, seconds=seconds)
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_a_plan_in_real_names_with_figures_of_our_own() -> None:
    plan, endpoint = ask(LOOK, LOOK_AT_TARGETS, ESTIMATE, proposes(*GOOD, note="two vms go to the archive"))
    fleet = scene.fleet()
    moves = {fleet.vm_by_uuid[action.vm].name: (action.kind, action.target) for action in plan.actions}
    assert moves == {
        "inference-1": (ActionKind.LIVE_MIGRATE, "node-b"),
        "inference-2": (ActionKind.LIVE_MIGRATE, "node-c"),
        "web-1": (ActionKind.LIVE_MIGRATE, "node-b"),
        "batch-1": (ActionKind.COLD_ARCHIVE, None),
        "batch-2": (ActionKind.COLD_ARCHIVE, None),
    }
    assert all(action.estimated_seconds > 0 for action in plan.actions)
    assert {a.reason for a in plan.actions} >= {"node-b has the most room", "low priority, its owner agreed"}
    assert plan.planned_by.planner == "llm"
    assert plan.planned_by.model == "stub-7b"
    assert plan.planned_by.prompt_sha256 == prompts.load(conversation.PROMPT).sha256
    assert "two vms go to the archive" in plan.planned_by.notes
    assert plan.fleet_sha256 == fleet.digest()
    assert judge(plan, scene.situation(fleet)).passed
    assert len(endpoint.requests) == 4


def test_the_model_is_told_facts_and_nothing_else() -> None:
    _, endpoint = ask(LOOK, LOOK_AT_TARGETS, ESTIMATE, proposes(*GOOD))
    told = [json.loads(m["content"]) for m in endpoint.requests[-1]["messages"] if m["role"] == "tool"]
    vms = next(answer["vms"] for answer in told if "vms" in answer)
    assert [vm["vm"] for vm in vms] == ["vm-1", "vm-2", "vm-3", "vm-4", "vm-5"]
    assert vms[0]["may"] == ["live_migrate"]
    assert vms[3]["may"] == ["cold_archive", "live_migrate"]
    targets = next(answer["targets"] for answer in told if "targets" in answer)
    assert {target["node"] for target in targets} == {"node-2", "node-3"}
    estimate = next(answer for answer in told if "downtime_seconds" in answer)
    assert estimate["allowed"] is True
    assert 0 < estimate["seconds"] < 300
    sent = json.dumps(endpoint.requests)
    fleet = scene.fleet()
    for secret in [vm.name for vm in fleet.vms] + [vm.uuid for vm in fleet.vms] + ["rack-0", "PSU1", "11.52"]:
        assert secret not in sent


def test_it_has_no_tool_that_changes_anything() -> None:
    _, endpoint = ask(LOOK, proposes(*GOOD))
    names = {tool["function"]["name"] for tool in endpoint.requests[0]["tools"]}
    assert names == {
        "policy_facts",
        "node_risk",
        "vms_on_node",
        "candidate_targets",
        "estimate_move",
        "part_history",
        "hardware_events",
        "failing_together",
        "planned_work",
        "past_evacuations",
        "judge_plan",
        "simulate_plan",
        "PlanDraft",
    }


def test_a_malformed_answer_may_be_sent_again() -> None:
    plan, endpoint = ask(calls(("PlanDraft", {"decisions": "all of them"})), proposes(*GOOD))
    assert plan.planned_by.planner == "llm"
    assert "malformed" in json.dumps(endpoint.requests[1])


def test_a_tool_call_with_a_made_up_alias_is_answered_not_fatal() -> None:
    plan, endpoint = ask(calls(("node_risk", {"node": "node-99"})), proposes(*GOOD))
    assert plan.planned_by.planner == "llm"
    assert "there is no node with this label" in json.dumps(endpoint.requests[1])


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ([calls(("PlanDraft", {"decisions": "all of them"}))], "3 malformed plans"),
        ([calls(("PlanDraft", '{"decisions": [')), says("sorry")], "answered without a plan"),
        ([says("I would rather not.")], "answered without a plan"),
        ([LOOK], "found no plan within 8 calls"),
        ([calls(*[("policy_facts", {})] * 30)], "found no plan within 8 calls and 24 tool calls"),
        ([calls(("delete_vm", {"vm": "vm-1"}))], "found no plan within"),
        ([lambda _: 500], "answered with HTTP 500"),
        ([lambda _: 401], "answered with HTTP 401"),
        ([lambda _: 307], "answered with HTTP 307"),
        ([proposes(decide(9, "stay"))], "there is no vm with this label"),
        ([proposes(decide(1, "live_migrate", "node-99"))], "there is no node with this label"),
        ([proposes(decide(1, "stay"), decide(1, "stay"))], "decided twice"),
        ([proposes(decide(1, "live_migrate"))], "target is None"),
        ([proposes(decide(1, "live_migrate", "node-1"), *GOOD[1:])], "guard refused"),
        ([proposes(decide(1, "cold_archive"), *GOOD[1:])], "guard refused"),
        ([proposes(*[decide(n, "stay", None, "all is well") for n in range(1, 6)])], "is expected to lose"),
        ([proposes()], "is expected to lose"),
    ],
)  # fmt: skip
def test_every_failure_is_one_clear_line(script: list[Step], said: str) -> None:
    assert said in fails(*script)


def test_calls_are_bounded() -> None:
    with serving(LOOK) as endpoint:
        llm = LlmSettings(base_url=endpoint.url, model="stub", interface="tools_required")
        with pytest.raises(PlannerFailed):
            propose(scene.situation(scene.fleet()), llm, ("node-a",))
        assert len(endpoint.requests) <= tool_loop.MAX_MODEL_CALLS


def test_one_retry_and_no_storm() -> None:
    with serving(lambda _: 503) as endpoint:
        llm = LlmSettings(base_url=endpoint.url, model="stub", interface="tools_required")
        with pytest.raises(PlannerFailed, match="HTTP 503"):
            propose(scene.situation(scene.fleet()), llm, ("node-a",))
        assert len(endpoint.requests) == 2


def test_a_hiccup_is_survived() -> None:
    plan, _ = ask(lambda _: 503, proposes(*GOOD))
    assert plan.planned_by.planner == "llm"


def test_an_endpoint_that_never_answers_costs_the_budget_and_no_more() -> None:
    over = threading.Event()

    def hang(_: dict[str, Any]) -> int:
        over.wait(30)
        return 500

    began = time.monotonic()
    try:
        said = fails(hang, seconds=1.0)
    finally:
        over.set()
    assert "within 1 s" in said
    assert time.monotonic() - began < 20, "the budget, and the solver's own time on a busy machine"


def test_nobody_listening_is_said_plainly() -> None:
    llm = LlmSettings(base_url="http://127.0.0.1:9/v1", model="stub", interface="tools_required")
    with pytest.raises(PlannerFailed, match="can't be reached"):
        propose(scene.situation(scene.fleet()), llm, ("node-a",))


def test_the_environments_key_stays_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-belongs-to-somebody-else")
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    _, endpoint = ask(proposes(*GOOD))
    assert "sk-belongs" not in json.dumps(endpoint.headers)
    key = tmp_path / "key"
    key.write_text("own-key\n")
    _, endpoint = ask(proposes(*GOOD), key=key)
    assert endpoint.headers[0]["authorization"] == "Bearer own-key"
    with pytest.raises(PlannerFailed, match="key file"):
        ask(proposes(*GOOD), key=tmp_path / "missing")


def test_without_a_risky_node_the_model_is_not_asked() -> None:
    quiet = [risk for risk in scene.risks() if risk.node != "node-a"]
    llm = LlmSettings(base_url="http://127.0.0.1:9/v1", model="stub", interface="tools_required")
    plan = propose(scene.situation(scene.fleet(), quiet), llm)
    assert plan.actions == ()
    assert plan.planned_by.planner == "solver"


def test_a_node_that_is_not_risky_is_emptied_only_because_a_person_named_it() -> None:
    with serving(proposes(decide(1, "live_migrate", "node-3"))) as endpoint:
        llm = LlmSettings(base_url=endpoint.url, model="stub", interface="tools_required")
        risks = [risk for risk in scene.risks() if risk.node != "node-a"]
        plan = propose(scene.situation(scene.fleet(), risks), llm, asked=("node-b",))
    assert plan.asked == ("node-b",)
    assert judge(plan, scene.situation(scene.fleet(), risks)).approval is Approval.HUMAN


def test_a_node_that_nobody_named_is_no_persons_wish_and_the_guard_decides_as_for_the_solver() -> None:
    quiet = [risk for risk in scene.risks() if risk.node != "node-a"]
    by_solver = solver.plan(scene.situation(scene.fleet(), quiet), ("node-b",))
    assert not judge(by_solver, scene.situation(scene.fleet(), quiet)).passed
    with serving(proposes(decide(1, "live_migrate", "node-3"))) as endpoint:
        llm = LlmSettings(base_url=endpoint.url, model="stub", interface="tools_required")
        with pytest.raises(PlannerFailed, match="source-risky"):
            propose(scene.situation(scene.fleet(), quiet), llm, ("node-b",))


def test_too_many_vms_are_the_solvers_business() -> None:
    fleet = scene.fleet()
    many = tuple(fleet.vms[0].model_copy(update={"uuid": f"u{n}", "memory_bytes": 1 << 20}) for n in range(100))
    llm = LlmSettings(base_url="http://127.0.0.1:9/v1", model="stub", interface="tools_required")
    with pytest.raises(PlannerFailed, match="100 vms are more"):
        propose(
            Situation(fleet=fleet.model_copy(update={"vms": many}), risks=scene.risks(), policy=Policy(), now=NOW),
            llm,
            ("node-a",),
        )


def test_a_good_plan_is_as_good_as_the_solvers() -> None:
    plan, _ = ask(proposes(*GOOD))
    own = solver.plan(scene.situation(scene.fleet()), ("node-a",))
    assert plan.expected_loss <= own.expected_loss * scene.POLICY.language_model.max_loss_ratio
