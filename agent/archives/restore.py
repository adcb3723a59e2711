"""Restore: an archived vm back on any node, and never a second copy of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from agent.actions.archive_actions import ArchiveAction, archive_action, may_have_defined
from agent.actions.image_copy import already_there, put_image
from agent.actions.reconcile import NodeView
from agent.actions.resources import Resources
from agent.archives.file_users import used_by_another
from models.errors import ActionFailed, BadInput, IdentityUnproven, LifeboatError, PrecheckFailed
from models.evacuation import ObservedState
from models.policy.policy import PinRule
from tools.domain.files import STATE_ROLES, state_file
from tools.ports.archives import ArchiveEntry, ArchiveStore, ImageFile
from tools.ports.hypervisor import Hypervisor
from tools.ports.journal import Record
from tools.ports.records.cold import DefineIntended, DefineRefused, RestoreBegun, Restored, RestoreFailed, StartIntended
from tools.ports.vms import ImageRole


def restore(
    hands: Resources,
    archive_id: str,
    node: str,
    *,
    start: bool,
    gone: frozenset[str] = frozenset(),
    pins: PinRule = PinRule.FIRST_USE,
    tell: Callable[[str], None] = lambda _: None,
) -> NodeView:
    """Write the disks and read them back, define the vm and, with `start`, start it; what the node shows then.

    Every other node must have been seen not to know the vm: one that shows it, even shut off, or does not answer makes
    this raise PrecheckFailed with nothing changed. `gone` names nodes that a person saw dead (and that will not come
    back with this vm): they are not asked. An image below the disks that the node has already, the very same, is used as
    it is, and so is its own disk where it still lies, on storage that every node reaches or on the node that had the vm.
    The vm is locked meanwhile, and looked for again right before it is defined and right before it is started.
    `pins`: what the policy holds a pinned node to; another certificate raises IdentityUnproven, with nothing changed.
    Raises ArchiveFailed when the archive does not verify or what was written reads back otherwise; then, as after
    any failure, what was made is removed again.
    """
    if hands.archives is None:
        raise BadInput("no archive store is configured", hint="set `archive_url` in the settings")
    hands.require_not_halted()
    store, target = hands.archives, hands.node(node)
    _require_pinned(hands, target, pins)
    tell("verifying the archive")
    entry = store.verify(archive_id)
    with archive_action(hands, "restore", entry, node) as action:
        return _restore(hands, action, store, entry, target, start=start, gone=gone, tell=tell)


def _restore(
    hands: Resources,
    action: ArchiveAction,
    store: ArchiveStore,
    entry: ArchiveEntry,
    target: Hypervisor,
    *,
    start: bool,
    gone: frozenset[str],
    tell: Callable[[str], None],
) -> NodeView:
    archive_id, node = entry.id, target.name
    _require_absent(hands, entry, gone)
    images = store.images(archive_id)
    domain_xml = store.domain_xml(archive_id)
    missing = _missing(hands, target, entry, images, gone)

    def record(what: Record) -> None:
        hands.journal.append(what, now=hands.clock.now(), attempt=action.id)

    record(RestoreBegun(archive=archive_id, node=node, gone=tuple(sorted(gone))))
    uuid = entry.vm_uuid
    try:
        for image, read in missing:
            if image.role in STATE_ROLES:
                action.files.put_state_file(target, state_file(image, b"".join(read())))
            else:
                tell(f"writing {image.path}, {image.image_bytes / 1e6:.0f} MB, and reading it back")
                put_image(action.files, target, image, read())
        _require_absent(hands, entry, gone)  # writing took its time
        record(DefineIntended(node=node))
        try:
            uuid = target.define(domain_xml)
        except PrecheckFailed:
            record(DefineRefused(node=node))
            raise
        snapshots = store.snapshots(archive_id)
        if snapshots:
            target.restore_snapshots(uuid, snapshots)
        if start:
            # Now that each restore can be seen, of two by lifeboats that know nothing of each other at most one goes on.
            _require_absent(hands, entry, gone | {node})
            record(StartIntended(node=node))
            target.start(uuid)
    except BaseException:
        _take_back(hands, action, archive_id, node, uuid)
        raise
    view = hands.observe(node, uuid)
    wanted = ObservedState.RUNNING if start else ObservedState.SHUTOFF
    record(Restored(archive=archive_id, node=node, seen=view.seen))
    if view.seen is not wanted:
        raise ActionFailed(
            f"{_named(entry)} was defined on node {node} and shows {view.seen}, expected {wanted}",
            hint=f"look with `virsh domstate {uuid}` on {node}; the archive is untouched",
        )
    checkpoints = store.checkpoints(archive_id)
    if checkpoints:
        try:
            target.restore_checkpoints(uuid, checkpoints)
        except LifeboatError as error:
            tell(f"its checkpoints are not known on {node}, so its next backup is a full one: {error.message}")
    if store.autostart(archive_id):
        try:
            target.set_autostart(uuid, True)
        except LifeboatError as error:
            tell(f"its autostart could not be set on {node}: {error.message}")
    return view


def _named(entry: ArchiveEntry) -> str:
    return f"vm {entry.vm_name} ({entry.vm_uuid})"


def _require_absent(hands: Resources, entry: ArchiveEntry, gone: frozenset[str]) -> None:
    """Every node but those `gone` is seen now not to know the vm."""
    for view in hands.observe_on_all_nodes(entry.vm_uuid, except_for=gone):
        if view.seen is ObservedState.UNREACHABLE:
            raise PrecheckFailed(
                f"{_named(entry)} can't be restored: node {view.node} does not answer and may still have it",
                hint="bring the node back, or name it with --gone once you have seen that it is off for good",
            )
        if view.seen is not ObservedState.ABSENT:
            raise PrecheckFailed(
                f"{_named(entry)} can't be restored: node {view.node} has it already ({view.seen})",
                hint="start it there, or undefine it there first",
            )


def _require_pinned(hands: Resources, target: Hypervisor, rule: PinRule) -> None:
    """A pinned node shows the certificate it is known by, so that the vm's disks go to nobody else."""
    pinned = hands.pins.checker_of(target.name, rule) if hands.pins is not None else None
    if pinned is None:
        return
    try:
        pinned(target.name, target.tls_fingerprint())
    except IdentityUnproven as error:
        raise IdentityUnproven(
            f"nothing is restored to node {target.name}: {error.message}", hint=error.hint
        ) from error


def _missing(
    hands: Resources,
    target: Hypervisor,
    entry: ArchiveEntry,
    images: Sequence[tuple[ImageFile, Callable[[], Iterator[bytes]]]],
    gone: frozenset[str],
) -> list[tuple[ImageFile, Callable[[], Iterator[bytes]]]]:
    """The images that have to be written: all, but those that the node has already. Nothing is changed yet.

    Raises PrecheckFailed when the name is taken, another image is in the way, or no pool or room is there.
    """
    name = entry.vm_name
    other = target.uuid_of(name)
    if other is not None:
        raise PrecheckFailed(
            f"another vm on node {target.name} is named {name} ({other})", hint="rename it, or choose another node"
        )
    missing: list[tuple[ImageFile, Callable[[], Iterator[bytes]]]] = []
    needed: dict[str, int] = {}
    for image, read in images:
        if image.role not in STATE_ROLES:
            if already_there(
                target, image, lambda image=image: image.sha256, its_own=_is_its_own(hands, target, entry, image, gone)
            ):
                continue
            directory = image.path.rpartition("/")[0]
            needed[directory] = needed.get(directory, 0) + image.needed_bytes
            free = target.free_disk_bytes(image.path)
            if free < needed[directory]:
                raise PrecheckFailed(
                    f"vm {name} needs {needed[directory]} bytes under {directory}, node {target.name} has {free} free",
                    hint="make room there, or choose another node",
                )
        missing.append((image, read))
    return missing


def _is_its_own(
    hands: Resources, target: Hypervisor, entry: ArchiveEntry, image: ImageFile, gone: frozenset[str]
) -> bool:
    """Whether a disk that lies there can only be the one that the archive was made from: it is reached from everywhere, or
    on the node that had the vm. Raises PrecheckFailed when another vm uses it."""
    if image.role is not ImageRole.DISK or not target.disk_exists(image.path):
        return False
    facts = target.storage_facts(image.path)
    if not facts.shared and target.name != entry.source:
        return False
    if why := used_by_another(hands, target, image.path, entry.vm_uuid, gone=gone):
        raise PrecheckFailed(
            f"disk {image.path} of {_named(entry)} is used by {why}", hint="restore it once no other vm uses its disk"
        )
    return True


def _take_back(hands: Resources, action: ArchiveAction, archive_id: str, node: str, uuid: str) -> None:
    """Remove what this restore made; nothing, when the vm it defined is running after all, or can't be seen."""
    defined, left = may_have_defined(hands.journal, action.id), list[str]()
    try:
        if defined and hands.node(node).observe(uuid) is not None:
            hands.node(node).undefine(uuid, with_snapshots=True)  # raises when it runs
            defined = False
        left = action.files.remove()
    except LifeboatError as error:
        # A vm that may be defined there may be started by whoever finds it: its disks are its own then.
        left = [error.message, *([] if defined else action.files.defer_removal(error.message))]
    failed = RestoreFailed(archive=archive_id, node=node, left=tuple(left))
    hands.journal.append(failed, now=hands.clock.now(), attempt=action.id)
