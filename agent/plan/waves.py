"""In which order moves start, what runs beside what, and when each is done.

A wave is a set of actions that run together; the next starts when all of them are over. Streams on one link share it, so
running two together pays only where something else than the shared link takes the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from agent.plan.capacity import Capacities
from models.fleet import Fleet, VmState
from models.migration.estimate import (
    LiveEstimate,
    disk_copy_bytes,
)
from models.plan import ActionKind
from models.policy import Policy
from models.schedule import Move, Timing, wave_timings, within_limits

LOOK_AHEAD = 48
"""moves looked at to fill a wave; bounds the time for very large plans"""

GROWTH_SHARES = (0.5, 0.0, 0.25, 0.75)
"""how readily a wave is filled; each is tried"""
FEW_MOVES = 12
MOST_TRIALS = 60
"""bounds of the search for a better order"""


def _sound(timings: Sequence[tuple[float, float, LiveEstimate | None]], policy: Policy) -> bool:
    """Every live migration of a wave still converges, within the caps on pause and time."""
    return all(
        live.converges
        and live.downtime_seconds <= policy.migration.max_downtime.total_seconds()
        and live.seconds <= policy.migration.timeout.total_seconds()
        for _, _, live in timings
        if live is not None
    )


def order(
    moves: Sequence[Move], fleet: Fleet, policy: Policy, failure_probability_by_source: Mapping[str, float]
) -> list[Move]:
    """The order in which moves should start. `failure_probability_by_source` is that within the horizon.

    Loss per second of waiting is least when (weight × P(fails)) / duration falls (Smith's rule, 1956). Among moves that send
    memory only, which differ little in length, the heavier weight goes first whatever the length; those that copy disks are
    merged in by Smith's rule, so that hours of copying never hold up seconds of memory.
    """

    def length(move: Move) -> float:
        return wave_timings([move], fleet, policy)[0][0]

    def weight(move: Move) -> float:
        return policy.weights.of(move.vm.priority) * max(failure_probability_by_source.get(move.source, 0.0), 1e-6)

    lengths = {move.vm.uuid: length(move) for move in moves}

    def urgency(move: Move) -> float:
        return weight(move) / lengths[move.vm.uuid]

    quick = [move for move in moves if _memory_only(move)]
    chosen = {move.vm.uuid for move in quick}
    long = [move for move in moves if move.vm.uuid not in chosen]
    quick.sort(key=lambda m: (-weight(m), lengths[m.vm.uuid], m.vm.uuid))
    # A guest that runs is served now; one that is shut off only has to be kept.
    long.sort(key=lambda m: (-urgency(m), m.vm.state is VmState.SHUTOFF, m.vm.uuid))
    merged: list[Move] = []
    while quick and long:
        merged.append(long.pop(0) if urgency(long[0]) > urgency(quick[0]) else quick.pop(0))
    return merged + quick + long


class NotExecutable(Exception):
    """No move that is left has room at its target, whatever moved before."""


def pack(
    ordered: Sequence[Move], fleet: Fleet, policy: Policy, growth_share: float = 0.5, room: Capacities | None = None
) -> list[list[Move]]:
    """Waves: each takes the first move that is left, and beside it what shortens the whole.

    A move joins when the limits hold, every live migration of the wave still converges at its share of the link, and the
    wave grows by at most `growth_share` of what the move would take alone: 0 lets join only what costs no time.

    With `room`, what the targets take at the start, a move waits until its target has room: what arrives holds it from the
    start of its wave on, what leaves until the end. Raises NotExecutable when all that is left waits.
    """
    left = list(ordered)
    now = room.copy() if room is not None else None

    def has_room(move: Move) -> bool:
        return now is None or move.target is None or now.takes(move.vm, move.target)

    def enters(move: Move) -> Move:
        if now is not None and move.target is not None:
            now.take(move.vm, move.target, 0.0)
        return move

    alone = {move.vm.uuid: wave_timings([move], fleet, policy)[0][0] for move in ordered}
    waves: list[list[Move]] = []
    while left:
        first = next((n for n, move in enumerate(left) if has_room(move)), None)
        if first is None:
            raise NotExecutable
        wave = [enters(left.pop(first))]
        timings = wave_timings(wave, fleet, policy)
        index = looked = 0
        while index < len(left) and looked < LOOK_AHEAD and len(wave) < policy.limits.per_fleet:
            looked += 1
            candidate = [*wave, left[index]]
            if not within_limits(candidate, policy.limits) or not has_room(left[index]):
                index += 1
                continue
            with_it = wave_timings(candidate, fleet, policy)
            growth = max(t[0] for t in with_it) - max(t[0] for t in timings)
            if not _sound(with_it, policy) or growth > alone[left[index].vm.uuid] * growth_share:
                index += 1
                continue
            wave.append(enters(left.pop(index)))
            timings = with_it
        if now is not None:
            for move in wave:
                now.release(move.vm, move.source)
        waves.append(wave)
    return waves


def schedule(waves: Sequence[Sequence[Move]], fleet: Fleet, policy: Policy) -> dict[str, Timing]:
    """The timing of every move by vm uuid; a wave starts when the longest move of the one before is done."""
    timings: dict[str, Timing] = {}
    start = 0.0
    for number, wave in enumerate(waves):
        estimates = wave_timings(wave, fleet, policy)
        for move, (seconds, downtime, live) in zip(wave, estimates, strict=True):
            timings[move.vm.uuid] = Timing(wave=number, start=start, seconds=seconds, downtime=downtime, live=live)
        start += max((seconds for seconds, _, _ in estimates), default=0.0)
    return timings


def best_waves(
    moves: Sequence[Move],
    fleet: Fleet,
    policy: Policy,
    failure_probability_by_source: Mapping[str, float],
    loss: Callable[[Mapping[str, Timing]], float],
    *,
    making_room: Sequence[Move] = (),
    room: Capacities | None = None,
) -> list[list[Move]]:
    """The waves that lose least, of several ways to fill them; for few moves, after trying each move earlier as well.

    `loss` prices a schedule. No exact search: against every order of six moves it came within 1 % on average (bench/plan.py).
    `making_room` are moves off other nodes, without which some of `moves` have no room in `room`. They go first, or right
    before the first move that needs them, whichever loses less. Raises NotExecutable when no order carries them out.
    """
    waiting_for_room = (
        room if making_room else None
    )  # without them every target has room for all that is planned, at any time

    def priced(ordered: Sequence[Move], share: float) -> tuple[float, list[list[Move]]]:
        try:
            waves = pack(ordered, fleet, policy, share, waiting_for_room)
        except NotExecutable:
            return math.inf, []
        return loss(schedule(waves, fleet, policy)), waves

    urgent = order(moves, fleet, policy, failure_probability_by_source)
    orders = [[*making_room, *urgent]]
    if making_room:
        cleared = {move.source for move in making_room}
        needed = next((n for n, move in enumerate(urgent) if move.target in cleared), 0)
        orders.append([*urgent[:needed], *making_room, *urgent[needed:]])
    trials = [(*priced(one, share), share, one) for one in orders for share in GROWTH_SHARES]
    best, waves, share, ordered = min(trials, key=lambda trial: trial[0])
    if math.isinf(best):
        raise NotExecutable
    if len(ordered) > FEW_MOVES:
        return waves
    index = 1
    for _ in range(MOST_TRIALS):
        if index >= len(ordered):
            break
        for earlier in range(index):
            trial = [*ordered[:earlier], ordered[index], *ordered[earlier:index], *ordered[index + 1 :]]
            if any(_must_wait(ordered[index], other, policy) for other in ordered[earlier:index]):
                continue
            less, better = priced(trial, share)
            if less < best - 1e-12:
                best, waves, ordered, index = less, better, trial, 0
                break
        index += 1
    return waves


def _must_wait(move: Move, other: Move, policy: Policy) -> bool:
    """Whether `other` keeps its place before `move`: both only send memory off one node, and it weighs more."""
    return (
        move.source == other.source
        and _memory_only(move)
        and _memory_only(other)
        and policy.weights.of(other.vm.priority) > policy.weights.of(move.vm.priority)
    )


def _memory_only(move: Move) -> bool:
    return move.kind is ActionKind.LIVE_MIGRATE and disk_copy_bytes(move.vm) == 0
