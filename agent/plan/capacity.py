"""What each target still takes while a plan is made."""

from __future__ import annotations

from dataclasses import dataclass, field

from models.fleet import Fleet, Node, Vm
from models.placement import holds_room, memory_room
from models.policy import Policy


@dataclass
class Capacity:
    """What a target still takes."""

    memory: int
    vcpus: float
    groups: set[str] = field(default_factory=set[str])
    arriving_seconds: float = 0.0
    arriving: int = 0

    def takes(self, vm: Vm, policy: Policy) -> bool:
        if vm.anti_affinity_group and vm.anti_affinity_group in self.groups:
            return False
        # A node that is over already takes nothing, not even what holds no room: the guard refuses it as a target.
        memory, vcpus = (vm.memory_bytes, vm.vcpus) if holds_room(vm, policy) else (0, 0)
        return memory <= self.memory and vcpus <= self.vcpus

    def take(self, vm: Vm, seconds: float, policy: Policy) -> None:
        if holds_room(vm, policy):
            self.memory -= vm.memory_bytes
            self.vcpus -= vm.vcpus
        if vm.anti_affinity_group:
            self.groups.add(vm.anti_affinity_group)
        self.arriving_seconds += seconds
        self.arriving += 1


def free_capacity(node: Node, fleet: Fleet, policy: Policy) -> Capacity:
    """What a node takes before anything moves: its room less everything defined on it."""
    there = fleet.vms_on(node.name)
    held = [vm for vm in there if holds_room(vm, policy)]
    return Capacity(
        memory=memory_room(node, policy) - sum(vm.memory_bytes for vm in held),
        vcpus=node.vcpu_capacity - sum(vm.vcpus for vm in held),
        groups={vm.anti_affinity_group for vm in there if vm.anti_affinity_group},
    )
