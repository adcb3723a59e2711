"""When `lifeboat run` trains a challenger, and in what: a process of its own, at low priority, that no pass waits for."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import structlog

from agent.service.upkeep.jobs import Job, JobCounts
from agent.settings import Settings
from models.errors import LifeboatError
from tools.ports.clock import Clock
from tools.tracing.trace import new_trace, within_trace

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

log = structlog.get_logger("lifeboat")

CHECK_EVERY = timedelta(minutes=10)
"""How often it is looked whether a challenger is due."""


class Work(Protocol):
    """A process that was started."""

    @property
    def exitcode(self) -> int | None: ...


class Retraining:
    """Starts one retraining at a time, as often as the settings say."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        start: Callable[[Settings], Work] | None = None,
        *,
        jobs: JobCounts | None = None,
    ) -> None:
        """start: what starts a retraining; None: a process."""
        self._settings = settings
        self._clock = clock
        self._jobs = jobs or JobCounts()
        self._start = start or _start_process
        self._work: Work | None = None
        self._tried: datetime | None = None
        self._told_to_wait = False

    @within_trace()
    def check(self) -> None:
        """Start one if it is due and none is at work; say how the last one ended. Raises nothing."""
        every = self._settings.forecast.retrain
        if every is None:
            return
        if self._work is not None:
            if self._work.exitcode is None:
                return
            self._jobs.end(Job.RETRAINING, failed=bool(self._work.exitcode))
            if self._work.exitcode:
                log.error("retraining-failed", exit_code=self._work.exitcode)
            self._work = None
        now = self._clock.now()
        if not _holds_history(self._settings):
            if not self._told_to_wait:
                log.info("retraining-waits", why="no history yet: passes keep it, an hour at a time")
            self._told_to_wait = True
            return
        try:
            last = max(filter(None, (self._tried, self._last())), default=None)
        except LifeboatError as error:
            log.error("retraining-failed", message=str(error))
            return
        if last is None or now - last >= every:
            self._tried = now
            self._jobs.begin(Job.RETRAINING)
            self._work = self._start(self._settings)

    def _last(self) -> datetime | None:
        from agent.assess.retraining import last_retraining
        from tools.journal import open_existing_journal

        journal = open_existing_journal(self._settings)
        if journal is None:
            return None
        try:
            return last_retraining(journal)
        finally:
            journal.close()


def _holds_history(settings: Settings) -> bool:
    """Whether anything was kept that a model could be trained on."""
    return any((settings.state_dir / "history").glob("nodes-*.parquet"))


def _start_process(settings: Settings) -> SpawnProcess:
    # Spawned, not forked: connections, locks and threads of the agent stay its own.
    process = multiprocessing.get_context("spawn").Process(target=_retrain, args=(settings,), daemon=True)
    process.start()
    return process


@new_trace()
def _retrain(settings: Settings) -> None:
    from agent.assess.retraining import retrain
    from tools.clock import SystemClock
    from tools.journal import open_journal
    from tools.tracing.log import configure_log

    configure_log(**dict(settings.log))  # a process of its own
    os.nice(10)
    journal = open_journal(settings)
    try:
        record = retrain(settings, journal, now=SystemClock().now())
    except LifeboatError as error:
        log.error("retraining-failed", code=error.code, message=str(error))
        raise SystemExit(1) from None
    finally:
        journal.close()
    log.warning("model-challenged", before=record.before, after=record.after, why=record.why)
