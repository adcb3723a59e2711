"""What runs beside what: moves that share links and disks, how long each then takes, and how many policy lets run at once.

A wave is a set of moves that run together; a lane is waves that follow each other, and lanes run side by side. Planner, guard and
admission go by the same limits.
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
    disk_copy_bytes,
    live_migration,
    stream_bandwidth,
)
from models.plan import ActionKind
from models.policy.policy import LimitPolicy, Policy


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
    lane: int = 0

    @property
    def done(self) -> float:
        return self.start + self.seconds


@dataclass(frozen=True, kw_only=True)
class Shares:
    """With how many a move shares what it uses, itself included."""

    source_link: int = 1
    target_link: int = 1
    archives: int = 1
    """that read its source's disks at once"""


TimingOf = tuple[float, float, LiveEstimate | None]
"""(seconds, downtime, live estimate) of one move"""
Waves = Sequence[Sequence[Move]]
"""one lane"""


def sends(move: Move) -> bool:
    """Whether it is a stream on its nodes' links: memory, or disks that not every node reaches. A stopped guest on shared storage
    moves by its definition alone."""
    return move.target is not None and (move.kind is ActionKind.LIVE_MIGRATE or disk_copy_bytes(move.vm) > 0)


def timing_of(move: Move, shares: Shares, fleet: Fleet, policy: Policy) -> TimingOf:
    """How long one move takes at its share of links and disks."""
    source = fleet.node_by_name[move.source]
    if move.target is None:
        seconds = archive_seconds(move.vm, source, shares.archives, policy)
        return seconds, seconds if move.vm.state is VmState.RUNNING else 0.0, None
    target = fleet.node_by_name[move.target]
    bandwidth = stream_bandwidth(source, target, shares.source_link, shares.target_link, policy)
    if move.kind is ActionKind.LIVE_MIGRATE:
        estimate = live_migration(move.vm, bandwidth, policy)
        return estimate.seconds, estimate.downtime_seconds, estimate
    seconds = cold_migration_seconds(move.vm, source, target, bandwidth, policy)
    return seconds, seconds if move.vm.state is VmState.RUNNING else 0.0, None


def wave_timings(wave: Sequence[Move], fleet: Fleet, policy: Policy) -> list[TimingOf]:
    """The timing of each move of one wave, sharing links and disks with its neighbours."""
    return [timing_of(move, shares, fleet, policy) for move, shares in zip(wave, _shares_in([wave])[0], strict=True)]


def worst_timings(lanes: Sequence[Waves], fleet: Fleet, policy: Policy) -> list[list[list[TimingOf]]]:
    """The timing of every move, by lane and wave, when every other lane is where most of it shares links and disks with this one.

    Which wave of one lane meets which of another only the clock tells, so nothing that has to hold may lean on it.
    """
    each = [_most_at_once(waves) for waves in lanes]
    whole: _Streams = (Counter(), Counter(), Counter())
    for counts in each:
        for total, mine in zip(whole, counts, strict=True):
            total.update(mine)
    return [
        [
            [timing_of(move, share, fleet, policy) for move, share in zip(wave, shares, strict=True)]
            for wave, shares in zip(waves, _shares_in(waves, whole, mine), strict=True)
        ]
        for waves, mine in zip(lanes, each, strict=True)
    ]


_Streams = tuple[Counter[str], Counter[str], Counter[str]]
"""(streams off each node, streams onto each, archives on each)"""


def _shares_in(waves: Waves, whole: _Streams | None = None, mine: _Streams | None = None) -> list[list[Shares]]:
    """The shares of every move in the waves of one lane, beside the most that the other lanes have: `whole` less `mine`."""
    shares: list[list[Shares]] = []
    for wave in waves:
        out, into, archives = _counts(wave)

        def beside(kind: int, name: str) -> int:
            return whole[kind][name] - mine[kind][name] if whole is not None and mine is not None else 0

        shares.append(
            [
                Shares(
                    source_link=max(1, out[move.source] + beside(0, move.source)),
                    target_link=max(1, into[move.target or ""] + beside(1, move.target or "")),
                    archives=max(1, archives[move.source] + beside(2, move.source)),
                )
                for move in wave
            ]
        )
    return shares


def _counts(wave: Sequence[Move]) -> _Streams:
    sending = [move for move in wave if sends(move)]
    return (
        Counter(move.source for move in sending),
        Counter(move.target or "" for move in sending),
        Counter(move.source for move in wave if move.target is None),
    )


def _most_at_once(waves: Waves) -> _Streams:
    most: _Streams = (Counter(), Counter(), Counter())
    for wave in waves:
        for known, counts in zip(most, _counts(wave), strict=True):
            for name, count in counts.items():
                known[name] = max(known[name], count)
    return most


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
    match limit:
        case Limit.OUTBOUND:
            return limits.outbound_per_node
        case Limit.INBOUND:
            return limits.inbound_per_node
        case Limit.LINK:
            return limits.per_link
        case Limit.FLEET:
            return limits.per_fleet
        case Limit.ARCHIVES:
            return limits.archives_per_node


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


def busiest(limit: Limit, lanes: Sequence[Sequence[Sequence[Leaving]]]) -> tuple[int, str]:
    """How many of what one limit counts may run at once where most do, and what they are. (0, "") when there are none.

    Lanes keep no time with each other: the busiest wave of each may meet those of all others.
    """
    total: Counter[str] = Counter()
    for waves in lanes:
        most: Counter[str] = Counter()
        for wave in waves:
            for what, count in Counter(what for one in wave if (what := _counted_as(limit, one)) is not None).items():
                most[what] = max(most[what], count)
        total.update(most)
    return next(((count, what) for what, count in total.most_common(1)), (0, ""))


def exceeded(limit: Limit, lanes: Sequence[Sequence[Sequence[Leaving]]], limits: LimitPolicy) -> str | None:
    """How lanes exceed one limit, with the figures; None when they do not."""
    count, what = busiest(limit, lanes)
    most = allowed(limit, limits)
    return f"{count} {what} at once, policy allows {most}" if count > most else None


def may_join(one: Leaving, running: Sequence[Leaving], limits: LimitPolicy) -> bool:
    """Whether one more may start beside those running: no limit that concerns it is reached."""
    for limit in Limit:
        most = allowed(limit, limits)
        if len(running) < most:
            continue
        what = _counted_as(limit, one)
        if what is not None and sum(_counted_as(limit, other) == what for other in running) >= most:
            return False
    return True
