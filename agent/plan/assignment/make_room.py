"""Room on full targets: vms of sound nodes that move live to other sound nodes, so that vms of a failing node find room.

Description: chains and exchanges of any length, as long as every vm moves at most once; by CP-SAT over the roomiest targets.
Requirements: the same input gives the same answer; nothing of a sound node is stopped, and none moves unless it saves more than
it costs. That every state on the way keeps the limits is the order's work (`agent.plan.timing.waves.pack`).
Limitations: MOST_TARGETS targets are looked at, and a vm that would have to be parked and moved again is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.plan.assignment.cp_sat import DETERMINISTIC_SECONDS, KIBIBYTE
from agent.plan.assignment.greedy import EQUAL_LOSS, LOSS_UNIT, Choices, Chosen, PricedOption, Targets, total_loss
from agent.plan.options import ClassOption, Options, live_options
from models.fleet import Vm
from models.plan import ActionKind
from models.planning.placement import holds_room
from models.planning.schedule import Move
from models.situation import Situation

MOST_TARGETS = 20
"""targets whose vms may make room: those with most room left"""


@dataclass(frozen=True, kw_only=True)
class RoomMade:
    """What is done with every vm once room is made."""

    chosen: Chosen
    """for the vms of the nodes that are emptied"""
    moves: tuple[Move, ...]
    """of vms of sound nodes, live"""


def make_room(
    chosen: Chosen,
    choices: Choices,
    options: Mapping[str, Options],
    targets: Targets,
    situation: Situation,
    *,
    chains: bool,
) -> RoomMade | None:
    """A better choice with room made for it; None when there is none. `chains`: a node may take a vm that makes room only
    because another one left it; without, every such move has its room from the start, so that an order always exists."""
    policy = situation.policy
    stuck = [
        uuid
        for uuid, choice in chosen.items()
        if choice.option is None and any(option.targets for option in options[uuid].by_class)
    ]
    if not stuck or policy.make_room.max_moves == 0:
        return None
    nodes = _nearest(stuck, options, targets)
    most = max(chosen[uuid].loss for uuid in stuck)
    residents = _residents(nodes, targets, situation, most)
    if not residents:
        return None
    return _solve(chosen, choices, nodes, residents, targets, situation, chains=chains)


def _nearest(stuck: Sequence[str], options: Mapping[str, Options], targets: Targets) -> list[str]:
    """The targets looked at: of those the stuck vms may go to, and of all, the ones with most room."""
    room = targets.capacities
    may = {
        name for uuid in stuck for option in options[uuid].by_class if option.targets for name in option.targets.names
    }

    def roomiest(names: Sequence[str], count: int) -> list[str]:
        sound = [name for name in names if room.memory[room.place[name]] >= 0 and room.vcpus[room.place[name]] >= 0]
        return sorted(sound, key=lambda name: (-int(room.memory[room.place[name]]), name))[:count]

    first = roomiest(sorted(may), MOST_TARGETS)
    others = [name for name in room.names if name not in set(first)]
    return [*first, *roomiest(others, MOST_TARGETS // 2)]


@dataclass(frozen=True, kw_only=True)
class _Resident:
    vm: Vm
    price: int
    """what moving it costs, in LOSS_UNIT"""
    ways: tuple[tuple[str, ClassOption], ...]
    """where it may go"""


def _residents(nodes: Sequence[str], targets: Targets, situation: Situation, most: int) -> list[_Resident]:
    """The vms on `nodes` that can move live to another of them, and cost less than the worst of what stays."""
    fleet, policy = situation.fleet, situation.policy
    residents: list[_Resident] = []
    for name in nodes:
        for vm in fleet.vms_on(name):
            price = round(LOSS_UNIT * policy.drain.price * policy.weights.of(vm.priority))
            if price >= most or vm.uuid in situation.held:
                continue
            found = live_options(vm, fleet.node_by_name[name], targets.classes, policy)
            by_name = {other: option for option in found if option.targets for other in option.targets.names}
            taken = targets.capacities.namesakes.get(vm.name, set())
            ways = tuple(
                (other, by_name[other])
                for other in nodes
                if other != name and other in by_name and targets.capacities.place[other] not in taken
            )
            if ways:
                residents.append(_Resident(vm=vm, price=price, ways=ways))
    return residents


def _solve(
    chosen: Chosen,
    choices: Choices,
    nodes: Sequence[str],
    residents: Sequence[_Resident],
    targets: Targets,
    situation: Situation,
    *,
    chains: bool,
) -> RoomMade | None:
    from ortools.sat.python import cp_model  # half a second to import: only when a plan needs it

    fleet, policy, room = situation.fleet, situation.policy, targets.capacities
    model = cp_model.CpModel()
    costs: list[cp_model.LinearExpr] = []
    arriving: dict[str, list[tuple[Vm, cp_model.IntVar]]] = {}
    departing: dict[str, list[tuple[Vm, cp_model.IntVar]]] = {}
    making: dict[str, list[tuple[Vm, cp_model.IntVar]]] = {}
    leaving_vars: dict[str, list[tuple[PricedOption, cp_model.IntVar]]] = {}
    for uuid, now in chosen.items():
        vm = fleet.vm_by_uuid[uuid]
        preference = targets.preference(vm.node)
        offered: list[PricedOption] = []
        for choice in choices[uuid]:
            if choice.option is None or choice.option.targets is None:
                offered.append(choice.at(None, 0))
            else:
                of_class = {
                    name
                    for name in choice.option.targets.names
                    if room.place[name] not in room.namesakes.get(vm.name, set())
                }
                offered += [choice.at(name, int(preference[room.place[name]])) for name in nodes if name in of_class]
        if all(each.option != now.option for each in offered):
            offered.append(now)
        mine = [(each, model.new_bool_var("")) for each in offered]
        for each, variable in mine:
            costs.append((each.loss + each.tie_break) * variable)
            model.add_hint(variable, each.option == now.option)
            if each.option is not None and each.option.target is not None:
                arriving.setdefault(each.option.target, []).append((vm, variable))
        model.add_exactly_one(variable for _, variable in mine)
        leaving_vars[uuid] = mine
    resident_vars: list[tuple[_Resident, str, cp_model.IntVar]] = []
    for resident in residents:
        moves: list[cp_model.IntVar] = []
        for name, option in resident.ways:
            variable = model.new_bool_var("")
            model.add_hint(variable, False)
            moves.append(variable)
            resident_vars.append((resident, name, variable))
            # Among equals the one that moves faster.
            costs.append((resident.price + EQUAL_LOSS + min(int(option.seconds), EQUAL_LOSS)) * variable)
            making.setdefault(name, []).append((resident.vm, variable))
            departing.setdefault(resident.vm.node, []).append((resident.vm, variable))
        model.add_at_most_one(moves)
    model.add(sum(variable for _, _, variable in resident_vars) <= policy.make_room.max_moves)
    for name in sorted({*arriving, *making, *departing}):
        place = room.place[name]
        memory, vcpus = max(0, int(room.memory[place])) // KIBIBYTE, max(0, int(room.vcpus[place]))
        into = [*arriving.get(name, ()), *making.get(name, ())]
        away = departing.get(name, [])

        def held(
            some: Sequence[tuple[Vm, cp_model.IntVar]], *, up: bool
        ) -> tuple[cp_model.LinearExpr, cp_model.LinearExpr]:
            holding = [(vm, variable) for vm, variable in some if holds_room(vm, policy)]
            kib = [(-(-vm.memory_bytes // KIBIBYTE) if up else vm.memory_bytes // KIBIBYTE) * v for vm, v in holding]
            return cp_model.LinearExpr.sum(kib), cp_model.LinearExpr.sum([vm.vcpus * v for vm, v in holding])

        (in_kib, in_vcpus), (out_kib, out_vcpus) = held(into, up=True), held(away, up=False)
        model.add(in_kib - out_kib <= memory)
        model.add(in_vcpus - out_vcpus <= vcpus)
        if not chains:
            first_kib, first_vcpus = held(making.get(name, ()), up=True)
            model.add(first_kib <= memory)
            model.add(first_vcpus <= vcpus)
        namesakes: dict[str, list[cp_model.IntVar]] = {}
        for vm, variable in into:
            namesakes.setdefault(vm.name, []).append(variable)
        for alike in namesakes.values():
            model.add_at_most_one(alike)
        for group in {vm.anti_affinity_group for vm, _ in into if vm.anti_affinity_group}:
            there = room.members.get(group, {}).get(place, 0)
            coming = [variable for vm, variable in into if vm.anti_affinity_group == group]
            going = [] if there > 1 else [variable for vm, variable in away if vm.anti_affinity_group == group]
            model.add(sum(coming) - sum(going) <= max(0, 1 - there))
            if not chains and there:
                model.add(sum(v for vm, v in making.get(name, ()) if vm.anti_affinity_group == group) == 0)
    model.minimize(cp_model.LinearExpr.sum(costs))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 1
    solver.parameters.max_deterministic_time = DETERMINISTIC_SECONDS
    if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    better: Chosen = {
        uuid: next(each for each, variable in mine if solver.boolean_value(variable))
        for uuid, mine in leaving_vars.items()
    }
    moved = tuple(
        Move(vm=resident.vm, kind=ActionKind.LIVE_MIGRATE, source=resident.vm.node, target=name)
        for resident, name, variable in resident_vars
        if solver.boolean_value(variable)
    )
    spared = total_loss(chosen) - total_loss(better)
    return RoomMade(chosen=better, moves=moved) if moved and spared > EQUAL_LOSS else None
