"""Idle vms of low priority into the archive, with their owners' consent. Pure."""

from __future__ import annotations

from agent.plan.draft import Draft, PlanDecision
from models.plan import ActionKind, AtLeisure, Plan, PlannedBy
from models.planning.idle import why_not_idle
from models.planning.placement import archive_blocker, is_protected
from models.situation import Situation
from models.text import bytes_in_words, moment


def plan_idle_archives(situation: Situation) -> Plan:
    """The plan: the largest first, as many as policy takes in one; it does nothing where nothing is idle."""
    fleet, policy = situation.fleet, situation.policy
    idle = [
        vm
        for vm in fleet.vms
        if why_not_idle(vm, policy, situation.now) is None
        and archive_blocker(vm, policy) is None
        and not is_protected(vm, policy)
    ]
    idle.sort(key=lambda vm: (-(vm.disk_bytes + vm.memory_bytes), vm.uuid))
    decisions = [
        PlanDecision(
            vm.uuid,
            ActionKind.COLD_ARCHIVE,
            reason=f"idle since {moment(vm.idle_since)}, its owner consents; frees {bytes_in_words(vm.memory_bytes)} of memory"
            if vm.idle_since
            else None,
        )
        for vm in idle[: policy.idle.max_vms]
    ]
    notes = "" if decisions else "no vm is known to be idle that may be archived"
    draft = Draft(
        situation=situation, leaving=(), asked=(), planned_by=PlannedBy(planner="solver", notes=notes), options={}
    )
    return draft.finish(decisions).model_copy(update={"at_leisure": AtLeisure.ARCHIVE_IDLE})
