"""Policy's sections for what nothing forces: spreading the fleet, and archiving what is idle. Both are off unless switched on."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from models.base import Duration, Value, parse_duration


class RebalancePolicy(Value):
    """Vms of sound nodes that move live to spread load and risk. Never by itself: `lifeboat rebalance` plans it."""

    allowed: bool = False
    """whether the guard lets such a plan pass"""
    max_moves: int = Field(default=5, ge=1)
    """in one plan"""
    hold: Duration = Field(default=parse_duration("6h"), ge=timedelta(0))
    """after lifeboat moved anything at all, nothing is rebalanced for this long"""
    margin: float = Field(default=0.1, ge=0, lt=1)
    """a node whose load is within this of the mean is spread well enough; load is the share of its memory or vcpus in use,
    whichever is larger"""
    crowding: float = Field(default=100.0, ge=0)
    """what the square of a load's distance beyond the margin costs, summed over the nodes, in the unit of `weights`"""
    price: float = Field(default=0.02, gt=0, le=1)
    """what each move costs, as a share of what losing its vm costs: a plan has to gain more than its moves cost, and so does
    each move"""


class IdlePolicy(Value):
    """Idle vms of low priority that go into the archive. Never by itself: `lifeboat archive --idle` plans it."""

    allowed: bool = False
    """whether the guard lets such a plan pass"""
    idle_for: Duration = Field(default=parse_duration("30d"), gt=timedelta(0))
    """a vm that did anything within this time is not idle"""
    max_vms: int = Field(default=10, ge=1)
    """in one plan"""
    busy_above: float = Field(default=0.02, gt=0, le=1)
    """processors in use, averaged over any hour, that make a vm busy"""
