"""`lifeboat lab demo` and `lifeboat lab preflight`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from lab.demo.stage import Report, Stage


def demo(
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here.")] = None,
    report_file: Annotated[Path, typer.Option("--report", metavar="FILE", help="Where the HTML report goes.")] = Path(
        "out/demo-report.html"
    ),
    simulated: Annotated[bool, typer.Option("--simulated", help="Simulated nodes: needs no root and no QEMU.")] = False,
    approve: Annotated[
        bool,
        typer.Option("--approve", help="Ask first: a page in your browser shows the question and has the buttons."),
    ] = False,
    patience: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="With --approve: press it for you after this long; 60, at once without a terminal."
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the lab up afterwards.")] = False,
    name: Annotated[str, typer.Option("--name", help="Which lab.")] = "default",
) -> None:
    """Play the demo: a power supply begins to flutter, lifeboat gets every vm off, the node dies, nobody notices."""
    from agent.cli.console import console
    from lab.demo.scene import run_demo, show_result
    from lab.demo.screen import Screen
    from models.policy.policy import TriggerPolicy

    if approve:
        _quiet_log()
    started = time.monotonic()
    waits = (60.0 if sys.stdin.isatty() else 0.0) if patience is None else patience
    missing = [] if simulated else _missing()
    for line in missing:
        typer.echo(f"lifeboat: the real lab can't run here: {line}", err=True)
    simulated = simulated or bool(missing)
    title = "lifeboat demo — " + ("SIMULATED nodes" if simulated else "three real libvirt nodes, real QEMU guests")
    with Screen(console(), title, TriggerPolicy()) as screen:
        if missing:
            screen.say("playing on SIMULATED nodes instead", "yellow")
        stage = _stage(simulated, name, screen.say, keep=keep)
        result = run_demo(
            stage, screen, report_file=report_file, started=started, ask_patience=waits if approve else None
        )
    show_result(result, console())
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    raise SystemExit(0 if result.passed else 1)


def _quiet_log() -> None:
    """The screen tells the story; the agent's own log lines would run into it."""
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


def preflight() -> None:
    """Check whether the real lab can run here: exit code 0 and no output, or 1 and a line for each thing missing."""
    missing = _missing()
    for line in missing:
        typer.echo(line)
    raise SystemExit(1 if missing else 0)


def _missing() -> list[str]:
    from lab.nodes.preflight import preflight as find_missing

    return [str(missing) for missing in find_missing()]


def _stage(simulated: bool, name: str, report: Report, *, keep: bool) -> AbstractContextManager[Stage]:
    if simulated:
        from lab.demo.simulated_stage import simulated_stage

        return simulated_stage(report)
    from lab.demo.stage import lab_stage

    return lab_stage(name, report, keep=keep)
