"""The plan: which vm goes where, how and when, so that the expected loss is least.

Description: nodes at the policy's trigger (or those a person names) are evacuated; every vm on them gets an action, `stay`
with its reason included.
Requirements: pure. The same fleet, risks, policy and time give the same plan, on every machine.
Limitations: what the files do not tell (free hugepages, devices, the guest's own CPU flags) is left to the prechecks at
execution.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from agent.plan.assignment.cp_sat import improve
from agent.plan.assignment.greedy import Choices, Chosen, Targets, greedy, lower_bound, price_options, total_loss
from agent.plan.assignment.make_room import make_room
from agent.plan.assignment.next_failure import next_failure
from agent.plan.bound import least_loss
from agent.plan.draft import Draft, PlanDecision
from agent.plan.options import Options, options_by_class, possible_targets, target_classes
from agent.plan.timing.waves import NotExecutable, order
from models.plan import ActionKind, Plan, PlannedBy
from models.planning.schedule import Move
from models.policy.policy import Policy
from models.risk.risk_level import RiskLevel
from models.situation import Situation


class Planner(Protocol):
    """Whoever proposes plans: `plan`, or a language model with `plan` behind it."""

    def __call__(
        self, situation: Situation, evacuating: Collection[str] = (), *, asked: Collection[str] = ()
    ) -> Plan: ...


def plan(
    situation: Situation,
    evacuating: Collection[str] = (),
    *,
    asked: Collection[str] = (),
    fallback_reason: str | None = None,
    optimise: bool = True,
) -> Plan:
    """The solver's plan. `evacuating` names nodes to empty whatever their risk; empty: those at the trigger.

    `asked` are the nodes a person named: they are evacuated too, and only they may be without being risky (the guard refuses
    anybody else's). `fallback_reason` says why the solver stands in for the language model. `optimise=False` leaves CP-SAT
    out and keeps the greedy answer. Raises ValueError for a node that is not in the fleet, and for two risks of one node.
    """
    leaving = _leaving(situation, [*evacuating, *asked])
    targets, options = _options(situation, leaving, asked)
    draft = Draft(
        situation=situation,
        leaving=leaving,
        asked=tuple(dict.fromkeys(asked)),
        planned_by=PlannedBy(planner="solver", fallback_reason=fallback_reason),
        options=options,
        room=targets.capacities,
        optimise=optimise,
    )
    choices = _priced(options, situation, leaving)
    chosen = _choose(choices, options, targets, situation.policy, optimise=optimise)
    made = draft.finish(_decisions(chosen))
    made = _with_room_made(made, chosen, choices, targets, draft) if optimise else made
    return _with_outlook(made, options, targets, situation)


def decide(situation: Situation, leaving: Sequence[str], *, asked: Collection[str] = ()) -> list[PlanDecision]:
    """What the solver's quick answer does with each vm of these nodes; order and losses are `assemble`'s to work out."""
    targets, options = _options(situation, leaving, asked)
    choices = _priced(options, situation, leaving)
    return _decisions(_choose(choices, options, targets, situation.policy, optimise=False))


def _priced(options: Mapping[str, Options], situation: Situation, leaving: Sequence[str]) -> Choices:
    waiting = _waiting(options, situation, leaving)
    return {uuid: price_options(mine, situation, waiting=waiting.get(uuid, 0.0)) for uuid, mine in options.items()}


def _with_outlook(
    made: Plan, options: Mapping[str, Options], targets: Targets, situation: Situation, bound: float | None = None
) -> Plan:
    """The plan with what no plan can better beside it (`bound`, where that is known), and what the fleet would survive before and
    after it."""
    reach = made.expected_loss
    if bound is None:
        bound = least_loss(options, targets.capacities, situation, made.evacuating, reach=reach)
    least = min(bound, reach)
    gap = (made.expected_loss - least) / made.expected_loss if made.expected_loss > 0 else 0.0
    after = next_failure(situation, made.evacuating, made.actions)
    return made.model_copy(update={"bound": round(least, 6), "gap": round(gap, 4), "next_failure": after})


def _options(
    situation: Situation, leaving: Sequence[str], asked: Collection[str]
) -> tuple[Targets, dict[str, Options]]:
    """The targets, and by uuid what may be done with every vm of the nodes to empty."""
    fleet = situation.fleet
    targets = Targets(target_classes(possible_targets(situation, leaving)), situation)
    return targets, {
        vm.uuid: Options(vm, (), situation.held[vm.uuid])
        if vm.uuid in situation.held and name not in asked
        else options_by_class(vm, fleet.node_by_name[name], targets.classes, situation.policy)
        for name in leaving
        for vm in fleet.vms_on(name)
    }


def _decisions(chosen: Chosen) -> list[PlanDecision]:
    return [
        PlanDecision(uuid, choice.option.kind, choice.option.target)
        if choice.option
        else PlanDecision(uuid, ActionKind.STAY)
        for uuid, choice in chosen.items()
    ]


def _with_room_made(made: Plan, chosen: Chosen, choices: Choices, targets: Targets, draft: Draft) -> Plan:
    """The plan that loses less because vms of sound nodes make room first; `made` itself when there is none.

    What such a move costs, needed or not, is policy's `drain.price`.
    """
    weights, price = draft.situation.policy.weights, draft.situation.policy.drain.price
    for chains in (True, False):
        found = make_room(chosen, choices, draft.options, targets, draft.situation, chains=chains)
        if found is None:
            return made
        moved = [PlanDecision(move.vm.uuid, move.kind, move.target) for move in found.moves]
        try:
            better = draft.finish([*_decisions(found.chosen), *moved])
        except NotExecutable:
            continue
        cost = price * sum(weights.of(move.vm.priority) for move in found.moves)
        return better if better.expected_loss + cost < made.expected_loss else made
    return made


def assemble(
    situation: Situation,
    decisions: Sequence[PlanDecision],
    evacuating: Collection[str],
    planned_by: PlannedBy,
    *,
    asked: Collection[str] = (),
    compared_only: bool = False,
    bound: float | None = None,
) -> Plan:
    """A plan out of somebody else's decisions: order, waves, estimates, losses and the vms they forgot (`stay`) added.

    `compared_only`: the first good order will do, and its bound and the next failure are left out. `bound`: of another plan for
    the same nodes and situation, which holds for this one as well. Judges nothing, that is the guard's part.

    Raises ValueError for a vm or node that is not in the fleet, for a vm decided twice, and for a move that names no target.
    """
    fleet = situation.fleet
    leaving = _leaving(situation, evacuating) if evacuating else ()
    seen: set[str] = set()
    for decision in decisions:
        if decision.vm not in fleet.vm_by_uuid:
            raise ValueError(f"vm {decision.vm!r} is not in the fleet")
        if decision.vm in seen:
            raise ValueError(f"vm {decision.vm!r} is decided twice")
        if decision.target is not None and decision.target not in fleet.node_by_name:
            raise ValueError(f"target {decision.target!r} is not in the fleet")
        if (decision.kind in (ActionKind.LIVE_MIGRATE, ActionKind.COLD_MIGRATE)) != (decision.target is not None):
            raise ValueError(f"{decision.kind} of vm {decision.vm!r}: target is {decision.target!r}")
        seen.add(decision.vm)
    forgotten = [
        PlanDecision(vm.uuid, ActionKind.STAY, reason="the planner did not mention it")
        for name in leaving
        for vm in fleet.vms_on(name)
        if vm.uuid not in seen
    ]
    targets, options = _options(situation, leaving, asked)
    known = set(targets.capacities.names)
    draft = Draft(
        situation=situation,
        leaving=leaving,
        asked=tuple(asked),
        planned_by=planned_by,
        options={},
        # Where vms of other nodes make room, what goes there has to wait for it.
        room=targets.capacities if all(d.target is None or d.target in known for d in decisions) else None,
        compared_only=compared_only,
    )
    made = draft.finish([*decisions, *forgotten])
    return made if compared_only else _with_outlook(made, options, targets, situation, bound)


def _leaving(situation: Situation, named: Collection[str]) -> tuple[str, ...]:
    """The nodes to empty, in the fleet's order."""
    if not named:
        return tuple(situation.at_level(RiskLevel.TRIGGERED))
    unknown = [name for name in named if name not in situation.fleet.node_by_name]
    if unknown:
        raise ValueError(f"node {unknown[0]!r} is not in the fleet")
    return tuple(node.name for node in situation.fleet.nodes if node.name in set(named))


def _choose(
    choices: Choices, options: Mapping[str, Options], targets: Targets, policy: Policy, *, optimise: bool
) -> Chosen:
    """The option each vm gets, by uuid."""
    vms = [each.vm for each in options.values()]
    first = greedy(choices, vms, targets, policy)
    if not optimise or total_loss(first) <= lower_bound(choices):
        return first
    return improve(choices, vms, targets, first, policy)


def _waiting(options: Mapping[str, Options], situation: Situation, leaving: Sequence[str]) -> dict[str, float]:
    """Seconds each vm would wait for the more urgent ones of its node, were each given its first option."""
    fleet = situation.fleet
    waiting: dict[str, float] = {}
    for name in leaving:
        nominal: list[Move] = []
        seconds: dict[str, float] = {}
        for vm in fleet.vms_on(name):
            if first := next(iter(options[vm.uuid].by_class), None):
                target = first.targets.names[0] if first.targets else None
                nominal.append(Move(vm=vm, kind=first.kind, source=name, target=target))
                seconds[vm.uuid] = first.seconds
        passed = 0.0
        for move in order(nominal, fleet, situation.policy, {}):
            waiting[move.vm.uuid] = passed
            passed += seconds[move.vm.uuid]
    return waiting
