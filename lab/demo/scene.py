"""`./dev demo`: a power supply begins to flutter, lifeboat gets everything off, the node dies, and nobody notices."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.text import Text

from agent.approve.approvers import DenyingApprover
from agent.execute.evacuation import Watcher
from agent.report import build_report, write_html
from agent.service.control_loop import ControlLoop, PassOutcome, PassResult
from agent.service.people.questions import Questions
from lab.demo.approver import Desk, asking, desk_of
from lab.demo.proof import prove
from lab.demo.screen import Screen
from lab.demo.stage import GuestWatch, Stage
from models.base import UtcTime, Value
from models.errors import LabError, LifeboatError
from models.evacuation import Attempt, Evacuation, EvacuationOutcome, NodeLoss
from models.fleet import Fleet
from models.plan import ActionKind
from models.policy.policy import Policy
from models.risk.risk import Risk
from models.verification import Check

BREAKING = "node-a"
_QUIET_PASSES = 2
"""passes over a healthy fleet before anything is broken: a loop that always evacuates proves nothing"""
_PASS_SECONDS = 2.0
_GIVE_UP_SECONDS = 180.0


class MoveFigures(Value):
    vm: str
    seconds: float | None
    downtime_ms: float | None
    """as libvirt measured it"""
    blackout_ms: float | None
    """longest silence seen by a client asking every 10 ms through the bridge"""


class DemoResult(Value):
    """What happened, for machines (`--json`)."""

    simulated: bool
    passed: bool
    checks: tuple[Check, ...]
    evacuation: str
    outcome: str
    broke_at: UtcTime
    triggered_by_sample_at: UtcTime
    """time of the newest sample the triggering risk stood on"""
    first_move_at: UtcTime
    trigger_to_first_move_seconds: float
    break_to_all_safe_seconds: float
    probability_at_trigger: float
    """P(fails within 2 h) when it acted"""
    alarms_before_trigger: int | None
    """SEL entries and log lines of the broken node that lifeboat could have read before it acted; None: unreadable"""
    moves: tuple[MoveFigures, ...]
    archives: tuple[str, ...]
    setup_seconds: float
    total_seconds: float
    report: str


def run_demo(
    stage_of: AbstractContextManager[Stage],
    screen: Screen,
    *,
    report_file: Path,
    started: float,
    ask_patience: float | None = None,
) -> DemoResult:
    """Play the whole scene on a stage. Raises LabError when lifeboat does not act in time or what it did does not hold.

    `ask_patience`: people are asked before anything moves, and after so many seconds the demo answers itself; None: policy
    agrees.
    """
    with ExitStack() as stack:
        stage = stack.enter_context(stage_of)
        setup_seconds = time.monotonic() - started
        policy, desk = stage.session.policy, None
        if ask_patience is not None:
            policy = asking(policy)
            desk = stack.enter_context(desk_of(stage.session, policy, screen.say, patience_seconds=ask_patience))
        return _Scene(stage, screen, report_file, started, setup_seconds, policy, desk).play()


class _Scene:
    def __init__(
        self,
        stage: Stage,
        screen: Screen,
        report_file: Path,
        started: float,
        setup_seconds: float,
        policy: Policy,
        desk: Desk | None,
    ) -> None:
        self.stage, self.screen, self.report_file = stage, screen, report_file
        self.started, self.setup_seconds = started, setup_seconds
        self.policy, self.desk = policy, desk
        self.clock = stage.session.hands.clock
        self.cancelled = threading.Event()
        self._announced: set[str] = set()
        self._alarms: int | None = None
        watcher = Watcher(
            on_progress=screen.show_progress, on_attempt_finished=screen.show_attempt, cancelled=self.cancelled
        )
        session = stage.session
        self.cycle = ControlLoop(
            hands=session.hands,
            policy=policy,
            questions=Questions(hands=session.hands, policy=policy) if desk is not None else None,
            look=self._look,
            planner=session.planner,
            approver=DenyingApprover(),
            watcher=watcher,
            carry_out=session.durable.execute,
        )

    def play(self) -> DemoResult:
        before = self._quiet_passes()
        marks: dict[str, tuple[GuestWatch, float]] = {}
        for vm in before.situation.fleet.vms:
            watch = self.stage.watch(vm)
            marks[vm.name] = (watch, watch.mark())
        broke_at = self.clock.now()
        self.stage.break_psu(BREAKING)
        self.screen.say(f"PSU 1 of {BREAKING} begins to flutter. No threshold is crossed; no alarm fires.", "yellow")
        acted = self._wait_until_it_acts()
        evacuation = acted.evacuation
        assert evacuation is not None
        self.screen.say(f"evacuation {evacuation.outcome}. Now {BREAKING} dies: libvirtd, guests, all at once.", "bold")
        died_at = self.clock.now()
        self.stage.kill(BREAKING)
        self.screen.show_death(BREAKING)
        checks = prove(self.stage, before.situation.fleet, evacuation, marks, BREAKING)
        checks += list(acted.verification.checks[-1:]) if acted.verification else []
        for check in checks:
            self.screen.say(
                f"{'✓' if check.passed else '✗'} {check.name}: {check.why}", "green" if check.passed else "red"
            )
        lost = NodeLoss(node=BREAKING, at=died_at, detail="killed by the demo")
        evacuation = evacuation.model_copy(update={"nodes_lost": (lost,)})
        self._write_report(acted, evacuation)
        return self._finish(acted, evacuation, checks, broke_at)

    def _count_alarms(self, node: str) -> int | None:
        try:
            return len(self.stage.alarms(node, self.clock.now() - timedelta(hours=1)))
        except LifeboatError as error:
            self.screen.say(f"{node}'s hardware log could not be read: {error}", "yellow")
            return None

    def _quiet_passes(self) -> PassResult:
        result: PassResult | None = None
        for _ in range(_QUIET_PASSES):
            result = self.cycle.run_once()
            if result.outcome is not PassOutcome.IDLE:
                raise LabError(
                    f"lifeboat wants to act on a healthy fleet: {result.why}", hint="this is a fault of the forecast"
                )
        assert result is not None
        fleet = result.situation.fleet
        self.screen.say(f"{len(fleet.vms)} vms on {len(fleet.nodes)} nodes, every risk is low: nothing to do")
        return result

    def _wait_until_it_acts(self) -> PassResult:
        clock = self.clock
        deadline = clock.monotonic() + _GIVE_UP_SECONDS
        while clock.monotonic() < deadline:
            began = clock.monotonic()
            try:
                result = self.cycle.run_once()
            except LifeboatError as error:
                self.screen.say(f"pass failed: {error}", "red")
            else:
                if result.evacuation is not None:
                    return result
                if self.desk is not None and result.outcome in (PassOutcome.ASKED, PassOutcome.WAITING):
                    if result.outcome is PassOutcome.ASKED:
                        deadline = clock.monotonic() + _GIVE_UP_SECONDS + self.desk.patience_seconds
                    self.desk.consider()
                elif result.outcome is not PassOutcome.IDLE:
                    raise LabError(f"lifeboat did not evacuate {BREAKING}: {result.why}")
            clock.sleep(max(0.0, _PASS_SECONDS - (clock.monotonic() - began)))
        raise LabError(f"{_GIVE_UP_SECONDS:.0f} s after its PSU began to fail, {BREAKING} was not evacuated")

    def _look(self) -> tuple[Fleet, list[Risk]]:
        fleet, risks = self.stage.session.look()
        self.screen.show_fleet(fleet)
        self.screen.show_risks(risks)
        for risk in risks:
            p = risk.within(self.policy.trigger.horizon.total_seconds())
            if p >= self.policy.trigger.probability and risk.node not in self._announced:
                self._announced.add(risk.node)
                self._alarms = self._count_alarms(risk.node)
                why = "; ".join(driver.why for driver in risk.drivers[:2])
                self.screen.say(f"{risk.node}: {p:.0%} to fail within 2 h — {why}", "bold yellow")
        return fleet, risks

    def _finish(self, acted: PassResult, evacuation: Evacuation, checks: list[Check], broke_at: datetime) -> DemoResult:
        assert acted.plan is not None
        by_name = {risk.node: risk for risk in acted.situation.risks or ()}
        trigger = by_name[BREAKING]
        assessed_at = trigger.assessed_at or acted.started_at
        sample_at = assessed_at - timedelta(seconds=trigger.data_age_seconds or 0.0)
        first_move_at = min(attempt.started_at for attempt in evacuation.attempts)
        all_safe_at = evacuation.ended_at or self.clock.now()
        moved = [a for a in evacuation.attempts if a.action.kind is ActionKind.LIVE_MIGRATE]
        done = evacuation.outcome is EvacuationOutcome.DONE
        return DemoResult(
            simulated=self.stage.simulated,
            passed=done and all(check.passed is True for check in checks),
            checks=tuple(checks),
            evacuation=evacuation.id,
            outcome=evacuation.outcome,
            broke_at=broke_at,
            triggered_by_sample_at=sample_at,
            first_move_at=first_move_at,
            trigger_to_first_move_seconds=(first_move_at - sample_at).total_seconds(),
            break_to_all_safe_seconds=(all_safe_at - broke_at).total_seconds(),
            probability_at_trigger=trigger.within(self.policy.trigger.horizon.total_seconds()),
            alarms_before_trigger=self._alarms,
            moves=tuple(_figures(attempt) for attempt in moved),
            archives=tuple(a.archive.id for a in evacuation.attempts if a.archive is not None),
            setup_seconds=self.setup_seconds,
            total_seconds=time.monotonic() - self.started,
            report=str(self.report_file),
        )

    def _write_report(self, acted: PassResult, evacuation: Evacuation) -> None:
        assert acted.plan is not None
        report = build_report(
            acted.situation,
            acted.plan,
            acted.verdict,
            now=self.clock.now(),
            evacuation=evacuation,
            fleet_after=acted.fleet_after,
            simulated_nodes=self.stage.simulated,
            audit_head=self.stage.session.hands.journal.head(),
        )
        self.report_file.parent.mkdir(parents=True, exist_ok=True)
        write_html(report, self.report_file)


def _figures(attempt: Attempt) -> MoveFigures:
    measured = attempt.measured
    return MoveFigures(
        vm=attempt.action.vm_name,
        seconds=measured.seconds,
        downtime_ms=None if measured.downtime_seconds is None else measured.downtime_seconds * 1000,
        blackout_ms=None if measured.blackout_seconds is None else measured.blackout_seconds * 1000,
    )


def show_result(result: DemoResult, console: Console) -> None:
    """The last screen: what happened, what was proven, where the report is."""
    marked = " (SIMULATED nodes)" if result.simulated else ""
    verdict = Text(
        "Nobody noticed." if result.passed else "Something does not hold.",
        "bold green" if result.passed else "bold red",
    )
    console.print()
    console.print(Text.assemble(verdict, marked))
    lines = [
        f"{BREAKING} was given {result.probability_at_trigger:.0%} to fail within 2 h; hardware alarms by then: "
        f"{'unknown' if result.alarms_before_trigger is None else result.alarms_before_trigger}.",
        f"First move {result.trigger_to_first_move_seconds:.1f} s after the sample that gave it away; everything safe "
        f"{result.break_to_all_safe_seconds:.0f} s after the power supply began to flutter.",
    ]
    silences = [move.blackout_ms for move in result.moves if move.blackout_ms is not None]
    if silences:
        lines.append(
            f"{len(result.moves)} live migrations; longest silence a client saw: {max(silences):.0f} ms. "
            f"{len(result.archives)} vms archived cold and verified."
        )
    failed = [check for check in result.checks if not check.passed]
    lines += [f"✗ {check.name}: {check.why}" for check in failed]
    lines.append(
        f"{len(result.checks) - len(failed)} of {len(result.checks)} checks hold. Took {result.total_seconds:.0f} s."
    )
    for line in lines:
        console.print(Text(f"  {line}"))
    console.print(Text.assemble("  report: ", (result.report, "bold")))
