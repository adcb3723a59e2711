"""Which vms are idle: what planner and guard share. Pure."""

from __future__ import annotations

from datetime import datetime

from models.base import format_duration
from models.fleet import Priority, Vm
from models.policy.policy import Policy
from models.text import moment


def why_not_idle(vm: Vm, policy: Policy, now: datetime) -> str | None:
    """Why a vm is not to be archived for being idle; None when it may be. Unknown is not idle, and silence is no consent."""
    if vm.idle_since is None:
        return "nobody told since when it is idle"
    if now - vm.idle_since < policy.idle.idle_for:
        return f"it is idle since {moment(vm.idle_since)}, less than {format_duration(policy.idle.idle_for)}"
    if vm.priority is not Priority.LOW:
        return f"it is of {vm.priority} priority"
    if vm.cold_archive_allowed is not True:
        return "its owner did not say that it may be archived"
    return None
