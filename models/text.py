"""Facts as a person reads them: names from outside made harmless, and figures with their unit."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime, timedelta

NIGHT_BEGINS, NIGHT_ENDS = 18, 6
"""hours that people call the night"""
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_USER_IN_URL = re.compile(r"(?<=://)(?:[^/@\s]+|[^/@\s:]*:[^@\s'\"]+)@")
"""also with a password that has a slash in it, as keys of S3 do"""
_SECRET_IN_QUERY = re.compile(
    r"([?&][^=&\s]*(?:passw|secret|token|key|sig|credential)[^=&\s]*=)[^&\s'\"]+", re.IGNORECASE
)
_SECRET_IN_HEADER = re.compile(
    r"(\b(?:basic|bearer)\s+)[\w+/=.~-]{16,}"
    r"|((?:authorization|cookie|api[-_]?key|auth[-_]?token|access[-_]?token|password|secret)['\"]?\s*[:=]\s*b?['\"]?)"
    r"(?!(?:basic|bearer)\s)[^\s'\",;})\]]{6,}",
    re.IGNORECASE,
)
"""what a server that says back a request's headers says"""
_PLAIN_HEADERS = frozenset(
    {"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"}
)


def visible(text: str, limit: int = 200) -> str:
    """`text` in one line, with every character that does not show written out as `\\u202e` or `\\x1b`.

    Names, labels and log-made reasons come from outside and may hold ANSI escapes, marks that reverse the reading
    direction, or newlines. Longer texts are cut to `limit` characters, the last of them `…`. HTML is the renderer's
    business: nothing is escaped for it here.
    """
    out: list[str] = []
    for character in text[: limit + 1]:
        if character in "\n\t":
            out.append(" ")
        elif unicodedata.category(character) in _UNSEEN:
            code = ord(character)
            out.append(f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
        else:
            out.append(character)
    line = "".join(out)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def visible_lines(text: str) -> str:
    """`text` with its line breaks, and every other character that does not show written out as `visible` does."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "\n".join(visible(line, 8 * len(line) + 1) for line in text.split("\n"))


def without_credentials(text: str) -> str:
    """`text` with what logs in cut out of its URLs and headers: `s3://…@host/path`, `https://host/path?token=…`, `Bearer …`."""
    text = _SECRET_IN_QUERY.sub(r"\1…", _USER_IN_URL.sub("…@", text))
    return _SECRET_IN_HEADER.sub(lambda found: f"{found[1] or found[2]}…", text)


def without_sent(text: str, headers: Mapping[str, str | bytes]) -> str:
    """What a server said, without what it was sent in `headers`, and without credentials of any other kind."""
    for name, sent in headers.items():
        value = sent.decode(errors="replace") if isinstance(sent, bytes) else sent
        for part in (value, *value.split()[-1:]):
            if name.lower() not in _PLAIN_HEADERS and len(part) > 5:
                text = text.replace(part, "…")
    return without_credentials(text)


def percent(probability: float) -> str:
    """`93 %`, `0.4 %`, `< 0.1 %`, `> 99.9 %`; the ends of the scale are only named when they are exact."""
    share = probability * 100
    if share in (0.0, 100.0):
        return f"{share:.0f} %"
    if share < 0.1:
        return "< 0.1 %"
    if share > 99.9:
        return "> 99.9 %"
    return f"{share:.0f} %" if 9.95 <= share <= 99.0 else f"{share:.1f} %"


def seconds_in_words(seconds: float) -> str:
    """`168 ms`, `4.2 s`, `41 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds < 0:
        return f"-{seconds_in_words(-seconds)}"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms" if seconds else "0 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    for size, unit, below, below_size in ((86_400, "d", "h", 3600), (3600, "h", "min", 60), (60, "min", "s", 1)):
        if whole >= size:
            rest = whole % size // below_size
            return f"{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"


def bytes_in_words(count: float) -> str:
    """`512 B`, `1.5 MiB`, `16 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1023.5:
            return f"{count:.0f} {unit}" if unit == "B" or abs(count) >= 9.95 else f"{count:.2g} {unit}"
        count /= 1024
    return f"{count:.1f} PiB"


def moment(time: datetime) -> str:
    """`2026-11-23 04:00:07 UTC`; the time is already in UTC."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def listed(items: list[str], *, limit: int = 4) -> str:
    """`a`, `a and b`, `a, b and 3 more`."""
    if len(items) > limit:
        items = [*items[: limit - 1], f"{len(items) - limit + 1} more"]
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 vm`, `5 vms`."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def when_in_words(at: datetime, now: datetime) -> str:
    """`now`, `today 14:00`, `tonight 02:10`, `tomorrow 14:00` or `2026-11-29 02:10`, all UTC and said so where it is not now."""
    if at <= now:
        return "now"
    days = (at.date() - now.date()).days
    night = at.hour >= NIGHT_BEGINS or at.hour < NIGHT_ENDS
    if night and at - now < timedelta(hours=24) and (days == 0 or at.hour < NIGHT_ENDS or now.hour >= NIGHT_BEGINS):
        return f"tonight {at:%H:%M} UTC"
    day = {0: "today", 1: "tomorrow"}.get(days, f"{at:%Y-%m-%d}")
    return f"{day} {at:%H:%M} UTC"
