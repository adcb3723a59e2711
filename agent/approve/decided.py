"""Questions that stopped waiting for an answer, each told once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from models.proposals.states import OPEN, ApprovalState
from tools.ports.journal import Journal
from tools.ports.records.approvals import ApprovalAsked, ApprovalChanged, ApprovalClosed


@dataclass(frozen=True, kw_only=True)
class Decided:
    """One question, when it first was not open any more."""

    id: str
    """of the question, and of the evacuation it may become"""
    outcome: ApprovalState
    """approved, rejected, expired, superseded or withdrawn"""
    by: str
    why: str
    asked_at: datetime
    decided_at: datetime

    @property
    def seconds(self) -> float:
        """How long it was open, by the clock of who wrote it; never negative, though clocks are set."""
        return max(0.0, (self.decided_at - self.asked_at).total_seconds())


class DecidedQuestions:
    """Reads on in the journal from where it was made."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._read_to: int | None = None

    def new(self) -> list[Decided]:
        """Those decided since the last call; none at the first: they are the past. Raises JournalInvalid."""
        if self._read_to is None:
            entries = self.journal.of(ApprovalChanged, ApprovalClosed)
            self._read_to = max((entry.seq for entry in entries), default=0)
            return []
        entries = self.journal.of(ApprovalChanged, ApprovalClosed, after=self._read_to)
        self._read_to = max((entry.seq for entry in entries), default=self._read_to)
        closing = [entry for entry in entries if entry.record.state not in OPEN]
        decided: list[Decided] = []
        for entry in closing:
            asked = self.journal.of(ApprovalAsked, evacuation=entry.evacuation)
            before = self.journal.of(ApprovalChanged, ApprovalClosed, evacuation=entry.evacuation)
            first = next(one.seq for one in before if one.record.state not in OPEN)
            if first != entry.seq or not asked or entry.evacuation is None:
                continue
            event = entry.record.event
            decided.append(
                Decided(
                    id=entry.evacuation, outcome=entry.record.state, by=event.by, why=event.why,
                    asked_at=asked[0].record.asked_at, decided_at=entry.at,
                )
            )  # fmt: skip
        return decided
