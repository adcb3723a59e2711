"""How long moves in lanes take beside each other, and what that is expected to lose.

Each runs as fast as what shares its links and disks at the moment lets it; how far it is counts when that changes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.migration.estimate import LiveEstimate
from models.planning.schedule import Move, Shares, Timing, sends, timing_of, worst_timings
from models.policy.policy import Policy
from models.situation import Situation

NOTICEABLE = 1e-9
Lanes = list[list[int]]
"""moves by their number, in the order of each lane"""


def holds(live: LiveEstimate | None, policy: Policy) -> bool:
    """Whether a live migration converges within the caps on pause and time; what moves otherwise does not have to."""
    rules = policy.migration
    return live is None or (
        live.converges
        and live.downtime_seconds <= rules.max_downtime.total_seconds()
        and live.seconds <= rules.timeout.total_seconds()
    )


@dataclass(frozen=True, kw_only=True)
class MoveFacts:
    """What is asked of one move again and again."""

    source: str
    target: str
    sends: bool
    archive: bool
    weight: float
    alone: float
    """seconds"""
    delicate: bool
    """it moves live, and only alone on both links"""


@dataclass(kw_only=True)
class LaneClock:
    """The moves of one plan, and how long they take beside each other."""

    moves: Sequence[Move]
    situation: Situation
    _seconds: dict[tuple[int, int, int, int], float] = field(default_factory=dict[tuple[int, int, int, int], float])

    def __post_init__(self) -> None:
        weights = self.situation.policy.weights
        self.facts = [
            MoveFacts(
                source=move.source, target=move.target or "", sends=sends(move), archive=move.target is None,
                weight=weights.of(move.vm.priority), alone=self.seconds(number, 1, 1, 1),
                delicate=not self._bears_company(move),
            )
            for number, move in enumerate(self.moves)
        ]  # fmt: skip
        self._by_source: dict[str, tuple[NDArray[np.intp], NDArray[np.float64]]] = {}
        at = np.arange(len(self.moves))
        self._curve: dict[str, tuple[list[float], list[float]]] = {}
        for name in {move.source for move in self.moves}:
            mine = at[[fact.source == name for fact in self.facts]]
            self._by_source[name] = (mine, np.array([self.facts[n].weight for n in mine]))
            curve = self.situation.risk_curve(name)
            self._curve[name] = [at for at, _ in curve], [p for _, p in curve]

    def seconds(self, number: int, on_source: int, on_target: int, archives: int) -> float:
        """How long one move takes at these shares; a migration that would not end: what policy gives it."""
        key = (number, on_source, on_target, archives)
        known = self._seconds.get(key)
        if known is None:
            shares = Shares(source_link=on_source, target_link=on_target, archives=archives)
            told = timing_of(self.moves[number], shares, self.situation.fleet, self.situation.policy)[0]
            limit = self.situation.policy.migration.timeout.total_seconds()
            known = self._seconds[key] = told if math.isfinite(told) else limit
        return known

    def _bears_company(self, move: Move) -> bool:
        limits = self.situation.policy.limits
        crowded = Shares(source_link=limits.outbound_per_node, target_link=limits.inbound_per_node)
        return holds(timing_of(move, crowded, self.situation.fleet, self.situation.policy)[2], self.situation.policy)

    def run(self, lanes: Lanes) -> tuple[list[float], list[float]]:
        """(start, end) of every move in seconds, each as fast as what runs beside it at the moment lets it."""
        begins, ends = [0.0] * len(self.moves), [0.0] * len(self.moves)
        facts = self.facts
        on_source: dict[str, int] = defaultdict(int)
        on_target: dict[str, int] = defaultdict(int)
        archives: dict[str, int] = defaultdict(int)
        places = [0] * len(lanes)
        running: dict[int, tuple[int, float]] = {}
        now = 0.0

        def enter(lane: int) -> None:
            if places[lane] >= len(lanes[lane]):
                running.pop(lane, None)
                return
            number = lanes[lane][places[lane]]
            places[lane] += 1
            running[lane], begins[number] = (number, 1.0), now
            fact = facts[number]
            if fact.archive:
                archives[fact.source] += 1
            elif fact.sends:
                on_source[fact.source] += 1
                on_target[fact.target] += 1

        for lane in range(len(lanes)):
            enter(lane)
        while running:
            rates: list[tuple[int, int, float, float]] = []
            step = math.inf
            for lane, (number, left) in running.items():
                fact = facts[number]
                seconds = self.seconds(
                    number,
                    max(1, on_source[fact.source]),
                    max(1, on_target[fact.target]),
                    max(1, archives[fact.source]),
                )
                rates.append((lane, number, left, seconds))
                if left * seconds < step:
                    step = left * seconds
            now += step
            over: list[int] = []
            for lane, number, left, seconds in rates:
                rest = left - step / seconds if seconds > 0 else 0.0
                if rest <= NOTICEABLE:
                    over.append(lane)
                    ends[number] = now
                    fact = facts[number]
                    if fact.archive:
                        archives[fact.source] -= 1
                    elif fact.sends:
                        on_source[fact.source] -= 1
                        on_target[fact.target] -= 1
                else:
                    running[lane] = (number, rest)
            for lane in over:
                enter(lane)
        return begins, ends

    def loss(self, lanes: Lanes) -> float:
        """Σ weight × P(the source fails before the move is done)."""
        _, ends = self.run(lanes)
        at = np.array(ends)
        total = 0.0
        for name, (mine, weights) in self._by_source.items():
            points, p = self._curve[name]
            total += float(weights @ np.interp(at[mine], points, p))
        return total

    def timings(self, lanes: Lanes) -> dict[str, Timing]:
        """The timing of every move by vm uuid. Pause and convergence are told for the worst that the other lanes may do."""
        begins, ends = self.run(lanes)
        fleet, policy = self.situation.fleet, self.situation.policy
        worst = worst_timings([[[self.moves[n]] for n in lane] for lane in lanes], fleet, policy)
        ranks = {at: rank for rank, at in enumerate(sorted({round(at, 3) for at in begins}))}
        return {
            self.moves[number].vm.uuid: Timing(
                wave=ranks[round(begins[number], 3)],
                lane=place,
                start=begins[number],
                seconds=ends[number] - begins[number],
                downtime=told[0][1] if told[0][2] is not None else ends[number] - begins[number] if told[0][1] else 0.0,
                live=told[0][2],
            )
            for place, (lane, waves) in enumerate(zip(lanes, worst, strict=True))
            for number, told in zip(lane, waves, strict=True)
        }
