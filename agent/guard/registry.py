"""The rules by which a plan is judged, in the order they are told; importing `agent.guard.rules` fills it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from agent.guard.facts import PlanFacts, Violation
from agent.guard.rule import Check, PassText, RiskCheck, Rule
from models.plan import Action

RULES: list[Rule] = []


def rule(
    rule_id: str,
    describe_pass: PassText,
    *,
    invariant: int | None = None,
    policy: tuple[str, ...] = (),
    needs_risks: bool = False,
    needs_snapshot: bool = False,
) -> Callable[[Check], Check]:
    """Put a check among the rules under a stable id; `policy` names the fields that set it."""

    def register(check: Check) -> Check:
        RULES.append(
            Rule(
                id=rule_id,
                invariant=invariant,
                check=check,
                describe_pass=describe_pass,
                meaning=" ".join((check.__doc__ or "").split()),
                policy=policy,
                needs_risks=needs_risks,
                needs_snapshot=needs_snapshot,
            )
        )
        return check

    return register


def risk_rule(
    rule_id: str, describe_pass: PassText, *, invariant: int | None = None, policy: tuple[str, ...] = ()
) -> Callable[[RiskCheck], RiskCheck]:
    """The same for a check of the nodes' risks: without risks it is not judged."""

    def register(check: RiskCheck) -> RiskCheck:
        def checked(facts: PlanFacts) -> Iterable[Violation]:
            return () if facts.node_risks is None else check(facts, facts.node_risks)

        checked.__doc__ = check.__doc__
        rule(rule_id, describe_pass, invariant=invariant, policy=policy, needs_risks=True)(checked)
        return check

    return register


def named(action: Action) -> str:
    return f"vm {action.vm_name or action.vm}"
