"""Looking things up as of a moment: the last row of a unit at or before a time."""

from __future__ import annotations

import numpy as np

from models.forecast.data.dataset import DAY, MICROSECONDS, Floats, Ints


def span_name(microseconds: int) -> str:
    """A duration as it stands in feature names: 30d, 6h, 5m."""

    seconds = microseconds // MICROSECONDS
    for size, letter in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size and (seconds % size == 0 or seconds >= 3 * size):
            return f"{seconds / size:.3g}{letter}"
    return f"{seconds}s"


class Index:
    """Finds, for (unit, time) pairs, the last row at or before that time among rows sorted by unit, then time."""

    def __init__(self, unit: Ints, time: Ints, units: int) -> None:
        self._times = np.unique(time)
        self._width = self._times.size + 1
        self._keys = unit * self._width + np.searchsorted(self._times, time) + 1
        self.start = np.searchsorted(unit, np.arange(units + 1))

    def at(self, unit: Ints, time: Ints) -> Ints:
        """Row positions; one before the unit's first row (`start[unit] - 1`) when it has none yet."""
        keys = unit * self._width + np.searchsorted(self._times, time, side="right")
        return np.searchsorted(self._keys, keys, side="right") - 1


def days(microseconds: Ints) -> Floats:
    return microseconds / DAY
