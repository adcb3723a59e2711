"""What one look saw: the fleet, the telemetry and the hardware's events, and what could not be read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from models.errors import LifeboatError
from models.fleet import Fleet, Vm
from models.risk.signal import HardwareEvent, SignalHistory


@dataclass(frozen=True)
class UnreadSource:
    """Something that could not be read, and why; what it would have said is unknown."""

    what: str
    """a signal's name, or a source such as `hardware log`"""
    error: LifeboatError
    node: str | None = None
    """None: it concerns every node"""


@dataclass(frozen=True)
class LogDoubt:
    """Something that one node's hardware log left open: what nobody understood is not healthy."""

    node: str
    log: str
    """which, such as `log files`"""
    what: str


@dataclass(frozen=True)
class Observation:
    """All that was seen in one look."""

    at: datetime
    fleet: Fleet
    histories: tuple[SignalHistory, ...] = ()
    """of nodes of the fleet; the last day coarsely, the last half hour at the scrape interval"""
    events: tuple[HardwareEvent, ...] = ()
    """oldest first"""
    unread: tuple[UnreadSource, ...] = ()
    doubts: tuple[LogDoubt, ...] = ()
    """what hardware logs left open"""
    unmatched_nodes: tuple[str, ...] = ()
    """nodes the metrics name and the fleet does not have: a wrong node label shows here"""
    duplicate_vms: tuple[tuple[Vm, tuple[str, ...]], ...] = ()
    """vms seen running on several nodes, looked at twice. They are left out of the fleet: nothing may touch them"""
