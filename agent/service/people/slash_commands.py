"""`/lifeboat status | risk NODE | plan NODE | pause | resume` in a chat. Only who typed it sees the answer.

That somebody could type it says nothing: who asks has to be one of policy's people, and who pauses or resumes one who may
answer for that evacuation. Nothing here moves a guest; `plan` is a dry run on what the agent saw last.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from agent.approve.facts import headline, state_line
from agent.approve.proposals import open_questions, read
from agent.approve.refusal_log import RefusalLog
from agent.approve.slack import render
from agent.assess.monitor import Look
from agent.guard.judge import judge
from agent.plan.solver import plan as solve
from agent.state.requests import Request, ask, unfinished
from agent.state.status import read_status
from models.errors import BadInput, LifeboatError, NotAnApprover, Refused
from models.fleet import Fleet
from models.plan import Approval
from models.policy.policy import Policy
from models.proposals.rights import person_of, why_may_not, why_may_not_steer
from models.risk.risk import Risk
from models.risk.risk_level import data_age_seconds
from models.situation import Situation
from models.text import counted, percent, seconds_in_words, visible
from tools.ports.chat import Chat, ChatError, Command
from tools.ports.clock import Clock
from tools.ports.journal import Journal
from tools.ports.records.chat import ChatRefused
from tools.ports.records.evacuations import EvacuationStarted
from tools.tracing.trace import within_trace

log = structlog.get_logger("lifeboat")

USAGE = "status · risk [NODE] · plan NODE · pause [EVACUATION] · resume [EVACUATION]"
_STEERS = {"pause": Request.PAUSE, "resume": Request.RESUME}
_MOST_NODES = 10
_MOST_EVACUATIONS = 5


@dataclass(kw_only=True)
class LastLook:
    """Looks for somebody, and keeps what it saw last."""

    look_now: Look
    policy: Policy
    clock: Clock
    situation: Situation | None = None

    def look(self) -> tuple[Fleet, list[Risk]]:
        """Raises as the look itself."""
        fleet, risks = self.look_now()
        self.situation = Situation(fleet=fleet, risks=risks, policy=self.policy, now=self.clock.now())
        return fleet, risks


@dataclass(kw_only=True)
class SlashCommands:
    """One lifeboat's answers. Safe for several threads."""

    chat: Chat
    journal: Journal
    policy: Policy
    clock: Clock
    seen: Callable[[], Situation | None]
    """what the agent saw at its last look; None: it has not looked yet"""
    _planning: threading.Lock = field(default_factory=threading.Lock)
    _refusals: RefusalLog = field(init=False)

    def __post_init__(self) -> None:
        self._refusals = RefusalLog(self.journal)

    @within_trace()
    def take(self, command: Command) -> None:
        """Answer one. Raises nothing: an answer that Slack does not take is said in the log."""
        try:
            head, *lines = self._answer(command)
        except LifeboatError as error:
            if isinstance(error, NotAnApprover):
                self._record_refusal(command, error)
            head, lines = render.failed(error), []
        except Exception as error:  # whatever it is, the person is told, and the agent goes on
            log.warning("slack", message=repr(error))
            head, lines = "that did not work: see lifeboat's log", []
        try:
            self.chat.reply(command, *render.told(head, lines))
        except ChatError as error:
            log.warning("slack", message=str(error))

    def _answer(self, command: Command) -> list[str]:
        by = f"slack:{command.user}"
        what, *rest = command.text.split() or ["help"]
        if command.foreign:
            raise NotAnApprover(f"{visible(by, 60)} is of another workspace", hint="nothing was done")
        if person_of(by, self.policy.approval) is None:
            raise NotAnApprover(
                f"{visible(by, 60)} is none of policy's people",
                hint="approval.people names who may ask; nothing was done",
            )
        name = rest[0] if rest else ""
        match what.lower(), len(rest):
            case "status", 0:
                return self._status()
            case "risk", 0 | 1:
                return self._risk(name)
            case "plan", 1:
                return self._plan(name)
            case "pause" | "resume", 0 | 1:
                return [self._steer(_STEERS[what.lower()], name, by)]
            case _:
                return [f"{visible(command.name, 40)} takes: {USAGE}"]

    def _status(self) -> list[str]:
        told = read_status(self.journal, most=_MOST_EVACUATIONS)
        lines: list[str] = []
        if told.breaker is not None:
            lines.append("the breaker is tripped, nothing moves: see `lifeboat explain breaker`")
        waiting = open_questions(self.journal, self.clock)
        for each in waiting[:_MOST_EVACUATIONS]:
            lines += [f"{each.id}: {headline(each, self.policy)}", f"  {state_line(each)}"]
        asked = {each.id for each in waiting}
        for one in told.evacuations:
            if one.id not in asked:
                progress = f", {one.over} of {one.actions} actions over" if one.actions else ""
                lines.append(f"{one.id}: {one.outcome}{progress}{f': {one.why}' if one.why else ''}")
        frozen = [attempt.vm_name or attempt.vm for attempt in told.needs_human]
        if frozen:
            names = ", ".join(visible(name, 60) for name in frozen[:10])
            lines.append(f"frozen until a human has looked: {names} (`lifeboat explain indeterminate`)")
        under_way = counted(len(unfinished(self.journal)), "evacuation")
        return [f"{counted(len(waiting), 'plan')} waiting for an answer, {under_way} under way", *lines]

    def _risk(self, name: str) -> list[str]:
        situation = self._situation()
        known = situation.node_risks
        if name:
            node = known.get(name)
            if node is None:
                raise BadInput(f"no node is named {visible(name, 60)}", hint=f"there are {_names(situation)}")
            lines = [f"{node.level}: {node.why}"]
            if node.risk is not None:
                curve = " · ".join(f"{horizon} {percent(p)}" for horizon, p in node.risk.probability.items())
                age = data_age_seconds(node.risk, self.clock.now())
                lines.append(f"fails within {curve}{f' · data {seconds_in_words(age)} old' if age is not None else ''}")
                lines += [visible(driver.why, 200) for driver in node.risk.drivers[:3]]
                lines += [f"unknown: {visible(each, 120)}" for each in node.risk.unknown[:5]]
            return [f"{visible(name, 60)}, {self._seen(situation)}", *lines]
        worst = sorted(known.values(), key=lambda node: -(node.probability if node.probability is not None else 2.0))
        lines = [f"{visible(node.node, 40)}: {node.level}: {node.why}" for node in worst[:_MOST_NODES]]
        more = [f"… and {len(worst) - _MOST_NODES} more"] if len(worst) > _MOST_NODES else []
        return [f"{counted(len(worst), 'node')}, the worst first, {self._seen(situation)}", *lines, *more]

    def _plan(self, name: str) -> list[str]:
        situation = self._situation()
        if name not in situation.fleet.node_by_name:
            raise BadInput(f"no node is named {visible(name, 60)}", hint=f"there are {_names(situation)}")
        if not self._planning.acquire(blocking=False):
            raise Refused("another plan is being made just now", hint="ask again in a moment")
        try:
            plan = solve(situation, [name], asked=[name])
            verdict = judge(plan, situation)
        finally:
            self._planning.release()
        if not verdict.passed:
            would = "the guard would refuse it: " + "; ".join(f"{one.rule}: {one.why}" for one in verdict.failures[:3])
        else:
            would = "a human has to agree to it" if verdict.approval is Approval.HUMAN else "policy approves it"
        loss = f"expected loss {plan.expected_loss:.3g} with it, {plan.expected_loss_if_nothing_is_done:.3g} if nothing is done"
        moves = f"{counted(len(plan.moves), 'move')}; nothing was changed"
        return [
            f"dry run for {visible(name, 60)}, {self._seen(situation)}: {moves}",
            loss,
            would,
            *render.rows(plan.actions, reasons=True),
        ]

    def _steer(self, request: Request, name: str, by: str) -> str:
        for evacuation in [name] if name else unfinished(self.journal):
            obstacle = self._why_may_not_steer(evacuation, by)
            if obstacle is not None:
                raise NotAnApprover(f"{visible(by, 60)} can't {request} {visible(evacuation, 60)}: {obstacle}")
        evacuation = ask(self.journal, request, name, by=by, now=self.clock.now())
        then = (
            "what runs finishes, nothing new begins" if request is Request.PAUSE else "it goes on, if a lifeboat runs"
        )
        return f"{evacuation}: {request}d; {then}"

    def _why_may_not_steer(self, evacuation: str, by: str) -> str | None:
        try:
            return why_may_not(by, read(self.journal, evacuation, self.clock), self.policy.approval)
        except BadInput:  # nobody was asked about it
            started = self.journal.of(EvacuationStarted, evacuation=evacuation)
            nodes = started[0].record.plan.evacuating if started else ()
            return why_may_not_steer(by, nodes, self.policy.approval) if started else None

    def _situation(self) -> Situation:
        situation = self.seen()
        if situation is None:
            raise Refused("this lifeboat has not looked yet", hint="ask again in a moment")
        return situation

    def _seen(self, situation: Situation) -> str:
        age = max(0.0, (self.clock.now() - situation.now).total_seconds())
        return f"as seen {seconds_in_words(age)} ago"

    def _record_refusal(self, command: Command, error: LifeboatError) -> None:
        what = visible(f"{command.name} {command.text}", 40)
        refused = ChatRefused(user=visible(command.user, 40), what=what, why=visible(error.message, 200))
        self._refusals.keep(refused, self.clock.now())


def _names(situation: Situation) -> str:
    names = [visible(node.name, 40) for node in situation.fleet.nodes]
    return ", ".join(names[:_MOST_NODES]) + (
        f" and {len(names) - _MOST_NODES} more" if len(names) > _MOST_NODES else ""
    )
