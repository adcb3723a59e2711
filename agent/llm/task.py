"""One plan to be made by a language model: the facts it may know, the solver's answer, and what comes of its own."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from agent.guard.judge import judge
from agent.llm.alternatives import Alternative, AlternativeName, alternatives
from agent.llm.draft import DraftDecision, PlanDraft
from agent.llm.grounds import most_loss_ratio
from agent.llm.obstacles import obstacles_of
from agent.plan import solver
from agent.plan.capacity import free_capacity
from agent.plan.options import options_of, possible_targets
from agent.plan.simulate import simulate
from agent.plan.timing.waves import NotExecutable
from models.base import Value
from models.knowledge import Knowledge
from models.plan import Action, ActionKind, Comparison, OtherChoice, Plan, PlannedBy
from models.risk.signal import Component, Signal
from models.situation import Situation
from models.text import visible
from tools.llm.fact_sheet import DecisionOnSheet, FactSheet, PlanOnSheet, ProposedPlan, fact_sheet
from tools.llm.fleet_facts import FleetFacts, FreeRoom, UnknownAlias, Way
from tools.llm.surroundings import Surroundings
from tools.signals import load_catalogue

REASON_CHARACTERS = 160
NOTE_CHARACTERS = 300
FUTURES = 200
"""imagined in one answer of `simulate_plan`"""


class DraftVerdict(Value):
    """What would become of a draft."""

    passes: bool
    """the guard's answer"""
    broken_rules: tuple[str, ...]
    expected_loss: float
    solver_expected_loss: float
    most_expected_loss: float
    """a plan that is expected to lose more is dropped for the solver's"""


class DraftSimulation(Value):
    """A draft in imagined futures, beside doing nothing. Losses are weighted as expected losses are."""

    futures: int
    vms: int
    lost_on_average: float
    lost_if_nothing_is_done: float
    over_after_seconds: float | None
    """in half of the futures; None: nothing moves"""
    over_after_seconds_at_worst: float | None
    """in 95 of 100"""


class PlanTask:
    """One plan to be made: the facts, the solver's answer to it, and what comes of anybody else's."""

    def __init__(
        self, situation: Situation, by_solver: Plan, asked: Collection[str], knowledge: Knowledge | None = None
    ) -> None:
        """`knowledge`: what is known besides; None: nothing."""
        self.knowledge = knowledge or Knowledge()
        self._situation = situation
        self._by_solver = by_solver
        self._asked = asked
        self._made: dict[object, Plan] = {}
        self.facts = facts_for(situation, by_solver.evacuating, self.knowledge, asked)
        self.surroundings = Surroundings(situation, self.knowledge, self.facts, _catalogue())

    @cached_property
    def alternatives(self) -> tuple[Alternative, ...]:
        """The solver's plan first."""
        return alternatives(self._situation, self._by_solver, self.knowledge, self._asked)

    @property
    def words(self) -> frozenset[str]:
        """Closed words that answers hold besides those of `FleetFacts`."""
        return self.surroundings.words() | frozenset(AlternativeName)

    def question(self) -> str:
        """The first message of a conversation: the nodes to empty, by alias, and the plans to choose from."""
        nodes = [self.facts.nodes.alias(name) for name in self._by_solver.evacuating]
        counted = [{"node": node, "vms": len(self.facts.vms_on_node(node).vms)} for node in nodes]
        plans = [plan.model_dump(mode="json") for plan in self._plans()]
        asked: dict[str, Any] = {
            "nodes_to_be_emptied": counted,
            "solver_plan": self._solver_plan().model_dump(mode="json"),
            "alternatives": plans[1:],
        }
        return json.dumps(asked)

    def vm_names(self) -> dict[str, str]:
        """vm's alias → its name, for those who read what was said."""
        by_uuid = self._situation.fleet.vm_by_uuid
        return {alias: by_uuid[uuid].name for alias, uuid in self.facts.vms.known().items()}

    def sheet(self) -> FactSheet:
        """All of it, for one answer."""
        return fact_sheet(self.facts, self.surroundings, self._by_solver.evacuating, self._solver_plan(), self._plans())

    def assemble(self, draft: PlanDraft, by: PlannedBy) -> Plan:
        """The draft as a plan in real names. Raises ValueError for a vm or node the model made up, or decided twice, and for a
        plan to start from that was not offered."""
        note = _in_real_names(draft.note, self.facts, NOTE_CHARACTERS)
        plan = self._plan(self._decided(draft), by.model_copy(update={"notes": note}))
        compared = _compared(plan, self._by_solver)
        notes = "; ".join(one for one in (plan.planned_by.notes, _in_one_line(plan, compared)) if one)
        told = plan.planned_by.model_copy(update={"notes": notes, "compared": compared})
        return plan.model_copy(update={"planned_by": told})

    def judge_plan(self, decisions: list[DraftDecision], start_from: AlternativeName | None = None) -> DraftVerdict:
        """What the guard and the loss model say of these decisions, without carrying anything out. `start_from`: a plan of the
        first message that decides for the vms which have no decision here."""
        plan = self._tried(decisions, start_from)
        verdict = judge(plan, self._situation)
        return DraftVerdict(
            passes=verdict.passed,
            broken_rules=tuple(failure.rule for failure in verdict.failures),
            expected_loss=round(plan.expected_loss, 4),
            solver_expected_loss=round(self._by_solver.expected_loss, 4),
            most_expected_loss=round(self._by_solver.expected_loss * self.most_loss_ratio(plan), 4),
        )

    def most_loss_ratio(self, plan: Plan) -> float:
        """How many times the solver's expected loss this plan may come to."""
        shared = {
            self.facts.nodes.name(each.node)
            for name in self._by_solver.evacuating
            for each in self.surroundings.failing_together(self.facts.nodes.alias(name)).nodes
            if each.shared_parts
        }
        compared = _compared(plan, self._by_solver)
        return most_loss_ratio(plan, compared, self._situation, self.knowledge, shared)

    def simulate_plan(
        self, decisions: list[DraftDecision], start_from: AlternativeName | None = None
    ) -> DraftSimulation:
        """These decisions in 200 imagined futures: when the nodes fail, how fast moves are and which stall is drawn anew in each.
        Losses are weighted; times are seconds. `start_from` as for judge_plan."""
        plan = self._tried(decisions, start_from)
        futures = simulate(self._situation, plan, runs=FUTURES)
        by_name = {each.strategy: each for each in futures.strategies}
        mine = by_name["the plan"]
        return DraftSimulation(
            futures=futures.runs,
            vms=futures.vms,
            lost_on_average=mine.lost_weight_mean,
            lost_if_nothing_is_done=by_name["nothing"].lost_weight_mean,
            over_after_seconds=mine.finish_seconds.p50 if mine.finish_seconds else None,
            over_after_seconds_at_worst=mine.finish_seconds.p95 if mine.finish_seconds else None,
        )

    def _decided(self, draft: PlanDraft) -> list[solver.PlanDecision]:
        """The draft's decisions in real names; where it starts from another plan, that plan's for the vms it leaves out."""
        decided = _decisions(draft.decisions, self.facts, self._situation.now)
        if draft.start_from is None:
            return decided
        offered = {each.name: each.plan for each in self.alternatives}
        if draft.start_from not in offered:
            raise ValueError(f"no plan {draft.start_from.value} was offered")
        seen = {decision.vm for decision in decided}
        rest = [
            solver.PlanDecision(vm=action.vm, kind=action.kind, target=action.target, reason=action.reason)
            for action in offered[draft.start_from].actions
            if action.vm not in seen
        ]
        return [*decided, *rest]

    def _plan(self, decided: Sequence[solver.PlanDecision], by: PlannedBy) -> Plan:
        """Made once for the same decisions: what was tried is mostly what is answered in the end."""
        key = tuple((one.vm, one.kind, one.target, one.rank, one.not_before) for one in decided)
        if key not in self._made:
            try:
                made = solver.assemble(
                    self._situation, decided, self._by_solver.evacuating, PlannedBy(planner="llm"), asked=self._asked,
                    bound=self._by_solver.bound,
                )  # fmt: skip
            except NotExecutable:
                raise ValueError("no order of its moves carries the plan out") from None
            self._made[key] = made
        made = self._made[key]
        reasons = {one.vm: one.reason for one in decided if one.reason}
        actions = tuple(a.model_copy(update={"reason": reasons.get(a.vm, a.reason)}) for a in made.actions)
        notes = "; ".join(one for one in (by.notes, made.planned_by.notes) if one)
        return made.model_copy(update={"actions": actions, "planned_by": by.model_copy(update={"notes": notes})})

    def _tried(self, decisions: list[DraftDecision], start_from: AlternativeName | None) -> Plan:
        """The plan that a tool looks at. Raises UnknownAlias, with words that hold no real name."""
        draft = PlanDraft(decisions=decisions, start_from=start_from)
        try:
            return self._plan(self._decided(draft), PlannedBy(planner="llm"))
        except UnknownAlias:
            raise
        except ValueError:
            raise UnknownAlias(
                "these decisions do not fit together: a vm twice, a target missing or too many, or a plan never offered"
            ) from None

    def _plans(self) -> tuple[PlanOnSheet, ...]:
        theirs = {action.vm: action for action in self._by_solver.actions}
        own = [
            PlanOnSheet(
                name=each.name.value,
                expected_loss=round(each.plan.expected_loss, 4),
                passes=each.passes,
                differs=tuple(
                    self._on_sheet(action)
                    for action in each.plan.actions
                    if action.vm not in theirs
                    or (action.kind, action.target) != (theirs[action.vm].kind, theirs[action.vm].target)
                    if action.vm in self.facts.vms
                ),
            )
            for each in self.alternatives
        ]
        return tuple(own)

    def _on_sheet(self, action: Action) -> DecisionOnSheet:
        return DecisionOnSheet(
            vm=self.facts.vms.alias(action.vm),
            action=action.kind,
            target=self.facts.nodes.alias(action.target) if action.target else None,
        )

    def _solver_plan(self) -> ProposedPlan:
        return ProposedPlan(
            expected_loss=round(self._by_solver.expected_loss, 4),
            expected_loss_if_nothing_is_done=round(self._by_solver.expected_loss_if_nothing_is_done, 4),
            decisions=tuple(
                self._on_sheet(action) for action in self._by_solver.actions if action.vm in self.facts.vms
            ),
        )


def _compared(plan: Plan, by_solver: Plan) -> Comparison:
    """Both losses, and the vms for which the plans differ."""
    theirs = {action.vm: action for action in by_solver.actions}
    return Comparison(
        solver_expected_loss=by_solver.expected_loss,
        differs=tuple(
            OtherChoice(
                vm=action.vm,
                vm_name=action.vm_name,
                kind=action.kind,
                target=action.target,
                solver_kind=theirs[action.vm].kind,
                solver_target=theirs[action.vm].target,
                why=action.reason,
            )
            for action in plan.actions
            if action.vm in theirs
            and (action.kind, action.target) != (theirs[action.vm].kind, theirs[action.vm].target)
        ),
    )


def _in_one_line(plan: Plan, compared: Comparison) -> str:
    losses = f"expected loss {plan.expected_loss:.3g}, the solver's plan {compared.solver_expected_loss:.3g}"
    if not compared.differs:
        return f"the same moves as the solver's plan ({losses})"
    differs = [
        f"{visible(each.vm_name, 60)} ({_short(each.solver_kind, each.solver_target)} by the solver)"
        for each in compared.differs[:5]
    ]
    more = f" and {len(compared.differs) - 5} more" if compared.differs[5:] else ""
    return f"{losses}; differs for {', '.join(differs)}{more}"


def _short(kind: ActionKind, target: str | None) -> str:
    return f"{kind.value} to {visible(target, 60)}" if target else kind.value


def facts_for(
    situation: Situation, evacuating: Sequence[str], knowledge: Knowledge, asked: Collection[str] = ()
) -> FleetFacts:
    """The snapshot the model may ask about."""
    fleet, policy = situation.fleet, situation.policy
    targets = possible_targets(situation, evacuating)
    capacities = {node.name: free_capacity(node, fleet, policy) for node in targets}
    leaving = [(vm, fleet.node_by_name[name]) for name in evacuating for vm in fleet.vms_on(name)]
    ways = {
        vm.uuid: [
            Way(option.kind, option.target, option.seconds)
            for option in options_of(vm, source, targets, policy).moves
            if vm.uuid not in situation.held or source.name in asked
        ]
        for vm, source in leaving
    }
    return FleetFacts(
        situation,
        evacuating=evacuating,
        rooms={name: FreeRoom(capacity.memory, capacity.vcpus) for name, capacity in capacities.items()},
        ways=ways,
        obstacles={
            vm.uuid: obstacles_of(vm, source, targets, policy, open_ways=frozenset(way.action for way in ways[vm.uuid]))
            for vm, source in leaving
        },
        components=_components(),
        notes=knowledge.notes,
    )


@functools.cache
def _catalogue() -> tuple[Signal, ...]:
    return tuple(load_catalogue())


@functools.cache
def _components() -> dict[str, Component]:
    """Which part of a node each shipped signal is about. A user's own signals stay unnamed: their names are free text."""
    return {signal.name: signal.component for signal in _catalogue()}


def _decisions(decisions: Sequence[DraftDecision], facts: FleetFacts, now: datetime) -> list[solver.PlanDecision]:
    """The decisions in real names. Raises UnknownAlias (a ValueError) for a vm or node the model made up."""
    return [
        solver.PlanDecision(
            vm=facts.vms.name(decision.vm),
            kind=ActionKind(decision.action),
            target=facts.nodes.name(decision.target) if decision.target else None,
            reason=_in_real_names(decision.reason, facts, REASON_CHARACTERS)
            or ("the language model leaves it and does not say why" if decision.action == "stay" else None),
            rank=decision.urgency,
            not_before=now + timedelta(seconds=decision.begin_in_seconds) if decision.begin_in_seconds else None,
        )
        for decision in decisions
    ]


def _in_real_names(text: str, facts: FleetFacts, limit: int) -> str:
    """The model's words in one short line, its aliases of nodes put back: `node-2` means nothing to an approver."""
    known = facts.nodes.known()
    named = re.sub(r"\bnode-\d+\b", lambda alias: known.get(alias[0], alias[0]), visible(text, limit))
    return visible(named, limit)
