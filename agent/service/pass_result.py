"""What one pass of the loop came to, with what it went on with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from agent.assess.tiers import TierChange
from agent.service.follow_up import joined
from agent.service.put_off import is_early, waiting_for_its_time
from models.errors import Refused
from models.evacuation import Evacuation, NodeLoss, count_outcomes
from models.fleet import Fleet, NodeState
from models.plan import Plan, Verdict
from models.situation import Situation
from models.verification import Verification


class PassOutcome(StrEnum):
    IDLE = "quiet"
    """no node has to be evacuated"""
    WAITING = "waiting"
    """a node should be evacuated, and an evacuation that is not over has to end first, a person has not answered yet, or what is
    to move waits for a better time"""
    ASKED = "asked"
    """people were asked whether to carry a plan out; their answer is waited for by nobody, and acted on when it is there"""
    REFUSED = "refused"
    """the guard or the approver said no; nothing was changed"""
    HALTED = "halted"
    """the kill switch is on: nothing is begun"""
    NOTHING_TO_MOVE = "nothing-to-move"
    """a node is at risk and holds no vm that could be moved"""
    SHADOW = "shadow"
    """policy lets lifeboat only watch: what it would have done was written down"""
    EVACUATED = "evacuated"
    """an evacuation ran; its own outcome says how it went"""


@dataclass(frozen=True, kw_only=True)
class PassResult:
    """What one pass saw and came to."""

    outcome: PassOutcome
    why: str
    started_at: datetime
    situation: Situation
    """what it decided from"""
    plan: Plan | None = None
    verdict: Verdict | None = None
    evacuation: Evacuation | None = None
    fleet_after: Fleet | None = None
    verification: Verification | None = None
    refusal: Refused | None = None
    """the error behind REFUSED"""
    tier_changes: tuple[TierChange, ...] = ()
    """nodes whose tier is another one than before"""
    repeated: bool = False
    """it came to the same as the pass before, which the journal has"""


def nothing_begun(
    plan: Plan, verdict: Verdict, situation: Situation, started_at: datetime, now: datetime, *, repeated: bool
) -> PassResult:
    """How it stands before anything of the plan begins: nothing is to move, or all of it waits for its time."""
    early = is_early(plan, now)
    nothing = f"nothing on {', '.join(plan.evacuating) or 'any node'} can be moved, or has to be"
    return PassResult(
        outcome=PassOutcome.WAITING if early else PassOutcome.NOTHING_TO_MOVE,
        why=waiting_for_its_time(plan, now) if early else nothing,
        started_at=started_at,
        situation=situation,
        plan=plan,
        verdict=verdict,
        repeated=repeated,
    )


def what_it_came_to(plan: Plan, verdict: Verdict, now: datetime) -> tuple[object, ...] | None:
    """Of a plan that moves nothing, or nothing yet, or that the guard refuses, what tells it from another such; None for any
    other."""
    if plan.moves and verdict.passed and not is_early(plan, now):
        return None
    actions = tuple((action.kind, action.vm, action.target) for action in plan.actions)
    return plan.evacuating, actions, tuple(result.rule for result in verdict.failures)


def joined_results(first: PassResult, following: PassResult) -> PassResult:
    """What a pass came to, with what it went on with."""
    done, fleet = first.evacuation, first.situation.fleet
    assert done is not None
    if following.evacuation is None:
        asked = following.outcome is PassOutcome.ASKED
        why = following.why if asked else f"{following.why}: what was refused was not tried in another way"
        return replace(first, evacuation=done.model_copy(update={"notes": (*done.notes, why)}))
    whole = joined(done, following.evacuation, fleet)
    return replace(
        first,
        why=f"evacuation {whole.id}: {whole.outcome}: {count_outcomes(whole, fleet)}",
        evacuation=whole,
        fleet_after=following.fleet_after,
        verification=_both(first.verification, following.verification),
    )


def _both(first: Verification | None, then: Verification | None) -> Verification | None:
    """What both looks say: a check that failed in either has failed."""
    if first is None or then is None:
        return then or first
    found = {check.name: check for check in first.checks}
    for check in then.checks:
        if check.name not in found or found[check.name].passed is not False:
            found[check.name] = check
    return Verification(checks=tuple(found.values()))


def gone_silent(before: Fleet, after: Fleet) -> tuple[NodeLoss, ...]:
    """Nodes that answered before and don't any more."""
    answered = {node.name for node in before.nodes if node.state is not NodeState.OFFLINE}
    return tuple(
        NodeLoss(node=node.name, at=after.observed_at, detail="did not answer afterwards")
        for node in after.nodes
        if node.state is NodeState.OFFLINE and node.name in answered
    )
