"""What the background agent asks people, and what it does with an answer: it never waits for one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from agent.actions.resources import Resources
from agent.approve.decided import DecidedQuestions
from agent.approve.proposals import ask, note, open_questions, policy_digest, read, write_due
from agent.assess.tiers import TierChange, drain_only_policy, unschedulable, with_unschedulable
from agent.service.put_off import at_its_time, begins_later
from agent.service.steps import judged_by_guard, tell_closed, tell_wait
from agent.state.requests import unfinished
from models.approval import ApprovalRecord
from models.errors import BadInput, Refused
from models.fleet import Fleet
from models.plan import AtLeisure, Plan, Verdict
from models.planning.corroboration import FIELD
from models.policy.approvers import Occasion
from models.policy.policy import Policy
from models.proposals.drift import plan_changes, touched_by, why_void
from models.proposals.rights import needed, why_nobody_can, why_not_enough, why_silence_is_no
from models.proposals.states import LIVE, ApprovalState, EventKind, Proposal, Question, described
from models.risk.tier import Tier
from models.situation import Situation
from models.text import counted, moment, visible

LIFEBOAT = "lifeboat"
"""who asks when no person did"""


@dataclass(frozen=True, kw_only=True)
class Review:
    """How the questions stand after one look."""

    waiting: tuple[Proposal, ...] = ()
    approved: tuple[Proposal, ...] = ()
    void: tuple[Proposal, ...] = ()
    """closed by this look: their nodes may be planned for anew at once"""

    def to_leave(self, judged: Mapping[str, TierChange]) -> frozenset[str]:
        """Nodes that are about to be left: for their tier, or by a plan that people have agreed to."""
        agreed = {node for each in self.approved for node in each.question.plan.evacuating}
        return frozenset(agreed) | {node for node, one in judged.items() if one.act in (Tier.DRAIN, Tier.EVACUATE)}

    @property
    def nodes(self) -> frozenset[str]:
        """Nodes that a question is open about."""
        return frozenset(node for each in (*self.waiting, *self.approved) for node in each.question.occasions)


@dataclass(frozen=True, kw_only=True)
class Agreed:
    """A plan to carry out now, as people agreed to it, on the fleet as it is."""

    proposal: Proposal
    plan: Plan
    verdict: Verdict
    situation: Situation
    agreement: ApprovalRecord


@dataclass(kw_only=True)
class Questions:
    """The questions of one state directory. What is remembered is in the journal."""

    hands: Resources
    policy: Policy
    _hurried: set[str] = field(default_factory=set[str])
    _decided: DecidedQuestions = field(init=False)

    def __post_init__(self) -> None:
        self._decided = DecidedQuestions(self.hands.journal)

    def ask(
        self,
        plan: Plan,
        verdict: Verdict,
        situation: Situation,
        evacuation: str,
        occasions: Mapping[str, Occasion],
        *,
        requested_by: str = LIFEBOAT,
        before: Proposal | None = None,
    ) -> Proposal:
        """Put a plan that passed the guard to people. `before`: the question whose place it takes.

        `EvacuationPlanned` of the same id is in the journal already.
        """
        now = self.hands.clock.now()
        risks = [risk for risk in situation.risks or () if risk.node in plan.evacuating]
        question = Question(
            id=evacuation,
            plan=plan,
            verdict=verdict,
            touched=touched_by(plan, situation.fleet),
            policy_sha256=policy_digest(self.policy),
            requested_by=requested_by,
            occasions=dict(occasions),
            risks=tuple(risks),
            needs=needed(plan, self.policy.approval),
            asked_at=now,
            time_to_live=self.policy.approval.expires_after,
            supersedes=before.id if before is not None else "",
            changes=_changes(before, plan) if before is not None else (),
        )
        yes = why_silence_is_no(question, self.policy) is None
        return ask(self.hands.journal, question.model_copy(update={"silence_is_yes": yes}), clock=self.hands.clock)

    def review(self, fleet: Fleet, judged: Mapping[str, TierChange]) -> Review:
        """Every open question after a look: what time brought, what is not wanted any more, what does not fit any more."""
        tell_closed(self._decided)
        journal, clock = self.hands.journal, self.hands.clock
        waiting: list[Proposal] = []
        approved: list[Proposal] = []
        void: list[Proposal] = []
        for each in open_questions(journal, clock, due_too=True):
            proposal = write_due(journal, each.id, clock=clock)
            reason = (
                self._why_not_wanted(proposal, fleet, judged) if proposal.state is not ApprovalState.SNOOZED else None
            )
            if reason is not None:
                kind, why = reason
                try:
                    void.append(note(journal, each.id, kind, why=why, clock=clock))
                except Refused:  # a person was faster; the next look sees it
                    continue
            elif proposal.state is ApprovalState.APPROVED and not begins_later(proposal, clock.now()):
                approved.append(proposal)
            elif proposal.state in LIVE:
                waiting.append(proposal)
        return Review(waiting=tuple(waiting), approved=tuple(approved), void=tuple(void))

    def agreed(self, proposal: Proposal, situation: Situation, judged: Mapping[str, TierChange]) -> Agreed | None:
        """What to carry out now; None when it may not be any more: then the question is void, and why is in the journal."""
        fleet = _still_idle(proposal, _as_planned(proposal, situation.fleet, judged))
        now_situation = replace(situation, fleet=fleet)
        plan = at_its_time(proposal.question.plan, fleet).model_copy(update={"fleet_sha256": fleet.digest()})
        verdict = judged_by_guard(plan, now_situation)
        why = why_not_enough(proposal, self.policy)
        if why is None and not verdict.passed:
            why = "it no longer passes: " + "; ".join(f"{one.rule}: {one.why}" for one in verdict.failures)
        if why is not None:
            with suppress(Refused):  # time was faster: it is void either way
                note(self.hands.journal, proposal.id, EventKind.SUPERSEDE, why=why, clock=self.hands.clock)
            return None
        clock = self.hands.clock
        # by how much the wall clock was set since it was asked
        ahead = clock.now() - read(self.hands.journal, proposal.id, clock).seen_at
        agreement = ApprovalRecord(
            plan_sha256=plan.digest(),
            by=proposal.approved_by,
            at=max((one.at for one in proposal.agreements), default=proposal.since) + ahead,
            expires_at=proposal.expires_at + ahead,
        )
        return Agreed(proposal=proposal, plan=plan, verdict=verdict, situation=now_situation, agreement=agreement)

    def take(self, evacuation: str) -> None:
        """From here on it is carried out, once. Raises AlreadyDecided when it may not be any more."""
        taken = note(self.hands.journal, evacuation, EventKind.EXECUTE, why="", clock=self.hands.clock)
        tell_wait(taken, self.hands.journal)

    def give_up(self, evacuation: str, why: str) -> None:
        """It was taken, and could not begin."""
        note(
            self.hands.journal,
            evacuation,
            EventKind.FAIL,
            why=f"nothing was changed: {why}",
            clock=self.hands.clock,
        )

    def has_new_answer(self) -> bool:
        """Whether something was approved that no pass was made for yet, and nothing else is going on. Cheap."""
        journal = self.hands.journal
        approved = {
            each.id
            for each in open_questions(journal, self.hands.clock)
            if each.state is ApprovalState.APPROVED and not begins_later(each, self.hands.clock.now())
        }
        new = approved - self._hurried
        if not new or unfinished(journal):
            return False
        self._hurried = approved
        return True

    def _why_not_wanted(
        self, proposal: Proposal, fleet: Fleet, judged: Mapping[str, TierChange]
    ) -> tuple[EventKind, str] | None:
        question = proposal.question
        for node, occasion in question.occasions.items():
            one = judged.get(node)
            if one is None:
                return EventKind.WITHDRAW, f"node {node} is not in the fleet any more"
            if occasion is Occasion.ASKED:
                continue
            if one.now.tier is Tier.WATCH and one.warranted.known:
                return EventKind.WITHDRAW, f"node {node} has recovered: {one.now.why}"
            if occasion is Occasion.DRAIN and one.warranted.known and one.warranted.tier is Tier.EVACUATE:
                return EventKind.SUPERSEDE, f"node {node} has to be evacuated now: {one.warranted.why}"
        if FIELD in question.verdict.approval_why and all(
            judged[node].uncorroborated is None for node in question.occasions
        ):
            return EventKind.SUPERSEDE, "more speaks against it now than when people were asked"
        tolerated = self.policy.approval.tolerated_drift
        why = why_void(question, _as_planned(proposal, fleet, judged), policy_digest(self.policy), tolerated)
        return (EventKind.SUPERSEDE, why) if why is not None else None


def agreed_question(hands: Resources, evacuation: str) -> Proposal | None:
    """The question that an evacuation was agreed to by; None: policy, or somebody at a terminal, agreed."""
    try:
        return read(hands.journal, evacuation, hands.clock)
    except BadInput:
        return None


def asked_line(proposal: Proposal, policy: Policy) -> str:
    """One line for whoever is to answer."""
    question = proposal.question
    nobody = why_nobody_can(question, policy.approval)
    nodes = ", ".join(visible(node, 60) for node in question.occasions)
    how = f"`lifeboat show {question.id}`, then approve, reject or snooze it until {moment(proposal.expires_at)}"
    then = "; then it goes ahead" if proposal.goes_ahead_unanswered else ""
    return f"{question.id} asks whether to move {counted(len(question.plan.moves), 'vm')} off {nodes}: {nobody or how}{then}"


def waiting_line(proposal: Proposal) -> str:
    """One line for who waits for the answer, or for the time at which it begins."""
    starts = proposal.question.plan.starts_at
    begins = f"; it begins at {moment(starts)}" if starts is not None else ""
    return f"{proposal.id} is {described(proposal)}, until {moment(proposal.expires_at)}{begins}"


def _still_idle(proposal: Proposal, fleet: Fleet) -> Fleet:
    """No look tells which guests are idle: what was told when it was asked holds for as long as the question."""
    if proposal.question.plan.at_leisure is not AtLeisure.ARCHIVE_IDLE:
        return fleet
    then = proposal.question.touched.vm_by_uuid
    vms = (
        vm.model_copy(update={"idle_since": then[vm.uuid].idle_since}) if vm.uuid in then else vm for vm in fleet.vms
    )
    return fleet.model_copy(update={"vms": tuple(vms)})


def _as_planned(proposal: Proposal, fleet: Fleet, judged: Mapping[str, TierChange]) -> Fleet:
    """The fleet as the planner would be shown it for these nodes now."""
    sources = set(proposal.question.plan.evacuating)
    if not all(node.name in judged for node in fleet.nodes):
        return fleet
    return with_unschedulable(fleet, unschedulable(fleet, dict(judged)) - sources)


def _changes(before: Proposal, plan: Plan) -> tuple[str, ...]:
    why = before.last.why if before.last is not None else ""
    first = before.question.plan
    if before.state not in LIVE and before.begun:  # it was carried out: only what it left to do is asked about
        mine = {action.vm for action in plan.moves}
        first, plan = (
            each.model_copy(update={"actions": tuple(a for a in each.actions if a.vm in mine)})
            for each in (first, plan)
        )
        why = why or f"{before.id} left it where it was"
    lines = plan_changes(first, plan) or ["every vm is dealt with as in the plan before"]
    return tuple([why, *lines] if why else lines)


def planning_policy(proposal: Proposal, policy: Policy) -> Policy:
    """The policy that an agreed plan was made by."""
    return drain_only_policy(policy) if Occasion.DRAIN in proposal.question.occasions.values() else policy
