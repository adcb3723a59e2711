"""Carry out an approved plan: wave by wave, as many actions at once as the limits allow, each in its own attempt.

`Run` is one evacuation under way in this process; `execute` walks it in plain threads. `agent.execute.workflows` walks the same
`Run` in workflows that survive the process.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol, TypeVar

import structlog

from agent.actions.attempt import AttemptContext
from agent.actions.progress import Progress
from agent.actions.resources import Resources
from agent.actions.runner import abandon, attempt_so_far, run_attempt
from agent.execute.admission import AdmissionQueue
from agent.execute.periodic import meanwhile
from agent.state.requests import LOOK_SECONDS, read_requests
from agent.state.trail import links_of, trace_of
from models.approval import ApprovedPlan
from models.base import format_duration
from models.errors import BadInput
from models.evacuation import Attempt, Evacuation, EvacuationOutcome, outcome_with_stays
from models.plan import Action, ActionKind
from tools.ports.journal import Entry, Record
from tools.ports.records.attempts import AttemptEnded
from tools.ports.records.evacuations import (
    CancelRequested,
    EvacuationEnded,
    EvacuationStarted,
    RestAbandoned,
)
from tools.tracing.spans import finished_span
from tools.tracing.trace import tracing

T = TypeVar("T")
A = TypeVar("A")
R = TypeVar("R")

log = structlog.get_logger("lifeboat")

_AS_WANTED = (EvacuationOutcome.DONE, EvacuationOutcome.CANCELLED)


@dataclass
class Watcher:
    """How the caller follows and steers a running evacuation. Called from several threads."""

    on_progress: Callable[[Progress], None] = lambda _: None
    on_attempt_finished: Callable[[Attempt], None] = lambda _: None
    should_withdraw: Callable[[Action], str | None] = lambda _: None
    """asked right before an action begins; a reason means it is not wanted any more (the node recovered, the target
    became risky)"""
    on_message: Callable[[str], None] = lambda _: None
    """what a person following it should know, one line"""
    cancelled: threading.Event = field(default_factory=threading.Event)
    request_poll_seconds: float = LOOK_SECONDS
    """how often what people asked for is read meanwhile"""

    def shielded(self) -> Watcher:
        """The same, and nothing that goes wrong in it reaches the evacuation: a terminal that is gone ends no attempt."""
        return replace(
            self,
            on_progress=_shielded(self.on_progress),
            on_attempt_finished=_shielded(self.on_attempt_finished),
            should_withdraw=_shielded(self.should_withdraw),
            on_message=_shielded(self.on_message),
        )


def _shielded(callback: Callable[[A], R]) -> Callable[[A], R | None]:
    def call(argument: A) -> R | None:
        try:
            return callback(argument)
        except Exception as error:
            log.warning("watcher-failed", error=repr(error))
            return None

    return call


class CarryOut(Protocol):
    """What carries out an approved plan: `execute`, or `agent.execute.workflows.Durable.execute`."""

    def __call__(
        self, approved: ApprovedPlan, hands: Resources, *, evacuation: str, watcher: Watcher | None = None
    ) -> Evacuation: ...


def new_evacuation_id(hands: Resources) -> str:
    return f"evac-{hands.clock.now():%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"


def execute(approved: ApprovedPlan, hands: Resources, *, evacuation: str, watcher: Watcher | None = None) -> Evacuation:
    """Run every action of the plan that is not `stay`.

    One failure neither stops nor undoes the others. Ctrl-C (or `watcher.cancelled`, or a request in the journal) ends
    what can still be ended and waits until every vm was observed. Raises nothing for failed actions: the outcome is in
    the Evacuation.
    """
    run = Run(approved, hands, evacuation, watcher)
    run.begin()
    with run.watching_requests():
        return run.run_lanes()


class Run:
    """One evacuation, as this process carries it out. Every part of it may be asked for again after a restart."""

    def __init__(
        self, approved: ApprovedPlan, hands: Resources, evacuation: str, watcher: Watcher | None = None
    ) -> None:
        self.approved, self.hands, self.id = approved, hands, evacuation
        self.watcher = (watcher or Watcher()).shielded()
        self.cancelled = threading.Event()
        self._paused = False
        self._abandoned: str | None = None
        self._started: Entry[EvacuationStarted] | None = None
        self.queue = AdmissionQueue(
            approved.plan.actions, approved.policy.limits, stopped=self._why_stopped, paused=lambda: self._paused
        )

    @classmethod
    def from_journal(cls, hands: Resources, evacuation: str, watcher: Watcher | None = None) -> Run:
        """An evacuation that was begun, here or in a process that is gone. Raises BadInput when it never was."""
        for entry in hands.journal.of(EvacuationStarted, evacuation=evacuation):
            return cls(entry.record.approved, hands, evacuation, watcher)
        raise BadInput(f"evacuation {evacuation} was never begun", hint="see `lifeboat status`")

    def begin(self) -> None:
        """On disk before anything else is done."""
        self._append(EvacuationStarted.of(self.approved, uptime=self.hands.clock.uptime()))

    @cached_property
    def _trace(self) -> str:
        return trace_of(self.hands.journal, self.id)

    @property
    def lanes(self) -> list[list[list[int]]]:
        """Numbers (places in the plan) of the actions of each lane and wave, in the order they start."""
        moves = [
            (action.lane, action.wave, number)
            for number, action in enumerate(self.approved.plan.actions)
            if action.kind is not ActionKind.STAY
        ]
        return [
            [
                [number for at, wave, number in moves if (at, wave) == (lane, each)]
                for each in sorted({wave for at, wave, _ in moves if at == lane})
            ]
            for lane in sorted({lane for lane, _, _ in moves})
        ]

    def attempt_id(self, number: int) -> str:
        """The one-shot id of the only attempt this evacuation ever makes at an action."""
        return f"{self.id}-{number:03d}"

    def attempt(self, number: int) -> Attempt:
        """Make the attempt, or finish one that was cut off, or answer how it ended when it is over already."""
        ctx = self._context(number)
        with tracing(self._trace, evacuation=self.id, attempt=ctx.id):
            try:
                attempt = attempt_so_far(ctx)
                if attempt is None:
                    reason = self.queue.acquire(number)
                    attempt = run_attempt(ctx) if reason is None else abandon(ctx, reason)
            finally:
                self.queue.release(number)
            self.watcher.on_attempt_finished(attempt)
        return attempt

    def expect(self, wave: Sequence[int]) -> None:
        """The actions of a wave are about to come to the queue, except those that are over since before a restart."""
        over = {entry.attempt for entry in self.hands.journal.of(AttemptEnded, evacuation=self.id)}
        for number in wave:
            if self.attempt_id(number) in over:
                self.queue.release(number)
        self.queue.announce(wave)

    def run_lanes(self) -> Evacuation:
        """Every lane wave by wave, in threads of this process. Inside `watching_requests`."""
        lanes = self.lanes
        if len(lanes) < 2:
            return self.finish([attempt for lane in lanes for attempt in self._run_waves(lane)])
        with ThreadPoolExecutor(max_workers=len(lanes), thread_name_prefix="lane") as pool:
            ended = self.gather([pool.submit(self._run_waves, lane).result for lane in lanes])
        return self.finish([attempt for lane in ended for attempt in lane])

    def _run_waves(self, waves: Sequence[Sequence[int]]) -> list[Attempt]:
        attempts: list[Attempt] = []
        for wave in waves:
            self.expect(wave)
            with ThreadPoolExecutor(max_workers=len(wave), thread_name_prefix="attempt") as pool:
                attempts += self.gather([pool.submit(self.attempt, number).result for number in wave])
        return attempts

    def gather(self, results: Sequence[Callable[[], T]]) -> list[T]:
        """Every result, also when one of them raises: that is raised once all are there. Ctrl-C cancels and goes on."""
        answers: list[T] = []
        errors: list[BaseException] = []
        for result in results:
            while True:
                try:
                    answers.append(result())
                except KeyboardInterrupt:
                    self.cancel("Ctrl-C")
                    continue
                except BaseException as error:
                    errors.append(error)
                break
        if errors:
            raise errors[0]
        return answers

    def finish(self, attempts: Sequence[Attempt]) -> Evacuation:
        """Write down how it ended."""
        in_order = tuple(sorted(attempts, key=lambda attempt: attempt.started_at))
        outcome = outcome_with_stays(in_order, self.approved.plan, self.approved.fleet)
        ended_at = max(self._begun().at, self.hands.clock.now())  # somebody may have set the clock back
        if not self.hands.journal.of(EvacuationEnded, evacuation=self.id):
            self._append(EvacuationEnded(outcome=outcome))
            finished_span(
                "evacuation", trace=self._trace, key=self.id, began=self._begun().at, ended=ended_at,
                error="" if outcome in _AS_WANTED else outcome, evacuation=self.id, outcome=outcome,
                links=links_of(self.hands.journal, self.id),
                nodes=self.approved.plan.evacuating, attempts=len(attempts), approved_by=self.approved.agreement.by,
            )  # fmt: skip
        return Evacuation(
            id=self.id,
            plan=self.approved.plan,
            verdict=self.approved.verdict,
            approved_by=self.approved.agreement.by,
            approved_at=self.approved.agreement.at,
            started_at=self._begun().at,
            ended_at=ended_at,
            outcome=outcome,
            attempts=in_order,
        )

    def cancel(self, by: str) -> None:
        """Cancel it for good; in the journal when this returns."""
        self._append(CancelRequested(by=by))
        self.cancelled.set()

    def abandon(self, why: str) -> None:
        """What has not begun will not begin; in the journal when this returns."""
        self._append(RestAbandoned(why=why))
        self.apply_requests()

    def apply_requests(self) -> None:
        """Take in what people have asked for so far."""
        asked = read_requests(self.hands.journal, self.id)
        self._paused, self._abandoned = asked.paused_by is not None, asked.abandoned
        if asked.cancelled_by is not None:
            self.cancelled.set()
        elif self.watcher.cancelled.is_set() and not self.cancelled.is_set():
            self.cancel("the process was told to stop")

    @contextmanager
    def watching_requests(self) -> Generator[None]:
        """Apply requests for as long as the block runs."""
        self.apply_requests()
        with meanwhile(
            self.apply_requests, lambda over: over.wait(self.watcher.request_poll_seconds), name=f"steering {self.id}"
        ):
            yield

    def _why_stopped(self, action: Action) -> str | None:
        self.apply_requests()  # once a pause or a cancellation is on disk, nothing begins
        if self.cancelled.is_set():
            return "cancelled"
        if self._abandoned is not None:
            return self._abandoned
        limit = self.approved.policy.limits.evacuation_timeout
        if limit is not None and self._seconds() >= limit.total_seconds():
            return f"the evacuation had already taken the {format_duration(limit)} that policy gives it"
        if action.not_before is not None and self.hands.clock.now() < action.not_before:
            return f"it is not to begin before {action.not_before:%Y-%m-%d %H:%M} UTC"
        return self.hands.why_halted() or self.watcher.should_withdraw(action)

    def _seconds(self) -> float:
        """Since it was started, by this lifeboat or one before it."""
        begun = self._begun()
        return self.hands.seconds_since(begun.record, begun.at)

    def _begun(self) -> Entry[EvacuationStarted]:
        if self._started is None:
            self._started = self.hands.journal.of(EvacuationStarted, evacuation=self.id)[0]
        return self._started

    def _context(self, number: int) -> AttemptContext:
        action = self.approved.plan.actions[number]
        return AttemptContext(
            id=self.attempt_id(number),
            evacuation=self.id,
            action=action,
            vm=self.approved.fleet.vm_by_uuid[action.vm],
            policy=self.approved.policy,
            hands=self.hands,
            on_progress=self.watcher.on_progress,
            cancelled=self.cancelled,
        )

    def _append(self, record: Record) -> None:
        self.hands.journal.append(record, now=self.hands.clock.now(), evacuation=self.id)
