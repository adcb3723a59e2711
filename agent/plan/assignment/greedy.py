"""Which option each vm gets: what each costs, and a greedy first answer, which `agent.plan.assignment.cp_sat` betters.

Description: chooses, for every vm that has to leave, one of its options or to stay, so that the expected loss is least.
Requirements: no target past its memory, its vcpus or an anti-affinity group; the same input gives the same answer.
Limitations: when a vm is done depends on the others; the choice uses the time it would be done if everything moved in the
order of urgency, and the waves are worked out afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from agent.plan.capacity import Capacities, Places
from agent.plan.options import ClassOption, Option, Options, TargetClass
from models.fleet import Vm
from models.plan import ActionKind
from models.policy.policy import Policy
from models.situation import Situation

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


@dataclass(frozen=True, kw_only=True)
class PricedOption:
    """One option of one vm with what it costs."""

    option: Option | None
    """None: stay"""
    loss: int
    """weight × P(the source fails before it is safe), in LOSS_UNIT"""
    tie_break: int = 0
    """how little one likes the target, 0 to 100: breaks ties between equal losses, no more"""


@dataclass(frozen=True, kw_only=True)
class PricedClass:
    """One option of one vm, whichever target of the class takes it; None of them: stay."""

    option: ClassOption | None
    loss: int

    def at(self, target: str | None, tie_break: int) -> PricedOption:
        option = None if self.option is None else self.option.to(target)
        return PricedOption(option=option, loss=self.loss, tie_break=tie_break)


Choices = Mapping[str, Sequence[PricedClass]]
"""by vm uuid: everything that could be done with it, staying among it"""
Chosen = dict[str, PricedOption]
"""by vm uuid: what is done with it"""


class Targets:
    """The targets of one situation: what they take before anything moves, and how little one likes each."""

    def __init__(self, classes: Iterable[TargetClass], situation: Situation) -> None:
        fleet = situation.fleet
        self.classes = tuple(classes)
        self._situation = situation
        nodes = [fleet.node_by_name[name] for each in self.classes for name in each.names]
        self.capacities = Capacities(nodes, fleet, situation.policy)
        self._places = {id(each): (each, self.capacities.places(each.names)) for each in self.classes}
        self._preference: dict[str, NDArray[np.int64]] = {}

    def of(self, targets: TargetClass) -> Places:
        """Ascending."""
        known = self._places.get(id(targets))
        if known is None:  # a class without the targets that refused one vm
            known = self._places[id(targets)] = (targets, self.capacities.places(targets.names))
        return known[1]

    @cached_property
    def _own_risk(self) -> NDArray[np.float64]:
        risks = self._situation.node_risks
        return np.array([min(1.0, risks[name].probability or 0.0) for name in self.capacities.names], dtype=np.float64)

    def preference(self, source: str) -> NDArray[np.int64]:
        """How little one likes each target, 0 to 100: the same failure domain as the source, and the target's own risk."""
        domain = self._situation.fleet.node_by_name[source].failure_domain
        if domain not in self._preference:
            nodes = self._situation.fleet.node_by_name
            avoid = bool(domain) and self._situation.policy.target.avoid_same_failure_domain
            same = np.array([avoid and nodes[name].failure_domain == domain for name in self.capacities.names], bool)
            self._preference[domain] = np.rint(100 * (0.6 * same + 0.4 * self._own_risk)).astype(np.int64)
        return self._preference[domain]


def price_options(options: Options, situation: Situation, *, waiting: float) -> list[PricedClass]:
    """Every choice for one vm, staying among them, with its cost. `waiting`: seconds that the vms before it take."""
    vm = options.vm
    horizon = situation.horizon_seconds
    weight = max(situation.policy.weights.of(vm.priority), 0.01)
    # Floors keep an order among choices on a node that was asked for and is not risky at all.
    whole = max(situation.failure_probability(vm.node, horizon), 0.01)

    def lost(seconds: float) -> float:
        floor = whole * min(seconds / horizon, 1.0) * 0.01
        return max(min(situation.failure_probability(vm.node, min(seconds, horizon)), whole), floor)

    priced: list[PricedClass] = []
    for option in options.by_class:
        stops = option.kind is not ActionKind.LIVE_MIGRATE and vm.state == "running"
        if stops and lost(option.seconds) >= UNSAFE_SHARE * whole:
            continue
        p = lost(waiting + option.seconds)
        if options.by_class[0].kind is ActionKind.COLD_ARCHIVE and option.kind is not ActionKind.COLD_ARCHIVE:
            p += ARCHIVE_SPARE * whole
        priced.append(PricedClass(option=option, loss=round(LOSS_UNIT * weight * p)))
    staying = round(LOSS_UNIT * weight * whole * (1 + ARCHIVE_SPARE + STAY_EXTRA))
    priced.append(PricedClass(option=None, loss=staying))
    return priced


def greedy(choices: Choices, vms: Sequence[Vm], targets: Targets, policy: Policy) -> Chosen:
    """Heaviest vm first, each to its cheapest choice that still fits; among equals the target with least arriving."""
    left = targets.capacities.copy()
    result: Chosen = {}
    for vm in sorted(vms, key=lambda v: (-policy.weights.of(v.priority), -v.memory_bytes, v.uuid)):
        best: tuple[tuple[int, int, int, float, int, str], PricedOption] | None = None
        preference = targets.preference(vm.node)
        for choice in choices[vm.uuid]:
            loss = choice.loss // EQUAL_LOSS
            if choice.option is None or choice.option.targets is None:
                rank, found = (loss, 0, 0, 0.0, 0, ""), choice.at(None, 0)
            elif best is not None and loss > best[0][0]:
                continue
            else:
                place = _least_loaded(left.that_take(vm, targets.of(choice.option.targets)), left, preference)
                if place is None:
                    continue
                name, tie = left.names[place], int(preference[place])
                spread = (
                    int(left.arriving[place]),
                    float(left.arriving_seconds[place]),
                    -int(left.memory[place]),
                    name,
                )
                rank, found = (loss, tie // 10, *spread), choice.at(name, tie)
            if best is None or rank < best[0]:
                best = (rank, found)
        assert best is not None, "staying is always among the choices"
        result[vm.uuid] = best[1]
        option = best[1].option
        if option is not None and option.target is not None:
            left.take(vm, option.target, option.seconds)
    return result


def _least_loaded(places: Places, left: Capacities, preference: NDArray[np.int64]) -> int | None:
    """The most liked, then the one with fewest and shortest arrivals, then the roomiest, then the first by name."""
    for key in (preference // 10, left.arriving, left.arriving_seconds, -left.memory):
        if len(places) < 2:
            break
        values = key[places]
        places = places[values == values.min()]
    return int(places[0]) if len(places) else None


def total_loss(chosen: Mapping[str, PricedOption]) -> int:
    """What a choice for every vm costs in all."""
    return sum(choice.loss for choice in chosen.values())


def lower_bound(choices: Choices) -> int:
    """What no choice can better: every vm to its cheapest, with losses that count as equal let pass."""
    return sum(min(choice.loss for choice in mine) + EQUAL_LOSS for mine in choices.values())
