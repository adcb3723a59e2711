"""Where vms may go. Each rule yields what is wrong, with figures; yielding nothing is a pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent.guard.facts import PlanFacts, Violation
from agent.guard.margins import (
    GIBIBYTE,
    fullest_target,
    riskiest_target,
    room_gib,
)
from agent.guard.registry import named, risk_rule, rule
from models.fleet import NodeState
from models.plan import ActionKind
from models.planning.placement import cpu_accepts, memory_room, target_blocker
from models.risk.risk_level import NodeRisk, RiskLevel


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


@risk_rule("target-risk", riskiest_target, invariant=8, policy=("target.max_probability", "data.max_age"))
def target_risk(facts: PlanFacts, risks: Mapping[str, NodeRisk]) -> Iterator[Violation]:
    """No vm goes to a node whose own risk is high or unknown."""
    for name in facts.receiving:
        there = risks[name]
        if there.level is not RiskLevel.ACCEPTABLE:
            yield Violation(f"target {name} is {there.level}: {there.why}")


@rule(
    "target-memory",
    fullest_target(lambda f, n: f.loads_after[n].memory / GIBIBYTE, room_gib, "GiB"),
    invariant=8,
    policy=("target.memory_headroom", "target.count_stopped_vms"),
)
def target_memory(facts: PlanFacts) -> Iterator[Violation]:
    """After every move no target holds more than its memory less reserve and headroom."""
    for name in facts.receiving:
        yield from _over_memory(facts, name, facts.loads_after[name].memory, "after all moves")


@rule(
    "target-memory-peak",
    fullest_target(lambda f, n: f.peak_loads[n].memory / GIBIBYTE, room_gib, "GiB"),
    invariant=8,
    policy=("target.memory_headroom", "target.count_stopped_vms"),
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
    policy=("target.count_stopped_vms",),
)
def target_vcpus(facts: PlanFacts) -> Iterator[Violation]:
    """No target holds more vcpus than its processors times its overcommit, not even between two waves."""
    for name in facts.receiving:
        node, held = facts.fleet.node_by_name[name], facts.peak_loads[name].vcpus
        if held > node.vcpu_capacity:
            yield Violation(f"target {name} would hold {held} vcpus, it may hold {node.vcpu_capacity:g}")


@rule(
    "cpu-compatible",
    "every target's CPU model takes the vm",
    invariant=8,
    policy=("target.cpu_models", "cold_migrate.other_cpu_model"),
)
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
