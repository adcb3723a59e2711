"""When a move is best begun: now, or at a quieter time while the risk until then costs less. Pure; planner and guard share it.

A move disturbs its guest by as much as the guest is at work: not at all in a maintenance window, and otherwise by its load at
that time of day, as a share of its busiest hour (of a guest nobody measured: fully). Waiting costs what the risk grows meanwhile.
Both are shares of what losing the guest costs, so that its weight does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from models.fleet import Vm, VmState
from models.plan import ActionKind
from models.policy.policy import Policy
from models.policy.wait import openings
from models.risk.risk_level import RiskLevel
from models.situation import Situation
from models.text import percent

HOURS = 24
WORTH_WAITING = 0.2
"""of its price: what waiting has to spare at the least; a guest does not wait hours for a little less"""


@dataclass(frozen=True, kw_only=True)
class Wait:
    """A move that is better begun later."""

    until: datetime
    why: str


def price_of(kind: ActionKind, vm: Vm, policy: Policy) -> float:
    """What the move costs at the guest's busiest, as a share of what losing it costs. What is off anyway is not disturbed."""
    if vm.state is VmState.SHUTOFF:
        return 0.0
    return policy.wait.price if kind is ActionKind.LIVE_MIGRATE else policy.wait.stop_price


def disturbance(vm: Vm, at: datetime, seconds: float, policy: Policy) -> float:
    """How much of its price a move that begins `at` and takes so long costs: 0 in a window, 1 at the guest's busiest."""
    end = at + timedelta(seconds=seconds)
    if any(
        opens <= at and end <= closes for window in policy.wait.windows for opens, closes in openings(window, at, end)
    ):
        return 0.0
    if vm.load_by_hour is None or not policy.wait.quiet_hours:
        return 1.0
    hours = {(at + timedelta(hours=n)).hour for n in range(min(HOURS, int(seconds // 3600) + 1))} | {end.hour}
    return max(vm.load_by_hour[hour] for hour in hours)


def best_wait(vm: Vm, kind: ActionKind, source: str, seconds: float, situation: Situation) -> Wait | None:
    """The best later time for a move that takes `seconds`; None: now, there is none that is worth the wait.

    Never off a node that is at the trigger, or of which nothing is known: unknown is not healthy.
    """
    policy, now = situation.policy, situation.now
    price = price_of(kind, vm, policy)
    if price <= 0 or not may_wait(source, situation):
        return None
    disturbs = disturbance(vm, now, seconds, policy)
    best: tuple[float, datetime, float, float] | None = None
    for at in _candidates(vm, situation):
        risk = extra_risk(source, at, seconds, situation)
        less = disturbance(vm, at, seconds, policy)
        spared = price * (disturbs - less) - risk
        if spared >= price * WORTH_WAITING and (best is None or spared > best[0] + 1e-12):
            best = (spared, at, risk, less)
    if best is None:
        return None
    _, at, risk, less = best
    when = "in a maintenance window" if less == 0 else f"it is at {percent(less)} of its busiest then"
    busy = "" if vm.load_by_hour is None else f", now at {percent(disturbs)}"
    return Wait(
        until=at, why=f"{when}{busy}; P({source} fails meanwhile) {percent(risk)}, which policy lets it wait for"
    )


def may_wait(source: str, situation: Situation) -> bool:
    """Whether moves off this node may be put off at all."""
    return situation.node_risks[source].level in (RiskLevel.ACCEPTABLE, RiskLevel.ELEVATED)


def extra_risk(source: str, at: datetime, seconds: float, situation: Situation) -> float:
    """How much likelier the node is to fail before the move is done when it begins `at` instead of now."""
    delay = max(0.0, (at - situation.now).total_seconds())
    return situation.failure_probability(source, delay + seconds) - situation.failure_probability(source, seconds)


def why_not_put_off(
    vm: Vm, kind: ActionKind, source: str, until: datetime, seconds: float, situation: Situation
) -> str | None:
    """Why policy does not let this move wait until then; None when it does."""
    policy = situation.policy
    if until - situation.now > policy.wait.longest:
        return f"it is put off to {until:%Y-%m-%d %H:%M} UTC, further than policy lets (wait.longest)"
    if not may_wait(source, situation):
        return f"it would wait on {source}, which is {situation.node_risks[source].level}"
    risk, price = extra_risk(source, until, seconds, situation), price_of(kind, vm, policy)
    if risk > price:
        return (
            f"waiting until {until:%H:%M} UTC makes losing it {percent(risk)} likelier, policy's price of moving it at a bad "
            f"time is {percent(price)} (wait.price, wait.stop_price)"
        )
    return None


def _candidates(vm: Vm, situation: Situation) -> list[datetime]:
    """Later times at which something changes: windows that open, hours of the guest's day that begin."""
    wait, now = situation.policy.wait, situation.now
    until = now + wait.longest
    found = {opens for window in wait.windows for opens, _ in openings(window, now, until)}
    if vm.load_by_hour is not None and wait.quiet_hours:
        hour = now.replace(minute=0, second=0, microsecond=0)
        found |= {hour + timedelta(hours=n) for n in range(1, int(wait.longest.total_seconds() // 3600) + 1)}
    return sorted(at for at in found if now < at <= until)
