"""`lifeboat cancel`, `pause` and `resume`: what an operator asks of an evacuation, from any terminal of its host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import ConfigOption, JsonOption, PolicyOption, ReportOption
from agent.cli.terminal import completion

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.state.requests import Request
    from tools.ports.clock import Clock
    from tools.ports.journal import Holder, Journal

app = typer.Typer(rich_markup_mode=None)

EvacuationArgument = Annotated[
    str,
    typer.Argument(
        metavar="[EVACUATION]",
        help="Its id, as `lifeboat status` shows it; not needed when there is only one.",
        autocompletion=completion.evacuations,
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
    """Cancel an evacuation for good: nothing new starts, and what has not switched over yet is taken back.

    If no lifeboat is running to do that, this command itself checks what had begun and ends it.
    """
    from agent.state.requests import Request

    settings, evacuation_id, running = _record(Request.CANCEL, evacuation, config)
    if running is None:
        _finish(settings, evacuation_id, policy_file, report_file, as_json)
    _print_state(
        evacuation_id, "cancelling", f"{_name(running)} ends what can be ended; see `lifeboat status`", as_json
    )


@app.command()
def pause(evacuation: EvacuationArgument = "", config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Pause an evacuation: what runs finishes, nothing new starts until `lifeboat resume`, not even after a restart."""
    from agent.state.requests import Request

    _, evacuation_id, running = _record(Request.PAUSE, evacuation, config)
    what_runs = f"{_name(running)} finishes what runs" if running else "no lifeboat is at work on it now"
    _print_state(evacuation_id, "paused", f"{what_runs}; nothing new begins", as_json)


@app.command()
def resume(
    evacuation: EvacuationArgument = "",
    config: ConfigOption = None,
    policy_file: PolicyOption = None,
    report_file: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Resume a paused evacuation, or finish one that a crash cut off; either way you approve its plan again.

    If no lifeboat is running to do that, this command carries it on: what had begun is checked first, and the rest must
    pass the guard on the fleet as it is now.
    """
    from agent.state.requests import Request

    settings, evacuation_id, running = _record(Request.RESUME, evacuation, config)
    if running is None:
        _finish(settings, evacuation_id, policy_file, report_file, as_json)
    _print_state(evacuation_id, "resumed", f"{_name(running)} goes on with it", as_json)


def _record(request: Request, evacuation: str, config: Path | None) -> tuple[Settings, str, Holder | None]:
    """Write the request down; the settings, the id of the evacuation it is for, and the lifeboat that runs now, if any."""
    from agent.actions.resources import KILL_SWITCH
    from agent.approve.identity import terminal_identity
    from agent.settings import load_settings
    from agent.state.requests import Request, ask
    from models.errors import BadInput, RecordNotWritten
    from tools.clock import SystemClock
    from tools.journal import lease_holder, open_journal
    from tools.ports.journal import NotWritten

    settings = load_settings(config)
    switch = f"`touch {settings.state_dir / KILL_SWITCH}` needs no database, and keeps lifeboat there from beginning anything"
    try:
        journal = open_journal(settings)
    except BadInput as error:
        if request is Request.RESUME:
            raise
        raise BadInput(error.message, hint=f"{error.hint}; {switch}") from error
    by, clock = terminal_identity(), SystemClock()
    try:
        if request is Request.RESUME:
            _require_approver(journal, settings, evacuation, by, clock)
        evacuation_id = ask(journal, request, evacuation, by=by, now=clock.now())
    except NotWritten as error:
        hint = f"nothing was asked; {switch}" if request is not Request.RESUME else "nothing was asked"
        raise RecordNotWritten(str(error), hint=hint) from error
    finally:
        journal.close()
    return settings, evacuation_id, lease_holder(settings)


def _require_approver(journal: Journal, settings: Settings, evacuation: str, by: str, clock: Clock) -> None:
    """To resume is to approve again: what people were asked about, only those who may answer resume. Raises NotAnApprover."""
    from agent.approve.proposals import read
    from agent.documents import read_policy
    from agent.state.requests import unfinished
    from models.errors import BadInput, NotAnApprover
    from models.policy.policy import Policy
    from models.proposals.rights import why_may_not

    policy = read_policy(settings.policy_file) if settings.policy_file is not None else Policy()
    for name in [evacuation] if evacuation else unfinished(journal):
        try:
            proposal = read(journal, name, clock)
        except BadInput:  # nobody was asked about it
            continue
        obstacle = why_may_not(by, proposal, policy.approval)
        if obstacle is not None:
            raise NotAnApprover(
                f"{by} can't resume {name}, which is approving it again: {obstacle}", hint="nothing was changed"
            )


def _finish(
    settings: Settings, evacuation_id: str, policy_file: Path | None, report_file: Path | None, as_json: bool
) -> None:
    """Do here what was asked, as no lifeboat is running. Ends the command, unless another lifeboat was faster."""
    from agent.cli.outcome import conclude, report_after_crash, take_over
    from agent.cli.terminal.progress import ProgressLines
    from agent.service.observability.span_export import exporting_spans
    from agent.service.session import connect
    from tools.tracing.log import configure_log

    configure_log(**dict(settings.log))
    with exporting_spans(settings), connect(settings, policy_file) as session, ProgressLines() as lines:
        for evacuation in take_over(session, lines.watcher()):
            if evacuation.id == evacuation_id:
                conclude(report_after_crash(evacuation, session), evacuation, report_file, as_json)


def _name(running: Holder | None) -> str:
    return running.name if running else "another lifeboat"


def _print_state(evacuation: str, state: str, detail: str, as_json: bool) -> None:
    from agent.cli.console import console, write_json

    if as_json:
        write_json({"evacuation": evacuation, "state": state, "detail": detail})
    else:
        console().print(f"{evacuation}: {state}; {detail}", soft_wrap=True)
