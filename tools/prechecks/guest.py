"""Conditions on the guest itself: nothing it names on its host keeps it from moving so, and nothing of it is overlooked."""

from __future__ import annotations

from collections.abc import Iterable

from models.errors import DeviceBound, DisksUnmovable, Lasting, PrecheckFailed
from models.fleet import VmState
from models.plan import ActionKind
from tools.domain.files import image_files
from tools.domain.inventory.handlers import take_inventory
from tools.domain.inventory.resource import Inventory, Outcome, ResourceKind
from tools.domain.inventory.whole import LibvirtState, whole_inventory
from tools.domain.qcow2 import HEADER_BYTES, read_header
from tools.ports.archives import ImageFile
from tools.ports.hypervisor import Hypervisor
from tools.ports.storage import Storage
from tools.ports.vms import ImageRole, VmObservation

_HOW = {
    ActionKind.LIVE_MIGRATE: "move live",
    ActionKind.COLD_MIGRATE: "be moved cold",
    ActionKind.COLD_ARCHIVE: "be archived",
}
_STORED = (ResourceKind.DISK, ResourceKind.BACKING_IMAGE, ResourceKind.DATA_FILE, ResourceKind.MEDIUM)


def inventory_of(node: Hypervisor, seen: VmObservation) -> Inventory:
    """Everything a vm names on its node: as it runs, as it is defined, and what libvirt keeps of it besides.

    Raises ActionFailed when the node does not know it any more."""
    storage = node.shared_storage()
    running = take_inventory(node.running_xml(seen.uuid), storage)
    has_both = seen.persistent and seen.state is not VmState.SHUTOFF
    defined = take_inventory(node.domain_xml(seen.uuid), storage) if has_both else None
    return whole_inventory(running, defined, libvirt_state(seen))


def libvirt_state(seen: VmObservation) -> LibvirtState:
    return LibvirtState(
        persistent=seen.persistent,
        snapshots=seen.snapshots,
        checkpoints=seen.checkpoints,
        saved_memory=seen.saved_memory,
    )


def require_no_obstacle(inventory: Inventory, before: VmObservation, move: ActionKind) -> None:
    """Nothing in the inventory refuses. Raises DisksUnmovable, DeviceBound or PrecheckFailed, by what does first."""
    obstacle = inventory.obstacle(move)
    if obstacle is None:
        return
    first = next(each.kind for each in inventory.resources if each.refusal(move) is not None)
    kind = DisksUnmovable if first in _STORED else DeviceBound if first is ResourceKind.HOST_DEVICE else PrecheckFailed
    raise kind(
        f"vm {before.name} on node {before.node} can't {_HOW[move]}: {obstacle}",
        hint="nothing was changed; `lifeboat vm check` shows everything its definition names",
        lasting=Lasting.EVERYWHERE,
    )


def require_io_sound(before: VmObservation, *, allowed: bool) -> None:
    """No I/O error paused it, or policy lets it move live as it is."""
    if before.paused_by_io_error and not allowed:
        raise PrecheckFailed(
            f"vm {before.name} on node {before.node} can't move live: it is paused by an I/O error",
            hint="mend its disks, or let it move as it is with migration.with_io_error; nothing was changed",
        )


def require_all_copied(
    source: Storage, inventory: Inventory, before: VmObservation, move: ActionKind, images: Iterable[ImageFile]
) -> None:
    """Whatever the inventory says is copied is among what would be copied, and can be read. `images`: those that would.

    Raises PrecheckFailed naming the first thing that would be left behind."""
    try:
        small = (*source.state_files(before.uuid), *source.boot_files(before.uuid))
    except PrecheckFailed as error:
        raise PrecheckFailed(f"vm {before.name} can't {_HOW[move]}: {error.message}", hint=error.hint) from error
    devices = {image.device for image in images}
    paths = {file.path for file in small}
    roles = {file.role for file in small}
    for each in inventory.resources:
        if each.fate(move).outcome is not Outcome.COPIED:
            continue
        match each.kind:
            case ResourceKind.DISK | ResourceKind.MEDIUM:
                there = each.device in devices
            case ResourceKind.UEFI_VARIABLES:
                there = ImageRole.NVRAM in roles
            case ResourceKind.TPM_STATE:
                there = ImageRole.TPM in roles
            case ResourceKind.BOOT_FILE:
                there = each.where in paths
            case _:
                continue
        if not there:
            raise PrecheckFailed(
                f"vm {before.name} can't {_HOW[move]}: {each.what} ({each.where}) would be left behind",
                hint="nothing was changed; look where it is, or let the vm move live",
                lasting=Lasting.EVERYWHERE,
            )


def require_sole_user(source: Storage, before: VmObservation) -> None:
    """No other vm of the node, running or not, has one of its own disks that would be copied."""
    for image in image_files(before, shared=False):
        if image.role is not ImageRole.DISK:
            continue
        try:
            users = source.storage_facts(image.path).users
        except PrecheckFailed:
            continue  # in no pool, or gone: another condition says so
        others = sorted(name for uuid, name in users.items() if uuid != before.uuid)
        if others:
            raise DisksUnmovable(
                f"disk {image.path} of vm {before.name} is used by {', '.join(others)} as well: a copy would part them",
                hint="detach it from one of them, or put it on storage that every node reaches",
                lasting=Lasting.EVERYWHERE,
            )


def require_no_data_file(source: Storage, images: Iterable[ImageFile], before: VmObservation) -> None:
    """No qcow2 image keeps its data in another file, as its own header says."""
    for image in images:
        if image.format != "qcow2":
            continue
        header = read_header(source.image_header(image.path, length=HEADER_BYTES))
        if header is not None and header.external_data:
            raise DisksUnmovable(
                f"disk {image.device} of vm {before.name}: the data of {image.path} lies in another file, "
                f"{header.data_file or 'which its header does not name'}, which lifeboat does not copy",
                hint="convert it to an image that stands alone (qemu-img convert), or let it move live",
                lasting=Lasting.EVERYWHERE,
            )
