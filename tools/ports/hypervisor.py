"""libvirt on one node."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from models.fleet import Node, Vm
from models.migration.convergence import JobProgress
from tools.domain.numa import Cell
from tools.ports.migration import IoLimits, MigrationOptions, MigrationStatistics
from tools.ports.vms import StateFile, StorageFacts, VmObservation


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

    def tag_attempt(self, uuid: str, attempt: str | None) -> None:
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
