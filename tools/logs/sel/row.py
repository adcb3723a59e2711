"""A row of the table of records, and how one is written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from models.risk.signal import Component, HardwareEventKind, PartClass, Severity

S = Severity


@dataclass(frozen=True)
class SelRow:
    """Records of some sensor types that mean the same."""

    types: re.Pattern[str]
    event: re.Pattern[str]
    kind: HardwareEventKind
    component: Component
    severity: Severity
    examples: tuple[tuple[str, str, str], ...]
    """(type, sensor, event)"""
    ends: bool = False
    """True: the state that the event names is the healthy one"""
    part_class: PartClass | None = None
    """None: by the sensor's name"""


def row(
    types: str, event: str, kind: HardwareEventKind, component: Component, severity: Severity,
    *examples: tuple[str, str, str], ends: bool = False, cls: PartClass | None = None,
) -> SelRow:  # fmt: skip
    return SelRow(re.compile(types), re.compile(event), kind, component, severity, examples, ends, cls)


_OUTWARD = r"(?:lower {0} going low|upper {0} going high)"
_INWARD = r"(?:lower {0} going high|upper {0} going low)"
TO_WARNING = r"transition to non-?critical(?: from ok)?|transition to degraded|predictive failure(?: asserted)?"
TO_CRITICAL = (
    r"transition to critical(?: from (?:less severe|non-?recoverable))?|transition to non-?recoverable(?: from less severe)?|"
    r"limit exceeded"
)
TO_OK = (
    r"transition to ok|transition to non-?critical from more severe|limit not exceeded|transition "
    r"to running|predictive failure deasserted"
)


def graded(
    types: str, kind: HardwareEventKind, component: Component, type_name: str, sensor: str
) -> tuple[SelRow, ...]:
    """A sensor with thresholds, and one that only reports grades (event types 01h and 07h)."""
    deep = "(?:critical|non-?recoverable)"
    way = "Upper Critical going high" if type_name == "Temperature" else "Lower Critical going low"
    light = way.replace("Critical", "Non-critical")
    back = way.replace("high", "low") if way.endswith("high") else way.replace("low", "high")
    return (
        row(types, _OUTWARD.format("non-?critical"), kind, component, S.WARNING, (type_name, sensor, light)),
        row(
            types,
            _OUTWARD.format(deep),
            kind,
            component,
            S.CRITICAL,
            (type_name, sensor, way),
            (type_name, sensor, way.replace("Critical", "Non-recoverable")),
        ),
        row(types, _INWARD.format(deep), kind, component, S.CRITICAL, (type_name, sensor, back), ends=True),
        row(
            types,
            _INWARD.format("non-?critical"),
            kind,
            component,
            S.WARNING,
            (type_name, sensor, back.replace("Critical", "Non-critical")),
            ends=True,
        ),
        row(types, TO_OK, kind, component, S.WARNING, (type_name, sensor, "Transition to OK"), ends=True),
        row(types, TO_WARNING, kind, component, S.WARNING, (type_name, sensor, "Transition to Non-critical from OK")),
        row(
            types,
            TO_CRITICAL,
            kind,
            component,
            S.CRITICAL,
            (type_name, sensor, "Transition to Critical from less severe"),
            (type_name, sensor, "Transition to Non-recoverable"),
        ),
    )


REGAINED = r"fully redundant|redundancy regained|redundancy degraded from non-?redundant"
LESS = (
    r"redundancy (?:lost|degraded)(?: from fully redundant)?|non-?redundant: ?sufficient(?: "
    r"resources)? from (?:redundant|insufficient(?: resources)?)"
    # FreeIPMI's words for the same two
    r"|entered from (?:redundancy degraded or fully redundant|non-?redundant: ?insufficient resources)"
)
NONE_LEFT = r"non-?redundant: ?insufficient resources"
