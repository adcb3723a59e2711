"""`lifeboat cancel`, `pause` and `resume`: steer an evacuation from any terminal of its host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.apply import ConfigOption, JsonOption, PolicyOption, ReportOption

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.state.requests import Request
    from tools.journal.file_lease import Holder

app = typer.Typer(rich_markup_mode=None)

EvacuationArgument = Annotated[
    str,
    typer.Argument(
        metavar="[EVACUATION]", help="Its id, as `lifeboat status` shows it; may be left out for the only one."
    ),
]


@app.command()
def cancel(
    evacuation: EvacuationArgument = "",
    config: ConfigOption = None,
    policy_file: PolicyOption = None,
    report_file: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Call an evacuation off: nothing new begins, and what has not switched over yet is taken back. For good.

    Without a live lifeboat to heed it, this command itself looks at what had begun and ends it.
    """
    from agent.state.requests import Request

    settings, asked, alive = _ask(Request.CANCEL, evacuation, config)
    if alive is None:
        _finish(settings, asked, policy_file, report_file, as_json)
    _say(asked, "cancelling", f"{_who(alive)} ends what can be ended; see `lifeboat status`", as_json)


@app.command()
def pause(evacuation: EvacuationArgument = "", config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Hold an evacuation: what runs finishes, nothing new begins until `lifeboat resume`, not even after a restart."""
    from agent.state.requests import Request

    _, asked, alive = _ask(Request.PAUSE, evacuation, config)
    what_runs = f"{_who(alive)} finishes what runs" if alive else "no lifeboat is at work on it now"
    _say(asked, "paused", f"{what_runs}; nothing new begins", as_json)


@app.command()
def resume(
    evacuation: EvacuationArgument = "",
    config: ConfigOption = None,
    policy_file: PolicyOption = None,
    report_file: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a paused evacuation go on, or finish one that a crash cut off; either way you agree to its plan again.

    Without a live lifeboat to heed it, this command carries it on: what had begun is looked at first, and the rest has
    to pass the guard on the fleet as it is now.
    """
    from agent.state.requests import Request

    settings, asked, alive = _ask(Request.RESUME, evacuation, config)
    if alive is None:
        _finish(settings, asked, policy_file, report_file, as_json)
    _say(asked, "resumed", f"{_who(alive)} goes on with it", as_json)


def _ask(request: Request, evacuation: str, config: Path | None) -> tuple[Settings, str, Holder | None]:
    import getpass

    from agent.settings import load_settings
    from agent.state.requests import ask
    from tools.clock import SystemClock
    from tools.journal.file_lease import holder
    from tools.journal.sqlite import open_journal

    settings = load_settings(config)
    journal = open_journal(settings.state_dir)
    try:
        asked = ask(journal, request, evacuation, by=f"terminal:{getpass.getuser()}", now=SystemClock().now())
    finally:
        journal.close()
    return settings, asked, holder(settings.state_dir)


def _finish(settings: Settings, asked: str, policy_file: Path | None, report_file: Path | None, as_json: bool) -> None:
    """Nobody else is there to do it. Ends the command, unless another lifeboat was faster."""
    from agent.cli.apply import conclude, report_after_crash, take_over
    from agent.cli.progress import ProgressLines
    from agent.service.session import connect

    with connect(settings, policy_file) as session, ProgressLines() as lines:
        for ended in take_over(session, lines.watcher()):
            if ended.id == asked:
                conclude(report_after_crash(ended, session), ended, report_file, as_json)


def _who(alive: Holder | None) -> str:
    return f"lifeboat (pid {alive.pid})" if alive else "another lifeboat"


def _say(evacuation: str, state: str, what: str, as_json: bool) -> None:
    from agent.cli.console import console, write_json

    if as_json:
        write_json({"evacuation": evacuation, "state": state, "detail": what})
    else:
        console().print(f"{evacuation}: {state}; {what}", soft_wrap=True)
