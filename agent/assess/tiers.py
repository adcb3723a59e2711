"""Which tier each node is in, pass after pass: remembered, journalled when it changes, and restored after a restart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from models.fleet import Fleet, NodeState
from models.planning.corroboration import why_uncorroborated
from models.policy.policy import ColdMigratePolicy, Policy
from models.proposals.states import EventKind
from models.risk.risk import Risk
from models.risk.risk_level import RiskLevel
from models.risk.tier import NodeTier, Tier, TierAssessment, assess_tier, next_tier, worth_acting
from models.situation import Situation
from tools.ports.journal import Journal
from tools.ports.records.approvals import ApprovalAsked, ApprovalClosed
from tools.ports.records.evacuations import EvacuationPlanned, EvacuationStarted, EvacuationVerified
from tools.ports.records.nodes import CooldownBegun, TiersChanged, TierStep
from tools.tracing.trace import current_trace

log = structlog.get_logger("lifeboat")


@dataclass(frozen=True, kw_only=True)
class TierChange:
    """One node after one look."""

    now: NodeTier
    before: NodeTier | None
    warranted: TierAssessment
    act: Tier | None
    """what is worth doing at once; None: nothing, or the node cools down"""
    is_sound: bool
    """its risk alone would let it take vms"""
    uncorroborated: str | None = None
    """why no guest of it is stopped without a person; None: enough speaks against it"""

    @property
    def changed(self) -> bool:
        return self.now.tier is not (self.before.tier if self.before else Tier.WATCH)


@dataclass
class Tiers:
    """What is remembered of each node between passes."""

    held: dict[str, NodeTier] = field(default_factory=dict[str, NodeTier])
    acted_at: dict[str, datetime] = field(default_factory=dict[str, datetime])

    @classmethod
    def restored(cls, policy: Policy, journal: Journal, now: datetime) -> Tiers:
        """As the journal left them. What was held is upheld until `now`: nobody looked in between."""
        tiers = cls()
        for entry in journal.of(TiersChanged):
            for one in entry.record.changes:
                tiers.held[one.node] = NodeTier(
                    node=one.node,
                    tier=one.tier,
                    since=entry.at,
                    upheld_at=max(entry.at, now),
                    why=one.why,
                    unknown_data=one.unknown_data,
                )
        void = gives_no_cooldown(journal, now - policy.cooldown)
        for entry in journal.of(EvacuationPlanned, CooldownBegun, since=now - policy.cooldown):
            match entry.record:
                case CooldownBegun(nodes=nodes):
                    tiers.acted(nodes, entry.at)
                case EvacuationPlanned(plan=plan, cools_down=True) if entry.evacuation not in void:
                    tiers.acted(plan.evacuating, entry.at)
                case _:
                    pass
        return tiers

    def judge(self, situation: Situation) -> dict[str, TierChange]:
        """Every node of the fleet, in its order. Raises ValueError when two risks speak of one node."""
        fleet, policy, now = situation.fleet, situation.policy, situation.now
        judged: dict[str, TierChange] = {}
        for node in fleet.nodes:
            node_risk = situation.node_risks[node.name]
            warranted = assess_tier(node_risk, fleet.vms_on(node.name), policy)
            before = self.held.get(node.name)
            after = self.held[node.name] = next_tier(before, node.name, warranted, policy, now)
            judged[node.name] = TierChange(
                now=after,
                before=before,
                warranted=warranted,
                act=worth_acting(warranted, self.acted_at.get(node.name), policy, now),
                is_sound=node_risk.level is RiskLevel.ACCEPTABLE,
                uncorroborated=why_uncorroborated(node_risk, policy),
            )
        return judged

    def keep_tiers(self, now: datetime) -> None:
        """A look failed: unknown upholds whatever there was."""
        self.held = {node: replace(held, upheld_at=max(now, held.upheld_at)) for node, held in self.held.items()}

    def acted(self, nodes: Iterable[str], at: datetime) -> None:
        """An action on these nodes was planned at that time: they cool down."""
        for node in nodes:
            self.acted_at[node] = max(at, self.acted_at.get(node, at))

    def clear_cooldown(self, nodes: Iterable[str]) -> None:
        """What was planned for these nodes could not begin: they do not cool down for it."""
        for node in nodes:
            self.acted_at.pop(node, None)


def gives_no_cooldown(journal: Journal, since: datetime) -> set[str]:
    """Plans that are no reason to leave their nodes alone: whose question was void before anybody acted on it; that were taken up
    by a lifeboat that ended before it began; and those that were begun. What came of these a `CooldownBegun` says where it is a
    reason, and of one that was cut off nothing does: its nodes may be planned for at once, under the guard."""
    begun, asked, verified = (
        {entry.evacuation for entry in journal.of(kind, since=since)}
        for kind in (EvacuationStarted, ApprovalAsked, EvacuationVerified)
    )
    kinds = (EventKind.SUPERSEDE, EventKind.WITHDRAW, EventKind.EXECUTE, EventKind.FAIL)
    void = {entry.evacuation for entry in journal.of(ApprovalClosed, since=since) if entry.record.event.kind in kinds}
    # a version that asked nobody wrote no `CooldownBegun`: there the plan stands for it, where it was seen through
    left_to_it = verified - asked
    return {each for each in (void | begun) - (left_to_it & begun) if each is not None}


def record_changes(
    judged: Iterable[TierChange], journal: Journal, now: datetime, risks: Iterable[Risk] = ()
) -> list[TierChange]:
    """Write what changed in this look into the journal, as one record, and log it; those that changed."""
    changed = [one for one in judged if one.changed]
    if changed:  # one record: when a Prometheus falls silent, every node of the fleet changes at once
        steps = [
            TierStep(
                node=one.now.node,
                tier=one.now.tier,
                was=one.before.tier if one.before else Tier.WATCH,
                why=one.now.why,
                unknown_data=one.now.unknown_data,
            )
            for one in changed
        ]
        entry = journal.append(TiersChanged(changes=tuple(steps), trace=current_trace()), now=now)
        _log_tiers(changed, risks, entry.seq)
    return changed


def _log_tiers(changed: Iterable[TierChange], risks: Iterable[Risk], audit: int) -> None:
    """One line for each node that changed its tier, with the signals that its risk stands on."""
    drivers = {risk.node: [driver.signal for driver in risk.drivers] for risk in risks}
    for one in changed:
        was = one.before.tier if one.before else None
        signals = drivers.get(one.now.node, [])
        log.warning(
            "tier", node=one.now.node, tier=one.now.tier, was=was, why=one.now.why, signals=signals, audit=audit
        )


def unschedulable(fleet: Fleet, judged: dict[str, TierChange]) -> frozenset[str]:
    """Nodes that take no vm although their risk alone would let them: what they are held in, or what a day may bring."""
    return frozenset(
        node.name for node in fleet.nodes
        if node.state is NodeState.ACTIVE and judged[node.name].is_sound and judged[node.name].now.tier is not Tier.WATCH
    )  # fmt: skip


def with_unschedulable(fleet: Fleet, names: frozenset[str]) -> Fleet:
    """The fleet with these nodes as `draining`: planner and guard then put nothing there."""
    if not names:
        return fleet
    nodes = tuple(
        node.model_copy(update={"state": NodeState.DRAINING})
        if node.name in names and node.state is NodeState.ACTIVE
        else node
        for node in fleet.nodes
    )
    return fleet.model_copy(update={"nodes": nodes})


def drain_only_policy(policy: Policy) -> Policy:
    """The policy under which a drain is planned: nobody is stopped for it."""
    stay = ColdMigratePolicy(priorities=(), stopped_vms=False)
    return policy.model_copy(
        update={"cold_migrate": stay, "archive": policy.archive.model_copy(update={"priorities": ()})}
    )
