"""What keeps each vm from each kind of move, as closed words: the full reasons hold names that others wrote."""

from __future__ import annotations

from collections.abc import Sequence

from models.fleet import Node, NodeState, Vm, VmState
from models.migration.estimate import live_migration, stream_bandwidth
from models.plan import ActionKind
from models.planning.placement import (
    archive_blocker,
    archive_consent,
    cold_blocker,
    cpu_accepts,
    is_protected,
    live_blocker,
)
from models.policy.policy import Policy
from tools.llm.obstacle_words import ObstacleWord


def obstacles_of(
    vm: Vm, source: Node, targets: Sequence[Node], policy: Policy, *, open_ways: frozenset[ActionKind]
) -> dict[ActionKind, ObstacleWord]:
    """By kind of move, why it is not open; nothing for those that are (`open_ways`)."""
    closed = [kind for kind in ActionKind if kind is not ActionKind.STAY and kind not in open_ways]
    if is_protected(vm, policy):
        return dict.fromkeys(closed, ObstacleWord.PROTECTED)
    if source.state is NodeState.OFFLINE:
        return dict.fromkeys(closed, ObstacleWord.NODE_SILENT)
    words = {
        ActionKind.LIVE_MIGRATE: lambda: _live(vm, source, targets, policy),
        ActionKind.COLD_MIGRATE: lambda: _cold(vm, source, targets, policy, open_ways),
        ActionKind.COLD_ARCHIVE: lambda: _archive(vm, policy),
    }
    return {kind: words[kind]() for kind in closed}


def _live(vm: Vm, source: Node, targets: Sequence[Node], policy: Policy) -> ObstacleWord:
    if vm.state is VmState.SHUTOFF:
        return ObstacleWord.STOPPED
    if vm.live_obstacle is not None:
        return ObstacleWord.DEFINITION
    if vm.io_error and not policy.migration.with_io_error:
        return ObstacleWord.DISK_ERROR
    if not vm.migratable:
        return ObstacleWord.DEVICES
    if live_blocker(vm, policy) is not None:
        return ObstacleWord.REFUSED_BEFORE
    fitting = [target for target in targets if cpu_accepts(source, target, policy)]
    if not fitting:
        return ObstacleWord.CPU_MODEL if targets else ObstacleWord.NO_TARGET
    best = min(
        (live_migration(vm, stream_bandwidth(source, target, 1, 1, policy), policy) for target in fitting),
        key=lambda estimate: estimate.seconds,
    )
    if not best.converges:
        return ObstacleWord.DIRTIES_TOO_FAST
    if best.downtime_seconds > policy.migration.max_downtime.total_seconds():
        return ObstacleWord.PAUSE_TOO_LONG
    if best.seconds > policy.migration.timeout.total_seconds():
        return ObstacleWord.TAKES_TOO_LONG
    return ObstacleWord.REFUSED_BEFORE


def _cold(
    vm: Vm, source: Node, targets: Sequence[Node], policy: Policy, open_ways: frozenset[ActionKind]
) -> ObstacleWord:
    if ActionKind.LIVE_MIGRATE in open_ways:
        return ObstacleWord.NOT_NEEDED
    if vm.state is not VmState.SHUTOFF and vm.priority not in policy.cold_migrate.priorities:
        return ObstacleWord.BY_PRIORITY
    if vm.state is VmState.PAUSED and not policy.archive.force_off:
        return ObstacleWord.PAUSED
    if vm.cold_obstacle is not None:
        return ObstacleWord.DEFINITION
    if cold_blocker(vm, policy) is not None:
        return ObstacleWord.BY_PRIORITY if vm.state is VmState.SHUTOFF else ObstacleWord.REFUSED_BEFORE
    fits = policy.cold_migrate.other_cpu_model or any(cpu_accepts(source, target, policy) for target in targets)
    if not fits:
        return ObstacleWord.CPU_MODEL if targets else ObstacleWord.NO_TARGET
    return ObstacleWord.REFUSED_BEFORE if targets else ObstacleWord.NO_TARGET


def _archive(vm: Vm, policy: Policy) -> ObstacleWord:
    if vm.priority not in policy.archive.priorities:
        return ObstacleWord.BY_PRIORITY
    if vm.label_warning or not archive_consent(vm, policy):
        return ObstacleWord.NO_CONSENT
    if vm.state is VmState.PAUSED and not policy.archive.force_off:
        return ObstacleWord.PAUSED
    if vm.archive_obstacle is not None:
        return ObstacleWord.DEFINITION
    return ObstacleWord.REFUSED_BEFORE if archive_blocker(vm, policy) is not None else ObstacleWord.DEFINITION
