"""Why the background agent leaves nodes alone for a while after a pass that was about them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from agent.assess.tiers import with_unschedulable
from agent.plan.solver import plan as solve
from agent.service.pass_result import PassOutcome, PassResult
from models.errors import ApprovalMissing, ApprovalVoid
from models.policy.policy import Policy
from tools.ports.journal import Journal
from tools.ports.records.evacuations import CancelRequested

NOBODY_AGREED = "nobody agreed to a plan for them"


def why_leave_alone(
    result: PassResult,
    nodes: Collection[str],
    policy: Policy,
    journal: Journal,
    now: datetime,
    *,
    cordoned: frozenset[str],
    stopping: bool,
) -> str:
    """When nothing is left on them to move, or when somebody said no; empty otherwise: the nodes may not have the time.

    `policy`: the one that was planned by. `stopping`: the agent itself was told to end, which is nobody's no.
    """
    refusal = result.refusal
    if isinstance(refusal, ApprovalMissing) and not isinstance(refusal, ApprovalVoid):
        return NOBODY_AGREED
    if not stopping and journal.of(CancelRequested, since=result.started_at):
        return "somebody cancelled an evacuation of them"
    if result.outcome is PassOutcome.EVACUATED and result.fleet_after is not None:
        fleet = with_unschedulable(result.fleet_after, cordoned)
        fleet = fleet.model_copy(update={"past_moves": None})  # what is only held for a while is still to be moved
        known = [node for node in nodes if node in fleet.node_by_name]
        after = replace(result.situation, fleet=fleet, policy=policy, now=now)
        if not known or not solve(after.as_if_others_were_known(known), known, optimise=False).moves:
            return "nothing is left on them to move"
    return ""
