"""What a second of each shared thing is worth, and with it a loss that no schedule goes below.

Description: Lagrangian relaxation. Links, streams off a node, its archives, the fleet's actions and the targets' memory are not
limited but paid for, and every vm picks what is cheapest for it alone. What that comes to, less what all there is would bring in,
is a lower bound whatever the prices (Geoffrion, Lagrangean relaxation for integer programming, 1974); better prices are found by
subgradients (Polyak's step).
Requirements: `Market.bound` holds for every schedule in which each action runs from its start to its end at a speed that depends
on how many leave its node at once, with any prices that never rise as time goes on. Pure.
Limitations: barriers, inbound limits and which target holds what are left aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_BEND = 1.7
"""how much finer the grid is at its beginning, where most weight is decided on"""
_FINE = 6
"""points of the last, exact evaluation for each one of the grid"""
_HALVINGS = 10
_TURN = 1.5
"""how far a step turns away from the one before where the two oppose each other (Camerini, Fratta and Maffioli, 1975)"""
_PATIENCE, _SLOWER = 10, 0.7
"""after so many rounds without a better bound the steps get so much shorter"""
_NEVER = 1e7
"""seconds that stand for a migration that never ends"""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One thing that may be done with one vm."""

    job: int
    """which vm"""
    node: int
    """which of the nodes to empty"""
    seconds: tuple[float, ...]
    """how long it takes with 1, 2, … streams on its node's link, as many as policy lets; never falling"""
    sends: bool
    """whether it is one of those streams"""
    archive: bool
    bytes_held: int
    """that it takes on a target"""


@dataclass(frozen=True, kw_only=True)
class Caps:
    """How much there is of everything."""

    outbound: int
    archives: int
    fleet: int
    room: float
    """bytes of all targets together"""


@dataclass(kw_only=True)
class Curve:
    """What one node costs as time passes: P(it fails within t), linear between its points and level after the last."""

    at: Floats
    p: Floats

    @classmethod
    def of(cls, points: Sequence[tuple[float, float]]) -> Curve:
        at, p = np.array(points).T
        return cls(at=at, p=p)

    def within(self, t: Floats) -> Floats:
        return np.interp(t, self.at, self.p)


@dataclass(kw_only=True)
class _Prices:
    """By step of the grid, a row a node; the fleet's is one row. None rises with time."""

    link: Floats
    slot: Floats
    archive: Floats
    fleet: Floats
    room: float = 0.0


@dataclass(kw_only=True)
class Market:
    """All vms of the nodes to empty, and what they compete for."""

    weight: Floats
    """of each vm"""
    node: NDArray[np.intp]
    """of each vm"""
    ways: Sequence[Way]
    """at least one a vm, in the vms' order"""
    curves: Sequence[Curve]
    caps: Caps
    steps: int = 100
    _grid: Floats = field(init=False)
    _heading: Floats | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._job = np.array([way.job for way in self.ways])
        self._on = np.array([way.node for way in self.ways])
        self._seconds = np.clip(np.array([way.seconds for way in self.ways]), 1e-3, _NEVER)
        self._alone, self._beside = self._seconds[:, 0], self._seconds[:, -1]
        self._streams = self._seconds.shape[1]
        self._sends = np.array([way.sends for way in self.ways])
        self._archive = np.array([way.archive for way in self.ways])
        self._held = np.array([way.bytes_held for way in self.ways], dtype=np.float64)
        self._rows = np.arange(len(self.ways))
        self._end = float(max(curve.at[-1] for curve in self.curves))
        self._stay = self.weight * np.array([curve.p[-1] for curve in self.curves])[self.node]
        longest = np.zeros(len(self.weight))
        np.maximum.at(longest, self._job, self._alone)
        by_node = np.bincount(self.node, weights=longest, minlength=len(self.curves))
        span = max(float(by_node.max()), float(longest.sum()) / self.caps.fleet)
        self._grid = min(span, self._end) * np.linspace(0.0, 1.0, self.steps + 1) ** _BEND
        self._step = np.diff(self._grid)

    def bound(self, *, reach: float, rounds: int) -> float:
        """A loss that nothing goes below. `reach`: the least loss known so far; the prices are looked for up to there."""
        nodes = len(self.curves)
        prices = _Prices(
            link=np.zeros((nodes, self.steps)), slot=np.zeros((nodes, self.steps)),
            archive=np.zeros((nodes, self.steps)), fleet=np.zeros((1, self.steps)),
        )  # fmt: skip
        best_prices, best, pace, stalled = prices, -np.inf, 1.0, 0
        ends, lost = self._ends()
        cells = {0: self._patterns(ends, self._alone), 1: self._patterns(ends, self._beside)}
        for _ in range(rounds):
            value, usage = self._answer(prices, ends, lost, cells)
            if value > best + 1e-6 * reach:
                best, best_prices, stalled = value, prices, 0
            else:
                stalled += 1
                if stalled >= _PATIENCE:
                    pace, stalled = pace * _SLOWER, 0
            if reach - best < 1e-4 * reach or pace < 1e-3:
                break
            stepped = self._stepped(prices, usage, pace * max(reach - value, 0.0))
            if stepped is None:
                break
            prices = stepped
        return max(self._exactly(best_prices), 0.0)

    # -- what every vm picks at given prices ----------------------------------------------------------------------------------

    def _ends(self) -> tuple[Floats, Floats]:
        """When a way could end, and what is lost by then; a row a way. Where nothing is on offer in between."""
        grid = np.broadcast_to(self._grid, (len(self.ways), self.steps + 1))
        ends = np.concatenate([grid, grid + self._alone[:, None], grid[:, ::2] + self._beside[:, None]], axis=1)
        ends = np.clip(ends, self._alone[:, None], np.maximum(self._end, self._alone)[:, None])
        return ends, self._lost(ends)

    def _lost(self, ends: Floats) -> Floats:
        lost = np.empty_like(ends)
        for number, curve in enumerate(self.curves):
            mine = self._on == number
            lost[mine] = curve.within(ends[mine]) * self.weight[self._job[mine]][:, None]
        return lost

    def _cell(self, at: Floats) -> tuple[NDArray[np.intp], Floats]:
        n = np.clip(np.searchsorted(self._grid, at, side="right") - 1, 0, self.steps - 1)
        return n, np.minimum(np.maximum(at - self._grid[n], 0.0), self._step[n])

    def _patterns(
        self, ends: Floats, seconds: Floats
    ) -> tuple[tuple[NDArray[np.intp], Floats], tuple[NDArray[np.intp], Floats], NDArray[np.bool_]]:
        begins = ends - seconds[:, None]
        return self._cell(ends), self._cell(begins), begins < -1e-9

    def _rates(self, prices: _Prices) -> tuple[Floats, Floats]:
        """(what a second of each way costs when it is alone on its link, what it costs beside others), a row a way."""
        slot = prices.slot[self._on] + prices.fleet + prices.archive[self._on] * self._archive[:, None]
        link = prices.link[self._on] * self._sends[:, None]
        return slot + link, slot + link / self._streams

    def _spent(
        self,
        rate: Floats,
        cells: tuple[tuple[NDArray[np.intp], Floats], tuple[NDArray[np.intp], Floats], NDArray[np.bool_]],
    ) -> Floats:
        total = np.concatenate([np.zeros((len(rate), 1)), np.cumsum(rate * self._step, axis=1)], axis=1)
        (end, over), (begin, into), too_soon = cells
        rows = self._rows[:, None]
        cost = total[rows, end] + rate[rows, end] * over - total[rows, begin] - rate[rows, begin] * into
        return np.where(too_soon, np.inf, cost)

    def _answer(
        self,
        prices: _Prices,
        ends: Floats,
        lost: Floats,
        cells: dict[int, tuple[tuple[NDArray[np.intp], Floats], tuple[NDArray[np.intp], Floats], NDArray[np.bool_]]],
    ) -> tuple[float, _Prices]:
        """What it all comes to, about, and how much more of everything was asked for than there is."""
        alone, beside = self._rates(prices)
        by_pattern = [lost + self._spent(alone, cells[0]), lost + self._spent(beside, cells[1])]
        found = [cost.argmin(axis=1) for cost in by_pattern]
        values = [cost[self._rows, n] for cost, n in zip(by_pattern, found, strict=True)]
        shared = values[1] < values[0]
        value = np.where(shared, values[1], values[0]) + prices.room * self._held
        pick, stays = self._picked(value)
        chosen = pick[~stays]
        end = ends[chosen, np.where(shared, found[1], found[0])[chosen]]
        begin = end - np.where(shared, self._beside, self._alone)[chosen]
        used = np.maximum(np.minimum(end[:, None], self._grid[1:]) - np.maximum(begin[:, None], self._grid[:-1]), 0.0)
        caps, nodes, on = self.caps, len(self.curves), self._on[chosen]
        usage = _Prices(
            link=np.zeros((nodes, self.steps)) - self._step,
            slot=np.zeros((nodes, self.steps)) - caps.outbound * self._step,
            archive=np.zeros((nodes, self.steps)) - caps.archives * self._step,
            fleet=used.sum(axis=0)[None, :] - caps.fleet * self._step,
            room=float(self._held[chosen].sum() - caps.room),
        )
        np.add.at(usage.slot, on, used)
        np.add.at(usage.archive, on, used * self._archive[chosen][:, None])
        share = np.where(shared, 1.0 / self._streams, 1.0) * self._sends
        np.add.at(usage.link, on, used * share[chosen][:, None])
        return self._total(value, pick, stays, prices), usage

    def _picked(self, value: Floats) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """The cheapest way of each vm, and whether staying is cheaper still."""
        order = np.lexsort((value, self._job))
        first = np.concatenate(([True], np.diff(self._job[order]) > 0))
        pick = order[first]
        return pick, self._stay < value[pick]

    def _total(self, value: Floats, pick: NDArray[np.intp], stays: NDArray[np.bool_], prices: _Prices) -> float:
        caps = self.caps
        offered = (
            (prices.link * self._step).sum()
            + caps.outbound * (prices.slot * self._step).sum()
            + caps.archives * (prices.archive * self._step).sum()
            + caps.fleet * (prices.fleet * self._step).sum()
            + prices.room * caps.room
        )
        return float(np.where(stays, self._stay, value[pick]).sum() - offered)

    def _stepped(self, prices: _Prices, usage: _Prices, length: float) -> _Prices | None:
        """Dearer where too much was asked for, cheaper where too little; None where nothing is to change.

        What is stepped is how far each price falls from one step to the next, so that none ever rises.
        """
        scale = max(self.caps.room, 1.0) / max(float(self._grid[-1]), 1e-9)  # a byte is much smaller than a second
        falls: list[Floats] = []
        slopes: list[Floats] = []
        norm = 0.0
        for name in ("link", "slot", "archive", "fleet"):
            price, used = getattr(prices, name), getattr(usage, name)
            fall = price - np.concatenate([price[:, 1:], np.zeros((len(price), 1))], axis=1)
            slope = np.cumsum(used, axis=1)
            slope = np.where((fall <= 0) & (slope < 0), 0.0, slope)
            norm += float((slope**2).sum())
            falls.append(fall)
            slopes.append(slope)
        room_slope = usage.room / scale
        if prices.room <= 0 and room_slope < 0:
            room_slope = 0.0
        norm += room_slope**2
        if norm <= 0:
            return None
        flat: Floats = np.concatenate([*(one.ravel() for one in slopes), [room_slope]])
        if self._heading is not None and (turn := float(flat @ self._heading)) < 0:
            flat = flat - _TURN * turn / float(self._heading @ self._heading) * self._heading
            norm = float(flat @ flat)
        self._heading = flat
        at = 0
        for n, one in enumerate(slopes):
            slopes[n] = flat[at : at + one.size].reshape(one.shape)
            at += one.size
        room_slope = float(flat[-1])
        changed = [
            np.cumsum(np.maximum(fall + length / norm * slope, 0.0)[:, ::-1], axis=1)[:, ::-1]
            for fall, slope in zip(falls, slopes, strict=True)
        ]
        room = max(prices.room + length / norm * room_slope / scale, 0.0)
        return _Prices(link=changed[0], slot=changed[1], archive=changed[2], fleet=changed[3], room=room)

    # -- the bound itself -----------------------------------------------------------------------------------------------------

    def _exactly(self, prices: _Prices) -> float:
        """The bound at these prices, rounded down wherever it is not exact.

        What a way pays never grows with its end, what is lost never falls: between two ends it costs at least the loss at the
        earlier and the price at the later.
        """
        points = np.interp(np.linspace(0.0, self.steps, self.steps * _FINE + 1), np.arange(self.steps + 1), self._grid)
        ends = np.unique(np.concatenate([points, *(curve.at for curve in self.curves)]))
        ends = np.clip(ends[None, :], self._alone[:, None], np.maximum(self._end, self._alone)[:, None])
        ends = np.concatenate(
            [ends, np.broadcast_to(np.maximum(self._end, self._alone)[:, None], (len(ends), 1))], axis=1
        )
        paid, lost = self._least_paid(prices, ends), self._lost(ends)
        lost[:, 1:] = np.where(ends[:, 1:] > ends[:, :-1], lost[:, :-1], lost[:, 1:])
        value = (lost + paid).min(axis=1) + prices.room * self._held
        pick, stays = self._picked(value)
        return self._total(value, pick, stays, prices)

    def _least_paid(self, prices: _Prices, ends: Floats) -> Floats:
        """The least a way can pay that ends at `ends`, in any mixture of being alone on its link and beside others.

        With `z` seconds alone, best at the end where the link is cheapest, it lasts beside − z × (beside/alone − 1). What it pays
        is convex in z, so that halving finds the least, and the slope there tells how far off it may still be.
        """
        alone, beside = self._rates(prices)
        if self._streams > 2:  # of more speeds than two: the cheapest at each moment, and the shortest time
            slot, link = (
                beside - (alone - beside) / (self._streams - 1),
                (alone - beside) * self._streams / (self._streams - 1),
            )
            rates = [
                (self._seconds[:, n - 1] / self._alone)[:, None] * (slot + link / n)
                for n in range(1, self._streams + 1)
            ]
            return self._spent(np.min(rates, axis=0), self._patterns(ends, self._alone))
        extra = alone - beside
        sums = [
            np.concatenate([np.zeros((len(rate), 1)), np.cumsum(rate * self._step, axis=1)], axis=1)
            for rate in (beside, extra)
        ]
        rows = self._rows[:, None]

        def until(which: int, at: Floats) -> tuple[Floats, Floats]:
            n, into = self._cell(at)
            rate = (beside, extra)[which][rows, n] * (at < self._grid[-1])
            return sums[which][rows, n] + (beside, extra)[which][rows, n] * into, rate

        growth = (self._beside / self._alone - 1.0)[:, None]
        low = np.where(growth > 1e-9, (self._beside[:, None] - ends) / np.maximum(growth, 1e-9), 0.0)
        low = np.clip(low, 0.0, self._alone[:, None])
        high = np.where(growth > 1e-9, self._alone[:, None], 0.0) + 0.0 * low
        total_beside, _ = until(0, ends)
        total_extra, _ = until(1, ends)

        def at(z: Floats) -> tuple[Floats, Floats]:
            before, rate = until(0, ends - (self._beside[:, None] - z * growth))
            extra_before, extra_rate = until(1, ends - z)
            return total_beside - before + total_extra - extra_before, extra_rate - growth * rate

        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            _, slope = at(middle)
            low, high = np.where(slope < 0, middle, low), np.where(slope < 0, high, middle)
        paid_low, slope_low = at(low)
        paid_high, _ = at(high)
        # Convex: between the two it lies nowhere below the line from the left one along its slope.
        least = paid_low + np.minimum(slope_low, 0.0) * (high - low)
        return np.maximum(np.minimum(least, np.minimum(paid_low, paid_high)), 0.0)
