"""Play one scenario: apply its plan through the same path as `lifeboat apply`, break things at their moments, look at the end.

What comes out is `Told`: lines anybody could have observed, the same whichever stage it was played on.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos.invariants import Before, broken_invariants
from chaos.process import Process, Stopped
from chaos.scenario import Fault, Scenario
from chaos.stage import Stage
from chaos.verbs import happen, takes_time
from scenes.simulated_world import POLICY

from agent.actions.runner import recover_attempts
from agent.cli.outcome import exit_code_of
from agent.guard.judge import judge
from agent.service.control_loop import ControlLoop, PassResult
from models.errors import LifeboatError
from models.evacuation import Attempt, AttemptOutcome
from models.fleet import Fleet
from models.plan import Action, ActionKind, Plan
from models.policy.policy import Policy
from models.risk.risk import Risk
from models.situation import Situation
from tools.ports.approval import ApprovalAnswer
from tools.simulated.migration import Phase

_PHASE = re.compile(rf"(?P<vm>\S+) is (?P<phase>{'|'.join(Phase)})")
_TIME = re.compile(r"([\d.]+) seconds have passed")
_ABORT_SECONDS = 20.0
_HEED_SECONDS = 5.0


@dataclass(frozen=True)
class Command:
    """One thing that lifeboat was told to do, and how it ended."""

    what: str
    exit_code: int | None
    """None: it was stopped dead, or is no command of its own (recovery)"""
    outcome: str
    attempts: tuple[Attempt, ...]
    said: str = ""
    """why it was refused"""


@dataclass
class Told:
    """What was observed."""

    lines: list[str] = field(default_factory=list[str])
    commands: list[Command] = field(default_factory=list[Command])
    where: dict[str, str] = field(default_factory=dict[str, str])
    """vm → where it is at the end"""
    broken: list[str] = field(default_factory=list[str])
    """invariants that do not hold"""


def replay(scenario: Scenario, phase: str, stage: Stage, directory: Path) -> Told:
    """Play a scenario in one phase. Never raises for what lifeboat does wrong: that is in `Told.broken`."""
    play = Play(scenario.at(phase), stage, directory)
    previous_hook = threading.excepthook
    threading.excepthook = lambda args: (
        None if args.exc_type is Stopped else previous_hook(args)
    )  # a killed thread says nothing
    try:
        return play.run()
    finally:
        play.close()
        threading.excepthook = previous_hook


class Play:
    """One scenario under way."""

    def __init__(self, scenario: Scenario, stage: Stage, directory: Path) -> None:
        self.scenario = scenario
        self.stage = stage
        self.directory = directory
        self.told = Told()
        self.policy = stage.policy(_merged(POLICY, scenario.policy, asks=scenario.asks))
        self.before = Before.of(stage)
        self._waiting: list[Fault] = []
        self._moments = 0
        self._busy = False
        self._in_phase = threading.local()
        self._mutex = threading.RLock()
        self._processes: list[Process] = []
        self._journals: list[Path] = []
        self.process = self._start("lifeboat", "journal.sqlite")
        self.plan = self._plan(stage.look())
        for fault in scenario.faults:
            self._arm(fault)

    def run(self) -> Told:
        self.apply()
        self._check(finished=False)
        for sentence in self.scenario.afterwards:
            self.told.lines.append(f"then: {sentence}")
            commands = len(self.told.commands)
            happen(sentence, self)
            if len(self.told.commands) > commands:
                self._check(finished=False)
        self._tell_the_end()
        return self.told

    def close(self) -> None:
        for process in self._processes:
            process.close()

    # --- lifeboat ---------------------------------------------------------------------------------------------------

    def apply(self) -> None:
        """As `lifeboat apply PLAN`, the guard's verdict aside: this suite begins where the guard has said yes."""
        self._apply(self.process, "apply")

    def apply_beside(self, *, same_host: bool) -> None:
        """Another process is given the same plan, and comes to its end before anything else goes on."""
        before, name = self.process, "another lifeboat"
        self.process = self._start(name, "journal.sqlite" if same_host else "journal-2.sqlite")
        try:
            with self.stage.others_wait():
                self._apply(self.process, name)
        finally:
            self.process = before

    def recover(self) -> None:
        """A new process on the same state directory, which first ends what the one before left open."""
        self.process = self._start("lifeboat", "journal.sqlite")
        try:
            with self._running(self.process):
                attempts = recover_attempts(self.process.hands, self.policy)
        except Stopped:
            self._note(Command("recovery", None, "stopped dead", ()))
        else:
            self._note(Command("recovery", None, "", tuple(attempts)))

    def stop(self) -> None:
        """SIGKILL, if there is anything to kill."""
        if self._busy:
            self.process.stop()

    @contextmanager
    def _running(self, process: Process) -> Generator[None]:
        busy, self._busy = self._busy, True
        self.stage.used_by(process.require_running)
        try:
            yield
        finally:
            self._busy = busy
            if not busy:
                self.stage.used_by(None)

    def cancel(self) -> None:
        """Ctrl-C, and whoever carries the evacuation out has taken it in. A live migration goes on only once it was asked
        to end: the same in virtual time as in real."""
        process = self.process
        process.watcher.cancelled.set()
        deadline = time.monotonic() + _HEED_SECONDS
        while not process.heeded_cancel() and self._busy and time.monotonic() < deadline:
            time.sleep(0.005)  # real time: the thread that heeds it looks every so often
        if getattr(self._in_phase, "deep", False):
            process.abort_asked.wait(_ABORT_SECONDS)

    def _start(self, name: str, journal: str) -> Process:
        path = self.directory / journal
        if path not in self._journals:
            self._journals.append(path)
        process = Process(
            name,
            dict(self.stage.nodes),
            self.stage.clock,
            path,
            self.stage.open_store(),
            self._moment,
            {uuid: vm for vm, uuid in self.stage.uuids.items()},
        )
        self._processes.append(process)
        return process

    def _apply(self, process: Process, what: str) -> None:
        try:
            with self._running(process):
                command = _ended(what, self._act(process))
        except Stopped:
            command = Command(what, None, "stopped dead", ())
        except LifeboatError as error:
            command = Command(what, error.exit_code, error.code, (), str(error))
        except Exception as error:
            self.told.broken.append(f"{what} crashed: {error!r}")
            command = Command(what, 1, f"crashed: {type(error).__name__}", ())
        self._note(command)

    def _act(self, process: Process) -> PassResult:
        clock = process.hands.clock
        fleet = self.stage.look()
        plan = self.plan if self.plan.fleet_sha256 == fleet.digest() else self._plan(fleet)
        process.moment("makes the plan")
        situation = Situation(fleet=fleet, risks=(), policy=self.policy, now=clock.now())
        verdict = judge(plan, situation, rules=())

        def look() -> tuple[Fleet, list[Risk]]:
            process.require_running()
            return self.stage.look(), []

        cycle = ControlLoop(
            hands=process.hands, policy=self.policy, look=look, planner=_no_planner, approver=_Human(process),
            watcher=process.watcher,
        )  # fmt: skip
        return cycle.execute_plan(plan, verdict, situation, clock.now())

    def _plan(self, fleet: Fleet) -> Plan:
        actions: list[Action] = []
        for wave, line in enumerate(self.scenario.plan):
            match = re.fullmatch(r"(\S+): (\S+)(?: to (\S+))?", line)
            assert match, f"plan line {line!r}"
            name, kind, target = match.groups()
            uuid = self.stage.uuids[name]
            if (vm := fleet.vm_by_uuid.get(uuid)) is None or vm.node == target:
                continue  # the guard would refuse it
            actions.append(
                Action(kind=ActionKind(kind), vm=uuid, vm_name=name, source=vm.node, target=target, wave=wave)
            )
        return Plan(
            created_at=fleet.observed_at, fleet_sha256=fleet.digest(), evacuating=("node-a",), actions=tuple(actions)
        )

    # --- moments ----------------------------------------------------------------------------------------------------

    def _arm(self, fault: Fault) -> None:
        passed = _TIME.fullmatch(fault.when)
        if passed is not None:
            self.stage.after_seconds(float(passed[1]), lambda: self._do(fault))
            return
        match = _PHASE.fullmatch(fault.when)
        if match is None:
            self._waiting.append(fault)
            return
        slow = any(takes_time(sentence) for sentence in fault.do)

        def in_phase() -> None:
            self._in_phase.deep = True
            try:
                self._do(fault)
            finally:
                self._in_phase.deep = False

        self.stage.when(match["vm"], Phase(match["phase"]), in_phase, takes_time=slow)

    def _moment(self, process: Process, words: str) -> None:
        with self._mutex:
            self._moments += 1
            now = (f"{process.name} {words}", f"moment {self._moments}")
            due = [fault for fault in self._waiting if fault.when in now]
            self._waiting = [fault for fault in self._waiting if fault not in due]
        for fault in due:
            self._do(fault)

    def _do(self, fault: Fault) -> None:
        for sentence in fault.do:
            happen(sentence, self)

    # --- what is told -------------------------------------------------------------------------------------------------

    def _note(self, command: Command) -> None:
        self.told.commands.append(command)
        code = f"exit {command.exit_code}, " if command.exit_code is not None else ""
        said = f": {_mentions(command.said)}" if command.said else ""
        self.told.lines.append(f"{command.what}: {code}{command.outcome}{said}".rstrip(" :,"))
        for attempt in command.attempts:
            action = attempt.action
            there = f" to {action.target}" if action.target else ""
            why = f" ({attempt.error_code})" if attempt.error_code else ""
            self.told.lines.append(
                f"  {action.vm_name}: {action.kind}{there}: {attempt.outcome}{why}; {_mentions(attempt.message)}"
            )

    def _check(self, *, finished: bool) -> None:
        for each in broken_invariants(self.stage, self._journals, self.before, finished=finished):
            if each not in self.told.broken:
                self.told.broken.append(each)
                self.told.lines.append(f"  BROKEN: {re.sub(r'evac-[^ ]+', 'ID', each)}")

    def _tell_the_end(self) -> None:
        lines = self.told.lines
        lines.append("at the end:")
        for vm in self.scenario.involved():
            copies = self.stage.copies(vm)
            self.told.where[vm] = ", ".join(map(str, copies)) or "nowhere"
            lines.append(f"  {vm}: {self.told.where[vm]}")
        with suppress(LifeboatError):
            names = {uuid: vm for vm, uuid in self.stage.uuids.items()}
            archives = sorted(names[entry.vm_uuid] for entry in self.stage.store.entries() if entry.vm_uuid in names)
            if archives:
                lines.append(f"  archived: {', '.join(archives)}")
        locks = sorted(self.process.vm_name(vm) for vm in self.process.journal.locks())
        if locks:
            lines.append(f"  locked: {', '.join(locks)}")
        self._check(finished=True)


class _Human:
    """Is asked, and agrees."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def ask(self, question: str) -> ApprovalAnswer:
        self._process.moment("asks a human")
        return ApprovalAnswer(approved=True, by="ana")


def _no_planner(*_: object, **__: object) -> Plan:
    raise AssertionError("the plan is given")


def _ended(what: str, result: PassResult) -> Command:
    if result.refusal is not None:
        return Command(what, result.refusal.exit_code, result.refusal.code, (), str(result.refusal))
    evacuation = result.evacuation
    if evacuation is None:
        return Command(what, exit_code_of(None), "nothing to move", ())
    return Command(what, exit_code_of(evacuation), str(evacuation.outcome), evacuation.attempts)


def _mentions(message: str) -> str:
    """What a message names: nodes, commands to type, and what state it says the vm is left in. Wording is not pinned."""
    nodes = sorted(set(re.findall(r"\bnode-[abc]\b", message)))
    commands = sorted(set(re.findall(r"`(virsh [a-z-]+|lifeboat [a-z]+)", message)))
    told = ("stays locked", "as it was found", "was stopped for", "expired", "has changed")
    state = [words for words in told if words in message]
    return "it names " + (", ".join([*nodes, *(f"`{c}`" for c in commands), *(f"“{s}”" for s in state)]) or "nothing")


def _merged(policy: Policy, changes: dict[str, Any], *, asks: bool) -> Policy:
    data: dict[str, Any] = policy.model_dump(mode="json")
    if asks:
        changes = {**changes, "approval": {"live_migrate": "ask", "cold_archive": "ask", **changes.get("approval", {})}}
    for section, given in changes.items():
        data[section] = {**data[section], **given} if isinstance(given, dict) else given
    return Policy.model_validate(data)


def outcomes(told: Told) -> dict[str, AttemptOutcome]:
    """vm → how its last attempt ended."""
    last: dict[str, AttemptOutcome] = {}
    for command in told.commands:
        for attempt in command.attempts:
            if attempt.outcome is not None:
                last[attempt.action.vm_name] = attempt.outcome
    return last
