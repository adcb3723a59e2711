"""Which option each vm gets: a greedy first answer, and CP-SAT to better it.

Description: chooses, for every vm that has to leave, one of its options or to stay, so that the expected loss is least.
Requirements: no target past its memory, its vcpus or an anti-affinity group; the same input gives the same answer.
Limitations: when a vm is done depends on the others; the choice uses the time it would be done if everything moved in the
order of urgency, and the waves are worked out afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agent.plan.options import Option, Options, holds_room, memory_room
from models.fleet import Fleet, Node, Vm
from models.plan import ActionKind
from models.policy import Policy
from models.risk_level import NodeRisk

SHORTLIST = 64
"""targets CP-SAT looks at for each vm, beside greedy's choice; more change little and cost time"""
DETERMINISTIC_SECONDS = 3.0
"""CP-SAT's own deterministic time, about seconds of one core here: the same on every machine and every run"""
KIBIBYTE = 1 << 10
"""the solver's unit of memory; libvirt's own"""
LOSS_UNIT = 1_000_000
"""integer cost of losing one vm of weight 1 for certain"""
EQUAL_LOSS = 1000
"""losses that differ by less are equal; the spread over targets decides"""
ARCHIVE_SPARE = 0.25
"""an archive is chosen over a live migration unless this share of the vm's whole risk could be spared by moving it"""
UNSAFE_SHARE = 0.9
"""a running guest is not stopped for a move before whose end 90 % of the risk has passed already"""
STAY_EXTRA = 0.05
"""trying beats staying even when it will probably be too late"""


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
        return not holds_room(vm, policy) or (vm.memory_bytes <= self.memory and vm.vcpus <= self.vcpus)

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


@dataclass(frozen=True)
class PricedOption:
    """One option of one vm with what it costs."""

    option: Option | None
    """None: stay"""
    loss: int
    """weight × P(the source fails before it is safe), in LOSS_UNIT"""
    tie_break: int = 0
    """how little one likes the target, 0 to 100: breaks ties between equal losses, no more"""


Hazard = Callable[[str, float], float]
"""(node, seconds) → P(it fails within them)"""


def price_options(
    options: Options, waiting: float, horizon: float, hazard: Hazard, policy: Policy, domain: Callable[[str], float]
) -> list[PricedOption]:
    """Every choice for one vm, staying among them, with its cost.

    `waiting` is how long the vms before it take; `domain` gives a target's own preference cost between 0 and 1.
    """
    vm = options.vm
    weight = max(policy.weights.of(vm.priority), 0.01)
    # Floors keep an order among choices on a node that was asked for and is not risky at all.
    whole = max(hazard(vm.node, horizon), 0.01)

    def lost(seconds: float) -> float:
        floor = whole * min(seconds / horizon, 1.0) * 0.01
        return max(min(hazard(vm.node, min(seconds, horizon)), whole), floor)

    choices: list[PricedOption] = []
    for option in options.moves:
        stops = option.kind is not ActionKind.LIVE_MIGRATE and vm.state == "running"
        if stops and lost(option.seconds) >= UNSAFE_SHARE * whole:
            continue
        p = lost(waiting + option.seconds)
        if options.moves[0].kind is ActionKind.COLD_ARCHIVE and option.kind is not ActionKind.COLD_ARCHIVE:
            p += ARCHIVE_SPARE * whole
        dislike = 0.0 if option.target is None else domain(option.target)
        choices.append(PricedOption(option, round(LOSS_UNIT * weight * p), round(100 * dislike)))
    choices.append(PricedOption(None, round(LOSS_UNIT * weight * whole * (1 + ARCHIVE_SPARE + STAY_EXTRA))))
    return choices


def greedy(
    choices: Mapping[str, Sequence[PricedOption]], vms: Sequence[Vm], rooms: Mapping[str, Capacity], policy: Policy
) -> dict[str, Option | None]:
    """Heaviest vm first, each to its cheapest choice that still fits; among equals the target with least arriving.

    `rooms` is not changed.
    """
    left = {name: Capacity(r.memory, r.vcpus, set(r.groups)) for name, r in rooms.items()}
    result: dict[str, Option | None] = {}
    for vm in sorted(vms, key=lambda v: (-policy.weights.of(v.priority), -v.memory_bytes, v.uuid)):
        best: tuple[tuple[int, int, int, float, int, str], Option | None] | None = None
        for choice in choices[vm.uuid]:
            rank = (choice.loss // EQUAL_LOSS, choice.tie_break, 0, 0.0, 0, "")
            if choice.option is not None and choice.option.target is not None:
                room = left[choice.option.target]
                if not room.takes(vm, policy):
                    continue
                spread = (room.arriving, room.arriving_seconds, -room.memory, choice.option.target)
                rank = (choice.loss // EQUAL_LOSS, choice.tie_break // 10, *spread)
            if best is None or rank < best[0]:
                best = (rank, choice.option)
        option = best[1] if best else None
        if option is not None and option.target is not None:
            left[option.target].take(vm, option.seconds, policy)
        result[vm.uuid] = option
    return result


def total_loss(choices: Mapping[str, Sequence[PricedOption]], chosen: Mapping[str, Option | None]) -> int:
    """What a choice for every vm costs in all."""
    return sum(
        next(choice.loss for choice in choices[uuid] if choice.option == option) for uuid, option in chosen.items()
    )


def lower_bound(choices: Mapping[str, Sequence[PricedOption]]) -> int:
    """What no choice can better: every vm to its cheapest, with losses that count as equal let pass."""
    return sum(min(choice.loss for choice in mine) + EQUAL_LOSS for mine in choices.values())


def shortlist(
    vm: Vm, choices: Sequence[PricedOption], hint: Option | None, rooms: Mapping[str, Capacity], policy: Policy
) -> list[PricedOption]:
    """The choices CP-SAT is given: all that need no target, greedy's, and the roomiest targets that could take it alone."""
    free: list[PricedOption] = []
    placed: list[tuple[tuple[int, int, str], PricedOption]] = []
    for choice in choices:
        target = choice.option.target if choice.option else None
        if target is None:
            free.append(choice)
        elif rooms[target].takes(vm, policy):
            placed.append(((choice.loss // EQUAL_LOSS, -rooms[target].memory, target), choice))
    placed.sort(key=lambda pair: pair[0])
    kept = [choice for _, choice in placed[:SHORTLIST]]
    if hint is not None and all(choice.option != hint for choice in free + kept):
        kept += [choice for _, choice in placed if choice.option == hint]
    return free + kept


def improve(
    choices: Mapping[str, Sequence[PricedOption]],
    vms: Sequence[Vm],
    rooms: Mapping[str, Capacity],
    hint: Mapping[str, Option | None],
    policy: Policy,
) -> dict[str, Option | None]:
    """CP-SAT's answer, never worse than `hint`; `hint` itself when the solver gives none in its time."""
    from ortools.sat.python import cp_model  # half a second to import: only when a plan needs it

    model = cp_model.CpModel()
    used: dict[str, list[tuple[Vm, cp_model.IntVar, Option]]] = {name: [] for name in rooms}
    variables: dict[str, list[tuple[PricedOption, cp_model.IntVar]]] = {}
    costs: list[cp_model.LinearExpr] = []
    for vm in vms:
        mine: list[tuple[PricedOption, cp_model.IntVar]] = []
        for index, choice in enumerate(shortlist(vm, choices[vm.uuid], hint[vm.uuid], rooms, policy)):
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
        room = rooms[name]
        holding = [(vm, variable) for vm, variable, _ in arrivals if holds_room(vm, policy)]
        model.add(sum(-(-vm.memory_bytes // KIBIBYTE) * v for vm, v in holding) <= max(0, room.memory // KIBIBYTE))
        model.add(sum(vm.vcpus * v for vm, v in holding) <= max(0, int(room.vcpus)))
        groups: dict[str, list[cp_model.IntVar]] = {}
        for vm, variable, _ in arrivals:
            if vm.anti_affinity_group:
                groups.setdefault(vm.anti_affinity_group, []).append(variable)
        for group, members in groups.items():
            if group in room.groups:
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
    found: dict[str, Option | None] = {
        uuid: next(choice.option for choice, variable in mine if solver.boolean_value(variable))
        for uuid, mine in variables.items()
    }
    return found if total_loss(choices, found) <= total_loss(choices, hint) else dict(hint)


def domain_preference(
    source: Node, standing: Mapping[str, NodeRisk], fleet: Fleet, policy: Policy
) -> Callable[[str], float]:
    """How little one likes each target, 0 to 1: the same failure domain as the source, and the target's own risk."""

    def preference(target: str) -> float:
        node = fleet.node_by_name[target]
        same = bool(source.failure_domain) and node.failure_domain == source.failure_domain
        own = standing[target].probability or 0.0
        return (0.6 if same and policy.target.avoid_same_failure_domain else 0.0) + 0.4 * min(1.0, own)

    return preference
