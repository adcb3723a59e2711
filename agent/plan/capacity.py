"""What each target still takes while a plan is made: for one node, and for all of them at once."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.fleet import Fleet, Node, Vm
from models.planning.placement import holds_room, memory_room
from models.planning.schedule import Move
from models.policy.policy import Policy


@dataclass
class Capacity:
    """What a target still takes."""

    memory: int
    vcpus: float
    groups: set[str] = field(default_factory=set[str])
    """anti-affinity groups that have a vm there"""
    names: set[str] = field(default_factory=set[str])
    """of the vms there: libvirt has no two of one name"""
    arriving_seconds: float = 0.0
    arriving: int = 0

    def takes(self, vm: Vm, policy: Policy) -> bool:
        if vm.name in self.names or (vm.anti_affinity_group and vm.anti_affinity_group in self.groups):
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
        self.names.add(vm.name)
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
        names={vm.name for vm in there},
    )


Places = NDArray[np.intp]
"""targets by their place in `Capacities.names`"""


class Capacities:
    """What every target still takes, as arrays: one vm is asked of thousands of targets at once."""

    def __init__(self, nodes: Iterable[Node], fleet: Fleet, policy: Policy) -> None:
        found = {node.name: free_capacity(node, fleet, policy) for node in nodes}
        self.names: tuple[str, ...] = tuple(sorted(found))
        self.place = {name: n for n, name in enumerate(self.names)}
        self._policy = policy
        each = [found[name] for name in self.names]
        self.memory = np.array([capacity.memory for capacity in each], dtype=np.int64)
        self.vcpus = np.array([capacity.vcpus for capacity in each], dtype=np.float64)
        self.arriving = np.zeros(len(each), dtype=np.int64)
        self.arriving_seconds = np.zeros(len(each), dtype=np.float64)
        self.members: dict[str, dict[int, int]] = {}
        """anti-affinity group → place → how many of it are there"""
        self.namesakes: ChainMap[str, set[int]] = ChainMap()
        """name of a vm → places that have one of that name: libvirt has no two on a node"""
        for name in self.names:
            for vm in fleet.vms_on(name):
                self.namesakes.setdefault(vm.name, set()).add(self.place[name])
                if vm.anti_affinity_group:
                    at = self.members.setdefault(vm.anti_affinity_group, {})
                    at[self.place[name]] = at.get(self.place[name], 0) + 1

    def copy(self) -> Capacities:
        other = object.__new__(Capacities)
        other.names, other.place, other._policy = self.names, self.place, self._policy
        other.memory, other.vcpus = self.memory.copy(), self.vcpus.copy()
        other.arriving, other.arriving_seconds = self.arriving.copy(), self.arriving_seconds.copy()
        other.members = {group: dict(at) for group, at in self.members.items()}
        # Shared from here on, and changed by neither: each writes into a map of its own in front. A fleet has 190,000 names.
        shared = self.namesakes.maps
        self.namesakes, other.namesakes = ChainMap({}, *shared), ChainMap({}, *shared)
        return other

    def places(self, names: Sequence[str]) -> Places:
        return np.array([self.place[name] for name in names], dtype=np.intp)

    def that_take(self, vm: Vm, among: Places) -> Places:
        """Those of `among` that have room for it and nothing of its group or its name, in their order."""
        # A node that is over already takes nothing, not even what holds no room: the guard refuses it as a target.
        memory, vcpus = self._room_of(vm)
        fits = (self.memory[among] >= memory) & (self.vcpus[among] >= vcpus)
        taken = self.members.get(vm.anti_affinity_group or "")
        if taken:
            fits &= ~np.isin(among, [place for place, count in taken.items() if count > 0])
        if namesakes := self.namesakes.get(vm.name):
            fits &= ~np.isin(among, list(namesakes))
        return among[fits]

    def takes(self, vm: Vm, target: str) -> bool:
        return len(self.that_take(vm, np.array([self.place[target]], dtype=np.intp))) > 0

    def take(self, vm: Vm, target: str, seconds: float) -> None:
        at = self.place[target]
        memory, vcpus = self._room_of(vm)
        self.memory[at] -= memory
        self.vcpus[at] -= vcpus
        self.arriving[at] += 1
        self.arriving_seconds[at] += seconds
        self._named(vm.name).add(at)
        if vm.anti_affinity_group:
            there = self.members.setdefault(vm.anti_affinity_group, {})
            there[at] = there.get(at, 0) + 1

    def release(self, vm: Vm, node: str) -> None:
        """It left; nothing happens for a node that is no target."""
        at = self.place.get(node)
        if at is None:
            return
        memory, vcpus = self._room_of(vm)
        self.memory[at] += memory
        self.vcpus[at] += vcpus
        self._named(vm.name).discard(at)
        if vm.anti_affinity_group:
            self.members[vm.anti_affinity_group][at] -= 1

    def after(self, moves: Iterable[Move]) -> Capacities:
        """What is left when all these moves are done."""
        left = self.copy()
        for move in moves:
            left.release(move.vm, move.source)
            if move.target is not None and move.target in left.place:
                left.take(move.vm, move.target, 0.0)
        return left

    def _named(self, name: str) -> set[int]:
        """The places of this name, to be changed."""
        own = self.namesakes.maps[0]
        if name not in own:
            own[name] = set(self.namesakes.get(name, ()))
        return own[name]

    def _room_of(self, vm: Vm) -> tuple[int, float]:
        return (vm.memory_bytes, vm.vcpus) if holds_room(vm, self._policy) else (0, 0)
