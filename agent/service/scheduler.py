"""`lifeboat run`: the loop on a schedule. A pass that fails is said and the next one comes; two never overlap."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MISSED, JobExecutionEvent
from apscheduler.schedulers.blocking import BlockingScheduler

from agent.actions.progress import Progress
from agent.actions.runner import needs_recovery
from agent.execute.evacuation import Watcher
from agent.service.control_loop import ControlLoop, PassOutcome, PassResult
from agent.service.retraining import CHECK_EVERY, Retraining
from models.errors import LifeboatError
from models.evacuation import Attempt, Evacuation

log = structlog.get_logger("lifeboat")


_ANSWER_SECONDS = 1.0
"""how often the journal is asked whether somebody approved something"""
_QUIET_SECONDS = 30.0
"""the figures of a copy are logged this often"""


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
        log.info("ended", attempt=attempt.id, outcome=attempt.outcome, message=attempt.message)

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
    retraining: Retraining | None = None,
    once: bool = False,
) -> None:
    """Recover what a crash cut off, then run a pass now and every `interval`, until SIGTERM or Ctrl-C.

    What another lifeboat (a `lifeboat apply`) left unfinished meanwhile is recovered before the next pass. With `once`,
    one pass; its LifeboatError is raised instead of logged. `retraining` starts beside the passes and holds none up.
    """

    def recover_and_log() -> None:
        if not needs_recovery(loop.hands.journal):
            return
        attempts, evacuations = recover()
        for attempt in attempts:
            log.warning("recovered", attempt=attempt.id, outcome=attempt.outcome, message=attempt.message)
        for evacuation in evacuations:
            log.warning("finished-after-crash", evacuation=evacuation.id, outcome=evacuation.outcome)

    if once:
        recover_and_log()
        on_pass(loop.run_once())
        return

    passes = PassLog()
    at_work = threading.Lock()

    def one_pass() -> None:
        with at_work:
            a_pass()

    def a_pass() -> None:
        try:
            recover_and_log()
            result = loop.run_once()
        except LifeboatError as error:
            log.error("pass-failed", code=error.code, message=str(error))
            return
        passes.write(result)
        on_pass(result)

    def trouble(event: JobExecutionEvent) -> None:
        if event.exception is not None:
            log.error("pass-crashed", error=repr(event.exception))
        else:
            log.warning("pass-missed", scheduled=str(event.scheduled_run_time))

    scheduler = BlockingScheduler(timezone="UTC")
    scheduler.add_listener(trouble, EVENT_JOB_ERROR | EVENT_JOB_MISSED)
    scheduler.add_job(
        one_pass,
        "interval",
        seconds=interval.total_seconds(),
        coalesce=True,
        max_instances=1,
        misfire_grace_time=None,
        next_run_time=loop.hands.clock.now(),
        id="pass",
    )

    def hurry() -> None:
        """Somebody approved something: the next pass comes now."""
        if not at_work.locked() and loop.questions is not None and loop.questions.has_new_answer():
            scheduler.modify_job("pass", next_run_time=loop.hands.clock.now())

    if loop.questions is not None:
        scheduler.add_job(hurry, "interval", seconds=_ANSWER_SECONDS, coalesce=True, max_instances=1)

    if retraining is not None:
        scheduler.add_job(
            retraining.check, "interval", seconds=CHECK_EVERY.total_seconds(), coalesce=True, misfire_grace_time=None,
            next_run_time=loop.hands.clock.now(),
        )  # fmt: skip

    def stop(*_: object) -> None:
        loop.watcher.cancelled.set()
        scheduler.shutdown(wait=False)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log.info("watching", interval_seconds=interval.total_seconds(), nodes=sorted(loop.hands.nodes))
    scheduler.start()
    with at_work:  # told to stop: what runs is cancelled where that is possible and seen to its end, journal still open
        log.info("stopped")


class PassLog:
    """Logs what each pass came to; one that waits or is refused for the same reason as the one before is not said again."""

    def __init__(self) -> None:
        self._last: tuple[PassOutcome, str] | None = None

    def write(self, result: PassResult) -> None:
        for one in result.tier_changes:
            was = one.before.tier if one.before else None
            log.warning("tier", node=one.now.node, tier=one.now.tier, was=was, why=one.now.why)
        this = result.outcome, result.why
        settled = (PassOutcome.WAITING, PassOutcome.REFUSED, PassOutcome.ASKED, PassOutcome.NOTHING_TO_MOVE)
        waits = result.outcome in settled
        level = log.info if result.outcome is PassOutcome.IDLE else log.warning
        if not (waits and this == self._last):
            level("pass", outcome=result.outcome, why=result.why, risks=_worst(result))
        self._last = this


def _worst(result: PassResult) -> str:
    risks = result.situation.risks
    horizon = risks and next(iter(risks[0].probability))
    if not risks or not horizon:
        return "unknown"
    worst = max(risks, key=lambda risk: max(risk.probability.values()))
    return f"{worst.node} " + " ".join(f"{h}={p:.3f}" for h, p in worst.probability.items())
