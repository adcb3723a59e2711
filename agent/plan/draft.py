"""From decisions to a plan: order, waves, estimates, reasons and losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from agent.plan.capacity import Capacities
from agent.plan.explanations import MoveReason, describe_move, describe_stay, notes
from agent.plan.options import Options
from agent.plan.timing.lanes import best_lanes
from agent.plan.timing.waves import best_waves, schedule
from models.plan import Action, ActionKind, Plan, PlannedBy
from models.planning.schedule import Move, Timing, wave_timings
from models.planning.waiting import Wait, best_wait
from models.policy.policy import Policy
from models.situation import Situation
from models.text import when_in_words

WORTH_LANES = 1e-3
"""waves, which are easier to follow, are kept where lanes spare less than this share"""


@dataclass(frozen=True)
class PlanDecision:
    """What a planner wants done with one vm; `assemble` makes a plan of many."""

    vm: str
    """uuid"""
    kind: ActionKind
    target: str | None = None
    reason: str | None = None
    """None: lifeboat writes one"""
    rank: int | None = None
    """lower starts first; None: after those that have one, by urgency"""
    not_before: datetime | None = None
    """it waits so long, whatever the figures say for a better time; None: lifeboat chooses"""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A plan under way: what was decided on, and what it is made from."""

    situation: Situation
    leaving: tuple[str, ...]
    asked: tuple[str, ...]
    planned_by: PlannedBy
    options: Mapping[str, Options]
    """by vm uuid; empty for decisions made elsewhere"""
    room: Capacities | None = None
    """what the targets take before anything moves; None for decisions made elsewhere"""
    optimise: bool = True
    """whether a better order is searched for"""
    compared_only: bool = False
    """the first good order will do: the plan is shown beside others, and made anew when it is chosen"""

    def finish(self, decisions: Sequence[PlanDecision]) -> Plan:
        """Order, waves, estimates, reasons and losses.

        Raises NotExecutable when vms of other nodes make room in a way that no order of moves carries out.
        """
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
        ranks = {d.vm: d.rank for d in decisions if d.rank is not None}
        waits = self._waits(moves) if not ranks else {}
        moved = {move.vm.uuid for move in moves}
        waits |= {
            d.vm: Wait(until=d.not_before, why="whoever planned it wants it then")
            for d in decisions
            if d.not_before is not None and d.not_before > situation.now and d.vm in moved
        }
        moves, timings = (
            self._put_off(moves, waits, risk_by_source, ranks) if waits else self._timed(moves, risk_by_source, ranks)
        )
        expected, expected_if_nothing_is_done = self._losses(timings)
        remarks = [self.planned_by.notes, *notes(situation, self.leaving)]
        return Plan(
            created_at=situation.now,
            fleet_sha256=fleet.digest(),
            evacuating=self.leaving,
            asked=self.asked,
            actions=(
                *self._moves(moves, timings, {d.vm: d.reason for d in decisions}, waits),
                *self._stays(
                    [d for d in decisions if d.kind is ActionKind.STAY],
                    moves,
                    wave=max((timing.wave + 1 for timing in timings.values()), default=0),
                ),
            ),
            expected_loss=round(expected, 6),
            expected_loss_if_nothing_is_done=round(expected_if_nothing_is_done, 6),
            planned_by=self.planned_by.model_copy(update={"notes": "; ".join(one for one in remarks if one)}),
            simulated=any(node.risk.simulated for node in situation.node_risks.values() if node.risk),
        )

    def _timed(
        self, moves: Sequence[Move], risk_by_source: Mapping[str, float], ranks: Mapping[str, int]
    ) -> tuple[Sequence[Move], dict[str, Timing]]:
        """The moves, some of them perhaps to another target just as good, and when each runs: in waves, or in lanes where that is
        expected to lose less. What makes room is waited for, which only waves do; somebody else's order (`ranks`) is kept."""
        situation = self.situation
        fleet, policy = situation.fleet, situation.policy
        making_room = [move for move in moves if move.source not in self.leaving]
        waves = best_waves(
            [move for move in moves if move.source in self.leaving],
            fleet,
            policy,
            risk_by_source,
            lambda timings: self._losses(timings)[0],
            making_room=making_room,
            room=self.room,
            ranks=ranks,
            search=not self.compared_only,
        )
        timings = schedule(waves, fleet, policy)
        if self.compared_only or making_room or ranks or len(moves) < 2 or self._any_never_ends(timings):
            return moves, timings
        in_lanes = best_lanes(
            moves,
            situation,
            left=(lambda room=self.room: room.after(moves)) if self.room is not None else None,
            elsewhere=self._elsewhere,
            search=self.optimise,
        )
        if in_lanes is None:
            return moves, timings
        side_by_side = in_lanes.timings()
        if self._losses(side_by_side)[0] < self._losses(timings)[0] * (1 - WORTH_LANES):
            return in_lanes.moves, side_by_side
        return moves, timings

    def _waits(self, moves: Sequence[Move]) -> dict[str, Wait]:
        """Which moves are better begun later, by vm uuid. Where room has to be made first everything is one piece: none."""
        if any(move.source not in self.leaving for move in moves):
            return {}
        situation = self.situation
        found: dict[str, Wait] = {}
        for move in moves:
            seconds = wave_timings([move], situation.fleet, situation.policy)[0][0]
            if math.isfinite(seconds):
                wait = best_wait(move.vm, move.kind, move.source, seconds, situation)
                if wait is not None:
                    found[move.vm.uuid] = wait
        return found

    def _put_off(
        self,
        moves: Sequence[Move],
        waits: Mapping[str, Wait],
        risk_by_source: Mapping[str, float],
        ranks: Mapping[str, int],
    ) -> tuple[Sequence[Move], dict[str, Timing]]:
        """What begins now, and after it what begins at each later time; in waves, since none of it is in a hurry."""
        situation = self.situation
        timings: dict[str, Timing] = {}
        starts: list[datetime | None] = [None, *sorted({wait.until for wait in waits.values()})]
        for at in starts:
            some = [m for m in moves if (waits[m.vm.uuid].until if m.vm.uuid in waits else None) == at]
            waves = best_waves(
                some, situation.fleet, situation.policy, risk_by_source, lambda told: self._losses(told)[0], ranks=ranks
            )
            earliest = (at - situation.now).total_seconds() if at is not None else 0.0
            before = max((timing.wave + 1 for timing in timings.values()), default=0)
            for uuid, timing in schedule(waves, situation.fleet, situation.policy).items():
                timings[uuid] = replace(timing, wave=timing.wave + before, start=timing.start + earliest)
        return moves, timings

    @staticmethod
    def _any_never_ends(timings: Mapping[str, Timing]) -> bool:
        return any(timing.live is not None and not timing.live.converges for timing in timings.values())

    def _elsewhere(self, move: Move) -> list[str]:
        """Targets that no move can tell apart from this one's but by their room; those of the source's failure domain last."""
        options = self.options.get(move.vm.uuid)
        nodes = self.situation.fleet.node_by_name
        domain = nodes[move.source].failure_domain
        names = [
            name
            for option in (options.by_class if options is not None else ())
            if option.kind is move.kind and option.targets is not None and move.target in option.targets.names
            for name in option.targets.names
            if name != move.target
        ]
        return sorted(names, key=lambda name: (bool(domain) and nodes[name].failure_domain == domain, name))

    def _moves(
        self,
        moves: Sequence[Move],
        timings: Mapping[str, Timing],
        reasons: Mapping[str, str | None],
        waits: Mapping[str, Wait],
    ) -> list[Action]:
        situation = self.situation
        fleet, policy = situation.fleet, situation.policy
        targets = {move.target for move in moves if move.target}
        left = Capacities((fleet.node_by_name[name] for name in targets), fleet, policy).after(moves)
        actions: list[Action] = []
        # Within a wave all may start at once; the heaviest is named first, for those who start one after the other.
        for move in sorted(
            moves,
            key=lambda m: (
                timings[m.vm.uuid].wave,
                -policy.weights.of(m.vm.priority),
                timings[m.vm.uuid].seconds,
                m.vm.uuid,
            ),
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
                room_left=int(left.memory[left.place[move.target]]) if move.target else None,
                makes_room_for=self._makes_room_for(
                    move, [other for other in moves if timings[other.vm.uuid].wave > timing.wave]
                ),
            )
            reason = reasons[move.vm.uuid] or describe_move(facts, self.options.get(move.vm.uuid))
            if wait := waits.get(move.vm.uuid):
                reason += f"; waits until {when_in_words(wait.until, situation.now)}: {wait.why}"
            actions.append(
                Action(
                    kind=move.kind,
                    vm=move.vm.uuid,
                    vm_name=move.vm.name,
                    source=move.source,
                    target=move.target,
                    reason=reason,
                    wave=timing.wave,
                    lane=timing.lane,
                    not_before=wait.until if wait is not None else None,
                    estimated_start_seconds=round(timing.start, 1),
                    estimated_seconds=round(seconds, 1),
                    estimated_downtime_seconds=round(_finite(timing.downtime, policy), 3),
                    risk_before_safe=round(risk, 6),
                )
            )
        return actions

    def _makes_room_for(self, move: Move, later: Sequence[Move]) -> tuple[str, ...]:
        """Names of the vms that take the room of one that leaves a node nobody empties; what goes on from there included."""
        if move.source in self.leaving:
            return ()
        ordered = sorted(later, key=lambda other: other.vm.uuid)
        return tuple(other.vm.name for other in ordered if other.target == move.source)

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
