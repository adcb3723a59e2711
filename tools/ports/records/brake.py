"""What keeps lifeboat from moving too much: storms, the breaker, and who else moves vms."""

from __future__ import annotations

from tools.ports.journal import Record


class StormSeen(Record):
    """The guard took what it saw for a storm; written once an hour at most. One that lasts trips the breaker."""

    KIND = "storm-seen"
    why: str


class BreakerTripped(Record):
    """Nothing moves from here on until `BreakerReset`."""

    KIND = "breaker-tripped"
    rule: str
    """the guard's rule behind it"""
    why: str
    nodes: tuple[str, ...] = ()
    """which look risky, of a storm; which were to be left, of a day's cap; empty in records of older versions"""


class BreakerReset(Record):
    """A person looked, and lets lifeboat go on; the day's caps count from here."""

    KIND = "breaker-reset"
    by: str
    """who, such as `terminal:ana`"""
    why: str
    """in their words; empty when they said nothing"""


class VmMovedByOthers(Record):
    """A vm was seen on another node than at the look before, and lifeboat did not bring it there."""

    KIND = "moved-by-others"
    vm: str
    """uuid"""
    vm_name: str
    source: str
    target: str
