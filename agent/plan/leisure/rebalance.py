"""A few live moves that spread load and risk over the fleet, each worth more than it costs. Pure.

Description: the best single move again and again, off the nodes that are most crowded or most at risk.
Requirements: the same situation gives the same plan. Whether it may be carried out is the guard's to say.
Limitations: no exchange of two vms, which alone could help on a fleet that is full everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from agent.plan.assignment.next_failure import next_failure
from agent.plan.capacity import Capacities
from agent.plan.draft import Draft, PlanDecision
from agent.plan.options import live_options, possible_targets, target_classes
from models.fleet import NodeState, Vm
from models.plan import ActionKind, AtLeisure, Plan, PlannedBy
from models.planning.balance import Held, add, failure_risk, gain, held
from models.planning.schedule import Move
from models.situation import Situation
from models.text import percent

MOST_NODES = 20
"""looked at on each end: the most crowded and most at risk as sources, the least as targets"""


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    move: Move
    net: float
    why: str


def plan_rebalance(situation: Situation) -> Plan:
    """The plan; it moves nothing where nothing is worth it."""
    fleet, policy = situation.fleet, situation.policy
    targets = possible_targets(situation, ())
    room = Capacities(targets, fleet, policy)
    left, now_held = room.copy(), held(fleet, policy)
    chosen: list[_Candidate] = []
    while len(chosen) < policy.rebalance.max_moves:
        moved = {each.move.vm.uuid for each in chosen}
        best = _best(situation, left, now_held, moved)
        if best is None:
            break
        chosen.append(best)
        assert best.move.target is not None
        left.take(best.move.vm, best.move.target, 0.0)
        left.release(best.move.vm, best.move.source)
        add(now_held[best.move.source], best.move.vm, fleet, best.move.source, policy, -1)
        add(now_held[best.move.target], best.move.vm, fleet, best.move.target, policy, +1)
    moves = [each.move for each in chosen]
    if gain(moves, situation).net <= 0:
        chosen, moves = [], []
    decisions = [
        PlanDecision(each.move.vm.uuid, ActionKind.LIVE_MIGRATE, each.move.target, each.why) for each in chosen
    ]
    notes = _told(moves, situation)
    draft = Draft(
        situation=situation,
        leaving=(),
        asked=(),
        planned_by=PlannedBy(planner="solver", notes=notes),
        options={},
        room=room,
    )
    made = draft.finish(decisions)
    after = next_failure(situation, (), made.actions)
    return made.model_copy(update={"at_leisure": AtLeisure.REBALANCE, "next_failure": after})


def _best(situation: Situation, left: Capacities, now_held: dict[str, Held], moved: set[str]) -> _Candidate | None:
    """The single move that gains most, of those that gain more than they cost."""
    fleet, policy = situation.fleet, situation.policy
    loads = {name: one.load for name, one in now_held.items()}
    if len(loads) < 2:
        return None
    risks = {name: failure_risk(situation, name) for name in loads}
    at_stake = {name: risks[name] * _weight(fleet.vms_on(name), situation) for name in loads}
    sources = _first(loads, lambda name: -loads[name]) | _first(loads, lambda name: -at_stake[name])
    takers = {name for name in left.names if name in loads}
    targets = _first(takers, lambda name: loads[name]) | _first(takers, lambda name: risks[name])
    mean, margin = sum(loads.values()) / len(loads), policy.rebalance.margin

    def crowding(load: float) -> float:
        return policy.rebalance.crowding * max(0.0, abs(load - mean) - margin) ** 2

    best: _Candidate | None = None
    for source in sorted(sources):
        classes = target_classes([fleet.node_by_name[name] for name in sorted(targets) if name != source])
        if fleet.node_by_name[source].state is NodeState.OFFLINE or not classes:
            continue
        for vm in fleet.vms_on(source):
            if vm.uuid in moved or vm.uuid in situation.held:
                continue
            weight = policy.weights.of(vm.priority)
            cost = policy.rebalance.price * weight
            relieved = crowding(loads[source]) - crowding(_load(now_held[source], vm, source, situation, -1))
            most = weight * risks[source] + relieved + max(crowding(loads[name]) for name in targets) - cost
            if most <= 1e-9 or (best is not None and most <= best.net):
                continue
            names = sorted(
                name
                for option in live_options(vm, fleet.node_by_name[source], classes, policy)
                if option.targets
                for name in option.targets.names
            )
            for target in names:
                spared = weight * (risks[source] - risks[target])
                # with the mean as it is: a move changes it only between nodes of different size
                filled = crowding(loads[target]) - crowding(_load(now_held[target], vm, target, situation, +1))
                net = spared + relieved + filled - cost
                if net <= 1e-9 or (best is not None and net <= best.net + 1e-9) or not left.takes(vm, target):
                    continue
                why = (
                    f"{source} is {percent(loads[source])} full, {target} {percent(loads[target])}, the mean {percent(mean)}"
                    if relieved + filled >= spared
                    else f"{source} is likelier to fail ({percent(risks[source])}) than {target} ({percent(risks[target])})"
                )
                move = Move(vm=vm, kind=ActionKind.LIVE_MIGRATE, source=source, target=target)
                best = _Candidate(move=move, net=net, why=why)
    return best


def _load(one: Held, vm: Vm, node: str, situation: Situation, sign: int) -> float:
    """A node's load once the vm has come or left."""
    after = Held(one.memory, one.vcpus)
    add(after, vm, situation.fleet, node, situation.policy, sign)
    return after.load


def _first(names: Iterable[str], key: Callable[[str], float]) -> set[str]:
    return set(sorted(names, key=lambda name: (key(name), name))[:MOST_NODES])


def _weight(vms: Sequence[Vm], situation: Situation) -> float:
    return sum(situation.policy.weights.of(vm.priority) for vm in vms)


def _told(moves: Sequence[Move], situation: Situation) -> str:
    if not moves:
        return "load and risk are spread well enough: no move is worth what it costs"
    found = gain(moves, situation)
    return f"spares {found.risk:.3g} of expected loss and {found.load:.3g} of crowding, for {found.cost:.3g}"
