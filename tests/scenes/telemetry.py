"""Histories made by hand, seen at one moment the way an observation sees them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lab.hardware.replay import grid
from models.risk.signal import SignalHistory
from tools.signals import load_catalogue

Floats = NDArray[np.float64]
Course = Callable[[Floats], Floats]
"""From seconds since T0 to values."""

T0 = 1_764_000_000.0
SIGNALS = {signal.name: signal for signal in load_catalogue()}


def steady(level: float, *, spread: float = 0.0, step: float = 0.01, seed: int = 0) -> Course:
    """A healthy reading: white noise around a level, rounded to the sensor's step; the same at the same moment."""

    def course(t: Floats) -> Floats:
        mixed = (np.floor(t).astype(np.int64) * 2654435761 + seed * 97) % (1 << 32)
        draw = (np.sin(mixed.astype(np.float64)) * 43758.5453) % 1.0
        return np.round((level + spread * np.sqrt(12.0) * (draw - 0.5)) / step) * step

    return course


def changed(course: Course, change: Course, *, step: float = 0.01) -> Course:
    """The course with a change from T0 on: `change` gets the seconds since then."""

    def together(t: Floats) -> Floats:
        moved = np.where(t >= 0, change(np.maximum(t, 0.0)), 0.0)
        return np.round((course(t) + moved) / step) * step

    return together


def seen(name: str, course: Course, at: float, *, part: str = "part", node: str = "node-a", interval: float = 5.0,
         no_past: bool = False) -> SignalHistory:  # fmt: skip
    """What an observation holds `at` seconds after T0."""
    times = grid(T0 + at, interval=interval)
    if no_past:
        times = times[times >= T0 + at - 600.0]
    return SignalHistory(SIGNALS[name], node, part, times, np.asarray(course(times - T0), dtype=np.float64))
