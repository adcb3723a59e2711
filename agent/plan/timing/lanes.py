"""Moves in lanes that do not wait for each other: one after the other in a lane, lanes side by side.

Description: a barrier across nodes idles the links of those that are done first. Lanes spare that: each node gets one stream or
two, whichever is expected to lose less, and a search over order and lanes betters the first answer.
Requirements: pure; the same input gives the same lanes. However far one lane is ahead of another, every limit holds, and every
live migration converges within policy's caps (`models.planning.schedule.worst_timings`).
Limitations: no move may wait for room that another makes (`agent.plan.timing.waves.pack` is for that); targets are those given.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from agent.plan.capacity import Capacities
from agent.plan.timing.lane_clock import NOTICEABLE, LaneClock, Lanes, holds
from models.planning.schedule import Limit, Move, Timing, allowed, worst_timings
from models.policy.policy import Policy
from models.situation import Situation

TRIALS = 200_000
"""of the search, over the number of moves: the time it takes grows little with the plan"""
TRIALS_A_MOVE = 40
LARGE_FLEET = 2000
"""nodes; of larger ones everything else takes its time, and the search gets that much less"""


@dataclass(frozen=True, kw_only=True)
class InLanes:
    """Moves in lanes, with what they are expected to lose."""

    clock: LaneClock
    lanes: Lanes
    loss: float
    """over the moves alone"""

    @property
    def moves(self) -> list[Move]:
        return list(self.clock.moves)

    def timings(self) -> dict[str, Timing]:
        return self.clock.timings(self.lanes)


Elsewhere = Callable[[Move], Sequence[str]]
"""other targets that take a vm just as well, best first; room left aside"""


def best_lanes(
    moves: Sequence[Move],
    situation: Situation,
    *,
    left: Callable[[], Capacities] | None = None,
    elsewhere: Elsewhere = lambda _: (),
    search: bool = True,
) -> InLanes | None:
    """The lanes that lose least, of several first answers and a search from the best. None where nothing keeps every limit.

    `left`: what the targets still take after all `moves`; with it a move may go `elsewhere` where its target would take too many
    at once.
    """
    policy, clock = situation.policy, LaneClock(moves=moves, situation=situation)
    best: tuple[float, LaneClock, Lanes] | None = None
    for count in _counts_of_lanes(policy):
        for streams, apart in ((1, False), (2, False), (2, True))[: 3 if policy.limits.outbound_per_node > 1 else 1]:
            found = _listed(clock, count=count, streams=streams, apart=apart, left=left, elsewhere=elsewhere)
            if found is None or not _sound(*found):
                continue
            loss = found[0].loss(found[1])
            if best is None or loss < best[0]:
                best = (loss, *found)
    if best is None:
        return None
    _, clock, lanes = best
    lanes = _searched(clock, lanes) if search else lanes
    return InLanes(clock=clock, lanes=lanes, loss=clock.loss(lanes))


def _counts_of_lanes(policy: Policy) -> list[int]:
    """How many lanes are tried: as many as policy lets run in the fleet, and fewer, for targets that take few at once."""
    most = policy.limits.per_fleet
    counts = {most, max(1, most // 2), min(2, most), 1}
    return sorted(counts, reverse=True)


class _Users:
    """Which lanes use what is limited, and how often."""

    def __init__(self, clock: LaneClock) -> None:
        limits = clock.situation.policy.limits
        self._facts = clock.facts
        self._most = {limit: allowed(limit, limits) for limit in Limit if limit is not Limit.FLEET}
        self._used: dict[tuple[Limit, str], dict[int, int]] = defaultdict(dict)
        self._streams: dict[str, dict[int, int]] = defaultdict(dict)
        """node → lane → how many streams of it use the node's link"""
        self._delicate: dict[str, int] = defaultdict(int)
        """node → moves on its link that bear no other lane beside them"""
        for fact in clock.facts:
            if fact.delicate:
                self._delicate[fact.source] += 1

    def _limited(self, number: int, target: str) -> list[tuple[Limit, str]]:
        fact = self._facts[number]
        if fact.archive:
            return [(Limit.OUTBOUND, fact.source), (Limit.ARCHIVES, fact.source)]
        onto = target or fact.target
        return [(Limit.OUTBOUND, fact.source), (Limit.INBOUND, onto), (Limit.LINK, f"{fact.source}\n{onto}")]

    def _links(self, number: int, target: str) -> tuple[str, ...]:
        fact = self._facts[number]
        return (fact.source, target or fact.target) if fact.sends else ()

    def allows(self, number: int, lane: int, target: str = "") -> bool:
        """Whether every limit holds and every live migration converges, however the lanes meet; to another target than its own
        where one is named."""
        for key in self._limited(number, target):
            users = self._used[key]
            if lane not in users and len(users) >= self._most[key[0]]:
                return False
        delicate = self._facts[number].delicate
        return all(
            not (delicate or self._delicate[name]) or self._streams[name].keys() <= {lane}
            for name in self._links(number, target)
        )

    def add(self, number: int, lane: int, target: str = "") -> None:
        self._count(number, lane, target, 1)

    def remove(self, number: int, lane: int) -> None:
        self._count(number, lane, "", -1)

    def _count(self, number: int, lane: int, target: str, by: int) -> None:
        used = [self._used[key] for key in self._limited(number, target)]
        for users in (*used, *(self._streams[name] for name in self._links(number, target))):
            users[lane] = users.get(lane, 0) + by
            if users[lane] == 0:
                del users[lane]
        if self._facts[number].delicate:
            self._delicate[target or self._facts[number].target] += by


def _listed(
    clock: LaneClock,
    *,
    count: int,
    streams: int,
    apart: bool,
    left: Callable[[], Capacities] | None,
    elsewhere: Elsewhere,
) -> tuple[LaneClock, Lanes] | None:
    """Moves in Smith's order (weight × risk / length, falling), each into the lane that is free first.

    `apart`: what is no stream on a link (archives, what moves by its definition) has a lane of its own beside one stream. None
    where the limits let some move into no lane.
    """
    facts, situation = clock.facts, clock.situation
    risk = {
        fact.source: max(situation.failure_probability(fact.source, situation.horizon_seconds), 1e-6) for fact in facts
    }
    order = sorted(
        range(len(facts)),
        key=lambda n: (-facts[n].weight * risk[facts[n].source] / max(facts[n].alone, 1e-3), clock.moves[n].vm.uuid),
    )
    lanes: Lanes = [[] for _ in range(count)]
    free = [0.0] * count
    users, spare = _Users(clock), None
    moved: dict[int, str] = {}
    mine: dict[tuple[str, bool], set[int]] = defaultdict(set)
    for number in order:
        fact = facts[number]
        key = (fact.source, apart and not fact.sends)
        most = 1 if apart else streams
        other = mine[fact.source, not key[1]] if apart else set[int]()
        may = [lane for lane in (mine[key] if len(mine[key]) >= most else range(count)) if lane not in other]
        target, found = "", [lane for lane in may if users.allows(number, lane)]
        if not found and left is not None and not fact.archive:
            move, spare = clock.moves[number], spare or left()
            for name in elsewhere(move):
                if found := [lane for lane in may if users.allows(number, lane, name)]:
                    if spare.takes(move.vm, name):
                        target = name
                        spare.release(move.vm, fact.target)
                        spare.take(move.vm, name, 0.0)
                        break
                    found = []
        found = found or [lane for lane in range(count) if users.allows(number, lane)]
        if not found:
            return None
        lane = min(found, key=lambda n: (free[n], n))
        mine[key].add(lane)
        users.add(number, lane, target)
        if target:
            moved[number] = target
        lanes[lane].append(number)
        free[lane] += fact.alone
    if moved:
        there = [replace(m, target=moved[n]) if n in moved else m for n, m in enumerate(clock.moves)]
        clock = LaneClock(moves=there, situation=situation)
    return clock, [lane for lane in lanes if lane]


def _sound(clock: LaneClock, lanes: Lanes) -> bool:
    """Every live migration holds, whatever runs in the other lanes."""
    policy = clock.situation.policy
    worst = worst_timings([[[clock.moves[n]] for n in lane] for lane in lanes], clock.situation.fleet, policy)
    return all(holds(live, policy) for waves in worst for wave in waves for _, _, live in wave)


def _searched(clock: LaneClock, lanes: Lanes) -> Lanes:
    """Moves taken elsewhere, one at a time, for as long as that spares something."""
    chance = random.Random(1)  # noqa: S311 the same search each time
    count = len(clock.moves)
    users = _Users(clock)
    for place, lane in enumerate(lanes):
        for number in lane:
            users.add(number, place)
    lanes = [list(lane) for lane in lanes]
    if len(lanes) < clock.situation.policy.limits.per_fleet:
        lanes.append([])  # one more may pay
    least = clock.loss(lanes)
    begins, _ = clock.run(lanes)
    large = max(1, len(clock.situation.fleet.nodes) // LARGE_FLEET)
    for _ in range(min(TRIALS_A_MOVE * count, TRIALS // max(1, count) // large)):
        here = chance.choice([place for place, lane in enumerate(lanes) if lane])
        at = chance.randrange(len(lanes[here]))
        number = lanes[here][at]
        users.remove(number, here)
        there = here
        if len(lanes) > 1 and chance.random() < 0.5:
            open_to = [lane for lane in range(len(lanes)) if lane != here and users.allows(number, lane)]
            there = chance.choice(open_to) if open_to else here
        trial = list(lanes)
        trial[here] = [n for n in lanes[here] if n != number]
        if there == here:
            to = at + chance.choice([-1, 1]) * (1 + int(chance.expovariate(0.5)))
        else:
            near = sum(begins[n] < begins[number] for n in lanes[there])
            to = near + chance.choice([-1, 0, 0, 1])
        to = max(0, min(to, len(trial[there])))
        trial[there] = [*trial[there][:to], number, *trial[there][to:]]
        loss = clock.loss(trial)
        if loss < least - NOTICEABLE and (there == here or _sound(clock, [lane for lane in trial if lane])):
            lanes, least = trial, loss
            begins, _ = clock.run(lanes)
            users.add(number, there)
        else:
            users.add(number, here)
    return [lane for lane in lanes if lane]
