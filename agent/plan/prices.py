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
    """What a second of each thing costs; also how much more of it was asked for than there is.

    Rows: each node's link, each node's streams, each node's archives, and the fleet's actions. Columns: the steps of the grid,
    and for prices a last one of zeros, for what comes after it. No price rises with time.
    """

    rows: Floats
    room: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """Moments, by the step of the grid they lie in: its place among all rates laid flat, and the seconds into it."""

    place: NDArray[np.intp]
    into: Floats


@dataclass(frozen=True, kw_only=True)
class _Offers:
    """When each way could begin and end, [alone on its link or beside others, way, one of several ends]."""

    ends: Floats
    """seconds, [way, end]"""
    lost: Floats
    """by then; infinite where it would have to begin before now"""
    end: _Cells
    begin: _Cells


@dataclass(kw_only=True)
class Market:
    """All vms of the nodes to empty, and what they compete for."""

    weight: Floats
    """of each vm, node by node"""
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
        nodes = len(self.curves)
        self._job = np.array([way.job for way in self.ways])
        self._first = np.flatnonzero(np.diff(self._job, prepend=-1))
        self._on = np.array([way.node for way in self.ways])
        self._seconds = np.clip(np.array([way.seconds for way in self.ways]), 1e-3, _NEVER)
        self._alone, self._beside = self._seconds[:, 0], self._seconds[:, -1]
        self._pace = np.stack([self._alone, self._beside])
        self._streams = self._seconds.shape[1]
        self._sends = np.array([way.sends for way in self.ways], dtype=np.float64)
        self._archive = np.array([way.archive for way in self.ways], dtype=np.float64)
        self._held = np.array([way.bytes_held for way in self.ways], dtype=np.float64)
        self._end = float(max(curve.at[-1] for curve in self.curves))
        self._stay = self.weight * np.array([curve.p[-1] for curve in self.curves])[self.node]
        longest = np.zeros(len(self.weight))
        np.maximum.at(longest, self._job, self._alone)
        by_node = np.bincount(self.node, weights=longest, minlength=nodes)
        span = max(float(by_node.max()), float(longest.sum()) / self.caps.fleet)
        self._grid = min(span, self._end) * np.linspace(0.0, 1.0, self.steps + 1) ** _BEND
        self._step = np.diff(self._grid)
        most = np.repeat([1.0, self.caps.outbound, self.caps.archives, self.caps.fleet], [nodes, nodes, nodes, 1])
        self._offered = most[:, None] * self._step
        self._link_share = np.stack([self._sends, self._sends / self._streams])
        shares = [np.stack([link, np.ones_like(link), self._archive], axis=-1) for link in self._link_share]
        self._shares = np.stack(shares)  # [alone or beside, way, of a link or of streams or of archives]
        self._prices_of = np.arange(3)[:, None] * nodes + self._on
        self._each_row = np.arange(2 * len(self.ways))
        self._node_first = np.flatnonzero(np.diff(self.node, prepend=-1))

    def bound(self, *, reach: float, rounds: int) -> float:
        """A loss that nothing goes below. `reach`: the least loss known so far; the prices are looked for up to there."""
        prices = _Prices(rows=np.zeros((len(self._offered), self.steps + 1)))
        best_prices, best, pace, stalled = prices, -np.inf, 1.0, 0
        offers = self._offers()
        for _ in range(rounds):
            value, usage = self._answer(prices, offers)
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

    def _offers(self) -> _Offers:
        """Ends a grid apart, from now and from where a way is as long; where nothing is on offer in between."""
        grid = np.broadcast_to(self._grid, (len(self.ways), self.steps + 1))
        ends = np.concatenate([grid, grid + self._alone[:, None], grid[:, ::2] + self._beside[:, None]], axis=1)
        ends = np.clip(ends, self._alone[:, None], np.maximum(self._end, self._alone)[:, None])
        begins = ends - self._pace[:, :, None]
        return _Offers(
            ends=ends,
            lost=np.where(begins < -1e-9, np.inf, self._lost(ends)),
            end=self._cells(np.broadcast_to(ends, begins.shape)),
            begin=self._cells(begins),
        )

    def _lost(self, ends: Floats) -> Floats:
        lost = np.empty_like(ends)
        for number, curve in enumerate(self.curves):
            mine = self._on == number
            lost[mine] = curve.within(ends[mine]) * self.weight[self._job[mine]][:, None]
        return lost

    def _cells(self, at: Floats) -> _Cells:
        """Of moments [.., way, any]; rates are laid flat with a row of `steps` + 1 for each of [.., way]."""
        n = np.maximum(np.searchsorted(self._grid, at, side="right") - 1, 0)
        into = np.maximum(at - self._grid[n], 0.0)
        row = np.arange(at.size // at.shape[-1]).reshape(*at.shape[:-1], 1)
        return _Cells(place=n + row * (self.steps + 1), into=into)

    def _rates(self, prices: _Prices) -> Floats:
        """What a second of each way costs, [alone on its link or beside others, way, step]."""
        link, slot, archive = prices.rows.take(self._prices_of, axis=0)
        return slot + prices.rows[-1] + archive * self._archive[:, None] + link * self._link_share[:, :, None]

    def _sums(self, rates: Floats) -> Floats:
        """What each way has cost by the beginning of each step, had it run since now."""
        sums = np.zeros_like(rates)
        np.cumsum(rates[..., :-1] * self._step, axis=-1, out=sums[..., 1:])
        return sums

    def _spent(self, rates: Floats, end: _Cells, begin: _Cells) -> Floats:
        sums = self._sums(rates)
        paid = sums.take(end.place) + rates.take(end.place) * end.into
        return paid - sums.take(begin.place) - rates.take(begin.place) * begin.into

    def _answer(self, prices: _Prices, offers: _Offers) -> tuple[float, _Prices]:
        """What it all comes to, about, and how much more of everything was asked for than there is."""
        cost = self._spent(self._rates(prices), offers.end, offers.begin) + offers.lost
        cost = cost.reshape(len(self._each_row), -1)
        nth = cost.argmin(axis=1)
        least, found = cost[self._each_row, nth].reshape(self._pace.shape), nth.reshape(self._pace.shape)
        value = least.min(axis=0) + prices.room * self._held
        pick, stays = self._picked(value)
        how = (least[1] < least[0])[pick].astype(np.intp)
        end = offers.ends[pick, found[how, pick]][:, None]
        begin = end - self._pace[how, pick][:, None]
        used = np.maximum(np.minimum(end, self._grid[1:]) - np.maximum(begin, self._grid[:-1]), 0.0)
        used[stays] = 0.0
        by_vm = self._shares[how, pick].T[:, :, None] * used
        by_node = np.add.reduceat(by_vm, self._node_first, axis=1)
        rows = -self._offered
        rows[:-1].reshape(3, -1, self.steps)[:, self.node[self._node_first]] += by_node
        rows[-1] += by_node[1].sum(axis=0)
        room = float(self._held[pick][~stays].sum()) - self.caps.room
        return self._total(value, pick, stays, prices), _Prices(rows=rows, room=room)

    def _picked(self, value: Floats) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """The cheapest way of each vm, the first of several, and whether staying is cheaper still."""
        least = np.minimum.reduceat(value, self._first)
        cheapest = (value == least[self._job]).nonzero()[0][::-1]
        pick = np.empty(len(least), dtype=np.intp)
        pick[self._job[cheapest]] = cheapest
        return pick, self._stay < least

    def _total(self, value: Floats, pick: NDArray[np.intp], stays: NDArray[np.bool_], prices: _Prices) -> float:
        offered = float((prices.rows[:, :-1] * self._offered).sum()) + prices.room * self.caps.room
        return float(np.where(stays, self._stay, value[pick]).sum()) - offered

    def _stepped(self, prices: _Prices, usage: _Prices, length: float) -> _Prices | None:
        """Dearer where too much was asked for, cheaper where too little; None where nothing is to change.

        What is stepped is how far each price falls from one step to the next, so that none ever rises.
        """
        scale = max(self.caps.room, 1.0) / max(float(self._grid[-1]), 1e-9)  # a byte is much smaller than a second
        fall = prices.rows[:, :-1] - prices.rows[:, 1:]
        slope = np.cumsum(usage.rows, axis=1)
        slope[(fall <= 0) & (slope < 0)] = 0.0
        room_slope = 0.0 if prices.room <= 0 and usage.room < 0 else usage.room / scale
        heading = np.empty(slope.size + 1)
        heading[:-1], heading[-1] = slope.ravel(), room_slope
        norm = float(heading @ heading)
        if norm <= 0:
            return None
        if self._heading is not None and (turn := float(heading @ self._heading)) < 0:
            heading -= _TURN * turn / float(self._heading @ self._heading) * self._heading
            norm = float(heading @ heading)
        self._heading = heading
        fall += length / norm * heading[:-1].reshape(fall.shape)
        rows = np.zeros_like(prices.rows)
        np.cumsum(np.maximum(fall, 0.0)[:, ::-1], axis=1, out=rows[:, -2::-1])
        return _Prices(rows=rows, room=max(prices.room + length / norm * float(heading[-1]) / scale, 0.0))

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
        extra = alone - beside
        if self._streams > 2:  # of more speeds than two: the cheapest at each moment, and the shortest time
            slot, link = beside - extra / (self._streams - 1), extra * self._streams / (self._streams - 1)
            rates = [
                (self._seconds[:, n - 1] / self._alone)[:, None] * (slot + link / n)
                for n in range(1, self._streams + 1)
            ]
            start = ends - self._alone[:, None]
            cost = self._spent(np.min(rates, axis=0), self._cells(ends), self._cells(start))
            return np.where(start < -1e-9, np.inf, cost)
        of_beside, of_extra = self._sums(beside), self._sums(extra)
        growth = (self._beside / self._alone - 1.0)[:, None]
        low = np.where(growth > 1e-9, (self._beside[:, None] - ends) / np.maximum(growth, 1e-9), 0.0)
        low = np.clip(low, 0.0, self._alone[:, None])
        high = np.where(growth > 1e-9, self._alone[:, None], 0.0) + 0.0 * low

        def until(sums: Floats, rate: Floats, cells: _Cells) -> Floats:
            return sums.take(cells.place) + rate.take(cells.place) * cells.into

        def begins(z: Floats) -> tuple[_Cells, _Cells]:
            """Its own begin, and where it begins to be alone."""
            return self._cells(ends - self._beside[:, None] + z * growth), self._cells(ends - z)

        def slope(own: _Cells, single: _Cells) -> Floats:
            return extra.take(single.place) - growth * beside.take(own.place)

        def paid(own: _Cells, single: _Cells) -> Floats:
            return in_all - until(of_beside, beside, own) - until(of_extra, extra, single)

        over = self._cells(ends)
        in_all = until(of_beside, beside, over) + until(of_extra, extra, over)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            rising = slope(*begins(middle)) < 0
            low, high = np.where(rising, middle, low), np.where(rising, high, middle)
        left = begins(low)
        paid_low, paid_high = paid(*left), paid(*begins(high))
        # Convex: between the two it lies nowhere below the line from the left one along its slope.
        least = paid_low + np.minimum(slope(*left), 0.0) * (high - low)
        return np.maximum(np.minimum(least, np.minimum(paid_low, paid_high)), 0.0)
