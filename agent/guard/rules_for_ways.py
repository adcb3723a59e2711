"""How vms move, and how much at once. Each rule yields what is wrong, with figures; yielding nothing is a pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent.guard.facts import PlanFacts, Violation
from agent.guard.margins import (
    busiest_wave,
    nodes_at_trigger,
    worst_live,
)
from agent.guard.registry import named, risk_rule, rule
from models.fleet import NodeState, VmState
from models.plan import ActionKind
from models.planning.placement import archive_blocker, cold_blocker, live_blocker
from models.planning.schedule import Limit, exceeded
from models.risk.risk_level import NodeRisk, RiskLevel


@rule("live-migratable", "every live migration is of a vm that can move live", invariant=9)
def live_migratable(facts: PlanFacts) -> Iterator[Violation]:
    """Only running or paused vms move live, and none that something of its own keeps from it."""
    for action, move in facts.moves:
        if move.kind is not ActionKind.LIVE_MIGRATE:
            continue
        if (why := live_blocker(move.vm, facts.policy)) is not None:
            yield Violation(f"{named(action)} can't move live: {why}", action.vm)
        if move.vm.state is VmState.SHUTOFF:
            yield Violation(f"{named(action)} is shut off: nothing to move live", action.vm)


@rule(
    "live-converges",
    worst_live(lambda move: move.estimate.ratio, "at most {:.2g} times the link is dirtied"),
    invariant=9,
    policy=("migration.auto_converge", "migration.post_copy", "migration.bandwidth_bytes_per_second"),
)
def live_converges(facts: PlanFacts) -> Iterator[Violation]:
    """At its share of the link every live migration is expected to end."""
    for move in facts.live:
        if not move.estimate.converges:
            yield Violation(
                f"{named(move.action)} dirties {move.estimate.ratio:.1f} times what its share of the link "
                f"to {move.action.target} carries",
                move.action.vm,
            )


@rule(
    "live-downtime",
    worst_live(lambda move: move.estimate.downtime_seconds * 1000, "the longest pause is {:.0f} ms"),
    invariant=None,
    policy=("migration.max_downtime",),
)
def live_downtime(facts: PlanFacts) -> Iterator[Violation]:
    """No live migration is expected to pause its vm longer than policy allows."""
    cap = facts.policy.migration.max_downtime.total_seconds()
    for move in facts.live:
        pause = move.estimate.downtime_seconds
        if move.estimate.converges and pause > cap:
            why = f"{named(move.action)} would pause {pause * 1000:.0f} ms, policy allows {cap * 1000:.0f} ms"
            yield Violation(why, move.action.vm)


@rule(
    "live-in-time",
    worst_live(lambda move: move.estimate.seconds, "the longest takes {:.0f} s"),
    invariant=9,
    policy=("migration.timeout",),
)
def live_in_time(facts: PlanFacts) -> Iterator[Violation]:
    """A live migration that is aborted half-way moves nothing and costs the time of others."""
    limit = facts.policy.migration.timeout.total_seconds()
    for move in facts.live:
        seconds = move.estimate.seconds
        if move.estimate.converges and seconds > limit:
            why = f"{named(move.action)} needs {seconds:.0f} s, it is aborted after {limit:.0f} s"
            yield Violation(why, move.action.vm)


@rule(
    "cold-migrate-allowed",
    "policy allows every cold migration, and nothing of the vms is in the way",
    invariant=None,
    policy=("cold_migrate.priorities", "cold_migrate.stopped_vms"),
)
def cold_migrate_allowed(facts: PlanFacts) -> Iterator[Violation]:
    """Only vms that policy lets be stopped for it move cold, and that can be taken along whole."""
    for action, move in facts.moves:
        if move.kind is ActionKind.COLD_MIGRATE and (why := cold_blocker(move.vm, facts.policy)):
            yield Violation(f"{named(action)}: {why}", action.vm)


@rule(
    "archive-allowed",
    "every cold archive has policy's leave and its owner's consent",
    invariant=7,
    policy=("archive.priorities", "archive.allow_without_label", "archive.force_off"),
)
def archive_allowed(facts: PlanFacts) -> Iterator[Violation]:
    """Only vms of the priorities in policy, whose owner consents and that can be shut down, are archived."""
    for action, move in facts.moves:
        if move.kind is ActionKind.COLD_ARCHIVE and (why := archive_blocker(move.vm, facts.policy)):
            yield Violation(f"{named(action)}: {why}", action.vm)


# How much at once ------------------------------------------------------------------------------------------------------


def _limit(facts: PlanFacts, limit: Limit) -> Iterator[Violation]:
    within = True
    for waves in facts.lanes:
        for wave in waves:
            if why := exceeded(limit, [[[move for _, move in wave]]], facts.policy.limits):
                within = False
                yield Violation(f"wave {wave[0][0].wave}: {why}")
    if within and (why := exceeded(limit, facts.lanes_of_moves, facts.policy.limits)):
        yield Violation(f"lanes side by side: {why}")


@rule("limit-outbound", busiest_wave(Limit.OUTBOUND), invariant=8, policy=("limits.outbound_per_node",))
def limit_outbound(facts: PlanFacts) -> Iterator[Violation]:
    """Moves off one node, archives among them, in one wave or in lanes side by side."""
    yield from _limit(facts, Limit.OUTBOUND)


@rule("limit-inbound", busiest_wave(Limit.INBOUND), invariant=8, policy=("limits.inbound_per_node",))
def limit_inbound(facts: PlanFacts) -> Iterator[Violation]:
    """Migrations onto one node, in one wave or in lanes side by side."""
    yield from _limit(facts, Limit.INBOUND)


@rule("limit-link", busiest_wave(Limit.LINK), invariant=8, policy=("limits.per_link",))
def limit_link(facts: PlanFacts) -> Iterator[Violation]:
    """Migrations from one node to one other, in one wave or in lanes side by side."""
    yield from _limit(facts, Limit.LINK)


@rule("limit-fleet", busiest_wave(Limit.FLEET), invariant=8, policy=("limits.per_fleet",))
def limit_fleet(facts: PlanFacts) -> Iterator[Violation]:
    """Actions of any kind, in one wave or in lanes side by side."""
    yield from _limit(facts, Limit.FLEET)


@rule("limit-archives", busiest_wave(Limit.ARCHIVES), invariant=8, policy=("limits.archives_per_node",))
def limit_archives(facts: PlanFacts) -> Iterator[Violation]:
    """Cold archives read from one node, in one wave or in lanes side by side."""
    yield from _limit(facts, Limit.ARCHIVES)


@risk_rule("storm", nodes_at_trigger, invariant=8, policy=("storm.max_risky_fraction", "storm.min_nodes"))
def storm(facts: PlanFacts, risks: Mapping[str, NodeRisk]) -> Iterator[Violation]:
    """When too much of the fleet looks risky at once the monitoring is suspect: halt."""
    active = [node.name for node in facts.fleet.nodes if node.state is NodeState.ACTIVE]
    risky = [name for name in active if risks[name].level is RiskLevel.TRIGGERED]
    rules = facts.policy.storm
    if len(risky) >= rules.min_nodes and len(risky) > rules.max_risky_fraction * len(active):
        yield Violation(
            f"{len(risky)} of {len(active)} active nodes look risky at once, policy believes "
            f"{rules.max_risky_fraction:.0%} at most: suspect the monitoring, look at it first (limit: storm.max_risky_fraction)"
        )
