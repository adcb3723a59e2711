"""Replays a plan move by move and says what it breaks on the way. Imports nothing of planner or guard, nor what they share.

Everything is worked out again from the fleet's and the policy's own fields, in the plainest way: after each start and each end
of a move every node is added up anew.
"""

from __future__ import annotations

import random
from collections import Counter
from itertools import groupby

from models.fleet import Fleet, NodeState, Vm, VmState
from models.plan import Action, Plan
from models.policy.policy import Policy


def broken_on_the_way(plan: Plan, fleet: Fleet, policy: Policy, *, paces: int = 5) -> list[str]:
    """What is wrong at any moment, one line each; empty when every state on the way keeps every limit.

    A move holds its place on the target from its start, and on the source until its end. The worst case of a wave is looked
    at: all of it has started and nothing has ended. Several lanes are walked in random paces, since none waits for another.
    """
    if len({action.lane for action in plan.actions if action.kind != "stay"}) > 1:
        return [why for seed in range(paces) for why in _walked(plan, fleet, policy, random.Random(seed))]
    wrong: list[str] = []
    vms = {vm.uuid: vm for vm in fleet.vms}
    where: dict[str, set[str]] = {vm.uuid: {vm.node} for vm in fleet.vms}
    touched = {action.target for action in plan.actions if action.target}
    seen: set[str] = set()
    moves = sorted((a for a in plan.actions if a.kind != "stay"), key=lambda action: action.wave)
    for number, wave in groupby(moves, key=lambda action: action.wave):
        together = list(wave)
        wrong += [f"wave {number}: {why}" for why in _too_many(together, policy)]
        for action in together:
            vm = vms[action.vm]
            if action.vm in seen:
                wrong.append(f"wave {number}: {vm.name} moves twice")
            seen.add(action.vm)
            if where[action.vm] != {action.source}:
                wrong.append(f"wave {number}: {vm.name} is not on {action.source}")
            if action.source == action.target:
                wrong.append(f"wave {number}: {vm.name} moves to where it is")
            wrong += [f"wave {number}: {why}" for why in _unfit(action, vm, fleet)]
            if action.target:
                where[action.vm].add(action.target)
        wrong += [f"wave {number}: {why}" for why in _over(where, touched, fleet, policy)]
        for action in together:
            where[action.vm] = {action.target} if action.target else set()
        wrong += [f"after wave {number}: {why}" for why in _over(where, touched, fleet, policy)]
    return wrong


def _walked(plan: Plan, fleet: Fleet, policy: Policy, chance: random.Random) -> list[str]:
    """What is wrong when each lane goes at a pace of its own: at every step some lane begins its next wave, or one move ends."""
    wrong: list[str] = []
    vms = {vm.uuid: vm for vm in fleet.vms}
    where: dict[str, set[str]] = {vm.uuid: {vm.node} for vm in fleet.vms}
    touched = {action.target for action in plan.actions if action.target}
    ahead: dict[int, list[Action]] = {}
    for action in plan.actions:
        if action.kind != "stay":
            ahead.setdefault(action.lane, []).append(action)
    running: dict[int, list[Action]] = {lane: [] for lane in ahead}
    while any(ahead.values()) or any(running.values()):
        lane = chance.choice([lane for lane in ahead if ahead[lane] or running[lane]])
        if running[lane]:
            done = running[lane].pop(chance.randrange(len(running[lane])))
            where[done.vm] = {done.target} if done.target else set()
            continue
        first = min(action.wave for action in ahead[lane])
        running[lane] = [action for action in ahead[lane] if action.wave == first]
        ahead[lane] = [action for action in ahead[lane] if action.wave != first]
        for action in running[lane]:
            if where[action.vm] != {action.source} or action.source == action.target:
                wrong.append(f"lane {lane}: {vms[action.vm].name} is not on {action.source}, or moves to where it is")
            wrong += [f"lane {lane}: {why}" for why in _unfit(action, vms[action.vm], fleet)]
            if action.target:
                where[action.vm].add(action.target)
        at_once = [action for some in running.values() for action in some]
        wrong += [f"lanes: {why}" for why in (*_too_many(at_once, policy), *_over(where, touched, fleet, policy))]
    return wrong


def _too_many(wave: list[Action], policy: Policy) -> list[str]:
    limits = policy.limits
    counts = {
        "off a node": (max(Counter(a.source for a in wave).values()), limits.outbound_per_node),
        "onto a node": (max(Counter(a.target for a in wave if a.target).values(), default=0), limits.inbound_per_node),
        "on a link": (
            max(Counter((a.source, a.target) for a in wave if a.target).values(), default=0),
            limits.per_link,
        ),
        "archives": (
            max(Counter(a.source for a in wave if not a.target).values(), default=0),
            limits.archives_per_node,
        ),
        "in the fleet": (len(wave), limits.per_fleet),
    }
    return [f"{count} {what}, {most} allowed" for what, (count, most) in counts.items() if count > most]


def _unfit(action: Action, vm: Vm, fleet: Fleet) -> list[str]:
    nodes = {node.name: node for node in fleet.nodes}
    wrong: list[str] = []
    if action.target and nodes[action.target].state is not NodeState.ACTIVE:
        wrong.append(f"{action.target} takes nothing")
    if nodes[action.source].state is NodeState.OFFLINE:
        wrong.append(f"{action.source} does not answer")
    if action.kind == "live_migrate" and (vm.state is VmState.SHUTOFF or not vm.migratable or vm.live_obstacle):
        wrong.append(f"{vm.name} can't move live")
    return wrong


def _over(where: dict[str, set[str]], touched: set[str], fleet: Fleet, policy: Policy) -> list[str]:
    wrong: list[str] = []
    for node in fleet.nodes:
        if node.name not in touched:
            continue
        there = [vm for vm in fleet.vms if node.name in where[vm.uuid]]
        counted = [vm for vm in there if vm.state is not VmState.SHUTOFF or policy.target.count_stopped_vms]
        memory = sum(vm.memory_bytes for vm in counted)
        room = (node.memory_bytes - node.memory_reserved_bytes) * (1 - policy.target.memory_headroom)
        if memory > room:
            wrong.append(f"{node.name} holds {memory} of {room:.0f} bytes")
        if sum(vm.vcpus for vm in counted) > node.cpus * node.cpu_overcommit:
            wrong.append(f"{node.name} holds too many vcpus")
        groups = Counter(vm.anti_affinity_group for vm in there if vm.anti_affinity_group)
        before = Counter(vm.anti_affinity_group for vm in fleet.vms if vm.node == node.name)
        arrived = {vm.anti_affinity_group for vm in there if vm.node != node.name}
        wrong += [
            f"{node.name} holds {count} of group {group} and had {before[group]}"
            for group, count in groups.items()
            if count > 1 and group in arrived
        ]
    return wrong
