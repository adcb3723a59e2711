"""`lifeboat apply`: carry out a plan that was made before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from agent.cli.options import ConfigOption, JsonOption, PolicyOption, ReportOption

if TYPE_CHECKING:
    from datetime import datetime

    from agent.service.session import Session
    from models.plan import Plan, Verdict
    from models.proposals.states import Proposal
    from models.situation import Situation

app = typer.Typer(rich_markup_mode=None)


@app.command()
def apply(
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan made by `lifeboat plan -o PLAN`.")],
    config: ConfigOption = None,
    policy_file: PolicyOption = None,
    approve_as: Annotated[
        str | None, typer.Option("--approve-as", metavar="NAME", help="Approve in this name instead of being asked.")
    ] = None,
    propose: Annotated[
        bool,
        typer.Option("--propose", help="Put it to policy's approvers; `lifeboat run` carries it out once they agree."),
    ] = False,
    report_file: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Carry out a plan: it is judged again on the fleet as it is now, approved, executed, verified and reported.

    A plan made by hand may name no fleet: whoever approves it approves it for the fleet as it is now. What a crash cut off
    is finished first; if that was this plan, it is not carried out again.

    Where policy names approvers, whoever wants a plan that needs a human does not agree to it as well: see --propose.
    """
    from agent.approve.approval import require_own_approval
    from agent.approve.approvers import PreapprovedBy, TerminalApprover
    from agent.cli.console import note
    from agent.cli.leisure import observed_idleness
    from agent.cli.outcome import conclude, is_of, report_after_crash, report_of, take_over
    from agent.cli.terminal.progress import ProgressLines
    from agent.documents import check_plan, read_plan
    from agent.guard.judge import judge
    from agent.service.control_loop import ControlLoop
    from agent.service.observability.span_export import exporting_spans
    from agent.service.session import connect
    from agent.settings import load_settings
    from agent.state.brake import with_past_moves
    from agent.state.trail import raised_in
    from models.plan import AtLeisure
    from models.situation import Situation
    from tools.tracing.log import configure_log
    from tools.tracing.spans import span
    from tools.tracing.trace import link, tracing

    settings = load_settings(config)
    configure_log(**dict(settings.log))
    check_plan(plan_file)
    with (
        exporting_spans(settings),
        connect(settings, policy_file) as session,
        ProgressLines() as lines,
        tracing(),
        span("apply", first=True),
    ):
        watcher = lines.watcher()
        recovered = take_over(session, watcher)
        fleet, risks = session.look()
        plan = read_plan(plan_file, fleet)
        for evacuation in recovered:
            if is_of(evacuation, plan):
                note(f"evacuation {evacuation.id} was of this plan; it is over now, and not carried out again")
                conclude(report_after_crash(evacuation, session), evacuation, report_file, as_json)
        now = session.hands.clock.now()
        fleet = with_past_moves(fleet, session.hands.journal, now)
        situation = Situation(fleet=fleet, risks=risks, policy=session.policy, now=now)
        if plan.at_leisure is AtLeisure.ARCHIVE_IDLE:
            situation = observed_idleness(situation, config)
        verdict = judge(plan, situation)
        link(*raised_in(plan.evacuating, session.hands.journal, now))
        if propose:
            _propose(session, plan, verdict, situation, as_json)
        _require_due(plan, now)
        require_own_approval(verdict, session.policy)
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
        result = cycle.execute_plan(plan, verdict, situation, now)
        if result.refusal is not None:
            raise result.refusal
        report = report_of(result, session)
    conclude(report, result.evacuation, report_file, as_json, verification=result.verification)


def _require_due(plan: Plan, now: datetime) -> None:
    """Raises Refused where nothing of the plan is due yet; says what of it has to wait."""
    from agent.cli.console import note
    from agent.service.put_off import is_early, waiting_for_its_time
    from models.errors import Refused

    parts = plan.parts(now)
    if is_early(parts[0], now):
        raise Refused(
            f"nothing of the plan is due: {waiting_for_its_time(parts[0], now)}",
            hint="`lifeboat apply PLAN --propose`: `lifeboat run` carries it out at its time; or plan with --at-once",
        )
    for later in parts[1:]:
        note(f"note: {waiting_for_its_time(later, now)}; plan again then, or --propose the plan to `lifeboat run`")


def _propose(session: Session, plan: Plan, verdict: Verdict, situation: Situation, as_json: bool) -> NoReturn:
    """Ask the approvers in the name of whoever is logged in here. Ends the command."""
    from secrets import token_hex

    from agent.approve.approval import bind_to_fleet, require_passed
    from agent.approve.facts import facts
    from agent.approve.identity import terminal_identity
    from agent.cli.console import console, write_json
    from agent.execute.evacuation import new_evacuation_id
    from agent.guard.judge import judge
    from agent.service.people.questions import Questions, asked_line
    from models.policy.approvers import Occasion
    from tools.ports.records.evacuations import EvacuationPlanned
    from tools.tracing.trace import current_links

    require_passed(plan, verdict)
    at = {vm.uuid: vm.node for vm in situation.fleet.vms}
    asked: list[Proposal] = []
    for part in plan.parts(situation.now):  # what begins at another time is a question of its own
        bound, judged = bind_to_fleet(part, verdict if part is plan else judge(part, situation), situation.fleet)
        require_passed(bound, judged)
        evacuation, now = new_evacuation_id(session.hands), session.hands.clock.now()
        session.hands.journal.append(
            EvacuationPlanned.of(bound, judged, situation.risks, trace=token_hex(16), links=current_links()),
            now=now,
            evacuation=evacuation,
        )
        nodes = (*bound.evacuating, *(action.source or at[action.vm] for action in bound.moves))
        occasions = dict.fromkeys(nodes, Occasion.ASKED)
        questions = Questions(hands=session.hands, policy=session.policy)
        asked.append(questions.ask(bound, judged, situation, evacuation, occasions, requested_by=terminal_identity()))
    if as_json:
        told = [facts(one, session.policy) for one in asked]
        write_json(told[0] if len(told) == 1 else told)
    else:
        for one in asked:
            console().print(asked_line(one, session.policy), markup=False, soft_wrap=True)
    raise SystemExit(0)
