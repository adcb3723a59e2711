"""Nodes that look like failing as one: of one rack or feed, and for the same reason. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from models.fleet import Node
from models.risk.risk_level import NodeRisk, RiskLevel
from models.text import listed, visible

LEAST_NODES = 2
LEAST_SHARE = 1 / 3
"""of a domain's nodes that have to be at the trigger for one reason. A judgement: two of twenty with bad disks are two disks,
two of four whose supply sags are their feed"""


@dataclass(frozen=True, kw_only=True)
class DomainEvent:
    """One cause that takes a failure domain along."""

    domain: str
    nodes: tuple[str, ...]
    """at the trigger, for the shared reason"""
    signals: tuple[str, ...]
    """that all of them have among their drivers"""

    @property
    def why(self) -> str:
        shared = listed([visible(signal, 60) for signal in self.signals])
        nodes = listed([visible(node, 60) for node in self.nodes])
        return f"{visible(self.domain, 60)} looks like failing as one: {nodes} are at the trigger for {shared}"


def domain_events(nodes: Iterable[Node], node_risks: Mapping[str, NodeRisk]) -> tuple[DomainEvent, ...]:
    """The failure domains of which a third of the nodes, and two at the least, are at the trigger for the same signal."""
    by_domain: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        if node.failure_domain:
            by_domain[node.failure_domain].append(node.name)
    found: list[DomainEvent] = []
    for domain, names in sorted(by_domain.items()):
        by_signal: dict[str, list[str]] = defaultdict(list)
        for name in names:
            there = node_risks[name]
            if there.level is RiskLevel.TRIGGERED and there.risk is not None:
                for signal in {driver.signal for driver in there.risk.drivers if driver.signal}:
                    by_signal[signal].append(name)
        shared = {
            signal: tuple(some)
            for signal, some in by_signal.items()
            if len(some) >= LEAST_NODES and len(some) >= LEAST_SHARE * len(names)
        }
        if shared:
            most = max(shared.values(), key=len)
            signals = tuple(sorted(signal for signal, some in shared.items() if some == most))
            found.append(DomainEvent(domain=domain, nodes=most, signals=signals))
    return tuple(found)


def with_domain_events(
    nodes: Iterable[Node], node_risks: Mapping[str, NodeRisk], events: Iterable[DomainEvent]
) -> dict[str, NodeRisk]:
    """The risks, in which a node that is sound by itself takes no vm while its domain looks like failing as one."""
    by_domain = {event.domain: event for event in events}
    raised = {
        node.name: replace(node_risks[node.name], level=RiskLevel.ELEVATED, why=by_domain[node.failure_domain].why)
        for node in nodes
        if node.failure_domain in by_domain and node_risks[node.name].level is RiskLevel.ACCEPTABLE
    }
    return {name: raised.get(name, there) for name, there in node_risks.items()}
