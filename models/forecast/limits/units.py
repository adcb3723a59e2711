"""A part that reads its usual level in another unit: a new exporter or firmware, not a fault. Pure."""

from __future__ import annotations

import numpy as np

from models.forecast.limits.evidence import Floats, Past
from models.risk.signal import Signal, SignalKind

_UP = (1000.0, 1024.0, 100.0, 60.0, 1e6)
"""Units that give larger figures: milli, KiB, per cent, per second to per minute, micro."""
_DOWN = (1.0 / 1000.0, 1.0 / 1024.0)
"""Smaller ones. Only these: what falls to a hundredth may well have broken."""
FACTORS = (*_UP, *_DOWN)
_SAMPLES = 3
"""Newest samples that must all say so: one wild reading is no change of unit."""


def unit_change(signal: Signal, values: Floats, healthy: Past) -> str | None:
    """Why the newest readings look like another unit; None when they do not, or the part's past is too short to tell.

    Example: a rail that read 12.1 reads 12100. Levels only: counts and rates grow a thousandfold by themselves.
    """
    counted = signal.limits.relative or signal.kind is SignalKind.COUNTER or "/" in signal.unit
    if counted or not healthy.known or values.size < _SAMPLES or healthy.center <= 4.0 * healthy.spread:
        return None
    newest, usual = values[-_SAMPLES:], healthy.center
    near = min(0.2, 0.05 + 4.0 * healthy.spread / usual)
    last = float(newest[-1])
    for factor in FACTORS:
        if abs(last / (usual * factor) - 1.0) <= near and np.all(np.abs(newest / (usual * factor) - 1.0) <= near):
            return _told(newest, usual, f"{factor:g} × that" if factor > 1 else f"{1 / factor:g} times less")
    if signal.unit != "°C":
        return None
    fahrenheit = 1.8 * usual + 32.0
    is_fahrenheit = np.all(np.abs(newest - fahrenheit) <= 1.8 * max(2.0, 3.0 * healthy.spread))
    # In one jump, from one sample to the next: heat climbs, units do not.
    if is_fahrenheit and np.abs(np.diff(values)).max() > 0.6 * (fahrenheit - usual):
        return _told(newest, usual, "as if in °F")
    return None


def _told(newest: Floats, usual: float, how: str) -> str:
    return f"reads {newest[-1]:g}, usually {usual:g}: {how}, so another unit; fix its promql"
