"""What a dataset's telemetry says about itself: a counter that starts again, a signal that comes in another unit. Pure.

Both are told and nothing is changed: whether a jump stays can't be known at the moment of the jump, and a score may not depend on
what came after it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.forecast.data.damage_counters import is_damage
from models.forecast.limits.units import FACTORS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_STEADY, _AFTER = 1.2, 5
"""How far three readings may lie apart to be a level, and how many have to follow a change of unit."""
_RISES, _FALLS = 20, 0.05
"""A signal that rose this often, and fell in at most this share of its changes, is a counter."""


def counter_resets(unit: Ints, column: Floats) -> Ints:
    """The rows in which a signal that otherwise only grows fell. Rows are sorted by unit, then time."""
    known = np.flatnonzero(np.isfinite(column))
    moved = np.diff(column[known])
    within = np.diff(unit[known]) == 0
    falls, rises = np.flatnonzero(within & (moved < 0)), int(np.count_nonzero(within & (moved > 0)))
    if rises < _RISES or falls.size > _FALLS * (rises + falls.size):
        return np.zeros(0, np.int64)
    return known[falls + 1]


def changes_of_unit(unit: Ints, column: Floats) -> Ints:
    """The rows from which on a unit's level reads 1000 ×, 60 × … what three rows before them agreed on, to its last row."""
    known = np.flatnonzero(np.isfinite(column))
    value, owner = column[known], unit[known]
    found: list[int] = []
    if value.size < 4:
        return np.zeros(0, np.int64)
    before = np.stack((value[:-3], value[1:-2], value[2:-1]))
    usual = np.median(before, axis=0)
    steady = (owner[3:] == owner[:-3]) & (before.min(axis=0) > 0) & (before.max(axis=0) <= _STEADY * before.min(axis=0))
    ratio = np.divide(value[3:], usual, out=np.zeros(usual.size), where=steady)
    for at in np.flatnonzero((ratio > 0) & ((ratio < 0.01) | (ratio > 10.0))):
        end = int(np.searchsorted(owner, owner[at], side="right"))
        if end - at - 3 < _AFTER or not 0.5 < value[at + 3 + _AFTER // 2] / value[at + 3] < 2.0:
            continue  # it was one reading
        rest = value[int(at) + 3 : end] / usual[at]
        level = float(np.median(rest))
        near = min(abs(level / factor - 1.0) for factor in FACTORS) <= 0.2
        if near and rest.min() > 0 and rest.max() <= 2.0 * level and rest.min() >= 0.5 * level:
            found.append(int(known[at + 3]))
    return np.array(found, dtype=np.int64)


def examine(unit: Ints, when: pl.Series, names: pl.Series, signals: Sequence[str], values: Floats) -> list[str]:
    """One line for each signal that is odd; `when` of each row, `names` of the units.

    Counts of damage may well grow a thousandfold: they change no unit.
    """

    def first(rows: Ints) -> str:
        return f"first: unit {names[int(unit[rows[0]])]} at {when[int(rows[0])]}"

    notes: list[str] = []
    for place, signal in enumerate(signals):
        column = values[:, place]
        changed = np.zeros(0, np.int64) if is_damage(signal) else changes_of_unit(unit, column)
        if changed.size:
            notes.append(
                f"telemetry.parquet: {signal} reads {column[changed[0]]:g} after {column[changed[0] - 1]:g} and stays so, as if "
                f"in another unit, in {np.unique(unit[changed]).size} units ({first(changed)}); believe no score after that"
            )
        resets = counter_resets(unit, column)
        if resets.size:
            notes.append(
                f"telemetry.parquet: {signal}, which otherwise only grows, fell in {resets.size} rows of "
                f"{np.unique(unit[resets]).size} units ({first(resets)}): a reset, or another part; it counts on from there"
            )
    return notes
