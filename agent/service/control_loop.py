"""One pass of the loop: observe → assess → plan → guard → approve → execute → verify."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from agent.actions.resources import Resources
from agent.approve.approval import approve, bind_to_fleet, require_valid_approval
from agent.approve.proposals import read
from agent.assess.monitor import Look
from agent.assess.tiers import TierChange, Tiers, drain_only_policy, record_changes, unschedulable, with_unschedulable
from agent.execute.evacuation import CarryOut, Watcher, execute, new_evacuation_id
from agent.execute.withdrawal import WithdrawalWatch
from agent.guard.judge import judge
from agent.plan.solver import Planner
from agent.service.questions import Questions, Review, asked_line
from agent.state.requests import unfinished
from agent.verify import verify
from models.approval import ApprovalRecord, ApprovedPlan
from models.approvers import Occasion
from models.errors import Busy, LifeboatError, Refused
from models.evacuation import Evacuation, NodeLoss, RiskSample
from models.fleet import Fleet, NodeState
from models.plan import Action, Approval, Plan, Verdict
from models.policy import Policy
from models.proposals.states import Proposal, described
from models.situation import Situation
from models.text import moment
from models.tier import Tier
from models.verification import Verification
from tools.ports.approval import Approver
from tools.ports.journal import Record
from tools.ports.records.evacuations import (
    EvacuationApproved,
    EvacuationPlanned,
    EvacuationRefused,
    EvacuationVerified,
)

_TIMELINE_MOST = 20_000
"""samples kept for reports: hours of a small fleet, minutes of a large one"""


class PassOutcome(StrEnum):
    IDLE = "quiet"
    """no node has to be evacuated"""
    WAITING = "waiting"
    """a node should be evacuated, and an evacuation that is not over has to end first, or a person has not answered yet"""
    ASKED = "asked"
    """people were asked whether to carry a plan out; their answer is waited for by nobody, and acted on when it is there"""
    REFUSED = "refused"
    """the guard or the approver said no; nothing was changed"""
    NOTHING_TO_MOVE = "nothing-to-move"
    """a node is at risk and holds no vm that could be moved"""
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


@dataclass(kw_only=True)
class ControlLoop:
    """What a pass needs, and what it remembers between passes: tiers, cooldowns and the run of the risk."""

    hands: Resources
    policy: Policy
    look: Look
    """observe and assess; raises SourceError when it can't"""
    planner: Planner
    approver: Approver
    watcher: Watcher = field(default_factory=Watcher)
    carry_out: CarryOut = execute
    questions: Questions | None = None
    """what people have to agree to is asked there and carried out once they have; None: the approver is asked at once"""
    look_again: timedelta | None = None
    """how often to look while an evacuation runs, to withdraw what is not wanted any more; None: never"""
    timeline: list[RiskSample] = field(default_factory=list[RiskSample])
    _tiers: Tiers | None = None
    _cordoned: frozenset[str] = frozenset()

    def run_once(self) -> PassResult:
        """Look once, and act when policy says so.

        Raises SourceError when the fleet or the telemetry can't be read: unknown, so nothing is done.
        """
        started_at = self.hands.clock.now()
        fleet, risks = self.look()
        now = self.hands.clock.now()
        situation = Situation(fleet=fleet, risks=risks, policy=self.policy, now=now)
        self.timeline += [RiskSample(time=now, node=risk.node, probability=risk.probability) for risk in risks]
        del self.timeline[:-_TIMELINE_MOST]
        if self._tiers is None:
            self._tiers = Tiers.restored(self.policy, self.hands.journal, now)
        judged = self._tiers.judge(situation)
        changes = tuple(record_changes(judged.values(), self.hands.journal, now))
        so_far = PassResult(
            outcome=PassOutcome.IDLE,
            why="no node has to be evacuated",
            started_at=started_at,
            situation=situation,
            tier_changes=changes,
        )
        going_on = unfinished(self.hands.journal)
        review = self.questions.review(fleet, judged) if self.questions is not None else Review()
        if not going_on:
            for proposal in review.approved:
                result = self._carry_out_approved(proposal, situation, judged, started_at)
                if result is not None:
                    if result.refusal is not None:  # nothing was done: no reason to leave its nodes alone
                        self._tiers.clear_cooldown(proposal.question.plan.evacuating)
                    return replace(result, tier_changes=changes)
                void = read(self.hands.journal, proposal.id, now)
                rest = tuple(each for each in review.approved if each.id != proposal.id)
                review = replace(review, approved=rest, void=(*review.void, void))
        if review.void:
            self._tiers.clear_cooldown(node for each in review.void for node in each.question.plan.evacuating)
            judged = self._tiers.judge(situation)
        acts = {node: one.act for node, one in judged.items() if node not in review.nodes}
        wanted, policy = tuple(node for node, act in acts.items() if act is Tier.EVACUATE), self.policy
        occasion = Occasion.EVACUATE
        if not wanted:  # a drain has time: it waits until nothing urgent is left
            wanted = tuple(node for node, act in acts.items() if act is Tier.DRAIN)
            policy, occasion = drain_only_policy(self.policy), Occasion.DRAIN
        if not wanted:
            waiting = (*review.waiting, *review.approved)
            if not waiting:
                return so_far
            return replace(so_far, outcome=PassOutcome.WAITING, why="; ".join(map(_waiting_line, waiting)))
        if going_on:
            why = (
                f"{', '.join(wanted)} should be left, and evacuation {going_on[-1]} is not over: see `lifeboat status`"
            )
            return replace(so_far, outcome=PassOutcome.WAITING, why=why)
        self._cordoned = unschedulable(fleet, judged) - set(wanted)
        if self._cordoned:
            situation = replace(situation, fleet=with_unschedulable(fleet, self._cordoned))
        plan = self.planner(situation if policy is self.policy else replace(situation, policy=policy), wanted)
        self._tiers.acted(wanted, now)
        verdict = judge(plan, situation)
        if self.questions is not None and plan.moves and verdict.passed and verdict.approval is Approval.HUMAN:
            before = next((each for each in review.void if set(each.question.plan.evacuating) & set(wanted)), None)
            result = self._ask(self.questions, plan, verdict, situation, so_far, occasion, before)
            return replace(result, tier_changes=changes)
        result = self.execute_plan(plan, verdict, situation, started_at, tiers=self._tiers)
        if isinstance(result.refusal, Busy):
            self._tiers.clear_cooldown(wanted)  # it is not this node's fault, and it may not have the time
        return replace(result, tier_changes=changes)

    def _ask(
        self,
        questions: Questions,
        plan: Plan,
        verdict: Verdict,
        situation: Situation,
        so_far: PassResult,
        occasion: Occasion,
        before: Proposal | None,
    ) -> PassResult:
        """Ask people, and go on: the answer is acted on by a later pass."""
        evacuation = new_evacuation_id(self.hands)
        self._record(EvacuationPlanned(plan=plan, verdict=verdict), evacuation)
        occasions = dict.fromkeys(plan.evacuating, occasion)
        asked = questions.ask(plan, verdict, situation, evacuation, occasions, before=before)
        return replace(
            so_far, outcome=PassOutcome.ASKED, why=asked_line(asked, self.policy), plan=plan, verdict=verdict,
            situation=situation,
        )  # fmt: skip

    def _carry_out_approved(
        self, proposal: Proposal, situation: Situation, judged: Mapping[str, TierChange], started_at: datetime
    ) -> PassResult | None:
        """None: it may not be carried out any more, and the question is closed."""
        assert self.questions is not None
        agreed = self.questions.agreed(proposal, situation, judged)
        if agreed is None:
            return None
        by_risk = Occasion.ASKED not in proposal.question.occasions.values()
        self._cordoned = unschedulable(situation.fleet, dict(judged)) - set(agreed.plan.evacuating)
        return self._run(
            agreed.plan, agreed.verdict, agreed.situation, started_at, proposal.id, self._tiers if by_risk else None,
            agreement=agreed.agreement,
        )  # fmt: skip

    def execute_plan(
        self,
        plan: Plan,
        verdict: Verdict,
        situation: Situation,
        started_at: datetime,
        *,
        tiers: Tiers | None = None,
    ) -> PassResult:
        """Approve a judged plan, carry it out and verify. A refusal is in the result, not raised.

        `tiers`: withdraw what has not begun when a node recovers that the plan leaves for its risk; None: never for that.
        """
        plan, verdict = bind_to_fleet(plan, verdict, situation.fleet)
        evacuation = new_evacuation_id(self.hands)
        self._record(EvacuationPlanned(plan=plan, verdict=verdict), evacuation)
        return self._run(plan, verdict, situation, started_at, evacuation, tiers)

    def _run(
        self,
        plan: Plan,
        verdict: Verdict,
        situation: Situation,
        started_at: datetime,
        evacuation: str,
        tiers: Tiers | None,
        *,
        agreement: ApprovalRecord | None = None,
    ) -> PassResult:
        """`agreement`: what people answered to the question of that id; None: the approver is asked now."""
        fleet = situation.fleet
        so_far = PassResult(
            outcome=PassOutcome.NOTHING_TO_MOVE,
            why=f"nothing on {', '.join(plan.evacuating) or 'any node'} can be moved, or has to be",
            started_at=started_at,
            situation=situation,
            plan=plan,
            verdict=verdict,
        )
        if not plan.moves:
            return so_far
        try:
            done = self._carry_out(plan, verdict, situation, evacuation, tiers, agreement)
        except Refused as error:
            self._record(EvacuationRefused(code=error.code, why=str(error)), evacuation)
            return replace(so_far, outcome=PassOutcome.REFUSED, why=str(error), refusal=error)
        verification = verify(done, fleet, self.hands)
        self._record(EvacuationVerified(checks=verification), evacuation)
        fleet_after = self._fleet_after()
        silent = _gone_silent(fleet, fleet_after) if fleet_after is not None else ()
        return replace(
            so_far,
            outcome=PassOutcome.EVACUATED,
            why=f"evacuation {evacuation}: {done.outcome}",
            evacuation=done.model_copy(update={"risk_timeline": tuple(self.timeline), "nodes_lost": silent}),
            fleet_after=fleet_after,
            verification=verification,
        )

    def _fleet_after(self) -> Fleet | None:
        """None when it can't be told: the evacuation is over, and how it ended must not be hidden by a Prometheus that is
        gone now."""
        try:
            return self.look()[0]
        except LifeboatError as error:
            self.watcher.shielded().on_message(f"the fleet could not be looked at afterwards: {error}")
            return None

    def _carry_out(
        self,
        plan: Plan,
        verdict: Verdict,
        situation: Situation,
        evacuation: str,
        tiers: Tiers | None,
        answered: ApprovalRecord | None,
    ) -> Evacuation:
        clock, fleet = self.hands.clock, situation.fleet
        agreement = answered or approve(
            plan, verdict, self.approver, now=clock.now(), expires_after=self.policy.approval.expires_after
        )
        self._record(EvacuationApproved(**dict(agreement)), evacuation)
        watch = WithdrawalWatch(
            plan,
            situation,
            self.hands,
            self.look,
            evacuation=evacuation,
            tiers=tiers,
            on_message=self.watcher.on_message,
        )
        # a person takes time, and so does a planner: the fleet must still be the one that was agreed about
        seen, risks = self.look()
        fleet = with_unschedulable(seen, self._cordoned)
        if agreement.by != "policy":  # the risks that policy agreed on are seconds old
            watch.take(seen, risks)
        require_valid_approval(agreement, plan, fleet, now=clock.now())
        with self._looking(watch) as watcher:
            approved = ApprovedPlan(plan=plan, fleet=fleet, verdict=verdict, policy=self.policy, agreement=agreement)
            if answered is None or self.questions is None:
                return self.carry_out(approved, self.hands, evacuation=evacuation, watcher=watcher)
            self.questions.take(evacuation)
            try:
                return self.carry_out(approved, self.hands, evacuation=evacuation, watcher=watcher)
            except Refused as error:
                self.questions.give_up(evacuation, error.message)
                raise

    @contextmanager
    def _looking(self, watch: WithdrawalWatch) -> Generator[Watcher]:
        """The watcher, and what is withdrawn while the evacuation runs."""

        def withdraw(action: Action) -> str | None:
            return self.watcher.should_withdraw(action) or watch.withdraw(action)

        watcher = replace(self.watcher, should_withdraw=withdraw)
        if self.look_again is None:
            yield watcher
            return
        with watch.looking(self.look_again):
            yield watcher

    def _record(self, record: Record, evacuation: str) -> None:
        self.hands.journal.append(record, now=self.hands.clock.now(), evacuation=evacuation)


def _waiting_line(proposal: Proposal) -> str:
    return f"{proposal.id} is {described(proposal)}, until {moment(proposal.expires_at)}"


def _gone_silent(before: Fleet, after: Fleet) -> tuple[NodeLoss, ...]:
    """Nodes that answered before and don't any more."""
    answered = {node.name for node in before.nodes if node.state is not NodeState.OFFLINE}
    return tuple(
        NodeLoss(node=node.name, at=after.observed_at, detail="did not answer afterwards")
        for node in after.nodes
        if node.state is NodeState.OFFLINE and node.name in answered
    )
