"""The guard's rules. Each is one function that yields what is wrong, with figures; yielding nothing is a pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from agent.guard.facts import PlanFacts, Violation
from agent.guard.margins import (
    GIBIBYTE,
    fleet_age,
    fullest_target,
    riskiest_target,
    room_gib,
    room_made,
    worst_live,
)
from agent.guard.registry import RULES, named, risk_rule, rule
from models.fleet import NodeState, VmState
from models.placement import (
    archive_blocker,
    cold_blocker,
    cpu_accepts,
    is_protected,
    live_blocker,
    memory_room,
    target_blocker,
)
from models.plan import ActionKind
from models.risk_level import CLOCK_SKEW_SECONDS, NodeRisk, RiskLevel
from models.tier import Tier, assess_tier

__all__ = ["RULES"]

# What the plan is about ------------------------------------------------------------------------------------------------


@rule("plan-matches-fleet", "the plan was made for this fleet", invariant=6, needs_snapshot=True)
def plan_matches_fleet(facts: PlanFacts) -> Iterator[Violation]:
    """The fleet judged is the one the plan was made for."""
    digest = facts.fleet.digest()
    if facts.plan.fleet_sha256 != digest:
        yield Violation(f"made for fleet {facts.plan.fleet_sha256[:12]}, this is {digest[:12]}: plan again")


@rule("fleet-fresh", fleet_age, invariant=11)
def fleet_fresh(facts: PlanFacts) -> Iterator[Violation]:
    """The snapshot is recent enough to act on."""
    age = (facts.now - facts.fleet.observed_at).total_seconds()
    limit = facts.policy.data.max_age.total_seconds()
    if age > limit:
        yield Violation(f"the fleet was observed {age:.0f} s ago, policy allows {limit:.0f} s")
    if age < -CLOCK_SKEW_SECONDS:
        yield Violation(f"the fleet was observed {-age:.0f} s in the future: the clocks differ")


@rule("known", "every vm and node is in the fleet", invariant=6)
def known(facts: PlanFacts) -> Iterator[Violation]:
    """Every vm and node the plan names exists."""
    for action in facts.plan.actions:
        if action.vm not in facts.fleet.vm_by_uuid:
            yield Violation(f"{named(action)} is not in the fleet", action.vm)
        if action.target is not None and action.target not in facts.fleet.node_by_name:
            yield Violation(f"target {action.target} of {named(action)} is not in the fleet", action.vm)
    for name in dict.fromkeys([*facts.plan.evacuating, *facts.plan.asked]):
        if name not in facts.fleet.node_by_name:
            yield Violation(f"node {name} is not in the fleet")


@rule("vm-named", "every vm is named as the fleet names it", invariant=6)
def vmnamed(facts: PlanFacts) -> Iterator[Violation]:
    """The name that a person reads and agrees to is that of the vm that would move."""
    for action in facts.plan.actions:
        vm = facts.fleet.vm_by_uuid.get(action.vm)
        if vm is not None and action.vm_name and action.vm_name != vm.name:
            yield Violation(
                f"vm {action.vm} is called {action.vm_name} in the plan and {vm.name} in the fleet", action.vm
            )


@rule("asked-evacuating", "every node that a person named is one of those to be left", invariant=12)
def asked_evacuating(facts: PlanFacts) -> Iterator[Violation]:
    """Naming a node lifts the rule about its risk; that holds for nodes the plan says it evacuates, and no others."""
    for name in dict.fromkeys(facts.plan.asked):
        if name not in facts.plan.evacuating:
            yield Violation(f"a person is said to have named {name}, which the plan does not evacuate")


@rule("vm-once", "no vm has two actions", invariant=1)
def vm_once(facts: PlanFacts) -> Iterator[Violation]:
    """No vm is moved twice, or moved and kept."""
    for uuid, count in Counter(action.vm for action in facts.plan.actions).items():
        if count > 1:
            vm = facts.fleet.vm_by_uuid.get(uuid)
            yield Violation(f"vm {vm.name if vm else uuid} has {count} actions", uuid)


@rule("source-matches", "every vm is where the plan says it is", invariant=6)
def source_matches(facts: PlanFacts) -> Iterator[Violation]:
    """The vm is on the node the plan takes it from."""
    for action in facts.plan.actions:
        vm = facts.fleet.vm_by_uuid.get(action.vm)
        if vm is not None and action.source and action.source != vm.node:
            yield Violation(f"{named(action)} is on {vm.node}, not on {action.source}", action.vm)


@rule("complete", "every vm of an evacuated node has an action", invariant=None)
def complete(facts: PlanFacts) -> Iterator[Violation]:
    """No vm of an evacuated node is passed over in silence: `stay` has to be said, with its reason."""
    named = {action.vm for action in facts.plan.actions}
    for name in facts.plan.evacuating:
        for vm in facts.fleet.vms_on(name):
            if vm.uuid not in named:
                yield Violation(
                    f"{name} is evacuated and vm {vm.name} ({vm.priority} priority) is not mentioned", vm.uuid
                )


@rule("source-reachable", "every source answers", invariant=1)
def source_reachable(facts: PlanFacts) -> Iterator[Violation]:
    """Nothing is moved off a node that does not answer: unreachable is not stopped."""
    for action, move in facts.moves:
        if facts.fleet.node_by_name[move.source].state is NodeState.OFFLINE:
            yield Violation(f"{named(action)}: {move.source} does not answer, the vm may still run there", action.vm)


@risk_rule("source-risky", "every source is at risk, or a person named it", invariant=12)
def source_risky(facts: PlanFacts, risks: Mapping[str, NodeRisk]) -> Iterator[Violation]:
    """Only nodes at the trigger are evacuated, unless a person named them. Unknown is no trigger. Where policy lets the agent
    drain, what is worth it may leave live."""
    asked = set(facts.plan.asked)
    making_room = {move.source for _, move in facts.making_room}  # judged by a rule of its own
    stopping = {move.source for _, move in facts.moves if move.kind is not ActionKind.LIVE_MIGRATE}
    for name in sorted(facts.leaving - asked - making_room):
        there = risks.get(name)
        if there is not None and there.level is not RiskLevel.TRIGGERED:
            worth = assess_tier(there, facts.fleet.vms_on(name), facts.policy)
            if facts.policy.drain.act and worth.tier is Tier.DRAIN and name not in stopping:
                continue
            yield Violation(f"{name} is not at the trigger ({there.why}) and nobody asked to evacuate it")


@rule("make-room", room_made, invariant=8)
def make_room(facts: PlanFacts) -> Iterator[Violation]:
    """A vm of a node that nobody empties moves only live, only off a target that has no room without it, and few of them do."""
    most = facts.policy.make_room.max_moves
    if len(facts.making_room) > most:
        yield Violation(
            f"{len(facts.making_room)} vms of nodes that are not emptied make room, policy allows {most} (make_room.max_moves)"
        )
    for action, move in facts.making_room:
        if move.kind is not ActionKind.LIVE_MIGRATE:
            yield Violation(f"{named(action)} would be stopped to make room on {move.source}", action.vm)
        elif not _room_is_needed(facts, move.source):
            yield Violation(
                f"{named(action)} leaves {move.source}, which is not emptied and has room for all that arrives without that",
                action.vm,
            )


def _room_is_needed(facts: PlanFacts, name: str) -> bool:
    """Whether a target would be over its room, or hold two of a group, if nothing left it."""
    node, held = facts.fleet.node_by_name[name], facts.loads_without_leaving[name]
    if held.memory > memory_room(node, facts.policy) or held.vcpus > node.vcpu_capacity:
        return True
    arriving = Counter(move.vm.anti_affinity_group for _, move in facts.moves if move.target == name)
    there = Counter(vm.anti_affinity_group for vm in facts.fleet.vms_on(name))
    return any(group is not None and arriving[group] + there[group] > 1 for group in arriving)


@rule("protected", "no protected vm moves", invariant=None)
def protected(facts: PlanFacts) -> Iterator[Violation]:
    """What policy protects is not touched."""
    for action, move in facts.moves:
        if is_protected(move.vm, facts.policy):
            yield Violation(f"{named(action)} is protected by policy", action.vm)


# Targets ---------------------------------------------------------------------------------------------------------------


@rule("target-differs", "no target is the source", invariant=1)
def target_differs(facts: PlanFacts) -> Iterator[Violation]:
    """A vm does not move to where it is."""
    for action, move in facts.moves:
        if move.target == move.source:
            yield Violation(f"{named(action)} would move from {move.source} to itself", action.vm)


@rule("target-active", "every target takes vms", invariant=8)
def target_active(facts: PlanFacts) -> Iterator[Violation]:
    """Targets are active: neither draining nor offline nor being evacuated."""
    for name in facts.receiving:
        state = facts.fleet.node_by_name[name].state
        if state is not NodeState.ACTIVE:
            yield Violation(f"target {name} is {state}")
        elif name in facts.plan.evacuating:
            yield Violation(f"target {name} is itself evacuated by this plan")


@risk_rule("target-risk", riskiest_target, invariant=8)
def target_risk(facts: PlanFacts, risks: Mapping[str, NodeRisk]) -> Iterator[Violation]:
    """No vm goes to a node whose own risk is high or unknown."""
    for name in facts.receiving:
        there = risks[name]
        if there.level is not RiskLevel.ACCEPTABLE:
            yield Violation(f"target {name} is {there.level}: {there.why}")


@rule("target-memory", fullest_target(lambda f, n: f.loads_after[n].memory / GIBIBYTE, room_gib, "GiB"), invariant=8)
def target_memory(facts: PlanFacts) -> Iterator[Violation]:
    """After every move no target holds more than its memory less reserve and headroom."""
    for name in facts.receiving:
        yield from _over_memory(facts, name, facts.loads_after[name].memory, "after all moves")


@rule(
    "target-memory-peak", fullest_target(lambda f, n: f.peak_loads[n].memory / GIBIBYTE, room_gib, "GiB"), invariant=8
)
def target_memory_peak(facts: PlanFacts) -> Iterator[Violation]:
    """While a wave runs a vm holds memory on both ends; not even then is a target over."""
    for name in facts.receiving:
        yield from _over_memory(facts, name, facts.peak_loads[name].memory, "while moves run")


def _over_memory(facts: PlanFacts, name: str, held: int, when: str) -> Iterator[Violation]:
    node = facts.fleet.node_by_name[name]
    room = memory_room(node, facts.policy)
    if held > room:
        yield Violation(
            f"target {name} would hold {held / GIBIBYTE:.2f} GiB {when}, "
            f"its vms may use {room / GIBIBYTE:.2f} GiB of {node.memory_bytes / GIBIBYTE:.2f} GiB"
        )


@rule(
    "target-vcpus",
    fullest_target(lambda f, n: f.peak_loads[n].vcpus, lambda f, n: f.fleet.node_by_name[n].vcpu_capacity, "vcpus"),
    invariant=8,
)
def target_vcpus(facts: PlanFacts) -> Iterator[Violation]:
    """No target holds more vcpus than its processors times its overcommit, not even between two waves."""
    for name in facts.receiving:
        node, held = facts.fleet.node_by_name[name], facts.peak_loads[name].vcpus
        if held > node.vcpu_capacity:
            yield Violation(f"target {name} would hold {held} vcpus, it may hold {node.vcpu_capacity:g}")


@rule("cpu-compatible", "every target's CPU model takes the vm", invariant=8)
def cpu_compatible(facts: PlanFacts) -> Iterator[Violation]:
    """The target's CPU model is the source's or one that policy declares compatible."""
    for action, move in facts.moves:
        if move.target is None or (move.kind is ActionKind.COLD_MIGRATE and facts.policy.cold_migrate.other_cpu_model):
            continue
        source, target = facts.fleet.node_by_name[move.source], facts.fleet.node_by_name[move.target]
        if not cpu_accepts(source, target, facts.policy):
            yield Violation(
                f"{named(action)}: {target.name} has CPU {target.cpu_model}, {source.name} has {source.cpu_model}",
                action.vm,
            )


@rule("target-open", "no target has a vm of the same name, or refused this move before", invariant=None)
def target_open(facts: PlanFacts) -> Iterator[Violation]:
    """libvirt has no two vms of one name on a node; and what a node refused for good it refuses again."""
    arriving: dict[tuple[str, str], str] = {}
    for action, move in facts.moves:
        if move.target is None:
            continue
        if (why := target_blocker(move.vm, move.kind, move.target, facts.fleet)) is not None:
            yield Violation(f"{named(action)} can't go to {move.target}: {why}", action.vm)
        if arriving.setdefault((move.target, move.vm.name), action.vm) != action.vm:
            yield Violation(f"{named(action)} can't go to {move.target}: another vm of its name goes there", action.vm)


@rule("anti-affinity", "no two vms of one group share a target", invariant=None)
def anti_affinity(facts: PlanFacts) -> Iterator[Violation]:
    """Vms of one anti-affinity group never come together on a target, not even between two waves."""
    for (name, group), members in facts.groups_met.items():
        if len(members) > 1:
            names = ", ".join(vm.name for vm in members[:4])
            yield Violation(f"{name} would hold {len(members)} vms of group {group}: {names}", members[-1].uuid)


# How each vm moves -----------------------------------------------------------------------------------------------------


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
)
def live_downtime(facts: PlanFacts) -> Iterator[Violation]:
    """No live migration is expected to pause its vm longer than policy allows."""
    cap = facts.policy.migration.max_downtime.total_seconds()
    for move in facts.live:
        pause = move.estimate.downtime_seconds
        if move.estimate.converges and pause > cap:
            why = f"{named(move.action)} would pause {pause * 1000:.0f} ms, policy allows {cap * 1000:.0f} ms"
            yield Violation(why, move.action.vm)


@rule("live-in-time", worst_live(lambda move: move.estimate.seconds, "the longest takes {:.0f} s"), invariant=9)
def live_in_time(facts: PlanFacts) -> Iterator[Violation]:
    """A live migration that is aborted half-way moves nothing and costs the time of others."""
    limit = facts.policy.migration.timeout.total_seconds()
    for move in facts.live:
        seconds = move.estimate.seconds
        if move.estimate.converges and seconds > limit:
            why = f"{named(move.action)} needs {seconds:.0f} s, it is aborted after {limit:.0f} s"
            yield Violation(why, move.action.vm)


@rule(
    "cold-migrate-allowed", "policy allows every cold migration, and nothing of the vms is in the way", invariant=None
)
def cold_migrate_allowed(facts: PlanFacts) -> Iterator[Violation]:
    """Only vms that policy lets be stopped for it move cold, and that can be taken along whole."""
    for action, move in facts.moves:
        if move.kind is ActionKind.COLD_MIGRATE and (why := cold_blocker(move.vm, facts.policy)):
            yield Violation(f"{named(action)}: {why}", action.vm)


@rule("archive-allowed", "every cold archive has policy's leave and its owner's consent", invariant=7)
def archive_allowed(facts: PlanFacts) -> Iterator[Violation]:
    """Only vms of the priorities in policy, whose owner consents and that can be shut down, are archived."""
    for action, move in facts.moves:
        if move.kind is ActionKind.COLD_ARCHIVE and (why := archive_blocker(move.vm, facts.policy)):
            yield Violation(f"{named(action)}: {why}", action.vm)
