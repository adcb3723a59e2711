"""`lifeboat run`: the loop on a schedule. A pass that fails is said and the next one comes; two never overlap."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import timedelta

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MISSED, JobExecutionEvent
from apscheduler.schedulers.blocking import BlockingScheduler

from agent.cycle import Cycle, PassOutcome, PassResult
from agent.run_attempt import needs_recovery
from models.errors import LifeboatError
from models.evacuation import Attempt, Evacuation

log = structlog.get_logger("lifeboat")


def serve(
    cycle: Cycle,
    *,
    recover: Callable[[], tuple[list[Attempt], list[Evacuation]]],
    interval: timedelta,
    on_pass: Callable[[PassResult], None],
    once: bool = False,
) -> None:
    """Recover what a crash cut off, then run a pass now and every `interval`, until SIGTERM or Ctrl-C.

    What another lifeboat (a `lifeboat apply`) left unfinished meanwhile is recovered before the next pass. With `once`,
    one pass; its LifeboatError is raised instead of logged.
    """

    def recover_and_say() -> None:
        if not needs_recovery(cycle.hands.journal):
            return
        attempts, evacuations = recover()
        for attempt in attempts:
            log.warning("recovered", attempt=attempt.id, outcome=attempt.outcome, message=attempt.message)
        for evacuation in evacuations:
            log.warning("finished-after-crash", evacuation=evacuation.id, outcome=evacuation.outcome)

    if once:
        recover_and_say()
        on_pass(cycle.run_pass())
        return

    def one_pass() -> None:
        try:
            recover_and_say()
            result = cycle.run_pass()
        except LifeboatError as error:
            log.error("pass-failed", code=error.code, message=str(error))
            return
        for one in result.tier_changes:
            was = one.before.tier if one.before else None
            log.warning("tier", node=one.now.node, tier=one.now.tier, was=was, why=one.now.why)
        level = log.info if result.outcome is PassOutcome.QUIET else log.warning
        level("pass", outcome=result.outcome, why=result.why, risks=_worst(result))
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
        next_run_time=cycle.hands.clock.now(),
    )

    def stop(*_: object) -> None:
        cycle.watcher.cancelled.set()
        scheduler.shutdown(wait=False)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log.info("watching", interval_seconds=interval.total_seconds(), nodes=sorted(cycle.hands.nodes))
    scheduler.start()


def _worst(result: PassResult) -> str:
    horizon = result.risks and next(iter(result.risks[0].probability))
    if not horizon:
        return "unknown"
    worst = max(result.risks, key=lambda risk: max(risk.probability.values()))
    return f"{worst.node} " + " ".join(f"{h}={p:.3f}" for h, p in worst.probability.items())
