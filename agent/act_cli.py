"""`lifeboat apply`, `run` and `status`: the commands that change something, or say what was changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agent.connect import Session
    from agent.cycle import PassResult
    from agent.report import Report
    from models.evacuation import Evacuation

app = typer.Typer(rich_markup_mode=None)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", envvar="LIFEBOAT_CONFIG", help="Settings; default lifeboat.yaml, then /etc/lifeboat."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else there.")]
PolicyOption = Annotated[Path | None, typer.Option("--policy", help="Policy file, in place of the settings' one.")]
ReportOption = Annotated[Path | None, typer.Option("--report", help="Write the HTML report here.")]


@app.command()
def apply(
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan made by `lifeboat plan -o PLAN`.")],
    config: ConfigOption = None,
    policy_file: PolicyOption = None,
    approve_as: Annotated[
        str | None, typer.Option("--approve-as", metavar="NAME", help="Approve in this name instead of being asked.")
    ] = None,
    report_file: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Carry out a plan: judged again on the fleet as it is now, approved, executed, verified, reported."""
    from agent.approve import StandingApprover, TerminalApprover
    from agent.connect import connect
    from agent.cycle import Cycle
    from agent.files import read_plan
    from agent.guard import judge
    from agent.run_attempt import recover_attempts
    from agent.settings import load_settings

    settings = load_settings(config)
    plan = read_plan(plan_file)
    with connect(settings, policy_file) as session:
        recover_attempts(session.hands, session.policy)
        fleet, risks = session.look()
        now = session.hands.clock.now()
        verdict = judge(plan, fleet, risks, session.policy, now)
        approver = StandingApprover(approve_as) if approve_as else TerminalApprover()
        cycle = Cycle(session.hands, session.policy, session.look, session.planner, approver)
        result = cycle.act(plan, verdict, fleet, risks, now)
        if result.refusal is not None:
            raise result.refusal
        report = report_of(result, session)
    _conclude(report, result.evacuation, report_file, as_json)


@app.command()
def run(
    config: ConfigOption = None,
    policy_file: PolicyOption = None,
    once: Annotated[bool, typer.Option("--once", help="One pass, then end.")] = False,
    planner: Annotated[str, typer.Option(help="solver or llm")] = "solver",
) -> None:
    """The background agent: look, and act as policy allows, again and again."""
    from agent.approve import PolicyApprover
    from agent.connect import connect
    from agent.cycle import Cycle
    from agent.service import serve
    from agent.settings import load_settings

    settings = load_settings(config)
    with connect(settings, policy_file, planner=planner, keep_ring=True) as session:
        cycle = Cycle(session.hands, session.policy, session.look, session.planner, PolicyApprover())
        serve(cycle, interval=settings.interval, on_pass=lambda result: keep_report(result, session), once=once)


@app.command()
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """What is going on: evacuations so far, vms that are locked, and what a human must look at."""
    from agent.console import console, write_json
    from agent.journal import Journal
    from agent.settings import load_settings
    from agent.status import read_status, show_status

    journal = Journal(load_settings(config).state_dir / "journal.sqlite")
    found = read_status(journal)
    if as_json:
        write_json(found)
    else:
        show_status(found, console())


def keep_report(result: PassResult, session: Session) -> None:
    """Write the page of a pass that planned something under `state_dir/reports`."""
    if result.plan is None:
        return
    from agent.report import write_html

    name = result.evacuation.id if result.evacuation else f"plan-{result.started_at:%Y%m%dT%H%M%SZ}"
    path = session.settings.state_dir / "reports" / f"{name}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_html(report_of(result, session), path)


def report_of(result: PassResult, session: Session) -> Report:
    """The report of a pass that planned something."""
    from agent.report import build_report

    assert result.plan is not None
    return build_report(
        result.fleet,
        result.risks,
        result.plan,
        result.verdict,
        session.policy,
        now=session.hands.clock.now(),
        evacuation=result.evacuation,
        fleet_after=result.fleet_after,
        simulated_nodes=session.settings.simulated,
        audit_head=session.hands.journal.head(),
    )


def _conclude(report: Report, evacuation: Evacuation | None, report_file: Path | None, as_json: bool) -> None:
    from agent.console import console, note, write_json
    from agent.report import render_terminal, write_html

    if report_file is not None:
        write_html(report, report_file)
        note(f"report: {report_file}")
    if as_json:
        write_json(report)
    else:
        render_terminal(report, console())
    raise SystemExit(exit_code_of(evacuation))


def exit_code_of(evacuation: Evacuation | None) -> int:
    """0 done, 3 refused, 4 a human must look, 1 anything less than done."""
    from models.evacuation import EvacuationOutcome

    if evacuation is None:
        return 0
    codes = {EvacuationOutcome.DONE: 0, EvacuationOutcome.REFUSED: 3, EvacuationOutcome.INDETERMINATE: 4}
    return codes.get(evacuation.outcome, 1)
