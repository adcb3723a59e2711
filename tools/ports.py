"""The Protocols behind which every outside thing stands, and the plain values that cross them.

A method either answers what it *saw* or raises; it never guesses. `None` from `observe` means "looked, and it is not
there"; a node that does not answer raises `NodeUnreachable`, because unreachable is not absent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from models.convergence import JobProgress
from models.fleet import Node, Vm, VmState
from models.signal import HardwareEvent, Signal, SignalHistory, Summaries
from tools.numa import Cell


class Clock(Protocol):
    def now(self) -> datetime:
        """The time now, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def sleep(self, seconds: float) -> None: ...

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Sleep until the event is set, but no longer than that; whether it is."""
        ...


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


class ImageRole(StrEnum):
    """What a file is to its vm."""

    DISK = "disk"
    """what the guest writes to"""
    BACKING = "backing"
    """below a qcow2 overlay; only read, and often by several vms"""
    NVRAM = "nvram"
    """UEFI variables"""
    TPM = "tpm"
    """state of an emulated TPM"""


@dataclass(frozen=True)
class BackingImage:
    """One image below a disk."""

    path: str
    format: str
    virtual_bytes: int
    allocated_bytes: int
    image_bytes: int
    backing: str
    """the next one below it; empty at the end of the chain"""
    shared: bool = False


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
    chain: tuple[BackingImage, ...] = ()
    """the images below it, nearest first, as far as storage pools hold them"""


@dataclass(frozen=True)
class StateFile:
    """A small file that a vm has beside its disks, and does not run without: UEFI variables, TPM state."""

    role: ImageRole
    path: str
    content: bytes = field(repr=False)
    mode: int
    """permission bits"""
    owner: int
    group: int


@dataclass(frozen=True)
class StorageFacts:
    """What is to be known of an image before it is wiped."""

    format: str
    image_bytes: int
    pool_type: str
    """libvirt's word: `dir`, `logical`, `rbd`, …"""
    shared: bool
    used_by: tuple[str, ...]
    """names of the vms of this node, running or not, that have it as a disk or below one"""


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
class MigrationOptions:
    """How one live migration is done."""

    tls: bool
    max_downtime_seconds: float
    """QEMU's limit, to begin with: for the last round of memory alone, by the bandwidth it measured just before"""
    timeout_seconds: float
    """after this it is aborted; the vm stays on the source. Not in post-copy: there is no way back then"""
    auto_converge: bool
    post_copy: bool
    """`start_post_copy` may be called while it runs"""
    parallel_connections: int
    """0: one stream"""
    bandwidth_bytes_per_second: int | None
    copy_disks: tuple[str, ...]
    """devices of non-shared disks that move along"""
    compression: str = "none"
    """`none`, `xbzrle` (one stream), `zlib` or `zstd` (parallel connections)"""


@dataclass(frozen=True)
class MigrationStatistics:
    """What libvirt measured, from whichever end still has the figures. None: neither end had it."""

    total_seconds: float | None
    downtime_seconds: float | None
    bytes_transferred: int | None
    iterations: int | None


IoLimits = dict[str, dict[str, int]]
"""limits on a vm's disks: device → libvirt's name of the limit, such as `total_bytes_sec` → figure, 0 for none"""


@dataclass(frozen=True)
class Certificate:
    """One that was verified."""

    sha256: str
    """hex"""
    expires_at: datetime


@dataclass(frozen=True)
class Versions:
    """As libvirt counts: 1,000,000 × major + 1,000 × minor + release."""

    libvirt: int
    qemu: int


def version(number: int) -> str:
    """libvirt's way of counting, in words: 7002009 is 7.2.9."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


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

    def widest_guest(self, virt_type: str) -> str:
        """A domain's XML with all the CPU that this node can give one of that kind (`kvm`, `qemu`), which is not all that
        the host has; for `cpu_compatible` of another node. Empty when it can't run such a kind, or can't tell."""
        ...

    def cpu_compatible(self, domain_xml: str, host_cpu: str) -> str | None:
        """None when this node's CPU can run the domain, now on a host with `host_cpu`; else what is missing."""
        ...

    def machine_compatible(self, domain_xml: str) -> str | None:
        """None when this node's QEMU has the domain's architecture and machine type; else what is missing."""
        ...

    def common_cpu_model(self, domain_xml: str, host_cpus: Sequence[str]) -> str | None:
        """The CPU model that a vm like this could have on every one of these hosts (`host_cpu` of each); None when
        libvirt can't tell."""
        ...

    def versions(self) -> Versions:
        """Of libvirt and QEMU as they run there now."""
        ...

    def cells(self) -> tuple[Cell, ...]:
        """Its NUMA cells with what they have free now."""
        ...

    def clock_offset_seconds(self) -> float | None:
        """How far this node's clock is ahead of lifeboat's; None where nothing tells: libvirt itself does not."""
        ...

    def closed_port(self) -> str | None:
        """None when the port where other nodes reach this one's libvirt accepts a connection from here; else which one
        does not, and why. The ports for the guests' memory (49152 to 49215 unless configured) are opened only when
        a migration begins: nobody can try them before."""
        ...

    def tls_certificate(self) -> Certificate:
        """The certificate behind `tls_fingerprint`; raises as it does."""
        ...

    def tls_fingerprint(self) -> str:
        """SHA-256 (hex) of the certificate this node shows where other nodes reach it, after it passed verification
        against the CA, the name and its dates, over TLS 1.3. Raises IdentityUnproven when it shows none that does,
        NodeUnreachable."""
        ...

    def stamp_attempt(self, uuid: str, attempt: str | None) -> None:
        """Write (or, with None, remove) the attempt's id in the domain's metadata, live and persistent."""
        ...

    def migrate_live(self, uuid: str, target: str, options: MigrationOptions) -> None:
        """Move a running vm to the node named `target`, peer to peer. Blocks until libvirt says it is over.

        At the timeout the job is aborted, unless it was switched to post-copy, which has no way back.
        Returning means only that libvirt reported no error: the caller observes both ends. Raises Indeterminate when the
        job does not end within a minute of being told to, here or by `abort_job`, MigrationFailed when
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

    def set_max_downtime(self, uuid: str, seconds: float) -> None:
        """Let the running migration pause the guest for this long in its last round. Raises ActionFailed when the
        hypervisor takes no limit, or the vm is not here any more."""
        ...

    def max_downtime(self, uuid: str) -> float | None:
        """QEMU's limit on the pause of a running vm's migration now, seconds; it outlasts a migration. None when the
        hypervisor has none. Raises ActionFailed when it can't be told."""
        ...

    def start_post_copy(self, uuid: str) -> None:
        """Have the guest go over now, and fetch the rest of its memory as it needs it. There is no way back: when either
        node or the link fails before the end, the guest is lost. Raises ActionFailed when the job can't."""
        ...

    def suspend(self, uuid: str) -> None:
        """Pause a running vm; during a migration it runs again at its end, at whichever side that is. Raises
        ActionFailed."""
        ...

    def io_limits(self, uuid: str) -> IoLimits:
        """The limits on each writable disk of a running vm. Raises ActionFailed when they can't be told."""
        ...

    def set_io_limits(self, uuid: str, limits: IoLimits) -> None:
        """Limit the disks of a running vm, until it stops; its definition is not changed, and a live migration takes the
        limits along. Not while one runs: libvirt takes no change then. Raises ActionFailed."""
        ...

    def measure_dirty_rate(self, uuid: str, seconds: float) -> float:
        """Memory the running vm rewrites, bytes per second, sampled for about that long (whole seconds, at least 1); the
        guest does not notice. Never during a migration, which it would disturb. Raises ActionFailed when it can't be
        measured."""
        ...

    def guest_answers(self, uuid: str) -> bool | None:
        """Whether the guest's agent answers a ping; None when the guest has no agent connected."""
        ...

    def shut_down(self, uuid: str, *, press_button: bool = False) -> None:
        """Ask the guest to stop: its agent where one is connected, else by the ACPI power button. Does not wait for it.

        `press_button`: the button even with an agent, which may have said yes and done nothing. No error when it is shut
        off already. Raises ActionFailed when it is not known here or paused: a paused guest hears nothing."""
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

    def undefine(self, uuid: str, *, with_snapshots: bool = False) -> None:
        """Remove the definition of a shut-off vm; disks, UEFI variables and TPM state stay.

        `with_snapshots`: what libvirt knows of its snapshots goes too (their data stays in the images). Raises
        ActionFailed when it is not shut off, or when snapshots or saved memory would be lost with it."""
        ...

    def state_files(self, uuid: str) -> tuple[StateFile, ...]:
        """UEFI variables and TPM state as they lie there now; none for a vm without.

        Raises PrecheckFailed, saying why, when there are some and they can't be read whole."""
        ...

    def write_state_file(self, file: StateFile) -> bool:
        """Put one where it was on another node. False: the very same was there already, and was not made by this call.

        Raises PrecheckFailed when another one is there, or it can't be written; nothing is overwritten."""
        ...

    def delete_state_file(self, path: str) -> None:
        """Remove one that lifeboat itself wrote, or wiped. No error when it is gone."""
        ...

    def wipe_state_file(self, path: str) -> bool:
        """Overwrite with zeros. False when it is not there. Raises PrecheckFailed when it can't be written."""
        ...

    def snapshots(self, uuid: str) -> tuple[str, ...]:
        """libvirt's XML of each snapshot, parents first, the current one marked."""
        ...

    def restore_snapshots(self, uuid: str, snapshots: tuple[str, ...]) -> None:
        """Make snapshots known again whose data its images hold. Raises ActionFailed."""
        ...

    def storage_facts(self, path: str) -> StorageFacts:
        """Raises PrecheckFailed when no pool holds it or it is not there."""
        ...

    def wipe_disk(self, path: str, *, overwrite: bool) -> str:
        """Overwrite with zeros where data lies, or discard; how it was done, in words. Then nothing but zeros is read.

        Nobody asks here whether it is in use. Raises ActionFailed."""
        ...

    def read_disk(self, path: str, *, chunk_bytes: int = 4 << 20) -> Generator[bytes]:
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


@dataclass(frozen=True)
class ImageFile:
    """One file of a vm on its way into an archive or out of it."""

    role: ImageRole
    device: str
    """the disk's target, such as `vda`; for an image below it, that disk's; `nvram` or `tpm`"""
    path: str
    format: str
    virtual_bytes: int
    image_bytes: int
    """its length; while its vm runs, only about"""
    backing: str = ""
    allocated_bytes: int = 0
    """what it takes on its node; 0 when not known"""
    mode: int | None = None
    owner: int | None = None
    group: int | None = None
    sha256: str = ""
    """of the whole file; known of what comes out of an archive"""

    @property
    def needed_bytes(self) -> int:
        """Room it takes where it is put."""
        return self.allocated_bytes or self.image_bytes or self.virtual_bytes


@dataclass(frozen=True)
class Leftover:
    """What an interrupted copy left in a store. It is no archive; the next copy of the same vm goes on from it."""

    id: str
    vm_uuid: str
    """empty when it can't be told"""
    vm_name: str
    begun_at: datetime | None
    stored_bytes: int


class ArchiveStore(Protocol):
    """Where cold archives lie. An archive that has no manifest is not an archive."""

    def write(
        self,
        *,
        archive_id: str,
        vm: VmObservation,
        domain_xml: str,
        images: Sequence[tuple[ImageFile, Callable[[], Iterator[bytes]]]],
        on_progress: Callable[[int, int], None],
        snapshots: Sequence[str] = (),
        left_out: Sequence[str] = (),
    ) -> ArchiveEntry:
        """Copy, SHA-256, fsync, re-read and verify, then write the signed manifest.

        What an interrupted copy of the same vm left is gone on from, as far as it is still what the image holds. Raises
        ArchiveFailed; then there is no archive, but perhaps a leftover that the next copy goes on from.
        """
        ...

    def entries(self) -> list[ArchiveEntry]: ...

    def leftovers(self) -> list[Leftover]: ...

    def discard(self, archive_id: str) -> None:
        """Remove a leftover. Raises ArchiveFailed when it is a finished archive or there is none."""
        ...

    def verify(self, archive_id: str) -> ArchiveEntry:
        """Read every byte again and check it against the signed manifest. Raises ArchiveFailed."""
        ...

    def domain_xml(self, archive_id: str) -> str: ...

    def snapshots(self, archive_id: str) -> tuple[str, ...]: ...

    def left_out(self, archive_id: str) -> tuple[str, ...]:
        """What of the vm is not in it, in words."""
        ...

    def images(self, archive_id: str) -> list[tuple[ImageFile, Callable[[], Iterator[bytes]]]]:
        """Each file, images below others first, and a reader of it, verified as it is read."""
        ...

    def write_record(self, archive_id: str, name: str, record: Mapping[str, Any]) -> str:
        """Put a signed record beside the manifest as NAME.json and NAME.sig; the SHA-256 of it."""
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
