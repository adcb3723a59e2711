"""Features of log events: counts, time since, rhythm; and how often a unit's group and fleet have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.forecast.asof import Index, days, span_name
from models.forecast.dataset import DAY, Events, Floats, Ints

Bools = NDArray[np.bool_]


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
    ) -> None:
        self._windows = tuple(windows)
        self._events: list[tuple[str, Index, Ints]] = []
        self._group_events: list[tuple[str, Ints, Index, Floats, Ints]] = []
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
            self._group_events.append((group, codes, Index(owner, time, size.size), size, time))

    @property
    def names(self) -> list[str]:
        """What `columns` returns, in order."""
        spans = [span_name(w) for w in self._windows]
        names: list[str] = []
        for name, _, _ in self._events:
            names += [f"{name}.since", f"{name}.total", *(f"{name}.count_{w}" for w in spans)]
        if self._events:
            names += ["events.gap_last", "events.decayed_short", "events.decayed_long"]
        for group, *_ in self._group_events:
            names += [f"{group}.since", *(f"{group}.rate_{w}" for w in spans)]
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
                columns_after = self._rhythm(at, time, row, start)
        if self._events:
            columns += columns_after  # pyright: ignore[reportPossiblyUnboundVariable]
        for _, codes, index, size, at in self._group_events:
            owner = codes[unit]
            row, start = index.at(owner, time), index.start[owner]
            none = row < start
            last = at[np.maximum(row, 0)] if at.size else np.zeros(unit.size, np.int64)
            columns.append(np.where(none, np.nan, days(time - last)))
            for w in windows:
                count = row - np.maximum(index.at(owner, time - w), start - 1)
                columns.append(count / size[owner] / (w / DAY))
        return columns

    def _rhythm(self, at: Ints, time: Ints, row: Ints, start: Ints) -> list[NDArray[np.generic]]:
        """The last gap between events, and counts that fade with a memory of 3 and 12 horizons."""

        gap = np.full(time.size, np.nan)
        two = row - 1 >= start
        if two.any():
            gap[two] = days(at[row[two]] - at[row[two] - 1])
        faded: list[NDArray[np.generic]] = []
        for window in self._windows[-3:-1]:
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
