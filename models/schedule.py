"""What runs beside what: moves that share links and disks, how long each then takes, and how many policy lets run at once.

A wave is a set of moves that run together. Planner, guard and admission go by the same limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from models.fleet import Fleet, Vm, VmState
from models.migration.estimate import (
    LiveEstimate,
    archive_seconds,
    cold_migration_seconds,
    live_migration,
    stream_bandwidth,
)
from models.plan import ActionKind
from models.policy import Policy


@dataclass(frozen=True)
class Move:
    """One vm on its way. `target` is None exactly for a cold archive."""

    vm: Vm
    kind: ActionKind
    source: str
    target: str | None


@dataclass(frozen=True)
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
    """What policy limits within one wave."""

    OUTBOUND = "outbound_per_node"
    INBOUND = "inbound_per_node"
    LINK = "per_link"
    FLEET = "per_fleet"
    ARCHIVES = "archives_per_node"


def allowed(limit: Limit, policy: Policy) -> int:
    """How many policy allows."""
    return {
        Limit.OUTBOUND: policy.limits.outbound_per_node,
        Limit.INBOUND: policy.limits.inbound_per_node,
        Limit.LINK: policy.limits.per_link,
        Limit.FLEET: policy.limits.per_fleet,
        Limit.ARCHIVES: policy.limits.archives_per_node,
    }[limit]


def busiest(limit: Limit, wave: Sequence[Move]) -> tuple[int, str]:
    """How many of what one limit counts run at once where most do, and where that is. (0, "") when there are none."""
    moving = [move for move in wave if move.target]
    places: dict[Limit, Iterable[str | None]] = {
        Limit.OUTBOUND: (f"moves off {move.source}" for move in moving),
        Limit.INBOUND: (f"moves onto {move.target}" for move in moving),
        Limit.LINK: (f"moves from {move.source} to {move.target}" for move in moving),
        Limit.FLEET: ("actions in the fleet" for _ in wave),
        Limit.ARCHIVES: (f"archives on {move.source}" for move in wave if not move.target),
    }
    counted = Counter(places[limit]).most_common(1)
    return (counted[0][1], str(counted[0][0])) if counted else (0, "")


def exceeded(limit: Limit, wave: Sequence[Move], policy: Policy) -> str:
    """How a wave exceeds one limit, with the figures; empty when it does not."""
    count, what = busiest(limit, wave)
    most = allowed(limit, policy)
    return f"{count} {what} at once, policy allows {most}" if count > most else ""


def within_limits(wave: Sequence[Move], policy: Policy) -> bool:
    """Whether a wave keeps every limit."""
    return not any(exceeded(limit, wave, policy) for limit in Limit)
