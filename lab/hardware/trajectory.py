"""The course of a hardware fault: flutter, then errors, then death. Pure.

Nothing here knows about volts or sectors; `lab.hardware.physics` turns the progress into readings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from lab.hardware.noise import Floats
from models.errors import BadInput

FaultKind = Literal["psu", "fan", "dimm", "disk", "nic", "power"]
KINDS: tuple[FaultKind, ...] = get_args(FaultKind)

Phase = Literal["pending", "flutter", "errors", "dead", "cleared"]

TAKES_BMC: frozenset[FaultKind] = frozenset({"psu", "power"})
"""Without standby power the BMC goes dark with its node; in all other deaths it can still be asked."""

_PLATEAU = 0.67
"""Length of the error phase of a fault that never kills, as a share of its flutter."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault of one node. Times are Unix seconds."""

    node: str
    kind: FaultKind
    onset: float
    seconds_to_errors: float
    """Length of the flutter: readings drift, no threshold is crossed, nothing is logged."""
    seconds_to_death: float | None
    """From the onset, so more than `seconds_to_errors`. None: it errs for ever and kills nothing."""
    cleared_at: float | None = None
    """When the part was replaced. Readings are healthy from here on; what was counted stays counted."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadInput(f"fault {self.kind!r}: expected one of {', '.join(KINDS)}")
        if not self.seconds_to_errors > 0:
            raise BadInput(f"seconds to errors {self.seconds_to_errors:g}: expected more than 0")
        if self.seconds_to_death is not None and not self.seconds_to_death > self.seconds_to_errors:
            raise BadInput(
                f"seconds to death {self.seconds_to_death:g}: expected more than seconds to errors"
                f" ({self.seconds_to_errors:g})"
            )

    @property
    def errors_at(self) -> float:
        return self.onset + self.seconds_to_errors

    @property
    def death_at(self) -> float | None:
        return None if self.seconds_to_death is None else self.onset + self.seconds_to_death

    def phase(self, t: float) -> Phase:
        if self.cleared_at is not None and t >= self.cleared_at:
            return "cleared"
        if t < self.onset:
            return "pending"
        if t < self.errors_at:
            return "flutter"
        return "errors" if self.death_at is None or t < self.death_at else "dead"

    def active(self, t: Floats) -> Floats:
        """1 where the fault shows in readings, else 0. A dead part stays dead."""
        end = np.inf if self.cleared_at is None else self.cleared_at
        return ((t >= self.onset) & (t < end)).astype(np.float64)

    def flutter(self, t: Floats) -> Floats:
        """Progress through the flutter, 0 at the onset to 1 at the first error; stops when cleared."""
        return np.clip((self._until(t) - self.onset) / self.seconds_to_errors, 0.0, 1.0)

    def errors(self, t: Floats) -> Floats:
        """Progress through the errors, 0 at the first one to 1 at death; stops when cleared."""
        if self.seconds_to_death is None:
            length = self.seconds_to_errors * _PLATEAU
        else:
            length = self.seconds_to_death - self.seconds_to_errors
        return np.clip((self._until(t) - self.errors_at) / length, 0.0, 1.0)

    def erring(self, t: Floats) -> Floats:
        """1 from the first error until cleared, else 0."""
        return self.active(t) * (t >= self.errors_at)

    def seconds_erring(self, t: Floats) -> Floats:
        """Seconds since the first error, 0 before it; stops when cleared, cut off at death."""
        end = np.inf if self.death_at is None else self.death_at
        return np.maximum(np.minimum(self._until(t), end) - self.errors_at, 0.0)

    def _until(self, t: Floats) -> Floats:
        return t if self.cleared_at is None else np.minimum(t, self.cleared_at)
