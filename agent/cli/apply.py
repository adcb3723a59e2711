"""`lifeboat apply`: carry out a plan that was made before."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.options import ConfigOption, JsonOption, PolicyOption, ReportOption

app = typer.Typer(rich_markup_mode=None)


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
    """Carry out a plan: it is judged again on the fleet as it is now, approved, executed, verified and reported.

    A plan made by hand may name no fleet: whoever approves it approves it for the fleet as it is now. What a crash cut off
    is finished first; if that was this plan, it is not carried out again.
    """
    from agent.approve.approvers import PreapprovedBy, TerminalApprover
    from agent.cli.console import note
    from agent.cli.outcome import conclude, is_of, report_after_crash, report_of, take_over
    from agent.cli.terminal.progress import ProgressLines
    from agent.documents import check_plan, read_plan
    from agent.guard.judge import judge
    from agent.service.control_loop import ControlLoop
    from agent.service.session import connect
    from agent.settings import load_settings
    from models.situation import Situation

    settings = load_settings(config)
    check_plan(plan_file)
    with connect(settings, policy_file) as session, ProgressLines() as lines:
        watcher = lines.watcher()
        recovered = take_over(session, watcher)
        fleet, risks = session.look()
        plan = read_plan(plan_file, fleet)
        for evacuation in recovered:
            if is_of(evacuation, plan):
                note(f"evacuation {evacuation.id} was of this plan; it is over now, and not carried out again")
                conclude(report_after_crash(evacuation, session), evacuation, report_file, as_json)
        now = session.hands.clock.now()
        situation = Situation(fleet=fleet, risks=risks, policy=session.policy, now=now)
        approver = PreapprovedBy(approve_as) if approve_as else TerminalApprover()
        cycle = ControlLoop(
            hands=session.hands,
            policy=session.policy,
            look=session.look,
            planner=session.planner,
            approver=approver,
            watcher=watcher,
            carry_out=session.durable.execute,
            look_again=settings.interval,
        )
        result = cycle.execute_plan(plan, judge(plan, situation), situation, now)
        if result.refusal is not None:
            raise result.refusal
        report = report_of(result, session)
    conclude(report, result.evacuation, report_file, as_json, verification=result.verification)
