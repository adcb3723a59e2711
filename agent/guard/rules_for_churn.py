"""How often the same may move, how much in a day, and who else moves vms. Each rule yields what is wrong; nothing is a pass."""

from __future__ import annotations

from collections.abc import Iterator

from agent.guard.facts import PlanFacts, Violation
from agent.guard.margins import moves_of_the_day, remembered
from agent.guard.registry import named, rule
from models.brake import counted_moves, emptied_today, nodes_a_day, other_movers
from models.risk.risk_level import RiskLevel
from models.text import listed, moment


@rule("breaker", "the breaker is not tripped", invariant=8)
def breaker(facts: PlanFacts) -> Iterator[Violation]:
    """Once a storm lasted, or a day's cap was reached, nothing moves until a person has looked and reset the breaker. It
    outlives restarts."""
    past = facts.fleet.past_moves
    if past is not None and past.tripped is not None:
        one = past.tripped
        yield Violation(
            f"the breaker tripped at {moment(one.at)} ({one.rule}: {one.why}): nothing moves until a person has looked and "
            "says `lifeboat breaker reset`"
        )


@rule(
    "guest-cooldown",
    remembered,
    invariant=None,
    policy=("churn.guest_cooldown", "churn.moves_of_one_guest", "trigger.probability"),
)
def guest_cooldown(facts: PlanFacts) -> Iterator[Violation]:
    """A vm that has just moved is left alone, twice as long with each further move of the day, whoever moved it: unless a
    person asked, or its node is likelier than the trigger to fail before that is over."""
    for action, move in facts.unasked:
        if (why := facts.held.get(move.vm.uuid)) is not None:
            yield Violation(f"{named(action)}: {why}", action.vm)


@rule(
    "day-cap",
    moves_of_the_day,
    invariant=8,
    policy=("churn.nodes_a_day", "churn.share_of_nodes_a_day", "churn.guests_a_day", "storm.max_risky_fraction"),
)
def day_cap(facts: PlanFacts) -> Iterator[Violation]:
    """However good each reason looks, only so many nodes are emptied and so many vms moved within a day without a person. What
    a person names does not count against the plan."""
    moves = facts.unasked
    if not moves:
        return
    before = counted_moves(facts.fleet, facts.now)
    emptied = emptied_today(facts.fleet, facts.now)
    more = {move.source for _, move in moves if move.source in facts.plan.evacuating} - emptied
    most = nodes_a_day(facts.fleet, facts.policy)
    if more and len(emptied | more) > most:
        already = f"{listed(sorted(emptied))} emptied within a day, and " if emptied else ""
        yield Violation(
            f"{already}{listed(sorted(more))} to be: {len(emptied | more)} of {len(facts.fleet.nodes)} nodes, policy allows "
            f"{most} a day without a person"
        )
    if len(before) + len(moves) > facts.policy.churn.guests_a_day:
        yield Violation(
            f"{len(before)} vms moved within a day and {len(moves)} are to: policy allows {facts.policy.churn.guests_a_day} "
            "a day without a person (churn.guests_a_day)"
        )


@rule(
    "other-movers",
    "nobody else moves vms, or what moves can't wait",
    invariant=None,
    policy=("churn.others_moves", "churn.others_within"),
)
def others_at_work(facts: PlanFacts) -> Iterator[Violation]:
    """While a balancer or a person moves vms, lifeboat moves none at leisure: two that move the same vms fight. Nodes that must
    be left are left all the same."""
    risks = facts.node_risks or {}
    urgent = {name for name, node in risks.items() if node.level is RiskLevel.TRIGGERED}
    making_room = {move.vm.uuid for _, move in facts.making_room}
    at_leisure = [
        action for action, move in facts.unasked if move.source not in urgent and move.vm.uuid not in making_room
    ]
    if at_leisure and (why := other_movers(facts.fleet, facts.policy, facts.now)) is not None:
        yield Violation(f"{named(at_leisure[0])} can wait: {why}", at_leisure[0].vm)
