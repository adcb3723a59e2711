"""Where is the vm? Every pair of looks at both ends, and what may never follow from them."""

from __future__ import annotations

import itertools

import pytest

from agent.settle import Sight, Step, runs_at_most_once, settle_live
from models.evacuation import SeenState
from models.fleet import VmState
from tools.ports import DiskObservation, VmObservation

DISK = DiskObservation("vda", "/d/vda.raw", "raw", 64 << 20, 1 << 20, shared=True)
OTHER_DISK = DiskObservation("vda", "/d/vda.raw", "raw", 32 << 20, 1 << 20, shared=True)


def sight(node: str, what: str, disk: DiskObservation = DISK) -> Sight:
    if what in ("absent", "unreachable"):
        return Sight(node, SeenState(what))
    state = VmState.PAUSED if what == "arriving" else VmState(what)
    observation = VmObservation("u", "vm", node, state, True, (disk,), incoming=what == "arriving")
    return Sight(node, SeenState(state.value), observation)


def before(state: VmState = VmState.RUNNING) -> VmObservation:
    return VmObservation("u", "vm", "a", state, True, (DISK,))


def settle(source: str, target: str, *, late: bool = True, was: VmState = VmState.RUNNING) -> Step:
    return settle_live(before(was), sight("a", source), sight("b", target), out_of_patience=late).step


def resumed(node: str) -> Sight:
    """Running again after libvirt stopped it for a switchover."""
    seen = VmObservation("u", "vm", node, VmState.RUNNING, True, (DISK,), state_reason="migration canceled")
    return Sight(node, SeenState.RUNNING, seen)


SIGHTS = ("running", "paused", "shutoff", "absent", "unreachable", "arriving")


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("absent", "running", Step.DONE),
        ("shutoff", "running", Step.UNDEFINE_SOURCE),
        ("unreachable", "running", Step.INDETERMINATE),
        ("running", "running", Step.INDETERMINATE),
        ("paused", "running", Step.INDETERMINATE),
        ("running", "absent", Step.AS_FOUND),
        ("running", "arriving", Step.AS_FOUND),
        ("running", "unreachable", Step.AS_FOUND),
        ("running", "shutoff", Step.INDETERMINATE),
        ("running", "paused", Step.INDETERMINATE),
        ("paused", "absent", Step.RESUME_SOURCE),
        ("paused", "unreachable", Step.INDETERMINATE),
        ("paused", "arriving", Step.INDETERMINATE),
        ("shutoff", "absent", Step.CHANGED),
        ("absent", "absent", Step.INDETERMINATE),
        ("absent", "paused", Step.INDETERMINATE),
        ("absent", "unreachable", Step.INDETERMINATE),
        ("unreachable", "absent", Step.INDETERMINATE),
        ("unreachable", "unreachable", Step.INDETERMINATE),
    ],
)
def test_a_running_vm(source: str, target: str, expected: Step) -> None:
    assert settle(source, target) is expected


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("absent", "paused", Step.DONE),
        ("paused", "absent", Step.AS_FOUND),
        ("paused", "arriving", Step.INDETERMINATE),
        ("absent", "running", Step.INDETERMINATE),
    ],
)
def test_a_paused_vm_stays_paused(source: str, target: str, expected: Step) -> None:
    assert settle(source, target, was=VmState.PAUSED) is expected


@pytest.mark.parametrize("was", [VmState.RUNNING, VmState.PAUSED])
@pytest.mark.parametrize(("source", "target"), list(itertools.product(SIGHTS, SIGHTS)))
def test_nothing_is_inferred_from_silence(source: str, target: str, was: VmState) -> None:
    for late in (False, True):
        step = settle(source, target, late=late, was=was)
        if step is Step.DONE:
            assert source == "absent"
            assert target == was
        if step is Step.RESUME_SOURCE:
            assert target == "absent"
        if step is Step.UNDEFINE_SOURCE:
            assert target == was
            assert source == "shutoff"
        if step is Step.AS_FOUND:
            assert source == was
        assert not (late and step is Step.LOOK_AGAIN), "patience must end"


def test_what_libvirt_passes_through_by_itself_is_looked_at_again() -> None:
    for pair in (("paused", "arriving"), ("running", "arriving"), ("paused", "absent"), ("unreachable", "running")):
        assert settle(*pair, late=False) is Step.LOOK_AGAIN


def test_two_running_copies_seen_once_may_be_a_switchover_between_the_looks_but_not_for_long() -> None:
    assert settle("running", "running", late=False) is Step.LOOK_AGAIN
    assert settle("running", "running", late=True) is Step.INDETERMINATE


def test_a_vm_of_the_same_uuid_with_other_disks_is_not_the_same_vm() -> None:
    settlement = settle_live(before(), sight("a", "absent"), sight("b", "running", OTHER_DISK), out_of_patience=False)
    assert settlement.step is Step.INDETERMINATE
    assert "other disks" in settlement.why


def test_somebody_else_moved_it_only_when_every_other_node_was_seen() -> None:
    gone = (sight("a", "absent"), sight("b", "absent"))
    found = [sight("c", "running"), sight("d", "absent")]
    assert settle_live(before(), *gone, elsewhere=found, out_of_patience=True).step is Step.CHANGED
    hidden = [sight("c", "running"), sight("d", "unreachable")]
    assert settle_live(before(), *gone, elsewhere=hidden, out_of_patience=True).step is Step.INDETERMINATE


def test_an_arriving_copy_does_not_count_as_running_and_an_unseen_node_is_named() -> None:
    assert runs_at_most_once([sight("a", "running"), sight("b", "arriving")]) == (True, "runs on a")
    assert runs_at_most_once([sight("a", "running"), sight("b", "running")])[0] is False
    assert "not seen: b" in runs_at_most_once([sight("a", "running"), sight("b", "unreachable")])[1]


@pytest.mark.parametrize("target", ["absent", "arriving", "unreachable"])
@pytest.mark.parametrize("job", [True, None])
def test_a_source_that_runs_is_as_found_only_once_its_migration_is_over(target: str, job: bool | None) -> None:
    for late, expected in ((False, Step.LOOK_AGAIN), (True, Step.INDETERMINATE)):
        found = settle_live(before(), sight("a", "running"), sight("b", target), job=job, out_of_patience=late)
        assert found.step is expected
    assert "migration has" in found.why


def test_a_source_that_libvirt_resumed_may_run_at_a_silent_target_too() -> None:
    found = settle_live(before(), resumed("a"), sight("b", "unreachable"), out_of_patience=True)
    assert found.step is Step.INDETERMINATE
    assert "may run twice" in found.why
    assert settle_live(before(), resumed("a"), sight("b", "absent"), out_of_patience=False).step is Step.AS_FOUND
