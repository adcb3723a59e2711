"""`lifeboat apply`, `run` and `status`: the commands that change something, or say what was changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from agent.execute.evacuation import Watcher
    from agent.report import Report
    from agent.service.control_loop import PassResult
    from agent.service.session import Session
    from models.evacuation import Evacuation
    from models.plan import Plan

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
    """Carry out a plan: judged again on the fleet as it is now, approved, executed, verified, reported.

    A plan made by hand may name no fleet: whoever approves it agrees to it for the fleet as it is now. What a crash cut off
    is finished first; when that was this very plan, it is not carried out a second time.
    """
    from agent.approve.approval import PreapprovedBy, TerminalApprover
    from agent.cli.console import note
    from agent.cli.progress import ProgressLines
    from agent.documents import check_plan, read_plan
    from agent.guard.judge import judge
    from agent.service.control_loop import ControlLoop
    from agent.service.session import connect
    from agent.settings import load_settings

    settings = load_settings(config)
    check_plan(plan_file)
    with connect(settings, policy_file) as session, ProgressLines() as lines:
        watcher = lines.watcher()
        over = take_over(session, watcher)
        fleet, risks = session.look()
        plan = read_plan(plan_file, fleet)
        for ended in over:
            if is_of(ended, plan):
                note(f"evacuation {ended.id} was of this plan; it is over now, and not carried out again")
                conclude(report_after_crash(ended, session), ended, report_file, as_json)
        now = session.hands.clock.now()
        verdict = judge(plan, fleet, risks, session.policy, now)
        approver = PreapprovedBy(approve_as) if approve_as else TerminalApprover()
        cycle = ControlLoop(
            session.hands,
            session.policy,
            session.look,
            session.planner,
            approver,
            watcher,
            carry_out=session.durable.execute,
            look_again=settings.interval,
        )
        result = cycle.execute_plan(plan, verdict, fleet, risks, now)
        if result.refusal is not None:
            raise result.refusal
        report = report_of(result, session)
    conclude(report, result.evacuation, report_file, as_json)


@app.command()
def run(
    config: ConfigOption = None,
    policy_file: PolicyOption = None,
    once: Annotated[bool, typer.Option("--once", help="One pass, then end.")] = False,
    planner: Annotated[str, typer.Option(help="solver or llm")] = "solver",
) -> None:
    """The background agent: look, and act as policy allows, again and again."""
    from agent.approve.approval import DenyingApprover
    from agent.service.control_loop import ControlLoop
    from agent.service.scheduler import log_watcher, serve
    from agent.service.session import connect
    from agent.settings import load_settings

    settings = load_settings(config)
    with connect(settings, policy_file, planner=planner, keep_ring=True) as session:
        cycle = ControlLoop(
            session.hands,
            session.policy,
            session.look,
            session.planner,
            DenyingApprover(),
            log_watcher(),
            carry_out=session.durable.execute,
            look_again=settings.interval,
        )
        serve(
            cycle,
            recover=lambda: session.durable.recover(session.hands, session.policy, session.look, cycle.watcher),
            interval=settings.interval,
            on_pass=lambda result: keep_report(result, session),
            once=once,
        )


@app.command()
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """What is going on: evacuations so far, vms that are locked, and what a human must look at."""
    from agent.cli.console import console, write_json
    from agent.settings import load_settings
    from agent.state.status import read_status, show_status
    from tools.journal.file_lease import holder
    from tools.journal.sqlite import open_journal

    settings = load_settings(config)
    journal = open_journal(settings.state_dir)
    found = read_status(journal, holder=holder(settings.state_dir))
    journal.close()
    if as_json:
        write_json(found)
    else:
        show_status(found, console())


def keep_report(result: PassResult, session: Session) -> None:
    """Write the page of a pass that planned something under `state_dir/reports`; not when somebody else was at work."""
    from models.errors import Busy

    if result.plan is None or isinstance(result.refusal, Busy):
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


def take_over(session: Session, watcher: Watcher) -> list[Evacuation]:
    """Finish what a crash cut off, if anything, and say so; the evacuations that are over now."""
    from agent.actions.runner import needs_recovery
    from agent.cli.console import note

    if not needs_recovery(session.hands.journal):
        return []
    attempts, evacuations = session.durable.recover(session.hands, session.policy, session.look, watcher)
    told = {attempt.id for evacuation in evacuations for attempt in evacuation.attempts}
    for attempt in (each for each in attempts if each.id not in told):  # of a paused evacuation: nobody watched it end
        note(f"recovered {attempt.id}: {attempt.outcome}: {attempt.message}")
    for evacuation in evacuations:
        note(f"evacuation {evacuation.id}, which was cut off, is over: {evacuation.outcome}")
    return evacuations


def is_of(evacuation: Evacuation, plan: Plan) -> bool:
    """Whether the evacuation was of this plan; of one made by hand, which has no fleet, whether it did the same."""

    def does(plan: Plan) -> list[tuple[str, str, str | None]]:
        return [(action.kind, action.vm, action.target) for action in plan.actions]

    if plan.fleet_sha256:
        return evacuation.plan.digest() == plan.digest()
    return does(evacuation.plan) == does(plan)


def report_after_crash(evacuation: Evacuation, session: Session) -> Report:
    """The report of an evacuation that another process began: its fleet is the one it was agreed for."""
    from agent.execute.evacuation import Run
    from agent.report import build_report

    order = Run.from_journal(session.hands, evacuation.id).order
    fleet_after, risks = session.look()
    return build_report(
        order.fleet,
        risks,
        order.plan,
        order.verdict,
        order.policy,
        now=session.hands.clock.now(),
        evacuation=evacuation,
        fleet_after=fleet_after,
        simulated_nodes=session.settings.simulated,
        audit_head=session.hands.journal.head(),
    )


def conclude(report: Report, evacuation: Evacuation | None, report_file: Path | None, as_json: bool) -> NoReturn:
    """Show the report and end the command with the evacuation's exit code."""
    from agent.cli.console import console, note, write_json
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
