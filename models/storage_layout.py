"""How a node's drives are put together and what lives on them: what a drive's failure means for the node. Part of policy.

No exporter tells which drive belongs to which array, or what an array holds, so the operator does. Drives that nobody
spoke of stand alone and hold the host, as if any of them took the node along.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Self

from pydantic import Field, model_validator

from models.base import Duration, Value, parse_duration


class ArrayLevel(StrEnum):
    NONE = "none"
    """each drive stands alone: the loss of any is the loss of what lies on it"""
    RAID0 = "raid0"
    """striped: as none"""
    RAID1 = "raid1"
    """mirrored: one of them is enough"""
    RAID5 = "raid5"
    """one may fail (a hardware controller's, ZFS's raidz1, a btrfs or Ceph pool of one spare copy likewise)"""
    RAID6 = "raid6"
    """two may fail"""
    RAID10 = "raid10"
    """mirrored pairs: the second of a pair is one too many; which are pairs is not told"""


class Holds(StrEnum):
    HOST = "host"
    """what the machine itself runs from"""
    GUESTS = "guests"
    """disks of guests"""
    OTHER = "other"
    """copies, archives, a cache, nothing: no guest stops for it"""


class ArrayLayout(Value):
    """Drives of a node that stand or fall together."""

    nodes: tuple[str, ...] = ("*",)
    """node names; `*` stands for any run of characters"""
    disks: tuple[str, ...] = Field(min_length=1)
    """as the metrics name them, without /dev/; `*` likewise. A drive belongs to the first array that names it"""
    level: ArrayLevel = ArrayLevel.NONE
    members: int | None = Field(default=None, ge=1)
    """how many drives it was made of; needed where some may fail. Those that do not report count as lost"""
    name: str = ""
    """the kernel's name of it, such as `md0`: what the node's metrics say it lacks counts, too"""
    holds: Holds = Holds.HOST

    @model_validator(mode="after")
    def _members_are_told(self) -> Self:
        least = {ArrayLevel.RAID1: 2, ArrayLevel.RAID5: 3, ArrayLevel.RAID6: 4, ArrayLevel.RAID10: 4}.get(self.level)
        if least is not None and (self.members is None or self.members < least):
            told = "is missing" if self.members is None else f"is {self.members}"
            raise ValueError(f"members {told}: {self.level} is made of {least} drives or more")
        return self

    def has(self, node: str, disk: str) -> bool:
        """Whether that drive of that node is one of its members."""
        bare = disk.removeprefix("/dev/")
        return _matches(self.nodes, node) and _matches(self.disks, bare)

    @property
    def tolerated(self) -> int:
        """How many members may fail at most before anything is lost."""
        match self.level:
            case ArrayLevel.NONE | ArrayLevel.RAID0:
                return 0
            case ArrayLevel.RAID1:
                return (self.members or 1) - 1
            case ArrayLevel.RAID5 | ArrayLevel.RAID10:
                return 1
            case ArrayLevel.RAID6:
                return 2


class StorageWeights(Value):
    """Share of losses of an array that put the node's guests in danger, by what it holds. Judgement."""

    host: float = Field(default=1.0, ge=0, le=1)
    guests: float = Field(default=1.0, ge=0, le=1)
    other: float = Field(default=0.05, ge=0, le=1)
    """not nothing: a drive that dies may hang the bus it shares"""

    def of(self, holds: Holds) -> float:
        return {Holds.HOST: self.host, Holds.GUESTS: self.guests, Holds.OTHER: self.other}[holds]


class StoragePolicy(Value):
    """What a drive's failure means for its node."""

    arrays: tuple[ArrayLayout, ...] = ()
    rebuild: Duration = Field(default=parse_duration("24h"), gt=timedelta(0))
    """how long an array goes without the drive it lost: until someone swaps it and the copy is complete"""
    together: float = Field(default=0.1, ge=0, le=1)
    """share of a drive's failures whose cause takes its partners along (backplane, controller, heat, one batch): the beta
    factor of IEC 61508-6, annex D; 2 to 10 % are usual for parts of one kind in one place, this is the careful end"""
    weights: StorageWeights = StorageWeights()

    def array_of(self, node: str, disk: str) -> ArrayLayout | None:
        """The first array that names this drive of this node; None: it stands alone."""
        return next((array for array in self.arrays if array.has(node, disk)), None)


def _matches(patterns: Iterable[str], name: str) -> bool:
    # Only `*` is special, as for `protected`: a bracket in a name is a bracket.
    return any(fnmatchcase(name, pattern.replace("[", "[[]").replace("?", "[?]")) for pattern in patterns)
