"""Wipe: overwrite or discard the disks an archived vm left on its node, and leave a signed record that says what for sure.

Only after the archive was verified again, with the vm seen running nowhere, and only images that still hold exactly what
the archive holds: a disk that was written to since has data that are nowhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest

from agent.actions.archive_actions import archive_action
from agent.actions.image_copy import image_sha256
from agent.actions.resources import Resources
from agent.archives.file_users import used_by_another
from models.errors import ActionFailed, BadInput, LifeboatError, PrecheckFailed
from models.evacuation import ObservedState
from tools.domain.files import NOT_ITS_OWN, STATE_ROLES, split
from tools.ports.archives import ArchiveEntry, ArchiveStore, ImageFile, WipedImage
from tools.ports.hypervisor import Hypervisor
from tools.ports.journal import Record
from tools.ports.records.cold import (
    ImageOverwritten,
    ImageWipeIntended,
    RestoreBegun,
    WipeBegun,
    Wiped,
    WipeRecordStored,
)
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
    being written all the same. Images and state files that another vm uses, or other nodes reach, are left, and the record
    says so. All of this is looked at again right before each file.
    """
    if hands.archives is None:
        raise BadInput("no archive store is configured", hint="set `archive_url` in the settings")
    hands.require_not_halted()
    store = hands.archives
    tell("verifying the archive")
    entry = store.verify(archive_id)
    source = hands.node(entry.source)
    with archive_action(hands, "wipe", entry, entry.source) as action:
        begun = _Wipe(hands=hands, store=store, source=source, entry=entry, action=action.id, gone=gone, tell=tell)
        return begun.run(by=by, overwrite=overwrite)


@dataclass(frozen=True, kw_only=True)
class _Wipe:
    """One wipe, with the vm locked."""

    hands: Resources
    store: ArchiveStore
    source: Hypervisor
    entry: ArchiveEntry
    action: str
    gone: frozenset[str]
    tell: Callable[[str], None]
    needed: set[str] = field(default_factory=set[str])
    """images below those that were left"""

    def run(self, *, by: str, overwrite: bool) -> WipeRecord:
        clock, entry = self.hands.clock, self.entry
        begun_at = clock.now()
        self._require_stopped_everywhere()
        targets, wiped = self._choose()
        self._record(
            WipeBegun(archive=entry.id, node=entry.source, images=tuple(each.image.path for each in targets), by=by)
        )
        failure: LifeboatError | None = None
        for each in targets:
            self.tell(f"wiping {each.image.path} on {entry.source}")
            done, is_wiped = "not begun: an image before it failed", False
            if failure is None:
                try:
                    done, is_wiped = self._wipe_one(each, overwrite=overwrite)
                except LifeboatError as error:
                    failure, done = error, f"failed: {error.message}"
            wiped.append(_report(each.image, each.facts, done, wiped=is_wiped))
        record = WipeRecord(
            archive=entry.id,
            manifest_sha256=entry.sha256,
            vm=f"{entry.vm_name} ({entry.vm_uuid})",
            node=entry.source,
            by=by,
            begun_at=begun_at.isoformat(),
            ended_at=clock.now().isoformat(),
            images=tuple(wiped),
            limits=_limits([each.facts for each in targets if each.facts is not None], overwrite=overwrite),
            complete=all(image.wiped for image in wiped),
        )
        fields = asdict(record)
        del fields["sha256"]
        # The journal first: what was done must be on record even when the store does not answer any more.
        self._record(Wiped(**fields))
        sha256 = self.store.write_record(entry.id, f"wipe-{begun_at:%Y%m%dT%H%M%SZ}", fields)
        self._record(WipeRecordStored(archive=entry.id, sha256=sha256))
        if failure is not None:
            raise ActionFailed(
                f"archive {entry.id}: {failure.message}; what was wiped and what not is in the record {sha256[:16]}",
                hint="the archive itself is untouched and verified",
            )
        return replace(record, sha256=sha256)

    def _record(self, record: Record) -> None:
        self.hands.journal.append(record, now=self.hands.clock.now(), attempt=self.action)

    def _require_stopped_everywhere(self) -> None:
        entry = self.entry
        if entry.source in self.gone:
            raise BadInput(
                f"node {entry.source} holds the disks to be wiped", hint="bring it back; don't name it --gone"
            )
        for view in self.hands.observe_on_all_nodes(entry.vm_uuid, except_for=self.gone):
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

    def _choose(self) -> tuple[list[_Target], list[WipedImage]]:
        """What is to be wiped, overlays before what lies below, and what is left and why."""
        targets: list[_Target] = []
        left: list[WipedImage] = []
        for image, read in reversed(self.store.images(self.entry.id)):
            each = _Target(image, read)
            if image.role in NOT_ITS_OWN:  # first: a kernel is read like a state file, and other vms boot from it
                continue
            if image.role not in STATE_ROLES:
                if not self.source.disk_exists(image.path):
                    done, wiped = self._why_gone(image)
                    left.append(_report(image, None, done, wiped=wiped))
                    continue
                each = replace(each, facts=self.source.storage_facts(image.path))
            if why := self._why_left(each):
                left.append(_report(image, each.facts, f"left: {why}", wiped=False))
                continue
            self.tell(f"comparing {image.path} on {self.source.name} with the archive")
            if not self._is_as_archived(each):
                raise PrecheckFailed(
                    f"{image.path} on node {self.source.name} is not what archive {self.entry.id} holds: it was written to "
                    "since",
                    hint="archive the vm again; nothing was wiped",
                )
            targets.append(each)
        return targets, left

    def _why_left(self, each: _Target) -> str | None:
        """Why a file may be somebody else's, as every node shows it now; None when it can only be this vm's."""
        path, why = each.image.path, None
        if users := used_by_another(self.hands, self.source, path, self.entry.vm_uuid, gone=self.gone):
            why = f"also used by {users}"
        elif path in self.needed:
            why = "an image that lies on it is left too"
        elif each.facts.shared if each.facts is not None else self.source.shared_storage().holds(path):
            why = "other nodes reach it and may use it"
        if why and each.image.backing:
            self.needed.add(each.image.backing)
        return why

    def _is_as_archived(self, each: _Target) -> bool:
        """Whether the file holds what the archive does: nothing else, and nothing newer, is ever overwritten. One whose
        wipe was cut off may hold zeros in places."""
        image, source = each.image, self.source
        if image.role in STATE_ROLES:
            content = source.read_state_file(image.path)
            if content is None or hashlib.sha256(content).hexdigest() == image.sha256:
                return True
            return self._was_being_wiped(image) and _same_or_zero(split(content), each.read())
        if image_sha256(source, image.path)[1] == image.sha256:
            return True
        if not self._was_being_wiped(image):
            return False
        with closing(source.read_disk(image.path)) as chunks:
            return _same_or_zero(chunks, each.read())

    def _was_being_wiped(self, image: ImageFile) -> bool:
        intended = (entry.record for entry in self.hands.journal.of(ImageWipeIntended))
        return any(
            (record.archive, record.node, record.path) == (self.entry.id, self.source.name, image.path)
            for record in intended
        )

    def _wipe_one(self, each: _Target, *, overwrite: bool) -> tuple[str, bool]:
        """Look again, wipe, look that nothing but zeros is left, remove; what was done, and whether it is wiped."""
        image, source = each.image, self.source
        if not self._is_as_archived(each):
            raise ActionFailed(f"{image.path} on node {source.name} was written to meanwhile, and is left as it is")
        self._require_stopped_everywhere()
        if why := self._why_left(each):
            return f"left: {why}", False
        self._record(ImageWipeIntended(archive=self.entry.id, node=source.name, path=image.path))
        if image.role in STATE_ROLES:
            if not source.wipe_state_file(image.path):
                return self._why_gone(image)
            done = "overwritten with zeros"
            self._record_overwritten(image, done)
            source.delete_state_file(image.path)
            return f"{done}; removed", True
        done = source.wipe_disk(image.path, overwrite=overwrite)
        with closing(source.read_disk(image.path)) as chunks:
            if any(chunk.count(0) != len(chunk) for chunk in chunks):
                raise ActionFailed(f"{image.path} on node {source.name} was {done}, and still reads other than zeros")
        self._record_overwritten(image, done := f"{done}; read back as zeros")
        source.delete_disk(image.path)
        return f"{done}; removed", True

    def _record_overwritten(self, image: ImageFile, done: str) -> None:
        self._record(ImageOverwritten(archive=self.entry.id, node=self.source.name, path=image.path, done=done))

    def _why_gone(self, image: ImageFile) -> tuple[str, bool]:
        """What is known of a file that is not there, and whether that means that it was wiped."""
        for entry in reversed(self.hands.journal.of(ImageOverwritten, RestoreBegun)):
            earlier = entry.record
            if (earlier.archive, earlier.node) != (self.entry.id, self.source.name):
                continue
            if isinstance(earlier, RestoreBegun):  # it was there once more since
                break
            if earlier.path == image.path:
                return f"{earlier.done} at {entry.at:%Y-%m-%dT%H:%M:%SZ}, by an earlier wipe; removed", True
        return "it is not there any more, and lifeboat did not remove it", False


@dataclass(frozen=True)
class _Target:
    """One file of the archived vm, as the archive has it and as its node shows it."""

    image: ImageFile
    read: Callable[[], Iterator[bytes]]
    """what the archive holds of it"""
    facts: StorageFacts | None = None
    """None for a state file"""


def _same_or_zero(chunks: Iterable[bytes], archived: Iterable[bytes]) -> bool:
    """Whether every byte is the archived one or zero. What lies there may be longer by zeros, as a block device is."""
    rest = b""
    archive = iter(archived)
    for chunk in chunks:
        while len(rest) < len(chunk) and (more := next(archive, b"")):
            rest += more
        wanted, rest = rest[: len(chunk)], rest[len(chunk) :]
        if chunk in (wanted, bytes(len(chunk))):
            continue
        if not all(byte in (0, was) for byte, was in zip_longest(chunk, wanted, fillvalue=0)):
            return False
    return True


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
