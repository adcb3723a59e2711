"""Which guests did next to nothing for how long, as Prometheus has their processor time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from models.base import format_duration
from models.fleet import Fleet, VmState
from tools.ports.telemetry import GuestLoads

COVERED = 0.9
"""share of the hours that must have been seen: a guest that nobody watched is not idle"""


def with_idleness(fleet: Fleet, loads: GuestLoads, *, idle_for: timedelta, busy_above: float, now: datetime) -> Fleet:
    """The fleet with `idle_since` of every running guest that was idle for `idle_for`, as far as it is told.

    busy_above: processors in use, averaged over any hour. Raises MetricsUnavailable when it can't be read.
    """
    told: Mapping[tuple[str, str], tuple[float, float]] = loads.busiest_hours(idle_for)
    since = now - idle_for

    def idle(node: str, name: str) -> bool:
        # by node and name; by name alone where no other guest has it and the exporter names its node otherwise
        found = told.get((node, name))
        if found is None and names.get(name) == 1:
            known = [value for (_, other), value in told.items() if other == name]
            found = known[0] if len(known) == 1 else None
        return found is not None and found[0] < busy_above and found[1] >= COVERED

    names: dict[str, int] = {}
    for vm in fleet.vms:
        names[vm.name] = names.get(vm.name, 0) + 1
    vms = tuple(
        vm.model_copy(update={"idle_since": since})
        if vm.state is VmState.RUNNING and vm.idle_since is None and idle(vm.node, vm.name)
        else vm
        for vm in fleet.vms
    )
    return fleet.model_copy(update={"vms": vms})


def how_told(idle_for: timedelta) -> str:
    """What a person should know about it."""
    return f"idle: no hour of the last {format_duration(idle_for)} in which a guest used its processors, by Prometheus"
