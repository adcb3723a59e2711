"""The level of a node's risk under the policy: triggered, elevated, acceptable or unknown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from models.policy.policy import Ceiling, Policy
from models.risk.risk import Risk
from models.text import moment

CLOCK_SKEW_SECONDS = 60.0
"""a snapshot or a risk from the future by more than this means that clocks differ"""


class RiskLevel(StrEnum):
    TRIGGERED = "risky"
    """P(fails within the trigger's horizon) has reached the trigger: its vms should leave"""
    ELEVATED = "raised"
    """not that high, but too high to take vms"""
    ACCEPTABLE = "sound"
    """may take vms"""
    UNKNOWN = "unknown"
    """no risk, no data, or data too old: neither a trigger nor a target"""


@dataclass(frozen=True, kw_only=True)
class NodeRisk:
    """One node's risk, as the policy sees it."""

    node: str
    level: RiskLevel
    probability: float | None
    """P(fails within the trigger's horizon); None when unknown"""
    why: str
    """what a person reads, with the figures"""
    risk: Risk | None
    """None when no risk was given; kept when it is merely too old, so that it can be shown"""

    @property
    def usable_risk(self) -> Risk | None:
        """The risk when it is known well enough to reckon with."""
        return None if self.level is RiskLevel.UNKNOWN else self.risk


def data_age_seconds(risk: Risk, now: datetime) -> float | None:
    """Age now of the newest sample behind a risk: its age when assessed and the time since. None: no data."""
    if risk.data_age_seconds is None:
        return None
    since = 0.0 if risk.assessed_at is None else (now - risk.assessed_at).total_seconds()
    return risk.data_age_seconds + max(0.0, since)


def node_risk(node: str, risk: Risk | None, policy: Policy, now: datetime) -> NodeRisk:
    """One node's risk level. Missing or stale data is unknown, whatever the probability says."""
    if risk is None:
        return NodeRisk(node=node, level=RiskLevel.UNKNOWN, probability=None, why="no risk is known", risk=None)
    if why := _why_unknown(risk, policy, now):
        return NodeRisk(node=node, level=RiskLevel.UNKNOWN, probability=None, why=why, risk=risk)
    horizon = policy.trigger.horizon.total_seconds()
    p, believed = risk.within(horizon), risk.trusted_within(horizon)
    if believed < policy.trigger.probability <= p and policy.forecast.misfit_ceiling is not Ceiling.EVACUATE:
        level = RiskLevel.ELEVATED
        why = f"P(fails) {p:.2g} by a model that does not fit ({risk.misfit}); documented limits give {believed:.2g}"
    elif max(p, believed) >= policy.trigger.probability:
        level, why = RiskLevel.TRIGGERED, f"P(fails) {p:.2g} reaches {policy.trigger.probability:g}"
    elif p > policy.target.max_probability:
        level, why = RiskLevel.ELEVATED, f"P(fails) {p:.2g} is over {policy.target.max_probability:g}"
    else:
        level, why = RiskLevel.ACCEPTABLE, f"P(fails) {p:.2g}"
    return NodeRisk(node=node, level=level, probability=p, why=why, risk=risk)


def _why_unknown(risk: Risk, policy: Policy, now: datetime) -> str | None:
    """Why its data can't be gone by; None when it can."""
    age = data_age_seconds(risk, now)
    limit = policy.data.max_age.total_seconds()
    if age is None:
        return "its risk stands on no data"
    if risk.assessed_at is not None and (risk.assessed_at - now).total_seconds() > CLOCK_SKEW_SECONDS:
        return f"it was assessed at {moment(risk.assessed_at)}, which is still to come: a clock is wrong"
    return f"its data is {age:.0f} s old, more than {limit:.0f} s" if age > limit else None


def node_risks(nodes: Iterable[str], risks: Iterable[Risk], policy: Policy, now: datetime) -> dict[str, NodeRisk]:
    """The risk level of each of `nodes`. Raises ValueError when two risks speak of one node."""
    by_node: dict[str, Risk] = {}
    for risk in risks:
        if risk.node in by_node:
            raise ValueError(f"two risks for node {risk.node!r}")
        by_node[risk.node] = risk
    return {node: node_risk(node, by_node.get(node), policy, now) for node in nodes}
