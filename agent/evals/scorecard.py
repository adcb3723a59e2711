"""What many scores come to: pass^k, with intervals that say how little a few scenes show. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field

from agent.evals.scene import Topic
from agent.evals.score import Score
from models.base import Value
from models.share import Z_95, wilson


class Cost(Value):
    """What one run took."""

    model_calls: int = Field(default=0, ge=0)
    tool_calls: int = Field(default=0, ge=0)
    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)
    money: float = Field(default=0.0, ge=0)
    """in what the prices of the settings are in"""
    seconds: float = Field(default=0.0, ge=0)
    """wall clock, all in"""
    own_processor_seconds: float = Field(default=0.0, ge=0)
    """processor time of this process, the solver's own plan aside: what asking a model costs here"""


class SceneRun(Value):
    """One scene, once."""

    scene: str
    topic: Topic
    difficulty: int
    run: int
    score: Score
    cost: Cost


class Rate(Value):
    """A share, with the 95 % interval of Wilson over so many independent cases."""

    passed: float
    of: int
    share: float
    low: float
    high: float


class Scorecard(Value):
    """Everything of one evaluation."""

    planner: str
    model: str | None
    runs: int
    scenes: int
    pass_hat: dict[int, Rate]
    """k → P(k runs of one scene all pass), averaged over scenes"""
    by_topic: dict[Topic, Rate]
    """pass^1"""
    by_difficulty: dict[int, Rate]
    judgement_loss_ratio: float | None
    """true loss over all scenes of judgement, the solver's as 1; None: there was none, or the solver loses nothing there"""
    true_loss_ratio: float | None
    """over all scenes"""
    cost: Cost
    """summed"""
    seconds_p50: float
    seconds_p95: float
    own_processor_seconds_p50: float
    own_processor_seconds_p95: float
    most_model_calls: int
    most_tool_calls: int
    details: tuple[SceneRun, ...]


def rate_of(passed: float, of: int) -> Rate:
    """The share and its interval; `passed` may be a sum of shares."""
    low, high = wilson(passed, of, Z_95)
    share = passed / of if of else 0.0
    return Rate(passed=round(passed, 4), of=of, share=round(share, 4), low=round(low, 4), high=round(high, 4))


def pass_hat(k: int, passes: Sequence[tuple[int, int]]) -> Rate:
    """P(k runs of one scene all pass), from (passed, runs) by scene: C(passed, k) / C(runs, k), averaged. Runs of one scene are
    no independent cases, so the interval is over scenes. Raises ValueError where a scene has fewer than k runs."""
    if any(runs < k for _, runs in passes):
        raise ValueError(f"pass^{k} needs {k} runs of each scene")
    return rate_of(sum(math.comb(passed, k) / math.comb(runs, k) for passed, runs in passes), len(passes))


def scorecard(runs: Sequence[SceneRun], *, planner: str, model: str | None) -> Scorecard:
    """The card. Raises ValueError without any run."""
    if not runs:
        raise ValueError("nothing was run")
    by_scene: dict[str, list[SceneRun]] = {}
    for run in runs:
        by_scene.setdefault(run.scene, []).append(run)
    passes = {name: (sum(run.score.passed for run in mine), len(mine)) for name, mine in by_scene.items()}
    first = {name: mine[0] for name, mine in by_scene.items()}
    most = min(len(mine) for mine in by_scene.values())

    def rate(names: Sequence[str]) -> Rate:
        return pass_hat(1, [passes[name] for name in names])

    topics = {topic: [n for n, run in first.items() if run.topic is topic] for topic in Topic}
    levels = sorted({run.difficulty for run in runs})
    seconds, own = [run.cost.seconds for run in runs], [run.cost.own_processor_seconds for run in runs]
    return Scorecard(
        planner=planner,
        model=model,
        runs=most,
        scenes=len(by_scene),
        pass_hat={k: pass_hat(k, list(passes.values())) for k in range(1, most + 1)},
        by_topic={topic: rate(names) for topic, names in topics.items() if names},
        by_difficulty={n: rate([name for name, run in first.items() if run.difficulty == n]) for n in levels},
        judgement_loss_ratio=_ratio([run for run in runs if run.topic is Topic.JUDGEMENT]),
        true_loss_ratio=_ratio(runs),
        cost=_summed([run.cost for run in runs]),
        seconds_p50=_quantile(seconds, 0.5),
        seconds_p95=_quantile(seconds, 0.95),
        own_processor_seconds_p50=_quantile(own, 0.5),
        own_processor_seconds_p95=_quantile(own, 0.95),
        most_model_calls=max(run.cost.model_calls for run in runs),
        most_tool_calls=max(run.cost.tool_calls for run in runs),
        details=tuple(runs),
    )


def _ratio(runs: Sequence[SceneRun]) -> float | None:
    solvers = sum(run.score.solver_true_loss for run in runs)
    return round(sum(run.score.true_loss for run in runs) / solvers, 4) if solvers > 0 else None


def _quantile(values: Sequence[float], share: float) -> float:
    """The least value that this share does not pass."""
    ordered = sorted(values)
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3)


def _summed(costs: Sequence[Cost]) -> Cost:
    return Cost(
        model_calls=sum(c.model_calls for c in costs),
        tool_calls=sum(c.tool_calls for c in costs),
        prompt_tokens=sum(c.prompt_tokens for c in costs),
        completion_tokens=sum(c.completion_tokens for c in costs),
        money=round(sum(c.money for c in costs), 6),
        seconds=round(sum(c.seconds for c in costs), 3),
        own_processor_seconds=round(sum(c.own_processor_seconds for c in costs), 3),
    )
