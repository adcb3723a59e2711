"""Which next node failure the fleet would survive: N+1, before the plan and after it. Pure.

A failure is survived when every running vm of the node finds room on the other sound nodes: memory, vcpus, CPU model, group and
name. Vms are placed largest first, each where most room is; where that fails a cleverer placement might still be found, so that
the answer leans to the careful side. Who starts them there is not lifeboat: it says whether there is room.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace

from agent.plan.options import possible_targets
from models.fleet import Node, Vm, VmState
from models.plan import Action, ActionKind, NextFailure, Survival
from models.planning.placement import cpu_accepts, holds_room, memory_room
from models.policy.policy import Policy
from models.situation import Situation

FIRST_LOOKED_AT = 24
"""the roomiest nodes, tried before all of them: in a fleet with room the answer is there"""
MOST_NAMED = 20


@dataclass
class _Host:
    node: Node
    memory: int
    vcpus: float
    groups: set[str] = field(default_factory=set[str])
    names: set[str] = field(default_factory=set[str])
    needy: list[Vm] = field(default_factory=list[Vm])
    """its running and paused vms, largest first: what needs room when it fails"""

    def takes(self, vm: Vm, memory: int, vcpus: float) -> bool:
        return memory >= vm.memory_bytes and vcpus >= vm.vcpus and self.accepts(vm)

    def accepts(self, vm: Vm) -> bool:
        """Room aside: nothing of its group or its name is there."""
        return vm.anti_affinity_group not in self.groups and vm.name not in self.names


def next_failure(situation: Situation, leaving: Sequence[str], actions: Iterable[Action]) -> NextFailure:
    """Before and after `actions`. The nodes looked at are the sound ones that stay; `leaving` are taken as gone in both."""
    fleet, policy = situation.fleet, situation.policy
    hosts = [_host(node, fleet.vms_on(node.name), policy) for node in possible_targets(situation, leaving)]
    before = _survival(hosts, policy)
    moved = {a.vm: a for a in actions if a.kind is not ActionKind.STAY}
    if not moved:
        return NextFailure(before=before, after=before)
    arriving: dict[str, list[Vm]] = {}
    for action in moved.values():
        if action.target is not None:
            arriving.setdefault(action.target, []).append(fleet.vm_by_uuid[action.vm])
    changed = arriving.keys() | {fleet.vm_by_uuid[uuid].node for uuid in moved}
    for n, host in enumerate(hosts):
        if (name := host.node.name) in changed:
            stay = [vm for vm in fleet.vms_on(name) if vm.uuid not in moved]
            hosts[n] = _host(host.node, [*stay, *arriving.get(name, ())], policy)
    return NextFailure(before=before, after=_survival(hosts, policy))


def _survival(unordered: Sequence[_Host], policy: Policy) -> Survival:
    hosts = sorted(unordered, key=lambda host: (-host.memory, host.node.name))
    by_model: dict[str, list[_Host]] = {}
    for host in hosts:
        if host.node.cpu_model not in by_model:
            by_model[host.node.cpu_model] = [each for each in hosts if cpu_accepts(host.node, each.node, policy)]
    lost: list[str] = []
    for host in hosts:
        others = by_model[host.node.cpu_model]
        first = [each for each in others[: FIRST_LOOKED_AT + 1] if each is not host]
        if _one_each(host.needy, first) or _fit(host.needy, first):
            continue
        if not _fit(host.needy, [each for each in others if each is not host]):
            lost.append(host.node.name)
    return Survival(nodes=len(hosts), not_survived=len(lost), such_as=tuple(sorted(lost)[:MOST_NAMED]))


def _host(node: Node, vms: Sequence[Vm], policy: Policy) -> _Host:
    held = [vm for vm in vms if holds_room(vm, policy)]
    return _Host(
        node=node,
        memory=memory_room(node, policy) - sum(vm.memory_bytes for vm in held),
        vcpus=node.vcpu_capacity - sum(vm.vcpus for vm in held),
        groups={vm.anti_affinity_group for vm in vms if vm.anti_affinity_group},
        names={vm.name for vm in vms},
        needy=sorted(
            (vm for vm in vms if vm.state is not VmState.SHUTOFF), key=lambda vm: (-vm.memory_bytes, -vm.vcpus, vm.uuid)
        ),
    )


def _one_each(vms: Sequence[Vm], hosts: Sequence[_Host]) -> bool:
    """Whether each finds a host of its own, any of which would have room for any of them: told at a glance in a large fleet."""
    if not vms or len(vms) > len(hosts):
        return not vms
    if vms[0].memory_bytes > hosts[-1].memory or max(vm.vcpus for vm in vms) > min(host.vcpus for host in hosts):
        return False
    taken: set[int] = set()
    # Those with a group first: they are the choosy ones.
    for vm in sorted(vms, key=lambda vm: vm.anti_affinity_group is None):
        free = (n for n, host in enumerate(hosts) if n not in taken and host.accepts(vm))
        place = next(free, None)
        if place is None:
            return False
        taken.add(place)
    return True


def _fit(vms: Sequence[Vm], hosts: Sequence[_Host]) -> bool:
    """Whether all of them find room, each on the host with most left that takes it. Changes nothing."""
    left = [(-host.memory, n, host.vcpus) for n, host in enumerate(hosts)]
    heapify(left)
    joined: set[tuple[str, int]] = set()
    for vm in vms:
        group = vm.anti_affinity_group
        passed_over: list[tuple[int, int, float]] = []
        while left:
            memory, n, vcpus = left[0]
            if hosts[n].takes(vm, -memory, vcpus) and (group is None or (group, n) not in joined):
                heapreplace(left, (memory + vm.memory_bytes, n, vcpus - vm.vcpus))
                break
            passed_over.append(heappop(left))
        else:
            return False
        for one in passed_over:
            heappush(left, one)
        if group is not None:
            joined.add((group, n))
    return True
