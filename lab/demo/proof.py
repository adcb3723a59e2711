"""The proof after the demo: checked from outside, with the node dead."""

from __future__ import annotations

from agent.archives.restore import restore
from lab.demo.stage import GuestView, GuestWatch, Stage
from models.errors import LifeboatError
from models.evacuation import AttemptOutcome, Evacuation, ObservedState
from models.fleet import Fleet, Priority, Vm
from models.verification import Check

_ANSWER_SECONDS = 90.0
"""a restored guest boots under emulation: 5 s on an idle machine, a minute on a loaded one"""


def prove(
    stage: Stage, before: Fleet, evacuation: Evacuation, marks: dict[str, tuple[GuestWatch, float]], dead: str
) -> list[Check]:
    """Every claim the demo makes, checked without trusting the code that made it true.

    `marks` holds, per vm name, the watch and the moment it began to count.
    """
    checks: list[Check] = []
    archived = {
        attempt.action.vm: attempt.archive.id
        for attempt in evacuation.attempts
        if attempt.outcome is AttemptOutcome.DONE and attempt.archive is not None
    }
    for vm in before.vms:
        if vm.priority is Priority.HIGH:
            watch, mark = marks[vm.name]
            checks.append(_served(vm, stage, watch.seen_since(mark)))
    for vm in before.vms:
        copies, wanted = stage.copies(vm.uuid), 0 if vm.uuid in archived else 1
        checks.append(
            Check(name=f"{vm.name} runs {_times(wanted)}", passed=copies == wanted, why=f"{copies} QEMU processes")
        )
    for uuid, archive_id in archived.items():
        checks.append(_archive_holds(stage, before.vm_by_uuid[uuid], archive_id))
    if archived:
        uuid, archive_id = next(iter(archived.items()))
        checks.append(_restores(stage, before.vm_by_uuid[uuid], archive_id, dead))
    return checks


def _served(vm: Vm, stage: Stage, view: GuestView) -> Check:
    still = stage.answers(vm, 5.0)
    same_boot = len(view.boot_ids) == 1 and still == view.boot_ids[0]
    passed = same_boot and view.counter_unbroken and view.lost_writes == 0
    if still is None:
        why = "it no longer answers"
    elif passed:
        why = f"answers, same boot, counter unbroken, no write lost; longest silence {view.blackout_seconds * 1000:.0f} ms"
    else:
        why = (
            f"boots seen: {len(view.boot_ids)}, counter {'unbroken' if view.counter_unbroken else 'BROKEN'}, "
            f"writes lost: {view.lost_writes}"
        )
    return Check(name=f"{vm.name} still answers", passed=passed, why=why)


def _archive_holds(stage: Stage, vm: Vm, archive_id: str) -> Check:
    store = stage.session.hands.archives
    assert store is not None
    try:
        entry = store.verify(archive_id)
    except LifeboatError as error:
        return Check(name=f"archive of {vm.name}", passed=False, why=str(error))
    why = f"{entry.original_bytes / 1e6:.0f} MB read back, SHA-256 and signature hold"
    return Check(name=f"archive of {vm.name}", passed=True, why=why)


def _restores(stage: Stage, vm: Vm, archive_id: str, dead: str) -> Check:
    """The node is dead and was seen to die, so it is named as gone: nobody can ask it any more."""
    name = f"{vm.name} comes back from its archive"
    hands = stage.session.hands
    node = next(name for name in sorted(hands.nodes) if name != dead)
    try:
        pins = stage.session.policy.migration.pins
        sight = restore(hands, archive_id, node, start=True, gone=frozenset({dead}), pins=pins)
    except LifeboatError as error:
        return Check(name=name, passed=False, why=str(error))
    boot = stage.answers(vm, _ANSWER_SECONDS)
    copies = stage.copies(vm.uuid)
    passed = sight.seen is ObservedState.RUNNING and boot is not None and copies == 1
    return Check(
        name=name, passed=passed, why=f"on {node}: {'booted and answers' if boot else 'silent'}, {copies} copy"
    )


def _times(count: int) -> str:
    return {0: "nowhere (it is archived)", 1: "exactly once"}[count]
