"""Where physics says which way a feature goes: no count of damage makes a unit safer.

Reallocated, pending and uncorrectable sectors, command timeouts, link CRC errors, corrected and uncorrected ECC errors:
with everything else alike, more of them, or a faster rise, is never good news. Trees are constrained to say so. Seagate's
raw read and seek error rates (smart_1, smart_7) are not counts of damage: their raw value is two packed numbers.
"""

from __future__ import annotations

import re

from models.forecast.learned.descriptions import parted

SMART = frozenset({"5", "10", "181", "182", "184", "187", "188", "196", "197", "198", "199", "200"})
"""Raw values that count something going wrong (smartmontools' drivedb, names of the ATA attributes)."""
_WORDS = re.compile(
    r"(?:^|[_\W])(?:errors?|uncorrect\w*|corrected|reallocated|pending|ecc|ce|ue|crc|retries|bad_blocks)(?:$|[_\W])"
)
_LEVELS = ("last", "change_", "rises_", "count_", "total")


def damage(name: str) -> int:
    """1 if the risk may not fall as the feature `name` rises, else 0."""
    subject, what = parted(name)
    return int(is_damage(subject) and what.startswith(_LEVELS))


def is_damage(subject: str) -> bool:
    """Whether the signal or event kind `subject` counts damage, by its name."""
    number = re.fullmatch(r"smart_(\d+)(?:_raw)?", subject)
    if number:
        return number[1] in SMART
    return bool(_WORDS.search(subject.lower()))
