"""What every decision is made from: the fleet, its risks, the policy and the time, which belong together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from models.brake import held_vms
from models.failure_domains import DomainEvent, domain_events, with_domain_events
from models.fleet import Fleet, NodeState
from models.policy.policy import Policy
from models.risk.risk import Risk
from models.risk.risk_level import NodeRisk, RiskLevel, node_risks


@dataclass(frozen=True, kw_only=True)
class Situation:
    """One moment, as planner, guard, tiers and language model see it. `dataclasses.replace` gives a changed one."""

    fleet: Fleet
    risks: Sequence[Risk] | None
    """None: nobody gave any, so that every node's is unknown"""
    policy: Policy
    now: datetime

    @cached_property
    def node_risks(self) -> Mapping[str, NodeRisk]:
        """The risk level of every node of the fleet, in its order; of a failure domain that looks like failing as one no node is
        sound. Raises ValueError when two risks speak of one node."""
        events = self.domain_events
        return with_domain_events(self.fleet.nodes, self._own_risks, events) if events else self._own_risks

    @cached_property
    def domain_events(self) -> tuple[DomainEvent, ...]:
        """Racks or feeds that look like failing as one."""
        return domain_events(self.fleet.nodes, self._own_risks)

    @cached_property
    def _own_risks(self) -> Mapping[str, NodeRisk]:
        return node_risks((node.name for node in self.fleet.nodes), self.risks or (), self.policy, self.now)

    @cached_property
    def held(self) -> Mapping[str, str]:
        """Every vm that moved too lately or too often to be moved again now, by uuid, with why."""
        return held_vms(self.fleet, self.node_risks, self.policy, self.now)

    def at_level(self, level: RiskLevel) -> list[str]:
        """Names of the nodes at this level, in the fleet's order."""
        return [name for name, node in self.node_risks.items() if node.level is level]

    def failure_probability(self, node: str, seconds: float) -> float:
        """P(the node fails within `seconds`).

        A node whose risk is unknown and that a person asked to evacuate is treated as just at the trigger, growing evenly.
        """
        risk = self.node_risks[node].usable_risk
        if risk is not None:
            return risk.within(seconds)
        return self.policy.trigger.probability * min(1.0, seconds / self.horizon_seconds)

    def risk_curve(self, node: str) -> list[tuple[float, float]]:
        """(seconds, P(the node fails within them)) from 0 to the trigger's horizon; between the points it is linear."""
        risk, horizon = self.node_risks[node].usable_risk, self.horizon_seconds
        inside = [] if risk is None else [at for at, _ in risk.curve if at < horizon]
        return [(at, self.failure_probability(node, at)) for at in (0.0, *inside, horizon)]

    @property
    def horizon_seconds(self) -> float:
        """The trigger's horizon: losses are counted within it."""
        return self.policy.trigger.horizon.total_seconds()

    def as_if_others_were_known(self, leaving: Collection[str]) -> Situation:
        """With every node that is silent, or of which nothing is known, well: it may be at the next look. Not those
        `leaving`."""
        unknown = set(self.at_level(RiskLevel.UNKNOWN)) - set(leaving)
        well = [
            Risk(node=node, probability={"2h": 0.0}, data_age_seconds=0.0, assessed_at=self.now) for node in unknown
        ]
        nodes = (
            node.model_copy(update={"state": NodeState.ACTIVE})
            if node.state is NodeState.OFFLINE and node.name not in leaving
            else node
            for node in self.fleet.nodes
        )
        return replace(
            self,
            fleet=self.fleet.model_copy(update={"nodes": tuple(nodes)}),
            risks=[*(risk for risk in self.risks or () if risk.node not in unknown), *well],
        )
