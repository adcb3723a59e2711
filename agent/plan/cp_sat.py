"""A better assignment than the greedy one, by OR-Tools' CP-SAT: the least loss that memory, vcpus and groups allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.plan.assignment import EQUAL_LOSS, PricedOption, total_loss
from agent.plan.capacity import Capacity
from agent.plan.options import Option
from models.fleet import Vm
from models.placement import holds_room
from models.policy import Policy

SHORTLIST = 64
"""targets CP-SAT looks at for each vm, beside greedy's choice; more change little and cost time"""
DETERMINISTIC_SECONDS = 3.0
"""CP-SAT's own deterministic time, about seconds of one core here: the same on every machine and every run"""
KIBIBYTE = 1 << 10
"""the solver's unit of memory; libvirt's own"""


def shortlist(
    vm: Vm, choices: Sequence[PricedOption], hint: Option | None, capacities: Mapping[str, Capacity], policy: Policy
) -> list[PricedOption]:
    """The choices CP-SAT is given: all that need no target, greedy's, and the roomiest targets that could take it alone."""
    free: list[PricedOption] = []
    placed: list[tuple[tuple[int, int, str], PricedOption]] = []
    for choice in choices:
        target = choice.option.target if choice.option else None
        if target is None:
            free.append(choice)
        elif capacities[target].takes(vm, policy):
            placed.append(((choice.loss // EQUAL_LOSS, -capacities[target].memory, target), choice))
    placed.sort(key=lambda pair: pair[0])
    kept = [choice for _, choice in placed[:SHORTLIST]]
    if hint is not None and all(choice.option != hint for choice in free + kept):
        kept += [choice for _, choice in placed if choice.option == hint]
    return free + kept


def improve(
    choices: Mapping[str, Sequence[PricedOption]],
    vms: Sequence[Vm],
    capacities: Mapping[str, Capacity],
    hint: Mapping[str, Option | None],
    policy: Policy,
) -> dict[str, Option | None]:
    """CP-SAT's answer, never worse than `hint`; `hint` itself when the solver gives none in its time."""
    from ortools.sat.python import cp_model  # half a second to import: only when a plan needs it

    model = cp_model.CpModel()
    used: dict[str, list[tuple[Vm, cp_model.IntVar, Option]]] = {name: [] for name in capacities}
    variables: dict[str, list[tuple[PricedOption, cp_model.IntVar]]] = {}
    costs: list[cp_model.LinearExpr] = []
    for vm in vms:
        mine: list[tuple[PricedOption, cp_model.IntVar]] = []
        for index, choice in enumerate(shortlist(vm, choices[vm.uuid], hint[vm.uuid], capacities, policy)):
            variable = model.new_bool_var(f"{vm.uuid}/{index}")
            mine.append((choice, variable))
            costs.append((choice.loss + choice.tie_break) * variable)
            model.add_hint(variable, choice.option == hint[vm.uuid])
            if choice.option is not None and choice.option.target is not None:
                used[choice.option.target].append((vm, variable, choice.option))
        model.add_exactly_one(variable for _, variable in mine)
        variables[vm.uuid] = mine
    longest = model.new_int_var(0, 10_000_000, "longest queue of arrivals, seconds")
    for name, arrivals in used.items():
        if not arrivals:
            continue
        capacity = capacities[name]
        holding = [(vm, variable) for vm, variable, _ in arrivals if holds_room(vm, policy)]
        model.add(sum(-(-vm.memory_bytes // KIBIBYTE) * v for vm, v in holding) <= max(0, capacity.memory // KIBIBYTE))
        model.add(sum(vm.vcpus * v for vm, v in holding) <= max(0, int(capacity.vcpus)))
        groups: dict[str, list[cp_model.IntVar]] = {}
        for vm, variable, _ in arrivals:
            if vm.anti_affinity_group:
                groups.setdefault(vm.anti_affinity_group, []).append(variable)
        for group, members in groups.items():
            if group in capacity.groups:
                model.add(sum(members) == 0)
            else:
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
    better: dict[str, Option | None] = {
        uuid: next(choice.option for choice, variable in mine if solver.boolean_value(variable))
        for uuid, mine in variables.items()
    }
    return better if total_loss(choices, better) <= total_loss(choices, hint) else dict(hint)
