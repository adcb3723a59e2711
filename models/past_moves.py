"""What is remembered of earlier moves: who moved which guest when, and whether a breaker keeps lifeboat from moving any."""

from __future__ import annotations

from enum import StrEnum

from pydantic import ConfigDict

from models.base import UtcTime, Value


class Mover(StrEnum):
    LIFEBOAT = "lifeboat"
    OTHERS = "others"
    """a balancer, another tool, or a person by hand: the vm was seen elsewhere, and lifeboat did not bring it there"""


class _Remembered(Value):
    """Read from files as well: what a newer version adds is left aside."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False)


class PastMove(_Remembered):
    """One vm that went from one node to another, or into an archive."""

    at: UtcTime
    """when it had arrived; of others' moves, when it was seen"""
    vm: str
    """uuid"""
    vm_name: str = ""
    source: str
    target: str | None
    """None: into an archive"""
    by: Mover = Mover.LIFEBOAT
    emptied: bool = True
    """the source was being emptied, as opposed to making room or giving back"""
    asked: bool = False
    """a person asked for it: it cools the vm down, and counts towards no cap of the day"""


class Tripped(_Remembered):
    """The breaker that keeps lifeboat from moving anything until a person resets it."""

    at: UtcTime
    rule: str
    """the guard's rule behind it"""
    why: str


class PastMoves(_Remembered):
    """The last day's."""

    moves: tuple[PastMove, ...] = ()
    """oldest first"""
    counted_from: UtcTime | None = None
    """moves before this count towards no cap: a person reset the breaker then. None: nobody did"""
    tripped: Tripped | None = None
