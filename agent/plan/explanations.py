"""The sentences an approver reads: why a vm moves, or stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.plan.capacity import free_capacity
from agent.plan.options import Options
from models.fleet import Fleet, NodeState, VmState
from models.placement import holds_room
from models.plan import ActionKind
from models.policy import Policy
from models.risk_level import NodeRisk, RiskLevel
from models.schedule import Move, Timing
from models.text import bytes_in_words, counted, seconds_in_words

GIBIBYTE = 1 << 30
TOO_LATE_SHARE = 0.5
"""a move says so when by its end this share of the node's risk within the horizon has passed"""


@dataclass(frozen=True)
class MoveReason:
    """What a move's sentence is made of."""

    move: Move
    timing: Timing
    risk_before_safe: float
    risk_within_horizon: float
    room_left: int | None
    """bytes that vms may still take on the target when every move is done; None for an archive"""


def describe_move(reason: MoveReason, options: Options | None) -> str:
    """One sentence: how it moves, what that costs it, and whether it may be too late."""
    move, timing = reason.move, reason.timing
    vm = move.vm
    parts: list[str] = []
    if move.kind is ActionKind.COLD_ARCHIVE:
        consent = "its owner consents" if vm.cold_archive_allowed else "policy needs no consent"
        parts.append(f"{vm.priority} priority, {consent}; off until restored")
    elif move.kind is ActionKind.COLD_MIGRATE:
        if vm.state is VmState.SHUTOFF:
            parts.append("shut off, and stays off")
            if not vm.shared_storage and vm.disk_bytes:
                parts.append(f"{bytes_in_words(vm.disk_bytes)} of disk move too")
        else:
            why = options.blocker if options and options.blocker else "it does not move live"
            parts.append(f"{why}: stopped, moved, started")
    elif timing.live is None or not timing.live.converges:
        parts.append("not expected to converge")
    else:
        live = timing.live
        if vm.state is not VmState.RUNNING:
            parts.append("moves while paused, and stays paused")
        if live.post_copy:
            parts.append("ends only by post-copy, a point of no return")
        elif live.throttle:
            parts.append(f"slowed by {live.throttle:.0%} to converge")
        if live.dirty_assumed:
            parts.append("dirty rate not measured, assumed")
        if not vm.shared_storage and vm.disk_bytes:
            parts.append(f"{bytes_in_words(vm.disk_bytes)} of disk move too")
    if reason.room_left is not None:
        parts.append(f"{move.target} keeps {bytes_in_words(max(0, reason.room_left))} free")
    if reason.risk_before_safe > TOO_LATE_SHARE * reason.risk_within_horizon and reason.risk_before_safe > 0.01:
        done = seconds_in_words(timing.done) if timing.done < float("inf") else "never"
        parts.append(f"may be too late: done after {done}, P(fails before) {reason.risk_before_safe:.2f}")
    return "; ".join(parts)


def describe_stay(
    options: Options, fleet: Fleet, moves: Sequence[Move], policy: Policy, hazard: Callable[[float], float]
) -> str:
    """Why a vm is left where it is."""
    if not options.moves:
        return options.blocker
    vm = options.vm
    placed = [option for option in options.moves if option.target is not None]
    alone = min(option.seconds for option in options.moves)
    horizon = policy.trigger.horizon.total_seconds()
    if not placed or (placed[0].kind is ActionKind.COLD_MIGRATE and _too_late(hazard(alone), hazard(horizon))):
        needs, p = seconds_in_words(alone), hazard(alone)
        return f"can't be made safe in time: needs {needs} with the guest stopped, P(fails before) {p:.2f}"
    rooms = {
        option.target: free_capacity(fleet.node_by_name[option.target], fleet, policy)
        for option in placed
        if option.target
    }
    for move in moves:
        if move.target in rooms:
            rooms[move.target].take(move.vm, 0.0, policy)
    best = max(room.memory for room in rooms.values())
    if holds_room(vm, policy) and best < vm.memory_bytes:
        return (
            f"no room: it needs {vm.memory_bytes / GIBIBYTE:.1f} GiB, "
            f"{counted(len(rooms), 'node')} that may take it, at most {max(0, best) / GIBIBYTE:.1f} GiB left there"
        )
    if vm.anti_affinity_group and all(vm.anti_affinity_group in room.groups for room in rooms.values()):
        return f"every node that may take it already has a vm of its anti-affinity group {vm.anti_affinity_group!r}"
    if holds_room(vm, policy) and max(room.vcpus for room in rooms.values()) < vm.vcpus:
        return f"no room: {counted(len(rooms), 'node')} that may take it, none with {vm.vcpus} vcpus left"
    return f"no room: {counted(len(rooms), 'node')} that may take it, none fits its memory, vcpus and group together"


def _too_late(before_done: float, within_horizon: float) -> bool:
    return before_done >= 0.9 * within_horizon


def notes(fleet: Fleet, leaving: Sequence[str], standing: dict[str, NodeRisk]) -> list[str]:
    """What an approver should know about the nodes: unknown ones, and risky ones that nobody evacuates."""
    said: list[str] = []
    unknown = [name for name, s in standing.items() if s.standing is RiskLevel.UNKNOWN and name not in leaving]
    if unknown:
        said.append(f"risk unknown, so not a target: {_some(unknown)}")
    risky = [name for name, s in standing.items() if s.standing is RiskLevel.TRIGGERED and name not in leaving]
    if risky:
        said.append(f"risky as well, not evacuated by this plan: {_some(risky)}")
    blind = [name for name in leaving if standing[name].standing is RiskLevel.UNKNOWN]
    if blind:
        said.append(f"risk unknown, reckoned as at the trigger: {_some(blind)}")
    silent = [name for name in leaving if fleet.node_by_name[name].state is NodeState.OFFLINE]
    if silent:
        said.append(f"does not answer, so nothing there can be moved: {_some(silent)}")
    return said


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
