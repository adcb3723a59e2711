"""One plan to be made by a language model: the facts it may know, the solver's answer, and what comes of its own."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Collection, Sequence

from agent.guard.judge import judge
from agent.llm.draft import DraftDecision, PlanDraft
from agent.plan import solver
from agent.plan.capacity import free_capacity
from agent.plan.options import options_of, possible_targets
from models.base import Value
from models.plan import Action, ActionKind, Plan, PlannedBy
from models.signal import Component
from models.situation import Situation
from models.text import visible
from tools.llm.fact_sheet import DecisionOnSheet, FactSheet, ProposedPlan, fact_sheet
from tools.llm.fleet_facts import FleetFacts, FreeRoom, Way
from tools.signals import load_catalogue

REASON_CHARACTERS = 160
NOTE_CHARACTERS = 300


class DraftVerdict(Value):
    """What would become of a draft."""

    passes: bool
    """the guard's answer"""
    broken_rules: tuple[str, ...]
    expected_loss: float
    solver_expected_loss: float


class PlanTask:
    """One plan to be made: the facts, the solver's answer to it, and what comes of anybody else's."""

    def __init__(self, situation: Situation, by_solver: Plan, asked: Collection[str]) -> None:
        self._situation = situation
        self._by_solver = by_solver
        self._asked = asked
        self.facts = facts_for(situation, by_solver.evacuating)

    def question(self) -> str:
        """The first message of a conversation: the nodes to empty, by alias, and the solver's plan."""
        nodes = [self.facts.nodes.alias(name) for name in self._by_solver.evacuating]
        counted = [{"node": node, "vms": len(self.facts.vms_on_node(node).vms)} for node in nodes]
        return json.dumps({"nodes_to_be_emptied": counted, "solver_plan": self._solver_plan().model_dump(mode="json")})

    def vm_names(self) -> dict[str, str]:
        """vm's alias → its name, for those who read what was said."""
        by_uuid = self._situation.fleet.vm_by_uuid
        return {alias: by_uuid[uuid].name for alias, uuid in self.facts.vms.known().items()}

    def sheet(self) -> FactSheet:
        """All of it, for one answer."""
        return fact_sheet(self.facts, self._by_solver.evacuating, self._solver_plan())

    def assemble(self, draft: PlanDraft, by: PlannedBy) -> Plan:
        """The draft as a plan in real names. Raises ValueError for a vm or node the model made up, or decided twice."""
        note = _in_real_names(draft.note, self.facts, NOTE_CHARACTERS)
        plan = self._plan(draft.decisions, by.model_copy(update={"notes": note}))
        compared = _beside(plan, self._by_solver)
        notes = "; ".join(one for one in (plan.planned_by.notes, compared) if one)
        return plan.model_copy(update={"planned_by": plan.planned_by.model_copy(update={"notes": notes})})

    def judge_plan(self, decisions: list[DraftDecision]) -> DraftVerdict:
        """What the guard and the loss model say of these decisions, one for each vm, without carrying anything out."""
        plan = self._plan(decisions, PlannedBy(planner="llm"))
        verdict = judge(plan, self._situation)
        return DraftVerdict(
            passes=verdict.passed,
            broken_rules=tuple(failure.rule for failure in verdict.failures),
            expected_loss=round(plan.expected_loss, 4),
            solver_expected_loss=round(self._by_solver.expected_loss, 4),
        )

    def _plan(self, decisions: Sequence[DraftDecision], by: PlannedBy) -> Plan:
        decided = _decisions(decisions, self.facts)
        return solver.assemble(self._situation, decided, self._by_solver.evacuating, by, asked=self._asked)

    def _solver_plan(self) -> ProposedPlan:
        return ProposedPlan(
            expected_loss=round(self._by_solver.expected_loss, 4),
            expected_loss_if_nothing_is_done=round(self._by_solver.expected_loss_if_nothing_is_done, 4),
            decisions=tuple(
                DecisionOnSheet(
                    vm=self.facts.vms.alias(action.vm),
                    action=action.kind,
                    target=self.facts.nodes.alias(action.target) if action.target else None,
                )
                for action in self._by_solver.actions
            ),
        )


def _beside(plan: Plan, by_solver: Plan) -> str:
    """In one sentence, how a plan compares with the solver's: both losses, and where they differ."""
    theirs = {action.vm: action for action in by_solver.actions}
    differs = [
        f"{visible(action.vm_name, 60)} ({_short(theirs[action.vm])} by the solver)"
        for action in plan.actions
        if action.vm in theirs and (action.kind, action.target) != (theirs[action.vm].kind, theirs[action.vm].target)
    ]
    losses = f"expected loss {plan.expected_loss:.3g}, the solver's plan {by_solver.expected_loss:.3g}"
    if not differs:
        return f"the same moves as the solver's plan ({losses})"
    more = f" and {len(differs) - 5} more" if differs[5:] else ""
    return f"{losses}; differs for {', '.join(differs[:5])}{more}"


def _short(action: Action) -> str:
    return f"{action.kind.value} to {visible(action.target, 60)}" if action.target else action.kind.value


def facts_for(situation: Situation, evacuating: Sequence[str]) -> FleetFacts:
    """The snapshot the model may ask about."""
    fleet, policy = situation.fleet, situation.policy
    targets = possible_targets(situation, evacuating)
    capacities = {node.name: free_capacity(node, fleet, policy) for node in targets}
    ways = {
        vm.uuid: [
            Way(option.kind, option.target, option.seconds)
            for option in options_of(vm, fleet.node_by_name[name], targets, policy).moves
        ]
        for name in evacuating
        for vm in fleet.vms_on(name)
    }
    return FleetFacts(
        situation,
        evacuating=evacuating,
        rooms={name: FreeRoom(capacity.memory, capacity.vcpus) for name, capacity in capacities.items()},
        ways=ways,
        components=_components(),
    )


@functools.cache
def _components() -> dict[str, Component]:
    """Which part of a node each shipped signal is about. A user's own signals stay unnamed: their names are free text."""
    return {signal.name: signal.component for signal in load_catalogue()}


def _decisions(decisions: Sequence[DraftDecision], facts: FleetFacts) -> list[solver.PlanDecision]:
    """The decisions in real names. Raises UnknownAlias (a ValueError) for a vm or node the model made up."""
    return [
        solver.PlanDecision(
            vm=facts.vms.name(decision.vm),
            kind=ActionKind(decision.action),
            target=facts.nodes.name(decision.target) if decision.target else None,
            reason=_in_real_names(decision.reason, facts, REASON_CHARACTERS)
            or ("the language model leaves it and does not say why" if decision.action == "stay" else None),
        )
        for decision in decisions
    ]


def _in_real_names(text: str, facts: FleetFacts, limit: int) -> str:
    """The model's words in one short line, its aliases of nodes put back: `node-2` means nothing to an approver."""
    known = facts.nodes.known()
    named = re.sub(r"\bnode-\d+\b", lambda alias: known.get(alias[0], alias[0]), visible(text, limit))
    return visible(named, limit)
