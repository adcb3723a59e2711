"""What a hardware event adds to a node's risk. Pure.

The weights and delays are engineering judgement, not measurements: they order the events by how soon and how surely a
machine that logs them stops. A fleet with failures of its own replaces them by what it learned.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from models.signal import HardwareEvent, HardwareEventKind, Severity

K, S = HardwareEventKind, Severity

HAZARD: dict[tuple[HardwareEventKind, Severity], tuple[float, float]] = {
    # (kind, severity): (P(the node fails because of it), mean hours until then)
    (K.VOLTAGE, S.CRITICAL): (0.80, 0.25),
    (K.VOLTAGE, S.WARNING): (0.50, 1.0),
    (K.CURRENT, S.CRITICAL): (0.50, 1.0),
    (K.CURRENT, S.WARNING): (0.15, 6.0),
    (K.POWER_SUPPLY, S.CRITICAL): (0.50, 1.0),
    (K.POWER_SUPPLY, S.WARNING): (0.30, 2.0),
    (K.POWER_LOST, S.CRITICAL): (0.50, 0.5),
    (K.POWER_LOST, S.WARNING): (0.25, 1.0),
    (K.TEMPERATURE, S.CRITICAL): (0.75, 0.5),
    (K.TEMPERATURE, S.WARNING): (0.20, 2.0),
    (K.FAN, S.CRITICAL): (0.35, 2.0),
    (K.FAN, S.WARNING): (0.15, 6.0),
    (K.THROTTLE, S.CRITICAL): (0.50, 1.0),
    (K.THROTTLE, S.WARNING): (0.25, 1.0),
    (K.MEMORY_UNCORRECTED, S.CRITICAL): (0.80, 1.0),
    (K.MEMORY_UNCORRECTED, S.WARNING): (0.40, 6.0),
    (K.MEMORY_CORRECTED, S.CRITICAL): (0.50, 2.0),
    (K.MEMORY_CORRECTED, S.WARNING): (0.10, 24.0),
    (K.MACHINE_CHECK, S.CRITICAL): (0.70, 1.0),
    (K.MACHINE_CHECK, S.WARNING): (0.10, 24.0),
    (K.PCIE, S.CRITICAL): (0.40, 2.0),
    (K.PCIE, S.WARNING): (0.03, 24.0),
    (K.DISK_IO, S.CRITICAL): (0.50, 2.0),
    (K.DISK_IO, S.WARNING): (0.15, 12.0),
    (K.DISK_SMART, S.CRITICAL): (0.50, 12.0),
    (K.DISK_SMART, S.WARNING): (0.15, 48.0),
    (K.LINK_DOWN, S.CRITICAL): (0.40, 1.0),
    (K.LINK_DOWN, S.WARNING): (0.15, 1.0),
}
"""Kinds and severities that are not here add nothing: boots, links coming up, what no pattern names."""

MEMORY_SECONDS = 3 * 86_400.0
"""Older events are forgotten; until then their weight halves every `HALF_LIFE_SECONDS`."""
HALF_LIFE_SECONDS = 6 * 3600.0
AHEAD_SECONDS = 300.0
"""A log's clock may run this far ahead; records from further in the future are not believed."""
GONE_AWAY = 0.25
"""What is left of the weight once the record says that the condition went away."""


@dataclass(frozen=True, slots=True)
class EventHazard:
    """What the records of one kind on one part add."""

    kind: HardwareEventKind
    severity: Severity
    part: str
    count: int
    age_seconds: float
    """of the newest"""
    gone: bool
    weight: float
    delay_seconds: float

    def within(self, seconds: float) -> float:
        """P(the node fails because of it within `seconds`)."""
        return self.weight * -math.expm1(-max(0.0, seconds) / self.delay_seconds)


def event_hazards(events: Iterable[HardwareEvent], *, now: float) -> list[EventHazard]:
    """One node's recent events, gathered by kind and part; the worst severity of each counts.

    Repeats raise the weight w to 1 - (1 - w)^(1 + log2 n): the hundredth record says little more than the tenth.
    """
    gathered: dict[tuple[HardwareEventKind, str], list[HardwareEvent]] = defaultdict(list)
    for event in events:
        if -AHEAD_SECONDS <= now - event.time.timestamp() <= MEMORY_SECONDS:
            gathered[event.kind, event.part].append(event)
    hazards: list[EventHazard] = []
    for (kind, part), records in gathered.items():
        asserted = [record for record in records if record.asserted and (kind, record.severity) in HAZARD]
        if not asserted:
            continue
        severity = max((record.severity for record in asserted), key=_RANK.__getitem__)
        alike = [record for record in asserted if record.severity is severity]
        weight, hours = HAZARD[kind, severity]
        newest = max(record.time.timestamp() for record in asserted)
        gone = not max(records, key=lambda record: (record.time, not record.asserted)).asserted
        age = max(0.0, now - newest)
        weight = 1.0 - (1.0 - weight) ** (1.0 + math.log2(len(alike)))
        weight *= 0.5 ** (age / HALF_LIFE_SECONDS) * (GONE_AWAY if gone else 1.0)
        hazards.append(EventHazard(kind, severity, part, len(alike), age, gone, min(weight, 0.98), hours * 3600.0))
    return sorted(hazards, key=lambda h: -h.within(7200.0))


_RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}
