"""One pass of the loop: observe → assess → plan → guard → approve → execute → verify."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from agent.actions.resources import Resources
from agent.approve.approval import bind_to_fleet, require_valid_approval
from agent.approve.proposals import read
from agent.assess.monitor import Look
from agent.assess.tiers import TierChange, Tiers, drain_only_policy, record_changes, unschedulable, with_unschedulable
from agent.execute.evacuation import CarryOut, Watcher, execute, new_evacuation_id
from agent.execute.withdrawal import WithdrawalWatch
from agent.plan.solver import Planner
from agent.plan.solver import plan as solve
from agent.service.follow_up import ROUNDS
from agent.service.leave_alone import NOBODY_AGREED, why_leave_alone
from agent.service.migration_blockers import ask_migration_blockers
from agent.service.pass_result import (
    PassOutcome,
    PassResult,
    gone_silent,
    joined_results,
    nothing_begun,
    what_it_came_to,
)
from agent.service.people.questions import Questions, Review, asked_line, planning_policy, waiting_line
from agent.service.put_off import first_part
from agent.service.replan import left_to_try, replanned
from agent.service.shadow import note_only
from agent.service.steps import agreed_at_once, judged_by_guard, verified
from agent.service.upkeep.hindsight import HindsightKeeper
from agent.service.witnesses import Unheard, without_asking
from agent.state.brake import OtherMovers, trip_if_due
from agent.state.refusals import fleet_as_known
from agent.state.requests import unfinished
from agent.state.trail import append_step, planned_now, raised_in, trace_of
from models.approval import ApprovalRecord, ApprovedPlan
from models.errors import LifeboatError, Refused
from models.evacuation import Evacuation, RiskSample, count_outcomes
from models.fleet import Fleet
from models.plan import Approval, Plan, Verdict
from models.policy.approvers import Occasion
from models.policy.policy import Autonomy, Policy
from models.proposals.states import Proposal
from models.risk.risk import Risk
from models.risk.risk_level import RiskLevel
from models.risk.tier import Tier
from models.situation import Situation
from models.text import listed, visible
from tools.ports.approval import Approver
from tools.ports.journal import Record
from tools.ports.records.evacuations import EvacuationApproved, EvacuationRefused, EvacuationVerified
from tools.ports.records.nodes import CooldownBegun
from tools.tracing.spans import span
from tools.tracing.trace import follow, tracing, within_trace

_TIMELINE_MOST = 20_000
"""samples kept for reports: hours of a small fleet, minutes of a large one"""


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
    hindsight: HindsightKeeper | None = None
    """writes down what decisions are looked back on by, and what came of them; None: nobody does"""
    look_again: timedelta | None = None
    """how often to look while an evacuation runs, to withdraw what is not wanted any more; None: never"""
    hand_over: Callable[[Fleet, Collection[str]], str | None] = lambda _fleet, _nodes: None
    """told which nodes are about to be left: what another lifeboat does instead of this one; None: this one goes on"""
    about: tuple[str, ...] = ()
    """the nodes that the newest pass was to empty, as far as it came"""
    timeline: list[RiskSample] = field(default_factory=list[RiskSample])
    _others: OtherMovers = field(default_factory=OtherMovers)
    _tiers: Tiers | None = None
    _cordoned: frozenset[str] = frozenset()
    _unheard: Unheard = field(default_factory=Unheard)
    _idle: tuple[object, ...] | None = None
    """what the last plan came to, where it moved nothing or the guard refused it"""

    def forget(self) -> None:
        """What was remembered between passes: another lifeboat has acted since, and the journal knows better."""
        self._tiers, self._idle, self._cordoned, self._others = None, None, frozenset(), OtherMovers()

    def tiers(self) -> dict[str, Tier]:
        """Node → the tier it is in after the last look; empty before one."""
        return {node: held.tier for node, held in dict(self._tiers.held).items()} if self._tiers is not None else {}

    @span("look")
    def observe(self) -> tuple[Fleet, list[Risk]]:
        """A look, with what the journal remembers of earlier tries and moves. Raises as `look`."""
        fleet, risks = self.look()
        now = self.hands.clock.now()
        if (told := self._others.notice(fleet, self.hands.journal, now)) is not None:
            self.watcher.shielded().on_message(told)
        return fleet_as_known(fleet, self.hands.journal, self.policy, now), risks

    @within_trace()
    def run_once(self) -> PassResult:
        """Look once, and act when policy says so.

        Raises SourceError when the fleet or the telemetry can't be read: unknown, so nothing is done.
        """
        started_at, self.about = self.hands.clock.now(), ()
        fleet, risks = self.observe()
        now = self.hands.clock.now()
        situation = Situation(fleet=fleet, risks=risks, policy=self.policy, now=now)
        self.timeline += [RiskSample(time=now, node=risk.node, probability=risk.probability) for risk in risks]
        del self.timeline[:-_TIMELINE_MOST]
        if self.hindsight is not None:
            self.hindsight.after_look(situation)
        if self._tiers is None:
            self._tiers = Tiers.restored(self.policy, self.hands.journal, now)
        self._unheard.hear(situation, self._tiers)
        judged = self._tiers.judge(situation)
        changes = tuple(record_changes(judged.values(), self.hands.journal, now, risks))
        so_far = PassResult(
            outcome=PassOutcome.IDLE, why="no node has to be evacuated", started_at=started_at, situation=situation,
            tier_changes=changes,
        )  # fmt: skip
        going_on = unfinished(self.hands.journal)
        shadow = self.policy.autonomy is Autonomy.SHADOW
        review = self.questions.review(fleet, judged) if self.questions is not None and not shadow else Review()
        if handed := self.hand_over(fleet, review.to_leave(judged)):
            return replace(so_far, outcome=PassOutcome.WAITING, why=handed)
        if (halted := self.hands.why_halted()) is not None:
            return replace(so_far, outcome=PassOutcome.HALTED, why=f"{halted}: nothing is begun until it is removed")
        if not going_on:
            for proposal in review.approved:
                self.about = proposal.question.plan.evacuating
                result = self._carry_out_approved(proposal, situation, judged, started_at)
                if result is not None:
                    self._cool_down(proposal.question.plan.evacuating, planning_policy(proposal, self.policy), result)
                    return replace(result, tier_changes=changes)
                void = read(self.hands.journal, proposal.id, self.hands.clock)
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
        follow(*raised_in(wanted, self.hands.journal, now))
        self.about = wanted
        if not wanted:
            waiting = (*review.waiting, *review.approved)
            why = "; ".join(map(waiting_line, waiting))
            return replace(so_far, outcome=PassOutcome.WAITING, why=why) if waiting else so_far
        if going_on:
            why = f"evacuation {going_on[-1]} is not over: see `lifeboat status`"
            return replace(so_far, outcome=PassOutcome.WAITING, why=f"{', '.join(wanted)} should be left, and {why}")
        self._cordoned = unschedulable(fleet, judged) - set(wanted)
        if self._cordoned:
            situation = replace(situation, fleet=with_unschedulable(fleet, self._cordoned))
        asked = ask_migration_blockers(self.hands, situation.fleet, wanted, self.policy)
        situation = replace(situation, fleet=self.hands.with_loads(asked, wanted))
        plan = self._plan(replace(situation, policy=policy), wanted)
        verdict = judged_by_guard(plan, situation)
        if shadow:
            self._tiers.acted(wanted, now)
            return note_only(self.hands, plan, verdict, situation, so_far)
        planning = policy
        if verdict.passed and verdict.approval is Approval.HUMAN and occasion is Occasion.EVACUATE:
            at_once = without_asking(situation, wanted)
            plan, verdict, planning = at_once or (plan, verdict, policy)
        trip_if_due(
            verdict, self.hands.journal, self.policy, now, plan=plan, risky=situation.at_level(RiskLevel.TRIGGERED)
        )
        plan, verdict = first_part(plan, verdict, situation)
        if self.questions is not None and plan.moves and verdict.passed and verdict.approval is Approval.HUMAN:
            before = next((each for each in review.void if set(each.question.plan.evacuating) & set(wanted)), None)
            self._tiers.acted(wanted, now)
            result = self._ask(self.questions, plan, verdict, situation, so_far, occasion, before)
            return replace(result, tier_changes=changes)
        result = self.execute_plan(plan, verdict, situation, started_at, tiers=self._tiers, planning=planning)
        self._cool_down(plan.evacuating, policy, result)
        return replace(result, tier_changes=changes)

    @span("plan")
    def _plan(self, situation: Situation, wanted: tuple[str, ...]) -> Plan:
        """The planner's; where the last pass found nothing to move and there still is nothing, the solver's says so."""
        if self._idle is not None and not (cheap := solve(situation, wanted, optimise=False)).moves:
            return cheap
        return self.planner(situation, wanted)

    def _cool_down(self, nodes: Collection[str], policy: Policy, result: PassResult) -> None:
        """Leave these nodes alone for a while, where there is a reason to."""
        assert self._tiers is not None
        journal, now, stopping = self.hands.journal, self.hands.clock.now(), self.watcher.cancelled.is_set()
        why = why_leave_alone(result, nodes, policy, journal, now, cordoned=self._cordoned, stopping=stopping)
        if why == NOBODY_AGREED:
            self._unheard.remember(result.situation, nodes)
        if why:
            self._tiers.acted(nodes, now)
            journal.append(CooldownBegun(nodes=tuple(nodes), why=why), now=now)
        else:
            self._tiers.clear_cooldown(nodes)

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
        self._record(planned_now(plan, verdict, situation.risks, cools_down=True), evacuation)
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
        follow(trace_of(self.hands.journal, proposal.id))
        by_risk = Occasion.ASKED not in proposal.question.occasions.values()
        self._cordoned = unschedulable(situation.fleet, dict(judged)) - set(agreed.plan.evacuating)
        tiers = self._tiers if by_risk else None
        result = self._run(
            agreed.plan, agreed.verdict, agreed.situation, started_at, proposal.id, tiers, agreement=agreed.agreement
        )
        return self._go_on(result, tiers, planning_policy(proposal, self.policy))

    @within_trace()
    def execute_plan(
        self,
        plan: Plan,
        verdict: Verdict,
        situation: Situation,
        started_at: datetime,
        *,
        tiers: Tiers | None = None,
        planning: Policy | None = None,
    ) -> PassResult:
        """Approve a judged plan, carry it out and verify; then go on with another kind of move, or another target, for vms whose
        move was refused for good. A refusal is in the result, not raised.

        `tiers`: withdraw what has not begun when a node recovers that the plan leaves for its risk; None: never for that.
        `planning`: the policy that it was planned by, where that is not the loop's own.
        """
        plan, verdict = bind_to_fleet(*first_part(plan, verdict, situation), situation.fleet)
        idle = what_it_came_to(plan, verdict, self.hands.clock.now())
        repeated = idle is not None and idle == self._idle
        self._idle = idle
        evacuation = new_evacuation_id(self.hands)
        if not repeated:
            self._record(planned_now(plan, verdict, situation.risks), evacuation)
        ran = self._run(plan, verdict, situation, started_at, evacuation, tiers, repeated=repeated)
        return self._go_on(ran, tiers, planning or self.policy)

    def _go_on(self, result: PassResult, tiers: Tiers | None, policy: Policy) -> PassResult:
        """What could not be done in the way that was planned, done in another. `policy`: the one it is planned by."""
        last = result
        for _ in range(ROUNDS):
            if (following := self._follow_up(last, tiers, policy)) is None:
                break
            result, last = joined_results(result, following), following
        return result

    def _follow_up(self, before: PassResult, tiers: Tiers | None, policy: Policy) -> PassResult | None:
        """Another try at what the plan before could not do; None when there is nothing to try. What goes past what was agreed to
        is put to people, and acted on by a later pass."""
        done = before.evacuation
        if done is None or self.watcher.cancelled.is_set() or not left_to_try(done, self.hands.journal):
            return None
        started_at = self.hands.clock.now()
        try:
            fleet, risks = self.observe()
        except LifeboatError as error:
            self.watcher.shielded().on_message(f"nothing else was tried, the fleet could not be looked at: {error}")
            return None
        known = with_unschedulable(fleet, self._cordoned)
        situation = replace(before.situation, fleet=known, risks=risks, now=self.hands.clock.now())
        following = replanned(before, situation, policy, self.hands)
        if following is None:
            return None
        plan, verdict = following.plan, following.verdict
        if following.past_agreement and self.questions is not None:
            by_risk = Occasion.EVACUATE if policy is self.policy else Occasion.DRAIN
            so_far = replace(before, evacuation=None, verification=None, fleet_after=None)
            occasion, first = Occasion.ASKED if plan.asked else by_risk, following.first_question
            return self._ask(self.questions, plan, verdict, situation, so_far, occasion, first)
        evacuation = new_evacuation_id(self.hands)
        self._record(planned_now(plan, verdict, risks), evacuation)
        names = listed([visible(action.vm_name, 60) for action in plan.moves])
        self.watcher.shielded().on_message(f"a move of {names} came to nothing: another is tried")
        return self._run(plan, verdict, situation, started_at, evacuation, tiers, covered=following.agreement)

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
        covered: ApprovalRecord | None = None,
        repeated: bool = False,
    ) -> PassResult:
        """`agreement`: what people answered to the question of that id; `covered`: what they agreed to before, which covers this
        plan; None: the approver is asked now."""
        fleet = situation.fleet
        now = self.hands.clock.now()
        so_far = nothing_begun(plan, verdict, situation, started_at, now, repeated=repeated)
        if not plan.moves or so_far.outcome is PassOutcome.WAITING:
            return so_far
        try:
            with tracing(evacuation=evacuation):
                done = self._carry_out(plan, verdict, situation, evacuation, tiers, agreement, covered)
        except Refused as error:
            if not repeated:
                self._record(EvacuationRefused(code=error.code, why=str(error)), evacuation)
            return replace(so_far, outcome=PassOutcome.REFUSED, why=str(error), refusal=error)
        verification = verified(done, fleet, self.hands)
        self._record(EvacuationVerified.of(verification, plan), evacuation)
        fleet_after = self._fleet_after()
        silent = gone_silent(fleet, fleet_after) if fleet_after is not None else ()
        return replace(
            so_far,
            outcome=PassOutcome.EVACUATED,
            why=f"evacuation {evacuation}: {done.outcome}: {count_outcomes(done, fleet)}",
            evacuation=done.model_copy(update={"risk_timeline": tuple(self.timeline), "nodes_lost": silent}),
            fleet_after=fleet_after,
            verification=verification,
        )

    def _fleet_after(self) -> Fleet | None:
        """None when it can't be told: how the evacuation ended must not be hidden by a Prometheus that is gone now."""
        try:
            return self.observe()[0]
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
        covered: ApprovalRecord | None,
    ) -> Evacuation:
        self.hands.require_not_halted()
        clock, fleet = self.hands.clock, situation.fleet
        agreement = answered or covered or agreed_at_once(plan, verdict, self.approver, self.policy, clock)
        self._record(EvacuationApproved(**dict(agreement)), evacuation)
        watch = WithdrawalWatch(
            plan, situation, self.hands, self.look, evacuation=evacuation, tiers=tiers, on_message=self.watcher.on_message,
        )  # fmt: skip
        # a person takes time, and so does a planner: the fleet must still be the one that was agreed about
        seen, risks = self.observe()
        fleet = with_unschedulable(seen, self._cordoned)
        if agreement.by != "policy":  # the risks that policy agreed on are seconds old
            watch.take(seen, risks)
        require_valid_approval(agreement, plan, fleet, now=clock.now())
        with watch.steering(self.watcher, self.look_again) as watcher:
            approved = ApprovedPlan(plan=plan, fleet=fleet, verdict=verdict, policy=self.policy, agreement=agreement)
            if answered is None or self.questions is None:
                return self.carry_out(approved, self.hands, evacuation=evacuation, watcher=watcher)
            self.questions.take(evacuation)
            try:
                return self.carry_out(approved, self.hands, evacuation=evacuation, watcher=watcher)
            except Refused as error:
                self.questions.give_up(evacuation, error.message)
                raise

    def _record(self, record: Record, evacuation: str) -> None:
        append_step(self.hands.journal, record, now=self.hands.clock.now(), evacuation=evacuation)
