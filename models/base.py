"""What every value type of lifeboat shares: frozen, closed to unknown fields, and times in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[wdhms])")
_ISO_DURATION = re.compile(
    r"P(?:(?P<w>\d+(?:\.\d+)?)W)?(?:(?P<d>\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(?P<h>\d+(?:\.\d+)?)H)?(?:(?P<m>\d+(?:\.\d+)?)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?"
)
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}

LONGEST = timedelta(days=36_525)
"""A century: longer durations in a file are slips of the pen, and near the end of what a datetime can hold."""

MOST_BYTES = 1 << 60
"""1 EiB: no memory or disk is larger, and sums over a fleet stay exact."""


def parse_duration(text: str) -> timedelta:
    """Read `30m`, `2h`, `1d12h`, `500ms` or ISO 8601 `PT2H30M`. Raises ValueError on anything else, and over LONGEST."""
    try:
        duration = _read_duration(text[:100])
    except OverflowError:
        duration = timedelta.max
    if duration > LONGEST:
        raise ValueError(f"{text[:40]!r} is longer than a century")
    return duration


@lru_cache(maxsize=1024)  # the same few horizons, for every node in every look
def _read_duration(text: str) -> timedelta:
    compact = text.strip()
    parts = _DURATION_PART.findall(compact)
    if parts and "".join(number + unit for number, unit in parts) == compact.replace(" ", ""):
        return timedelta(seconds=sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts))
    iso = _ISO_DURATION.fullmatch(compact)
    if iso and any(iso.groupdict().values()):
        return timedelta(seconds=sum(float(v) * _UNIT_SECONDS[k] for k, v in iso.groupdict().items() if v))
    raise ValueError(f"{text[:40]!r} is not a duration like 30m, 2h, 7d or PT2H")


def format_duration(duration: timedelta) -> str:
    """The shortest exact form that `parse_duration` reads back: `30m`, `2h`, `1d12h`, `1500ms`."""
    left = round(duration.total_seconds() * 1000)
    if left == 0:
        return "0s"
    parts: list[str] = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def _to_timedelta(value: Any) -> Any:
    if isinstance(value, int | float):
        raise ValueError(f"{value} has no unit: write 30s, 30m, 2h or 7d")
    return parse_duration(value) if isinstance(value, str) else value


def _to_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs a zone, such as 2026-11-23T04:00:00Z")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{value.isoformat()} is not a moment that UTC has") from None


def _within_limits(duration: timedelta) -> timedelta:
    """Not as `Field(ge=…, le=…)`: a field's own limits of the same kind would be passed over."""
    if not timedelta(0) <= duration <= LONGEST:
        raise ValueError("expected a duration between 0s and a century")
    return duration


Duration = Annotated[
    timedelta,
    AfterValidator(_within_limits),
    BeforeValidator(_to_timedelta),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "description": "a duration such as 30m, 2h, 7d or PT2H"}),
]
"""A length of time, never negative, at most LONGEST; in files `30m`, `2h`, `7d` or ISO 8601."""

UtcTime = Annotated[datetime, AfterValidator(_to_utc)]
"""A moment, kept in UTC; in files RFC 3339 with a zone."""


class Value(BaseModel):
    """An immutable value. Unknown fields are an error: a misspelt key must not pass silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    def __copy__(self) -> Self:
        """A copy without what was cached: `model_copy(update=…)` would otherwise keep answers about the old fields."""
        copied = super().__copy__()
        cached = vars(copied)
        for name in cached.keys() - type(self).model_fields.keys():
            del cached[name]
        return copied
