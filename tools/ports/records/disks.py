"""Files that an attempt makes at a target, leaves or removes. Paths are those on the node."""

from __future__ import annotations

from tools.ports.journal import Record


class DiskIntended(Record):
    """An image is to be made at the target."""

    KIND = "create-disk"
    node: str
    path: str
    absent: bool = False
    """nothing lay there before: what is found there later is this attempt's"""


class DiskCreated(Record):
    KIND = "created-disk"
    node: str
    path: str


class StateFileCreated(Record):
    """UEFI variables or TPM state were written at the target."""

    KIND = "created-state"
    node: str
    path: str


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


class DiskRemoved(Record):
    """What `DiskLeft` left is gone."""

    KIND = "disk-removed"
    node: str
    path: str
    vm: str
    """uuid"""
    how: str
    """`removed`, or `it was gone`"""


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
