"""What the guard's rules look at: the plan beside the fleet, and what the fleet would be wave by wave."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from models.fleet import Vm
from models.migration.estimate import LiveEstimate
from models.plan import Action, Plan
from models.planning.placement import holds_room
from models.planning.schedule import Move, worst_timings
from models.policy.policy import Policy
from models.situation import Situation


@dataclass(frozen=True)
class Violation:
    """One breach of one rule."""

    why: str
    vm: str | None = None
    """uuid; None when it is about a node or the whole plan"""


@dataclass(frozen=True)
class LiveMove:
    """One live migration of the plan, and what the guard itself expects of it."""

    action: Action
    estimate: LiveEstimate


@dataclass
class Load:
    """What vms hold on one node."""

    memory: int = 0
    vcpus: int = 0


class PlanFacts:
    """One plan to judge, and what follows from it. Nothing a plan states about itself is believed but its moves and `asked`."""

    def __init__(self, plan: Plan, situation: Situation) -> None:
        self.plan = plan
        self.situation = situation
        self.fleet, self.policy, self.now = situation.fleet, situation.policy, situation.now
        self.held = situation.held
        """vms that moved too lately or too often, by uuid, with why"""
        self.node_risks = None if situation.risks is None else situation.node_risks
        """None: no risks were given, so that nothing that needs them is judged"""

    @cached_property
    def moves(self) -> list[tuple[Action, Move]]:
        """Every move whose vm, source and target the fleet knows, from where the vm really is; each vm once."""
        moves: list[tuple[Action, Move]] = []
        seen: set[str] = set()
        for action in self.plan.moves:
            vm = self.fleet.vm_by_uuid.get(action.vm)
            known = action.target is None or action.target in self.fleet.node_by_name
            if vm is not None and known and vm.uuid not in seen:
                seen.add(vm.uuid)
                moves.append((action, Move(vm=vm, kind=action.kind, source=vm.node, target=action.target)))
        return moves

    @cached_property
    def lanes(self) -> list[list[list[tuple[Action, Move]]]]:
        """The moves by lane and wave, in order."""
        grouped: dict[int, dict[int, list[tuple[Action, Move]]]] = defaultdict(lambda: defaultdict(list))
        for action, move in self.moves:
            grouped[action.lane][action.wave].append((action, move))
        return [[waves[number] for number in sorted(waves)] for _, waves in sorted(grouped.items())]

    @cached_property
    def lanes_of_moves(self) -> list[list[list[Move]]]:
        """The same, without the actions."""
        return [[[move for _, move in wave] for wave in waves] for waves in self.lanes]

    @cached_property
    def live(self) -> list[LiveMove]:
        """Each live migration with what it is expected to do, links shared as its wave shares them, and as other lanes may."""
        live: list[LiveMove] = []
        timings = worst_timings(self.lanes_of_moves, self.fleet, self.policy)
        for waves, told in zip(self.lanes, timings, strict=True):
            for wave, each in zip(waves, told, strict=True):
                for (action, _), (_, _, estimate) in zip(wave, each, strict=True):
                    if estimate is not None:
                        live.append(LiveMove(action, estimate))
        return live

    @cached_property
    def leaving(self) -> set[str]:
        """Nodes that vms move off, and those the plan says it evacuates."""
        return {move.source for _, move in self.moves} | set(self.plan.evacuating)

    @cached_property
    def making_room(self) -> list[tuple[Action, Move]]:
        """Moves off nodes that nobody empties and that take vms of those that are: they make room, or are said to."""
        if self.plan.at_leisure is not None:  # what one move of them makes way for is no evacuation
            return []
        emptied = set(self.plan.evacuating)
        useful = {move.target for _, move in self.moves if move.source in emptied}
        found: dict[str, tuple[Action, Move]] = {}
        while True:
            more = {
                move.vm.uuid: (action, move)
                for action, move in self.moves
                if move.source in useful and move.source not in emptied and move.vm.uuid not in found
            }
            if not more:
                return list(found.values())
            found |= more
            useful |= {move.target for _, move in more.values()}

    @cached_property
    def unasked(self) -> list[tuple[Action, Move]]:
        """Moves that no person asked for: not off a node that one named, nor back to a repaired one."""
        asked, returning = set(self.plan.asked), set(self.plan.returning)
        return [
            (action, move) for action, move in self.moves if move.source not in asked and move.target not in returning
        ]

    @cached_property
    def giving_back(self) -> set[str]:
        """Nodes whose vms go back to a repaired one, and nowhere else."""
        by_source: dict[str, set[str | None]] = defaultdict(set)
        for _, move in self.moves:
            by_source[move.source].add(move.target)
        returning = set(self.plan.returning)
        return {source for source, targets in by_source.items() if targets <= returning}

    @cached_property
    def loads_without_leaving(self) -> dict[str, Load]:
        """What each node would hold if everything arrived and nothing made room."""
        loads = {name: Load(load.memory, load.vcpus) for name, load in self.loads_before.items()}
        for _, move in self.moves:
            if move.target is not None:
                _add(loads[move.target], move.vm, self.policy, +1)
        return loads

    @cached_property
    def receiving(self) -> list[str]:
        """Targets, in the order they are named first."""
        return list(dict.fromkeys(move.target for _, move in self.moves if move.target))

    @cached_property
    def loads_before(self) -> dict[str, Load]:
        loads: dict[str, Load] = {node.name: Load() for node in self.fleet.nodes}
        for vm in self.fleet.vms:
            _add(loads[vm.node], vm, self.policy, +1)
        return loads

    @cached_property
    def loads_after(self) -> dict[str, Load]:
        """After every move; what is archived holds nothing."""
        loads = {name: Load(load.memory, load.vcpus) for name, load in self.loads_before.items()}
        for _, move in self.moves:
            _add(loads[move.source], move.vm, self.policy, -1)
            if move.target is not None:
                _add(loads[move.target], move.vm, self.policy, +1)
        return loads

    @cached_property
    def peak_loads(self) -> dict[str, Load]:
        """The most that each target holds at any moment: within a wave the vm counts on both ends.

        Of several lanes nobody knows which is ahead: nothing counts as gone before all has arrived.
        """
        loads = {name: Load(load.memory, load.vcpus) for name, load in self.loads_before.items()}
        if len(self.lanes) > 1:
            return self.loads_without_leaving
        peaks = {name: Load(load.memory, load.vcpus) for name, load in loads.items()}
        for wave in itertools.chain(*self.lanes):
            for _, move in wave:
                if move.target is not None:
                    load, peak = loads[move.target], peaks[move.target]
                    _add(load, move.vm, self.policy, +1)
                    peak.memory, peak.vcpus = max(peak.memory, load.memory), max(peak.vcpus, load.vcpus)
            for _, move in wave:
                _add(loads[move.source], move.vm, self.policy, -1)
        return peaks

    @cached_property
    def groups_met(self) -> dict[tuple[str, str], list[Vm]]:
        """(target, anti-affinity group) → the most vms of the group that are there at one moment, the newest last.

        A vm counts on both ends while its wave runs, and on its source until the wave is over; of several lanes until all is.
        """
        there: dict[tuple[str, str], dict[str, Vm]] = defaultdict(dict)
        for vm in self.fleet.vms:
            if vm.anti_affinity_group:
                there[vm.node, vm.anti_affinity_group][vm.uuid] = vm
        met: dict[tuple[str, str], list[Vm]] = {}
        waves = list(itertools.chain(*self.lanes))
        for wave in waves if len(self.lanes) < 2 else [list(itertools.chain(*waves))]:
            grouped = [(move, move.vm.anti_affinity_group) for _, move in wave if move.vm.anti_affinity_group]
            arriving = [(move.target, group) for move, group in grouped if move.target is not None]
            for move, group in grouped:
                if move.target is not None:
                    there[move.target, group][move.vm.uuid] = move.vm
            for place in arriving:
                if len(there[place]) > len(met.get(place, ())):
                    met[place] = list(there[place].values())
            for move, group in grouped:
                if move.target != move.source:
                    there[move.source, group].pop(move.vm.uuid, None)
        return met


def _add(load: Load, vm: Vm, policy: Policy, sign: int) -> None:
    if holds_room(vm, policy):
        load.memory += sign * vm.memory_bytes
        load.vcpus += sign * vm.vcpus
