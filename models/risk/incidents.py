"""When did nodes fail? Read out of history: boot times, `up`, what people reported, minus what was planned. Pure.

What a node did is told in spells: stretches in which it worked under one boot. They stay few however long the history is.

Who was at risk when, and of whom nothing can be known, is `models.forecast.history.lives`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby, pairwise

import numpy as np

from models.risk.signal import Floats, HardwareEvent, HardwareEventKind, Severity

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
    """What Prometheus has of one node, on a grid of times (unix seconds, ascending); NaN = nothing."""

    up: Floats
    """1 where an exporter of the node answered, 0 where none did"""
    boot_time: Floats
    """node_boot_time_seconds; all NaN where nobody reports it"""


@dataclass(frozen=True, slots=True)
class Spell:
    """A node worked from `start` to `until` (unix seconds) without a reboot, though not necessarily seen all the while."""

    node: str
    booted: float
    """0: it does not tell; then a spell only ends with the history"""
    start: float
    until: float


def spells(node: str, times: Floats, past: NodePast) -> list[Spell]:
    """One node's history as spells, in order. Raises ValueError when it is not on the grid.

    A silence with the same boot time before and after it was the exporter's or the network's: the spell goes on.
    """
    if past.up.shape != times.shape or past.boot_time.shape != times.shape:
        raise ValueError(f"node {node}: its history has {past.up.size} moments, the grid {times.size}")
    boot = past.boot_time if np.isfinite(past.boot_time).any() else np.where(past.up > 0, 0.0, np.nan)
    found: list[Spell] = []
    for k in np.flatnonzero(np.isfinite(boot)):
        found = continued(found, node, float(boot[k]), float(times[k]))
    return found


def continued(
    before: list[Spell], node: str, booted: float, at: float, *, tolerance: float = BOOT_TOLERANCE_SECONDS
) -> list[Spell]:
    """`before`, one node's spells, once it was seen working at `at`: the last one goes on, or another boot begins one."""
    if before and (booted - before[-1].booted <= tolerance or before[-1].booted == 0.0):
        return [*before[:-1], replace(before[-1], booted=max(booted, before[-1].booted), until=at)]
    return [*before, Spell(node, booted, at, at)]


def incidents(
    history: Iterable[Spell],
    *,
    until: float,
    reported: Iterable[tuple[str, float]] = (),
    maintenance: Sequence[Window] = (),
    events: Iterable[HardwareEvent] = (),
    least_down_seconds: float = LEAST_DOWN_SECONDS,
) -> list[Incident]:
    """Every unplanned failure, in order of time; each once, whoever told of it.

    history: every node's spells, each node's in order. until: how far the history goes (unix seconds).
    """
    nodes = {name: list(told) for name, told in groupby(history, key=lambda spell: spell.node)}
    silent_share = _silence(nodes)
    found: list[Incident] = []
    for name, told in nodes.items():
        # It worked when it was seen last, and it was booting at `booted`: the failure lies between.
        found += [Incident(name, min(a.until, b.booted), IncidentKind.REBOOT) for a, b in pairwise(told)]
        last = told[-1].until
        # A silence that ends is a reboot where the boot time says so; only the one at the end is open.
        if until - last >= least_down_seconds and silent_share(last, until) <= MONITORING_SHARE:
            found.append(Incident(name, last, IncidentKind.DOWN))
    found = [i for i in found if not any(w.covers(i.node, i.at, i.at + LEAST_DOWN_SECONDS) for w in maintenance)]
    found += [Incident(node, at, IncidentKind.REPORTED) for node, at in reported]
    return _with_causes(_once(found), list(events))


def _silence(nodes: Mapping[str, Sequence[Spell]]) -> Callable[[float, float], float]:
    """The largest share of nodes that were silent at one moment of (after, until]; 0 with one node.

    Of the nodes that worked at some time in the day before: those taken out of service are no sign of anything.
    """
    # A spell covers its end: silence begins right after it.
    first = np.array([told[0].start for told in nodes.values()])
    last = np.array([told[-1].until for told in nodes.values()])
    starts = np.sort([spell.start for told in nodes.values() for spell in told])
    ends = np.sort([spell.until for told in nodes.values() for spell in told])

    def share(after: float, until: float) -> float:
        gone = last < after - 86_400.0
        watched = int(np.count_nonzero(~gone & (first <= after)))
        if watched < 2:
            return 0.0
        inside = ends[(ends >= after) & (ends < until)]
        moments = np.nextafter(np.append(inside, after), np.inf)
        working = np.searchsorted(starts, moments, side="right") - np.searchsorted(ends, moments, side="left")
        return 1.0 - float(working.min()) / watched

    return share


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
