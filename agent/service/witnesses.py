"""What a pass does where too little speaks against a node to stop its guests, and a person would have to agree."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from agent.assess.tiers import Tiers, drain_only_policy
from agent.guard.judge import judge
from agent.plan.solver import plan as solve
from models.plan import Approval, Plan, Verdict
from models.planning.corroboration import why_uncorroborated
from models.policy.policy import Policy
from models.situation import Situation


def without_asking(situation: Situation, wanted: tuple[str, ...]) -> tuple[Plan, Verdict, Policy] | None:
    """What may be done at once though all of it would wait for a person, because some of `wanted` have too few witnesses
    against them: the other nodes' part, else what can move live; with the policy it is planned by. None: nothing may.

    So whoever makes one node look ill by one lie neither stops a guest nor holds up what moves.
    """
    lone = set(_lone(situation, wanted))
    if not lone:
        return None
    sure = tuple(node for node in wanted if node not in lone)
    for nodes, policy in ((sure, situation.policy), (wanted, drain_only_policy(situation.policy))):
        part = solve(replace(situation, policy=policy), nodes) if nodes else None
        if part is not None and part.moves:
            judged = judge(part, situation)
            if judged.passed and judged.approval is Approval.NONE:
                return part, judged, policy
    return None


@dataclass
class Unheard:
    """Nodes that nobody agreed about while too little spoke against them: once more does, policy alone may, without waiting."""

    _nodes: set[str] = field(default_factory=set[str])

    def remember(self, situation: Situation, nodes: Collection[str]) -> None:
        self._nodes |= set(_lone(situation, nodes))

    def hear(self, situation: Situation, tiers: Tiers) -> None:
        """End the cooldown of those that more speaks against now."""
        heard = self._nodes - set(_lone(situation, self._nodes))
        tiers.clear_cooldown(heard)
        self._nodes -= heard


def _lone(situation: Situation, nodes: Collection[str]) -> list[str]:
    levels = situation.node_risks
    return [node for node in nodes if node in levels and why_uncorroborated(levels[node], situation.policy) is not None]
