"""Where is the vm? Every pair of looks at both ends, and what may never follow from them."""

from __future__ import annotations

import itertools

import pytest

from agent.actions.reconcile import (
    NodeView,
    ReconcileStep,
    is_own_job,
    reconcile_migration,
    runs_at_most_once,
    why_not_start,
)
from models.evacuation import ObservedState
from models.fleet import VmState
from tools.ports.vms import DiskObservation, VmObservation

DISK = DiskObservation(
    device="vda", path="/d/vda.raw", format="raw", virtual_bytes=64 << 20, allocated_bytes=1 << 20, shared=True
)
OTHER_DISK = DiskObservation(
    device="vda", path="/d/vda.raw", format="raw", virtual_bytes=32 << 20, allocated_bytes=1 << 20, shared=True
)


def sight(node: str, what: str, disk: DiskObservation = DISK, *, reason: str | None = None) -> NodeView:
    """A paused vm is one that its migration stopped, unless another reason is given."""
    if what in ("absent", "unreachable"):
        return NodeView(node, ObservedState(what))
    state = VmState.PAUSED if what == "arriving" else VmState(what)
    why = reason if reason is not None else "migration" if what == "paused" else ""
    observation = VmObservation(
        uuid="u",
        name="vm",
        node=node,
        state=state,
        persistent=True,
        disks=(disk,),
        incoming=what == "arriving",
        state_reason=why,
    )
    return NodeView(node, ObservedState(state.value), observation)


def before(state: VmState = VmState.RUNNING) -> VmObservation:
    return VmObservation(uuid="u", name="vm", node="a", state=state, persistent=True, disks=(DISK,))


def settle(source: str, target: str, *, late: bool = True, was: VmState = VmState.RUNNING) -> ReconcileStep:
    ends = sight("a", source), sight("b", target)
    return reconcile_migration(before(was), *ends, elsewhere=[sight("c", "absent")], out_of_patience=late).step


def settle_paused(
    *, reason: str = "migration", suspended_by_us: bool = False, job: bool | None = False
) -> ReconcileStep:
    """The source holds it paused for that reason, and every other node was seen without it."""
    ends = sight("a", "paused", reason=reason), sight("b", "absent")
    return reconcile_migration(
        before(), *ends, job=job, elsewhere=[], suspended_by_us=suspended_by_us, out_of_patience=True
    ).step


def resumed(node: str) -> NodeView:
    """Running again after libvirt stopped it for a switchover."""
    seen = VmObservation(
        uuid="u",
        name="vm",
        node=node,
        state=VmState.RUNNING,
        persistent=True,
        disks=(DISK,),
        state_reason="migration canceled",
    )
    return NodeView(node, ObservedState.RUNNING, seen)


SIGHTS = ("running", "paused", "shutoff", "absent", "unreachable", "arriving")


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("absent", "running", ReconcileStep.DONE),
        ("shutoff", "running", ReconcileStep.UNDEFINE_SOURCE),
        ("unreachable", "running", ReconcileStep.INDETERMINATE),
        ("running", "running", ReconcileStep.INDETERMINATE),
        ("paused", "running", ReconcileStep.INDETERMINATE),
        ("running", "absent", ReconcileStep.AS_FOUND),
        ("running", "arriving", ReconcileStep.AS_FOUND),
        ("running", "unreachable", ReconcileStep.AS_FOUND),
        ("running", "shutoff", ReconcileStep.INDETERMINATE),
        ("running", "paused", ReconcileStep.INDETERMINATE),
        ("paused", "absent", ReconcileStep.RESUME_SOURCE),
        ("paused", "unreachable", ReconcileStep.INDETERMINATE),
        ("paused", "arriving", ReconcileStep.INDETERMINATE),
        ("shutoff", "absent", ReconcileStep.CHANGED),
        ("absent", "absent", ReconcileStep.INDETERMINATE),
        ("absent", "paused", ReconcileStep.INDETERMINATE),
        ("absent", "unreachable", ReconcileStep.INDETERMINATE),
        ("unreachable", "absent", ReconcileStep.INDETERMINATE),
        ("unreachable", "unreachable", ReconcileStep.INDETERMINATE),
    ],
)
def test_a_running_vm(source: str, target: str, expected: ReconcileStep) -> None:
    assert settle(source, target) is expected


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("absent", "paused", ReconcileStep.DONE),
        ("paused", "absent", ReconcileStep.AS_FOUND),
        ("paused", "arriving", ReconcileStep.INDETERMINATE),
        ("absent", "running", ReconcileStep.INDETERMINATE),
        ("running", "absent", ReconcileStep.CHANGED),
    ],
)
def test_a_paused_vm_stays_paused(source: str, target: str, expected: ReconcileStep) -> None:
    assert settle(source, target, was=VmState.PAUSED) is expected


@pytest.mark.parametrize("was", [VmState.RUNNING, VmState.PAUSED])
@pytest.mark.parametrize(("source", "target"), list(itertools.product(SIGHTS, SIGHTS)))
def test_nothing_is_inferred_from_silence(source: str, target: str, was: VmState) -> None:
    for late in (False, True):
        step = settle(source, target, late=late, was=was)
        if step is ReconcileStep.DONE:
            assert source == "absent"
            assert target == was
        if step is ReconcileStep.RESUME_SOURCE:
            assert (source, target, was) == ("paused", "absent", VmState.RUNNING)
        if step is ReconcileStep.UNDEFINE_SOURCE:
            assert target == was
            assert source == "shutoff"
        if step is ReconcileStep.AS_FOUND:
            assert source == was
        assert not (late and step is ReconcileStep.LOOK_AGAIN), "patience must end"


def test_what_libvirt_passes_through_by_itself_is_looked_at_again() -> None:
    for pair in (("paused", "arriving"), ("running", "arriving"), ("paused", "absent"), ("unreachable", "running")):
        assert settle(*pair, late=False) is ReconcileStep.LOOK_AGAIN


def test_two_running_copies_seen_once_may_be_a_switchover_between_the_looks_but_not_for_long() -> None:
    assert settle("running", "running", late=False) is ReconcileStep.LOOK_AGAIN
    assert settle("running", "running", late=True) is ReconcileStep.INDETERMINATE


def test_a_vm_of_the_same_uuid_with_other_disks_is_not_the_same_vm() -> None:
    settlement = reconcile_migration(
        before(), sight("a", "absent"), sight("b", "running", OTHER_DISK), out_of_patience=False
    )
    assert settlement.step is ReconcileStep.INDETERMINATE
    assert "other disks" in settlement.why


def test_somebody_else_moved_it_only_when_every_other_node_was_seen() -> None:
    gone = (sight("a", "absent"), sight("b", "absent"))
    found = [sight("c", "running"), sight("d", "absent")]
    assert reconcile_migration(before(), *gone, elsewhere=found, out_of_patience=True).step is ReconcileStep.CHANGED
    hidden = [sight("c", "running"), sight("d", "unreachable")]
    assert (
        reconcile_migration(before(), *gone, elsewhere=hidden, out_of_patience=True).step is ReconcileStep.INDETERMINATE
    )


def test_an_arriving_copy_does_not_count_as_running_and_an_unseen_node_is_named() -> None:
    assert runs_at_most_once([sight("a", "running"), sight("b", "arriving")]) == (True, "runs on a")
    assert runs_at_most_once([sight("a", "running"), sight("b", "running")])[0] is False
    assert "not seen: b" in runs_at_most_once([sight("a", "running"), sight("b", "unreachable")])[1]


@pytest.mark.parametrize("target", ["absent", "arriving", "unreachable"])
@pytest.mark.parametrize("job", [True, None])
def test_a_source_that_runs_is_as_found_only_once_its_migration_is_over(target: str, job: bool | None) -> None:
    for late, expected in ((False, ReconcileStep.LOOK_AGAIN), (True, ReconcileStep.INDETERMINATE)):
        found = reconcile_migration(before(), sight("a", "running"), sight("b", target), job=job, out_of_patience=late)
        assert found.step is expected
    assert "migration has" in found.why


def test_a_source_that_libvirt_resumed_may_run_at_a_silent_target_too() -> None:
    found = reconcile_migration(before(), resumed("a"), sight("b", "unreachable"), out_of_patience=True)
    assert found.step is ReconcileStep.INDETERMINATE
    assert "may run twice" in found.why
    assert (
        reconcile_migration(before(), resumed("a"), sight("b", "absent"), out_of_patience=False).step
        is ReconcileStep.AS_FOUND
    )


@pytest.mark.parametrize("first", SIGHTS)
@pytest.mark.parametrize("second", SIGHTS)
def test_a_paused_source_is_resumed_only_when_no_other_node_may_run_it(first: str, second: str) -> None:
    elsewhere = [sight("c", first), sight("d", second)]
    found = reconcile_migration(
        before(), sight("a", "paused"), sight("b", "absent"), elsewhere=elsewhere, out_of_patience=True
    )
    ruled_out = all(each in ("absent", "shutoff") for each in (first, second))
    assert found.step is (ReconcileStep.RESUME_SOURCE if ruled_out else ReconcileStep.INDETERMINATE)
    if not ruled_out:
        assert any(node in found.why for node in ("c: ", "d: "))


def test_a_paused_source_is_not_resumed_while_nobody_looked_elsewhere() -> None:
    found = reconcile_migration(before(), sight("a", "paused"), sight("b", "absent"), out_of_patience=True)
    assert found.step is ReconcileStep.INDETERMINATE


@pytest.mark.parametrize(
    ("reason", "suspended_by_us", "expected"),
    [
        ("migration", False, ReconcileStep.RESUME_SOURCE),
        ("user", False, ReconcileStep.CHANGED),
        ("user", True, ReconcileStep.RESUME_SOURCE),
        ("I/O error", False, ReconcileStep.CHANGED),
        ("asleep", False, ReconcileStep.CHANGED),
        ("post-copy", False, ReconcileStep.INDETERMINATE),
        ("post-copy failed", True, ReconcileStep.INDETERMINATE),
        ("", False, ReconcileStep.INDETERMINATE),
    ],
)
def test_only_what_its_migration_or_lifeboat_paused_is_resumed(
    reason: str, suspended_by_us: bool, expected: ReconcileStep
) -> None:
    assert settle_paused(reason=reason, suspended_by_us=suspended_by_us) is expected


@pytest.mark.parametrize("job", [True, None])
def test_a_source_is_not_resumed_into_a_migration(job: bool | None) -> None:
    assert settle_paused(job=job) is ReconcileStep.INDETERMINATE


@pytest.mark.parametrize(
    ("age", "seconds_since_migrate_call", "target", "ours"),
    [
        (5.0, 5.2, "arriving", True),
        (5.0, 5.2, "running", True),
        (5.0, 5.2, "unreachable", True),
        (5.0, 5.2, "absent", False),
        (60.0, 5.2, "arriving", False),
        (60.0, 5.2, "unreachable", False),
        (5.0, None, "arriving", False),
    ],
)
def test_whose_job_it_is(age: float, seconds_since_migrate_call: float | None, target: str, ours: bool) -> None:
    assert is_own_job(age, seconds_since_migrate_call, sight("b", target)) is ours


@pytest.mark.parametrize("what", SIGHTS)
def test_a_stopped_vm_is_not_started_beside_a_copy(what: str) -> None:
    forbidden = why_not_start(sight("a", "shutoff"), [sight("b", "absent"), sight("c", what)])
    assert bool(forbidden) is (what in ("running", "paused", "arriving"))


def test_a_stopped_vm_that_migrated_away_is_not_started() -> None:
    assert why_not_start(sight("a", "shutoff", reason="migrated"), [])
    assert not why_not_start(sight("a", "shutoff", reason="shut down"), [])
