"""Policy's sections that stop lifeboat itself: storms, and how much may move in a day."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from models.base import Duration, Value, parse_duration


class StormPolicy(Value):
    """When too much looks risky at once, suspect the monitoring: halt and call a human."""

    max_risky_fraction: float = Field(default=0.34, gt=0, le=1)
    """share of active nodes"""
    min_nodes: int = Field(default=2, ge=1)
    """below this many risky nodes it is never a storm"""
    latch_after: Duration = Field(default=parse_duration("5m"), ge=timedelta(0))
    """a storm that is still there, or there again within the hour, so long after it was first seen trips the breaker: nothing
    moves until a person resets it. A single look that went wrong does not"""


class ChurnPolicy(Value):
    """How often the same may move, how much may in a day, and what it means that others move vms."""

    guest_cooldown: Duration = Field(default=parse_duration("10m"), ge=timedelta(0))
    """a vm that moved, whoever moved it, is left alone for this long, and twice as long with each further move of the day;
    sooner where its node is likelier than `trigger.probability` to fail before that. Not for what a person asked for"""
    moves_of_one_guest: int = Field(default=6, ge=1)
    """a vm that moved so often within a day is left where it is"""
    nodes_a_day: int = Field(default=20, ge=1)
    """lifeboat empties no more than this within a day without a person: then the breaker trips"""
    share_of_nodes_a_day: float = Field(default=0.5, gt=0, le=1)
    """nor more than this share of the fleet, rounded up: 1 of 2 nodes, 2 of 3, 3 of 5; nor less than a storm would let it empty
    at once. Nodes that have fallen silent since do not count"""
    guests_a_day: int = Field(default=1000, ge=1)
    """moves and archives within a day"""
    others_moves: int = Field(default=3, ge=1)
    """so many vms that somebody else moved mean that a balancer is at work"""
    others_within: Duration = Field(default=parse_duration("30m"), gt=timedelta(0))
    """within this time. Then lifeboat yields: it leaves nodes that must be left, and moves nothing at leisure"""
