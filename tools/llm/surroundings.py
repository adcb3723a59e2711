"""What a language model may know beyond sizes and risks: how readings ran, events, what fails together, planned work, the past.

As in `fleet_facts`: aliases, numbers and closed words. Parts are `part-1`; signals are named as the shipped catalogue names
them, and one of the operator's own is left out, since its name is free text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from models.base import Value
from models.knowledge import Aftermath, Knowledge, NoteWord, Reading, thinned
from models.risk.risk_level import RiskLevel
from models.risk.signal import Component, HardwareEvent, HardwareEventKind, PartClass, Severity, Signal
from models.situation import Situation
from tools.llm.fleet_facts import Aliases, FleetFacts

POINTS = 16
"""of one reading that a model is shown"""
MAX_READINGS = 12
MAX_PARTS = 24
MAX_PAST = 12
MAX_WORK = 24
MAX_TOGETHER = 24

WORDS = frozenset(str(word) for kind in (NoteWord, Aftermath, HardwareEventKind, PartClass, Severity) for word in kind)


class ReadingFacts(Value):
    part: str
    component: Component
    signal: str
    unit: str
    limit_low: float | None
    limit_high: float | None
    own_word: bool
    """it is what the machine itself says of the part, not a measured level"""
    redundant: bool
    """one of several that do the same"""
    seconds_ago: tuple[float, ...]
    """of `values`, oldest first"""
    values: tuple[float, ...]
    """in `unit`"""


class ReadingsOfNode(Value):
    readings: tuple[ReadingFacts, ...]
    more: int
    """readings left out of this answer"""


class EventFacts(Value):
    part: str
    component: Component
    kind: HardwareEventKind
    part_class: PartClass
    worst: Severity
    count: int
    first_seconds_ago: float
    last_seconds_ago: float
    stands: bool
    """False: the last of them says that the condition went away"""


class EventsOfNode(Value):
    events: tuple[EventFacts, ...]
    """by part and kind, the worst first"""
    more: int


class TogetherFacts(Value):
    node: str
    standing: RiskLevel
    probability: float | None
    """P(it fails within the policy's horizon); None: unknown"""
    driven_by: tuple[Component, ...]
    shared_parts: tuple[Component, ...]
    """parts that drive its risk and that of the node asked about: one cause is likely to be behind both"""


class FailingTogether(Value):
    failure_domain: str | None
    """None: not known, so nothing can be told"""
    nodes: tuple[TogetherFacts, ...]
    """the others in the domain, the likeliest to fail first"""
    more: int


class WorkFacts(Value):
    node: str
    starts_in_seconds: float
    """below 0: it has begun"""
    ends_in_seconds: float


class PlannedWorkFacts(Value):
    work: tuple[WorkFacts, ...]
    """soonest first; what is over is left out"""
    more: int


class PastFacts(Value):
    days_ago: float
    aftermath: Aftermath
    moved: int
    failed: int


class PastOfNode(Value):
    evacuations: tuple[PastFacts, ...]
    """newest first"""
    more: int


class Surroundings:
    """Read-only questions about one moment; their docstrings are what the model reads."""

    def __init__(
        self, situation: Situation, knowledge: Knowledge, facts: FleetFacts, catalogue: Sequence[Signal]
    ) -> None:
        """`catalogue`: the signals that may be named."""
        self._situation = situation
        self._knowledge = knowledge
        self._facts = facts
        self._signals: Mapping[str, Signal] = {signal.name: signal for signal in catalogue}
        parts = [_part(r.node, r.part) for r in knowledge.readings] + [_part(e.node, e.part) for e in knowledge.events]
        self._parts = Aliases("part", parts)

    def words(self) -> frozenset[str]:
        """The closed words that answers may hold: names and units of the catalogue among them."""
        units = {signal.unit for signal in self._signals.values()}
        return WORDS | units | frozenset(self._signals)

    def part_history(self, node: str) -> ReadingsOfNode:
        """How the readings of one node ran lately: seconds ago and value in the given unit, with documented limits. Readings
        that jump at once while the machine's own word on the part stays as it was are worth doubting."""
        name = self._facts.nodes.name(node)
        known = [r for r in self._knowledge.readings if r.node == name and r.signal in self._signals and r.points]
        shown = tuple(self._reading(reading) for reading in known[:MAX_READINGS])
        return ReadingsOfNode(readings=shown, more=max(0, len(known) - MAX_READINGS))

    def hardware_events(self, node: str) -> EventsOfNode:
        """What the hardware of one node logged, by part and kind: how often, how bad, how many seconds ago, whether it stands."""
        name, now = self._facts.nodes.name(node), self._situation.now
        grouped: dict[tuple[str, HardwareEventKind], list[HardwareEvent]] = {}
        for event in self._knowledge.events:
            if event.node == name:
                grouped.setdefault((event.part, event.kind), []).append(event)
        told = [self._event(name, events, now) for events in grouped.values()]
        told.sort(key=lambda e: (-_BAD[e.worst], e.last_seconds_ago, e.part))
        return EventsOfNode(events=tuple(told[:MAX_PARTS]), more=max(0, len(told) - MAX_PARTS))

    def failing_together(self, node: str) -> FailingTogether:
        """The other nodes in one node's failure domain (rack, power feed): how likely they are to fail, and whether the same
        parts drive it. A vm is not safe on a node that fails of the same cause."""
        name = self._facts.nodes.name(node)
        fleet = self._situation.fleet
        domain = fleet.node_by_name[name].failure_domain
        mine = set(self._facts.node_risk(node).driven_by)
        others = [n.name for n in fleet.nodes if domain and n.failure_domain == domain and n.name != name]
        told = [self._together(other, mine) for other in others]
        told.sort(key=lambda each: (-(each.probability or 0.0), each.node))
        return FailingTogether(
            failure_domain=self._facts.node_risk(node).failure_domain,
            nodes=tuple(told[:MAX_TOGETHER]),
            more=max(0, len(told) - MAX_TOGETHER),
        )

    def planned_work(self) -> PlannedWorkFacts:
        """Which nodes are taken out of service on purpose, in how many seconds, until when. What runs there then goes down."""
        now = self._situation.now
        known = [
            w for w in self._knowledge.planned_work if w.node in self._situation.fleet.node_by_name and w.end > now
        ]
        known.sort(key=lambda work: (work.start, work.node))
        told = tuple(
            WorkFacts(
                node=self._facts.nodes.alias(work.node),
                starts_in_seconds=round((work.start - now).total_seconds()),
                ends_in_seconds=round((work.end - now).total_seconds()),
            )
            for work in known[:MAX_WORK]
        )
        return PlannedWorkFacts(work=told, more=max(0, len(known) - MAX_WORK))

    def past_evacuations(self, node: str) -> PastOfNode:
        """Earlier evacuations of one node: how many days ago, how many vms moved, and whether the node then failed or lived on.
        A node that lived on each time may be judged too hard by its forecast."""
        name, now = self._facts.nodes.name(node), self._situation.now
        known = sorted((p for p in self._knowledge.past if p.node == name and p.at <= now), key=lambda p: p.at)[::-1]
        told = tuple(
            PastFacts(
                days_ago=round((now - past.at).total_seconds() / 86400, 1),
                aftermath=past.aftermath,
                moved=past.moved,
                failed=past.failed,
            )
            for past in known[:MAX_PAST]
        )
        return PastOfNode(evacuations=told, more=max(0, len(known) - MAX_PAST))

    def _reading(self, reading: Reading) -> ReadingFacts:
        signal = self._signals[reading.signal]
        points = thinned(reading.points, POINTS)
        return ReadingFacts(
            part=self._parts.alias(_part(reading.node, reading.part)),
            component=signal.component,
            signal=signal.name,
            unit=signal.unit,
            limit_low=reading.low,
            limit_high=reading.high,
            own_word=signal.own_word,
            redundant=signal.redundant,
            seconds_ago=tuple(round(ago, 1) for ago, _ in points),
            values=tuple(float(f"{value:.6g}") for _, value in points),
        )

    def _event(self, node: str, events: Sequence[HardwareEvent], now: datetime) -> EventFacts:
        ordered = sorted(events, key=lambda event: event.time)
        first, last = ordered[0], ordered[-1]
        return EventFacts(
            part=self._parts.alias(_part(node, first.part)),
            component=first.component,
            kind=first.kind,
            part_class=last.part_class,
            worst=max((event.severity for event in events), key=_BAD.__getitem__),
            count=len(events),
            first_seconds_ago=round((now - first.time).total_seconds()),
            last_seconds_ago=round((now - last.time).total_seconds()),
            stands=last.asserted,
        )

    def _together(self, name: str, parts: set[Component]) -> TogetherFacts:
        alias = self._facts.nodes.alias(name)
        risk, there = self._facts.node_risk(alias), self._situation.node_risks[name]
        known = there.probability is not None and there.level is not RiskLevel.UNKNOWN
        return TogetherFacts(
            node=alias,
            standing=there.level,
            probability=round(there.probability or 0.0, 4) if known else None,
            driven_by=risk.driven_by,
            shared_parts=tuple(part for part in risk.driven_by if part in parts),
        )


_BAD = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


def _part(node: str, part: str) -> str:
    return f"{node}\0{part}"
