"""How evenly load and risk lie on a fleet, and what moves gain. Planner and guard go by the same figures. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from models.fleet import Fleet, NodeState, Vm
from models.planning.placement import holds_room, memory_room
from models.planning.schedule import Move
from models.policy.policy import Policy
from models.situation import Situation


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What moves bring and cost, in the unit of `weights`."""

    risk: float
    """expected loss within `drain.horizon` that they spare"""
    load: float
    """crowding that they spare"""
    cost: float

    @property
    def net(self) -> float:
        return self.risk + self.load - self.cost


@dataclass
class Held:
    """What vms hold on one node, as shares of what they may."""

    memory: float = 0.0
    vcpus: float = 0.0

    @property
    def load(self) -> float:
        return max(self.memory, self.vcpus)


def held(fleet: Fleet, policy: Policy) -> dict[str, Held]:
    """Of every node that takes vms."""
    found = {node.name: Held() for node in fleet.nodes if node.state is NodeState.ACTIVE}
    for name, one in found.items():
        for vm in fleet.vms_on(name):
            add(one, vm, fleet, name, policy, +1)
    return found


def add(one: Held, vm: Vm, fleet: Fleet, node: str, policy: Policy, sign: int) -> None:
    """A vm comes to a node, or leaves it."""
    if holds_room(vm, policy):
        there = fleet.node_by_name[node]
        one.memory += sign * vm.memory_bytes / max(1, memory_room(there, policy))
        one.vcpus += sign * vm.vcpus / there.vcpu_capacity


def imbalance(loads: Iterable[float], margin: float) -> float:
    """Sum over the nodes of the square of how far a load lies from their mean, less the margin."""
    told = list(loads)
    mean = sum(told) / len(told) if told else 0.0
    return sum(max(0.0, abs(load - mean) - margin) ** 2 for load in told)


def failure_risk(situation: Situation, node: str) -> float:
    """P(the node fails within `drain.horizon`); 1 where it is unknown: nothing is spread there."""
    risk = situation.node_risks[node].usable_risk
    return 1.0 if risk is None else risk.within(situation.policy.drain.horizon.total_seconds())


def gain(moves: Sequence[Move], situation: Situation, before: Mapping[str, Held] | None = None) -> Gain:
    """What all these moves gain together. `before`: `held` of the fleet, where it is known already."""
    fleet, policy = situation.fleet, situation.policy
    start = before or held(fleet, policy)
    after = {name: Held(one.memory, one.vcpus) for name, one in start.items()}
    risk = cost = 0.0
    for move in moves:
        weight = policy.weights.of(move.vm.priority)
        cost += policy.rebalance.price * weight
        if move.source in after:
            add(after[move.source], move.vm, fleet, move.source, policy, -1)
        if move.target is not None and move.target in after:
            add(after[move.target], move.vm, fleet, move.target, policy, +1)
            risk += weight * (failure_risk(situation, move.source) - failure_risk(situation, move.target))
    margin = policy.rebalance.margin
    spared = imbalance((one.load for one in start.values()), margin) - imbalance(
        (one.load for one in after.values()), margin
    )
    return Gain(risk=risk, load=policy.rebalance.crowding * spared, cost=cost)
