"""When did nodes fail? Read out of history: boot times, `up`, what people reported, minus what was planned. Pure.

A node whose vms were evacuated did not fail unobserved: what would have happened is unknown from then on (censored), and calling
it healthy would teach a forecast that its own good work was wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np

from models.signal import Floats, HardwareEvent, HardwareEventKind, Severity

LEAST_DOWN_SECONDS = 600.0
"""A node silent for less has not failed by itself; a reboot shows in its boot time however short it is."""
BOOT_TOLERANCE_SECONDS = 60.0
"""The boot time wanders with the clock by less than this."""
SAME_SECONDS = 1800.0
"""What two sources tell of one node within this time is one incident."""
MONITORING_SHARE = 0.5
"""When more than this share of the nodes goes silent at once, the monitoring has failed, not the nodes."""
CAUSE_SECONDS = 1800.0
"""A critical hardware event this long before a failure is named as its cause."""


class IncidentKind(StrEnum):
    REBOOT = "reboot"
    """it came back with a new boot time"""
    DOWN = "down"
    """it fell silent and had not come back when the history ends"""
    REPORTED = "reported"
    """a person said so"""


@dataclass(frozen=True, slots=True)
class Incident:
    """One unplanned failure of one node. Times are unix seconds."""

    node: str
    at: float
    """the last moment it was known to work"""
    kind: IncidentKind
    cause: HardwareEventKind | None = None
    """what the hardware logged last before it, if anything critical"""


@dataclass(frozen=True, slots=True)
class Window:
    """Planned work: what happens within it is no failure."""

    node: str
    """`*`: every node"""
    start: float
    end: float

    def covers(self, node: str, start: float, end: float) -> bool:
        """Whether it touches the stretch of that node."""
        return self.node in ("*", node) and self.start <= end and start <= self.end


@dataclass(frozen=True)
class NodePast:
    """What Prometheus has of one node, on one grid of times for all nodes (unix seconds, ascending); NaN = nothing."""

    up: Floats
    """1 where an exporter of the node answered, 0 where none did"""
    boot_time: Floats
    """node_boot_time_seconds"""


def incidents(
    times: Floats,
    nodes: Mapping[str, NodePast],
    *,
    reported: Iterable[tuple[str, float]] = (),
    maintenance: Sequence[Window] = (),
    events: Iterable[HardwareEvent] = (),
) -> list[Incident]:
    """Every unplanned failure, in order of time; each once, whoever told of it.

    Raises ValueError when a node's history is not on the grid.
    """
    for name, past in nodes.items():
        if past.up.shape != times.shape or past.boot_time.shape != times.shape:
            raise ValueError(f"node {name}: its history has {past.up.size} moments, the grid {times.size}")
    blind = _monitoring_failed(nodes)
    found: list[Incident] = []
    for name, past in nodes.items():
        found += _reboots(name, times, past)
        found += _downs(name, times, past, blind)
    found = [i for i in found if not any(w.covers(i.node, i.at, i.at + LEAST_DOWN_SECONDS) for w in maintenance)]
    found += [Incident(node, at, IncidentKind.REPORTED) for node, at in reported]
    return _with_causes(_once(found), list(events))


def outcome(
    node: str,
    at: float,
    horizon: float,
    found: Iterable[Incident],
    *,
    until: float,
    evacuated: Iterable[tuple[str, float]] = (),
    maintenance: Sequence[Window] = (),
) -> bool | None:
    """Whether the node failed within `horizon` seconds after `at`; None when nobody can know.

    Unknown: it was evacuated first, planned work came first, or the history ends (`until`) too early.
    """
    failed = min((i.at for i in found if i.node == node and at < i.at <= at + horizon), default=None)
    stopped = [t for name, t in evacuated if name == node and at - horizon < t <= at + horizon]
    stopped += [max(at, w.start) for w in maintenance if w.covers(node, at, at + horizon)]
    censored_at = min(stopped, default=None)
    if failed is not None and (censored_at is None or failed <= censored_at):
        return True
    if censored_at is not None or at + horizon > until:
        return None
    return False


def _monitoring_failed(nodes: Mapping[str, NodePast]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    silent = np.array([~(past.up > 0) for past in nodes.values()])
    if len(nodes) < 2:
        return np.zeros(silent.shape[1] if len(nodes) else 0, dtype=np.bool_)
    return silent.mean(axis=0) > MONITORING_SHARE


def _reboots(name: str, times: Floats, past: NodePast) -> Iterable[Incident]:
    known = np.flatnonzero(np.isfinite(past.boot_time))
    for before, after in pairwise(known):
        booted = float(past.boot_time[after])
        if booted - float(past.boot_time[before]) > BOOT_TOLERANCE_SECONDS:
            # It worked at its last sample, and it was booting at `booted`: the failure lies between.
            yield Incident(name, min(float(times[before]), booted), IncidentKind.REBOOT)


def _downs(
    name: str, times: Floats, past: NodePast, blind: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> Iterable[Incident]:
    """The silence at the end, if there is one. A silence that ends is a reboot where the boot time says so; where it does not,
    the node worked all along and only its exporter or the network did not."""
    worked = np.flatnonzero(past.up > 0)
    if not worked.size or worked[-1] == times.size - 1:
        return
    last = int(worked[-1])
    alone = ~blind[last + 1 :]
    if times[-1] - times[last] >= LEAST_DOWN_SECONDS and bool(alone.all()):
        yield Incident(name, float(times[last]), IncidentKind.DOWN)


def _once(found: list[Incident]) -> list[Incident]:
    """One of those that tell of the same failure: what was measured before what was reported, then the earliest."""
    kept: list[Incident] = []
    for one in sorted(found, key=lambda i: (i.kind is IncidentKind.REPORTED, i.at, i.node)):
        if not any(other.node == one.node and abs(other.at - one.at) <= SAME_SECONDS for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda i: (i.at, i.node))


def _with_causes(found: list[Incident], events: list[HardwareEvent]) -> list[Incident]:
    told: list[Incident] = []
    for one in found:
        near = [
            event
            for event in events
            if event.node == one.node
            and event.asserted
            and event.severity is Severity.CRITICAL
            and -CAUSE_SECONDS <= event.time.timestamp() - one.at <= LEAST_DOWN_SECONDS
        ]
        newest = max(near, key=lambda event: event.time, default=None)
        told.append(one if newest is None else Incident(one.node, one.at, one.kind, newest.kind))
    return told
