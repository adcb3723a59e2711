"""Restore: an archived vm back on any node, and never a second copy of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from agent.actions.image_copy import already_there, put_image
from agent.actions.reconcile import NodeView
from agent.actions.resources import Resources
from models.errors import ActionFailed, BadInput, IdentityUnproven, LifeboatError, PrecheckFailed
from models.evacuation import ObservedState
from models.policy import PinRule
from tools.domain.files import STATE_ROLES, state_file
from tools.ports.archives import ImageFile
from tools.ports.hypervisor import Hypervisor
from tools.ports.records.cold import RestoreBegun, Restored, RestoreFailed


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
    it is. `pins`: what the policy holds a pinned node to; another certificate raises IdentityUnproven, with nothing changed.
    Raises ArchiveFailed when the archive does not verify or what was written reads back otherwise; then, as after
    any failure, what was made is removed again.
    """
    if hands.archives is None:
        raise BadInput("no archive store is configured", hint="set `archive_url` in the settings")
    store, target = hands.archives, hands.node(node)
    _require_pinned(hands, target, pins)
    tell("verifying the archive")
    entry = store.verify(archive_id)
    what = f"vm {entry.vm_name} ({entry.vm_uuid})"
    for view in hands.observe_on_all_nodes(entry.vm_uuid, except_for=gone):
        if view.seen is ObservedState.UNREACHABLE:
            raise PrecheckFailed(
                f"{what} can't be restored: node {view.node} does not answer and may still have it",
                hint="bring the node back, or name it with --gone once you have seen that it is off for good",
            )
        if view.seen is not ObservedState.ABSENT:
            raise PrecheckFailed(
                f"{what} can't be restored: node {view.node} has it already ({view.seen})",
                hint="start it there, or undefine it there first",
            )
    images = store.images(archive_id)
    domain_xml = store.domain_xml(archive_id)
    missing = _missing(target, entry.vm_name, images)
    now = hands.clock.now
    hands.journal.append(RestoreBegun(archive=archive_id, node=node, gone=tuple(sorted(gone))), now=now())
    made: list[Callable[[], None]] = []
    try:
        for image, read in missing:
            if image.role in STATE_ROLES:
                file = state_file(image, b"".join(read()))
                if target.write_state_file(file):
                    made.append(partial(target.delete_state_file, file.path))
            else:
                tell(f"writing {image.path}, {image.image_bytes / 1e6:.0f} MB, and reading it back")
                remove = partial(target.delete_disk, image.path)
                put_image(target, image, read(), made=lambda remove=remove: made.append(remove))
        uuid = target.define(domain_xml)
        made.append(partial(_undefine, hands, node, uuid))
        snapshots = store.snapshots(archive_id)
        if snapshots:
            target.restore_snapshots(uuid, snapshots)
        if start:
            target.start(uuid)
    except BaseException:
        _take_back(hands, archive_id, node, made)
        raise
    view = hands.observe(node, uuid)
    wanted = ObservedState.RUNNING if start else ObservedState.SHUTOFF
    hands.journal.append(Restored(archive=archive_id, node=node, seen=view.seen), now=now())
    if view.seen is not wanted:
        raise ActionFailed(
            f"{what} was defined on node {node} and shows {view.seen}, expected {wanted}",
            hint=f"look with `virsh domstate {uuid}` on {node}; the archive is untouched",
        )
    if store.autostart(archive_id):
        try:
            target.set_autostart(uuid, True)
        except LifeboatError as error:
            tell(f"its autostart could not be set on {node}: {error.message}")
    return view


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
    target: Hypervisor, name: str, images: Sequence[tuple[ImageFile, Callable[[], Iterator[bytes]]]]
) -> list[tuple[ImageFile, Callable[[], Iterator[bytes]]]]:
    """The images that have to be written: all, but those below disks that the node has already. Nothing is changed yet.

    Raises PrecheckFailed when the name is taken, another image is in the way, or no pool or room is there.
    """
    other = target.uuid_of(name)
    if other is not None:
        raise PrecheckFailed(
            f"another vm on node {target.name} is named {name} ({other})", hint="rename it, or choose another node"
        )
    missing: list[tuple[ImageFile, Callable[[], Iterator[bytes]]]] = []
    needed: dict[str, int] = {}
    for image, read in images:
        if image.role not in STATE_ROLES:
            if already_there(target, image, lambda image=image: image.sha256):
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


def _take_back(hands: Resources, archive_id: str, node: str, made: list[Callable[[], None]]) -> None:
    """Remove what this restore made, last first; nothing, when the vm it defined is running after all."""
    left: list[str] = []
    for undo in reversed(made):
        try:
            undo()
        except LifeboatError as error:
            left.append(error.message)
            break  # what is still defined, or does not answer, keeps its disks
    hands.journal.append(RestoreFailed(archive=archive_id, node=node, left=tuple(left)), now=hands.clock.now())


def _undefine(hands: Resources, node: str, uuid: str) -> None:
    hands.node(node).undefine(uuid, with_snapshots=True)  # raises when it runs
