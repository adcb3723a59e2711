"""Policy: when what can wait is moved, and what waiting may cost."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, Field

from models.base import Duration, Value, parse_duration

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(r"(?:([a-z]{3}(?:,[a-z]{3})*) )?(\d\d):(\d\d)-(\d\d):(\d\d)")


def _checked(text: str) -> str:
    _read(text)
    return text


def _read(text: str) -> tuple[frozenset[int], timedelta, timedelta]:
    """(days of the week, when it opens, for how long). Raises ValueError."""
    found = _WINDOW.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(f"{text[:40]!r} is no window like `22:00-05:00` or `sat,sun 00:00-24:00` (UTC)")
    names, *times = found.groups()
    unknown = [name for name in (names or "").split(",") if name and name not in DAYS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no day: {', '.join(DAYS)}")
    opens, closes = (timedelta(hours=int(h), minutes=int(m)) for h, m in (times[:2], times[2:]))
    if max(opens, closes) > timedelta(days=1) or any(int(minute) > 59 for minute in times[1::2]):
        raise ValueError(f"{text[:40]!r} names a time that no day has")
    days = frozenset(DAYS.index(name) for name in names.split(",")) if names else frozenset(range(7))
    lasts = closes - opens
    return days, opens, lasts if lasts > timedelta(0) else lasts + timedelta(days=1)


Window = Annotated[str, AfterValidator(_checked)]
"""`22:00-05:00` every day, `sat,sun 00:00-24:00` on these; in UTC. One that ends before it begins ends on the day after"""


def openings(window: str, since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
    """(opens, closes) of each time that the window is open between two moments, wholly or in part."""
    days, opens, lasts = _read(window)
    midnight = since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    found: list[tuple[datetime, datetime]] = []
    while midnight <= until:
        begin = midnight + opens
        if midnight.weekday() in days and begin <= until and begin + lasts > since:
            found.append((begin, begin + lasts))
        midnight += timedelta(days=1)
    return found


class WaitPolicy(Value):
    """When what can wait is moved: in maintenance windows, and in a guest's own quiet hours."""

    windows: tuple[Window, ...] = ()
    """maintenance windows; a guest moved in one counts as disturbing nobody. Empty: none"""
    quiet_hours: bool = True
    """look for hours in which the guest itself is quiet, by its processor time of the last week in Prometheus"""
    price: float = Field(default=0.02, ge=0, le=1)
    """what moving a guest live at its busiest costs, as a share of what losing it costs; it waits for a better time while the
    risk until then costs less. 0: nothing waits"""
    stop_price: float = Field(default=0.1, ge=0, le=1)
    """the same for a move that stops it"""
    longest: Duration = Field(default=parse_duration("24h"), ge=timedelta(0), le=timedelta(days=7))
    """nothing is put off further"""
