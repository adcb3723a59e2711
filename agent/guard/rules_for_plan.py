"""What a plan is about: its fleet, vms and nodes. Each rule yields what is wrong, with figures; yielding nothing is a pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from agent.guard.facts import PlanFacts, Violation
from agent.guard.margins import (
    fleet_age,
    put_off_longest,
    room_made,
)
from agent.guard.registry import named, risk_rule, rule
from models.fleet import NodeState, VmState
from models.plan import ActionKind
from models.planning.placement import is_protected, memory_room
from models.planning.schedule import Shares, timing_of
from models.planning.waiting import why_not_put_off
from models.risk.risk_level import CLOCK_SKEW_SECONDS, NodeRisk, RiskLevel
from models.risk.tier import Tier, assess_tier


@rule("plan-matches-fleet", "the plan was made for this fleet", invariant=6, needs_snapshot=True)
def plan_matches_fleet(facts: PlanFacts) -> Iterator[Violation]:
    """The fleet judged is the one the plan was made for."""
    digest = facts.fleet.digest()
    if facts.plan.fleet_sha256 != digest:
        yield Violation(f"made for fleet {facts.plan.fleet_sha256[:12]}, this is {digest[:12]}: plan again")


@rule("fleet-fresh", fleet_age, invariant=11, policy=("data.max_age",))
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
    for name in dict.fromkeys([*facts.plan.evacuating, *facts.plan.asked, *facts.plan.returning]):
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


@risk_rule(
    "source-risky",
    "every source is at risk, or a person named it",
    invariant=12,
    policy=("trigger.probability", "trigger.horizon", "drain.act"),
)
def source_risky(facts: PlanFacts, risks: Mapping[str, NodeRisk]) -> Iterator[Violation]:
    """Only nodes at the trigger are evacuated, unless a person named them. Unknown is no trigger. Where policy lets the agent
    drain, what is worth it may leave live."""
    asked = set(facts.plan.asked)
    making_room = {move.source for _, move in facts.making_room}  # judged by a rule of its own
    stopping = {move.source for _, move in facts.moves if move.kind is not ActionKind.LIVE_MIGRATE}
    spread = facts.leaving if facts.plan.at_leisure is not None else set[str]()  # judged by rules of their own
    for name in sorted(facts.leaving - asked - making_room - facts.giving_back - spread):
        there = risks.get(name)
        if there is not None and there.level is not RiskLevel.TRIGGERED:
            worth = assess_tier(there, facts.fleet.vms_on(name), facts.policy)
            if facts.policy.drain.act and worth.tier is Tier.DRAIN and name not in stopping:
                continue
            yield Violation(f"{name} is not at the trigger ({there.why}) and nobody asked to evacuate it")


@rule("make-room", room_made, invariant=8, policy=("make_room.max_moves",))
def make_room(facts: PlanFacts) -> Iterator[Violation]:
    """A vm of a node that nobody empties may make room: live only, off a target that has none without it, and few in one plan."""
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


@rule("return", "nothing returns to a node, or nothing else is done and nothing is stopped for it", invariant=12)
def give_back(facts: PlanFacts) -> Iterator[Violation]:
    """A plan that fills a repaired node does nothing else, and stops no vm for it. Without this it would excuse any move."""
    plan = facts.plan
    if not plan.returning:
        return
    if plan.evacuating:
        yield Violation(f"{plan.returning[0]} gets its vms back while {plan.evacuating[0]} is emptied: one plan each")
    for action, move in facts.moves:
        if move.target not in plan.returning:
            yield Violation(f"{named(action)} does not go back to {plan.returning[0]}", action.vm)
        elif move.kind is not ActionKind.LIVE_MIGRATE and move.vm.state is not VmState.SHUTOFF:
            yield Violation(f"{named(action)} would be stopped to bring it back", action.vm)


@rule("protected", "no protected vm moves", invariant=None, policy=("protected",))
def protected(facts: PlanFacts) -> Iterator[Violation]:
    """What policy protects is not touched."""
    for action, move in facts.moves:
        if is_protected(move.vm, facts.policy):
            yield Violation(f"{named(action)} is protected by policy", action.vm)


@rule(
    "put-off",
    put_off_longest,
    policy=("wait.price", "wait.stop_price", "wait.longest"),
)
def put_off(facts: PlanFacts) -> Iterator[Violation]:
    """A move waits for a better time only while the risk until then costs less than moving it at a bad one, and never on a node
    at the trigger or unknown."""
    for action, move in facts.moves:
        if action.not_before is None or action.not_before <= facts.now:
            continue
        seconds = timing_of(move, Shares(), facts.fleet, facts.policy)[0]
        why = why_not_put_off(move.vm, move.kind, move.source, action.not_before, seconds, facts.situation)
        if why is not None:
            yield Violation(f"{named(action)}: {why}", action.vm)
