"""What would grow without end in `state_dir`, kept for as long as the settings say.

Bounded by themselves: the ring (two weeks), what is remembered of each log and of each node's certificate, the workflows of DBOS.
Never shortened: the journal, as a chain that lost its beginning could not be verified.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import structlog

from agent.service.upkeep.jobs import Job, JobCounts
from agent.settings import KeepSettings
from tools.llm.capabilities import LLM_DIRECTORY
from tools.ports.clock import Clock

log = structlog.get_logger("lifeboat")

EVERY = timedelta(hours=6)
REPORTS = "reports"
_CONVERSATION = re.compile(r"[0-9a-f]{64}\.json")
_DAY = re.compile(r"[a-z]+-(\d{4}-\d{2}-\d{2})\.parquet")


class Housekeeping:
    """Removes files that are older than they are kept; at most every EVERY."""

    def __init__(self, state_dir: Path, keep: KeepSettings, clock: Clock, *, jobs: JobCounts | None = None) -> None:
        self._state_dir, self._keep, self._clock = state_dir, keep, clock
        self._jobs = jobs or JobCounts()
        self._due = clock.monotonic()

    def tidy(self) -> int:
        """How many files were removed. One that can't be is left for the next time, and said."""
        if self._clock.monotonic() < self._due:
            return 0
        self._due = self._clock.monotonic() + EVERY.total_seconds()
        removed = 0
        try:
            with self._jobs.counted(Job.HOUSEKEEPING):
                for path in self._old():
                    path.unlink(missing_ok=True)
                    removed += 1
        except OSError as error:
            log.warning("housekeeping", message=f"{error.filename} can't be removed: {error.strerror}")
        if removed:
            log.info("housekeeping", removed=removed)
        return removed

    def _old(self) -> Iterator[Path]:
        now = self._clock.now()
        for path in (self._state_dir / REPORTS).glob("*.html"):
            if path.stat().st_mtime < (now - self._keep.reports).timestamp():
                yield path
        for path in (self._state_dir / LLM_DIRECTORY).glob("*.json"):
            old = path.stat().st_mtime < (now - self._keep.conversations).timestamp()
            if old and _CONVERSATION.fullmatch(path.name):
                yield path
        for path in (self._state_dir / "history").glob("*.parquet"):
            day = _DAY.fullmatch(path.name)
            if day and date.fromisoformat(day[1]) < (now - self._keep.history).date():
                yield path
