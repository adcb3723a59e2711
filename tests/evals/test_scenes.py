"""The scenes, and the scripted good model on them: over a real socket, deciding from what it is told there."""

from __future__ import annotations

import json
import random
from collections import Counter
from functools import cache

import pytest
from scenes import good_model
from scenes.command_line import lifeboat
from scenes.stub_openai import says, serving

from agent.evals.run import run_scenes, shipped_scenes
from agent.evals.scene import Scene, Topic
from agent.evals.scene_files import load_scenes
from agent.evals.score import BETTER
from agent.evals.scorecard import Scorecard, scorecard
from agent.llm import tool_loop
from agent.settings import LlmSettings


@cache
def every_scene() -> tuple[Scene, ...]:
    return tuple(load_scenes(shipped_scenes()))


def asked(scenes: list[Scene]) -> Scorecard:
    with serving(good_model.step) as endpoint:
        llm = LlmSettings(base_url=endpoint.url, model="good")
        return scorecard(run_scenes(scenes, llm, runs=1), planner="llm", model="good")


def test_there_are_a_hundred_and_controls_among_them() -> None:
    scenes = every_scene()
    assert len(scenes) >= 100
    topics = Counter(scene.topic for scene in scenes)
    assert topics[Topic.CONTROL] >= 15
    assert topics[Topic.JUDGEMENT] >= 25
    assert all(topics[topic] >= 10 for topic in Topic)
    assert {scene.difficulty for scene in scenes} == {1, 2, 3}
    assert len({scene.title for scene in scenes}) > len(scenes) - 3


def test_scenes_of_judgement_can_not_be_passed_by_figures_alone() -> None:
    few = random.Random(2).sample([s for s in every_scene() if s.topic is Topic.JUDGEMENT], 4)
    card = scorecard(run_scenes(few, None, runs=1), planner="solver", model=None)
    assert not [run.scene for run in card.details if run.score.passed]
    assert all(run.score.solver_true_loss > 0 for run in card.details)


def test_the_good_model_passes_a_few() -> None:
    dice = random.Random(5)
    topics = (Topic.CONTROL, Topic.ROOM, Topic.JUDGEMENT)
    few = [dice.choice([s for s in every_scene() if s.topic is topic]) for topic in topics]
    card = asked(few)
    assert not [(run.scene, run.score.faults) for run in card.details if not run.score.passed]


@pytest.mark.slow
def test_the_good_model_passes_all_and_loses_a_fifth_less_where_judgement_helps() -> None:
    card = asked(list(every_scene()))
    assert not [(run.scene, run.score.faults) for run in card.details if not run.score.passed]
    assert card.judgement_loss_ratio is not None
    assert card.judgement_loss_ratio <= BETTER
    assert card.most_model_calls <= tool_loop.MAX_MODEL_CALLS
    assert card.most_tool_calls <= tool_loop.MAX_TOOL_CALLS


def test_the_command_scores_any_endpoint() -> None:
    with serving(good_model.step) as endpoint:
        given = ("--model", "good", "--base-url", endpoint.url, "--runs", "2")
        code, said = lifeboat("eval", "judge-month", *given, "--json")
    card = json.loads(said)
    assert code == 0
    assert (card["scenes"], card["runs"], card["pass_hat"]["2"]["share"]) == (1, 2, 1.0)
    assert card["cost"]["prompt_tokens"] > 0
    assert card["details"][0]["score"]["solver_true_loss"] > 0


def test_a_model_that_only_talks_scores_nothing_where_there_is_something_to_do() -> None:
    with serving(says('{"number": 42}')) as endpoint:
        code, said = lifeboat("eval", "control-quiet", "basics-pair", "--model", "m", "--base-url", endpoint.url)
    assert code == 0
    assert "50.0 %" in said
    assert "no plan of its own" in " ".join(said.split())


def test_an_endpoint_that_is_not_there_is_one_line_before_any_scene() -> None:
    code, said = lifeboat("eval", "--model", "m", "--base-url", "http://127.0.0.1:9/v1")
    assert code == 1
    assert "can't be reached" in said
    code, said = lifeboat("eval", "--model", "m")
    assert code == 2
    assert "go together" in said
