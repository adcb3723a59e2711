"""What a pattern is, and what a line that it fits said."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime

from models.risk.parts import disk_name, part_class
from models.risk.signal import Component, HardwareEvent, HardwareEventKind, PartClass, Severity
from models.risk.witness import Witness

_HARMLESS = re.compile(r"[^A-Za-z0-9_.:/-]+")
_CLASSED = frozenset({Component.NETWORK, Component.THERMAL, Component.STORAGE})
"""Components of which the kernel's own name for a part tells its class."""


@dataclass(frozen=True)
class Pattern:
    """One kind of line."""

    regex: re.Pattern[str]
    """its groups `part…` name the part, the first that is there; a group `within` what is a part of that"""
    kind: HardwareEventKind
    component: Component
    severity: Severity
    examples: tuple[str, ...]
    """messages, without time, host and tag, as the driver's format string gives them"""
    asserted: bool = True
    """False: the line says that the condition went away"""
    part_class: PartClass | None = None
    """None: by the part's name"""


@dataclass(frozen=True)
class Match:
    """What a line said."""

    kind: HardwareEventKind
    component: Component
    severity: Severity
    part: str = ""
    asserted: bool = True
    part_class: PartClass = PartClass.NORMAL
    pattern: Pattern | None = None

    def event(self, node: str, at: datetime, witness: Witness = Witness.HOST_LOG) -> HardwareEvent:
        """The event at that time. Times are cut to the second: a burst within one second is one event."""
        return HardwareEvent(
            node=node, time=at.replace(microsecond=0), kind=self.kind, component=self.component, severity=self.severity,
            part=self.part, part_class=self.part_class, asserted=self.asserted,
            witness=witness,
        )  # fmt: skip

    def about(self, part: str, part_class: PartClass | None = None) -> Match:
        """The same, of another part."""
        return replace(self, part=harmless(part), part_class=part_class or self.part_class)


def pattern(
    regex: str, kind: HardwareEventKind, component: Component, severity: Severity, *examples: str, asserted: bool = True,
    cls: PartClass | None = None,
) -> Pattern:  # fmt: skip
    return Pattern(re.compile(regex), kind, component, severity, examples, asserted, cls)


def first_match(patterns: tuple[Pattern, ...], text: str) -> Match | None:
    """What the first pattern that fits says."""
    for one in patterns:
        found = one.regex.search(text)
        if found is not None:
            named = found.groupdict()
            parts = {name: value for name, value in named.items() if value}
            number = parts.pop("part_hctl", "")  # the kernel's number of a disk; its name is better
            within = parts.pop("within", "")
            part = next(iter(parts.values()), number)
            if one.component is Component.STORAGE:
                part = disk_name(part)
            part = harmless(f"{part}/{within}" if within else part)
            kind = one.part_class
            if kind is None:
                kind = part_class(one.component, part) if one.component in _CLASSED and part else PartClass.NORMAL
            return Match(one.kind, one.component, one.severity, part, one.asserted, kind, one)
    return None


def harmless(part: str) -> str:
    """A part's name with only letters, digits and `_ . : / -`, at most 64 characters."""
    return _HARMLESS.sub("_", part.strip()).strip("_")[:64]
