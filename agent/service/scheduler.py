"""`lifeboat run`: the loop on a schedule. A pass that fails is said and the next one comes; two never overlap."""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from itertools import chain, repeat

import structlog

from agent.actions.progress import Progress
from agent.actions.runner import needs_recovery
from agent.execute.evacuation import Watcher
from agent.execute.periodic import meanwhile
from agent.service.control_loop import ControlLoop, PassOutcome, PassResult
from agent.service.due_times import DueTimes, Missed
from agent.service.leading import Leading
from agent.service.upkeep.retraining import CHECK_EVERY, Retraining
from agent.state.trail import trace_of
from models.errors import BadInput, LifeboatError, NodeUnreachable, RecordNotWritten
from models.evacuation import Attempt, AttemptOutcome, Evacuation
from models.text import listed, visible
from tools import memory
from tools.parquet import is_panic
from tools.ports.clock import Clock
from tools.ports.journal import NotWritten
from tools.service_manager import ServiceManager
from tools.tracing.spans import span
from tools.tracing.trace import new_trace, tracing

log = structlog.get_logger("lifeboat")


_ANSWER_SECONDS = 1.0
"""how often the journal is asked whether somebody approved something"""
_SIGNAL_SECONDS = 0.2
"""how soon a signal is heeded"""
_QUIET_SECONDS = 30.0
"""the figures of a copy are logged this often"""
_AS_WANTED = (AttemptOutcome.DONE, AttemptOutcome.CANCELLED, AttemptOutcome.SKIPPED)
"""anything else is a warning"""


_asked: list[int] = []
"""signals that nobody has heeded yet, the oldest first; they may come between two reloads"""


def log_watcher() -> Watcher:
    """Logs each phase of each attempt, how it ended, and now and then how its copy gets on."""
    logged: dict[str, tuple[str, float]] = {}

    def log_progress(progress: Progress) -> None:
        phase, at = logged.get(progress.attempt, ("", 0.0))
        now = time.monotonic()
        if phase == progress.phase and (progress.copy is None or now - at < _QUIET_SECONDS):
            return
        logged[progress.attempt] = progress.phase, now
        level = log.debug if phase == progress.phase else log.info
        action = progress.action
        level(
            "progress", attempt=progress.attempt, vm=action.vm_name, action=action.kind, target=action.target,
            phase=progress.phase, fraction=progress.fraction, detail=progress.detail,
        )  # fmt: skip

    def log_end(attempt: Attempt) -> None:
        logged.pop(attempt.id, None)
        action = attempt.action
        level = log.info if attempt.outcome in _AS_WANTED else log.warning
        level(
            "ended", attempt=attempt.id, vm=action.vm_name, action=action.kind, source=action.source, target=action.target,
            outcome=attempt.outcome, message=attempt.message,
        )  # fmt: skip

    return Watcher(
        on_progress=log_progress,
        on_attempt_finished=log_end,
        on_message=lambda line: log.warning("evacuation", message=line),
    )


def serve(
    loop: ControlLoop,
    *,
    recover: Callable[[], tuple[list[Attempt], list[Evacuation]]],
    interval: timedelta,
    on_pass: Callable[[PassResult], None],
    observer: PassObserver | None = None,
    retraining: Retraining | None = None,
    leading: Leading | None = None,
    require_reloadable: Callable[[], None] | None = None,
    manager: ServiceManager | None = None,
    once: bool = False,
) -> Ended:
    """Recover what a crash cut off, then run a pass now and every `interval`, until SIGTERM, Ctrl-C or SIGHUP.

    What another lifeboat (a `lifeboat apply`) left unfinished meanwhile is recovered before the next pass. With `once`, one
    pass; its LifeboatError is raised instead of logged. `observer` is told of each pass. `retraining` starts beside them and
    holds none up. `leading`: where several lifeboats share a database, only the one that leads acts; the others look, and take
    over. `require_reloadable`: asked at SIGHUP; while it raises BadInput the agent goes on as it is. `manager` is told
    when passes begin and end; each turn of the loop and all progress of an evacuation is a sign of life.
    """

    def recover_and_log() -> None:
        if not needs_recovery(loop.hands.journal):
            return
        attempts, evacuations = recover()
        for attempt in attempts:
            action, evacuation = attempt.action, attempt.id.rpartition("-")[0]
            with tracing(trace_of(loop.hands.journal, evacuation)):
                log.warning(
                    "recovered", evacuation=evacuation, attempt=attempt.id, vm=action.vm_name, source=action.source,
                    target=action.target, outcome=attempt.outcome, message=attempt.message,
                )  # fmt: skip
        for over in evacuations:
            with tracing(trace_of(loop.hands.journal, over.id)):
                nodes = list(over.plan.evacuating)
                log.warning("finished-after-crash", evacuation=over.id, nodes=nodes, outcome=over.outcome)

    def leads() -> bool:
        if leading is None or leading.lead(loop):
            return True
        leading.look(loop)
        return False

    if once:
        with new_trace(), span("pass", first=True) as told:
            if leads():
                recover_and_log()
                result = loop.run_once()
                told.tell(outcome=result.outcome, why=result.why)
                on_pass(result)
        return Ended.STOPPED

    passes, stopping, reloading, clock = PassLog(), loop.watcher.cancelled, threading.Event(), loop.hands.clock
    observing, manager = observer or PassObserver(), manager or ServiceManager({})
    loop.watcher = replace(loop.watcher, on_progress=_and(manager.sign_of_life, loop.watcher.on_progress))

    def a_pass() -> None:
        observing.began()
        try:
            with span("pass", first=True) as told:
                if not leads():
                    told.tell(outcome="standing-by")
                    observing.stood_by()
                    passes.stood_by()
                    return
                recover_and_log()
                result = loop.run_once()
                told.tell(outcome=result.outcome, why=result.why)
        except LifeboatError as error:
            observing.failed(error)
            passes.failed(error.code, str(error), nodes=_nodes_of(error, loop))
            return
        except NotWritten as error:
            observing.failed(RecordNotWritten(str(error)))
            passes.failed(RecordNotWritten.code, str(error), nodes=_nodes_of(error, loop))
            return
        observing.ended(result)
        passes.write(result)
        on_pass(result)

    due_times = DueTimes(clock, interval_seconds=interval.total_seconds())

    def pass_after_pass() -> None:
        while not (stopping.is_set() or reloading.is_set()):
            began = clock.monotonic()  # not the wall clock, which somebody may set back by an hour
            with new_trace():
                missed = due_times.began()
                observing.missed(missed)
                passes.missed(missed)
                try:
                    a_pass()
                except BaseException as error:  # a fault in lifeboat or a library: the next pass may do better
                    if not (isinstance(error, Exception) or is_panic(error)):
                        raise
                    observing.failed(error if isinstance(error, Exception) else RuntimeError(repr(error)))
                    log.error(
                        "pass-crashed",
                        error=repr(error),
                        nodes=_nodes_of(error, loop),
                        traceback=traceback.format_exc(),
                    )
            due_times.ended()
            manager.status(passes.latest)
            memory.give_back()
            _await_next_pass(loop, leading, reloading, began + interval.total_seconds(), manager.sign_of_life)

    asked = _asked  # what came since an earlier `serve` ended to reload is heeded here

    def take(number: int, _: object) -> None:
        asked.append(number)  # no more than that: whatever this thread holds just now can't be waited for here

    @new_trace()
    def heed(number: int) -> None:
        if number != signal.SIGHUP:
            log.info("stopping", signal=signal.Signals(number).name)
            manager.stopping("told to stop; what runs is seen to its end")
            stopping.set()
        elif require_reloadable is not None:
            try:
                require_reloadable()
            except BadInput as error:
                log.error("reload-refused", message=str(error))
            else:
                log.info("reloading", after="the pass that runs now, if one does")
                reloading.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, take)
    log.info("watching", interval_seconds=interval.total_seconds(), nodes=sorted(loop.hands.nodes))
    passes_thread = threading.Thread(target=pass_after_pass, name="passes")
    standing_by = leading.standing_by() if leading is not None else nullcontext()
    with standing_by, _retraining_meanwhile(retraining, clock):
        passes_thread.start()
        manager.sign_of_life()
        manager.ready(passes.latest)
        while passes_thread.is_alive():  # told to stop: what runs is seen to its end, with the journal still open
            passes_thread.join(_SIGNAL_SECONDS)
            manager.pass_on()
            while asked and not stopping.is_set():
                heed(asked.pop(0))
    if stopping.is_set():
        log.info("stopped")
        asked.clear()
        return Ended.STOPPED
    manager.reloading()
    return Ended.RELOADING


@contextmanager
def _retraining_meanwhile(retraining: Retraining | None, clock: Clock) -> Generator[None]:
    """Look now and every CHECK_EVERY whether one is due."""
    if retraining is None:
        yield
        return
    waits = chain([0.0], repeat(CHECK_EVERY.total_seconds()))
    with meanwhile(retraining.check, lambda over: clock.wait(over, next(waits)), name="retraining"):
        yield


def _await_next_pass(
    loop: ControlLoop,
    leading: Leading | None,
    reloading: threading.Event,
    due: float,
    sign_of_life: Callable[[], None],
) -> None:
    """Until `due`, by monotonic time; earlier when somebody approved something, when it falls to this lifeboat to lead, or when
    told to stop or to reload."""
    clock = loop.hands.clock
    sign_of_life()
    while (left := due - clock.monotonic()) > 0 and not clock.wait(loop.watcher.cancelled, min(left, _ANSWER_SECONDS)):
        sign_of_life()
        if reloading.is_set() or (leading is not None and leading.is_free()):
            return
        with suppress(Exception):  # what can't be read now is said by the next pass, which reads it too
            if loop.questions is not None and loop.questions.has_new_answer():
                return


def _and(first: Callable[[], None], then: Callable[[Progress], None]) -> Callable[[Progress], None]:
    def both(progress: Progress) -> None:
        first()
        then(progress)

    return both


class Ended(StrEnum):
    """Why passes ended."""

    STOPPED = "stopped"
    """for good"""
    RELOADING = "reloading"
    """settings, policy and signals are to be read anew; the files were found right"""


class PassObserver:
    """Told of each pass as it begins and ends; this one keeps nothing."""

    def began(self) -> None:
        """A pass begins."""

    def missed(self, missed: Missed) -> None:
        """A pass is about to begin; these due times passed before it."""

    def ended(self, result: PassResult) -> None:
        """It came to something, if only to a refusal."""

    def failed(self, error: Exception) -> None:
        """It could not look, or broke."""

    def stood_by(self) -> None:
        """Another lifeboat leads: it looked, no more."""


class PassLog:
    """Logs what each pass came to; one that waits or is refused for the same reason as the one before is not said again."""

    def __init__(self) -> None:
        self.latest = "looks for the first time"
        """in one line, what the last pass came to"""
        self._last: tuple[PassOutcome, str] | None = None
        self._failing: tuple[str, str] | None = None
        self._failures = 0

    def failed(self, code: str, message: str, *, nodes: Sequence[str] = ()) -> None:
        """The same failure is told once, then counted: at 2, 4, 8 … in a row, and when it is over. `nodes`: those that it is
        about, or that were to be left."""
        self.latest = f"the last pass failed ({code}): {message}"
        same = self._failing == (code, message)
        self._failing, self._failures = (code, message), self._failures + 1 if same else 1
        if self._failures & (self._failures - 1) == 0:
            log.error(
                "pass-failed", code=code, message=message, nodes=list(nodes), in_a_row=self._failures,
                more=f"lifeboat explain {code}",
            )  # fmt: skip

    def missed(self, missed: Missed) -> None:
        """Overlaps are told by what the pass came to; that all stood still nobody else says."""
        if missed.standstills:
            log.warning(
                "stood-still", seconds=round(missed.seconds), passes_missed=missed.standstills,
                why="this process or its host did not run; nobody watched the fleet meanwhile",
            )  # fmt: skip

    def stood_by(self) -> None:
        self.latest = "stands by: another lifeboat leads"

    def write(self, result: PassResult) -> None:
        self.latest = f"the last pass: {result.outcome}{f', {result.why}' if result.why else ''}"
        if self._failing is not None:
            log.warning("pass-works-again", code=self._failing[0], failed_in_a_row=self._failures)
            self._failing, self._failures = None, 0
        this = result.outcome, result.why
        settled = (
            PassOutcome.WAITING,
            PassOutcome.HALTED,
            PassOutcome.REFUSED,
            PassOutcome.ASKED,
            PassOutcome.NOTHING_TO_MOVE,
            PassOutcome.SHADOW,
        )
        waits = result.outcome in settled
        level = log.info if result.outcome is PassOutcome.IDLE else log.warning
        if not (waits and this == self._last):
            nodes = list(result.plan.evacuating) if result.plan is not None else []
            level("pass", outcome=result.outcome, why=result.why, nodes=nodes, risks=_worst(result))
        self._last = this


def _worst(result: PassResult) -> str:
    """Of the node likeliest to fail, and which nodes' risk is unknown: that is no small risk."""
    node_risks = result.situation.node_risks
    known = {name: risk for name, node in node_risks.items() if (risk := node.usable_risk) is not None}
    unknown = [visible(name, 60) for name in node_risks if name not in known]
    told: list[str] = []
    if known:
        name, worst = max(known.items(), key=lambda one: max(one[1].probability.values()))
        told.append(f"{visible(name, 60)} " + " ".join(f"{h}={p:.3f}" for h, p in worst.probability.items()))
    if unknown or not known:
        told.append(f"{listed(unknown)} unknown".strip())
    return "; ".join(told)


def _nodes_of(error: BaseException, loop: ControlLoop) -> list[str]:
    """Those that a failure is about, or else those that the pass was to empty."""
    nodes = [error.node] if isinstance(error, NodeUnreachable) and error.node else loop.about
    return [visible(node, 60) for node in nodes]
