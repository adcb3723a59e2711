"""What a plan truly comes to: nodes go down when the scene says so, whatever anybody forecast. Pure.

A vm is lost when its node goes down before it has arrived, or the node it went to goes down after; one that was stopped costs a
share of its worth. Times are seconds from the start of the evacuation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from agent.evals.scene import STOP_COSTS, Scene, Truth
from models.base import Value
from models.fleet import Vm, VmState
from models.plan import Action, ActionKind, Plan
from models.risk.risk_level import RiskLevel


class TrueOutcome(Value):
    """How it ended."""

    loss: float
    """worth of the lost vms, and the shares that stops cost"""
    lost: tuple[str, ...]
    """names"""
    stopped: tuple[str, ...]
    where: dict[str, str]
    """vm's name → the node it is on in the end; archived ones are on none"""
    arrived: dict[str, float]
    """vm's name → when it was safe elsewhere, seconds; only those that were moved or archived"""


def true_outcome(scene: Scene, plan: Plan | None) -> TrueOutcome:
    """What becomes of the vms on the nodes that have to be left, and of those that the plan moves. None: nothing is done."""
    fleet, truth = scene.situation.fleet, scene.truth
    actions: Mapping[str, Action] = {} if plan is None else {action.vm: action for action in plan.moves}
    down = {node: at.total_seconds() for node, at in truth.down.items()}
    loss, lost, stopped = 0.0, list[str](), list[str]()
    where: dict[str, str] = {}
    arrived: dict[str, float] = {}
    # What sits on some other node that goes down is lost under every plan, and tells none from another.
    to_leave = {*scene.situation.at_level(RiskLevel.TRIGGERED), *scene.asked}
    for vm in fleet.vms:
        action = actions.get(vm.uuid)
        if action is None:
            where[vm.name] = vm.node
            gone = vm.node in down
        else:
            gone = _moved(vm, action, down, truth, where, arrived)
        counts = action is not None or vm.node in to_leave
        worth = truth.worth.get(vm.name, scene.situation.policy.weights.of(vm.priority))
        if gone and counts:
            loss += worth
            lost.append(vm.name)
        if action is not None and action.kind in STOP_COSTS and vm.state is VmState.RUNNING:
            stopped.append(vm.name)
            if not gone:
                loss += worth * truth.stop_costs.get(vm.name, STOP_COSTS[action.kind])
    return TrueOutcome(loss=round(loss, 6), lost=tuple(lost), stopped=tuple(stopped), where=where, arrived=arrived)


def _moved(
    vm: Vm,
    action: Action,
    down: Mapping[str, float],
    truth: Truth,
    where: dict[str, str],
    arrived: dict[str, float],
) -> bool:
    """Whether a vm that was to be moved is lost; notes where it ended."""
    done = (action.estimated_start_seconds + action.estimated_seconds) * truth.slower
    source, target = down.get(vm.node, math.inf), down.get(action.target or "", math.inf)
    if source <= done or target <= done:  # it never arrived
        where[vm.name] = vm.node
        return source < math.inf
    arrived[vm.name] = round(done, 3)
    if action.kind is not ActionKind.COLD_ARCHIVE and action.target is not None:
        where[vm.name] = action.target
    return target < math.inf
