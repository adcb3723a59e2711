"""What happens to a fleet in a day: drawn from a seed, so that each day can be had again. Times are hours of the fleet."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bench.simulated_prometheus import Trouble

CALM_HOURS = 1.0
"""at the end nothing new goes wrong, and everything is mended: what is under way then has to come to its end"""


@dataclass(frozen=True, kw_only=True)
class Event:
    at: float
    """hours since the day began"""
    what: str
    whom: str = ""
    hours: float = 0.0
    """until it is over"""

    @property
    def is_asked(self) -> bool:
        """A person asks for it: written into the journal."""
        return self.what in ("pause", "cancel")

    def __str__(self) -> str:
        return f"{self.at:6.2f} h  {self.what} {self.whom}{f' for {self.hours * 60:.1f} min' if self.hours else ''}"


@dataclass(frozen=True, kw_only=True)
class Day:
    events: tuple[Event, ...]
    troubles: tuple[Trouble, ...]
    """as Prometheus sees it"""
    planned: tuple[tuple[str, float, float], ...]
    """node and unix seconds of planned work"""

    @property
    def blind(self) -> list[tuple[str, datetime, datetime]]:
        """Node, and from when to when nothing is told of it, or nothing that is a number."""
        return [
            (each.node, datetime.fromtimestamp(each.start, UTC), datetime.fromtimestamp(each.until, UTC))
            for each in self.troubles
            if each.kind in ("silent", "nan")
        ]


def drawn(seed: int, nodes: Sequence[str], hours: float, began: float, *, busy: float = 1.0) -> Day:
    """`began`: unix seconds of the day's beginning; `busy`: how much happens, 1 is some 240 things a day."""
    draw = random.Random(seed)
    last = hours - CALM_HOURS * min(1.0, hours / 8)
    events: list[Event] = []
    troubles: list[Trouble] = []
    planned: list[tuple[str, float, float]] = []
    free: list[str] = []

    def one() -> str:
        """A node that nothing is wrong with yet; where the day is long and the fleet small, everybody has their turn again."""
        if not free:
            free.extend(draw.sample(nodes, len(nodes)))
        return free.pop()

    def times(a_day: float, how_busy: float = busy) -> list[float]:
        return sorted(draw.uniform(0.04 * hours, last) for _ in range(max(1, round(a_day * how_busy * hours / 24))))

    def trouble(node: str, kind: str, at: float, until: float) -> None:
        troubles.append(Trouble(node=node, kind=kind, start=began + 3600 * at, until=began + 3600 * until))  # type: ignore[arg-type]

    for at in times(20):  # its supply goes, and then the node
        node, dies = one(), at + draw.uniform(0.9, 2.5)
        trouble(node, "sag", at, dies)
        if draw.random() < 0.6 and dies < last:
            events.append(Event(at=dies, what="kill node", whom=node, hours=draw.uniform(0.3, 2.0)))
            trouble(node, "silent", dies, dies + 2.0)
    for at in times(6):  # without a warning
        node = one()
        events.append(Event(at=at, what="kill node", whom=node, hours=draw.uniform(0.2, 1.0)))
        trouble(node, "silent", at, at + 1.0)
    for at in times(14):
        trouble(one(), "flap", at, min(last, at + draw.uniform(0.3, 2.0)))
    for at in times(14):
        trouble(one(), "silent", at, min(last, at + draw.uniform(0.1, 1.0)))
    for at in times(12):
        events.append(Event(at=at, what="cut off", whom=one(), hours=draw.uniform(0.05, 0.7)))
    for at in times(16):
        events.append(Event(at=at, what="restart libvirtd", whom=draw.choice(nodes), hours=draw.uniform(0.005, 0.05)))
    for at in times(30):
        events.append(Event(at=at, what="cut links of", whom=draw.choice(nodes), hours=draw.uniform(0.02, 0.2)))
    for at in times(4):
        node, until = one(), at + draw.uniform(0.3, 1.5)
        planned.append((node, began + 3600 * at, began + 3600 * until))
        trouble(node, "silent", at, until)
        events.append(Event(at=at, what="cut off", whom=node, hours=until - at))
    for at in times(6, 1.0):  # however busy the day is: nothing else happens while nobody can look
        trouble("", draw.choice(("refuses", "drips")), at, at + draw.choice((0.05, 0.2, 0.6)))
    for at in times(6, 1.0):
        events.append(Event(at=at, what="freeze Prometheus", hours=draw.uniform(0.05, 0.3)))
    for at in times(8):
        events.append(Event(at=at, what="freeze Slack and the model", hours=draw.uniform(0.05, 0.5)))
    for at in times(10):
        events.append(
            Event(at=at, what=draw.choice(("Slack is down", "Slack drops sockets")), hours=draw.uniform(0.05, 0.5))
        )
    for at in times(10):
        events.append(Event(at=at, what="lock the database", hours=draw.choice((0.02, 0.1, 0.3))))
    for at in times(10):
        events.append(Event(at=at, what="SIGHUP"))
    for at in times(8):
        events.append(Event(at=at, what="SIGTERM"))
    for at in times(6):
        events.append(Event(at=at, what="kill switch", hours=draw.uniform(0.05, 0.4)))
    for at in times(40):
        events.append(Event(at=at, what=draw.choice(("pause", "pause", "cancel")), hours=draw.uniform(0.01, 0.2)))
    for at in times(8):  # drawn last, so that a day of before is the same but for this
        trouble(one(), "nan", at, min(last, at + draw.uniform(0.3, 1.5)))
    return Day(events=tuple(sorted(events, key=lambda each: each.at)), troubles=tuple(troubles), planned=tuple(planned))
