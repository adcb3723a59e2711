"""From a BMC's record to what it says. A record is matched by its fields, never as one text: a sensor's name may hold the words
of an event."""

from __future__ import annotations

import re
from dataclasses import dataclass

from models.risk.parts import part_class
from models.risk.signal import Component, PartClass
from tools.logs.patterns import Match, harmless
from tools.logs.sel.table import SEL


@dataclass(frozen=True)
class SelRecord:
    """One record in the words of the tool that printed it."""

    type: str
    """sensor type, such as `Power Supply`; empty where the source does not tell it (ipmiseld)"""
    sensor: str
    """its name, or `#0x3b` where the BMC has no name for it"""
    event: str
    """such as `Lower Critical going low`; with or without details in brackets or after a semicolon"""
    asserted: bool = True
    """False: the state that `event` names has ended"""
    detail: str = ""
    """what the tool adds, such as reading and threshold"""


HARMLESS = re.compile(
    r"^(?:event logging|system boot|boot error|os boot|session|version|button|physical security|"
    r"system acpi|acpi|lan\b|entity|fru|"
    r"system event|platform|module|microcontroller|chip|other|cable|terminator|system firmware|"
    r"post |management|monitor|add-in|chassis|"
    r"os |watchdog|slot|unknown type|oem record c0|secure mode|cooling)"
)
"""Types whose records need not be understood: they tell of boots, of people and of management."""
_ROUTINE = re.compile(
    r"^(?:presence detected|processor presence detected|drive presen(?:t|ce)|entity present|"
    r"device (?:present|inserted.*|enabled)|monitor|informational|"
    r"state (?:de)?asserted|performance (?:met|lags)|hot spare|(?:consistency check / )?parity "
    r"check in progress|rebuild(?:/remap)? in progress|"
    r"power (?:off/down|off/power down|cycle)|soft-power control failure|soft power control "
    r"failure.*|terminator.*|transition to (?:active|idle|busy|on line|power save|"
    r"power off|in test|off duty|off line)|limit not exceeded|installation .*|d[0-3] power state|bus degraded|"
    r"software nmi|nmi/diag interrupt|spare|ok|install error|front panel nmi.*|os nmi/diag interrupt|eisa .*|configuration error|"
    r"battery presence detected)"
)


def understand_record(record: SelRecord) -> Match | None:
    """What a record says; None when the table has no row for it."""
    kind = (record.type or _type_of(record)).lower()
    event = _plain(record.event)
    if not event:
        return None
    for row in SEL:
        if row.types.search(f"{kind} {record.sensor}".lower()) and row.event.fullmatch(event):
            part = _part(record, row.component)
            named = part_class(row.component, part)
            if kind.startswith("battery"):
                named = PartClass.BATTERY
            elif kind.startswith("voltage") and named is PartClass.NORMAL:
                named = PartClass.MAIN_RAIL
            elif kind.startswith(("fan", "cooling")) and named is not PartClass.REDUNDANCY:
                named = PartClass.REDUNDANT
            return Match(
                kind=row.kind, component=row.component, severity=row.severity, part=part,
                asserted=record.asserted != row.ends, part_class=row.part_class or named,
            )  # fmt: skip
    return None


def is_routine(record: SelRecord) -> bool:
    """Whether a record that the table does not name is of a kind that says nothing about the hardware's health."""
    return bool(HARMLESS.match(record.type.lower()) or _ROUTINE.match(_plain(record.event)))


_BRACKETS = re.compile(r"\s*\((?!ac/dc\)|uncorrectable\)).*$")


def _plain(event: str) -> str:
    """Lower case, without what follows in brackets or after a semicolon; `going low` with or without a dash before it."""
    text = event.split(";")[0].strip().lower().replace(" - going", " going")
    return _BRACKETS.sub("", " ".join(text.split()))


_NAMED_INSIDE = re.compile(
    r"@?(?P<part>(?:P\d+[-_ ]?)?(?:CPU ?\d+[-_ ])?DIMM[-_ ]?#?[A-Z]?\d*(?:\(CPU\d+\))?|CPU\d+[_-][A-Z]\d+|Slot[ _]?\d+|"
    r"\b[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\b)",
    re.IGNORECASE,
)


def _part(record: SelRecord, component: Component) -> str:
    """The part: what the details name, where the sensor stands for many (`Memory #0x88 … (CPU0_G1)`), or the sensor."""
    if component in (Component.MEMORY, Component.NODE):
        details = f"{' '.join(re.findall(r'[(;|](.*)', record.event))} {record.detail}"
        found = _NAMED_INSIDE.findall(details)
        if found:
            return harmless(found[-1])
    return harmless(record.sensor)


_TYPES = (
    (re.compile(r"(?i)\bv?bat\b|battery|cmos"), "Battery"),
    (re.compile(r"(?i)prochot|therm|temp|inlet|ambient|exhaust"), "Temperature"),
    (re.compile(r"(?i)fan|tach|blower"), "Fan"),
    (re.compile(r"(?i)dimm|mem|ecc"), "Memory"),
    (re.compile(r"(?i)iin|iout|current|amp"), "Current"),
    (re.compile(r"(?i)volt|vin|vout|vcore|vdd|vcc|pv\w+|\d+(?:[._p]\d+)? ?v\b|v_?\d"), "Voltage"),
    (re.compile(r"(?i)pwr unit|power unit"), "Power Unit"),
    (re.compile(r"(?i)psu|\bps ?\d|power supply|\bpws"), "Power Supply"),
    (re.compile(r"(?i)cpu|proc"), "Processor"),
    (re.compile(r"(?i)drive|disk|hdd|bay|ssd"), "Drive Slot"),
    (re.compile(r"(?i)pci|serr|nmi"), "Critical Interrupt"),
)
_UNITS = (
    (r"(?<=\d) ?V\b|Volts", "Voltage"),
    (r"RPM", "Fan"),
    (r"(?<=\d) ?C\b|degrees", "Temperature"),
    (r"(?<=\d) ?A\b|Amps", "Current"),
)
_TELLING = (
    (re.compile(r"(?i)^(?:power supply (?:failure|input)|power supply ac|ac (?:lost or|out-of))"), "Power Supply"),
    (re.compile(r"(?i)^(?:ac lost|power unit)"), "Power Unit"),
    (re.compile(r"(?i)memory error|ecc"), "Memory"),
    (re.compile(r"(?i)ierr|machine check|thermal trip|throttled|frb\d"), "Processor"),
    (re.compile(r"(?i)drive fault|array"), "Drive Slot"),
    (re.compile(r"(?i)bus (?:un)?correctable|bus fatal|pci [sp]err"), "Critical Interrupt"),
    (re.compile(r"(?i)battery"), "Battery"),
)


def _type_of(record: SelRecord) -> str:
    """The sensor type, for sources that do not tell it: by the event, by the unit of the reading, by the sensor's name."""
    for pattern, name in _TELLING:
        if pattern.search(record.event.strip()):
            return name
    for unit, name in _UNITS:
        if re.search(unit, record.event.partition(";")[2] or record.detail):
            return name
    for pattern, name in _TYPES:
        if pattern.search(record.sensor.replace("_", " ")):
            return name
    return "unknown type"
