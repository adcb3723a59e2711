"""How often what is done beside passes began, and what that came to."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum


class Job(StrEnum):
    """What `lifeboat run` does beside looking and acting."""

    HOUSEKEEPING = "housekeeping"
    HINDSIGHT = "hindsight"
    RETRAINING = "retraining"
    ARCHIVE_CHECKS = "archive-checks"
    REPORT = "report"


class JobOutcome(StrEnum):
    """How one ended."""

    DONE = "done"
    FAILED = "failed"


class JobCounts:
    """Counts since the agent started, or was told to read its files anew. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: Counter[Job] = Counter()
        self._ended: Counter[tuple[Job, JobOutcome]] = Counter()

    def begin(self, job: Job) -> None:
        with self._lock:
            self._begun[job] += 1

    def end(self, job: Job, *, failed: bool = False) -> None:
        with self._lock:
            self._ended[job, JobOutcome.FAILED if failed else JobOutcome.DONE] += 1

    @contextmanager
    def counted(self, job: Job) -> Generator[None]:
        """The block is one run of it; one that raises has failed."""
        self.begin(job)
        try:
            yield
        except BaseException:
            self.end(job, failed=True)
            raise
        self.end(job)

    def begun(self, job: Job) -> int:
        with self._lock:
            return self._begun[job]

    def ended(self, job: Job, outcome: JobOutcome) -> int:
        with self._lock:
            return self._ended[job, outcome]
