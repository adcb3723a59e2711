"""How a command that carried something out ends: the report, and the exit code of what became of the evacuation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from agent.execute.evacuation import Watcher
    from agent.report import Report
    from agent.service.control_loop import PassResult
    from agent.service.session import Session
    from models.evacuation import Evacuation
    from models.fleet import Fleet
    from models.plan import Plan
    from models.risk.risk import Risk
    from models.verification import Check, Verification


def report_of(result: PassResult, session: Session) -> Report:
    """The report of a pass that planned something."""
    from agent.report import build_report

    assert result.plan is not None
    return build_report(
        result.situation,
        result.plan,
        result.verdict,
        now=session.hands.clock.now(),
        evacuation=result.evacuation,
        fleet_after=result.fleet_after,
        simulated_nodes=session.settings.simulated,
        audit_head=session.hands.journal.head(),
    )


def take_over(session: Session, watcher: Watcher) -> list[Evacuation]:
    """Finish what a crash cut off, if anything, with a line on stderr for each; the evacuations that are over now."""
    from agent.actions.runner import needs_recovery
    from agent.cli.console import note

    if not needs_recovery(session.hands.journal):
        return []
    attempts, evacuations = session.durable.recover(session.hands, session.policy, session.look, watcher)
    reported = {attempt.id for evacuation in evacuations for attempt in evacuation.attempts}
    for attempt in (
        each for each in attempts if each.id not in reported
    ):  # of a paused evacuation: no watcher saw it end
        note(f"recovered {attempt.id}: {attempt.outcome}: {attempt.message}")
    for evacuation in evacuations:
        note(f"evacuation {evacuation.id}, which was cut off, is over: {evacuation.outcome}")
    return evacuations


def is_of(evacuation: Evacuation, plan: Plan) -> bool:
    """Whether the evacuation was of this plan; of one made by hand, which names no fleet, whether it did the same."""

    def actions_of(plan: Plan) -> list[tuple[str, str, str | None]]:
        return [(action.kind, action.vm, action.target) for action in plan.actions]

    if plan.fleet_sha256:
        return evacuation.plan.digest() == plan.digest()
    return actions_of(evacuation.plan) == actions_of(plan)


def report_after_crash(evacuation: Evacuation, session: Session) -> Report:
    """The report of an evacuation that another process began, on the fleet it was approved for."""
    from agent.cli.console import note
    from agent.execute.evacuation import Run
    from agent.report import build_report
    from models.errors import LifeboatError
    from models.situation import Situation

    approved = Run.from_journal(session.hands, evacuation.id).approved
    fleet_after: Fleet | None = None
    risks: list[Risk] = []
    try:
        fleet_after, risks = session.look()
    except LifeboatError as error:  # how it ended is known, and must not be hidden by what can't be read now
        note(f"the fleet could not be looked at afterwards: {error}")
    now = session.hands.clock.now()
    return build_report(
        Situation(fleet=approved.fleet, risks=risks, policy=approved.policy, now=now),
        approved.plan,
        approved.verdict,
        now=now,
        evacuation=evacuation,
        fleet_after=fleet_after,
        simulated_nodes=session.settings.simulated,
        audit_head=session.hands.journal.head(),
    )


def conclude(
    report: Report,
    evacuation: Evacuation | None,
    report_file: Path | None,
    as_json: bool,
    *,
    verification: Verification | None = None,
) -> NoReturn:
    """Show the report and end the command with the evacuation's exit code."""
    from agent.cli.console import console, note, write_json
    from agent.report import render_terminal, write_report
    from models.errors import Indeterminate

    if report_file is not None:
        write_report(report, report_file)
        note(f"report: {report_file}")
    if as_json:
        write_json(report)
    else:
        render_terminal(report, console())
    unproven = unproven_moves(evacuation, verification)
    for check in unproven:
        note(f"lifeboat: {check.name}: {check.why} — find out which copy is the right one before anything is started")
    code = Indeterminate.exit_code if unproven else exit_code_of(evacuation)
    if code == Indeterminate.exit_code:
        note(f"what to look at, and what not to do: `lifeboat explain {Indeterminate.code}`")
    raise SystemExit(code)


def unproven_moves(evacuation: Evacuation | None, verification: Verification | None) -> list[Check]:
    """What was looked at afterwards and is not as an attempt that ended well says: a guest that somebody started during
    its archive, or one that runs nowhere."""
    from models.evacuation import AttemptOutcome

    if evacuation is None or verification is None:
        return []
    moved = {
        name
        for attempt in evacuation.attempts
        if attempt.outcome is AttemptOutcome.DONE
        for name in (f"vm {attempt.action.vm_name}", f"archive of {attempt.action.vm_name}")
    }
    return [check for check in verification.checks if check.passed is False and check.name in moved]


def exit_code_of(evacuation: Evacuation | None) -> int:
    """0 done (also: nothing to do), 3 refused, 4 needs a human, 1 anything else less than done."""
    from models.evacuation import EvacuationOutcome

    if evacuation is None:
        return 0
    codes = {EvacuationOutcome.DONE: 0, EvacuationOutcome.REFUSED: 3, EvacuationOutcome.INDETERMINATE: 4}
    return codes.get(evacuation.outcome, 1)
