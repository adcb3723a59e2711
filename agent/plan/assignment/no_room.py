"""What keeps a vm from leaving a node for want of room, named so that somebody can do something about it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from agent.plan.capacity import Capacities
from models.fleet import Vm
from models.planning.placement import holds_room
from models.policy.policy import Policy
from models.text import counted, listed, visible

GIBIBYTE = 1 << 30
MOST_NAMED = 2
"""targets named; the nearest to having room"""


def describe_no_room(vm: Vm, names: Sequence[str], left: Capacities, policy: Policy) -> str:
    """Why none of the targets `names` takes it after every move of the plan, and what would have to change where.

    `no room: it needs 16.0 GiB, 2 nodes that may take it, at most 10.0 GiB left there; it could leave if node-3 had 6 GiB
    more`.
    """
    may = f"{counted(len(names), 'node')} that may take it"
    places = left.places(names)
    taken = left.members.get(vm.anti_affinity_group or "", {})
    if vm.anti_affinity_group and all(taken.get(int(place), 0) > 0 for place in places):
        return (
            f"every node that may take it already has a vm of its anti-affinity group {vm.anti_affinity_group!r}; "
            f"it could leave if the one on {_roomiest(names, left)} left that node"
        )
    namesakes = left.namesakes.get(vm.name, set())
    if all(int(place) in namesakes for place in places):
        return f"every node that may take it has another vm named {visible(vm.name, 60)}: rename one of them"
    counts = holds_room(vm, policy)
    best = max(int(left.memory[place]) for place in places)
    remedy = f"it could leave if {_remedies(vm, names, left, policy)}"
    if counts and best < vm.memory_bytes:
        most = max(0, best) / GIBIBYTE
        return f"no room: it needs {vm.memory_bytes / GIBIBYTE:.1f} GiB, {may}, at most {most:.1f} GiB left there; {remedy}"
    if counts and max(float(left.vcpus[place]) for place in places) < vm.vcpus:
        return f"no room: {may}, none with {vm.vcpus} vcpus left; {remedy}"
    return f"no room: {may}, none fits its memory, vcpus and group together; {remedy}"


def _lacks(vm: Vm, name: str, left: Capacities, policy: Policy) -> tuple[int, float, bool]:
    """What one target lacks: bytes, vcpus, and whether one of the vm's group is there."""
    place = left.place[name]
    memory, vcpus = (vm.memory_bytes, vm.vcpus) if holds_room(vm, policy) else (0, 0)
    met = left.members.get(vm.anti_affinity_group or "", {}).get(place, 0) > 0
    return max(0, memory - int(left.memory[place])), max(0.0, vcpus - float(left.vcpus[place])), met


def _remedies(vm: Vm, names: Sequence[str], left: Capacities, policy: Policy) -> str:
    """The nearest first: those that need one thing, and least of it."""
    lacking = [(_lacks(vm, name, left, policy), name) for name in names]
    lacking.sort(key=lambda each: (each[0][2], each[0][1] > 0, each[0][0], each[0][1], each[1]))
    told = [f"{visible(name, 60)} {_had(vm, *lacks)}" for lacks, name in lacking[:MOST_NAMED]]
    return ", or ".join(told)


def _had(vm: Vm, memory: int, vcpus: float, met: bool) -> str:
    # Rounded up: with what is named it really could leave.
    gib = f"{math.ceil(memory * 10 / GIBIBYTE) / 10:g} GiB more" if memory else ""
    more = [text for text in (gib, _vcpus(vcpus)) if text]
    had = f"had {listed(more)}" if more else ""
    without = f"held no vm of its group {vm.anti_affinity_group!r}" if met else ""
    return " and ".join(part for part in (had, without) if part)


def _vcpus(count: float) -> str:
    return f"{count:g} more {'vcpu' if count == 1 else 'vcpus'}" if count else ""


def _roomiest(names: Sequence[str], left: Capacities) -> str:
    return visible(max(names, key=lambda name: (int(left.memory[left.place[name]]), name)), 60)
