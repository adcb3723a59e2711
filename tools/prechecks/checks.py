"""What must hold before a vm is touched, over the ports only: the conditions of each kind of action, and those on the vm alone.

They run when an action is about to be carried out, however long ago its plan was made, and on simulated nodes as on
real ones. Each raises its own kind of PrecheckFailed, naming the vm, the node, the figures and what to do; nothing has
been changed then. A node that does not answer raises NodeUnreachable. `precheck_target` has the conditions on the node
that is to run the vm, `precheck_disks` those on its files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from models.errors import DeviceBound, PrecheckFailed
from models.fleet import Vm
from models.plan import ActionKind
from models.policy.policy import ArchivePolicy, MigrationPolicy
from tools.domain.files import image_files, snapshot_files
from tools.domain.labels import read_labels
from tools.domain.xml import Domain, parse_domain
from tools.ports.archives import ArchiveStore
from tools.ports.hypervisor import Hypervisor
from tools.ports.vms import VmObservation
from tools.prechecks.disks import (
    require_disks_movable,
    require_images_movable,
    require_only_read_files,
    require_readable,
    require_shared_disks,
    require_store_space,
    require_whole_chains,
)
from tools.prechecks.guest import (
    inventory_of,
    require_all_copied,
    require_io_sound,
    require_no_data_file,
    require_no_obstacle,
    require_sole_user,
)
from tools.prechecks.resources import require_resources
from tools.prechecks.target import (
    require_clock,
    require_cpu,
    require_identity,
    require_machine,
    require_memory,
    require_port,
    require_unknown_at,
    require_versions,
)

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
    inventory = inventory_of(source, before)
    require_no_obstacle(inventory, before, ActionKind.LIVE_MIGRATE)
    require_io_sound(before, allowed=policy.with_io_error)
    require_sole_user(source, before)
    require_unknown_at(target, before)
    require_memory(target, domain, vm)
    require_versions(source, target, before, older_allowed=policy.allow_older_target)
    require_machine(target, xml, before)
    require_cpu(source, target, xml, before, fleet)
    require_resources(source, target, inventory, xml, before, ActionKind.LIVE_MIGRATE)
    require_shared_disks(target, before)
    require_only_read_files(target, before)
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
    inventory = inventory_of(source, before)
    require_no_obstacle(inventory, before, ActionKind.COLD_MIGRATE)
    require_whole_chains(before)
    require_sole_user(source, before)
    require_all_copied(source, inventory, before, ActionKind.COLD_MIGRATE, image_files(before, shared=False))
    left_behind = snapshot_files(source.snapshots(before.uuid), image_files(before, shared=True))
    if left_behind:
        raise PrecheckFailed(
            f"vm {before.name} can't be moved cold: {'; '.join(left_behind)} would stay behind",
            hint="delete those snapshots, or let it move live",
        )
    require_unknown_at(target, before)
    require_memory(target, domain, vm)
    require_machine(target, xml, before)
    require_cpu(source, target, xml, before)
    require_resources(source, target, inventory, xml, before, ActionKind.COLD_MIGRATE)
    require_shared_disks(target, before)
    require_images_movable(target, before)
    images = image_files(before, shared=False)
    for image in images:
        require_readable(source, image, before)
    require_no_data_file(source, images, before)
    if pinned is not None:
        require_identity(target, before, pinned)


def check_archive(
    source: Hypervisor, store: ArchiveStore, before: VmObservation, vm: Vm, policy: ArchivePolicy
) -> None:
    """Every condition of a cold archive, the owner's consent included, as the label says now."""
    labels = read_labels(source.running_xml(before.uuid))
    if labels.priority not in policy.priorities:
        raise PrecheckFailed(
            f"vm {before.name} has priority {labels.priority}, policy archives only {', '.join(policy.priorities) or 'none'}",
            hint="change its label or archive.priorities",
        )
    if labels.cold_archive_allowed is False or (labels.cold_archive_allowed is None and not policy.allow_without_label):
        said = "forbids it" if labels.cold_archive_allowed is False else "says nothing of it"
        raise PrecheckFailed(
            f"vm {before.name} can't be archived: its label {said}{f' ({labels.warning})' if labels.warning else ''}",
            hint='its owner sets cold-archive="allowed"',
        )
    require_persistent(before)
    require_no_saved_memory(before, doing="archived")
    inventory = inventory_of(source, before)
    require_no_obstacle(inventory, before, ActionKind.COLD_ARCHIVE)
    require_whole_chains(before)
    require_sole_user(source, before)
    require_all_copied(source, inventory, before, ActionKind.COLD_ARCHIVE, image_files(before, shared=True))
    images = image_files(before, shared=True)
    for image in images:
        require_readable(source, image, before)
    require_no_data_file(source, images, before)
    require_store_space(store, before, vm)


def require_persistent(before: VmObservation) -> None:
    if not before.persistent:
        raise PrecheckFailed(
            f"vm {before.name} on node {before.node} is transient: whoever made it has to move it",
            hint="or define it first with `virsh define`",
        )


def require_not_bound(domain: Domain, before: VmObservation) -> None:
    """No passthrough device or the like ties it to its node."""
    if domain.bound:
        raise DeviceBound(
            f"vm {before.name} can't move live from node {before.node}: {'; '.join(domain.bound)}",
            hint="detach it, or move the vm cold",
        )


def require_no_saved_memory(before: VmObservation, *, doing: str) -> None:
    """It starts from its disks, not from a memory image that would stay behind."""
    if before.saved_memory:
        raise PrecheckFailed(
            f"vm {before.name} can't be {doing}: it has memory in a managed save image",
            hint="start it, or remove the image",
        )
