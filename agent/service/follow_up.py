"""What an evacuation goes on with when moves of it came to nothing: another kind or target for the same vms. Pure.

It is a plan of its own, made on the fleet as it is then, judged in full, and agreed to: by policy where policy lets it be, by
the agreement to the first plan where it stops no vm more than that did, by being asked anew otherwise.
"""

from __future__ import annotations

from collections.abc import Collection

from agent.plan.solver import PlanDecision, assemble, plan
from models.approval import ApprovalRecord
from models.evacuation import AttemptOutcome, Evacuation, outcome_with_stays
from models.fleet import Fleet
from models.plan import ActionKind, Plan
from models.proposals.states import SILENCE
from models.situation import Situation

ROUNDS = 3
"""follow-ups of one evacuation at most: as many as there are kinds of move"""
_STOPS = {ActionKind.LIVE_MIGRATE: 0, ActionKind.COLD_MIGRATE: 1, ActionKind.COLD_ARCHIVE: 2}
"""how long a vm is off for it: not at all, until it is started elsewhere, until somebody restores it"""


def still_waiting(evacuation: Evacuation, refused: Collection[str]) -> frozenset[str]:
    """The vms of `refused` (uuids) that the evacuation left where they were, and not because it was cancelled."""
    last = {vm: evacuation.attempt_for(vm) for vm in refused}
    return frozenset(
        vm
        for vm, attempt in last.items()
        if attempt is not None and attempt.outcome in (AttemptOutcome.FAILED, AttemptOutcome.REFUSED)
    )


def follow_up_plan(
    first: Plan,
    situation: Situation,
    vms: Collection[str],
    *,
    but: Collection[tuple[str, ActionKind, str | None]] = (),
) -> Plan:
    """What the solver would do with these vms now, and with nobody else; the others stay, and so does what would only be tried
    again as it was (`but`: vm, kind and target)."""
    fleet = situation.fleet
    leaving = [node for node in first.evacuating if node in fleet.node_by_name]
    asked = [node for node in first.asked if node in fleet.node_by_name]
    whole = plan(situation, leaving, asked=asked)
    decisions = [
        PlanDecision(action.vm, action.kind, action.target, action.reason)
        if action.vm in vms and (action.vm, action.kind, action.target) not in but
        else PlanDecision(
            action.vm,
            ActionKind.STAY,
            reason="the same came to nothing a moment ago" if action.vm in vms else "dealt with by the plan before",
        )
        for action in whole.actions
    ]
    return assemble(situation, decisions, leaving, whole.planned_by, asked=asked)


def covered_by(agreement: ApprovalRecord, first: Plan, following: Plan) -> ApprovalRecord | None:
    """A person's agreement to the plan before, where it covers this one: no move stops its vm longer than they agreed to. For as
    long as it held; None when it does not cover it."""
    agreed = {action.vm: _STOPS[action.kind] for action in first.moves}
    if agreement.by in ("policy", SILENCE) or any(
        _STOPS[action.kind] > agreed.get(action.vm, -1) for action in following.moves
    ):
        return None
    return agreement.model_copy(update={"plan_sha256": following.digest()})


def joined(first: Evacuation, following: Evacuation, fleet: Fleet) -> Evacuation:
    """Both as one, for whoever reads what became of each vm. `fleet`: the one that the first was planned for."""
    attempts = (*first.attempts, *following.attempts)
    return first.model_copy(
        update={
            "attempts": attempts,
            "ended_at": following.ended_at,
            "outcome": outcome_with_stays(attempts, first.plan, fleet),
            "notes": (*first.notes, f"{following.id} went on with what was refused", *following.notes),
        }
    )
