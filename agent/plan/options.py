"""What may be done with each vm of an evacuating node, and why the rest may not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from models.fleet import Node, NodeState, Priority, Vm, VmState
from models.migration.estimate import (
    LiveEstimate,
    archive_seconds,
    cold_migration_seconds,
    live_migration,
    stream_bandwidth,
)
from models.plan import ActionKind
from models.planning.placement import archive_blocker, cold_blocker, cpu_accepts, is_protected, live_blocker
from models.policy.policy import Policy
from models.risk.risk_level import RiskLevel
from models.situation import Situation
from models.text import seconds_in_words


@dataclass(frozen=True)
class Option:
    """One thing that could be done with one vm, when nothing else moves at the same time."""

    kind: ActionKind
    target: str | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TargetClass:
    """Targets that no move can tell apart but by their room: same CPU model, link and disks.

    Every vm is priced once a class: a fleet of 10,000 nodes has a few classes, and 380 vms then have thousands of options
    rather than millions.
    """

    sample: Node
    """any of them"""
    names: tuple[str, ...]
    """ascending"""


@dataclass(frozen=True, kw_only=True)
class ClassOption:
    """One thing that could be done with one vm, whichever target of the class takes it."""

    kind: ActionKind
    targets: TargetClass | None
    """None: into an archive"""
    seconds: float
    """when nothing else moves at the same time"""

    def to(self, target: str | None) -> Option:
        return Option(self.kind, target, self.seconds)

    @property
    def each(self) -> Iterator[Option]:
        """An option a target."""
        return (self.to(name) for name in ((None,) if self.targets is None else self.targets.names))


@dataclass(frozen=True)
class Options:
    """Everything that could be done with one vm."""

    vm: Vm
    by_class: tuple[ClassOption, ...]
    """best kind first: what policy prefers when there is time and room for any"""
    blocker: str | None
    """why it must stay when there is no option, and otherwise why a kind that looks obvious is not among them; None: it can
    move live"""

    @property
    def moves(self) -> tuple[Option, ...]:
        """Every option with every target, best kind first. As many as there are targets: for small fleets."""
        return tuple(option for choice in self.by_class for option in choice.each)


def target_classes(targets: Iterable[Node]) -> tuple[TargetClass, ...]:
    """The targets, those together that no move can tell apart; in the order of the first of each."""
    grouped: dict[tuple[str, float, float], list[Node]] = {}
    for node in targets:
        key = (node.cpu_model, node.migration_bytes_per_second, node.archive_bytes_per_second)
        grouped.setdefault(key, []).append(node)
    return tuple(TargetClass(sample=some[0], names=tuple(sorted(n.name for n in some))) for some in grouped.values())


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


def open_classes(vm: Vm, kind: ActionKind, classes: Sequence[TargetClass]) -> Sequence[TargetClass]:
    """The classes without the targets that refused this kind of move of the vm before."""
    closed = {each.target for each in vm.learned_obstacles if each.kind is kind and each.target is not None}
    if not closed:
        return classes
    left = [(each, tuple(name for name in each.names if name not in closed)) for each in classes]
    return [TargetClass(sample=each.sample, names=names) for each, names in left if names]


def _why_none_open(vm: Vm, kind: ActionKind) -> str:
    """Why no target may take it, where none is left."""
    refused = [each.why for each in vm.learned_obstacles if each.kind is kind and each.target is not None]
    return "; ".join(dict.fromkeys(refused)) or "no node may take it"


def _live_options(
    vm: Vm, source: Node, classes: Iterable[TargetClass], policy: Policy
) -> tuple[list[ClassOption], str]:
    """Every class of targets it can move live to, and why there is none when there is none."""
    options: list[ClassOption] = []
    blocker = _why_none_open(vm, ActionKind.LIVE_MIGRATE)
    estimates: dict[float, LiveEstimate] = {}
    limit = policy.migration.timeout.total_seconds()
    for targets in classes:
        target = targets.sample
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
            options.append(ClassOption(kind=ActionKind.LIVE_MIGRATE, targets=targets, seconds=estimate.seconds))
    return options, blocker


def live_options(vm: Vm, source: Node, classes: Sequence[TargetClass], policy: Policy) -> list[ClassOption]:
    """Every class of targets a vm can move live to, within policy; empty when it can't move live at all."""
    if source.state is NodeState.OFFLINE or is_protected(vm, policy) or vm.state is VmState.SHUTOFF:
        return []
    if live_blocker(vm, policy):
        return []
    return _live_options(vm, source, open_classes(vm, ActionKind.LIVE_MIGRATE, classes), policy)[0]


def _cold_options(vm: Vm, source: Node, classes: Iterable[TargetClass], policy: Policy) -> list[ClassOption]:
    return [
        ClassOption(
            kind=ActionKind.COLD_MIGRATE,
            targets=targets,
            seconds=cold_migration_seconds(
                vm, source, targets.sample, stream_bandwidth(source, targets.sample, 1, 1, policy), policy
            ),
        )
        for targets in classes
        if policy.cold_migrate.other_cpu_model or cpu_accepts(source, targets.sample, policy)
    ]


def options_of(vm: Vm, source: Node, targets: tuple[Node, ...], policy: Policy) -> Options:
    """`options_by_class`, for who asks about one vm only."""
    return options_by_class(vm, source, target_classes(targets), policy)


def options_by_class(vm: Vm, source: Node, classes: Sequence[TargetClass], policy: Policy) -> Options:
    """What may be done with one vm of an evacuating node, targets' room left aside.

    The order is the policy's preference: low priority with consent is archived; what runs moves live; what is stopped, or
    can't move live, moves cold. A guest that runs is stopped for a cold move only when it can't move live.
    """
    if source.state is NodeState.OFFLINE:
        return Options(vm, (), f"{source.name} does not answer: unreachable is not stopped, look at the node first")
    if is_protected(vm, policy):
        return Options(vm, (), "it is protected by policy")
    moves: list[ClassOption] = []
    no_archive = archive_blocker(vm, policy)
    if not no_archive:
        seconds = archive_seconds(vm, source, 1, policy)
        moves.append(ClassOption(kind=ActionKind.COLD_ARCHIVE, targets=None, seconds=seconds))
    blocker: str | None = None
    live: list[ClassOption] = []
    if vm.state is not VmState.SHUTOFF:
        no_live = live_blocker(vm, policy)
        if no_live is None:
            live, blocker = _live_options(vm, source, open_classes(vm, ActionKind.LIVE_MIGRATE, classes), policy)
            moves += live
        else:
            blocker = no_live
    if not live:
        no_cold = cold_blocker(vm, policy)
        cold: list[ClassOption] = []
        if no_cold is None:
            cold = _cold_options(vm, source, open_classes(vm, ActionKind.COLD_MIGRATE, classes), policy)
            no_cold = None if cold else _why_none_open(vm, ActionKind.COLD_MIGRATE)
        moves += cold
        if no_cold is not None:
            blocker = f"{blocker}, and {no_cold}" if blocker and blocker != no_cold else no_cold
    if not moves and vm.priority is Priority.LOW and no_archive:
        blocker = f"{blocker}; {no_archive}"
    return Options(vm, tuple(moves), None if live else blocker)
