"""How log lines are laid out: time, host, program, message. Pure.

| layout | example |
|---|---|
| RFC 3339 (rsyslog's file format, journalctl `short-iso`) | `2026-11-20T11:50:00.123+00:00 node-a kernel: message` |
| RFC 3164 (rsyslog's traditional format, journalctl `short`) | `Nov 20 11:50:00 node-a kernel: message` |
| RFC 5424 | `<4>1 2026-11-20T11:50:00Z node-a kernel - - - message` |
| dmesg -T | `[Fri Nov 20 11:50:00 2026] message` |
| journalctl -o json | `{"__REALTIME_TIMESTAMP": "…", "_HOSTNAME": "…", "SYSLOG_IDENTIFIER": "kernel", "MESSAGE": "…"}` |
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, cast

from tools.logs.sel.stamps import MONTHS

LONGEST_LINE = 8192
_PRI = r"(?:<\d{1,3}>)?"
_TAG = r"(?P<tag>[^:\s\[]{1,48})(?:\[\d+\])?: ?(?P<message>.*)"
_RFC3339 = re.compile(
    rf"{_PRI}(?P<time>\d{{4}}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{{1,6}})?)\d*(?P<zone>Z|[+-]\d\d:?\d\d)? (?P<host>\S+) {_TAG}"
)
_RFC3164 = re.compile(
    rf"{_PRI}(?P<month>[A-Z][a-z]{{2}}) +(?P<day>\d{{1,2}}) (?:(?P<year>\d{{4}}) )?(?P<clock>\d\d:\d\d:\d\d)(?:\.\d+)? "
    rf"(?P<host>\S+) {_TAG}"
)
_RFC5424 = re.compile(
    r"<\d{1,3}>1 (?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?)\d*(?P<zone>Z|[+-]\d\d:?\d\d) (?P<host>\S+) "
    r"(?P<tag>\S+) \S+ \S+ (?:-|(?:\[.*?\])+) ?(?:\ufeff)?(?P<message>.*)"
)
_DMESG = re.compile(
    r"\[(?:[A-Z][a-z]{2}) (?P<month>[A-Z][a-z]{2}) +(?P<day>\d{1,2}) (?P<clock>\d\d:\d\d:\d\d) (?P<year>\d{4})\] (?P<message>.*)"
)
_LATE = timedelta(days=1)
"""A time without a year may be this far ahead before it is taken for the year before."""


@dataclass(frozen=True)
class LogLine:
    """One line, taken apart."""

    at: datetime
    host: str
    """empty where the layout has none"""
    tag: str
    message: str


@dataclass(frozen=True)
class Reference:
    """What a time without a year or a zone is read against."""

    now: datetime
    zone: tzinfo = UTC


def split(line: str, reference: Reference) -> LogLine | None:
    """The line's time, host, program and message; None when it is laid out otherwise or has no such time."""
    line = line[:LONGEST_LINE]
    try:
        if line.startswith("{"):
            return _json(line)
        found = _RFC3339.match(line) or _RFC5424.match(line)
        if found is not None:
            at = datetime.fromisoformat(found["time"].replace(",", ".") + (found["zone"] or ""))
            at = at if at.tzinfo is not None else at.replace(tzinfo=reference.zone)
            return LogLine(at.astimezone(UTC), found["host"], found["tag"], found["message"])
        found = _RFC3164.match(line)
        if found is not None:
            return LogLine(_dated(found, reference), found["host"], found["tag"], found["message"])
        found = _DMESG.match(line)
        if found is not None:
            return LogLine(_dated(found, reference), "", "kernel", found["message"])
    except (ValueError, OverflowError, KeyError, RecursionError):
        return None
    return None


def _dated(found: re.Match[str], reference: Reference) -> datetime:
    """A time that may lack its year: the newest year in which it is not ahead of now."""
    now = reference.now.astimezone(reference.zone)
    month, day, clock = MONTHS[found["month"]], int(found["day"]), found["clock"]
    for year in (int(found["year"]),) if found["year"] else range(now.year + 1, now.year - 9, -1):
        try:
            at = datetime.fromisoformat(f"{year}-{month:02d}-{day:02d}T{clock}").replace(tzinfo=reference.zone)
        except ValueError:
            continue  # 29 February
        if found["year"] or at <= now + _LATE:
            return at.astimezone(UTC)
    raise ValueError("no year fits")


def _json(line: str) -> LogLine | None:
    entry: Any = json.loads(line)
    if not isinstance(entry, dict):
        return None
    fields = cast("dict[str, Any]", entry)
    stamp = fields.get("_SOURCE_REALTIME_TIMESTAMP") or fields["__REALTIME_TIMESTAMP"]
    tag = fields.get("SYSLOG_IDENTIFIER") or ("kernel" if fields.get("_TRANSPORT") == "kernel" else "")
    at = datetime.fromtimestamp(int(str(stamp)) / 1e6, UTC)
    return LogLine(at, str(fields.get("_HOSTNAME", "")), str(tag), str(fields.get("MESSAGE", ""))[:LONGEST_LINE])


def is_same_host(one: str, other: str) -> bool:
    """Whether two names are one host's: the same, or one of them short and the other with a domain."""
    if one.lower() == other.lower():
        return True
    short, other_short = one.split(".")[0].lower(), other.split(".")[0].lower()
    return short == other_short and ("." not in one or "." not in other)
