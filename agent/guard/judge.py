"""The guard: judges any plan, whoever made it, against policy and the invariants. It trusts no figure a plan states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from agent.guard.facts import PlanFacts
from agent.guard.rule import Rule
from agent.guard.rules import RULES
from models.plan import ActionKind, Approval, Plan, RuleResult, Verdict
from models.planning.corroboration import FIELD, stops, why_uncorroborated
from models.policy.policy import ApprovalMode
from models.situation import Situation
from models.text import counted, visible


def judge(plan: Plan, situation: Situation, *, rules: Iterable[Rule] = RULES) -> Verdict:
    """Every rule's answer on one plan. Without risks the rules that need them are not judged, and a human has to agree.

    A plan that moves nothing is judged like any other. Raises ValueError for two risks of one node.
    """
    facts = PlanFacts(plan, situation)
    results = tuple(_answer(rule, facts) for rule in rules)
    passed = all(result.passed for result in results)
    why = reasons_for_a_human(facts, results)
    return Verdict(
        plan_sha256=plan.digest(),
        passed=passed,
        approval=Approval.HUMAN if why else Approval.NONE,
        approval_why="; ".join(why),
        results=results,
    )


def _answer(rule: Rule, facts: PlanFacts) -> RuleResult:
    why = rule.why_not_judged(facts)
    if why is not None:
        return RuleResult(rule=rule.id, passed=True, why=f"not judged: {why}", invariant=rule.invariant, judged=False)
    violations = list(rule.check(facts))
    shown = "; ".join(visible(violation.why, 300) for violation in violations[:3])
    more = f"; and {len(violations) - 3} more" if len(violations) > 3 else ""
    return RuleResult(
        rule=rule.id,
        passed=not violations,
        why=shown + more if violations else rule.describe_passing(facts),
        invariant=rule.invariant,
        vms=tuple(dict.fromkeys(violation.vm for violation in violations if violation.vm)),
    )


def _stopped_on_one_word(facts: PlanFacts) -> Iterator[str]:
    """Nodes whose guests would be stopped though too little speaks against them; a person who named one knows more."""
    stopped = Counter(move.source for _, move in facts.moves if stops(move))
    for node, count in stopped.items():
        there = None if facts.node_risks is None else facts.node_risks.get(node)
        if there is not None and node not in facts.plan.asked and (why := why_uncorroborated(there, facts.policy)):
            yield f"{counted(count, 'guest')} would be stopped, and {why} ({FIELD})"


def reasons_for_a_human(facts: PlanFacts, results: Iterable[RuleResult]) -> list[str]:
    """Why policy alone may not approve a plan; empty when it may."""
    plan, policy = facts.plan, facts.policy
    if not plan.moves:
        return []
    why: list[str] = []
    modes = {
        ActionKind.LIVE_MIGRATE: policy.approval.live_migrate,
        ActionKind.COLD_MIGRATE: policy.approval.cold_migrate,
        ActionKind.COLD_ARCHIVE: policy.approval.cold_archive,
    }
    kinds = Counter(action.kind for action in plan.moves)
    asking = [f"{count} {kind}" for kind, count in kinds.items() if modes[kind] is ApprovalMode.ASK]
    if asking:
        why.append(f"policy asks for {' and '.join(asking)}")
    if len(plan.moves) > policy.approval.max_auto_vms:
        why.append(f"{len(plan.moves)} vms move, policy alone approves {policy.approval.max_auto_vms}")
    if plan.asked:
        why.append(f"{', '.join(plan.asked[:5])} evacuated because a person named it")
    if plan.returning:
        why.append(f"vms return to {', '.join(plan.returning[:5])} because a person said so")
    why += _stopped_on_one_word(facts)
    if plan.at_leisure is not None:
        why.append("nothing forces it")
    unjudged_rules = [result.rule for result in results if not result.judged]
    if unjudged_rules:
        why.append(f"not judged: {', '.join(unjudged_rules)}")
    return why
