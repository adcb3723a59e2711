"""What may be done with each vm of an evacuating node, and why the rest may not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from models.fleet import Node, NodeState, Priority, Vm, VmState
from models.migration.estimate import (
    LiveEstimate,
    archive_seconds,
    cold_migration_seconds,
    live_migration,
    stream_bandwidth,
)
from models.placement import archive_blocker, cold_blocker, cpu_accepts, is_protected, live_blocker
from models.plan import ActionKind
from models.policy import Policy
from models.risk_level import RiskLevel
from models.situation import Situation
from models.text import seconds_in_words


@dataclass(frozen=True)
class Option:
    """One thing that could be done with one vm, when nothing else moves at the same time."""

    kind: ActionKind
    target: str | None
    seconds: float


@dataclass(frozen=True)
class Options:
    """Everything that could be done with one vm."""

    vm: Vm
    moves: tuple[Option, ...]
    """best kind first: what policy prefers when there is time and room for any"""
    blocker: str | None
    """why it must stay when `moves` is empty, and otherwise why a kind that looks obvious is not among them; None: it can
    move live"""


def possible_targets(situation: Situation, evacuating: Iterable[str]) -> tuple[Node, ...]:
    """Nodes that may take vms: active, staying themselves, and of acceptable risk."""
    leaving = set(evacuating)
    return tuple(
        node
        for node in situation.fleet.nodes
        if node.state is NodeState.ACTIVE
        and node.name not in leaving
        and situation.node_risks[node.name].level is RiskLevel.ACCEPTABLE
    )


def _live_options(vm: Vm, source: Node, targets: Iterable[Node], policy: Policy) -> tuple[list[Option], str]:
    """Every target it can move live to, and why there is none when there is none."""
    options: list[Option] = []
    blocker = "no node may take it"
    estimates: dict[float, LiveEstimate] = {}
    limit = policy.migration.timeout.total_seconds()
    for target in targets:
        if not cpu_accepts(source, target, policy):
            blocker = f"no sound node has its CPU model {source.cpu_model}" if not options else blocker
            continue
        bandwidth = stream_bandwidth(source, target, 1, 1, policy)
        estimate = estimates.get(bandwidth) or live_migration(vm, bandwidth, policy)
        estimates[bandwidth] = estimate
        if not estimate.converges:
            blocker = f"it dirties {estimate.ratio:.2g} times what the link carries, so it can't move live"
        elif estimate.downtime_seconds > policy.migration.max_downtime.total_seconds():
            blocker = f"moving live would pause it {seconds_in_words(estimate.downtime_seconds)}"
        elif estimate.seconds > limit:
            blocker = f"moving live takes {seconds_in_words(estimate.seconds)}, policy allows {seconds_in_words(limit)}"
        else:
            options.append(Option(ActionKind.LIVE_MIGRATE, target.name, estimate.seconds))
    return options, blocker


def _cold_options(vm: Vm, source: Node, targets: Iterable[Node], policy: Policy) -> list[Option]:
    return [
        Option(
            ActionKind.COLD_MIGRATE,
            target.name,
            cold_migration_seconds(vm, source, target, stream_bandwidth(source, target, 1, 1, policy), policy),
        )
        for target in targets
        if policy.cold_migrate.other_cpu_model or cpu_accepts(source, target, policy)
    ]


def options_of(vm: Vm, source: Node, targets: tuple[Node, ...], policy: Policy) -> Options:
    """What may be done with one vm of an evacuating node, targets' room left aside.

    The order is the policy's preference: low priority with consent is archived; what runs moves live; what is stopped, or
    can't move live, moves cold. A guest that runs is stopped for a cold move only when it can't move live.
    """
    if source.state is NodeState.OFFLINE:
        return Options(vm, (), f"{source.name} does not answer: unreachable is not stopped, look at the node first")
    if is_protected(vm, policy):
        return Options(vm, (), "it is protected by policy")
    moves: list[Option] = []
    no_archive = archive_blocker(vm, policy)
    if not no_archive:
        moves.append(Option(ActionKind.COLD_ARCHIVE, None, archive_seconds(vm, source, 1, policy)))
    blocker: str | None = None
    live: list[Option] = []
    if vm.state is not VmState.SHUTOFF:
        no_live = live_blocker(vm)
        if no_live is None:
            live, blocker = _live_options(vm, source, targets, policy)
            moves += live
        else:
            blocker = no_live
    if not live:
        no_cold = cold_blocker(vm, policy)
        cold = [] if no_cold else _cold_options(vm, source, targets, policy)
        moves += cold
        if no_cold:
            blocker = f"{blocker}, and {no_cold}" if blocker else no_cold
        elif not cold:
            blocker = blocker or "no node may take it"
    if not moves and vm.priority is Priority.LOW and no_archive:
        blocker = f"{blocker}; {no_archive}"
    return Options(vm, tuple(moves), None if live else blocker)
