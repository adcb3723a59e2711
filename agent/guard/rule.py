"""What a rule of the guard is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from agent.guard.facts import PlanFacts, Violation
from models.risk.risk_level import NodeRisk

Check = Callable[[PlanFacts], Iterable[Violation]]
RiskCheck = Callable[[PlanFacts, Mapping[str, NodeRisk]], Iterable[Violation]]
"""given the risk level of every node, too"""
PassText = str | Callable[[PlanFacts], str]
"""what holds when a rule is kept, or what tells it with the figures"""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One thing a plan must keep."""

    id: str
    invariant: int | None
    """the design's invariant it stands for; None for policy alone"""
    check: Check
    describe_pass: PassText
    meaning: str
    """what it holds and why, as `lifeboat guard --explain` prints it: the check's own docstring"""
    policy: tuple[str, ...] = ()
    """the fields of policy that set it: `limits.per_link`"""
    needs_risks: bool = False
    needs_snapshot: bool = False

    def describe_passing(self, facts: PlanFacts) -> str:
        return self.describe_pass if isinstance(self.describe_pass, str) else self.describe_pass(facts)

    def why_not_judged(self, facts: PlanFacts) -> str | None:
        """Which facts it lacks; None when it can be judged."""
        if self.needs_risks and facts.node_risks is None:
            return "no risks were given"
        if self.needs_snapshot and not facts.plan.fleet_sha256:
            return "the plan names no fleet snapshot"
        return None
