"""Times as BMC tools print them, in whatever language the machine spoke that ran them. Pure.

ipmitool up to 1.8.18 writes `11/20/2026,11:45:26`, from 1.8.19 on the date and the time of the locale:
`11/20/2026 11:45:26 AM PST`, `20.11.2026 11:45:26`, `2026年11月20日 11時45分26秒 JST`. FreeIPMI writes `Nov-20-2026 11:45:26`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo

MONTHS = {name: number for number, name in enumerate(
    ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1)}  # fmt: skip
_CLOCK = (
    r"[ ,]+(?P<half_before>午前|午後|上午|下午|오전|오후)? ?"
    r"(?P<hour>\d{1,2})(?:[:.]|時|时|시 ?)(?P<minute>\d\d)(?:[:.]|分|분 ?)(?P<second>\d\d)(?:秒|초)?"
    r"(?: (?P<half>[AaPp])\.?[Mm]\.?)?(?: ?(?P<zone>[A-Z]{3,5}\b|[+-]\d{4}))?"
)
_SLASHED = re.compile(
    r"(?P<first>\d{1,2})(?P<mark>[/.-])(?P<second_one>\d{1,2})[/.-](?P<year>\d{4}|\d{2})\b\.?" + _CLOCK
)
_YEAR_FIRST = re.compile(
    r"(?P<year>\d{4})(?:[/.-]|年|년 ?)(?P<month>\d{1,2})(?:[/.-]|月|월 ?)(?P<day>\d{1,2})(?:日|일|\.)?" + _CLOCK
)
_NAMED = re.compile(r"(?P<month>[A-Z][a-z]{2})-(?P<day>\d{1,2})-(?P<year>\d{4})" + _CLOCK)
_DAY_FIRST = re.compile(r"(?:^|[|, ])(?:1[3-9]|2\d|3[01])/(?:0?[1-9]|1[0-2])/(?:\d{4}|\d{2})[ |,]")
_AFTER_NOON = frozenset({"p", "午後", "下午", "오후"})
_ZONES = {
    # Only names that mean one zone everywhere: CST is in America, in Cuba and in China.
    "UTC": 0.0, "GMT": 0.0, "EST": -5.0, "EDT": -4.0, "MDT": -6.0, "PST": -8.0, "PDT": -7.0, "WET": 0.0, "WEST": 1.0,
    "CET": 1.0, "CEST": 2.0, "EET": 2.0, "EEST": 3.0, "MSK": 3.0, "JST": 9.0, "KST": 9.0, "AEST": 10.0, "AEDT": 11.0,
}  # fmt: skip
"""Hours ahead of UTC."""


def parse_stamp(text: str, zone: tzinfo = UTC, *, day_first: bool = False) -> datetime | None:
    """The time in `text`; None for what has none, such as `Pre-Init`.

    Read as `zone` where the text names none that is known. `day_first`: of `05/11/2026` the 5 is the day; what is written
    with dots always begins with the day.
    """
    found = _YEAR_FIRST.search(text) or _NAMED.search(text) or _SLASHED.search(text)
    if found is None:
        return None
    named = found.groupdict()
    try:
        if "first" in named:
            one, other = int(named["first"]), int(named["second_one"])
            if named["mark"] == "." or day_first or one > 12:
                one, other = other, one
            month, day = one, other
        else:
            month, day = MONTHS.get(named["month"]) or int(named["month"]), int(named["day"])
        year, hour = int(named["year"]), int(named["hour"])
        half = named["half_before"] or (named["half"] or "").lower()
        if half:
            hour = hour % 12 + (12 if half in _AFTER_NOON else 0)
        at = datetime(year + 2000 if year < 100 else year, month, day, hour, int(named["minute"]), int(named["second"]))
        offset = named["zone"] or ""
        if offset[:1] in ("+", "-"):
            ahead = (-1 if offset[0] == "-" else 1) * timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5]))
            return (at - ahead).replace(tzinfo=UTC)
        if offset in _ZONES:
            return (at - timedelta(hours=_ZONES[offset])).replace(tzinfo=UTC)
        return at.replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def is_day_first(lines: Iterable[str]) -> bool:
    """Whether a log writes its dates with the day before the month: some line has a 13th month otherwise."""
    return any(_DAY_FIRST.search(line) for line in lines)
