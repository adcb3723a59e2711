"""When `lifeboat run` reads its archives again, and in what: a process of its own, at low priority, that no pass waits for."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain, repeat
from typing import TYPE_CHECKING, Protocol

import structlog

from agent.archives.checks import ArchivesKnown, check_archives, what_is_known
from agent.execute.periodic import meanwhile
from agent.service.upkeep.jobs import Job, JobCounts
from agent.settings import Settings
from agent.state.requests import unfinished
from models.errors import LifeboatError
from tools.ports.clock import Clock
from tools.ports.journal import Journal

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

log = structlog.get_logger("lifeboat")

EVERY = timedelta(hours=1)
"""how often it is looked which archives are due"""
MOST = timedelta(hours=12)
"""a process that reads for longer is ended: a store that drips must not hold up those that come after"""
_LOOK = timedelta(seconds=10)
ROUND_OUTCOMES = ("done", "failed", "given-up", "put-off")
"""failed: the store did not answer; given-up: it took longer than MOST; put-off: guests were being moved"""


class Work(Protocol):
    """A process that was started."""

    @property
    def exitcode(self) -> int | None: ...

    def terminate(self) -> None: ...


class ArchiveChecks:
    """Starts one process at a time, and knows what they found."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        clock: Clock,
        *,
        acts: Callable[[], bool] = lambda: True,
        start: Callable[[Settings], Work] | None = None,
        jobs: JobCounts | None = None,
    ) -> None:
        """acts: whether it is this lifeboat that does such things now. start: what begins a round; None: a process."""
        self._settings, self._journal, self._clock, self._acts = settings, journal, clock, acts
        self._start = start or _start_process
        self._jobs = jobs or JobCounts()
        self._work: Work | None = None
        self._began = self._due = clock.monotonic()
        self.known = ArchivesKnown()
        self.rounds: Counter[str] = Counter()
        """how many came to what, of ROUND_OUTCOMES"""

    @contextmanager
    def running(self) -> Generator[None]:
        """For as long as the block runs. What is being read at its end is not waited for: it changes nothing."""
        waits = chain([0.0], repeat(_LOOK.total_seconds()))
        with meanwhile(self.look, lambda over: self._clock.wait(over, next(waits)), name="archive-checks"):
            yield
        if self._work is not None and self._work.exitcode is None:
            self._work.terminate()

    def look(self) -> None:
        """Begin a round if it is time, and take notice of how the last one ended."""
        now = self._clock.monotonic()
        if self._work is not None:
            if self._work.exitcode is None:
                if now - self._began < MOST.total_seconds():
                    return
                self._work.terminate()
                log.error("archive-checks-failed", why=f"still reading after {MOST}: is the store slow?")
                self.rounds["given-up"] += 1
                failed = True
            else:
                failed = bool(self._work.exitcode)
                self.rounds["failed" if failed else "done"] += 1
            self._jobs.end(Job.ARCHIVE_CHECKS, failed=failed)
            self._work = None
            self.known = what_is_known(self._journal)
        if now < self._due or not self._acts():
            return
        self._due = now + EVERY.total_seconds()
        self.known = what_is_known(self._journal)
        if unfinished(self._journal):
            self.rounds["put-off"] += 1
            return
        self._jobs.begin(Job.ARCHIVE_CHECKS)
        self._began, self._work = now, self._start(self._settings)


def _start_process(settings: Settings) -> SpawnProcess:
    # Spawned, not forked: connections, locks and threads of the agent stay its own.
    process = multiprocessing.get_context("spawn").Process(target=_round, args=(settings,), daemon=True)
    process.start()
    return process


def _round(settings: Settings) -> None:
    from agent.service.session import open_archives
    from tools.clock import SystemClock
    from tools.journal import open_journal
    from tools.tracing.log import configure_log

    os.nice(10)
    configure_log(**dict(settings.log))
    assert settings.verify_archives is not None
    try:
        journal = open_journal(settings)
        try:
            done = check_archives(open_archives(settings), journal, SystemClock(), every=settings.verify_archives)
        finally:
            journal.close()
    except LifeboatError as error:
        log.error("archive-checks-failed", code=error.code, message=str(error))
        raise SystemExit(1) from None
    if done:
        log.info("archives-checked", read=done)
