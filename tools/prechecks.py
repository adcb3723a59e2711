"""What must hold before a vm is touched: one small function per condition, over the ports only.

They run when an action is about to be carried out, however long ago its plan was made, and on simulated nodes as on
real ones. Each raises its own kind of PrecheckFailed, naming the vm, the node, the figures and what to do; nothing has
been changed then. A node that does not answer raises NodeUnreachable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from models.errors import (
    ClockOff,
    CpuIncompatible,
    DeviceBound,
    DisksUnmovable,
    IdentityUnproven,
    MachineUnknown,
    MemoryShort,
    NameTaken,
    NodeUnreachable,
    PortClosed,
    PrecheckFailed,
    VersionTooOld,
)
from models.fleet import Vm
from models.policy import ArchivePolicy, MigrationPolicy
from tools.domain_xml import Domain, parse_domain
from tools.labels import read_labels
from tools.numa import shortage
from tools.ports import ArchiveStore, DiskObservation, Hypervisor, ImageFile, ImageRole, VmObservation
from tools.vm_files import image_files, snapshot_files

DEFAULT_POLICY = MigrationPolicy()


def check_live_migration(
    source: Hypervisor,
    target: Hypervisor,
    before: VmObservation,
    vm: Vm,
    *,
    policy: MigrationPolicy = DEFAULT_POLICY,
    fleet: Iterable[Hypervisor] = (),
    pinned: Callable[[str, str], None] | None = None,
) -> None:
    """Every condition of a live migration, cheapest first.

    `fleet`: the nodes over which a common CPU model is looked for when the target's CPU won't do. `pinned(node,
    fingerprint)` raises IdentityUnproven for a certificate that is not the pinned one.
    """
    xml = source.running_xml(before.uuid)
    domain = parse_domain(xml)
    require_persistent(before)
    require_not_bound(domain, before)
    require_unknown_at(target, before)
    require_memory(target, domain, vm)
    require_versions(source, target, before, older_allowed=policy.allow_older_target)
    require_machine(target, xml, before)
    require_cpu(source, target, xml, before, fleet)
    require_shared_disks(target, before)
    require_disks_movable(target, before)  # QEMU's mirror fills the image at the target (seen with 7.2)
    require_clock(target, before, most_seconds=policy.max_clock_difference.total_seconds())
    require_port(target, before)
    if policy.tls_required:
        require_identity(target, before, pinned)


def check_cold_migration(
    source: Hypervisor,
    target: Hypervisor,
    before: VmObservation,
    vm: Vm,
    *,
    pinned: Callable[[str, str], None] | None = None,
) -> None:
    """Every condition of stopping a vm, copying it and starting it elsewhere.

    `pinned`: as for a live migration, where the target is pinned. What copies is lifeboat's own libvirt connection.
    """
    xml = source.domain_xml(before.uuid)
    domain = parse_domain(xml)
    require_persistent(before)
    require_no_saved_memory(before, doing="moved cold")
    require_whole_chains(before)
    require_state_readable(source, before, doing="moved cold")
    left_behind = snapshot_files(source.snapshots(before.uuid), image_files(before, shared=True))
    if left_behind:
        raise PrecheckFailed(
            f"{_vm(before)} can't be moved cold: {'; '.join(left_behind)} would stay behind",
            hint="delete those snapshots, or let it move live",
        )
    require_unknown_at(target, before)
    require_memory(target, domain, vm)
    require_machine(target, xml, before)
    require_cpu(source, target, xml, before)
    require_shared_disks(target, before)
    require_images_movable(target, before)
    for image in image_files(before, shared=False):
        require_readable(source, image, before)
    if pinned is not None:
        require_identity(target, before, pinned)


def check_archive(
    source: Hypervisor, store: ArchiveStore, before: VmObservation, vm: Vm, policy: ArchivePolicy
) -> None:
    """Every condition of a cold archive, the owner's consent included, as the label says now."""
    labels = read_labels(source.running_xml(before.uuid))
    if labels.priority not in policy.priorities:
        raise PrecheckFailed(
            f"{_vm(before)} has priority {labels.priority}, policy archives only {', '.join(policy.priorities) or 'none'}",
            hint="change its label or archive.priorities",
        )
    if labels.cold_archive_allowed is False or (labels.cold_archive_allowed is None and not policy.allow_without_label):
        said = "forbids it" if labels.cold_archive_allowed is False else "says nothing of it"
        raise PrecheckFailed(
            f"{_vm(before)} can't be archived: its label {said}{f' ({labels.warning})' if labels.warning else ''}",
            hint='its owner sets cold-archive="allowed"',
        )
    require_persistent(before)
    require_no_saved_memory(before, doing="archived")
    require_whole_chains(before)
    require_state_readable(source, before, doing="archived")
    for image in image_files(before, shared=True):
        require_readable(source, image, before)
    require_store_space(store, before, vm)


def require_persistent(before: VmObservation) -> None:
    if not before.persistent:
        raise PrecheckFailed(
            f"{_vm(before)} on node {before.node} is transient: whoever made it has to move it",
            hint="or define it first with `virsh define`",
        )


def require_not_bound(domain: Domain, before: VmObservation) -> None:
    """No passthrough device or the like ties it to its node."""
    if domain.bound:
        raise DeviceBound(
            f"{_vm(before)} can't move live from node {before.node}: {'; '.join(domain.bound)}",
            hint="detach it, or move the vm cold",
        )


def require_unknown_at(target: Hypervisor, before: VmObservation) -> None:
    """Neither its uuid nor its name is known on the target, not even shut off."""
    there = target.observe(before.uuid)
    if there is not None:
        raise NameTaken(
            f"{_vm(before)} is known on node {target.name} already ({there.state})",
            hint="find out which copy is the right one and undefine the other; nothing was changed",
        )
    other = target.uuid_of(before.name)
    if other is not None:
        raise NameTaken(
            f"another vm on node {target.name} is named {before.name} ({other})",
            hint="rename one of them, or choose another target",
        )


def require_memory(target: Hypervisor, domain: Domain, vm: Vm) -> None:
    """The target has the memory free now: of the domain's definition, or of the snapshot if that was larger; hugepages,
    and memory tied to NUMA cells, in the cells where they have to lie."""
    needed = sum(demand.bytes for demand in domain.demands if not demand.page_bytes)
    if not domain.hugepage_bytes:
        needed = max(needed, domain.memory_bytes, vm.memory_bytes)
    free = target.free_memory_bytes() if needed else 0
    if free < needed:
        raise MemoryShort(
            f"vm {domain.name} needs {needed} bytes of memory, node {target.name} has {free} free",
            hint="choose another target or make room; nothing was changed",
        )
    tied = [demand for demand in domain.demands if demand.page_bytes or demand.cells is not None]
    lacking = shortage(tied, target.cells()) if tied else None
    if lacking is not None:
        kind = f"hugepages of {lacking.page_bytes} bytes" if lacking.page_bytes else "memory"
        where = ""
        if lacking.cells is not None:
            which = ", ".join(map(str, lacking.cells)) or "none that exists there"
            where = f" in NUMA cell{'s' if len(lacking.cells) > 1 else ''} {which}"
        raise MemoryShort(
            f"vm {domain.name} needs {lacking.needed_bytes} bytes of {kind}{where}, node {target.name} has "
            f"{lacking.free_bytes} free there",
            hint="choose another target, make room, or change the vm's <numatune> or <hugepages>; nothing was changed",
        )


def require_machine(target: Hypervisor, xml: str, before: VmObservation) -> None:
    missing = target.machine_compatible(xml)
    if missing is not None:
        raise MachineUnknown(
            f"{_vm(before)} can't run on node {target.name}, which has no {missing}",
            hint="bring QEMU there to the source's version, or choose another target",
        )


def require_versions(
    source: Hypervisor, target: Hypervisor, before: VmObservation, *, older_allowed: bool = False
) -> None:
    """The target's QEMU is as new as the source's, by its first two numbers: device state of a newer one may not be
    readable for an older one, even with a machine type that both have."""
    here, there = source.versions().qemu, target.versions().qemu
    if not older_allowed and there // 1000 < here // 1000:
        raise VersionTooOld(
            f"{_vm(before)} runs on QEMU {version(here)}, node {target.name} has the older {version(there)}",
            hint="bring QEMU there up to date, choose another target, or allow it with migration.allow_older_target",
        )


def require_cpu(
    source: Hypervisor, target: Hypervisor, xml: str, before: VmObservation, fleet: Iterable[Hypervisor] = ()
) -> None:
    """The target's CPU has every feature of the vm's; else says which are missing, and what would fit all of `fleet`."""
    missing = target.cpu_compatible(xml, source.host_cpu())
    if missing is None:
        return
    hint = "choose a target with the same CPU, or give the vm a CPU model that all nodes have"
    cpus = _host_cpus(fleet)
    model = target.common_cpu_model(xml, list(cpus.values())) if cpus else None
    if model is not None:
        hint = f"choose a target with the same CPU, or give the vm the CPU model {model}, which {', '.join(cpus)} have"
    raise CpuIncompatible(f"{_vm(before)} can't run on node {target.name}, whose CPU lacks: {missing}", hint=hint)


def _host_cpus(fleet: Iterable[Hypervisor]) -> dict[str, str]:
    """By node, of those that answer."""
    cpus: dict[str, str] = {}
    for node in fleet:
        with suppress(NodeUnreachable):
            cpu = node.host_cpu()
            if cpu:
                cpus[node.name] = cpu
    return cpus


def require_clock(target: Hypervisor, before: VmObservation, *, most_seconds: float) -> None:
    """The target's clock is close to lifeboat's, where that can be told. A clock that nobody can read stops nothing:
    certificates are judged by each end's own clock anyway."""
    offset = target.clock_offset_seconds()
    if offset is not None and abs(offset) > most_seconds:
        side = "ahead of" if offset > 0 else "behind"
        raise ClockOff(
            f"{_vm(before)} can't move: the clock of node {target.name} is {abs(offset):.1f} s {side} lifeboat's "
            f"(at most {most_seconds:g} s)",
            hint="mend time synchronisation there, or here; or raise migration.max_clock_difference",
        )


def require_port(target: Hypervisor, before: VmObservation) -> None:
    """The port where other nodes reach the target's libvirt accepts connections from here."""
    closed = target.closed_port()
    if closed is not None:
        raise PortClosed(
            f"{_vm(before)} can't move: node {target.name} accepts no connection at {closed}",
            hint="check libvirtd's listener and the firewall there; nothing was sent",
        )


def require_shared_disks(target: Hypervisor, before: VmObservation) -> None:
    """What is not copied is there, as far as a pool of the target can tell: network disks, and directories without a pool
    there, are believed to be where the settings say."""
    for disk in before.disks:
        if not disk.shared or not disk.path.startswith("/"):
            continue
        try:
            there = target.disk_exists(disk.path)
        except PrecheckFailed:
            continue
        if not there:
            raise DisksUnmovable(
                f"disk {disk.path} of {_vm(before)} counts as shared, and node {target.name} does not see it",
                hint="mount the storage there, or mend shared_paths and shared_pools; nothing was changed",
            )


def require_disks_movable(target: Hypervisor, before: VmObservation) -> None:
    """Disks that move along stand alone, have a pool and enough room at the target, and overwrite nothing there.

    There has to be room for the size the guest sees.
    """
    needed: dict[str, int] = {}
    for disk in local_disks(before):
        require_no_backing(disk, before)
        if target.disk_exists(disk.path):  # also catches a shared directory that nobody declared
            raise DisksUnmovable(
                f"disk {disk.path} of {_vm(before)} exists on node {target.name} already",
                hint="if both nodes reach the same storage, list it under shared_paths; else find out whose it is",
            )
        directory = disk.path.rpartition("/")[0]
        size = disk.virtual_bytes
        needed[directory] = needed.get(directory, 0) + size
        free = target.free_disk_bytes(disk.path)
        if free < needed[directory]:
            raise DisksUnmovable(
                f"{_vm(before)} needs {needed[directory]} bytes under {directory}, node {target.name} has {free} free",
                hint="make room there or choose another target",
            )


def require_identity(
    target: Hypervisor, before: VmObservation, pinned: Callable[[str, str], None] | None = None
) -> None:
    """The target shows a certificate that holds (CA, name, dates, TLS 1.3), and the pinned one. A missing or swapped one
    would otherwise be noticed with the vm on its way, or not at all."""
    try:
        fingerprint = target.tls_fingerprint()
        if pinned is not None:
            pinned(target.name, fingerprint)
    except IdentityUnproven as error:
        raise IdentityUnproven(f"{_vm(before)} can't move over TLS: {error.message}", hint=error.hint) from error


def require_no_saved_memory(before: VmObservation, *, doing: str) -> None:
    """It starts from its disks, not from a memory image that would stay behind."""
    if before.saved_memory:
        raise PrecheckFailed(
            f"{_vm(before)} can't be {doing}: it has memory in a managed save image",
            hint="start it, or remove the image",
        )


def require_whole_chains(before: VmObservation) -> None:
    """Every image below every disk was found, down to one that stands alone."""
    for disk in before.disks:
        below = disk.backing
        for image in disk.chain:
            below = image.backing if image.path == below else below
        if below:
            raise DisksUnmovable(
                f"disk {disk.device} of {_vm(before)} needs {below}, which is in no running storage pool of node "
                f"{before.node}, so a copy would leave it behind",
                hint="define a pool over its directory, or flatten the disk with `virsh blockpull`",
            )


def require_state_readable(source: Hypervisor, before: VmObservation, *, doing: str) -> None:
    """UEFI variables and TPM state can be read whole, so that they go along."""
    if before.nvram is None and not before.tpm:
        return
    try:
        source.state_files(before.uuid)
    except PrecheckFailed as error:
        raise PrecheckFailed(f"{_vm(before)} can't be {doing}: {error.message}", hint=error.hint) from error


def require_images_movable(target: Hypervisor, before: VmObservation) -> None:
    """There is a pool and room at the target for every image that moves along, and none overwrites another.

    An image below a disk may be there already; whether it is the same is for the copy to find out.
    """
    needed: dict[str, int] = {}
    for image in image_files(before, shared=False):
        if target.disk_exists(image.path):  # also catches a shared directory that nobody declared
            if image.role is ImageRole.BACKING:
                continue
            raise DisksUnmovable(
                f"disk {image.path} of {_vm(before)} exists on node {target.name} already",
                hint="if both nodes reach the same storage, list it under shared_paths; else find out whose it is",
            )
        directory = image.path.rpartition("/")[0]
        needed[directory] = needed.get(directory, 0) + image.needed_bytes
        free = target.free_disk_bytes(image.path)
        if free < needed[directory]:
            raise DisksUnmovable(
                f"{_vm(before)} needs {needed[directory]} bytes under {directory}, node {target.name} has {free} free",
                hint="make room there or choose another target",
            )


def require_no_backing(disk: DiskObservation, before: VmObservation) -> None:
    if disk.backing:
        raise DisksUnmovable(
            f"disk {disk.device} of {_vm(before)} is an overlay over {disk.backing}, which a copy would leave behind",
            hint="flatten it with `virsh blockpull`",
        )


def require_readable(source: Hypervisor, image: ImageFile, before: VmObservation) -> None:
    """A storage pool of the source holds the image, so that it can be read through libvirt."""
    if not source.disk_exists(image.path):
        raise DisksUnmovable(
            f"disk {image.device} of {_vm(before)} is not at {image.path} on node {source.name}",
            hint="refresh the storage pool, or look where the image went",
        )


def require_store_space(store: ArchiveStore, before: VmObservation, vm: Vm) -> None:
    """Room for the disks as if nothing in them could be compressed: running out halfway costs time nobody has."""
    free = store.free_bytes()
    needed = vm.disk_bytes
    if before.disks:
        files = (file for disk in before.disks for file in (disk, *disk.chain))
        needed = sum(file.allocated_bytes or file.virtual_bytes for file in files)
    if free is not None and free < needed:
        raise PrecheckFailed(
            f"the archive store has {free} bytes free, {_vm(before)} may need {needed}", hint="make room in the store"
        )


def local_disks(before: VmObservation) -> tuple[DiskObservation, ...]:
    """The disks that have to move with the vm."""
    return tuple(disk for disk in before.disks if not disk.shared)


def version(number: int) -> str:
    """libvirt's way of counting, in words: 7002009 is 7.2.9."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _vm(before: VmObservation) -> str:
    return f"vm {before.name}"
