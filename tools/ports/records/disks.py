"""Files that an attempt makes at a target, leaves or removes. Paths are those on the node."""

from __future__ import annotations

from tools.ports.journal import Record


class DiskIntended(Record):
    """An image is to be made at the target."""

    KIND = "create-disk"
    node: str
    path: str
    absent: bool = False
    """nothing lay there before"""
    format: str = ""
    virtual_bytes: int = 0


class DiskRefused(Record):
    """The target would not make the image: what lies there is somebody else's."""

    KIND = "create-disk-refused"
    node: str
    path: str


class DiskCreated(Record):
    """What lies there from now on is this attempt's."""

    KIND = "created-disk"
    node: str
    path: str
    identity: str = ""
    """what tells it from an image put there later; empty where the storage has nothing of the kind"""


class StateFileCreated(Record):
    """UEFI variables or TPM state were written at the target."""

    KIND = "created-state"
    node: str
    path: str
    sha256: str = ""
    """of what was written"""


class DiskLeft(Record):
    """An image or state file of a move that did not happen could not be removed; tried again at the next start."""

    KIND = "disk-left"
    node: str
    path: str
    vm: str
    """uuid"""
    state: bool = False
    """a state file, not an image"""
    error: str
    created: bool = True
    """known to be this attempt's; else only an image that holds nothing is, of this format and size"""
    identity: str = ""
    """of the image, as `DiskCreated` has it"""
    sha256: str = ""
    """of the state file as it was written"""
    format: str = ""
    virtual_bytes: int = 0


class DiskRemoved(Record):
    """What `DiskLeft` left is gone."""

    KIND = "disk-removed"
    node: str
    path: str
    vm: str
    """uuid"""
    how: str
    """`removed`, or `it was gone`"""


class DiskKept(Record):
    """What lies where an attempt made a file is not seen to be that one: it stays, for a person to look at."""

    KIND = "disk-kept"
    node: str
    path: str
    vm: str
    """uuid"""
    why: str


class OldDiskKept(Record):
    """After a move that was observed done, the source keeps the image that the disk was."""

    KIND = "old-disk-kept"
    node: str
    path: str
    why: str = ""
    """why it was not removed; empty when policy keeps it"""


class OldDiskDeleteIntended(Record):
    """After a move that was observed done, the image that the disk was is to be removed from the source."""

    KIND = "delete-old-disk"
    node: str
    path: str
