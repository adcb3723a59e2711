"""The brake on churn: how long a vm is left alone after a move, how much may move in a day, and whether others move vms too.

Planner and guard go by the same answers. Pure.

A vm is held for `churn.guest_cooldown` after a move, twice as long with each further move of the day, whoever made it. A hold
is a delay, and is weighed as one: it ends early for a vm whose node is likelier than `trigger.probability` to fail before the
hold would end. The caps of a day have no such way out: a flapping risk looks urgent each time.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from models.base import format_duration
from models.fleet import Fleet, NodeState
from models.past_moves import Mover, PastMove
from models.policy.policy import Policy
from models.risk.risk_level import NodeRisk
from models.text import moment, visible

DAY = timedelta(days=1)


def held_vms(fleet: Fleet, node_risks: Mapping[str, NodeRisk], policy: Policy, now: datetime) -> dict[str, str]:
    """Every vm that is not to be moved again now, by uuid, with why."""
    moved: dict[str, list[PastMove]] = defaultdict(list)
    for move in moves_since(fleet, now - DAY):
        if move.target is not None:
            moved[move.vm].append(move)
    held: dict[str, str] = {}
    for uuid, moves in moved.items():
        vm = fleet.vm_by_uuid.get(uuid)
        if vm is not None and (why := _why_held(moves, node_risks[vm.node], policy, now)) is not None:
            held[uuid] = why
    return held


def _why_held(moves: Sequence[PastMove], node: NodeRisk, policy: Policy, now: datetime) -> str | None:
    last = moves[-1]
    told = f"{_who(last)} moved it from {_shown(last.source)} to {_shown(last.target)} at {moment(last.at)}"
    churn = policy.churn
    if len(moves) >= churn.moves_of_one_guest:
        return f"it moved {len(moves)} times within a day, policy allows {churn.moves_of_one_guest}; {told}"
    hold = min(churn.guest_cooldown * 2 ** (len(moves) - 1), DAY)
    left = hold - max(now - last.at, timedelta(0))
    if left <= timedelta(0):
        return None
    risk = node.usable_risk
    if risk is not None and risk.trusted_within(left.total_seconds()) >= policy.trigger.probability:
        return None
    times = f", {len(moves)} times within a day" if len(moves) > 1 else ""
    return f"{told}{times}: left alone for {format_duration(hold)} after that"


def nodes_a_day(fleet: Fleet, policy: Policy) -> int:
    """How many nodes of this fleet may be emptied within a day: on small fleets a share of them, rounded up."""
    share = max(policy.churn.share_of_nodes_a_day, policy.storm.max_risky_fraction)
    return max(1, min(policy.churn.nodes_a_day, math.ceil(share * len(fleet.nodes))))


def emptied_today(fleet: Fleet, now: datetime) -> set[str]:
    """Nodes that lifeboat emptied, as far as they count towards the day's cap: those that have fallen silent since were left for
    good reason, and do not."""
    return {
        move.source
        for move in counted_moves(fleet, now)
        if move.emptied and (node := fleet.node_by_name.get(move.source)) and node.state is not NodeState.OFFLINE
    }


def moves_since(fleet: Fleet, since: datetime) -> list[PastMove]:
    """What is remembered from that time on, oldest first; nothing where nobody remembers."""
    if fleet.past_moves is None:
        return []
    return sorted((move for move in fleet.past_moves.moves if move.at > since), key=lambda move: move.at)


def counted_moves(fleet: Fleet, now: datetime) -> list[PastMove]:
    """lifeboat's own that count towards the caps of the day: what a person asked for does not."""
    reset = fleet.past_moves.counted_from if fleet.past_moves is not None else None
    since = now - DAY if reset is None else max(reset, now - DAY)
    return [move for move in moves_since(fleet, since) if move.by is Mover.LIFEBOAT and not move.asked]


def other_movers(fleet: Fleet, policy: Policy, now: datetime) -> str | None:
    """Who besides lifeboat moves vms just now, in one line; None when nobody seems to."""
    moves = [move for move in moves_since(fleet, now - policy.churn.others_within) if move.by is Mover.OTHERS]
    if len({move.vm for move in moves}) < policy.churn.others_moves:
        return None
    last = moves[-1]
    return (
        f"somebody else moves vms: {len(moves)} moves in the last {format_duration(policy.churn.others_within)}, "
        f"such as {visible(last.vm_name or last.vm, 60)} from {_shown(last.source)} to {_shown(last.target)}"
    )


def _who(move: PastMove) -> str:
    return "lifeboat" if move.by is Mover.LIFEBOAT else "somebody else"


def _shown(node: str | None) -> str:
    return visible(node, 60) if node is not None else "the archive"
