"""A better assignment than the greedy one, by OR-Tools' CP-SAT: the least loss that memory, vcpus and groups allow."""

from __future__ import annotations

from collections.abc import Sequence

from agent.plan.assignment.greedy import EQUAL_LOSS, Choices, Chosen, PricedClass, PricedOption, Targets, total_loss
from agent.plan.options import Option, TargetClass
from models.fleet import Vm
from models.planning.placement import holds_room
from models.policy.policy import Policy

SHORTLIST = 64
"""targets CP-SAT looks at for each vm, beside greedy's choice; more change little and cost time"""
DETERMINISTIC_SECONDS = 3.0
"""CP-SAT's own deterministic time, about seconds of one core here: the same on every machine and every run"""
KIBIBYTE = 1 << 10
"""the solver's unit of memory; libvirt's own"""


def shortlist(vm: Vm, choices: Sequence[PricedClass], hint: PricedOption, targets: Targets) -> list[PricedOption]:
    """The choices CP-SAT is given: all that need no target, greedy's, and the roomiest targets that could take it alone."""
    kept: list[PricedOption] = []
    preference, room = targets.preference(vm.node), targets.capacities
    wanted = SHORTLIST
    by_loss: dict[int, list[tuple[PricedClass, TargetClass]]] = {}
    for choice in choices:
        if choice.option is None or choice.option.targets is None:
            kept.append(choice.at(None, 0))
        else:
            by_loss.setdefault(choice.loss // EQUAL_LOSS, []).append((choice, choice.option.targets))
    for _, equal in sorted(by_loss.items()):
        if wanted <= 0:
            break
        found = [(choice, place) for choice, each in equal for place in room.that_take(vm, targets.of(each)).tolist()]
        found.sort(key=lambda pair: (-int(room.memory[pair[1]]), pair[1]))
        kept += [choice.at(room.names[place], int(preference[place])) for choice, place in found[:wanted]]
        wanted -= len(found)
    return kept if any(choice.option == hint.option for choice in kept) else [*kept, hint]


def improve(choices: Choices, vms: Sequence[Vm], targets: Targets, hint: Chosen, policy: Policy) -> Chosen:
    """CP-SAT's answer, never worse than `hint`; `hint` itself when the solver gives none in its time."""
    from ortools.sat.python import cp_model  # half a second to import: only when a plan needs it

    model = cp_model.CpModel()
    used: dict[str, list[tuple[Vm, cp_model.IntVar, Option]]] = {}
    variables: dict[str, list[tuple[PricedOption, cp_model.IntVar]]] = {}
    costs: list[cp_model.LinearExpr] = []
    for vm in vms:
        mine: list[tuple[PricedOption, cp_model.IntVar]] = []
        for index, choice in enumerate(shortlist(vm, choices[vm.uuid], hint[vm.uuid], targets)):
            variable = model.new_bool_var(f"{vm.uuid}/{index}")
            mine.append((choice, variable))
            costs.append((choice.loss + choice.tie_break) * variable)
            model.add_hint(variable, choice.option == hint[vm.uuid].option)
            if choice.option is not None and choice.option.target is not None:
                used.setdefault(choice.option.target, []).append((vm, variable, choice.option))
        model.add_exactly_one(variable for _, variable in mine)
        variables[vm.uuid] = mine
    longest = model.new_int_var(0, 10_000_000, "longest queue of arrivals, seconds")
    room = targets.capacities
    for name, arrivals in sorted(used.items()):
        place = room.place[name]
        holding = [(vm, variable) for vm, variable, _ in arrivals if holds_room(vm, policy)]
        model.add(
            sum(-(-vm.memory_bytes // KIBIBYTE) * v for vm, v in holding) <= max(0, int(room.memory[place]) // KIBIBYTE)
        )
        model.add(sum(vm.vcpus * v for vm, v in holding) <= max(0, int(room.vcpus[place])))
        groups: dict[str, list[cp_model.IntVar]] = {}
        for vm, variable, _ in arrivals:
            if vm.anti_affinity_group:
                groups.setdefault(vm.anti_affinity_group, []).append(variable)
        for group, members in groups.items():
            if room.members.get(group, {}).get(place, 0) > 0:
                model.add(sum(members) == 0)
            else:
                model.add_at_most_one(members)
        namesakes: dict[str, list[cp_model.IntVar]] = {}
        for vm, variable, _ in arrivals:  # whose name the target has already, it is not among its choices
            namesakes.setdefault(vm.name, []).append(variable)
        for members in namesakes.values():
            if len(members) > 1:
                model.add_at_most_one(members)
        model.add(sum(min(int(o.seconds), 100_000) * v for _, v, o in arrivals) <= longest)
    model.minimize(cp_model.LinearExpr.sum([*costs, longest]))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 1
    solver.parameters.max_deterministic_time = DETERMINISTIC_SECONDS
    solver.parameters.relative_gap_limit = 0.001
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return dict(hint)
    better: Chosen = {
        uuid: next(choice for choice, variable in mine if solver.boolean_value(variable))
        for uuid, mine in variables.items()
    }
    return better if total_loss(better) <= total_loss(hint) else dict(hint)
