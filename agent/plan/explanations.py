"""The sentences an approver reads: why a vm moves, or stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.plan.assignment.no_room import describe_no_room
from agent.plan.capacity import Capacities
from agent.plan.options import Options
from models.brake import other_movers
from models.fleet import NodeState, VmState
from models.plan import ActionKind
from models.planning.schedule import Move, Timing
from models.risk.risk_level import RiskLevel
from models.situation import Situation
from models.text import bytes_in_words, listed, seconds_in_words, visible

TOO_LATE_SHARE = 0.5
"""a move says so when by its end this share of the node's risk within the horizon has passed"""


@dataclass(frozen=True, kw_only=True)
class MoveReason:
    """What a move's sentence is made of."""

    move: Move
    timing: Timing
    risk_before_safe: float
    risk_within_horizon: float
    room_left: int | None
    """bytes that vms may still take on the target when every move is done; None for an archive"""
    makes_room_for: tuple[str, ...] = ()
    """names of the vms that take its room, when its node is not emptied"""


def describe_move(reason: MoveReason, options: Options | None) -> str:
    """One sentence: how it moves, what that costs it, and whether it may be too late."""
    move, timing = reason.move, reason.timing
    vm = move.vm
    parts: list[str] = []
    if reason.makes_room_for:
        parts.append(f"makes room on {move.source} for {listed([visible(name, 60) for name in reason.makes_room_for])}")
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


def describe_stay(options: Options, left: Capacities, situation: Situation) -> str:
    """Why a vm is left where it is, when `left` is what the targets still take after every move of the plan."""
    if options.blocker is not None and not options.by_class:
        return options.blocker
    vm, policy = options.vm, situation.policy
    placed = [option for option in options.by_class if option.targets is not None]
    alone = min(option.seconds for option in options.by_class)
    p = situation.failure_probability(vm.node, alone)
    within_horizon = situation.failure_probability(vm.node, situation.horizon_seconds)
    if not placed or (placed[0].kind is ActionKind.COLD_MIGRATE and _too_late(p, within_horizon)):
        needs = seconds_in_words(alone)
        return f"can't be made safe in time: needs {needs} with the guest stopped, P(fails before) {p:.2f}"
    names = sorted({name for option in placed if option.targets for name in option.targets.names})
    return describe_no_room(vm, names, left, policy)


def _too_late(before_done: float, within_horizon: float) -> bool:
    return before_done >= 0.9 * within_horizon


def notes(situation: Situation, leaving: Sequence[str]) -> list[str]:
    """What an approver should know about the nodes: unknown ones, risky ones that nobody evacuates, and who else moves vms."""
    unknown, triggered = situation.at_level(RiskLevel.UNKNOWN), situation.at_level(RiskLevel.TRIGGERED)
    nodes = situation.fleet.node_by_name
    concerns = {
        "risk unknown, so not a target": [name for name in unknown if name not in leaving],
        "risky as well, not evacuated by this plan": [name for name in triggered if name not in leaving],
        "risk unknown, treated as at the trigger": [name for name in leaving if name in unknown],
        "does not answer, so nothing there can be moved": [
            name for name in leaving if nodes[name].state is NodeState.OFFLINE
        ],
    }
    told = [f"{concern}: {_some(names)}" for concern, names in concerns.items() if names]
    told += [f"{event.why}, so no node of it is a target" for event in situation.domain_events]
    others = other_movers(situation.fleet, situation.policy, situation.now)
    return [*told, others] if others is not None else told


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
