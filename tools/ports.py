"""The Protocols behind which every outside thing stands, and the plain values that cross them.

A method either answers what it *saw* or raises; it never guesses. `None` from `observe` means "looked, and it is not
there"; a node that does not answer raises `NodeUnreachable`, because unreachable is not absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from models.fleet import Node, Vm, VmState
from models.signal import HardwareEvent, Signal, SignalHistory, Summaries


class Clock(Protocol):
    def now(self) -> datetime:
        """The time now, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def sleep(self, seconds: float) -> None: ...


class MetricsSource(Protocol):
    """Where signals are read from: Prometheus, or anything that speaks its HTTP API."""

    def histories(self, signal: Signal, *, start: datetime, end: datetime, step_seconds: float) -> list[SignalHistory]:
        """One history per node and part, NaN where nothing was reported.

        Raises MetricsUnavailable when the source is unreachable, refuses, or answers only in part, and BadInput when the
        signal gives two series for one node and part.
        """
        ...


class SummarySource(Protocol):
    """Who computes 5-minute summaries: Prometheus, or anything that speaks its HTTP API."""

    def summaries(
        self,
        signal: Signal,
        *,
        first: int,
        last: int,
        step_seconds: int,
        resolution_seconds: int,
        recorded: bool = False,
    ) -> Summaries:
        """The stretches that end at `first`, `first + step_seconds` … `last` (unix seconds). Raises as `histories` does."""
        ...


class HardwareLog(Protocol):
    """Where hardware events are read from: a directory of collected logs, or a BMC's SEL."""

    def events(self, *, since: datetime) -> list[HardwareEvent]:
        """Events at or after `since`, oldest first. Raises HardwareLogUnavailable."""
        ...


@dataclass(frozen=True)
class DiskObservation:
    """One writable disk of a vm, as a node sees it."""

    device: str
    """target device in the guest, such as `vda`"""
    path: str
    """where it lies on the node"""
    format: str
    """`raw` or `qcow2`"""
    virtual_bytes: int
    allocated_bytes: int
    shared: bool
    """lies in storage that every node reaches"""
    image_bytes: int = 0
    """length of the image as `read_disk` gives it, now; 0 when not known. A qcow2 image grows while its vm runs"""
    backing: str = ""
    """the image below it that it needs; empty when it stands alone"""


@dataclass(frozen=True)
class VmObservation:
    """What one node says of one vm at one moment."""

    uuid: str
    name: str
    node: str
    state: VmState
    persistent: bool
    disks: tuple[DiskObservation, ...]
    incoming: bool = False
    """a migration is arriving: the vm is defined here but does not run here yet"""
    attempt: str | None = None
    """id of the lifeboat attempt stamped into the domain's metadata, if any"""
    state_reason: str = ""
    """libvirt's word for why it is in that state, such as `migration`, `user`, `post-copy failed`"""
    saved_memory: bool = False
    """shut off with its memory in a managed save image: a copy of the disks alone would lose it"""
    snapshots: int = 0
    nvram: str | None = None
    """file with the UEFI variables, outside the disks"""
    tpm: bool = False
    """has an emulated TPM, whose state lies outside the disks"""


@dataclass(frozen=True)
class JobProgress:
    """One look at a running migration. Bytes are of memory and disk together."""

    elapsed_seconds: float
    bytes_total: int
    bytes_processed: int
    bytes_remaining: int
    dirty_bytes_per_second: float
    bytes_per_second: float
    iteration: int
    """rounds over dirtied memory so far"""


@dataclass(frozen=True)
class MigrationOptions:
    """How one live migration is done."""

    tls: bool
    max_downtime_seconds: float
    timeout_seconds: float
    """after this it is aborted; the vm stays on the source"""
    auto_converge: bool
    post_copy: bool
    parallel_connections: int
    """0: one stream"""
    bandwidth_bytes_per_second: int | None
    copy_disks: tuple[str, ...]
    """devices of non-shared disks that move along"""


@dataclass(frozen=True)
class MigrationStatistics:
    """What libvirt measured, from whichever end still has the figures. None: neither end had it."""

    total_seconds: float | None
    downtime_seconds: float | None
    bytes_transferred: int | None
    iterations: int | None


class Hypervisor(Protocol):
    """libvirt on one node.

    Every method raises NodeUnreachable when the node does not answer.
    """

    @property
    def name(self) -> str:
        """The node's name in the fleet."""
        ...

    def node(self) -> Node: ...

    def vms(self) -> list[Vm]:
        """Every domain defined or running here, labels read from its metadata.

        A label that can't be read hides no vm: it is left aside, `Vm.label_warning` says so, and it is not archived.
        """
        ...

    def observe(self, uuid: str) -> VmObservation | None:
        """What this node says of a vm now; None when it does not know it."""
        ...

    def uuid_of(self, name: str) -> str | None:
        """The uuid of the vm that has this name here; None when none has."""
        ...

    def free_memory_bytes(self, *, hugepage_bytes: int = 0) -> int:
        """Host memory a new vm could take now, the node's reserve left aside; of hugepages of that size, if given."""
        ...

    def free_disk_bytes(self, path: str) -> int:
        """Free space of the storage that holds, or would hold, `path`. Raises PrecheckFailed when no pool holds it."""
        ...

    def disk_exists(self, path: str) -> bool:
        """Whether an image lies there already. Raises PrecheckFailed when no pool holds `path`."""
        ...

    def domain_xml(self, uuid: str) -> str:
        """The persistent definition without lifeboat's stamp, with what a restore needs (console passwords too).

        Raises ActionFailed when there is none: a vm not known here, or one that would vanish when it stops."""
        ...

    def running_xml(self, uuid: str) -> str:
        """The definition as it runs now, with everything libvirt filled in; the persistent one when it is shut off."""
        ...

    def host_cpu(self) -> str:
        """This node's CPU as libvirt's XML, for `cpu_compatible` of another node."""
        ...

    def cpu_compatible(self, domain_xml: str, host_cpu: str) -> str | None:
        """None when this node's CPU can run the domain, now on a host with `host_cpu`; else what is missing."""
        ...

    def machine_compatible(self, domain_xml: str) -> str | None:
        """None when this node's QEMU has the domain's architecture and machine type; else what is missing."""
        ...

    def tls_fingerprint(self) -> str:
        """SHA-256 (hex) of the certificate this node shows where other nodes reach it, after it passed verification
        against the CA and the name. Raises PrecheckFailed when it shows none that does, NodeUnreachable."""
        ...

    def stamp_attempt(self, uuid: str, attempt: str | None) -> None:
        """Write (or, with None, remove) the attempt's id in the domain's metadata, live and persistent."""
        ...

    def migrate_live(self, uuid: str, target: str, options: MigrationOptions) -> None:
        """Move a running vm to the node named `target`, peer to peer. Blocks until libvirt says it is over.

        At the timeout the job is aborted; with `post_copy` it is switched to post-copy instead, which has no way back.
        Returning means only that libvirt reported no error: the caller observes both ends. Raises MigrationFailed when
        libvirt reported one, NodeUnreachable when the source stopped answering and BadInput when `target` is not
        configured; the caller still observes both ends.
        """
        ...

    def job(self, uuid: str) -> JobProgress | None:
        """Progress of the migration job now, None when there is none."""
        ...

    def completed_job(self, uuid: str) -> MigrationStatistics | None:
        """Statistics of the last finished migration of this vm, as far as this end has them."""
        ...

    def abort_job(self, uuid: str) -> None:
        """Ask for the running job to end; the vm stays on the source. No error when there is no job.

        Raises ActionFailed when it can't be ended, as in post-copy."""
        ...

    def shut_down(self, uuid: str) -> None:
        """Ask the guest to stop (agent, then ACPI). Does not wait for it. No error when it is shut off already. Raises
        ActionFailed when it is not known here or paused: a paused guest hears nothing."""
        ...

    def power_off(self, uuid: str) -> None:
        """Pull the plug. Only where policy says so. No error when it is shut off already. Raises ActionFailed."""
        ...

    def start(self, uuid: str) -> None:
        """Start a vm that is defined here and shut off. Raises ActionFailed."""
        ...

    def resume(self, uuid: str) -> None:
        """Let a paused vm run again. Only after the destination of its move was observed absent. Raises ActionFailed."""
        ...

    def define(self, xml: str) -> str:
        """Define a domain, shut off; its uuid. Raises ActionFailed, and PrecheckFailed when name or uuid is taken."""
        ...

    def undefine(self, uuid: str) -> None:
        """Remove the definition of a shut-off vm; disks, UEFI variables and TPM state stay.

        Raises ActionFailed when it is not shut off, or when snapshots or saved memory would be lost with it."""
        ...

    def read_disk(self, path: str, *, chunk_bytes: int = 4 << 20) -> Iterator[bytes]:
        """The bytes of a disk image as it lies there (qcow2 stays qcow2), in order, each chunk but the last of
        `chunk_bytes`. Raises ArchiveFailed when it can't be read to its end, or changed meanwhile."""
        ...

    def create_disk(self, path: str, *, format: str, virtual_bytes: int, needed_bytes: int | None = None) -> None:
        """Make an empty, sparse image in the pool that holds `path`.

        `needed_bytes` is what will be written to it, checked against the free space; `virtual_bytes` when left out.
        Raises PrecheckFailed when it exists or does not fit.
        """
        ...

    def write_disk(self, path: str, chunks: Iterator[bytes], *, total_bytes: int | None = None) -> int:
        """Put an image, as `read_disk` gave it, in the place of what `create_disk` made; its length in bytes.

        Raises ArchiveFailed, also when `total_bytes` is given and another number came.
        """
        ...

    def delete_disk(self, path: str) -> None:
        """Remove an image that lifeboat itself created in a move that did not finish."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class ArchiveEntry:
    """One archive in the store."""

    id: str
    vm_uuid: str
    vm_name: str
    source: str
    created_at: datetime
    stored_bytes: int
    original_bytes: int
    sha256: str
    """of the manifest"""


class ArchiveStore(Protocol):
    """Where cold archives lie. An archive that has no manifest is not an archive."""

    def write(
        self,
        *,
        archive_id: str,
        vm: VmObservation,
        domain_xml: str,
        disks: Sequence[tuple[DiskObservation, Callable[[], Iterator[bytes]]]],
        on_progress: Callable[[int, int], None],
    ) -> ArchiveEntry:
        """Copy, SHA-256, fsync, re-read and verify, then write the signed manifest. Raises ArchiveFailed, leaving none."""
        ...

    def entries(self) -> list[ArchiveEntry]: ...

    def verify(self, archive_id: str) -> ArchiveEntry:
        """Read every byte again and check it against the signed manifest. Raises ArchiveFailed."""
        ...

    def domain_xml(self, archive_id: str) -> str: ...

    def disks(self, archive_id: str) -> list[tuple[DiskObservation, int, Callable[[], Iterator[bytes]]]]:
        """Each disk, its image size in bytes, and a reader of the verified image."""
        ...

    def free_bytes(self) -> int | None:
        """None where the store can't tell."""
        ...


class Approver(Protocol):
    """Whoever agrees to a plan."""

    def ask(self, question: str) -> ApprovalAnswer: ...


@dataclass(frozen=True)
class ApprovalAnswer:
    approved: bool
    by: str
    """who answered: a user id, or `policy`"""
