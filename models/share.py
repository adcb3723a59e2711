"""A share of few cases, and how little it may say. Pure."""

from __future__ import annotations

import math

Z_90, Z_95 = 1.645, 1.959963984540054
"""two-sided, of the normal distribution"""


def wilson(yes: float, of: int, z: float) -> tuple[float, float]:
    """Wilson's score interval of the share yes / of (E. B. Wilson, J. Am. Stat. Assoc. 22, 209, 1927): it holds for few and for
    none. `yes` may be a sum of shares. Without cases: 0 to 1."""
    if of == 0:
        return 0.0, 1.0
    share, z2 = yes / of, z * z
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = z / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    low = 0.0 if yes == 0 else max(0.0, middle - half)
    return low, 1.0 if yes == of else min(1.0, middle + half)
