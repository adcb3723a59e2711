"""Cold moves: definitions and starts at the target, archives, restores and wipes."""

from __future__ import annotations

from typing import Literal

from models.evacuation import ObservedState
from tools.ports.archives import WipedImage
from tools.ports.journal import Record


class DefineIntended(Record):
    """The vm is to be defined at the target. Without this record, it was never defined there."""

    KIND = "define"
    node: str


class DefinitionTrialIntended(Record):
    """The vm's definition is to be shown to the node's libvirt and taken back at once, before the vm is stopped."""

    KIND = "try-definition"
    node: str


class DefinitionTried(Record):
    """The node's libvirt took the vm's definition and let go of it again: it knows everything in it, and has nothing of it."""

    KIND = "definition-tried"
    node: str


class DefinitionLeft(Record):
    """A definition that was tried, and could not be removed again; tried again at the next start."""

    KIND = "definition-left"
    node: str
    vm: str
    """uuid"""
    error: str


class DefinitionRemoved(Record):
    """What `DefinitionLeft` left is gone."""

    KIND = "definition-removed"
    node: str
    vm: str
    """uuid"""
    how: str


class DefineRefused(Record):
    """The node would not define it: what it shows of the vm is somebody else's."""

    KIND = "define-refused"
    node: str


class StartIntended(Record):
    """The vm is to be started at the target, its source seen shut off."""

    KIND = "start"
    node: str


class TargetUndefineIntended(Record):
    """The definition that this attempt made at the target is to be removed: the move did not happen."""

    KIND = "undefine-target"
    why: str


class Archived(Record):
    """The archive is whole: every byte was read back and matched."""

    KIND = "archived"
    archive: str
    sha256: str
    """of the signed manifest"""
    stored_bytes: int
    vm: str = ""
    """uuid; empty in what an older lifeboat wrote"""
    node: str = ""
    """where the guest was archived, and its disks are"""


class ArchiveOutdated(Record):
    """The guest ran after it was archived, or may have: the archive may not be what it is any more. Once an archive."""

    KIND = "archive-outdated"
    archive: str
    why: str


class ArchiveChecked(Record):
    """An archive was read again, every byte of it, some time after it was made."""

    KIND = "archive-checked"
    archive: str
    sound: bool
    why: str
    """empty when it is"""
    seconds: float


class ArchiveActionIntended(Record):
    """A restore or wipe is to be carried out: from here on the vm is its own, until `ArchiveActionEnded`."""

    KIND = "archive-action"
    what: Literal["restore", "wipe"]
    archive: str
    vm: str
    """uuid"""
    node: str
    """where the vm is restored to, or its disks are wiped"""
    process: str
    """who does it, as `tools.process` names one that lives"""


class ArchiveActionEnded(Record):
    """A restore or wipe came to its end, or was cut off and looked at."""

    KIND = "archive-action-ended"
    how: str
    """in words; of one that was cut off, what its recovery saw and did"""


class ImageWipeIntended(Record):
    """One file is to be overwritten: until the wipe has ended it may hold a part of what it was, and zeros."""

    KIND = "wipe-image"
    archive: str
    node: str
    path: str


class ImageOverwritten(Record):
    """A file of a wipe was overwritten, and looked at after that: it is removed next. Whoever finds it gone later knows why."""

    KIND = "image-overwritten"
    archive: str
    node: str
    path: str
    done: str
    """in words"""


class RestoreBegun(Record):
    """A vm is to be brought back from an archive."""

    KIND = "restore-begun"
    archive: str
    node: str
    gone: tuple[str, ...]
    """nodes that a person saw dead, so that they were not asked"""


class Restored(Record):
    """A vm was brought back from an archive."""

    KIND = "restored"
    archive: str
    node: str
    seen: ObservedState
    """what the node shows of the vm"""


class RestoreFailed(Record):
    """What a restore had made was removed again."""

    KIND = "restore-failed"
    archive: str
    node: str
    left: tuple[str, ...]
    """what could not be removed"""


class WipeBegun(Record):
    """The disks that an archived vm left on its node are to be destroyed."""

    KIND = "wipe-begun"
    archive: str
    node: str
    images: tuple[str, ...]
    """paths of what is to be wiped"""
    by: str


class Wiped(Record):
    """What became of the disks that an archived vm left on its node."""

    KIND = "wiped"
    archive: str
    manifest_sha256: str
    vm: str
    """name (uuid)"""
    node: str
    by: str
    begun_at: str
    """RFC 3339"""
    ended_at: str
    images: tuple[WipedImage, ...]
    limits: tuple[str, ...]
    """what the storage below can't promise"""
    complete: bool


class WipeRecordStored(Record):
    """The signed record of a wipe lies beside the archive."""

    KIND = "wipe-record"
    archive: str
    sha256: str
    """of the record"""
