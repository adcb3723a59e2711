"""`lifeboat eval`: how well a planner does on scenes whose true outcome is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import ConfigOption, JsonOption
from agent.cli.terminal import completion

if TYPE_CHECKING:
    from agent.evals.scorecard import Rate, Scorecard
    from agent.settings import LlmSettings

app = typer.Typer(rich_markup_mode=None)


@app.command("eval")
def evaluate(
    scenes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SCENES]...", help="Names of scenes, or how they begin; default: all."),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="M", help="As the server lists it.")] = None,
    base_url: Annotated[
        str | None, typer.Option("--base-url", metavar="U", help="Where the server's API begins, up to /v1.")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option("--api-key-file", metavar="F", help="Holds the key, where the server wants one.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=100, help="How often each scene is asked.")] = 1,
    planner: Annotated[
        str, typer.Option(metavar="solver|llm", help="Who plans.", autocompletion=completion.planners)
    ] = "llm",
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", min=0.1, help="For one conversation.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--scenes", metavar="DIR", help="Scenes of your own (fleets/ and scenes/ in it).")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put scenes to a planner and score the end state: what the guard lets through, what is lost in the true world, and what
    had to happen or must not. No model judges. Leaving it to the solver scores nothing where there was something to do.

    The model is that of --model and --base-url, else that of the settings. Changes nothing.
    """
    from agent.cli.console import note, write_json
    from agent.evals.run import require_answer, run_scenes, shipped_scenes
    from agent.evals.scene_files import load_scenes
    from agent.evals.scorecard import scorecard
    from models.errors import BadInput
    from models.text import visible

    if planner not in ("solver", "llm"):
        raise BadInput(f"--planner {planner!r} is not known", hint="solver or llm")
    llm = _endpoint(model, base_url, key_file, timeout, config) if planner == "llm" else None
    found = load_scenes(folder or shipped_scenes(), tuple(scenes or ()))
    if llm is not None:
        note(f"{visible(llm.model, 60)} answers by {require_answer(llm).interface.value}")

    def told(number: int) -> None:
        if number % 25 == 0:
            note(f"{number} of {runs * len(found)} runs")

    ran = run_scenes(found, llm, runs=runs, on_run=told)
    card = scorecard(ran, planner=planner, model=llm.model if llm else None)
    if as_json:
        write_json(card)
    else:
        _print(card)


def _endpoint(
    model: str | None, base_url: str | None, key_file: Path | None, timeout: float | None, config: Path | None
) -> LlmSettings:
    """The endpoint asked for, without the settings' fallback: each model is scored for itself."""
    from agent.settings import LlmSettings, load_settings_if_any
    from models.errors import BadInput

    if (model is None) != (base_url is None):
        raise BadInput("--model and --base-url go together", hint="give both, or neither and have the settings say it")
    given: dict[str, object] = {"api_key_file": key_file, "timeout_seconds": timeout}
    if model is not None and base_url is not None:
        return LlmSettings.model_validate(
            {"model": model, "base_url": base_url, **{k: v for k, v in given.items() if v is not None}}
        )
    settings = load_settings_if_any(config)
    if settings is None or settings.llm is None:
        raise BadInput("no language model is named", hint="--model M --base-url U, or `llm` in the settings")
    changed = {name: value for name, value in given.items() if value is not None}
    return settings.llm.model_copy(update={"fallback": None, **changed})


def _print(card: Scorecard) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from agent.cli.console import console
    from models.text import counted, visible

    out = console()
    who = f"{visible(card.model, 60)}" if card.model else "the solver"
    out.print(Text(f"{who}: {counted(card.scenes, 'scene')}, {counted(card.runs, 'run')} each", style="bold"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    for column in ("", "passed", "95 % interval", "scenes"):
        table.add_column(column, no_wrap=True, justify="left" if not column else "right")
    rows = [(f"pass^{k}", rate) for k, rate in card.pass_hat.items()]
    rows += [(topic.value, rate) for topic, rate in card.by_topic.items()]
    rows += [(f"difficulty {level}", rate) for level, rate in card.by_difficulty.items()]
    for name, rate in rows:
        table.add_row(name, *_shown(rate))
    out.print(table)
    if card.judgement_loss_ratio is not None:
        ratio = f"{card.judgement_loss_ratio:.2f}"
        out.print(Text(f"True loss where judgement helps: {ratio} of the solver's plans."))
    if card.true_loss_ratio is not None:
        out.print(Text(f"True loss over all scenes: {card.true_loss_ratio:.2f} of the solver's plans."))
    cost = card.cost
    if card.model:
        out.print(
            Text(
                f"{cost.model_calls} model calls (at most {card.most_model_calls} a plan), {cost.tool_calls} tool calls (at most "
                f"{card.most_tool_calls}); {cost.prompt_tokens} tokens sent, {cost.completion_tokens} written"
                f"{f', costing {cost.money:.2f}' if cost.money else ''}."
            )
        )
        out.print(
            Text(
                f"A plan took {card.seconds_p50:.2f} s (half of them), {card.seconds_p95:.2f} s (95 of 100); our own processor "
                f"time {1000 * card.own_processor_seconds_p50:.0f} ms and {1000 * card.own_processor_seconds_p95:.0f} ms."
            )
        )
    failed = [run for run in card.details if not run.score.passed]
    for run in failed[:20]:
        out.print(Text(f"  {run.scene} (run {run.run}): {visible('; '.join(run.score.faults), 300)}"))
    if failed[20:]:
        out.print(Text(f"  and {len(failed) - 20} more, in --json", style="dim"))


def _shown(rate: Rate) -> tuple[str, str, str]:
    return f"{100 * rate.share:.1f} %", f"{100 * rate.low:.1f}–{100 * rate.high:.1f} %", str(rate.of)
