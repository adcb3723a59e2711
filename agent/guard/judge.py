"""The guard: judges any plan, whoever made it, against policy and the invariants. It trusts no figure a plan states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from agent.guard.facts import PlanFacts, Violation
from agent.guard.rules import RULES, Rule
from models.fleet import Fleet
from models.plan import ActionKind, Approval, Plan, RuleResult, Verdict
from models.policy import ApprovalMode, Policy
from models.risk import Risk
from models.text import visible


def judge(
    plan: Plan,
    fleet: Fleet,
    risks: Iterable[Risk] | None,
    policy: Policy,
    now: datetime,
    *,
    rules: Iterable[Rule] = RULES,
) -> Verdict:
    """Every rule's answer on one plan. `risks` None: rules that need them are not judged, and a human has to agree.

    A plan that moves nothing is judged like any other. Raises ValueError for two risks of one node.
    """
    facts = PlanFacts(plan, fleet, None if risks is None else tuple(risks), policy, now)
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
    if rule.needs_risks and facts.standing is None:
        why = "not judged: no risks were given"
        return RuleResult(rule=rule.id, passed=True, why=why, invariant=rule.invariant, judged=False)
    if rule.needs_snapshot and not facts.plan.fleet_sha256:
        why = "not judged: the plan names no fleet snapshot"
        return RuleResult(rule=rule.id, passed=True, why=why, invariant=rule.invariant, judged=False)
    findings: list[Violation] = list(rule.check(facts))
    shown = "; ".join(visible(finding.why, 300) for finding in findings[:3])
    more = f"; and {len(findings) - 3} more" if len(findings) > 3 else ""
    return RuleResult(
        rule=rule.id,
        passed=not findings,
        why=shown + more if findings else rule.describe_passing(facts),
        invariant=rule.invariant,
        vms=tuple(dict.fromkeys(finding.vm for finding in findings if finding.vm)),
    )


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
    blind = [result.rule for result in results if not result.judged]
    if blind:
        why.append(f"not judged: {', '.join(blind)}")
    return why
