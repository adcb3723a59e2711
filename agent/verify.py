"""Verify: after an evacuation, look at everything again from outside and say what is true now."""

from __future__ import annotations

from agent.actions.reconcile import runs_at_most_once
from agent.actions.resources import Resources
from models.errors import LifeboatError
from models.evacuation import AttemptOutcome, Evacuation
from models.fleet import Fleet, VmState
from models.verification import Check, Verification


def verify(evacuation: Evacuation, fleet_before: Fleet, hands: Resources) -> Verification:
    """Every vm runs at most once and none was lost; every archive reads back whole; the journal's chain holds.

    A vm is not lost when some node that answers shows it, or a verified archive holds it.
    """
    archived = {
        attempt.action.vm: attempt.archive.id
        for attempt in evacuation.attempts
        if attempt.outcome is AttemptOutcome.DONE and attempt.archive is not None
    }
    checks: list[Check] = []
    whole: set[str] = set()
    for vm, archive_id in archived.items():
        checks.append(_archive(hands, archive_id, fleet_before.vm_by_uuid[vm].name))
        if checks[-1].passed:
            whole.add(vm)
    for vm in fleet_before.vms:
        views = hands.observe_on_all_nodes(vm.uuid)
        once, where = runs_at_most_once(views)
        seen = any(view.observation is not None for view in views)
        running = any(view.observation is not None and view.observation.state is VmState.RUNNING for view in views)
        if vm.uuid in whole:
            checks.append(Check(name=f"vm {vm.name}", passed=once and not running, why=f"archived; {where}"))
        elif vm.state is VmState.RUNNING:
            checks.append(Check(name=f"vm {vm.name}", passed=once and running, why=where))
        else:
            checks.append(Check(name=f"vm {vm.name}", passed=once and seen, why=f"was {vm.state}; {where}"))
    checks.append(_journal(hands))
    return Verification(checks=tuple(checks))


def _archive(hands: Resources, archive_id: str, name: str) -> Check:
    if hands.archives is None:
        return Check(name=f"archive of {name}", passed=None, why="no archive store is configured")
    try:
        entry = hands.archives.verify(archive_id)
    except LifeboatError as error:
        return Check(name=f"archive of {name}", passed=False, why=str(error))
    return Check(name=f"archive of {name}", passed=True, why=f"{entry.id}: every byte matches the signed manifest")


def _journal(hands: Resources) -> Check:
    try:
        count = hands.journal.verify()
    except LifeboatError as error:
        return Check(name="audit log", passed=False, why=str(error))
    return Check(name="audit log", passed=True, why=f"{count} records, head {hands.journal.head()[:16]}…")
