"""What must hold before a vm is touched: one small function per condition, over the ports only.

They run when an action is about to be carried out, however long ago its plan was made, and on simulated nodes as on
real ones. Each raises PrecheckFailed naming the vm, the node, the figures and what to do; nothing has been changed
then. A node that does not answer raises NodeUnreachable.
"""

from __future__ import annotations

from models.errors import PrecheckFailed
from models.fleet import Vm
from models.policy import ArchivePolicy
from tools.domain_xml import Domain, parse_domain
from tools.labels import read_labels
from tools.ports import ArchiveStore, DiskObservation, Hypervisor, ImageFile, ImageRole, VmObservation
from tools.vm_files import image_files, snapshot_files


def check_live_migration(
    source: Hypervisor, target: Hypervisor, before: VmObservation, vm: Vm, *, tls_required: bool = True
) -> None:
    """Every condition of a live migration, cheapest first."""
    xml = source.running_xml(before.uuid)
    domain = parse_domain(xml)
    require_persistent(before)
    require_not_bound(domain, before)
    require_unknown_at(target, before)
    require_memory(target, domain, vm)
    require_machine(target, xml, before)
    require_cpu(source, target, xml, before)
    require_disks_movable(target, before, whole=True)  # QEMU's mirror fills the image at the target (seen with 7.2)
    if tls_required:
        require_tls(target, before)


def check_cold_migration(source: Hypervisor, target: Hypervisor, before: VmObservation, vm: Vm) -> None:
    """Every condition of stopping a vm, copying it and starting it elsewhere."""
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
    require_images_movable(target, before)
    for image in image_files(before, shared=False):
        require_readable(source, image, before)


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
        raise PrecheckFailed(
            f"{_vm(before)} can't move live from node {before.node}: {'; '.join(domain.bound)}",
            hint="detach it, or move the vm cold",
        )


def require_unknown_at(target: Hypervisor, before: VmObservation) -> None:
    """Neither its uuid nor its name is known on the target, not even shut off."""
    there = target.observe(before.uuid)
    if there is not None:
        raise PrecheckFailed(
            f"{_vm(before)} is known on node {target.name} already ({there.state})",
            hint="find out which copy is the right one and undefine the other; nothing was changed",
        )
    other = target.uuid_of(before.name)
    if other is not None:
        raise PrecheckFailed(
            f"another vm on node {target.name} is named {before.name} ({other})",
            hint="rename one of them, or choose another target",
        )


def require_memory(target: Hypervisor, domain: Domain, vm: Vm) -> None:
    """The target has the memory free now: of the domain's definition, or of the snapshot if that was larger."""
    needed = max(domain.memory_bytes, vm.memory_bytes)
    free = target.free_memory_bytes(hugepage_bytes=domain.hugepage_bytes)
    if free < needed:
        kind = f"hugepages of {domain.hugepage_bytes} bytes" if domain.hugepage_bytes else "memory"
        raise PrecheckFailed(
            f"vm {domain.name} needs {needed} bytes of {kind}, node {target.name} has {free} free",
            hint="choose another target or make room; nothing was changed",
        )


def require_machine(target: Hypervisor, xml: str, before: VmObservation) -> None:
    missing = target.machine_compatible(xml)
    if missing is not None:
        raise PrecheckFailed(
            f"{_vm(before)} can't run on node {target.name}, which has no {missing}",
            hint="bring QEMU there to the source's version, or choose another target",
        )


def require_cpu(source: Hypervisor, target: Hypervisor, xml: str, before: VmObservation) -> None:
    missing = target.cpu_compatible(xml, source.host_cpu())
    if missing is not None:
        raise PrecheckFailed(
            f"{_vm(before)} can't run on node {target.name}, whose CPU lacks: {missing}",
            hint="choose a target with the same CPU, or give the vm a CPU model that all nodes have",
        )


def require_disks_movable(target: Hypervisor, before: VmObservation, *, whole: bool) -> None:
    """Disks that move along stand alone, have a pool and enough room at the target, and overwrite nothing there.

    `whole`: room for the size the guest sees; else for what they hold now.
    """
    needed: dict[str, int] = {}
    for disk in local_disks(before):
        require_no_backing(disk, before)
        if target.disk_exists(disk.path):  # also catches a shared directory that nobody declared
            raise PrecheckFailed(
                f"disk {disk.path} of {_vm(before)} exists on node {target.name} already",
                hint="if both nodes reach the same storage, list it under shared_paths; else find out whose it is",
            )
        directory = disk.path.rpartition("/")[0]
        size = disk.virtual_bytes if whole else disk.allocated_bytes or disk.virtual_bytes
        needed[directory] = needed.get(directory, 0) + size
        free = target.free_disk_bytes(disk.path)
        if free < needed[directory]:
            raise PrecheckFailed(
                f"{_vm(before)} needs {needed[directory]} bytes under {directory}, node {target.name} has {free} free",
                hint="make room there or choose another target",
            )


def require_tls(target: Hypervisor, before: VmObservation) -> None:
    """The target shows a certificate that holds. A missing one would otherwise be noticed with the vm on its way."""
    try:
        target.tls_fingerprint()
    except PrecheckFailed as error:
        raise PrecheckFailed(f"{_vm(before)} can't move over TLS: {error.message}", hint=error.hint) from error


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
            raise PrecheckFailed(
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
            raise PrecheckFailed(
                f"disk {image.path} of {_vm(before)} exists on node {target.name} already",
                hint="if both nodes reach the same storage, list it under shared_paths; else find out whose it is",
            )
        directory = image.path.rpartition("/")[0]
        needed[directory] = needed.get(directory, 0) + image.needed_bytes
        free = target.free_disk_bytes(image.path)
        if free < needed[directory]:
            raise PrecheckFailed(
                f"{_vm(before)} needs {needed[directory]} bytes under {directory}, node {target.name} has {free} free",
                hint="make room there or choose another target",
            )


def require_no_backing(disk: DiskObservation, before: VmObservation) -> None:
    if disk.backing:
        raise PrecheckFailed(
            f"disk {disk.device} of {_vm(before)} is an overlay over {disk.backing}, which a copy would leave behind",
            hint="flatten it with `virsh blockpull`",
        )


def require_readable(source: Hypervisor, image: ImageFile, before: VmObservation) -> None:
    """A storage pool of the source holds the image, so that it can be read through libvirt."""
    if not source.disk_exists(image.path):
        raise PrecheckFailed(
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


def _vm(before: VmObservation) -> str:
    return f"vm {before.name}"
