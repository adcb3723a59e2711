"""All that a language model may know of one plan, on one sheet: for models that call no tools.

The same aliases, numbers and closed words as `FleetFacts` answers with; each vm lists the few moves it may choose from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.base import Value
from models.plan import ActionKind
from tools.llm.fleet_facts import FleetFacts, NodeRiskFacts, PolicyFacts, VmFacts
from tools.llm.surroundings import EventFacts, PastFacts, ReadingFacts, Surroundings, TogetherFacts, WorkFacts

MOVES_PER_VM = 6
"""what a vm may choose from on the sheet; a small model's context holds no more, and the best ones come first"""

ROWS_ON_SHEET = 6
"""of readings, events, neighbours, planned work and earlier evacuations each: the first are those that matter most"""


class MoveOnSheet(Value):
    """One move that policy and hardware allow."""

    action: ActionKind
    target: str | None
    """a node's alias; None for cold_archive"""
    seconds: float


class VmOnSheet(Value):
    facts: VmFacts
    moves: tuple[MoveOnSheet, ...]
    """what it may choose from, besides staying"""


class TargetOnSheet(Value):
    node: str
    free_memory_bytes: int
    free_vcpus: float
    probability: float
    """P(it fails itself within the policy's horizon)"""
    failure_domain: str | None


class DecisionOnSheet(Value):
    vm: str
    action: ActionKind
    target: str | None


class ProposedPlan(Value):
    """The solver's plan, for the model to keep or to better."""

    expected_loss: float
    expected_loss_if_nothing_is_done: float
    decisions: tuple[DecisionOnSheet, ...]


class PlanOnSheet(Value):
    """One plan to choose from."""

    name: str
    expected_loss: float
    passes: bool
    """the guard's answer"""
    differs: tuple[DecisionOnSheet, ...]
    """from the solver's plan"""


class NodeOnSheet(Value):
    """A node to be emptied: its risk, and what else bears on whether and where to."""

    risk: NodeRiskFacts
    readings: tuple[ReadingFacts, ...]
    events: tuple[EventFacts, ...]
    failing_together: tuple[TogetherFacts, ...]
    past_evacuations: tuple[PastFacts, ...]


class FactSheet(Value):
    """Everything for one answer."""

    policy: PolicyFacts
    nodes_to_be_emptied: tuple[NodeOnSheet, ...]
    planned_work: tuple[WorkFacts, ...]
    targets: tuple[TargetOnSheet, ...]
    vms: tuple[VmOnSheet, ...]
    solver_plan: ProposedPlan
    alternatives: tuple[PlanOnSheet, ...]
    """other plans, the solver's own left out"""


def fact_sheet(
    facts: FleetFacts,
    surroundings: Surroundings,
    evacuating: Sequence[str],
    solver_plan: ProposedPlan,
    plans: Sequence[PlanOnSheet],
) -> FactSheet:
    """The sheet for these nodes (real names)."""
    chosen = {decision.vm: (decision.action, decision.target) for decision in solver_plan.decisions}
    targets: dict[str, TargetOnSheet] = {}
    vms: list[VmOnSheet] = []
    for name in evacuating:
        for vm in facts.vms_on_node(facts.nodes.alias(name)).vms:
            moves = _moves(facts, vm, chosen.get(vm.vm), targets)
            vms.append(VmOnSheet(facts=vm, moves=moves))
    used = {move.target for vm in vms for move in vm.moves}
    return FactSheet(
        policy=facts.policy_facts(),
        nodes_to_be_emptied=tuple(_node(facts, surroundings, facts.nodes.alias(name)) for name in evacuating),
        planned_work=surroundings.planned_work().work[:ROWS_ON_SHEET],
        targets=tuple(target for alias, target in targets.items() if alias in used),
        vms=tuple(vms),
        solver_plan=solver_plan,
        alternatives=tuple(plans[1:]),
    )


def _node(facts: FleetFacts, surroundings: Surroundings, node: str) -> NodeOnSheet:
    return NodeOnSheet(
        risk=facts.node_risk(node),
        readings=surroundings.part_history(node).readings[:ROWS_ON_SHEET],
        events=surroundings.hardware_events(node).events[:ROWS_ON_SHEET],
        failing_together=surroundings.failing_together(node).nodes[:ROWS_ON_SHEET],
        past_evacuations=surroundings.past_evacuations(node).evacuations[:ROWS_ON_SHEET],
    )


def _moves(
    facts: FleetFacts, vm: VmFacts, solvers: tuple[ActionKind, str | None] | None, targets: dict[str, TargetOnSheet]
) -> tuple[MoveOnSheet, ...]:
    """The solver's move first, then the archive, then targets with most free memory; notes what is known of the targets."""
    answer = facts.candidate_targets(vm.vm)
    moves: list[MoveOnSheet] = []
    if answer.archive_seconds is not None:
        moves.append(MoveOnSheet(action=ActionKind.COLD_ARCHIVE, target=None, seconds=answer.archive_seconds))
    for target in answer.targets:
        targets.setdefault(
            target.node,
            TargetOnSheet(
                node=target.node,
                free_memory_bytes=target.free_memory_bytes,
                free_vcpus=target.free_vcpus,
                probability=target.probability,
                failure_domain=target.failure_domain,
            ),
        )
        moves += [MoveOnSheet(action=a, target=target.node, seconds=s) for a, s in target.seconds_by_action.items()]
    moves.sort(key=lambda move: (move.action, move.target) != solvers)
    return tuple(moves[:MOVES_PER_VM])


def choices_by_vm(sheet: FactSheet) -> Mapping[str, tuple[str, ...]]:
    """vm's alias → what its decision may be, written as `live_migrate node-2`, `cold_archive` or `stay`."""
    return {
        vm.facts.vm: (*(as_choice(move.action, move.target) for move in vm.moves), ActionKind.STAY.value)
        for vm in sheet.vms
    }


def as_choice(action: ActionKind, target: str | None) -> str:
    return f"{action.value} {target}" if target else action.value
