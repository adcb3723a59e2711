"""Which signals and event kinds count damage, by their names.

Reallocated, pending and uncorrectable sectors, command timeouts, link CRC errors, corrected and uncorrected ECC errors: such
a counter falls only when a part was replaced or its reading is wrong. Seagate's raw read and seek error rates (smart_1,
smart_7) are not counts of damage: their raw value is two packed numbers.

The forecast is not held to "more damage is never good news": on drives that cost a forest a tenth of its average precision
and more (docs/forecast-figures.md), because a counter that stands high and still is a unit that has lived with it.
"""

from __future__ import annotations

import re

SMART = frozenset({"5", "10", "181", "182", "184", "187", "188", "196", "197", "198", "199", "200"})
"""Raw values that count something going wrong (smartmontools' drivedb, names of the ATA attributes)."""
_WORDS = re.compile(
    r"(?:^|[_\W])(?:errors?|uncorrect\w*|corrected|reallocated|pending|ecc|ce|ue|crc|retries|bad_blocks)(?:$|[_\W])"
)


def is_damage(subject: str) -> bool:
    """Whether the signal or event kind `subject` counts damage, by its name."""
    number = re.fullmatch(r"smart_(\d+)(?:_raw)?", subject)
    if number:
        return number[1] in SMART
    return bool(_WORDS.search(subject.lower()))
