"""How often a series is scraped, told from counts of its samples."""

from __future__ import annotations

from collections.abc import Mapping

_NICE = (1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 600, 900, 1200, 1800)
"""Scrape intervals that people set, seconds."""


def scrape_cadence(counts: Mapping[str, float]) -> float | None:
    """Seconds between scrapes, from how many there were in each span (`CADENCE_SPANS`, as text); None: too few to tell.

    The longer span is the finer measure, unless the series was not there all the time.
    """
    rates = [int(span) / count for span, count in counts.items() if count >= 2]
    if not rates:
        return None
    cadence = min(rates)
    if len(rates) > 1 and max(rates) <= 1.25 * cadence:
        cadence = int(max(counts, key=int)) / counts[max(counts, key=int)]
    near = min(_NICE, key=lambda nice: abs(nice - cadence))
    return float(near) if abs(near - cadence) <= 0.12 * near else cadence
