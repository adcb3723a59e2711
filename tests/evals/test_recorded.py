"""Conversations as they really went, with real servers and models: replayed over a real socket, each must come to the same.

A file of `recorded/` holds the scene, the form of asking, every answer byte for byte, and what came of it. Requests are not
compared: a prompt may be made better, and what a model once said must still be dealt with.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scenes.stub_openai import Recorded, serving

from agent.evals.run import shipped_scenes
from agent.evals.scene_files import load_scenes
from agent.guard.judge import judge
from agent.llm.choose import planner_named
from agent.plan import solver
from agent.settings import LlmSettings

FILES = sorted((Path(__file__).parent / "recorded").glob("*.json"))


def test_there_are_some() -> None:
    assert len(FILES) >= 3


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_comes_to_the_same(file: Path) -> None:
    told = json.loads(file.read_text())
    (scene,) = (one for one in load_scenes(shipped_scenes(), (told["scene"],)) if one.name == told["scene"])
    answers = [Recorded(each["status"], each["body"]) for each in told["answers"]]
    with serving(*[lambda _, answer=answer: answer for answer in answers]) as endpoint:
        llm = LlmSettings.model_validate({"base_url": endpoint.url, "model": "m", "interface": told["interface"]})
        plan = planner_named("llm", llm, knowledge=lambda _: scene.knowledge)(scene.situation, asked=scene.asked)
        asked = len(endpoint.requests)
    own = solver.plan(scene.situation, asked=scene.asked)
    assert plan.planned_by.planner == told["planner"], plan.planned_by.fallback_reason
    assert told["said"] in str(plan.planned_by.fallback_reason or plan.planned_by.notes)
    assert asked == len(answers)
    assert judge(plan, scene.situation).passed == judge(own, scene.situation).passed
    assert plan.expected_loss <= own.expected_loss * scene.situation.policy.language_model.max_loss_ratio + 1e-6
