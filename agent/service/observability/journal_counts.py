"""Counts of what the journal says has ended since this process started, whichever lifeboat brought it to its end."""

from __future__ import annotations

import threading
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram

from agent.approve.decided import DecidedQuestions
from agent.service.observability import catalogue
from agent.service.observability.families import counter, histogram
from models.evacuation import Attempt, AttemptOutcome
from models.proposals.states import ApprovalState
from tools.ports.journal import Entry, Journal
from tools.ports.records.attempts import AttemptEnded
from tools.ports.records.evacuations import EvacuationEnded

_ANSWERS = (ApprovalState.APPROVED, ApprovalState.REJECTED)


class JournalCounts:
    """Reads on in the journal each time it is asked to. Safe for several threads."""

    def __init__(self, registry: CollectorRegistry, journal: Journal, *, since: datetime) -> None:
        """Reads nothing yet. `since`: no entry after this process started is older, whatever the clock is set to."""
        self._journal, self._since, self._read_to = journal, since, 0
        self._lock = threading.Lock()
        self._decided = DecidedQuestions(journal)
        self._begun = False
        self._attempts: Counter = counter(catalogue.ATTEMPTS, registry)
        self._durations: Histogram = histogram(catalogue.ATTEMPT_DURATION, registry)
        self._pauses: Histogram = histogram(catalogue.PAUSE, registry)
        self._evacuations: Counter = counter(catalogue.EVACUATIONS, registry)
        self._questions: Counter = counter(catalogue.QUESTIONS_DECIDED, registry)
        self._answers: Histogram = histogram(catalogue.ANSWER, registry)

    def begin(self) -> None:
        """What is in the journal by now is the past. Raises what reading it raises."""
        with self._lock:
            if not self._begun:
                self._decided.new()
                self._read_to = max((entry.seq for entry in self._new()), default=0)
                self._begun = True

    def read_on(self) -> None:
        """Count what is new. Raises what reading the journal raises; it is counted the next time then."""
        self.begin()
        with self._lock:
            for entry in self._new():
                match entry.record:
                    case AttemptEnded(attempt=attempt):
                        self._count(attempt)
                    case EvacuationEnded(outcome=outcome):
                        self._evacuations.labels(outcome).inc()
                self._read_to = entry.seq
            for one in self._decided.new():
                self._questions.labels(one.outcome).inc()
                if one.outcome in _ANSWERS:
                    self._answers.observe(one.seconds)

    def _new(self) -> list[Entry[AttemptEnded | EvacuationEnded]]:
        since = self._since if self._read_to == 0 else None
        return self._journal.of(AttemptEnded, EvacuationEnded, since=since, after=self._read_to)

    def _count(self, attempt: Attempt) -> None:
        kind = attempt.action.kind
        self._attempts.labels(kind, attempt.outcome or "running").inc()
        if attempt.outcome is AttemptOutcome.DONE and attempt.ended_at is not None:
            self._durations.labels(kind).observe((attempt.ended_at - attempt.started_at).total_seconds())
        if attempt.measured.downtime_seconds is not None:
            self._pauses.observe(attempt.measured.downtime_seconds)
