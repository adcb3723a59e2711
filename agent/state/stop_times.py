"""How long guests take to stop, by what earlier archives and cold moves took in all: policy's limit is only a deadline."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta

from models.evacuation import AttemptOutcome
from models.fleet import Fleet, Vm, VmState
from models.plan import ActionKind
from tools.ports.journal import Journal
from tools.ports.records.attempts import AttemptEnded, ShutdownIntended

REMEMBERED = timedelta(days=90)
MOST = 20
"""newest stops that are looked at for guests of which nothing is known"""


def with_stop_times(fleet: Fleet, journal: Journal, now: datetime) -> Fleet:
    """The fleet with the longest that each guest's own stops took, or else the longest of the newest of others. Each is at most
    what the whole archive or move took, which leans to the long side. Without any, nothing is added."""
    asked = {entry.attempt for entry in journal.of(ShutdownIntended, since=now - REMEMBERED)}
    if not asked:
        return fleet
    took: list[tuple[str, float]] = []
    for entry in journal.of(AttemptEnded, since=now - REMEMBERED):
        attempt = entry.record.attempt
        stops = attempt.action.kind in (ActionKind.COLD_ARCHIVE, ActionKind.COLD_MIGRATE)
        if stops and attempt.id in asked and attempt.outcome is AttemptOutcome.DONE and attempt.measured.seconds:
            took.append((attempt.action.vm, attempt.measured.seconds))
    if not took:
        return fleet
    of_others = max(seconds for _, seconds in took[-MOST:])
    own: dict[str, list[float]] = defaultdict(list)
    for uuid, seconds in took:
        own[uuid].append(seconds)

    def known(vm: Vm) -> Vm:
        if vm.state is VmState.SHUTOFF:
            return vm
        return vm.model_copy(update={"stop_seconds": max(own.get(vm.uuid, ())[-3:], default=of_others)})

    return fleet.model_copy(update={"vms": tuple(known(vm) for vm in fleet.vms)})
