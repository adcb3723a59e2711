"""In which order moves start, what runs beside what, and when each is done.

A wave is a set of actions that run together; the next starts when all of them are over. Streams on one link share it, so
running two together pays only where something else than the shared link takes the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from agent.plan.capacity import Capacities
from models.fleet import Fleet, VmState
from models.migration.estimate import LiveEstimate
from models.planning.schedule import Move, Timing, TimingOf, may_join, wave_timings
from models.policy.policy import Policy

LOOK_AHEAD = 48
"""moves looked at to fill a wave; bounds the time for very large plans"""

GROWTH_SHARES = (0.5, 0.0, 0.25, 0.75)
"""how readily a wave is filled; each is tried"""
FEW_MOVES = 12
MOST_TRIALS = 60
"""bounds of the search for a better order"""


Told = Callable[[Sequence[Move]], list[TimingOf]]
"""how long each move of a wave takes beside the others"""


def told_once(fleet: Fleet, policy: Policy) -> Told:
    """`wave_timings`, worked out once for each wave of the same moves: a search asks for the same ones again and again."""
    known: dict[tuple[int, ...], tuple[Sequence[Move], list[TimingOf]]] = {}

    def told(wave: Sequence[Move]) -> list[TimingOf]:
        key = tuple(map(id, wave))
        if key not in known:
            known[key] = (
                tuple(wave),
                wave_timings(wave, fleet, policy),
            )  # the moves kept, so that no other gets their ids
        return known[key][1]

    return told


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

    Loss per second of waiting is least when (weight × P(fails)) / duration falls (Smith's rule, 1956): hours of copying never
    hold up seconds of memory, and of moves about as long the heavier vm goes first.
    """

    def length(move: Move) -> float:
        return wave_timings([move], fleet, policy)[0][0]

    def weight(move: Move) -> float:
        return policy.weights.of(move.vm.priority) * max(failure_probability_by_source.get(move.source, 0.0), 1e-6)

    lengths = {move.vm.uuid: length(move) for move in moves}

    def urgency(move: Move) -> float:
        return weight(move) / lengths[move.vm.uuid]

    # A guest that runs is served now; one that is shut off only has to be kept.
    return sorted(moves, key=lambda m: (-urgency(m), m.vm.state is VmState.SHUTOFF, m.vm.uuid))


class NotExecutable(Exception):
    """No move that is left has room at its target, whatever moved before."""


def pack(
    ordered: Sequence[Move],
    fleet: Fleet,
    policy: Policy,
    growth_share: float = 0.5,
    room: Capacities | None = None,
    weight: Callable[[Move], float] | None = None,
    told: Told | None = None,
) -> list[list[Move]]:
    """Waves: each takes the first move that is left, and beside it what shortens the whole.

    A move joins when the limits hold, every live migration of the wave still converges at its share of the link, and the
    wave grows by at most `growth_share` of what the move would take alone: 0 lets join only what costs no time.

    With `weight`, what a second's delay of a move costs, a move joins instead where that costs the wave less than it spares
    everything else: itself, and all that would otherwise wait for it.

    With `room`, what the targets take at the start, a move waits until its target has room: what arrives holds it from the
    start of its wave on, what leaves until the end. Raises NotExecutable when all that is left waits.
    """
    timings_of = told or partial(wave_timings, fleet=fleet, policy=policy)
    left = list(ordered)
    now = room.copy() if room is not None else None

    def has_room(move: Move) -> bool:
        return now is None or move.target is None or now.takes(move.vm, move.target)

    def enters(move: Move) -> Move:
        if now is not None and move.target is not None:
            now.take(move.vm, move.target, 0.0)
        return move

    alone = {move.vm.uuid: timings_of([move])[0][0] for move in ordered}
    waves: list[list[Move]] = []
    while left:
        first = next((n for n, move in enumerate(left) if has_room(move)), None)
        if first is None:
            raise NotExecutable
        wave = [enters(left.pop(first))]
        timings = timings_of(wave)
        waiting = sum(map(weight, [*wave, *left])) if weight is not None else 0.0
        index = looked = 0
        while index < len(left) and looked < LOOK_AHEAD and len(wave) < policy.limits.per_fleet:
            looked += 1
            candidate = [*wave, left[index]]
            if not may_join(left[index], wave, policy.limits) or not has_room(left[index]):
                index += 1
                continue
            with_it = timings_of(candidate)
            took, takes = max(t[0] for t in timings), max(t[0] for t in with_it)
            by_itself = alone[left[index].vm.uuid]
            if weight is None:
                pays = takes - took <= by_itself * growth_share
            else:
                slowed = sum(weight(m) * (b[0] - a[0]) for m, a, b in zip(wave, timings, with_it, strict=False))
                ahead = sum(map(weight, left[:index]))
                behind = waiting - sum(map(weight, candidate)) - ahead
                longer = takes - took
                sooner = took + sum(alone[m.vm.uuid] for m in left[: index + 1]) - with_it[-1][0]
                spared = behind * (by_itself - longer) + weight(left[index]) * sooner
                pays = slowed + ahead * longer < spared
            if not pays or not _sound(with_it, policy):
                index += 1
                continue
            wave.append(enters(left.pop(index)))
            timings = with_it
        if now is not None:
            for move in wave:
                now.release(move.vm, move.source)
        waves.append(wave)
    return waves


def schedule(
    waves: Sequence[Sequence[Move]], fleet: Fleet, policy: Policy, told: Told | None = None
) -> dict[str, Timing]:
    """The timing of every move by vm uuid; a wave starts when the longest move of the one before is done."""
    timings: dict[str, Timing] = {}
    start = 0.0
    for number, wave in enumerate(waves):
        estimates = told(wave) if told else wave_timings(wave, fleet, policy)
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
    ranks: Mapping[str, int] | None = None,
    search: bool = True,
) -> list[list[Move]]:
    """The waves that lose least, of several ways to fill them; for few moves, after trying each move earlier as well.

    `loss` prices a schedule. No exact search: against every order of six moves it came within 1 % on average (bench/plan.py).
    `making_room` are moves off other nodes, without which some of `moves` have no room in `room`. They go first, or right
    before the first move that needs them, whichever loses less. Raises NotExecutable when no order carries them out.
    `ranks`, by vm uuid, is somebody else's order: lower goes first, who has none comes last, by urgency. `search=False`: the
    order of urgency, filled in two ways, is good enough.
    """
    waiting_for_room = (
        room if making_room else None
    )  # without them every target has room for all that is planned, at any time

    def weight(move: Move) -> float:
        return policy.weights.of(move.vm.priority) * max(failure_probability_by_source.get(move.source, 0.0), 1e-6)

    told = told_once(fleet, policy) if len(moves) + len(making_room) <= FEW_MOVES else None

    def priced(ordered: Sequence[Move], share: float | None) -> tuple[float, list[list[Move]]]:
        try:
            waves = (
                pack(ordered, fleet, policy, room=waiting_for_room, weight=weight, told=told)
                if share is None
                else pack(ordered, fleet, policy, share, waiting_for_room, told=told)
            )
        except NotExecutable:
            return math.inf, []
        return loss(schedule(waves, fleet, policy, told)), waves

    urgent = order(moves, fleet, policy, failure_probability_by_source)
    if ranks:
        urgent.sort(key=lambda move: ranks.get(move.vm.uuid, math.inf))
    orders = [[*making_room, *urgent]]
    if making_room:
        cleared = {move.source for move in making_room}
        needed = next((n for n, move in enumerate(urgent) if move.target in cleared), 0)
        orders.append([*urgent[:needed], *making_room, *urgent[needed:]])
    trials = [
        (*priced(one, share), share, one) for one in orders for share in (*GROWTH_SHARES[: 4 if search else 1], None)
    ]
    best, waves, share, ordered = min(trials, key=lambda trial: trial[0])
    if math.isinf(best):
        raise NotExecutable
    if ranks or not search or len(ordered) > FEW_MOVES:
        return waves
    index = 1
    for _ in range(MOST_TRIALS):
        if index >= len(ordered):
            break
        for earlier in range(index):
            trial = [*ordered[:earlier], ordered[index], *ordered[earlier:index], *ordered[index + 1 :]]
            less, better = priced(trial, share)
            if less < best - 1e-12:
                best, waves, ordered, index = less, better, trial, 0
                break
        index += 1
    return waves
