"""Which option each vm gets: what each costs, and a greedy first answer, which `agent.plan.cp_sat` betters.

Description: chooses, for every vm that has to leave, one of its options or to stay, so that the expected loss is least.
Requirements: no target past its memory, its vcpus or an anti-affinity group; the same input gives the same answer.
Limitations: when a vm is done depends on the others; the choice uses the time it would be done if everything moved in the
order of urgency, and the waves are worked out afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.plan.capacity import Capacity
from agent.plan.options import Option, Options
from models.fleet import Node, Vm
from models.plan import ActionKind
from models.policy import Policy
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


@dataclass(frozen=True)
class PricedOption:
    """One option of one vm with what it costs."""

    option: Option | None
    """None: stay"""
    loss: int
    """weight × P(the source fails before it is safe), in LOSS_UNIT"""
    tie_break: int = 0
    """how little one likes the target, 0 to 100: breaks ties between equal losses, no more"""


def price_options(options: Options, situation: Situation, *, waiting: float) -> list[PricedOption]:
    """Every choice for one vm, staying among them, with its cost. `waiting`: seconds that the vms before it take."""
    vm = options.vm
    horizon = situation.horizon_seconds
    weight = max(situation.policy.weights.of(vm.priority), 0.01)
    # Floors keep an order among choices on a node that was asked for and is not risky at all.
    whole = max(situation.failure_probability(vm.node, horizon), 0.01)
    source = situation.fleet.node_by_name[vm.node]

    def lost(seconds: float) -> float:
        floor = whole * min(seconds / horizon, 1.0) * 0.01
        return max(min(situation.failure_probability(vm.node, min(seconds, horizon)), whole), floor)

    priced: list[PricedOption] = []
    for option in options.moves:
        stops = option.kind is not ActionKind.LIVE_MIGRATE and vm.state == "running"
        if stops and lost(option.seconds) >= UNSAFE_SHARE * whole:
            continue
        p = lost(waiting + option.seconds)
        if options.moves[0].kind is ActionKind.COLD_ARCHIVE and option.kind is not ActionKind.COLD_ARCHIVE:
            p += ARCHIVE_SPARE * whole
        tie_break = 0.0 if option.target is None else _target_preference(source, option.target, situation)
        priced.append(PricedOption(option, round(LOSS_UNIT * weight * p), round(100 * tie_break)))
    priced.append(PricedOption(None, round(LOSS_UNIT * weight * whole * (1 + ARCHIVE_SPARE + STAY_EXTRA))))
    return priced


def _target_preference(source: Node, target: str, situation: Situation) -> float:
    """How little one likes a target, 0 to 1: the same failure domain as the source, and the target's own risk."""
    node = situation.fleet.node_by_name[target]
    same = bool(source.failure_domain) and node.failure_domain == source.failure_domain
    own = situation.node_risks[target].probability or 0.0
    return (0.6 if same and situation.policy.target.avoid_same_failure_domain else 0.0) + 0.4 * min(1.0, own)


def greedy(
    choices: Mapping[str, Sequence[PricedOption]], vms: Sequence[Vm], capacities: Mapping[str, Capacity], policy: Policy
) -> dict[str, Option | None]:
    """Heaviest vm first, each to its cheapest choice that still fits; among equals the target with least arriving.

    `capacities` is not changed.
    """
    left = {name: Capacity(r.memory, r.vcpus, set(r.groups)) for name, r in capacities.items()}
    result: dict[str, Option | None] = {}
    for vm in sorted(vms, key=lambda v: (-policy.weights.of(v.priority), -v.memory_bytes, v.uuid)):
        best: tuple[tuple[int, int, int, float, int, str], Option | None] | None = None
        for choice in choices[vm.uuid]:
            rank = (choice.loss // EQUAL_LOSS, choice.tie_break, 0, 0.0, 0, "")
            if choice.option is not None and choice.option.target is not None:
                capacity = left[choice.option.target]
                if not capacity.takes(vm, policy):
                    continue
                spread = (capacity.arriving, capacity.arriving_seconds, -capacity.memory, choice.option.target)
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
