"""Risk: for one node, the probability that it fails within each horizon, and why (`risks.json`)."""

from __future__ import annotations

import re
from functools import cached_property
from itertools import pairwise

from pydantic import ConfigDict, Field, field_validator

from models.base import UtcTime, Value, parse_duration
from models.risk.witness import Witness

HORIZONS = ("30m", "2h", "24h", "7d")
"""The horizons lifeboat's own forecasts give. Files from elsewhere may carry others."""


class Driver(Value):
    """One signal's part in a risk."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    signal: str
    why: str
    """what a person reads: `PSU1 12 V: 11.52 V, falling 0.04 V/h, limit 11.40 V`"""

    @property
    def words(self) -> str:
        """`why` with the signal before it where it does not say what it is about: `psu 12v volts: falling`.

        Files from elsewhere often hold a bare word. Any part of the signal's name in `why` counts as naming it.
        """
        name = re.sub(r"[\s_]+", " ", self.signal).strip()
        why = self.why.strip()
        if not name or not why:
            return why or name
        parts = re.findall(r"[^\W_]{3,}", name.lower()) or [name.lower()]
        return why if any(part in why.lower() for part in parts) else f"{name}: {why}"


class Risk(Value):
    """P(the node fails within h), for several h."""

    # the curve's own check says which horizon is NaN
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, allow_inf_nan=True)

    node: str
    probability: dict[str, float] = Field(min_length=1)
    """horizon (`30m`, `2h`, …) → probability in [0, 1]; never falls as the horizon grows"""
    drivers: tuple[Driver, ...] = ()
    """strongest first"""
    data_age_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """age of the newest sample the risk stands on; None: no data at all, the risk is unknown"""
    model: str = ""
    """which model said so, and its version"""
    basis: str = ""
    """what the model stands on: documented limits, this fleet's own failures, …"""
    unknown: tuple[str, ...] = ()
    """signals that could not be read, each with why; unknown is never healthy"""
    misfit: str = ""
    """why the learned model behind it does not fit what it sees, or why nobody can tell; empty: it fits, or none is behind it"""
    grounded: dict[str, float] | None = None
    """the curve that documented limits alone give; None: not told, then a misfit leaves nothing to stand on"""
    witnesses: dict[Witness, dict[str, float]] | None = None
    """what each way by which word of a fault came says alone, as a curve like `probability`; learned models are none of them.
    None: not told"""
    assessed_at: UtcTime | None = None
    simulated: bool = False
    """True when the telemetry behind it was simulated"""

    @field_validator("witnesses")
    @classmethod
    def _are_curves(cls, witnesses: dict[Witness, dict[str, float]] | None) -> dict[Witness, dict[str, float]] | None:
        return None if witnesses is None else {one: _checked(curve) for one, curve in witnesses.items()}

    @field_validator("probability", "grounded")
    @classmethod
    def _is_curve(cls, probability: dict[str, float] | None) -> dict[str, float] | None:
        return None if probability is None else _checked(probability)

    @cached_property
    def curve(self) -> Curve:
        """(seconds, probability), ascending."""
        return _curve(self.probability)

    def within(self, seconds: float) -> float:
        """P(fails within `seconds`), read off the curve: linear from (0, 0), level after the last horizon."""
        return _read_off(self.curve, seconds)

    def witness_within(self, witness: Witness, seconds: float) -> float:
        """As `within`, by what this witness says alone."""
        return _read_off(_curve((self.witnesses or {}).get(witness, {})), seconds)

    def trusted_within(self, seconds: float) -> float:
        """As `within`, without the learned part where that does not fit: what documented limits alone say, 0 if untold."""
        return _read_off(_curve(self.grounded or {}), seconds) if self.misfit else self.within(seconds)


Curve = tuple[tuple[float, float], ...]


def _checked(probability: dict[str, float]) -> dict[str, float]:
    """The curve, ascending. Raises ValueError for what is none."""
    curve = sorted((parse_duration(h).total_seconds(), p, h) for h, p in probability.items())
    for at, p, horizon in curve:
        if at <= 0:
            raise ValueError(f"horizon {horizon} is not longer than nothing")
        if not 0.0 <= p <= 1.0:  # NaN fails this too
            raise ValueError(f"probability for {horizon} is {p}, expected 0 to 1")
    for (_, p, h), (_, q, k) in pairwise(curve):
        if q < p:
            raise ValueError(f"probability falls from {p} for {h} to {q} for {k}")
    return {h: p for _, p, h in curve}


def _curve(probability: dict[str, float]) -> Curve:
    return tuple((parse_duration(h).total_seconds(), p) for h, p in probability.items())


def _read_off(curve: Curve, seconds: float) -> float:
    before, low = 0.0, 0.0
    for at, p in curve:
        if seconds <= at:
            return low + (p - low) * max(0.0, seconds - before) / (at - before)
        before, low = at, p
    return low
