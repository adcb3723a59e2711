"""Cancel, pause and resume: what people ask of a running evacuation, as records of the journal.

A request is its own record, so it outlasts a crash of whoever wrote it and of whoever was to heed it. The process that
carries the evacuation out reads them every `LOOK_SECONDS`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from models.errors import BadInput
from tools.journal.sqlite import Journal, Record

LOOK_SECONDS = 0.25


class Request(StrEnum):
    """What can be asked, as the journal names it."""

    CANCEL = "cancel-asked"
    """nothing new begins; what has not switched over yet is taken back. For good"""
    PAUSE = "pause-asked"
    """nothing new begins; what runs finishes"""
    RESUME = "resume-asked"
    """a person wants it to go on, and so agrees to the rest of its plan again"""


@dataclass(frozen=True)
class OperatorRequests:
    """What people have asked of one evacuation so far."""

    cancelled_by: str | None = None
    paused_by: str | None = None
    renewed_by: str | None = None
    """who last asked for it to go on"""
    renewed_at: datetime | None = None
    called_off: str | None = None
    """why what had not begun was given up after a crash"""


STEERING = (*Request, "called-off")


def fold_requests(records: Iterable[Record]) -> OperatorRequests:
    """What these records of one evacuation come to. A cancellation is not taken back by anything."""
    steering = OperatorRequests()
    for record in records:
        by = str(record.data.get("by", ""))
        cancelled, paused = steering.cancelled_by, steering.paused_by
        renewed, at, called_off = steering.renewed_by, steering.renewed_at, steering.called_off
        if record.kind == Request.CANCEL:
            cancelled = cancelled or by
        elif record.kind == Request.PAUSE:
            paused = by
        elif record.kind == Request.RESUME:
            paused, renewed, at = None, by, datetime.fromisoformat(record.time)
        elif record.kind == "called-off":
            called_off = called_off or str(record.data["why"])
        steering = OperatorRequests(cancelled, paused, renewed, at, called_off)
    return steering


def read_requests(journal: Journal, evacuation: str) -> OperatorRequests:
    return fold_requests(journal.records(evacuation=evacuation, kinds=STEERING))


def unfinished(journal: Journal) -> list[str]:
    """Evacuations that were started and not ended, oldest first: running now, paused, or cut off by a crash."""
    started: dict[str, None] = {}
    for record in journal.records(kinds=("evacuation-started", "evacuation-ended")):
        if record.evacuation is not None:
            if record.kind == "evacuation-started":
                started[record.evacuation] = None
            else:
                started.pop(record.evacuation, None)
    return list(started)


def ask(journal: Journal, request: Request, evacuation: str, *, by: str, now: datetime) -> str:
    """Write a request down; the evacuation it is for. Without a name it is for the only one that is not over.

    Raises BadInput when there is no such evacuation, when it is over, or when the name is needed.
    """
    going_on = unfinished(journal)
    if not evacuation and len(going_on) == 1:
        evacuation = going_on[0]
    if evacuation not in going_on:
        known = evacuation and journal.records(evacuation=evacuation)
        raise BadInput(
            f"evacuation {evacuation} is over"
            if known
            else f"there is no evacuation {evacuation!r}"
            if evacuation
            else f"{len(going_on)} evacuations are not over"
            if going_on
            else "no evacuation is going on",
            hint=f"not over: {', '.join(going_on)}" if going_on else "see `lifeboat status`",
        )
    if request is not Request.CANCEL and read_requests(journal, evacuation).cancelled_by is not None:
        raise BadInput(f"evacuation {evacuation} was cancelled, which is for good", hint="plan again")
    journal.append(request, {"by": by}, now=now, evacuation=evacuation)
    return evacuation
