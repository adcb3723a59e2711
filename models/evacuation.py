"""An evacuation as it happened: the attempts, what was observed afterwards, and how the risk ran meanwhile."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from models.base import UtcTime, Value
from models.fleet import Fleet, Priority, Vm
from models.plan import Action, ActionKind, Plan, Verdict
from models.text import listed, visible


class AttemptOutcome(StrEnum):
    """How one try at one action ended. Each is a fact that was observed, never one that was inferred."""

    DONE = "done"
    """both ends were observed and show what the action was to bring about"""
    FAILED = "failed"
    """it did not work, and the vm was observed as it had been found"""
    REFUSED = "refused"
    """a precondition no longer held; nothing was touched"""
    CANCELLED = "cancelled"
    """a person, or a node that recovered, called it off; the vm is where it was"""
    INDETERMINATE = "indeterminate"
    """where the vm runs is not known; it is frozen and locked until a human has looked"""
    SKIPPED = "skipped"
    """not needed any more, such as a vm that was gone already; not a failure"""


class ObservedState(StrEnum):
    """What one look at one place showed."""

    RUNNING = "running"
    PAUSED = "paused"
    SHUTOFF = "shutoff"
    ABSENT = "absent"
    """looked, and it is not there"""
    UNREACHABLE = "unreachable"
    """the node did not answer: the vm may well run there"""


class Evidence(Value):
    """One observation of a vm, made after an attempt."""

    node: str
    seen: ObservedState
    observed_at: UtcTime
    detail: str = ""
    """what else was seen: `same uuid, 2 disks`, `attempt stamp matches`; empty when nothing"""


class Measured(Value):
    """What was measured of an attempt. None: it was not measured, which is not zero."""

    seconds: float | None = Field(default=None, ge=0)
    """from the first side effect until the outcome was observed"""
    downtime_seconds: float | None = Field(default=None, ge=0)
    """how long the hypervisor says the guest stood still"""
    blackout_seconds: float | None = Field(default=None, ge=0)
    """longest silence seen from outside by a probe of the guest"""
    bytes_transferred: int | None = Field(default=None, ge=0)
    """what crossed the network or went into the archive"""
    iterations: int | None = Field(default=None, ge=0)
    """rounds over dirtied memory"""
    bytes_per_second: float | None = Field(default=None, ge=0)
    """what the link carried, over the whole move"""
    dirty_bytes_per_second: float | None = Field(default=None, ge=0)
    """memory the guest rewrote, measured right before the move"""
    estimated_seconds: float | None = Field(default=None, ge=0)
    """what was expected right before the move, with that dirty rate, to compare `seconds` with"""
    estimated_downtime_seconds: float | None = Field(default=None, ge=0)
    guest_answered: bool | None = None
    """its agent, or its probe, answered at the destination; None: it has neither"""


class ArchiveFacts(Value):
    """The archive an attempt made."""

    id: str
    sha256: str
    """of the signed manifest"""
    stored_bytes: int = Field(ge=0)
    original_bytes: int = Field(ge=0)
    verified: bool
    """every byte was read back and matched"""


class Attempt(Value):
    """One try at one action. Its id is used once; a second try is another attempt."""

    id: str = Field(min_length=1)
    action: Action
    started_at: UtcTime
    ended_at: UtcTime | None = None
    """None while it runs"""
    outcome: AttemptOutcome | None = None
    """None while it runs"""
    message: str = ""
    """one sentence a person reads: what happened, and what state the vm was left in"""
    error_code: str | None = None
    """the `code` of the error class, where one was raised"""
    measured: Measured = Measured()
    archive: ArchiveFacts | None = None
    """cold_archive only"""
    evidence: tuple[Evidence, ...] = ()
    """what was observed on the source and the destination afterwards"""

    @model_validator(mode="after")
    def _ended_with_an_outcome(self) -> Self:
        if (self.ended_at is None) != (self.outcome is None):
            raise ValueError(f"attempt {self.id}: ended_at and outcome are set together")
        if self.ended_at is not None and self.ended_at < self.started_at:
            raise ValueError(f"attempt {self.id} ended at {self.ended_at}, before its start at {self.started_at}")
        return self


class RiskSample(Value):
    """One node's risk at one moment."""

    time: UtcTime
    node: str
    probability: dict[str, float]
    """horizon → probability, as in `Risk`"""


class NodeLoss(Value):
    """A node that stopped answering for good during or after the evacuation."""

    node: str
    at: UtcTime
    """first look that showed it"""
    detail: str = ""


class EvacuationOutcome(StrEnum):
    RUNNING = "running"
    DONE = "done"
    """every action of the plan was done, or was not needed any more, and no vm of high priority stayed"""
    PARTIAL = "partial"
    """some actions failed or were refused, or a vm of high priority stayed; the others were done"""
    FAILED = "failed"
    """no action was done"""
    REFUSED = "refused"
    """the guard or the approver said no, or the approval was void; nothing was touched"""
    CANCELLED = "cancelled"
    INDETERMINATE = "indeterminate"
    """at least one vm is frozen until a human has looked"""


def judge_outcome(attempts: tuple[Attempt, ...], expected_vms: frozenset[str]) -> EvacuationOutcome:
    """What an evacuation came to: the worst news wins, and an action never tried is not one that succeeded.

    `attempts` may hold several tries at one vm; the last ended one counts, except that an indeterminate one always
    does. `expected_vms` are the uuids the plan moves.
    """
    last: dict[str, AttemptOutcome] = {}
    for attempt in attempts:
        if attempt.outcome is None:
            return EvacuationOutcome.RUNNING
        if last.get(attempt.action.vm) is not AttemptOutcome.INDETERMINATE:
            last[attempt.action.vm] = attempt.outcome
    outcomes = [last.get(vm, AttemptOutcome.FAILED) for vm in expected_vms]
    good = {AttemptOutcome.DONE, AttemptOutcome.SKIPPED}
    if AttemptOutcome.INDETERMINATE in last.values():
        return EvacuationOutcome.INDETERMINATE
    if all(outcome in good for outcome in outcomes):
        return EvacuationOutcome.DONE
    if any(outcome is AttemptOutcome.CANCELLED for outcome in outcomes):
        return EvacuationOutcome.CANCELLED
    if any(outcome is AttemptOutcome.DONE for outcome in outcomes):
        return EvacuationOutcome.PARTIAL
    if attempts and all(outcome is AttemptOutcome.REFUSED for outcome in outcomes):
        return EvacuationOutcome.REFUSED
    return EvacuationOutcome.FAILED


def outcome_with_stays(attempts: tuple[Attempt, ...], plan: Plan, fleet: Fleet) -> EvacuationOutcome:
    """As `judge_outcome`; and never done while the plan leaves a vm of high priority on a node that it evacuates, whatever the
    reason. `fleet`: the one that the plan was made for."""
    outcome = judge_outcome(attempts, frozenset(action.vm for action in plan.moves))
    if not plan.moves:
        outcome = EvacuationOutcome.DONE
    if outcome is EvacuationOutcome.DONE and any(vm.priority is Priority.HIGH for vm in staying(plan, fleet)):
        return EvacuationOutcome.PARTIAL
    return outcome


def staying(plan: Plan, fleet: Fleet) -> list[Vm]:
    """The vms that a plan says stay on the nodes it evacuates; those that a plan made by hand does not speak of are left out."""
    stays = {action.vm for action in plan.actions if action.kind is ActionKind.STAY}
    return [vm for node in plan.evacuating for vm in fleet.vms_on(node) if vm.uuid in stays]


def count_outcomes(evacuation: Evacuation, fleet: Fleet) -> str:
    """What became of the vms, in words: `3 moved, 1 archived, 2 not moved (db and web of high priority)`. `fleet`: the one that
    the plan was made for."""
    last = {action.vm: evacuation.attempt_for(action.vm) for action in evacuation.plan.moves}
    done = [each.action for each in last.values() if each is not None and each.outcome is AttemptOutcome.DONE]
    archived = sum(action.kind is ActionKind.COLD_ARCHIVE for action in done)
    unmoved = [vm for vm, each in last.items() if each is None or each.outcome not in _SETTLED]
    left = [*staying(evacuation.plan, fleet), *(fleet.vm_by_uuid[vm] for vm in unmoved if vm in fleet.vm_by_uuid)]
    unknown = sum(each is not None and each.outcome is AttemptOutcome.INDETERMINATE for each in last.values())
    parts = [f"{len(done) - archived} moved"] if len(done) > archived or not archived else []
    parts += [f"{archived} archived"] if archived else []
    parts += [f"{unknown} for a human to look at"] if unknown else []
    if left:
        high = listed([visible(vm.name, 60) for vm in left if vm.priority is Priority.HIGH])
        parts.append(f"{len(left)} not moved{f' ({high} of high priority)' if high else ''}")
    return ", ".join(parts)


_SETTLED = (AttemptOutcome.DONE, AttemptOutcome.SKIPPED, AttemptOutcome.INDETERMINATE)


class Evacuation(Value):
    """One durable run of an approved plan."""

    id: str = Field(min_length=1)
    plan: Plan
    verdict: Verdict
    approved_by: str = ""
    """a user's id, or `policy`; empty when nobody has agreed"""
    approved_at: UtcTime | None = None
    started_at: UtcTime
    ended_at: UtcTime | None = None
    """None while it runs"""
    outcome: EvacuationOutcome = EvacuationOutcome.RUNNING
    attempts: tuple[Attempt, ...] = ()
    """in the order they started"""
    risk_timeline: tuple[RiskSample, ...] = ()
    """oldest first; from before the trigger until the end"""
    nodes_lost: tuple[NodeLoss, ...] = ()
    notes: tuple[str, ...] = ()
    """what else a reader should know, one sentence each"""

    def attempt_for(self, vm: str) -> Attempt | None:
        """The last attempt on a vm (uuid), except that an indeterminate one outlasts any other."""
        tries = [attempt for attempt in self.attempts if attempt.action.vm == vm]
        for attempt in tries:
            if attempt.outcome is AttemptOutcome.INDETERMINATE:
                return attempt
        return tries[-1] if tries else None
