"""What was said with a model is kept, bound to the plan, told, and can be run again; and it costs no more than was set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from scenes import evacuations as scene
from scenes.stub_openai import calls, proposes, says, serving
from typer.testing import CliRunner, Result

from agent.cli.app import app
from agent.llm.choose import planner_named
from agent.settings import LlmSettings
from models.plan import Plan
from models.risk.risk import Risk

LOOK = calls(("policy_facts", {}), ("vms_on_node", {"node": "node-1"}))
GOOD = [
    {"vm": "vm-1", "action": "live_migrate", "target": "node-2", "reason": "node-2 has the most room"},
    {"vm": "vm-2", "action": "live_migrate", "target": "node-3", "reason": "spread"},
    {"vm": "vm-3", "action": "live_migrate", "target": "node-2", "reason": ""},
    {"vm": "vm-4", "action": "cold_archive", "target": None, "reason": "low priority"},
    {"vm": "vm-5", "action": "cold_archive", "target": None, "reason": "low priority"},
]


class Desk:
    """One operator's files: settings, a fleet, risks, and the plan that was made of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.llm = directory / "state" / "llm"
        self.file("lifeboat.yaml").write_text(json.dumps({"state_dir": str(directory / "state")}))
        self.file("fleet.json").write_text(scene.fleet().model_dump_json())
        self.file("risks.json").write_bytes(TypeAdapter(list[Risk]).dump_json(list(scene.risks())))
        self.file("policy.yaml").write_text(scene.situation(scene.fleet()).policy.model_dump_json())
        self.file("key").write_text("sk-very-secret")

    def file(self, name: str) -> Path:
        return self.directory / name

    def plan(self, *script: Any, **more: Any) -> Plan:
        with serving(*script) as endpoint:
            settings = {"base_url": endpoint.url, "model": "stub-7b", "interface": "tools_required"}
            llm = LlmSettings.model_validate({**settings, "api_key_file": self.file("key"), **more})
            planner = planner_named("llm", llm, directory=self.llm)
            plan = planner(scene.situation(scene.fleet()), ("node-a",))
        self.file("plan.json").write_text(plan.model_dump_json())
        return plan

    def explain(self, *options: str) -> Result:
        config = str(self.file("lifeboat.yaml"))
        return CliRunner().invoke(app, ["explain", str(self.file("plan.json")), "--config", config, *options])

    def replay(self, *options: str) -> Result:
        named = [f"--{what}={self.file(name)}" for what, name in (("fleet", "fleet.json"), ("risks", "risks.json"))]
        return self.explain("--replay", *named, f"--policy={self.file('policy.yaml')}", *options)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_the_story_of_a_plan_is_told_in_real_names(desk: Desk) -> None:
    plan = desk.plan(LOOK, proposes(*GOOD))
    assert plan.planned_by.conversation_sha256 is not None
    told = desk.explain()
    assert told.exit_code == 0, told.output
    words = " ".join(told.output.split())
    assert "Planned by the language model stub-7b" in words
    assert "vms_on_node(" in words
    assert '"node-1" (node-a)' in words
    assert "node-b has the most room" in words
    story = json.loads(desk.explain("--json").stdout)
    assert [step["who"] for step in story["conversation"]] == [
        "lifeboat", "lifeboat", "model", "model", "lifeboat", "lifeboat", "model",
    ]  # fmt: skip


def test_no_key_is_in_what_is_kept_and_nobody_else_reads_it(desk: Desk) -> None:
    desk.plan(LOOK, proposes(*GOOD))
    files = [path for path in desk.llm.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if "sk-very-secret" in path.read_text()]
    assert {path.stat().st_mode & 0o777 for path in files if path.suffix == ".json"} == {0o600}
    assert desk.llm.stat().st_mode & 0o777 == 0o700


def test_a_record_that_was_changed_or_is_gone_is_not_told_as_if_nothing_were(desk: Desk) -> None:
    plan = desk.plan(LOOK, proposes(*GOOD))
    path = desk.llm / f"{plan.planned_by.conversation_sha256}.json"
    path.write_text(path.read_text().replace("spread", "spread!"))
    changed = desk.explain()
    assert changed.exit_code != 0
    assert "was changed after the plan was made" in str(changed.exception)
    path.unlink()
    assert "is not at" in str(desk.explain().exception)


def test_a_plan_that_was_refused_is_told_too(desk: Desk) -> None:
    plan = desk.plan(says("I would rather not."))
    assert plan.planned_by.planner == "solver"
    told = " ".join(desk.explain().output.split())
    assert "It stands in, because the language model answered without a plan" in told
    assert "I would rather not." in told


def test_run_again_from_its_record_it_brings_the_same_plan_without_any_server(desk: Desk) -> None:
    desk.plan(LOOK, proposes(*GOOD))
    told = desk.replay()
    assert told.exit_code == 0, told.output
    assert "Replayed: the same plan" in told.output
    assert json.loads(desk.replay("--json").stdout)["same_when_replayed"] is True


def test_with_other_files_it_says_that_it_cant_be_run_again(desk: Desk) -> None:
    desk.plan(LOOK, proposes(*GOOD))
    fleet = json.loads(desk.file("fleet.json").read_text())
    fleet["vms"][0]["memory_bytes"] *= 2
    desk.file("fleet.json").write_text(json.dumps(fleet))
    told = desk.replay()
    assert "the files, the policy, the prompt or lifeboat are others" in str(told.exception)


def test_a_solvers_plan_is_explained_and_has_nothing_to_replay(desk: Desk) -> None:
    plan = planner_named("solver", None)(scene.situation(scene.fleet()), ("node-a",))
    desk.file("plan.json").write_text(plan.model_dump_json())
    told = desk.explain()
    assert told.exit_code == 0
    assert "Planned by solver" in told.output
    assert "no conversation led to this plan" in str(desk.replay().exception)


@pytest.mark.parametrize("limit", [{"tokens_per_day": 200}, {"spend_per_day": 0.02, "prompt_price": 100.0}])
def test_a_day_costs_what_was_set_and_the_solver_plans_then(desk: Desk, limit: dict[str, Any]) -> None:
    assert desk.plan(LOOK, proposes(*GOOD), **limit).planned_by.planner == "llm"
    plan = desk.plan(LOOK, proposes(*GOOD), **limit)
    assert plan.planned_by.planner == "solver"
    assert "the day's budget for language models is" in str(plan.planned_by.fallback_reason)
