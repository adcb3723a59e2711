"""What nothing forces: spreading the fleet, and archiving what is idle. Each rule yields what is wrong; nothing is a pass."""

from __future__ import annotations

from collections.abc import Iterator

from agent.guard.facts import PlanFacts, Violation
from agent.guard.registry import named, rule
from models.base import format_duration
from models.brake import moves_since
from models.past_moves import Mover
from models.plan import ActionKind, AtLeisure
from models.planning.balance import gain
from models.planning.idle import why_not_idle
from models.risk.risk_level import RiskLevel
from models.text import moment


@rule("at-leisure", "something forces the plan, or nothing else is going on", invariant=12)
def at_leisure(facts: PlanFacts) -> Iterator[Violation]:
    """A plan that nothing forces empties no node and gives none back, and waits while a node has to be left. Without this,
    calling itself so would excuse any move."""
    plan = facts.plan
    if plan.at_leisure is None:
        return
    if plan.evacuating or plan.returning:
        yield Violation(
            f"{(*plan.evacuating, *plan.returning)[0]} is emptied or given back by a plan to {plan.at_leisure}"
        )
    risky = [name for name, node in (facts.node_risks or {}).items() if node.level is RiskLevel.TRIGGERED]
    if facts.moves and risky:
        yield Violation(f"{risky[0]} has to be left first: {facts.situation.node_risks[risky[0]].why}")


@rule(
    "rebalance",
    "nothing is rebalanced, or it gains more than it costs",
    invariant=None,
    policy=(
        "rebalance.allowed",
        "rebalance.max_moves",
        "rebalance.hold",
        "rebalance.margin",
        "rebalance.crowding",
        "rebalance.price",
    ),
)
def rebalance(facts: PlanFacts) -> Iterator[Violation]:
    """Policy has to allow it; few moves, live, long enough after the last, and together worth more than they cost."""
    policy, moves = facts.policy.rebalance, [move for _, move in facts.moves]
    if facts.plan.at_leisure is not AtLeisure.REBALANCE or not moves:
        return
    if not policy.allowed:
        yield Violation("policy rebalances nothing (rebalance.allowed)")
    if len(moves) > policy.max_moves:
        yield Violation(f"{len(moves)} vms move, policy allows {policy.max_moves} (rebalance.max_moves)")
    for action, move in facts.moves:
        if move.kind is not ActionKind.LIVE_MIGRATE:
            yield Violation(f"{named(action)} would be stopped to spread the fleet", action.vm)
    own = [each for each in moves_since(facts.fleet, facts.now - policy.hold) if each.by is Mover.LIFEBOAT]
    if own:
        yield Violation(
            f"lifeboat moved vms at {moment(own[-1].at)}, policy holds for {format_duration(policy.hold)} (rebalance.hold)"
        )
    found = gain(moves, facts.situation)
    if found.net <= 0:
        yield Violation(
            f"it spares {found.risk:.3g} of expected loss and {found.load:.3g} of crowding, and costs {found.cost:.3g}"
        )


@rule(
    "archive-idle",
    "nothing is archived for being idle, or all of it is idle and may be",
    invariant=7,
    policy=("idle.allowed", "idle.idle_for", "idle.max_vms"),
)
def archive_idle(facts: PlanFacts) -> Iterator[Violation]:
    """Policy has to allow it; only vms of low priority that are known to be idle for so long, and whose owners said that they may
    be archived."""
    policy = facts.policy.idle
    if facts.plan.at_leisure is not AtLeisure.ARCHIVE_IDLE or not facts.moves:
        return
    if not policy.allowed:
        yield Violation("policy archives nothing for being idle (idle.allowed)")
    if len(facts.moves) > policy.max_vms:
        yield Violation(f"{len(facts.moves)} vms are archived, policy allows {policy.max_vms} (idle.max_vms)")
    for action, move in facts.moves:
        if move.kind is not ActionKind.COLD_ARCHIVE:
            yield Violation(f"{named(action)} is moved by a plan to archive what is idle", action.vm)
        elif (why := why_not_idle(move.vm, facts.policy, facts.now)) is not None:
            yield Violation(f"{named(action)}: {why}", action.vm)
