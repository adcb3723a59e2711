"""Every error lifeboat raises on purpose.

    LifeboatError
    ├── BadInput                     exit 2   a file, option or label is wrong; nothing was changed
    │   ├── PolicyInvalid
    │   ├── FleetInvalid
    │   ├── DatasetInvalid
    │   ├── ModelInvalid             a forecast model file from another version, truncated or tampered with
    │   ├── ExtraMissing             what was asked for needs packages that this installation lacks
    │   └── JournalInvalid           an entry of the journal that something is decided by can't be read
    ├── SourceError                  exit 1   something lifeboat reads from did not answer usefully
    │   ├── MetricsUnavailable       Prometheus unreachable, refusing or empty
    │   ├── HardwareLogUnavailable
    │   └── NodeUnreachable          libvirt on a node does not answer: unreachable, which is not stopped
    │       └── NodeCannotTell       it answers with an error where an answer was wanted: as little is known
    ├── Refused                      exit 3   policy or a precheck said no; nothing was changed
    │   ├── PlanRefused              the guard's verdict failed
    │   ├── ApprovalMissing          nobody approved, or the approval expired or was voided by drift
    │   ├── NotAnApprover            policy does not let this person answer for this plan
    │   ├── AlreadyDecided           somebody else, or time, was faster: says what was decided, by whom, when
    │   ├── Busy                     another lifeboat is at work on this fleet, or left work unfinished
    │   └── PrecheckFailed           one action's precondition does not hold (memory, CPU, disk space, name…)
    │       ├── WontConverge         the vm rewrites memory faster than the link carries it, within what policy allows
    │       ├── CpuIncompatible      the target's CPU lacks features of the vm's
    │       ├── MemoryShort          too little memory, or too few hugepages in the NUMA cells the vm is tied to
    │       ├── MachineUnknown       the target's QEMU has no such machine type, architecture or virtualisation
    │       ├── DeviceBound          a passthrough device or the like ties the vm to its node
    │       ├── DisksUnmovable       a disk can neither be reached from the target nor be copied there
    │       ├── NameTaken            the target knows that uuid or name already
    │       ├── PortClosed           the target's port for other nodes accepts no connection
    │       ├── ClockOff             the target's clock differs too much
    │       ├── VersionTooOld        the target's QEMU is older than the source's
    │       └── IdentityUnproven     the target's certificate does not hold, or is not the pinned one
    ├── ActionFailed                 exit 1   an attempt failed and the vm was left as it was found
    │   ├── MigrationFailed
    │   │   └── MigrationRefused     libvirt or QEMU would not begin, for a reason that does not pass by itself
    │   ├── ArchiveFailed
    │   └── CutOff                   lifeboat ended in the middle of a cold move or an archive, and it was taken back
    ├── Indeterminate                exit 4   lifeboat can't tell where a vm runs; it is frozen, a human must look
    ├── RecordNotWritten             exit 1   the journal took no record: what it was to announce was not done
    ├── LeadLost                     exit 1   another lifeboat leads by now: what was begun here is its to finish
    ├── PlannerFailed                exit 1   the language model gave no usable plan (the solver takes over)
    ├── AuditBroken                  exit 1   the audit log's hash chain does not hold
    ├── LabError                     exit 1   the test bench could not be brought up, changed or taken down
    └── Unexpected                   exit 1   a fault of lifeboat's own; the whole story is in a file to send

Every message says what happened, to which node or vm, what is left in which state, and what to do next.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Lasting(StrEnum):
    """What a refusal that does not pass by itself holds for, as long as the guest stays as it is."""

    EVERYWHERE = "everywhere"
    """this kind of move of the guest, to whatever node"""
    AT_TARGET = "at the target"
    """this kind of move to this node"""


class LifeboatError(Exception):
    """Root of the tree.

    `code` is stable across releases and safe to match on; `exit_code` is what the command line returns.
    `hint` says what to do next; it is shown on the same line, after the message. `lasting`: trying the same again brings the
    same refusal, until the guest or the node is another; None when it may pass by itself.
    """

    code: ClassVar[str] = "lifeboat"
    exit_code: ClassVar[int] = 1
    lasting: Lasting | None = None

    def __init__(self, message: str, *, hint: str = "", lasting: Lasting | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if lasting is not None:
            self.lasting = lasting

    def __str__(self) -> str:
        return f"{self.message} — {self.hint}" if self.hint else self.message


class BadInput(LifeboatError):
    """A file, option, URL or label is wrong. Names the file, the field and what was expected."""

    code = "bad-input"
    exit_code = 2


class PolicyInvalid(BadInput):
    """The policy file, or a field of it, is not what it has to be. Names the field and what was expected."""

    code = "policy-invalid"


class FleetInvalid(BadInput):
    """A fleet or risks file is not what it has to be, or speaks of nodes and vms that the other does not have."""

    code = "fleet-invalid"


class DatasetInvalid(BadInput):
    """A dataset folder lacks a table or column, or one holds what can't be. Names the table and what was expected."""

    code = "dataset-invalid"


class ModelInvalid(BadInput):
    """A forecast model file is of another version, truncated, changed, or not signed by the trusted key. It is not used."""

    code = "model-invalid"


class ExtraMissing(BadInput):
    """Packages of an extra are not installed. What does not need them works; nothing was changed."""

    code = "extra-missing"


class JournalInvalid(BadInput):
    """An entry of the journal that decides something can't be read: a newer version may have written it, or it is damaged."""

    code = "journal-invalid"


class SourceError(LifeboatError):
    """Something lifeboat reads from gave no usable answer. What it would have said is unknown, never healthy."""

    code = "source"


class MetricsUnavailable(SourceError):
    """Prometheus is unreachable, refuses, answers with nothing, or its clock is not to be believed."""

    code = "metrics-unavailable"


class MetricsRefused(MetricsUnavailable):
    """It answers, but not this question: another may do well."""


class HardwareLogUnavailable(SourceError):
    """A hardware log (file, journal, Loki, event log of a BMC) can't be read."""

    code = "hardware-log-unavailable"


class NodeUnreachable(SourceError):
    """libvirt on a node does not answer. Its vms may well be running: unreachable is not stopped."""

    code = "node-unreachable"

    def __init__(self, message: str, *, hint: str = "", lasting: Lasting | None = None, node: str = "") -> None:
        """`node`: which one, where it is known."""
        super().__init__(message, hint=hint, lasting=lasting)
        self.node = node


class NodeCannotTell(NodeUnreachable):
    """libvirt on a node answers, and with an error where an answer was wanted: as little is known as of a silent node."""

    code = "node-cannot-tell"


class Refused(LifeboatError):
    """Policy, the guard or a precheck said no, before anything was changed."""

    code = "refused"
    exit_code = 3


class PlanRefused(Refused):
    """The guard found a rule that the plan breaks. `lifeboat guard PLAN --fleet F` shows every rule and what it found."""

    code = "plan-refused"


class ApprovalMissing(Refused):
    """Policy asks for a human's agreement, and nobody gave it."""

    code = "approval-missing"


class ApprovalVoid(ApprovalMissing):
    """Somebody agreed, and the agreement does not hold any more: it expired, or the fleet changed."""


class NotAnApprover(Refused):
    """Policy does not let this person answer for this plan. Nothing was decided."""

    code = "not-an-approver"


class AlreadyDecided(Refused):
    """Somebody else, or time, was faster: the message says what was decided, by whom, when. Nothing was changed."""

    code = "already-decided"


class Halted(Refused):
    """The kill switch is on: nothing is begun until somebody takes it away."""

    code = "halted"


class Busy(Refused):
    """Another lifeboat is at work, or one was and did not finish: a plan is judged for a fleet nobody else changes."""

    code = "busy"


class PrecheckFailed(Refused):
    """Something that one action needs does not hold at the moment it was to begin."""

    code = "precheck-failed"


class WontConverge(PrecheckFailed):
    """A live migration that would not come to its end. The hint says what would help: a quieter time, an archive, policy."""

    code = "wont-converge"


class CpuIncompatible(PrecheckFailed):
    """The target's CPU lacks features that the vm was started with."""

    code = "precheck-cpu"
    lasting = Lasting.AT_TARGET


class MemoryShort(PrecheckFailed):
    """The target has too little free memory, or too few hugepages in the NUMA cells that the vm is tied to."""

    code = "precheck-memory"


class MachineUnknown(PrecheckFailed):
    """The target's QEMU has no such machine type, architecture or virtualisation."""

    code = "precheck-machine"
    lasting = Lasting.AT_TARGET


class DeviceBound(PrecheckFailed):
    """A passthrough device or the like ties the vm to its node."""

    code = "precheck-devices"
    lasting = Lasting.EVERYWHERE


class DisksUnmovable(PrecheckFailed):
    """A disk can neither be reached from the target nor be copied there."""

    code = "precheck-disks"


class NameTaken(PrecheckFailed):
    """The target knows that uuid or name already."""

    code = "precheck-name-taken"


class PortClosed(PrecheckFailed):
    """The target's port for other nodes accepts no connection."""

    code = "precheck-port"


class ClockOff(PrecheckFailed):
    """The target's clock differs too much from that of lifeboat's host."""

    code = "precheck-clock"


class VersionTooOld(PrecheckFailed):
    """The target's QEMU is older than the source's."""

    code = "precheck-version"
    lasting = Lasting.AT_TARGET


class IdentityUnproven(PrecheckFailed):
    """Whoever answers there did not prove to be the node: wrong, expired or swapped certificate. Nothing was sent."""

    code = "precheck-identity"


class ActionFailed(LifeboatError):
    """An attempt failed. The vm is as it was found."""

    code = "action-failed"


class MigrationFailed(ActionFailed):
    """A live migration was begun and did not come to its end."""

    code = "migration-failed"


class MigrationRefused(MigrationFailed):
    """libvirt or QEMU would not begin, for a reason of the guest, or of the target, that does not pass by itself."""

    code = "migration-refused"


class ArchiveFailed(ActionFailed):
    """An archive was not finished, or not read back as it was written."""

    code = "archive-failed"


class CutOff(ActionFailed):
    """lifeboat ended, or led no longer, in the middle of a cold move or an archive; whoever came after took it back."""

    code = "cut-off"


class Indeterminate(LifeboatError):
    """lifeboat can't tell where a vm runs: a move was under way, and one end gave no answer."""

    code = "indeterminate"
    exit_code = 4


class RecordNotWritten(LifeboatError):
    """The journal is full, away or another's by now. What the record was to announce was not done."""

    code = "record-not-written"


class LeadLost(LifeboatError):
    """Another lifeboat leads by now, or may. What was begun here it looks at and finishes; nothing more is begun here."""

    code = "lead-lost"


class PlannerFailed(LifeboatError):
    """The language model gave no usable plan: no answer, a malformed one, or none within its limits."""

    code = "planner-failed"


class AuditBroken(LifeboatError):
    """The hash chain of the audit log does not hold: an entry was changed, removed, inserted or moved."""

    code = "audit-broken"


class LabError(LifeboatError):
    """The test bench could not be brought up, changed or taken down."""

    code = "lab"


class Unexpected(LifeboatError):
    """Nobody foresaw this one. What was under way is in the journal, as after a crash."""

    code = "unexpected"
