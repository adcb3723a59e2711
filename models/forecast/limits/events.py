"""What a hardware event adds to a node's risk. Pure.

The weights and delays are engineering judgement, not measurements: they order the events by how soon and how surely a
machine that logs them stops. A fleet with failures of its own replaces them by what it learned.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from models.risk.parts import supply_name
from models.risk.signal import HardwareEvent, HardwareEventKind, PartClass, Severity
from models.risk.witness import Witness

K, S, P = HardwareEventKind, Severity, PartClass

HAZARD: dict[tuple[HardwareEventKind, Severity], tuple[float, float]] = {
    # (kind, severity): (P(the node fails because of it), mean hours until then)
    (K.VOLTAGE, S.CRITICAL): (0.80, 0.25),
    (K.VOLTAGE, S.WARNING): (0.50, 1.0),
    (K.CURRENT, S.CRITICAL): (0.50, 1.0),
    (K.CURRENT, S.WARNING): (0.15, 6.0),
    (K.POWER_SUPPLY, S.CRITICAL): (0.75, 1.0),
    (K.POWER_SUPPLY, S.WARNING): (0.30, 2.0),
    (K.POWER_LOST, S.CRITICAL): (0.50, 0.5),
    (K.POWER_LOST, S.WARNING): (0.25, 1.0),
    (K.TEMPERATURE, S.CRITICAL): (0.75, 0.5),
    (K.TEMPERATURE, S.WARNING): (0.20, 2.0),
    (K.FAN, S.CRITICAL): (0.30, 3.0),
    (K.FAN, S.WARNING): (0.15, 6.0),
    (K.THROTTLE, S.CRITICAL): (0.50, 1.0),
    (K.THROTTLE, S.WARNING): (0.20, 2.0),
    (K.LOCKUP, S.CRITICAL): (0.65, 1.0),
    (K.LOCKUP, S.WARNING): (0.20, 2.0),
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

OF_CLASS: dict[tuple[PartClass, Severity], tuple[float, float]] = {
    (P.BATTERY, S.CRITICAL): (0.02, 48.0),
    (P.BATTERY, S.WARNING): (0.02, 48.0),
    (P.ADD_ON, S.CRITICAL): (0.08, 12.0),
    (P.ADD_ON, S.WARNING): (0.03, 24.0),
    (P.REDUNDANCY, S.CRITICAL): (0.15, 2.0),
    (P.REDUNDANCY, S.WARNING): (0.15, 2.0),
    (P.CONTROLLER, S.CRITICAL): (0.80, 1.0),
    (P.CONTROLLER, S.WARNING): (0.20, 4.0),
}
"""Where the part says more than the kind of record, in place of `HAZARD`: what may fail while the node goes on, and what takes
all of its disks along."""
MOST: dict[tuple[HardwareEventKind, Severity], float] = {
    (K.DISK_IO, S.CRITICAL): 0.7,
    (K.DISK_IO, S.WARNING): 0.7,
    (K.DISK_SMART, S.CRITICAL): 0.7,
    (K.DISK_SMART, S.WARNING): 0.3,
    (K.LOCKUP, S.WARNING): 0.33,
    (K.PCIE, S.CRITICAL): 0.7,
}
"""The most that the records of one part weigh, however many: a dying disk or card repeats itself and most nodes outlive it, and
what is stuck may be software."""
WITHOUT_WEIGHT = frozenset({P.USB_NIC, P.UNUSED_PORT, P.REMOVABLE})
"""Their records say nothing of the node."""
CORRECTED = frozenset({K.MACHINE_CHECK, K.PCIE, K.MEMORY_CORRECTED, K.THROTTLE})
"""As warnings: hardware that corrects itself. A thousand of them say hardly more than one."""
STORM = 100
"""Corrected memory errors on one part within a day, in different seconds, from which on they weigh as a critical record does."""

MEMORY_SECONDS = 3 * 86_400.0
"""Older events are forgotten; until then their weight halves every `HALF_LIFE_SECONDS`."""
HALF_LIFE_SECONDS = 6 * 3600.0
AHEAD_SECONDS = 300.0
"""A log's clock may run this far ahead; records from further in the future are not believed."""
GONE_AWAY = 0.25
"""What is left of the weight once the record says that the condition went away."""
GONE_FOR_GOOD = 0.1
"""The same where it leaves no damage: power that is back, a reserve that is whole again, a processor that has cooled down."""
BOOT_SECONDS = 300.0
"""A port without a link this soon after a boot, and without one since, has nothing plugged in."""
THROTTLES_ON = 2400.0
"""Records of throttling over so many seconds are heat that stays; less is a peak of load, and weighs half."""
RECOVERY_SECONDS = 60.0
"""A recovery of a bus this soon after its errors is of them, at whichever end of the link they were told."""
_LEAVES_NOTHING = frozenset({K.POWER_LOST, K.THROTTLE, K.LOCKUP})
_BOND = re.compile(r"(?:bond|team|lag)\w*$")
_RESERVES = frozenset({P.REDUNDANT, P.REDUNDANCY})
_RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


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
    part_class: PartClass = PartClass.NORMAL
    witnesses: frozenset[Witness] = frozenset()
    """by which ways its records came"""

    def within(self, seconds: float) -> float:
        """P(the node fails because of it within `seconds`)."""
        return self.weight * -math.expm1(-max(0.0, seconds) / self.delay_seconds)


def event_hazards(events: Iterable[HardwareEvent], *, now: float) -> list[EventHazard]:
    """One node's recent events, gathered by kind and part; the worst severity of each counts.

    Repeats raise the weight w to 1 - (1 - w)^(1 + log2 n): the hundredth record says little more than the tenth. Of what
    corrects itself they raise nothing.
    """
    recent = [event for event in events if -AHEAD_SECONDS <= now - event.time.timestamp() <= MEMORY_SECONDS]
    gathered: dict[tuple[HardwareEventKind, str], list[HardwareEvent]] = defaultdict(list)
    for event in _links(_classed(recent)):
        if event.part_class not in WITHOUT_WEIGHT:
            gathered[event.kind, event.part].append(event)
    ends = _ends(recent)
    hazards = [
        hazard
        for (kind, part), records in gathered.items()
        if (hazard := _hazard(kind, part, records, ends, now)) is not None
    ]
    return sorted(hazards, key=lambda h: -h.within(7200.0))


def _hazard(
    kind: HardwareEventKind, part: str, records: Sequence[HardwareEvent], ends: _Ends, now: float
) -> EventHazard | None:
    asserted = [record for record in records if record.asserted and (kind, record.severity) in HAZARD]
    if not asserted:
        return None
    severity = max((record.severity for record in asserted), key=_RANK.__getitem__)
    alike = [record for record in asserted if record.severity is severity]
    part_class = alike[-1].part_class
    is_corrected = severity is S.WARNING and kind in CORRECTED
    if is_corrected and kind is K.MEMORY_CORRECTED and _within_a_day(alike) >= STORM:
        severity = S.CRITICAL
    weight, hours = OF_CLASS.get((part_class, severity)) or HAZARD[kind, severity]
    newest = max(record.time.timestamp() for record in asserted)
    if kind is K.THROTTLE and newest - min(record.time.timestamp() for record in asserted) < THROTTLES_ON:
        weight *= 0.5
    gone = not max(records, key=lambda record: (record.time, not record.asserted)).asserted or ends.ended(
        kind, part_class, newest
    )
    age = max(0.0, now - newest)
    if not is_corrected:
        repeated = 1.0 - (1.0 - weight) ** (1.0 + math.log2(len(alike)))
        most = 1.0 if part_class is P.CONTROLLER else MOST.get((kind, severity), 1.0)
        weight = max(weight, min(repeated, most))
    leaves_nothing = kind in _LEAVES_NOTHING or part_class in _RESERVES
    weight *= 0.5 ** (age / HALF_LIFE_SECONDS) * ((GONE_FOR_GOOD if leaves_nothing else GONE_AWAY) if gone else 1.0)
    told_by = frozenset(record.witness for record in asserted)
    return EventHazard(
        kind, severity, part, len(alike), age, gone, min(weight, 0.98), hours * 3600.0, part_class, told_by
    )


def _within_a_day(records: Sequence[HardwareEvent]) -> int:
    newest = max(record.time.timestamp() for record in records)
    return sum(newest - record.time.timestamp() <= 86_400.0 for record in records)


@dataclass(frozen=True, slots=True)
class _Ends:
    """When what concerns more than one part was last said to be over (unix seconds)."""

    supplies: float
    """all supplies redundant again"""
    fans: float
    boot: float
    recovered: Sequence[float] = ()
    """of buses"""

    def ended(self, kind: HardwareEventKind, part_class: PartClass, since: float) -> bool:
        """Whether a condition told of at `since` is over."""
        if kind is K.LOCKUP:
            return self.boot > since
        if kind is K.PCIE:
            return any(0.0 <= at - since <= RECOVERY_SECONDS for at in self.recovered)
        if part_class not in _RESERVES:
            return False
        return (self.fans if kind in (K.FAN, K.TEMPERATURE) else self.supplies) >= since


def _ends(events: Sequence[HardwareEvent]) -> _Ends:
    def last(kind: HardwareEventKind) -> float:
        regained = (e for e in events if e.kind is kind and e.part_class is P.REDUNDANCY and not e.asserted)
        return max((event.time.timestamp() for event in regained), default=-math.inf)

    boots = (event.time.timestamp() for event in events if event.kind is K.BOOT)
    recovered = [event.time.timestamp() for event in events if event.kind is K.PCIE and not event.asserted]
    return _Ends(last(K.POWER_SUPPLY), last(K.FAN), max(boots, default=-math.inf), recovered)


def _classed(events: Sequence[HardwareEvent]) -> list[HardwareEvent]:
    """The events with what others tell of their part: a leg of a bond is one in every record of it, and a supply that has lost
    its input or failed explains what it puts out."""
    legs = {event.part for event in events if event.kind is K.LINK_DOWN and event.part_class is P.REDUNDANT}
    down = {
        supply_name(event.part)
        for event in events
        if event.kind in (K.POWER_LOST, K.POWER_SUPPLY) and event.severity is S.CRITICAL and event.asserted
    } - {None}
    classed: list[HardwareEvent] = []
    for event in events:
        is_leg = event.kind in (K.LINK_DOWN, K.LINK_UP) and event.part in legs
        is_explained = event.kind in (K.VOLTAGE, K.CURRENT) and supply_name(event.part) in down
        redundant = (is_leg or is_explained) and event.part_class not in WITHOUT_WEIGHT
        classed.append(event.model_copy(update={"part_class": P.REDUNDANT}) if redundant else event)
    return classed


def _links(events: Sequence[HardwareEvent]) -> list[HardwareEvent]:
    """The events, a link that came up as the end of one that went down, and ports that never had a link without weight."""
    boot = -math.inf
    had_link: set[str] = set()
    without_leg: dict[str, HardwareEvent] = {}
    """bonds that lost their last leg"""
    told: list[HardwareEvent] = []
    for event in sorted(events, key=lambda event: event.time):
        at = event.time.timestamp()
        if event.kind is K.BOOT:
            boot = at
            had_link.clear()
        elif event.kind is K.LINK_UP:
            had_link.add(event.part)
            if event.part_class is P.REDUNDANT:
                # A leg is back: whatever bond had none has one.
                told += [e.model_copy(update={"time": event.time, "asserted": False}) for e in without_leg.values()]
                without_leg.clear()
            event = event.model_copy(update={"kind": K.LINK_DOWN, "severity": S.WARNING, "asserted": False})
        elif event.kind is K.LINK_DOWN and _BOND.match(event.part):
            without_leg[event.part] = event
        elif event.kind is K.LINK_DOWN and event.severity is S.WARNING and event.part not in had_link:
            unused = P.UNUSED_PORT if at - boot <= BOOT_SECONDS else event.part_class
            event = event.model_copy(update={"part_class": unused})
        told.append(event)
    return told
