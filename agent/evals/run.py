"""Scenes put to a planner, again and again, and what each answer came to and cost."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import openai

from agent.evals.scene import Scene
from agent.evals.score import score
from agent.evals.scorecard import Cost, SceneRun
from agent.llm.choose import planner_named
from agent.llm.connection import api_key, endpoint_of, explained
from agent.llm.record import ConversationRecord, LlmDirectory, tokens_of, tool_calls_of
from agent.plan import solver
from agent.settings import LlmSettings
from models.errors import BadInput
from models.plan import Plan
from tools.llm.capabilities import Capabilities
from tools.llm.endpoint import probe

CHECKOUT = Path(__file__).parents[2] / "tests" / "evals"
INSTALLED = Path(__file__).parent / "shipped"


def shipped_scenes() -> Path:
    """The folder with lifeboat's own scenes: in the package where it was installed from a wheel, else in the checkout."""
    for folder in (INSTALLED, CHECKOUT):
        if (folder / "scenes").is_dir():
            return folder
    raise BadInput("lifeboat's own scenes are not here", hint="name a folder with --scenes")


def run_scenes(
    scenes: Sequence[Scene],
    llm: LlmSettings | None,
    *,
    runs: int,
    on_run: Callable[[int], None] = lambda _: None,
) -> list[SceneRun]:
    """Every scene `runs` times; llm None: the solver plans.

    Conversations are kept in a folder of their own, which goes in the end; one look at the endpoint serves them all.
    `on_run` hears how many runs are done.
    """
    done: list[SceneRun] = []
    with tempfile.TemporaryDirectory(prefix="lifeboat-eval-") as kept:
        directory = Path(kept) / "llm"
        for number in range(1, runs + 1):
            for scene in scenes:
                done.append(_run(scene, llm, directory, number))
                on_run(len(done))
    return done


def require_answer(llm: LlmSettings) -> Capabilities:
    """What the endpoint can, asked once before a hundred scenes are. Raises PlannerFailed, with why, when it can nothing."""
    with openai.DefaultHttpxClient(timeout=llm.timeout_seconds, follow_redirects=False) as client:
        try:
            return probe(endpoint_of(llm, api_key(llm), client))
        except Exception as error:
            raise explained(error, llm) from error


def _run(scene: Scene, llm: LlmSettings | None, directory: Path, number: int) -> SceneRun:
    name = "solver" if llm is None else "llm"
    busy = time.process_time()
    by_solver = solver.plan(scene.situation, asked=scene.asked)
    alone = time.process_time() - busy
    planner = planner_named(name, llm, directory=directory, knowledge=lambda _: scene.knowledge)
    began, busy = time.monotonic(), time.process_time()
    plan = planner(scene.situation, asked=scene.asked)
    took, own = time.monotonic() - began, time.process_time() - busy - alone
    return SceneRun(
        scene=scene.name,
        topic=scene.topic,
        difficulty=scene.difficulty,
        run=number,
        score=score(scene, plan, by_solver, planner=name),
        cost=_cost(plan, directory, llm, took, own),
    )


def _cost(plan: Plan, directory: Path, llm: LlmSettings | None, took: float, own: float) -> Cost:
    digest = plan.planned_by.conversation_sha256
    if digest is None or llm is None:
        return Cost(seconds=round(took, 4))
    record: ConversationRecord = LlmDirectory(directory).read(digest)
    used = [tokens_of(exchange) for exchange in record.exchanges]
    prompt, completion = sum(p for p, _ in used), sum(c for _, c in used)
    return Cost(
        model_calls=len(record.exchanges),
        tool_calls=sum(tool_calls_of(exchange) for exchange in record.exchanges),
        prompt_tokens=prompt,
        completion_tokens=completion,
        money=round((prompt * llm.prompt_price + completion * llm.completion_price) / 1e6, 6),
        seconds=round(took, 4),
        own_processor_seconds=round(max(0.0, own), 4),
    )
