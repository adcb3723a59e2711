"""Records of a BMC's event log out of the texts that tools print: ipmitool, ipmievd, FreeIPMI's ipmi-sel and ipmiseld. Pure.

| source | layout |
|---|---|
| `ipmitool -c sel elist` | `7,11/20/26,11:50:00 UTC,Power Supply PS1,Failure detected,Asserted` and more fields |
| `ipmitool sel elist`, `sel list` | the same between bars |
| ipmievd | `Voltage sensor PSU1 12V Out Lower Critical going low Asserted (Reading 10.7 < Threshold 10.8 Volts)` |
| `ipmi-sel` | `7 | Nov-20-2026 | 11:50:00 | PS1 Status | Power Supply | Power Supply Failure detected`; options add columns |
| ipmiseld | `SEL System Event: PS1 Status, Critical, Power Supply Failure detected` |
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from tools.logs.sel.events import SelRecord
from tools.logs.sel.stamps import is_day_first, parse_stamp
from tools.logs.sel.table import SEL

TYPES = (
    "Temperature",
    "Voltage",
    "Current",
    "Fan",
    "Physical Security",
    "Platform Security",
    "Processor",
    "Power Supply",
    "Power Unit",
    "Cooling Device",
    "Other Units-based Sensor",
    "Other",
    "Memory",
    "Drive Slot / Bay",
    "Drive Slot",
    "POST Memory Resize",
    "System Firmwares",
    "System Firmware Progress",
    "Event Logging Disabled",
    "Watchdog1",
    "Watchdog 1",
    "System Event",
    "Critical Interrupt",
    "Button",
    "Module / Board",
    "Microcontroller",
    "Add-in Card",
    "Chassis",
    "Chip Set",
    "Other FRU",
    "Cable / Interconnect",
    "Terminator",
    "System Boot Initiated",
    "Boot Error",
    "OS Boot",
    "OS Critical Stop",
    "OS Stop / Shutdown",
    "Slot / Connector",
    "System ACPI Power State",
    "Watchdog2",
    "Watchdog 2",
    "Platform Alert",
    "Entity Presence",
    "Monitor ASIC",
    "LAN",
    "Management Subsys Health",
    "Battery",
    "Session Audit",
    "Version Change",
    "FRU State",
    "Unknown",
    "OEM",
)
"""Sensor types, as ipmitool names them (IPMI v2.0, table 42-3)."""
_BY_LENGTH = sorted(TYPES, key=len, reverse=True)
_DIRECTION = re.compile(r"(?i)\b(?P<not>de)?assert(?:ed|ion event)\b")
_STATES = frozenset({"nominal", "warning", "critical", "n/a"})


@dataclass(frozen=True)
class SelLine:
    """One record of a log, in its place."""

    id: str
    at: datetime | None
    """None: the BMC had no clock then (`Pre-Init`)"""
    record: SelRecord | None
    """None: it has fields of a record, but no event that can be read"""
    directed: bool = True
    """False: nothing says whether the state that the event names began or ended"""


def sel_lines(lines: Iterable[str], zone: tzinfo = UTC) -> Iterator[SelLine | None]:
    """Each line of a printed log, in its order; None for a line that is no record. Head lines and empty ones are left out."""
    head: list[str] = []
    lines = list(lines)
    day_first = is_day_first(lines)
    for line in lines:
        text = line.strip()
        if not text or text.startswith("#") or text.lower().startswith("sel has no entries"):
            continue
        fields = _fields(text)
        if fields[0].lower() in ("id", "record id"):
            head = [field.lower() for field in fields]
            continue
        yield _ipmi_sel(fields, head, zone) if _is_ipmi_sel(fields, head) else _ipmitool(fields, zone, day_first)


def _fields(text: str) -> list[str]:
    if re.match(r"[^,|]*\|", text):
        return [field.strip() for field in text.split("|")]
    try:
        return [field.strip() for field in next(csv.reader([text]))]
    except (csv.Error, StopIteration):
        return [text]


def _is_ipmi_sel(fields: list[str], head: list[str]) -> bool:
    return bool(head) or (
        len(fields) >= 6 and bool(re.fullmatch(r"[A-Z][a-z]{2}-\d{1,2}-\d{4}|PostInit|PreInit", fields[1]))
    )


def _ipmi_sel(fields: list[str], head: list[str], zone: tzinfo) -> SelLine | None:
    """FreeIPMI's columns: ID, Date, Time, Name, Type, and, as asked for, State and Event Direction before Event."""
    head = head or ["id", "date", "time", "name", "type", *(["state"] if len(fields) > 6 else []), "event"]
    if len(fields) < len(head):
        return None
    # The event itself may hold the separator.
    row = dict(zip(head, [*fields[: len(head) - 1], ", ".join(fields[len(head) - 1 :])], strict=True))
    event = row.get("event", "")
    direction = _DIRECTION.search(row.get("event direction", "")) or _DIRECTION.search(event)
    state = row.get("state", "").lower()
    record = SelRecord(row.get("type", ""), row.get("name", ""), event)
    asserted = not direction["not"] if direction is not None else not _has_ended(record, state)
    return SelLine(
        row.get("id", ""), parse_stamp(f"{row.get('date', '')} {row.get('time', '')}", zone),
        SelRecord(record.type, record.sensor, event, asserted),
        directed=direction is not None or bool(state) or _READING.search(event) is not None,
    )  # fmt: skip


_READING = re.compile(r"Sensor Reading = (?P<reading>-?[\d.]+).*Threshold = (?P<threshold>-?[\d.]+)")


def _has_ended(record: SelRecord, state: str) -> bool:
    """FreeIPMI grades the record with its direction: a fault graded nominal is one that has ended. Where it prints no grade,
    a reading on the healthy side of its threshold says the same."""
    found = _READING.search(record.event)
    if not state and found is not None:
        try:
            above = float(found["reading"]) > float(found["threshold"])
        except ValueError:
            return False
        way = re.search(r"(?i)going (low|high)", record.event)
        return way is not None and above == (way[1].lower() == "low") and found["reading"] != found["threshold"]
    return state == "nominal" and any(
        row.event.fullmatch(record.event.split(";")[0].strip().lower()) and not row.ends for row in SEL
    )


def _ipmitool(fields: list[str], zone: tzinfo, day_first: bool) -> SelLine | None:
    """Number, date, time, `type sensor`, event, Asserted or Deasserted, details. An event may hold commas or bars itself."""
    if len(fields) < 5 or not re.fullmatch(r"[0-9a-fA-F]+", fields[0]):
        return None
    at = parse_stamp(f"{fields[1]} {fields[2]}", zone, day_first=day_first)
    if at is None and not re.match(r"(?i)pre-?init|post-?init|unspec|invalid", fields[1]):
        return None
    ends = [number for number, field in enumerate(fields) if number > 3 and _DIRECTION.fullmatch(field)]
    if not ends:
        return SelLine(fields[0], at, None)
    end = ends[0]
    kind, sensor = split_type(fields[3])
    event = ", ".join(fields[4:end])
    return SelLine(
        fields[0],
        at,
        SelRecord(kind, sensor, event, not fields[end].lower().startswith("de"), " ".join(fields[end + 1 :])),
    )


def split_type(text: str) -> tuple[str, str]:
    """`Power Supply PS1 Status` → (`Power Supply`, `PS1 Status`); `sensor`, which ipmievd puts between, is left out."""
    for kind in _BY_LENGTH:
        if text.lower().startswith(kind.lower()) and (len(text) == len(kind) or not text[len(kind)].isalnum()):
            rest = text[len(kind) :].strip()
            return kind, rest.removeprefix("sensor ").strip() if rest.startswith("sensor ") else rest
    return "", text.strip()


_THRESHOLD = re.compile(r"(?i)\b(?:Lower|Upper) (?:Non-critical|Critical|Non-recoverable)(?: -)? going (?:low|high)")


def record_of(text: str) -> SelRecord | None:
    """The record in a line of ipmievd's or ipmiseld's, without time, host and tag; None when there is none."""
    _, mark, rest = text.partition("SEL System Event")
    if mark:
        return _ipmiseld(rest)
    direction = _DIRECTION.search(text)
    if direction is None:
        return None
    said, detail = text[: direction.start()].strip(), text[direction.end() :].strip(" ()")
    kind, rest = split_type(said)
    if not kind:
        return None
    asserted = not direction["not"]
    threshold = _THRESHOLD.search(rest)
    if threshold is not None:
        return SelRecord(kind, rest[: threshold.start()].strip(" -"), threshold[0], asserted, detail)
    sensor, dash, event = rest.rpartition(" - ")
    if not dash:
        sensor, event = _without_dash(kind, rest)
    return SelRecord(kind, sensor.strip(), event.strip(), asserted, detail)


def _without_dash(kind: str, text: str) -> tuple[str, str]:
    """Sensor and event where nothing stands between them: the longest event of the table that the text ends with."""
    words = text.split()
    for first in range(len(words)):
        event = " ".join(words[first:])
        if any(row.event.fullmatch(event.lower()) and row.types.search(f"{kind} {text}".lower()) for row in SEL):
            return " ".join(words[:first]), event
    return text, ""


def _ipmiseld(text: str) -> SelRecord | None:
    """`(…)`, a colon, then fields between commas: perhaps date and time, the sensor, perhaps its state, the event."""
    fields = [field.strip() for field in text.partition(":")[2].split(",")]
    fields = [
        field
        for field in fields
        if field and not re.fullmatch(r"\d+|[A-Z][a-z]{2}-\d{1,2}-\d{4}|\d\d:\d\d:\d\d", field)
    ]
    if len(fields) < 2:
        return None
    state = next((field.lower() for field in fields[1:] if field.lower() in _STATES), "")
    direction = next((found for field in fields[1:] if (found := _DIRECTION.fullmatch(field)) is not None), None)
    said = [f for f in fields[1:] if f.lower() not in _STATES and not _DIRECTION.fullmatch(f)]
    named = next((field for field in said[:-1] if field in TYPES), "")
    event = ", ".join(field for field in said if field != named or not named)
    kind, sensor = split_type(fields[0])
    if named or not sensor:
        kind, sensor = named, fields[0]
    record = SelRecord(kind, sensor, event)
    asserted = not direction["not"] if direction is not None else not _has_ended(record, state)
    return SelRecord(kind, sensor, event, asserted)
