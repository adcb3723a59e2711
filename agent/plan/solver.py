"""The plan: which vm goes where, how and when, so that the expected loss is least.

Description: nodes at the policy's trigger (or those a person names) are evacuated; every vm on them gets an action, `stay`
with its reason included.
Requirements: pure. The same fleet, risks, policy and time give the same plan, on every machine.
Limitations: what the files do not tell (free hugepages, devices, the guest's own CPU flags) is left to the prechecks at
execution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from agent.plan.assignment import domain_preference, greedy, lower_bound, price_options, total_loss
from agent.plan.capacity import free_capacity
from agent.plan.cp_sat import improve
from agent.plan.explanations import MoveReason, describe_move, describe_stay, notes
from agent.plan.options import Option, Options, options_of, possible_targets
from agent.plan.waves import best_waves, order, schedule
from models.fleet import Fleet
from models.plan import Action, ActionKind, Plan, PlannedBy
from models.policy import Policy
from models.risk import Risk
from models.risk_level import NodeRisk, RiskLevel, node_risks
from models.schedule import Move, Timing

Planner = Callable[[Fleet, list[Risk], Policy, datetime, tuple[str, ...]], Plan]
"""Plans for a fleet, its risks, the policy, the time and the nodes to leave, as `plan` does."""


@dataclass(frozen=True)
class PlanDecision:
    """What a planner wants done with one vm; `assemble` makes a plan of many."""

    vm: str
    """uuid"""
    kind: ActionKind
    target: str | None = None
    reason: str = ""
    """empty: lifeboat writes one"""


def failure_probability(node: str, seconds: float, standing: dict[str, NodeRisk], policy: Policy) -> float:
    """P(the node fails within `seconds`).

    A node whose risk is unknown and that a person asked to evacuate is reckoned as just at the trigger, growing evenly.
    """
    risk = standing[node].usable_risk
    if risk is not None:
        return risk.within(seconds)
    return policy.trigger.probability * min(1.0, seconds / policy.trigger.horizon.total_seconds())


def _leaving(fleet: Fleet, standing: dict[str, NodeRisk], named: Collection[str] | None) -> tuple[str, ...]:
    if not named:
        return tuple(node.name for node in fleet.nodes if standing[node.name].standing is RiskLevel.TRIGGERED)
    unknown = [name for name in named if name not in fleet.node_by_name]
    if unknown:
        raise ValueError(f"node {unknown[0]!r} is not in the fleet")
    return tuple(node.name for node in fleet.nodes if node.name in set(named))


def plan(
    fleet: Fleet,
    risks: Iterable[Risk],
    policy: Policy,
    now: datetime,
    evacuating: Collection[str] | None = None,
    *,
    asked: Collection[str] = (),
    fallback_reason: str | None = None,
    optimise: bool = True,
) -> Plan:
    """The solver's plan. `evacuating` names nodes to empty whatever their risk; None or empty: the risky ones.

    `asked` are the nodes a person named: they are evacuated too, and only they may be without being risky (the guard refuses
    anybody else's). `fallback_reason` says why the solver stands in for the language model. `optimise=False` leaves CP-SAT
    out and keeps the greedy answer. Raises ValueError for a node that is not in the fleet, and for two risks of one node.
    """
    standing = node_risks((node.name for node in fleet.nodes), risks, policy, now)
    leaving = _leaving(fleet, standing, [*(evacuating or ()), *asked])
    targets = possible_targets(fleet, leaving, standing)
    options = {
        vm.uuid: options_of(vm, fleet.node_by_name[name], targets, policy)
        for name in leaving
        for vm in fleet.vms_on(name)
    }
    chosen = _choose(options, fleet, leaving, standing, policy, optimise=optimise)
    decisions = [
        PlanDecision(uuid, option.kind, option.target) if option else PlanDecision(uuid, ActionKind.STAY)
        for uuid, option in chosen.items()
    ]
    by = PlannedBy(planner="solver", fallback_reason=fallback_reason)
    return _build(fleet, policy, now, decisions, leaving, tuple(dict.fromkeys(asked)), by, standing, options)


def assemble(
    fleet: Fleet,
    risks: Iterable[Risk],
    policy: Policy,
    now: datetime,
    decisions: Sequence[PlanDecision],
    evacuating: Collection[str],
    planned_by: PlannedBy,
    *,
    asked: Collection[str] = (),
) -> Plan:
    """A plan out of somebody else's decisions: order, waves, estimates, losses and the vms they forgot (`stay`) added.

    Judges nothing, that is the guard's part. Raises ValueError for a vm or node that is not in the fleet, for a vm decided
    twice, and for a move that names no target.
    """
    standing = node_risks((node.name for node in fleet.nodes), risks, policy, now)
    leaving = _leaving(fleet, standing, evacuating) if evacuating else ()
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
        PlanDecision(vm.uuid, ActionKind.STAY, None, "the planner did not mention it")
        for name in leaving
        for vm in fleet.vms_on(name)
        if vm.uuid not in seen
    ]
    return _build(fleet, policy, now, [*decisions, *forgotten], leaving, tuple(asked), planned_by, standing, {})


def _choose(
    options: dict[str, Options],
    fleet: Fleet,
    leaving: Sequence[str],
    standing: dict[str, NodeRisk],
    policy: Policy,
    *,
    optimise: bool,
) -> dict[str, Option | None]:
    horizon = policy.trigger.horizon.total_seconds()

    def p(node: str, seconds: float) -> float:
        return failure_probability(node, seconds, standing, policy)

    vms = [options[vm.uuid].vm for name in leaving for vm in fleet.vms_on(name)]
    waiting = _waiting(options, fleet, leaving, policy)
    choices = {
        vm.uuid: price_options(
            options[vm.uuid],
            waiting.get(vm.uuid, 0.0),
            horizon,
            p,
            policy,
            domain_preference(fleet.node_by_name[vm.node], standing, fleet, policy),
        )
        for vm in vms
    }
    names = {choice.option.target for mine in choices.values() for choice in mine if choice.option}
    rooms = {name: free_capacity(fleet.node_by_name[name], fleet, policy) for name in sorted(n for n in names if n)}
    first = greedy(choices, vms, rooms, policy)
    if not optimise or total_loss(choices, first) <= lower_bound(choices):
        return first
    return improve(choices, vms, rooms, first, policy)


def _waiting(options: dict[str, Options], fleet: Fleet, leaving: Sequence[str], policy: Policy) -> dict[str, float]:
    """How long each vm would wait for the more urgent ones of its node, were each given its first option."""
    waiting: dict[str, float] = {}
    for name in leaving:
        nominal: list[Move] = []
        seconds: dict[str, float] = {}
        for vm in fleet.vms_on(name):
            if moves := options[vm.uuid].moves:
                nominal.append(Move(vm, moves[0].kind, name, moves[0].target))
                seconds[vm.uuid] = moves[0].seconds
        passed = 0.0
        for move in order(nominal, fleet, policy, {}):
            waiting[move.vm.uuid] = passed
            passed += seconds[move.vm.uuid]
    return waiting


def _build(
    fleet: Fleet,
    policy: Policy,
    now: datetime,
    decisions: Sequence[PlanDecision],
    leaving: tuple[str, ...],
    asked: tuple[str, ...],
    planned_by: PlannedBy,
    standing: dict[str, NodeRisk],
    options: dict[str, Options],
) -> Plan:
    horizon = policy.trigger.horizon.total_seconds()
    moves = [
        Move(fleet.vm_by_uuid[d.vm], d.kind, fleet.vm_by_uuid[d.vm].node, d.target)
        for d in decisions
        if d.kind is not ActionKind.STAY
    ]
    danger = {move.source: failure_probability(move.source, horizon, standing, policy) for move in moves}

    def loss(timings: Mapping[str, Timing]) -> float:
        return _losses(fleet, leaving, timings, standing, policy)[0]

    waves = best_waves(moves, fleet, policy, danger, loss)
    timings = schedule(waves, fleet, policy)
    rooms = {
        name: free_capacity(fleet.node_by_name[name], fleet, policy) for name in {m.target for m in moves if m.target}
    }
    for move in moves:
        if move.target:
            rooms[move.target].take(move.vm, 0.0, policy)
    given = {d.vm: d.reason for d in decisions}
    actions: list[Action] = []
    for wave in waves:
        # Within a wave all may start at once; the heaviest is named first, for those who start one after the other.
        for move in sorted(
            wave, key=lambda m: (-policy.weights.of(m.vm.priority), timings[m.vm.uuid].seconds, m.vm.uuid)
        ):
            timing = timings[move.vm.uuid]
            # A migration that never converges is aborted at the policy's limit.
            seconds = _finite(timing.seconds, policy)
            risk = failure_probability(move.source, timing.start + seconds, standing, policy)
            room_left = rooms[move.target].memory if move.target else None
            facts = MoveReason(
                move, timing, risk, failure_probability(move.source, horizon, standing, policy), room_left
            )
            actions.append(
                Action(
                    kind=move.kind,
                    vm=move.vm.uuid,
                    vm_name=move.vm.name,
                    source=move.source,
                    target=move.target,
                    reason=given[move.vm.uuid] or describe_move(facts, options.get(move.vm.uuid)),
                    wave=timing.wave,
                    estimated_start_seconds=round(timing.start, 1),
                    estimated_seconds=round(seconds, 1),
                    estimated_downtime_seconds=round(_finite(timing.downtime, policy), 3),
                    risk_before_safe=round(risk, 6),
                )
            )
    last = len(waves)
    for decision in sorted(
        (d for d in decisions if d.kind is ActionKind.STAY),
        key=lambda d: (-policy.weights.of(fleet.vm_by_uuid[d.vm].priority), d.vm),
    ):
        vm = fleet.vm_by_uuid[decision.vm]
        why = decision.reason or describe_stay(
            options[vm.uuid],
            fleet,
            [m for m in moves if m.target],
            policy,
            lambda s, n=vm.node: failure_probability(n, s, standing, policy),
        )
        risk = round(failure_probability(vm.node, horizon, standing, policy), 6)
        actions.append(
            Action(
                kind=ActionKind.STAY,
                vm=vm.uuid,
                vm_name=vm.name,
                source=vm.node,
                reason=why,
                wave=last,
                risk_before_safe=risk,
            )
        )
    with_plan, without = _losses(fleet, leaving, timings, standing, policy)
    said = [planned_by.notes, *notes(fleet, leaving, standing)]
    return Plan(
        created_at=now,
        fleet_sha256=fleet.digest(),
        evacuating=leaving,
        asked=asked,
        actions=tuple(actions),
        expected_loss=round(with_plan, 6),
        expected_loss_if_nothing_is_done=round(without, 6),
        planned_by=planned_by.model_copy(update={"notes": "; ".join(note for note in said if note)}),
        simulated=any(s.risk.simulated for s in standing.values() if s.risk),
    )


def _finite(seconds: float, policy: Policy) -> float:
    return seconds if math.isfinite(seconds) else policy.migration.timeout.total_seconds()


def _losses(
    fleet: Fleet,
    leaving: Sequence[str],
    timings: Mapping[str, Timing],
    standing: dict[str, NodeRisk],
    policy: Policy,
) -> tuple[float, float]:
    """(with the plan, with nothing done): both over the vms of the nodes that are evacuated, within the horizon."""
    horizon = policy.trigger.horizon.total_seconds()
    with_plan = without = 0.0
    for name in leaving:
        whole = failure_probability(name, horizon, standing, policy)
        for vm in fleet.vms_on(name):
            weight = policy.weights.of(vm.priority)
            timing = timings.get(vm.uuid)
            without += weight * whole
            done = math.inf if timing is None or (timing.live and not timing.live.converges) else timing.done
            with_plan += weight * (whole if done >= horizon else failure_probability(name, done, standing, policy))
    return with_plan, without
