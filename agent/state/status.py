"""What the journal says of evacuations, locked vms and what waits for a human."""

from __future__ import annotations

from collections.abc import Sequence

from agent.state.brake import tripped
from agent.state.requests import OperatorRequests, fold_requests
from models.base import Value
from models.evacuation import AttemptOutcome
from models.past_moves import Tripped
from models.plan import Action
from models.proposals.states import EventKind
from tools.ports.journal import Entry, Holder, Journal, Record
from tools.ports.records.approvals import ApprovalAsked, ApprovalClosed
from tools.ports.records.attempts import AttemptEnded, AttemptIntended
from tools.ports.records.evacuations import EvacuationEnded, EvacuationRefused, EvacuationStarted


class AttemptStatus(Value):
    id: str
    vm: str
    vm_name: str
    kind: str
    source: str
    target: str | None
    outcome: str
    """how it ended, or `running`"""
    message: str
    locked: bool
    """still holds the vm's lock"""


class EvacuationStatus(Value):
    id: str
    started_at: str
    outcome: str
    """how it ended; `waits for approval`, or what was decided then (`rejected`, `expired`, …); `running`, `paused` or
    `cancelling`; `cut off` when the lifeboat that ran it is gone; or `refused` with nothing changed"""
    why: str
    attempts: tuple[AttemptStatus, ...]
    actions: int = 0
    """how many the plan has, those that stay left out"""
    over: int = 0
    """how many of them have ended, however they did"""
    worked_on_by: int | None = None
    """pid of the lifeboat that carries it out now"""


class Status(Value):
    evacuations: tuple[EvacuationStatus, ...]
    """newest first"""
    audit_head: str
    breaker: Tripped | None = None
    """what keeps everything from moving until a person resets it; None: nothing"""

    @property
    def needs_human(self) -> tuple[AttemptStatus, ...]:
        return tuple(
            attempt
            for evacuation in self.evacuations
            for attempt in evacuation.attempts
            if attempt.outcome == AttemptOutcome.INDETERMINATE and attempt.locked
        )


def read_status(journal: Journal, *, holder: Holder | None = None, most: int = 10) -> Status:
    """The newest `most` evacuations as the journal has them. `holder`: the lifeboat that is at work now."""
    locks = set(journal.locks().values())
    return Status(
        evacuations=tuple(
            _evacuation(name, journal.entries(evacuation=name), locks, holder) for name in journal.evacuations(most)
        ),
        audit_head=journal.head(),
        breaker=tripped(journal),
    )


def _evacuation(
    name: str, entries: Sequence[Entry[Record]], locks: set[str], holder: Holder | None
) -> EvacuationStatus:
    outcome, why, actions = "planned", "", 0
    attempts: dict[str, AttemptStatus] = {}
    for entry in entries:
        match entry.record:
            case EvacuationStarted(plan=plan):
                outcome, actions = "running", len(plan.moves)
            case EvacuationEnded():
                outcome = entry.record.outcome
            case EvacuationRefused():
                outcome, why = "refused", entry.record.why
            case ApprovalAsked():
                outcome = "waits for approval"
                why = f"until it is decided or its time is over; see `lifeboat show {name}`"
            case ApprovalClosed(event=event, state=state) if event.kind is not EventKind.EXECUTE:
                outcome, why = str(state), f"by {event.by}: {event.why}" if event.why else f"by {event.by}"
            case AttemptIntended(action=action) if entry.attempt is not None:
                attempts[entry.attempt] = _attempt(entry.attempt, action, "running", "", locks)
            case AttemptEnded(attempt=ended) if entry.attempt is not None:
                attempts[entry.attempt] = _attempt(
                    entry.attempt, ended.action, ended.outcome or "running", ended.message, locks
                )
            case _:
                pass
    at_work = holder is not None and holder.what in (name, "recovery") and outcome == "running"
    if outcome == "running":
        outcome, why = _under_way(fold_requests(entries), at_work)
    over = sum(attempt.outcome != "running" for attempt in attempts.values())
    return EvacuationStatus(
        id=name,
        started_at=entries[0].at.isoformat(),
        outcome=outcome,
        why=why,
        attempts=tuple(attempts.values()),
        actions=actions,
        over=over,
        worked_on_by=holder.pid if at_work and holder is not None else None,
    )


def _attempt(attempt: str, action: Action, outcome: str, message: str, locks: set[str]) -> AttemptStatus:
    return AttemptStatus(
        id=attempt,
        vm=action.vm,
        vm_name=action.vm_name,
        kind=action.kind,
        source=action.source,
        target=action.target,
        outcome=outcome,
        message=message,
        locked=attempt in locks,
    )


def _under_way(requests: OperatorRequests, at_work: bool) -> tuple[str, str]:
    """State and reason of an evacuation that has not ended."""
    nobody = "" if at_work else "; the lifeboat that ran it is gone"
    if requests.cancelled_by is not None:
        return "cancelling", f"by {requests.cancelled_by}{nobody}"
    if requests.paused_by is not None:
        return "paused", f"by {requests.paused_by}{nobody}; `lifeboat resume` lets it go on"
    if not at_work:
        return (
            "cut off",
            "the lifeboat that ran it is gone; `lifeboat resume` goes on with it, `lifeboat cancel` ends it",
        )
    return "running", ""
