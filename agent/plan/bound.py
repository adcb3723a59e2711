"""What no plan can better: a lower bound on the expected loss, told beside every plan.

Description: the larger of two relaxations, each of which leaves some limit aside.
- *room*: every vm is done as soon as if nothing else moved, and all targets' memory together holds only so much; the rest stays.
- *prices* (`agent.plan.prices`): links, streams, archives, the fleet's actions and the targets' memory have a price instead of
  a limit.
Requirements: never above the loss of any plan made of these options, within the model of `models.migration.estimate`.
Limitations: barriers between waves, limits of the targets' links, which target holds what, groups and vcpus are left aside, so
that a gap may be the bound's fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from agent.plan.capacity import Capacities
from agent.plan.options import ClassOption, Options
from agent.plan.prices import Caps, Curve, Market, Way
from agent.plan.timing.lanes import LARGE_FLEET
from models.fleet import Node, Vm
from models.planning.placement import holds_room
from models.planning.schedule import Move, Shares, sends, timing_of
from models.situation import Situation

ROUNDS = 300
MOST_WORK = 60_000_000
"""ways × steps of the grid × rounds: large plans get a coarser grid and fewer rounds"""


def least_loss(
    options: Mapping[str, Options], room: Capacities, situation: Situation, leaving: Sequence[str], *, reach: float
) -> float:
    """Σ weight × P(the node fails before the vm is safe) that no plan for the nodes `leaving` goes below.

    `reach`: the loss of the best plan known, up to which it is looked for.
    """
    fleet, weights = situation.fleet, situation.policy.weights
    horizon = situation.horizon_seconds
    fixed = alone = 0.0
    weight: list[float] = []
    node: list[int] = []
    ways: list[Way] = []
    stuck_extra: list[tuple[Vm, float]] = []
    curves = [Curve.of(situation.risk_curve(name)) for name in leaving]
    for number, (name, curve) in enumerate(zip(leaving, curves, strict=True)):
        source, whole = fleet.node_by_name[name], float(curve.p[-1])
        for vm in fleet.vms_on(name):
            mine, worth = options[vm.uuid], weights.of(vm.priority)
            if not mine.by_class:
                fixed += worth * whole
                continue
            least = worth * float(curve.within(np.array([min(horizon, *(one.seconds for one in mine.by_class))]))[0])
            alone += least
            if all(option.targets is not None for option in mine.by_class) and holds_room(vm, situation.policy):
                stuck_extra.append((vm, worth * whole - least))
            ways += _ways(len(weight), number, mine, source, situation)
            weight.append(worth)
            node.append(number)
    by_room = alone + _unplaceable(stuck_extra, room)
    if not weight or reach <= fixed + by_room:
        return fixed + by_room
    rules = situation.policy.limits
    work = MOST_WORK / max(1, len(fleet.nodes) // LARGE_FLEET)
    steps = int(np.clip(work / ROUNDS / len(ways) / 4, 40, 120))
    market = Market(
        weight=np.array(weight),
        node=np.array(node, dtype=np.intp),
        ways=ways,
        curves=curves,
        caps=Caps(
            outbound=rules.outbound_per_node,
            archives=rules.archives_per_node,
            fleet=rules.per_fleet,
            room=float(np.maximum(room.memory, 0).sum()),
        ),
        steps=steps,
    )
    rounds = int(np.clip(work / steps / len(ways) / 4, 50, min(ROUNDS, 30 + 10 * len(ways))))
    return fixed + max(by_room, market.bound(reach=reach - fixed, rounds=rounds))


def _ways(job: int, node: int, options: Options, source: Node, situation: Situation) -> list[Way]:
    """What may be done with one vm, those together that differ in nothing that counts here."""
    policy = situation.policy
    found: dict[tuple[object, ...], Way] = {}
    for option in options.by_class:
        way = Way(
            job=job,
            node=node,
            seconds=_seconds(options.vm, option, source, situation),
            sends=sends(_move(options.vm, option, source)),
            archive=option.targets is None,
            bytes_held=options.vm.memory_bytes if option.targets and holds_room(options.vm, policy) else 0,
        )
        found.setdefault((way.seconds, way.sends, way.archive, way.bytes_held), way)
    return list(found.values())


def _move(vm: Vm, option: ClassOption, source: Node) -> Move:
    target = option.targets.sample.name if option.targets else None
    return Move(vm=vm, kind=option.kind, source=source.name, target=target)


def _seconds(vm: Vm, option: ClassOption, source: Node, situation: Situation) -> tuple[float, ...]:
    """With 1, 2, … streams on the source's link; nothing else on the target's."""
    move = _move(vm, option, source)
    streams = situation.policy.limits.outbound_per_node if sends(move) else 1
    told = [
        timing_of(move, Shares(source_link=count), situation.fleet, situation.policy)[0]
        for count in range(1, streams + 1)
    ]
    # Beside others a guest may be sent by post-copy and take less: then it counts as that fast alone as well.
    told = list(np.minimum.accumulate(told[::-1])[::-1])
    return (*told, *[told[-1]] * (situation.policy.limits.outbound_per_node - len(told)))


def _unplaceable(needing: Sequence[tuple[Vm, float]], room: Capacities) -> float:
    """What is lost on top because all targets together lack memory: what stays is worth least by the byte, in any pieces."""
    short = sum(vm.memory_bytes for vm, _ in needing) - int(np.maximum(room.memory, 0).sum())
    lost = 0.0
    for vm, extra in sorted(needing, key=lambda pair: pair[1] / max(1, pair[0].memory_bytes)):
        if short <= 0:
            break
        share = min(1.0, short / max(1, vm.memory_bytes))
        lost += share * extra
        short -= vm.memory_bytes
    return lost
