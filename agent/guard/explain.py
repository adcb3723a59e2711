"""What a rule holds, why, and what sets it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from agent.guard.rule import Rule
from agent.guard.rules import RULES
from models.base import Value
from models.errors import BadInput
from models.policy.policy import Policy

INVARIANTS = {
    1: "At most one copy of a vm runs, ever; unreachable is not stopped.",
    6: "An approval holds for one plan on one fleet: what changed since voids it.",
    7: "A cold archive needs its owner's consent and policy's leave, and can be restored.",
    8: "Limits hold on every node, link and in the fleet; nothing moves onto a node at risk or past its memory.",
    9: "A move that fails leaves the vm as it was found, and costs the others nothing.",
    11: "Stale or missing data is unknown, and unknown is never healthy.",
    12: "Whoever proposes a plan, language model included, goes through the same guard.",
}
"""the design's invariants that rules stand for, in one line each"""


class Setting(Value):
    """One field of policy and what it is."""

    field: str
    value: Any


class RuleExplained(Value):
    """One rule, for a person and as JSON."""

    rule: str
    meaning: str
    invariant: str | None
    """None: it is policy's alone"""
    settings: tuple[Setting, ...]
    """under the policy given"""
    not_judged_without: tuple[str, ...]
    """files it needs; without them it is not judged, and a human has to agree"""


def explain(rule_id: str, policy: Policy) -> RuleExplained:
    """The rule of this id. Raises BadInput with the nearest ones when there is none."""
    rule = next((rule for rule in RULES if rule.id == rule_id), None)
    if rule is None:
        ids = [rule.id for rule in RULES]
        near = get_close_matches(rule_id, ids, n=3, cutoff=0.4) or ids
        raise BadInput(f"there is no rule {rule_id!r}", hint=f"such as {', '.join(near)}; `--explain all` lists them")
    return _explained(rule, policy)


def explain_all(policy: Policy) -> Sequence[RuleExplained]:
    """Every rule, in the order they are judged."""
    return [_explained(rule, policy) for rule in RULES]


def _explained(rule: Rule, policy: Policy) -> RuleExplained:
    values = policy.model_dump(mode="json")
    lacking = [what for what, needs in (("risks", rule.needs_risks), ("fleet_sha256", rule.needs_snapshot)) if needs]
    return RuleExplained(
        rule=rule.id,
        meaning=rule.meaning,
        invariant=INVARIANTS[rule.invariant] if rule.invariant is not None else None,
        settings=tuple(Setting(field=field, value=_at(values, field)) for field in rule.policy),
        not_judged_without=tuple(lacking),
    )


def _at(values: Any, field: str) -> Any:
    for part in field.split("."):
        values = values[part]
    return values
