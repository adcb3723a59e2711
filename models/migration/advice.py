"""What a measured dirty rate means for a move that is about to begin: go, throttle, wait, archive or refuse. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from models.fleet import Vm
from models.migration.estimate import LiveEstimate, live_migration
from models.policy.policy import Policy

PROBE_WORTH = 10.0
"""a probe is worth its time when one pass over the memory takes this many times as long"""
REMEMBERED = timedelta(days=7)
"""older rates say nothing about when this vm is quiet"""


class Advice(StrEnum):
    GO = "go"
    THROTTLE = "throttle"
    """go, and let the ladder slow the guest"""
    WAIT = "wait"
    """at another time of day it was quiet enough"""
    ARCHIVE = "archive"
    """it does not converge, and its owner agreed to a cold archive"""
    REFUSE = "refuse"


@dataclass(frozen=True)
class Advised:
    advice: Advice
    reason: str
    """with the figures; one clause a person reads"""
    estimate: LiveEstimate
    until: datetime | None = None
    """WAIT: when it was quiet enough before, at the same time of day"""

    @property
    def goes(self) -> bool:
        return self.advice in (Advice.GO, Advice.THROTTLE)


@dataclass(frozen=True)
class MeasuredRate:
    """A dirty rate of the past."""

    at: datetime
    bytes_per_second: float


def worth_probing(vm: Vm, bandwidth: float, policy: Policy, *, risk: float | None) -> bool:
    """Whether the second it takes is well spent: not for a vm that crosses in a few, nor where every second counts.

    `risk`: P(the node fails before the vm is safe), None when the plan did not say.
    """
    rules = policy.migration
    probe = rules.dirty_probe.total_seconds()
    in_haste = risk is not None and risk > rules.probe_max_risk
    return probe > 0 and not in_haste and vm.memory_bytes / bandwidth >= PROBE_WORTH * probe


def advise(vm: Vm, bandwidth: float, policy: Policy, *, now: datetime, history: Iterable[MeasuredRate] = ()) -> Advised:
    """`vm` with its dirty rate as measured now; `history`: what was measured of it before, in any order."""
    estimate = live_migration(vm, bandwidth, policy)
    rate, link = _rate(vm.dirty_bytes_per_second or 0.0), _rate(bandwidth)
    if _acceptable(estimate, policy):
        if estimate.throttle > 0:
            return Advised(
                Advice.THROTTLE,
                f"it rewrites {rate}, the link carries {link}: slowed by up to {estimate.throttle:.0%} it converges",
                estimate,
            )
        return Advised(Advice.GO, f"it rewrites {rate}, the link carries {link}", estimate)
    trouble = f"it rewrites {rate} and the link carries {link}: {_trouble(estimate, policy)}"
    quieter = _quieter(vm, bandwidth, policy, now, history)
    if quieter is not None:
        until, then = quieter
        return Advised(Advice.WAIT, f"{trouble}; at {until:%H:%M} UTC it rewrote {_rate(then)}", estimate, until)
    if vm.cold_archive_allowed and vm.priority in policy.archive.priorities:
        return Advised(Advice.ARCHIVE, f"{trouble}; its owner agreed to a cold archive", estimate)
    return Advised(Advice.REFUSE, trouble, estimate)


def _acceptable(estimate: LiveEstimate, policy: Policy) -> bool:
    rules = policy.migration
    return (
        estimate.converges
        and estimate.seconds <= rules.timeout.total_seconds()
        and estimate.downtime_seconds <= rules.max_downtime.total_seconds()
    )


def _trouble(estimate: LiveEstimate, policy: Policy) -> str:
    rules = policy.migration
    if not estimate.converges:
        return "it would not come to its end within what policy allows"
    if estimate.seconds > rules.timeout.total_seconds():
        return f"it would take {estimate.seconds:.0f} s, the timeout is {rules.timeout.total_seconds():.0f} s"
    cap = rules.max_downtime.total_seconds()
    return f"it would stand still for {estimate.downtime_seconds * 1000:.0f} ms, {cap * 1000:.0f} ms are allowed"


def _quieter(
    vm: Vm, bandwidth: float, policy: Policy, now: datetime, history: Iterable[MeasuredRate]
) -> tuple[datetime, float] | None:
    """The next time of day at which it was quiet enough within the last week; a newer, busier one near it outweighs it."""
    recent = sorted((m for m in history if now - REMEMBERED <= m.at < now), key=lambda m: m.at)
    by_hour = {measured.at.hour: measured for measured in recent}
    calm: list[tuple[datetime, float]] = []
    for measured in by_hour.values():
        then = vm.model_copy(update={"dirty_bytes_per_second": measured.bytes_per_second})
        if _acceptable(live_migration(then, bandwidth, policy), policy):
            days = -((measured.at - now) // timedelta(days=1))
            calm.append((measured.at + timedelta(days=days), measured.bytes_per_second))
    return min(calm, default=None)


def _rate(bytes_per_second: float) -> str:
    return f"{bytes_per_second / 1e6:.1f} MB/s"
