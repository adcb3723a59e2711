"""What an evacuation left to do that may be done in another way: what was refused, whose target sank, what changed meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.actions.resources import Resources
from agent.service.follow_up import covered_by, follow_up_plan, still_waiting
from agent.service.pass_result import PassResult
from agent.service.people.questions import agreed_question
from agent.service.put_off import is_early
from agent.service.steps import judged_by_guard
from agent.state.requests import read_requests
from models.approval import ApprovalRecord
from models.evacuation import AttemptOutcome, Evacuation
from models.plan import ActionKind, Approval, Plan, Verdict
from models.policy.policy import Policy
from models.proposals.states import Proposal
from models.situation import Situation
from tools.ports.journal import Journal
from tools.ports.records.attempts import MoveRefused
from tools.ports.records.evacuations import EvacuationApproved, TargetsChanged

Tried = frozenset[tuple[str, ActionKind, str | None]]
"""(vm, kind, target) of moves that came to nothing"""


@dataclass(frozen=True, kw_only=True)
class Following:
    """What an evacuation goes on with."""

    plan: Plan
    verdict: Verdict
    agreement: ApprovalRecord | None
    """of a person to the plan before, where it covers this one"""
    past_agreement: bool
    """people have to agree, and what they agreed to before does not cover it"""
    first_question: Proposal | None
    """the question that the plan before was agreed to by"""


def replanned(before: PassResult, situation: Situation, policy: Policy, hands: Resources) -> Following | None:
    """What is left, solved again on the fleet as it is: within what was agreed to (the same guests, no kind that stops one
    longer, targets by policy's rules), or to be asked about. None when there is nothing else to try now. `policy`: the one it is
    planned by."""
    done, first = before.evacuation, before.plan
    assert done is not None
    assert first is not None
    waiting = left_to_try(done, hands.journal)
    whole = follow_up_plan(first, replace(situation, policy=policy), waiting, but=tried_in_vain(done))
    plan = whole.parts(situation.now)[0]
    if not plan.moves or is_early(plan, situation.now):
        return None
    verdict = judged_by_guard(plan, situation)
    asks = verdict.passed and verdict.approval is Approval.HUMAN
    (approved,) = hands.journal.of(EvacuationApproved, evacuation=done.id)[:1]
    agreement = covered_by(ApprovalRecord(**dict(approved.record)), first, plan) if asks else None
    past = asks and agreement is None
    return Following(
        plan=plan,
        verdict=verdict,
        agreement=agreement,
        past_agreement=past,
        first_question=agreed_question(hands, done.id) if past else None,
    )


def left_to_try(done: Evacuation, journal: Journal) -> frozenset[str]:
    """The vms (uuids) that it left where they were and that another kind of move, or another target, may still save.

    Those whose move was refused, for good or because the guest or its target is not as it was planned for; and those that were
    not begun because their target became unfit. Not what a person cancelled, nor what a node that recovered keeps.
    """
    if read_requests(journal, done.id).cancelled_by is not None:
        return frozenset()
    refused = {entry.record.vm for entry in journal.of(MoveRefused, evacuation=done.id)}
    changed = {each.action.vm for each in done.attempts if each.outcome is AttemptOutcome.REFUSED}
    sunk: frozenset[str] = frozenset()
    for entry in journal.of(TargetsChanged, evacuation=done.id)[-1:]:
        seen = entry.record
        sunk = frozenset(
            each.action.vm
            for each in done.attempts
            if each.outcome is AttemptOutcome.CANCELLED
            and each.action.target in seen.unfit
            and each.action.source not in seen.recovered
        )
    return still_waiting(done, refused | changed) | sunk


def tried_in_vain(done: Evacuation) -> Tried:
    """What is not done again at once: the same would come of it."""
    return frozenset(
        (each.action.vm, each.action.kind, each.action.target)
        for each in done.attempts
        if each.outcome in (AttemptOutcome.FAILED, AttemptOutcome.REFUSED)
    )
