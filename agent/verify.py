"""Verify: after an evacuation, look at everything again from outside and say what is true now."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from agent.actions.reconcile import NodeView, runs_at_most_once
from agent.actions.resources import Resources
from models.errors import LifeboatError, NodeUnreachable
from models.evacuation import AttemptOutcome, Evacuation, ObservedState
from models.fleet import Fleet, VmState
from models.verification import Check, Verification, vm_check


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
    moved = {attempt.action.vm: {attempt.action.source, attempt.action.target} for attempt in evacuation.attempts}
    listings = {name: _listing(hands, name) for name in sorted(hands.nodes)}
    for vm in fleet_before.vms:
        views = _views(hands, vm.uuid, listings, moved.get(vm.uuid))
        once, where = runs_at_most_once(views)
        if (
            not once and vm.uuid not in moved
        ):  # the nodes were not asked in the same instant: it may have moved in between
            views = _views(hands, vm.uuid, listings, set())
            once, where = runs_at_most_once(views)
        seen = any(view.seen not in (ObservedState.ABSENT, ObservedState.UNREACHABLE) for view in views)
        running = any(view.seen is ObservedState.RUNNING for view in views)
        if vm.uuid in whole:
            checks.append(Check(name=vm_check(vm.name), passed=once and not running, why=f"archived; {where}"))
        elif vm.state is VmState.RUNNING:
            checks.append(Check(name=vm_check(vm.name), passed=once and running, why=where))
        else:
            checks.append(Check(name=vm_check(vm.name), passed=once and seen, why=f"was {vm.state}; {where}"))
    checks.append(_journal(hands))
    return Verification(checks=tuple(checks))


@dataclass(frozen=True)
class _Listing:
    """What one node says that it has."""

    answers: bool
    vms: Mapping[str, VmState] | None
    """by uuid; None: it can't list them, and is asked for each"""


def _listing(hands: Resources, node: str) -> _Listing:
    """Each node is asked once, and a dead one waited for once: not for each vm of the fleet."""
    try:
        return _Listing(True, {vm.uuid: vm.state for vm in hands.node(node).vms()})
    except NodeUnreachable:
        return _Listing(False, None)
    except LifeboatError:
        return _Listing(True, None)


def _views(
    hands: Resources, uuid: str, listings: Mapping[str, _Listing], moved: Collection[str | None] | None
) -> list[NodeView]:
    """All nodes' views of a vm. `moved`: the ends of its move: there, and wherever it is listed, it is looked at anew; None: it
    was not touched, and the listings do."""
    views: list[NodeView] = []
    for node, listing in listings.items():
        if not listing.answers:
            views.append(NodeView(node, ObservedState.UNREACHABLE))
        elif listing.vms is None or (moved is not None and (uuid in listing.vms or node in moved)):
            views.append(hands.observe(node, uuid))
        else:
            state = listing.vms.get(uuid)
            views.append(NodeView(node, ObservedState.ABSENT if state is None else ObservedState(state.value)))
    return views


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
