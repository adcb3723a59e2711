"""What runs beside what: moves that share links and disks, how long each then takes, and how many policy lets run at once.

A wave is a set of moves that run together. Planner, guard and admission go by the same limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from models.fleet import Fleet, Vm, VmState
from models.migration.estimate import (
    LiveEstimate,
    archive_seconds,
    cold_migration_seconds,
    live_migration,
    stream_bandwidth,
)
from models.plan import ActionKind
from models.policy import LimitPolicy, Policy


@dataclass(frozen=True, kw_only=True)
class Move:
    """One vm on its way. `target` is None exactly for a cold archive."""

    vm: Vm
    kind: ActionKind
    source: str
    target: str | None


@dataclass(frozen=True, kw_only=True)
class Timing:
    """When one move starts and how long it takes, seconds from the start of the evacuation."""

    wave: int
    start: float
    seconds: float
    downtime: float
    live: LiveEstimate | None
    """for live migrations, with what else runs on the link taken into account"""

    @property
    def done(self) -> float:
        return self.start + self.seconds


def wave_timings(wave: Sequence[Move], fleet: Fleet, policy: Policy) -> list[tuple[float, float, LiveEstimate | None]]:
    """(seconds, downtime, live estimate) of each move of one wave, sharing links and disks with its neighbours."""
    streams_out = Counter(move.source for move in wave if move.target)
    streams_in = Counter(move.target for move in wave if move.target)
    archives = Counter(move.source for move in wave if not move.target)
    result: list[tuple[float, float, LiveEstimate | None]] = []
    for move in wave:
        source = fleet.node_by_name[move.source]
        if move.target is None:
            seconds = archive_seconds(move.vm, source, archives[move.source], policy)
            result.append((seconds, seconds if move.vm.state is VmState.RUNNING else 0.0, None))
            continue
        target = fleet.node_by_name[move.target]
        bandwidth = stream_bandwidth(source, target, streams_out[move.source], streams_in[move.target], policy)
        if move.kind is ActionKind.LIVE_MIGRATE:
            estimate = live_migration(move.vm, bandwidth, policy)
            result.append((estimate.seconds, estimate.downtime_seconds, estimate))
        else:
            seconds = cold_migration_seconds(move.vm, source, target, bandwidth, policy)
            result.append((seconds, seconds if move.vm.state is VmState.RUNNING else 0.0, None))
    return result


class Limit(StrEnum):
    """What policy limits of what runs at once."""

    OUTBOUND = "outbound_per_node"
    """archives count as well: they load the same disks"""
    INBOUND = "inbound_per_node"
    LINK = "per_link"
    FLEET = "per_fleet"
    ARCHIVES = "archives_per_node"


class Leaving(Protocol):
    """What the limits count: a vm on its way off a node. `Move` and `Action` are both."""

    @property
    def source(self) -> str: ...
    @property
    def target(self) -> str | None:
        """None: into an archive"""
        ...


def allowed(limit: Limit, limits: LimitPolicy) -> int:
    """How many policy allows."""
    return {
        Limit.OUTBOUND: limits.outbound_per_node,
        Limit.INBOUND: limits.inbound_per_node,
        Limit.LINK: limits.per_link,
        Limit.FLEET: limits.per_fleet,
        Limit.ARCHIVES: limits.archives_per_node,
    }[limit]


def _counted_as(limit: Limit, one: Leaving) -> str | None:
    """What it is counted together with under one limit; None when that limit does not concern it."""
    match limit:
        case Limit.OUTBOUND:
            return f"moves off {one.source}"
        case Limit.INBOUND:
            return f"moves onto {one.target}" if one.target else None
        case Limit.LINK:
            return f"moves from {one.source} to {one.target}" if one.target else None
        case Limit.FLEET:
            return "actions in the fleet"
        case Limit.ARCHIVES:
            return None if one.target else f"archives on {one.source}"


def busiest(limit: Limit, wave: Sequence[Leaving]) -> tuple[int, str]:
    """How many of what one limit counts run at once where most do, and what they are. (0, "") when there are none."""
    counts = Counter(what for what in (_counted_as(limit, one) for one in wave) if what is not None)
    return next(((count, what) for what, count in counts.most_common(1)), (0, ""))


def exceeded(limit: Limit, wave: Sequence[Leaving], limits: LimitPolicy) -> str | None:
    """How a wave exceeds one limit, with the figures; None when it does not."""
    count, what = busiest(limit, wave)
    most = allowed(limit, limits)
    return f"{count} {what} at once, policy allows {most}" if count > most else None


def within_limits(wave: Sequence[Leaving], limits: LimitPolicy) -> bool:
    """Whether a wave keeps every limit."""
    return all(exceeded(limit, wave, limits) is None for limit in Limit)


def may_join(one: Leaving, running: Sequence[Leaving], limits: LimitPolicy) -> bool:
    """Whether one more may start beside those running: no limit that concerns it is reached."""
    for limit in Limit:
        what = _counted_as(limit, one)
        if what is not None and sum(_counted_as(limit, other) == what for other in running) >= allowed(limit, limits):
            return False
    return True
