"""Wipe: overwrite or discard the disks an archived vm left on its node, and leave a signed record that says what for sure.

Only after the archive was verified again, with the vm seen running nowhere, and only images that still hold exactly what
the archive holds: a disk that was written to since has data that are nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from agent.actions.image_copy import image_sha256
from agent.actions.resources import Resources
from models.errors import ActionFailed, BadInput, LifeboatError, PrecheckFailed
from models.evacuation import ObservedState
from tools.domain.files import NOT_ITS_OWN, STATE_ROLES
from tools.ports.archives import ArchiveEntry, ArchiveStore, ImageFile, WipedImage
from tools.ports.records.cold import WipeBegun, Wiped, WipeRecordStored
from tools.ports.storage import Storage
from tools.ports.vms import StorageFacts

_LIMITS: tuple[str, ...] = (
    "a flash drive may keep old copies of blocks in spare cells that no command reaches (NIST SP 800-88r1, 2.4)",
    "a copy-on-write or thin layer below (btrfs, ZFS, LVM thin, a SAN) writes zeros elsewhere and may keep the old blocks",
    "snapshots, backups, replicas and RAID caches of that storage were not touched",
    "blocks the file system freed before, of this image or of others, were not touched",
    "what the vm only read and its host owns, such as a kernel or a CD image, was not touched",
)
_NETWORK_LIMIT = "the storage is reached over the network: what its server keeps can't be seen from here"
_DISCARD_LIMIT = "discarding asks the storage to forget; whether and when it does is up to it"


@dataclass(frozen=True)
class WipeRecord:
    archive: str
    manifest_sha256: str
    vm: str
    node: str
    by: str
    begun_at: str
    ended_at: str
    images: tuple[WipedImage, ...]
    limits: tuple[str, ...]
    """what the storage below can't promise"""
    complete: bool
    sha256: str = ""
    """of the record as stored"""


def wipe(
    hands: Resources,
    archive_id: str,
    *,
    by: str,
    overwrite: bool = True,
    gone: frozenset[str] = frozenset(),
    tell: Callable[[str], None] = lambda _: None,
) -> WipeRecord:
    """Wipe, then remove, every image of the vm on the node it was archived from. Its definition stays.

    Raises PrecheckFailed with nothing changed when the vm runs anywhere, a node does not answer, or an image differs from
    the archive; ArchiveFailed when the archive does not verify; ActionFailed when an image could not be wiped, the record
    being written all the same. Images that other vms use, or other nodes reach, are left, and the record says so.
    """
    if hands.archives is None:
        raise BadInput("no archive store is configured", hint="set `archive_url` in the settings")
    store = hands.archives
    tell("verifying the archive")
    entry = store.verify(archive_id)
    images = [image for image, _ in store.images(archive_id)]
    source = hands.node(entry.source)
    begun_at = hands.clock.now()
    holder = f"wipe-{begun_at:%Y%m%dT%H%M%SZ}-{archive_id}"
    hands.journal.lock(entry.vm_uuid, holder, now=begun_at)  # no move of it meanwhile
    try:
        return _wipe(hands, store, source, entry, images, begun_at, by, overwrite, gone, tell)
    finally:
        hands.journal.unlock(entry.vm_uuid, holder)


def _wipe(
    hands: Resources,
    store: ArchiveStore,
    source: Storage,
    entry: ArchiveEntry,
    images: Sequence[ImageFile],
    begun_at: datetime,
    by: str,
    overwrite: bool,
    gone: frozenset[str],
    tell: Callable[[str], None],
) -> WipeRecord:
    archive_id = entry.id
    _require_stopped_everywhere(hands, entry, gone)
    targets, left = _choose(source, entry, images, tell)
    paths = tuple(image.path for image, _ in targets)
    hands.journal.append(WipeBegun(archive=archive_id, node=entry.source, images=paths, by=by), now=begun_at)
    wiped: list[WipedImage] = list(left)
    failure: LifeboatError | None = None
    for image, facts in targets:
        tell(f"wiping {image.path} on {entry.source}")
        done = "not begun: an image before it failed"
        if failure is None:
            try:
                _require_stopped_everywhere(hands, entry, gone)
                done = _wipe_one(source, image, overwrite=overwrite)
            except LifeboatError as error:
                failure, done = error, f"failed: {error.message}"
        wiped.append(_report(image, facts, done, wiped=failure is None))
    record = WipeRecord(
        archive=archive_id,
        manifest_sha256=entry.sha256,
        vm=f"{entry.vm_name} ({entry.vm_uuid})",
        node=entry.source,
        by=by,
        begun_at=begun_at.isoformat(),
        ended_at=hands.clock.now().isoformat(),
        images=tuple(wiped),
        limits=_limits([facts for _, facts in targets if facts is not None], overwrite=overwrite),
        complete=all(image.wiped for image in wiped),
    )
    fields = asdict(record)
    del fields["sha256"]
    # The journal first: what was done must be on record even when the store does not answer any more.
    hands.journal.append(Wiped(**fields), now=hands.clock.now())
    sha256 = store.write_record(archive_id, f"wipe-{begun_at:%Y%m%dT%H%M%SZ}", fields)
    hands.journal.append(WipeRecordStored(archive=archive_id, sha256=sha256), now=hands.clock.now())
    if failure is not None:
        raise ActionFailed(
            f"archive {archive_id}: {failure.message}; what was wiped and what not is in the record {sha256[:16]}",
            hint="the archive itself is untouched and verified",
        )
    return replace(record, sha256=sha256)


def _require_stopped_everywhere(hands: Resources, entry: ArchiveEntry, gone: frozenset[str]) -> None:
    if entry.source in gone:
        raise BadInput(f"node {entry.source} holds the disks to be wiped", hint="bring it back; don't name it --gone")
    for view in hands.observe_on_all_nodes(entry.vm_uuid, except_for=gone):
        if view.seen in (ObservedState.ABSENT, ObservedState.SHUTOFF):
            continue
        raise PrecheckFailed(
            f"vm {entry.vm_name} ({entry.vm_uuid}) can't be wiped: node {view.node} "
            + (
                "does not answer, and it may run there"
                if view.seen is ObservedState.UNREACHABLE
                else f"shows it {view.seen}"
            ),
            hint="wipe once it is seen shut off or absent on every node",
        )


def _choose(
    source: Storage, entry: ArchiveEntry, images: Sequence[ImageFile], tell: Callable[[str], None]
) -> tuple[list[tuple[ImageFile, StorageFacts | None]], list[WipedImage]]:
    """What is to be wiped, overlays before what lies below, and what is left and why."""
    targets: list[tuple[ImageFile, StorageFacts | None]] = []
    left: list[WipedImage] = []
    for image in reversed(images):
        if image.role in NOT_ITS_OWN:  # first: a kernel is read like a state file, and other vms boot from it
            continue
        if image.role in STATE_ROLES:
            targets.append((image, None))
            continue
        if not source.disk_exists(image.path):
            left.append(_report(image, None, "it is not there any more", wiped=False))
            continue
        facts = source.storage_facts(image.path)
        others = [name for name in facts.used_by if name != entry.vm_name]
        if others:
            left.append(_report(image, facts, f"left: also used by {', '.join(others)}", wiped=False))
            continue
        if facts.shared:
            left.append(_report(image, facts, "left: other nodes reach it and may use it", wiped=False))
            continue
        tell(f"comparing {image.path} on {source.name} with the archive")
        if image_sha256(source, image.path)[1] != image.sha256:
            raise PrecheckFailed(
                f"{image.path} on node {source.name} is not what archive {entry.id} holds: it was written to since",
                hint="archive the vm again; nothing was wiped",
            )
        targets.append((image, facts))
    return targets, left


def _wipe_one(source: Storage, image: ImageFile, *, overwrite: bool) -> str:
    """Wipe, look that nothing but zeros is left, remove."""
    if image.role in STATE_ROLES:
        if not source.wipe_state_file(image.path):
            return "it is not there any more"
        source.delete_state_file(image.path)
        return "overwritten with zeros, removed"
    done = source.wipe_disk(image.path, overwrite=overwrite)
    with closing(source.read_disk(image.path)) as chunks:
        if any(chunk.count(0) != len(chunk) for chunk in chunks):
            raise ActionFailed(f"{image.path} on node {source.name} was {done}, and still reads other than zeros")
    source.delete_disk(image.path)
    return f"{done}; read back as zeros; removed"


def _report(image: ImageFile, facts: StorageFacts | None, done: str, *, wiped: bool) -> WipedImage:
    return WipedImage(
        path=image.path,
        sha256=image.sha256,
        bytes=image.image_bytes,
        pool_type=facts.pool_type if facts else "",
        done=done,
        wiped=wiped,
    )


def _limits(facts: Sequence[StorageFacts], *, overwrite: bool) -> tuple[str, ...]:
    limits = list(_LIMITS)
    if any(each.pool_type not in ("dir", "fs", "logical", "disk") for each in facts):
        limits.append(_NETWORK_LIMIT)
    if not overwrite:
        limits.append(_DISCARD_LIMIT)
    return tuple(limits)
