"""What a plan would come to in many imagined futures, beside doing nothing and doing it by hand."""

from __future__ import annotations

from pydantic import Field

from models.base import Value


class Spread(Value):
    """One figure over all runs."""

    p50: float
    """half of the runs did no worse"""
    p95: float
    """95 of 100 runs did no worse"""


class StrategyOutcome(Value):
    """One way of going about it."""

    strategy: str
    """`nothing`, `serial`, `largest first`, `the plan`"""
    saved: Spread
    """vms that are safe before their node fails, or whose node does not fail; p95: so many at least in 95 of 100 runs"""
    lost_mean: float = Field(ge=0)
    """vms lost in a run, on average"""
    lost_weight_mean: float = Field(ge=0)
    """the same, each with its weight: comparable with a plan's expected loss"""
    finish_seconds: Spread | None
    """until the last move is over, node failures aside; None where nothing moves"""
    downtime_seconds: Spread | None
    """how long all moved vms together did not answer"""


class Simulation(Value):
    """Every strategy in the same futures."""

    runs: int = Field(ge=1)
    seed: int
    vms: int = Field(ge=0)
    """on the nodes to empty"""
    horizon_seconds: float
    """failures later than this are not looked at"""
    strategies: tuple[StrategyOutcome, ...]
