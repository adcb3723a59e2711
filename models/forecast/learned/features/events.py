"""Features of log events: counts, time since, rhythm; how often a unit's group and fleet have them; and the unit's own
rate pulled towards its group's.

That last one is the empirical Bayes estimate for a unit whose rate differs from its group's by a gamma-distributed
frailty of its own (shape 1): (events + 1) / (time + 1 / the group's rate). A new unit has its group's rate, an old one its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.forecast.data.as_of import Index, days, span_name
from models.forecast.data.dataset import DAY, FOREVER, Events, Floats, Ints

Bools = NDArray[np.bool_]

YEAR = 365.0
"""Days: rates of events are per unit and year."""
LEAST_RATE = 0.05
"""A group without events in the window is taken to have one a unit in twenty years, not none for ever."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Units that share a static category: each unit's group, how many units a group has and since when."""

    name: str
    codes: Ints
    index: Index
    size: Floats
    since: Ints
    time: Ints


class EventFeatures:
    """Lookups over `events` (None: there were none). groups: name to each unit's group number."""

    def __init__(
        self,
        events: Events | None,
        units: int,
        kinds: Sequence[str],
        components: Sequence[str],
        groups: Mapping[str, Ints],
        windows: Sequence[int],
        observed_from: Ints,
    ) -> None:
        self._windows = tuple(windows)
        self._observed_from = observed_from
        self._events: list[tuple[str, Index, Ints]] = []
        self._group_events: list[_Group] = []
        if not kinds and not components:
            return
        if events is None:
            empty = np.zeros(0, np.int64)
            events = Events(empty, empty, empty, ())
        columns: list[tuple[str, Bools]] = [("events", np.ones(events.time.size, bool))]
        labels = np.array(events.kinds, dtype=object)
        component = np.array([kind.split(":")[0] for kind in events.kinds], dtype=object)
        for name in components:
            columns.append((name, np.isin(events.kind, np.flatnonzero(component == name))))
        for name in kinds:
            columns.append((name, np.isin(events.kind, np.flatnonzero(labels == name))))
        for name, rows in columns:
            self._events.append((name, Index(events.unit[rows], events.time[rows], units), events.time[rows]))
        fleet = np.zeros(units, np.int64)
        for group, codes in {"fleet": fleet, **groups}.items():
            order = np.lexsort((events.time, codes[events.unit]))
            owner, time = codes[events.unit][order], events.time[order]
            size = np.bincount(codes, minlength=int(codes.max()) + 1).astype(float)
            since = np.full(size.size, FOREVER, np.int64)
            np.minimum.at(since, codes, np.maximum(observed_from, -FOREVER))
            self._group_events.append(_Group(group, codes, Index(owner, time, size.size), size, since, time))

    @property
    def names(self) -> list[str]:
        """What `columns` returns, in order."""
        spans = [span_name(w) for w in self._windows]
        names: list[str] = []
        for name, _, _ in self._events:
            names += [f"{name}.since", f"{name}.total", *(f"{name}.count_{w}" for w in spans)]
        if self._events:
            names += ["events.gap_last", "events.decayed_short", "events.decayed_long"]
        for group in self._group_events:
            names += [f"{group.name}.since", *(f"{group.name}.rate_{w}" for w in spans)]
            names += [f"events.rate_in_{group.name}", *(f"events.rate_in_{group.name}_{w}" for w in self._memories())]
        return names

    def columns(self, unit: Ints, time: Ints) -> list[NDArray[np.generic]]:
        columns: list[NDArray[np.generic]] = []
        windows = self._windows
        for name, index, at in self._events:
            row, start = index.at(unit, time), index.start[unit]
            none = row < start
            last = at[np.maximum(row, 0)] if at.size else np.zeros(unit.size, np.int64)
            columns += [np.where(none, np.nan, days(time - last)), row - start + 1]
            columns += [row - np.maximum(index.at(unit, time - w), start - 1) for w in windows]
            if name == "events":
                rhythm, total = self._rhythm(at, time, row, start), (row - start + 1).astype(float)
        if not self._events:
            return columns
        columns += rhythm  # pyright: ignore[reportPossiblyUnboundVariable]
        watched = np.maximum(days(time - self._observed_from[unit]), 1e-3)
        own = [(total, watched)]  # pyright: ignore[reportPossiblyUnboundVariable]
        for window, faded in zip(self._fading(), rhythm[1:], strict=True):  # pyright: ignore[reportPossiblyUnboundVariable]
            memory = window / DAY
            own.append((faded, memory * -np.expm1(-watched / memory)))
        for group in self._group_events:
            owner = group.codes[unit]
            row, start = group.index.at(owner, time), group.index.start[owner]
            none = row < start
            last = group.time[np.maximum(row, 0)] if group.time.size else np.zeros(unit.size, np.int64)
            columns.append(np.where(none, np.nan, days(time - last)))
            rates: list[Floats] = []
            for w in windows:
                count = row - np.maximum(group.index.at(owner, time - w), start - 1)
                lasted = np.clip(days(time - group.since[owner]), 1.0, w / DAY)
                rates.append(count / group.size[owner] / lasted * YEAR)
            columns += rates
            prior = np.maximum(rates[-2], LEAST_RATE)
            columns += [(count + 1.0) / (lasted / YEAR + 1.0 / prior) for count, lasted in own]
        return columns

    def _fading(self) -> tuple[int, ...]:
        """The memories of the fading counts: 3 and 12 horizons."""
        return self._windows[-3:-1]

    def _memories(self) -> list[str]:
        return [span_name(w) for w in self._fading()]

    def _rhythm(self, at: Ints, time: Ints, row: Ints, start: Ints) -> list[NDArray[np.generic]]:
        """The last gap between events, and counts that fade with a memory of 3 and 12 horizons."""

        gap = np.full(time.size, np.nan)
        two = row - 1 >= start
        if two.any():
            gap[two] = days(at[row[two]] - at[row[two] - 1])
        faded: list[NDArray[np.generic]] = []
        for window in self._fading():
            total = np.zeros(time.size)
            for back in range(30):
                place = row - back
                there = place >= start
                if not there.any():
                    break
                age = (time[there] - at[place[there]]) / window
                total[there] += np.exp(-age)
            faded.append(total)
        return [gap, *faded]
