"""Randomness that can be asked about any moment, in any order, and always answers the same. Pure.

A generator that must be run from the start could not join a backfilled history to live readings, nor be asked for one
second of one node out of a thousand node-days. Here every draw is a hash of (key, index), after SplitMix64 (Steele, Lea
and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@lru_cache(maxsize=1 << 16)
def key(*parts: object) -> int:
    """A 64-bit key for whatever these name; the same in every process and release of Python."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def uniform(key_: int, index: NDArray[np.int64]) -> Floats:
    """One draw from [0, 1) for each index."""
    return _mix(np.uint64(key_) + index.astype(np.uint64) * _STEP)


_STEP, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_27, _30, _31, _11 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(11)
_THREE = np.array([[0], [0x5851F42D4C957F2D], [0x14057B7EF767814F]], dtype=np.uint64)


def _mix(z: NDArray[np.uint64]) -> Floats:
    z = (z ^ (z >> _30)) * _FIRST
    z = (z ^ (z >> _27)) * _SECOND
    return ((z ^ (z >> _31)) >> _11).astype(np.float64) * 2.0**-53


@lru_cache(maxsize=1 << 16)
def once(key_: int) -> float:
    """The one draw from [0, 1) of this key."""
    return float(uniform(key_, np.zeros(1, dtype=np.int64))[0])


def bell(key_: int, index: NDArray[np.int64]) -> Floats:
    """Mean 0, standard deviation 1, never beyond ±3 (the sum of three uniforms): near enough to a normal, but with
    a guarantee that healthy hardware stays healthy."""
    draws = _mix((np.uint64(key_) ^ _THREE) + index.astype(np.uint64) * _STEP)
    return (draws.sum(axis=0) - 1.5) * 2.0


def spread(key_: int, index: NDArray[np.int64]) -> Floats:
    """One number from [0, 1) for each index, which fill it evenly: among any n neighbours the count below p is within a few
    of n·p, where that of independent draws strays by √n. For what a course promises to happen more and more often.

    Multiples of the golden ratio, the most even of such sequences (Niederreiter, "Random Number Generation and Quasi-Monte
    Carlo Methods", 1992, section 3.1)."""
    return np.mod(once(key_) + (index % _PERIOD) * _GOLDEN, 1.0)


_GOLDEN = (5.0**0.5 - 1.0) / 2.0
_PERIOD = 1 << 30
"""keeps the products small enough for a float's fraction; four seconds a step, it repeats after a century"""


def white(key_: int, t: Floats, every: float = 1.0) -> Floats:
    """A new independent `bell` draw every `every` seconds."""
    return bell(key_, np.floor(t / every).astype(np.int64))


def wander(key_: int, t: Floats, period: float) -> Floats:
    """A smooth wander: `bell` draws `period` seconds apart, joined by cubic ease curves. Stays within ±3."""
    position = t / period
    index = np.floor(position).astype(np.int64)
    part = position - index
    ease = part * part * (3.0 - 2.0 * part)
    return bell(key_, index) * (1.0 - ease) + bell(key_, index + 1) * ease


def arrivals(key_: int, expected: Floats) -> Floats:
    """How many events of a Poisson process have happened when `expected` were expected by now.

    `expected` is the process's cumulative intensity; where it grows the count grows, and never falls."""
    most = float(np.max(expected, initial=0.0))
    if most <= 0.0:
        return np.zeros_like(expected)
    draws = int(most + 6.0 * np.sqrt(most) + 16.0)
    gaps = -np.log1p(-uniform(key_, np.arange(draws, dtype=np.int64)))
    return np.searchsorted(np.cumsum(gaps), expected, side="left").astype(np.float64)
