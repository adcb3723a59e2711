"""Live migration: what was measured before it, the call, the ladder, and what both ends showed."""

from __future__ import annotations

from pydantic import AliasChoices, Field

from models.migration.advice import Advice
from models.migration.convergence import LadderStep
from tools.ports.journal import Record, Timed
from tools.ports.migration import IoLimits


class DirtyRateMeasured(Record):
    """How fast a guest rewrites its memory was measured before its move."""

    KIND = "dirty-rate"
    vm: str
    """uuid"""
    bytes_per_second: float
    """memory that the guest rewrites"""
    advice: Advice | None = None
    """what was made of it"""
    why: str = ""


class DirtyRateUnknown(Record):
    """How fast a guest rewrites its memory could not be measured."""

    KIND = "dirty-rate-unknown"
    error: str


class MigrateCalled(Timed):
    """libvirt is to be called."""

    KIND = "call"
    max_downtime: float | None
    """QEMU's limit before the call, seconds, to be set again when the vm stays; None: not known"""


class MigrateCallEnded(Record):
    """libvirt was called, and the call is over."""

    KIND = "call-over"
    error: str | None
    """None: it reported none, which proves nothing"""
    answered: bool
    """libvirt itself ended the call, so its job is over; False: the connection or patience was lost"""


class LadderStepTaken(Record):
    """A step of the convergence ladder is to be taken."""

    KIND = "ladder"
    step: LadderStep
    why: str
    elapsed_seconds: float
    """since the call"""


class LadderStepHeld(Record):
    """The ladder wanted a step that was not safe now."""

    KIND = "ladder-held"
    step: LadderStep
    why: str


class LadderStepFailed(Record):
    """A step of the convergence ladder was refused."""

    KIND = "ladder-failed"
    step: LadderStep
    error: str


class AbortIntended(Record):
    """The job is to be told to end."""

    KIND = "abort-asked"
    why: str


class Reconciled(Record):
    """What both ends show, judged."""

    KIND = "settled"
    step: str
    """what follows from it, as `agent.actions.reconcile.ReconcileStep`"""
    why: str


class RanTwice(Record):
    """Two copies ran; the one at the source is to be paused."""

    KIND = "ran-twice"
    source: str
    target: str
    pausing: str
    """the node on which it is paused"""


class SourceResumeIntended(Record):
    """A vm that its migration left paused at the source is to run on there: no other node has it, each of them seen."""

    KIND = "resume-source"
    why: str


class DisksThrottled(Record):
    """The guest's disks are to be limited while it moves."""

    KIND = "io-throttled"
    vm: str
    """uuid"""
    node: str
    initial: IoLimits = Field(validation_alias=AliasChoices("before", "initial"), serialization_alias="before")
    """the limits before, to be set again"""
    bytes_per_second: int
    """what each disk is limited to"""


class DiskLimitsRestored(Record):
    """The vm was seen with the limits of before, or is nowhere any more."""

    KIND = "io-given-back"
    vm: str
    """uuid"""
    nodes: tuple[str, ...]
    """where they were set again"""


class DisksNotThrottled(Record):
    """A guest's disks could not be slowed down for its move."""

    KIND = "io-not-throttled"
    error: str
