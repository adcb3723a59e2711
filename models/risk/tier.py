"""What a node's risk is worth doing: watch → cordon → drain → evacuate. Pure.

Each tier is a bet: it costs something whether the node fails or not, and saves vms if it does. It is worth taking when what it
is expected to save, P(fails) × the weight of the vms it saves, is at least what it costs; divided by that weight this is the
cost-loss rule: act when P(fails) reaches cost / loss. Policy names the ratio of each tier:

    cordon    target.max_probability                      new vms go elsewhere; costs room, saves those that would have come
    drain     drain.price + effort / live weight    what can move live leaves at leisure; judged over drain.horizon
    evacuate  trigger.probability                         everything leaves, guests may be stopped; over trigger.horizon

The strongest tier worth taking is warranted. A tier that was taken is left later than it is entered (`tiers.release`), and only
after it was not upheld for `tiers.dwell`; it is raised at once. Unknown upholds whatever there was: silence is no recovery.
A learned forecast that does not fit what it sees warrants at most `forecast.misfit_ceiling`; documented limits all the same.
What was cordoned only because nothing was known is free again with the first good look: a scrape that fails must not cost
the fleet its targets.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from models.fleet import Vm, VmState
from models.policy.policy import Policy
from models.risk.risk_level import NodeRisk, RiskLevel
from models.text import percent, seconds_in_words


class Tier(StrEnum):
    WATCH = "watch"
    """nothing is done"""
    CORDON = "cordon"
    """no vm is planned onto the node; nothing is changed on the node itself, libvirt has no such switch"""
    DRAIN = "drain"
    """what can move live should leave; nobody is stopped for it"""
    EVACUATE = "evacuate"
    """everything should leave now"""

    @property
    def rank(self) -> int:
        return list(Tier).index(self)


@dataclass(frozen=True, kw_only=True)
class TierAssessment:
    """What one look says is worth doing with one node."""

    tier: Tier
    """the strongest that is worth entering"""
    upheld: Tier
    """the strongest that is still worth staying in; never below `tier`"""
    known: bool
    """False: no risk, or too old. Then `tier` is cordon, and a stronger one is neither entered nor left"""
    why: str
    """what a person reads, with the figures"""


@dataclass(frozen=True, kw_only=True)
class NodeTier:
    """Where one node is, and since when."""

    node: str
    tier: Tier
    since: datetime
    upheld_at: datetime
    """when it was last worth staying in; it is left `tiers.dwell` after that at the earliest"""
    why: str
    unknown_data: bool = False
    """cordoned because nothing was known: left as soon as something is"""


def assess_tier(node_risk: NodeRisk, vms: Iterable[Vm], policy: Policy) -> TierAssessment:
    """What is worth doing with a node that stands so and holds these vms.

    Example: P(2h) 0.3 with one high-priority vm that can move live, at the default prices: worth a drain (0.3 of 100 saved for
    0.25 of 100 and an effort of 1), not worth an evacuation (0.5 of 100).
    """
    if node_risk.level is RiskLevel.UNKNOWN or node_risk.usable_risk is None:
        return TierAssessment(
            tier=Tier.CORDON,
            upheld=Tier.CORDON,
            known=False,
            why=f"{node_risk.why}: takes no vms, unknown is not healthy",
        )
    vms, risk = list(vms), node_risk.usable_risk
    live = sum(policy.weights.of(vm.priority) for vm in vms if vm.migratable and vm.state is VmState.RUNNING)
    prices = _Prices(
        policy.trigger.probability if vms else math.inf,
        policy.drain.price + policy.drain.effort / live if live > 0 else math.inf,
        policy.target.max_probability,
    )
    lasting = prices.times(policy.tiers.release)
    near, far = policy.trigger.horizon.total_seconds(), policy.drain.horizon.total_seconds()
    soon, later = risk.within(near), risk.within(far)
    entered, upheld = prices.worth(soon, later), lasting.worth(soon, later)
    why = _describe(entered, soon, later, prices.drain, vms, policy)
    if risk.misfit:
        ceiling, full = Tier(policy.forecast.misfit_ceiling.value), entered
        known_soon, known_later = risk.trusted_within(near), risk.trusted_within(far)
        entered = _stronger(prices.worth(known_soon, known_later), prices.capped(soon, later, ceiling))
        upheld = _stronger(lasting.worth(known_soon, known_later), lasting.capped(soon, later, ceiling))
        if entered is not full:
            why += f"; but {risk.misfit}: {entered} at most, documented limits alone give {percent(known_soon)}"
    return TierAssessment(tier=entered, upheld=_stronger(entered, upheld), known=True, why=why)


@dataclass(frozen=True)
class _Prices:
    """From which probability on each tier is worth it; infinite: never."""

    evacuate: float
    drain: float
    cordon: float

    def times(self, share: float) -> _Prices:
        return _Prices(self.evacuate * share, self.drain * share, self.cordon * share)

    def worth(self, soon: float, later: float) -> Tier:
        """The strongest tier that is worth it."""
        if soon >= self.evacuate:
            return Tier.EVACUATE
        if later >= self.drain:
            return Tier.DRAIN
        return Tier.CORDON if soon > self.cordon else Tier.WATCH

    def capped(self, soon: float, later: float, ceiling: Tier) -> Tier:
        """`worth`, no stronger than `ceiling`; what would have been emptied takes no vm at the least."""
        full = self.worth(soon, later)
        if full.rank <= ceiling.rank:
            return full
        return Tier.DRAIN if ceiling is Tier.DRAIN and later >= self.drain else Tier.CORDON


def _stronger(one: Tier, other: Tier) -> Tier:
    return max(one, other, key=lambda tier: tier.rank)


def next_tier(before: NodeTier | None, node: str, warranted: TierAssessment, policy: Policy, now: datetime) -> NodeTier:
    """Where the node is after this look: raised at once, lowered only when nothing upheld it for `tiers.dwell`."""
    if before is None or (before.unknown_data and warranted.known) or warranted.tier.rank > before.tier.rank:
        return NodeTier(
            node=node,
            tier=warranted.tier,
            since=now,
            upheld_at=now,
            why=warranted.why,
            unknown_data=not warranted.known,
        )
    if not warranted.known or warranted.upheld.rank >= before.tier.rank:
        return replace(before, upheld_at=max(now, before.upheld_at), why=warranted.why)
    if now - before.upheld_at >= policy.tiers.dwell:
        return NodeTier(node=node, tier=warranted.upheld, since=now, upheld_at=now, why=warranted.why)
    return replace(before, why=warranted.why)


def worth_acting(warranted: TierAssessment, acted_at: datetime | None, policy: Policy, now: datetime) -> Tier | None:
    """The tier to act on now: evacuate, or drain where policy lets the agent drain; None while the node cools down, and for
    tiers that are only held: what is not worth doing now is not done because it once was."""
    if not warranted.known or (acted_at is not None and now - acted_at < policy.cooldown):
        return None
    if warranted.tier is Tier.EVACUATE or (warranted.tier is Tier.DRAIN and policy.drain.act):
        return warranted.tier
    return None


def _describe(tier: Tier, soon: float, later: float, drain_from: float, vms: list[Vm], policy: Policy) -> str:
    near, far = (seconds_in_words(h.total_seconds()) for h in (policy.trigger.horizon, policy.drain.horizon))
    if tier is Tier.EVACUATE:
        return f"P(fails within {near}) {percent(soon)}: losing its vms is likelier than {percent(policy.trigger.probability)}"
    if tier is Tier.DRAIN:
        return (
            f"P(fails within {far}) {percent(later)}: moving what can move live is worth it from {percent(drain_from)}"
        )
    if tier is Tier.CORDON:
        empty = ", and it holds no vm" if not vms else ""
        return f"P(fails within {near}) {percent(soon)}, over {percent(policy.target.max_probability)}: takes no vms{empty}"
    return f"P(fails within {near}) {percent(soon)}"
