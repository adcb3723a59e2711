"""Cancel, pause and resume: what people ask of a running evacuation, as records of the journal.

A request is its own record, so it outlasts a crash of whoever wrote it and of whoever was to follow it. The process that
carries the evacuation out reads them every `LOOK_SECONDS`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from agent.state.brake import tripped
from models.errors import BadInput
from tools.ports.journal import Entry, Journal, Record, Scope
from tools.ports.records.approvals import ApprovalAsked, ApprovalClosed
from tools.ports.records.evacuations import (
    CancelRequested,
    EvacuationEnded,
    EvacuationStarted,
    PauseRequested,
    RestAbandoned,
    ResumeRequested,
)

LOOK_SECONDS = 0.25


class Request(StrEnum):
    """What can be asked."""

    CANCEL = "cancel"
    """nothing new begins; what has not switched over yet is taken back. For good"""
    PAUSE = "pause"
    """nothing new begins; what runs finishes"""
    RESUME = "resume"
    """a person wants it to go on, and so agrees to the rest of its plan again"""


_RECORDS: dict[Request, type[CancelRequested | PauseRequested | ResumeRequested]] = {
    Request.CANCEL: CancelRequested,
    Request.PAUSE: PauseRequested,
    Request.RESUME: ResumeRequested,
}


@dataclass(frozen=True)
class OperatorRequests:
    """What people have asked of one evacuation so far."""

    cancelled_by: str | None = None
    paused_by: str | None = None
    renewed_by: str | None = None
    """who last asked for it to go on"""
    renewed_at: datetime | None = None
    abandoned: str | None = None
    """why what had not begun was given up after a crash"""


def fold_requests(entries: Iterable[Entry[Record]]) -> OperatorRequests:
    """What these entries of one evacuation come to. A cancellation is not taken back by anything."""
    asked = OperatorRequests()
    for entry in entries:
        match entry.record:
            case CancelRequested(by=by):
                asked = replace(asked, cancelled_by=asked.cancelled_by or by)
            case PauseRequested(by=by):
                asked = replace(asked, paused_by=by)
            case ResumeRequested(by=by):
                asked = replace(asked, paused_by=None, renewed_by=by, renewed_at=entry.at)
            case RestAbandoned(why=why):
                asked = replace(asked, abandoned=asked.abandoned or why)
            case _:
                pass
    return asked


def read_requests(journal: Journal, evacuation: str) -> OperatorRequests:
    return fold_requests(
        journal.of(CancelRequested, PauseRequested, ResumeRequested, RestAbandoned, evacuation=evacuation)
    )


def unfinished(journal: Journal) -> list[str]:
    """Evacuations that were started and not ended, oldest first: running now, paused, or cut off by a crash."""
    started = journal.unended(EvacuationStarted, EvacuationEnded, by=Scope.EVACUATION)
    return list(dict.fromkeys(entry.evacuation for entry in started if entry.evacuation is not None))


def ask(journal: Journal, request: Request, evacuation: str, *, by: str, now: datetime) -> str:
    """Write a request down; the evacuation it is for. Without a name it is for the only one that is not over.

    Raises BadInput when there is no such evacuation, when it is over, or when the name is needed.
    """
    going_on = unfinished(journal)
    if not evacuation and len(going_on) == 1:
        evacuation = going_on[0]
    if evacuation not in going_on:
        asked = journal.unended(ApprovalAsked, ApprovalClosed, by=Scope.EVACUATION)
        if any(entry.evacuation == evacuation for entry in asked):
            raise BadInput(
                f"evacuation {evacuation} has not begun: people are asked about it",
                hint=f"`lifeboat show {evacuation}`; `lifeboat reject` is the way to stop it",
            )
        known = evacuation and journal.entries(evacuation=evacuation)
        raise BadInput(
            f"evacuation {evacuation} is over"
            if known
            else f"there is no evacuation {evacuation!r}"
            if evacuation
            else f"{len(going_on)} evacuations are not over"
            if going_on
            else "no evacuation is going on",
            hint=f"not over: {', '.join(going_on)}"
            if going_on
            else "the breaker is tripped: `lifeboat breaker reset` lets lifeboat go on"
            if request is Request.RESUME and tripped(journal) is not None
            else "see `lifeboat status`",
        )
    if request is not Request.CANCEL and read_requests(journal, evacuation).cancelled_by is not None:
        raise BadInput(f"evacuation {evacuation} was cancelled, which is for good", hint="plan again")
    journal.append(_RECORDS[request](by=by), now=now, evacuation=evacuation)
    return evacuation
