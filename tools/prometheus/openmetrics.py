"""What an OpenMetrics file holds, before anybody is asked about it: which nodes, from when until when, and how often scraped."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

_TIMED = re.compile(rb"^[a-zA-Z_:][^ {]*(?:\{.*\})? +\S+ +(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?: +#.*)?$")
_SAMPLE = re.compile(rb"^[a-zA-Z_:][^ {]*(?:\{.*\})? +\S+")
_SHORTEST, _LONGEST = 1, 3600
"""Seconds between samples of one series that may be a scrape interval."""


@dataclass
class OpenMetricsFacts:
    """What was found in a file, without judging it."""

    samples: int = 0
    untimed: int = 0
    """lines of samples that carry no time"""
    first: float | None = None
    """unix seconds of the oldest sample"""
    last: float | None = None
    nodes: set[str] = field(default_factory=set[str])
    """values of the label that names nodes, a `:port` at their end left off"""
    scrape_seconds: float | None = None
    """the commonest distance between two samples of one series; of `up`, where that is there"""


def facts_of(path: Path, *, node_label: str = "instance") -> OpenMetricsFacts:
    """Read a file line by line. Raises OSError."""
    with path.open("rb") as file:
        return facts_of_lines(file, node_label=node_label)


def facts_of_lines(lines: Iterable[bytes], *, node_label: str = "instance") -> OpenMetricsFacts:
    """As `facts_of`. Lines that are no samples are passed over."""
    facts = OpenMetricsFacts()
    label = re.compile(rb"[{,]\s*" + re.escape(node_label.encode()) + rb'="((?:[^"\\]|\\.)*)"')
    before: dict[bytes, float] = {}
    gaps: Counter[int] = Counter()
    ups: Counter[int] = Counter()
    seen: set[bytes] = set()
    for line in lines:
        line = line.rstrip()
        if not line or line.startswith(b"#"):
            continue
        found = _TIMED.match(line)
        if found is None:
            facts.untimed += bool(_SAMPLE.match(line))
            continue
        at = float(found[1])
        facts.samples += 1
        facts.first = at if facts.first is None or at < facts.first else facts.first
        facts.last = at if facts.last is None or at > facts.last else facts.last
        series = line[: line.rfind(b"}") + 1] or line.split(b" ", 1)[0]
        if series in before:
            gap = round(at - before[series])
            if _SHORTEST <= gap <= _LONGEST:
                gaps[gap] += 1
                if series.startswith(b"up{"):
                    ups[gap] += 1
        else:
            named = label.search(series)
            if named is not None:
                seen.add(named[1])
        before[series] = at
    facts.nodes = {re.sub(r":\d+$", "", name.decode("utf-8", "replace")) for name in seen}
    common = (ups or gaps).most_common(1)
    facts.scrape_seconds = float(common[0][0]) if common else None
    return facts
