"""The guard's rules on how much happens at once. They are told after those of `agent.guard.rules`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent.guard.facts import PlanFacts, Violation
from agent.guard.margins import busiest_wave, nodes_at_trigger
from agent.guard.registry import risk_rule, rule
from agent.guard.rules import RULES
from models.fleet import NodeState
from models.risk_level import NodeRisk, RiskLevel
from models.schedule import Limit, exceeded

__all__ = ["RULES"]


def _limit(facts: PlanFacts, limit: Limit) -> Iterator[Violation]:
    for wave in facts.waves:
        if why := exceeded(limit, [move for _, move in wave], facts.policy.limits):
            yield Violation(f"wave {wave[0][0].wave}: {why}")


@rule("limit-outbound", busiest_wave(Limit.OUTBOUND), invariant=8)
def limit_outbound(facts: PlanFacts) -> Iterator[Violation]:
    """Moves off one node, archives among them, in one wave."""
    yield from _limit(facts, Limit.OUTBOUND)


@rule("limit-inbound", busiest_wave(Limit.INBOUND), invariant=8)
def limit_inbound(facts: PlanFacts) -> Iterator[Violation]:
    """Migrations onto one node, in one wave."""
    yield from _limit(facts, Limit.INBOUND)


@rule("limit-link", busiest_wave(Limit.LINK), invariant=8)
def limit_link(facts: PlanFacts) -> Iterator[Violation]:
    """Migrations from one node to one other, in one wave."""
    yield from _limit(facts, Limit.LINK)


@rule("limit-fleet", busiest_wave(Limit.FLEET), invariant=8)
def limit_fleet(facts: PlanFacts) -> Iterator[Violation]:
    """Actions of any kind, in one wave."""
    yield from _limit(facts, Limit.FLEET)


@rule("limit-archives", busiest_wave(Limit.ARCHIVES), invariant=8)
def limit_archives(facts: PlanFacts) -> Iterator[Violation]:
    """Cold archives read from one node, in one wave."""
    yield from _limit(facts, Limit.ARCHIVES)


@risk_rule("storm", nodes_at_trigger, invariant=8)
def storm(facts: PlanFacts, risks: Mapping[str, NodeRisk]) -> Iterator[Violation]:
    """When too much of the fleet looks risky at once the monitoring is suspect: halt."""
    active = [node.name for node in facts.fleet.nodes if node.state is NodeState.ACTIVE]
    risky = [name for name in active if risks[name].level is RiskLevel.TRIGGERED]
    rules = facts.policy.storm
    if len(risky) >= rules.min_nodes and len(risky) > rules.max_risky_fraction * len(active):
        yield Violation(
            f"{len(risky)} of {len(active)} active nodes look risky at once, policy believes "
            f"{rules.max_risky_fraction:.0%} at most: suspect the monitoring, look at it first (limit: storm.max_risky_fraction)"
        )
