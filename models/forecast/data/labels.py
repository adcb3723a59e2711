"""Who was at risk when, and what came of it: 1 failed within the horizon, 0 did not, -1 nobody can know.

Unknown are pairs whose horizon ends after the unit left observation (removed, evacuated) or after the data ends: taking
them for healthy would teach the model that evacuated nodes never fail.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.forecast.data.as_of import Index
from models.forecast.data.dataset import FOREVER, Dataset, Ints, Spans

Outcomes = NDArray[np.int8]
UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Pairs:
    """Scoring moments: unit positions and times (microseconds), sorted by time, then unit."""

    unit: Ints
    time: Ints

    def __len__(self) -> int:
        return int(self.unit.size)

    def where(self, keep: NDArray[np.bool_] | Ints) -> Pairs:
        return Pairs(self.unit[keep], self.time[keep])


def at_risk(dataset: Dataset, times: Ints) -> Pairs:
    """Every unit under observation at each of `times`. The moment of leaving is no longer under observation."""

    units: list[Ints] = []
    for time in times:
        units.append(np.flatnonzero((dataset.observed_from <= time) & (time < dataset.observed_until)))
    sizes = [u.size for u in units]
    unit = np.concatenate(units) if units else np.zeros(0, np.int64)
    return Pairs(unit.astype(np.int64), np.repeat(np.asarray(times, np.int64), sizes))


def grid(start: int, until: int, every: int) -> Ints:
    """start, start + every, … up to and including `until` (microseconds)."""

    return np.arange(start, until + 1, every, dtype=np.int64)


def next_failure(dataset: Dataset, pairs: Pairs) -> Ints:
    """Time of the first failure after each pair's time, FOREVER where none is recorded."""

    failures = dataset.failures or Spans(*(np.zeros(0, np.int64),) * 3)
    if not failures.start.size:
        return np.full(len(pairs), FOREVER, np.int64)
    index = Index(failures.unit, failures.start, len(dataset.units))
    following = index.at(pairs.unit, pairs.time) + 1
    inside = following < index.start[pairs.unit + 1]
    return np.where(inside, failures.start[np.minimum(following, failures.start.size - 1)], FOREVER)


def outcomes(dataset: Dataset, pairs: Pairs, horizon: int, *, after: int = 0, known_until: int = FOREVER) -> Outcomes:
    """Whether each pair's unit failed in (time + after, time + horizon], judged with data up to `known_until`.

    With `after`, pairs whose unit failed before time + after are unknown: they were no longer at risk.
    """

    failed = next_failure(dataset, pairs)
    failed = np.where(failed <= known_until, failed, FOREVER)
    seen_until = np.minimum(dataset.observed_until[pairs.unit], known_until)
    result = np.full(len(pairs), UNKNOWN, np.int8)
    result[(pairs.time + horizon <= seen_until)] = 0
    inside = (failed > pairs.time) & (failed <= pairs.time + horizon)
    result[inside] = 1
    if after:
        result[(failed > pairs.time) & (failed <= pairs.time + after)] = UNKNOWN
    return result
