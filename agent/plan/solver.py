"""The plan: which vm goes where, how and when, so that the expected loss is least.

Description: nodes at the policy's trigger (or those a person names) are evacuated; every vm on them gets an action, `stay`
with its reason included.
Requirements: pure. The same fleet, risks, policy and time give the same plan, on every machine.
Limitations: what the files do not tell (free hugepages, devices, the guest's own CPU flags) is left to the prechecks at
execution.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.plan.assignment import Chosen, Targets, greedy, lower_bound, price_options, total_loss
from agent.plan.capacity import Capacities, free_capacity
from agent.plan.cp_sat import improve
from agent.plan.explanations import MoveReason, describe_move, describe_stay, notes
from agent.plan.options import Options, options_by_class, possible_targets, target_classes
from agent.plan.waves import best_waves, order, schedule
from models.plan import Action, ActionKind, Plan, PlannedBy
from models.policy import Policy
from models.risk_level import RiskLevel
from models.schedule import Move, Timing
from models.situation import Situation


class Planner(Protocol):
    """Whoever proposes plans: `plan`, or a language model with `plan` behind it."""

    def __call__(
        self, situation: Situation, evacuating: Collection[str] = (), *, asked: Collection[str] = ()
    ) -> Plan: ...


@dataclass(frozen=True)
class PlanDecision:
    """What a planner wants done with one vm; `assemble` makes a plan of many."""

    vm: str
    """uuid"""
    kind: ActionKind
    target: str | None = None
    reason: str | None = None
    """None: lifeboat writes one"""


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
    targets = Targets(target_classes(possible_targets(situation, leaving)), situation)
    fleet = situation.fleet
    options = {
        vm.uuid: options_by_class(vm, fleet.node_by_name[name], targets.classes, situation.policy)
        for name in leaving
        for vm in fleet.vms_on(name)
    }
    decisions = [
        PlanDecision(uuid, choice.option.kind, choice.option.target)
        if choice.option
        else PlanDecision(uuid, ActionKind.STAY)
        for uuid, choice in _choose(options, targets, situation, leaving, optimise=optimise).items()
    ]
    draft = _Draft(
        situation=situation,
        leaving=leaving,
        asked=tuple(dict.fromkeys(asked)),
        planned_by=PlannedBy(planner="solver", fallback_reason=fallback_reason),
        options=options,
        room=targets.capacities,
    )
    return draft.finish(decisions)


def assemble(
    situation: Situation,
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
    draft = _Draft(situation=situation, leaving=leaving, asked=tuple(asked), planned_by=planned_by, options={})
    return draft.finish([*decisions, *forgotten])


def _leaving(situation: Situation, named: Collection[str]) -> tuple[str, ...]:
    """The nodes to empty, in the fleet's order."""
    if not named:
        return tuple(situation.at_level(RiskLevel.TRIGGERED))
    unknown = [name for name in named if name not in situation.fleet.node_by_name]
    if unknown:
        raise ValueError(f"node {unknown[0]!r} is not in the fleet")
    return tuple(node.name for node in situation.fleet.nodes if node.name in set(named))


def _choose(
    options: Mapping[str, Options], targets: Targets, situation: Situation, leaving: Sequence[str], *, optimise: bool
) -> Chosen:
    """The option each vm gets, by uuid."""
    fleet, policy = situation.fleet, situation.policy
    waiting = _waiting(options, situation, leaving)
    vms = [options[vm.uuid].vm for name in leaving for vm in fleet.vms_on(name)]
    choices = {vm.uuid: price_options(options[vm.uuid], situation, waiting=waiting.get(vm.uuid, 0.0)) for vm in vms}
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


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """A plan under way: what was decided on, and what it is made from."""

    situation: Situation
    leaving: tuple[str, ...]
    asked: tuple[str, ...]
    planned_by: PlannedBy
    options: Mapping[str, Options]
    """by vm uuid; empty for decisions made elsewhere"""
    room: Capacities | None = None
    """what the targets take before anything moves; None for decisions made elsewhere"""

    def finish(self, decisions: Sequence[PlanDecision]) -> Plan:
        """Order, waves, estimates, reasons and losses."""
        situation = self.situation
        fleet = situation.fleet
        moves = [
            Move(vm=fleet.vm_by_uuid[d.vm], kind=d.kind, source=fleet.vm_by_uuid[d.vm].node, target=d.target)
            for d in decisions
            if d.kind is not ActionKind.STAY
        ]
        risk_by_source = {
            move.source: situation.failure_probability(move.source, situation.horizon_seconds) for move in moves
        }
        waves = best_waves(moves, fleet, situation.policy, risk_by_source, lambda timings: self._losses(timings)[0])
        timings = schedule(waves, fleet, situation.policy)
        expected, expected_if_nothing_is_done = self._losses(timings)
        remarks = [self.planned_by.notes, *notes(situation, self.leaving)]
        return Plan(
            created_at=situation.now,
            fleet_sha256=fleet.digest(),
            evacuating=self.leaving,
            asked=self.asked,
            actions=(
                *self._moves(waves, timings, {d.vm: d.reason for d in decisions}),
                *self._stays([d for d in decisions if d.kind is ActionKind.STAY], moves, wave=len(waves)),
            ),
            expected_loss=round(expected, 6),
            expected_loss_if_nothing_is_done=round(expected_if_nothing_is_done, 6),
            planned_by=self.planned_by.model_copy(update={"notes": "; ".join(one for one in remarks if one)}),
            simulated=any(node.risk.simulated for node in situation.node_risks.values() if node.risk),
        )

    def _moves(
        self, waves: Sequence[Sequence[Move]], timings: Mapping[str, Timing], reasons: Mapping[str, str | None]
    ) -> list[Action]:
        situation = self.situation
        fleet, policy = situation.fleet, situation.policy
        targets = {move.target for wave in waves for move in wave if move.target}
        capacities = {name: free_capacity(fleet.node_by_name[name], fleet, policy) for name in targets}
        for wave in waves:
            for move in wave:
                if move.target:
                    capacities[move.target].take(move.vm, 0.0, policy)
        actions: list[Action] = []
        for wave in waves:
            # Within a wave all may start at once; the heaviest is named first, for those who start one after the other.
            for move in sorted(
                wave, key=lambda m: (-policy.weights.of(m.vm.priority), timings[m.vm.uuid].seconds, m.vm.uuid)
            ):
                timing = timings[move.vm.uuid]
                # A migration that never converges is aborted at the policy's limit.
                seconds = _finite(timing.seconds, policy)
                risk = situation.failure_probability(move.source, timing.start + seconds)
                facts = MoveReason(
                    move=move,
                    timing=timing,
                    risk_before_safe=risk,
                    risk_within_horizon=situation.failure_probability(move.source, situation.horizon_seconds),
                    room_left=capacities[move.target].memory if move.target else None,
                )
                actions.append(
                    Action(
                        kind=move.kind,
                        vm=move.vm.uuid,
                        vm_name=move.vm.name,
                        source=move.source,
                        target=move.target,
                        reason=reasons[move.vm.uuid] or describe_move(facts, self.options.get(move.vm.uuid)),
                        wave=timing.wave,
                        estimated_start_seconds=round(timing.start, 1),
                        estimated_seconds=round(seconds, 1),
                        estimated_downtime_seconds=round(_finite(timing.downtime, policy), 3),
                        risk_before_safe=round(risk, 6),
                    )
                )
        return actions

    def _stays(self, decisions: Sequence[PlanDecision], moves: Sequence[Move], *, wave: int) -> list[Action]:
        situation = self.situation
        fleet, policy = situation.fleet, situation.policy
        left = self.room.after(moves) if self.room is not None else None
        actions: list[Action] = []
        for decision in sorted(decisions, key=lambda d: (-policy.weights.of(fleet.vm_by_uuid[d.vm].priority), d.vm)):
            vm = fleet.vm_by_uuid[decision.vm]
            options = self.options.get(vm.uuid)
            why = decision.reason or (
                describe_stay(options, left, situation) if options and left is not None else "no reason was given"
            )
            risk = situation.failure_probability(vm.node, situation.horizon_seconds)
            actions.append(
                Action(
                    kind=ActionKind.STAY,
                    vm=vm.uuid,
                    vm_name=vm.name,
                    source=vm.node,
                    reason=why,
                    wave=wave,
                    risk_before_safe=round(risk, 6),
                )
            )
        return actions

    def _losses(self, timings: Mapping[str, Timing]) -> tuple[float, float]:
        """(with the plan, with nothing done): both over the vms of the nodes that are evacuated, within the horizon."""
        situation = self.situation
        horizon = situation.horizon_seconds
        with_plan = without = 0.0
        for name in self.leaving:
            whole = situation.failure_probability(name, horizon)
            for vm in situation.fleet.vms_on(name):
                weight = situation.policy.weights.of(vm.priority)
                timing = timings.get(vm.uuid)
                without += weight * whole
                done = math.inf if timing is None or (timing.live and not timing.live.converges) else timing.done
                with_plan += weight * (whole if done >= horizon else situation.failure_probability(name, done))
        return with_plan, without


def _finite(seconds: float, policy: Policy) -> float:
    return seconds if math.isfinite(seconds) else policy.migration.timeout.total_seconds()
