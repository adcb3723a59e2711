"""What an attempt made is removed when it comes to nothing; what somebody else put at the same path is never touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scenes.simulated_world import POLICY
from scenes.whole_vm import Whole, fail_at

from agent.actions.attempt import AttemptContext
from agent.actions.runner import needs_recovery, recover_attempts, run_attempt
from models.errors import ActionFailed, NodeUnreachable
from models.evacuation import AttemptOutcome
from models.plan import Action, ActionKind
from tools.ports.records.disks import DiskKept
from tools.simulated.state import LOCAL_DIRECTORY, Image

DISK = f"{LOCAL_DIRECTORY}/whole-0.raw"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Whole]:
    world = Whole(tmp_path)
    yield world
    world.journal.close()


def failed_and_left(world: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cold move that failed at its end, with a target that did not answer when the files were to be removed."""
    target = world.fleet.node("b")
    fail_at(monkeypatch, target, "restore_snapshots", 1)
    with monkeypatch.context() as while_it_fails:
        for step in ("delete_disk", "delete_state_file"):
            while_it_fails.setattr(target, step, unreachable)
        done = world.attempt(ActionKind.COLD_MIGRATE)
    assert done.outcome is AttemptOutcome.FAILED, done.message
    assert "to be removed at the next start" in done.message
    assert len(world.files("b")) == 6


def unreachable(*_: Any) -> None:
    raise NodeUnreachable("node b: no answer")


def test_what_was_left_goes_at_the_next_start(world: Whole, monkeypatch: pytest.MonkeyPatch):
    failed_and_left(world, monkeypatch)
    recover_attempts(world.hands, POLICY)
    assert world.files("b") == {}
    assert not needs_recovery(world.journal)


def test_somebody_elses_files_at_a_leftovers_path_stay(world: Whole, monkeypatch: pytest.MonkeyPatch):
    failed_and_left(world, monkeypatch)
    machine = world.fleet.machines["b"]
    theirs = machine.images[DISK] = Image(b"theirs", "raw", 1 << 20)
    state = next(iter(machine.state_files))
    machine.state_files[state] = b"theirs too"
    recover_attempts(world.hands, POLICY)
    assert world.files("b") == {DISK: theirs.content, state: b"theirs too"}
    kept = {entry.record.path: entry.record.why for entry in world.journal.of(DiskKept)}
    assert kept.keys() == {DISK, state}
    assert "another image" in kept[DISK]
    assert not needs_recovery(world.journal), "said once, not looked at for ever"


def test_a_leftover_that_another_vm_came_to_use_stays(world: Whole, monkeypatch: pytest.MonkeyPatch):
    failed_and_left(world, monkeypatch)
    xml = world.fleet.node("a").domain_xml(world.vm).replace(world.vm, "1b4e28ba-2fa1-41d2-883f-0016d3cca427")
    world.fleet.node("b").define(xml)
    had = world.files("b")
    recover_attempts(world.hands, POLICY)
    assert had.items() - world.files("b").items() == {
        (path, content) for path, content in had.items() if "swtpm" in path
    }, "all but the TPM state, which belongs to the uuid that moved"


def somebody_first(world: Whole, monkeypatch: pytest.MonkeyPatch, path: str) -> Image:
    """Between the look whether an image is there and its making, somebody puts their own."""
    target, theirs = world.fleet.node("b"), Image(b"theirs", "raw", 1 << 20)
    create = target.create_disk

    def create_second(wanted: str, **how: Any) -> str:
        if wanted == path:
            world.fleet.machines["b"].images[path] = theirs
        return create(wanted, **how)

    monkeypatch.setattr(target, "create_disk", create_second)
    return theirs


def test_a_disk_that_the_target_would_not_make_is_not_removed_by_a_cold_move(
    world: Whole, monkeypatch: pytest.MonkeyPatch
):
    theirs = somebody_first(world, monkeypatch, DISK)
    done = world.attempt(ActionKind.COLD_MIGRATE)
    assert done.outcome is AttemptOutcome.FAILED, done.message
    assert world.fleet.machines["b"].images == {DISK: theirs}
    assert world.fleet.running_on(world.vm) == ["a"]


def test_a_disk_that_the_target_would_not_make_is_not_removed_by_a_live_move(
    world: Whole, monkeypatch: pytest.MonkeyPatch
):
    path = f"{LOCAL_DIRECTORY}/db-0.raw"
    theirs = somebody_first(world, monkeypatch, path)
    action = Action(kind=ActionKind.LIVE_MIGRATE, vm=world.db, vm_name="db", source="a", target="b", reason="a test")
    vm = next(vm for vm in world.fleet.node("a").vms() if vm.uuid == world.db)
    done = run_attempt(
        AttemptContext(
            id="attempt-1",
            evacuation="evac",
            action=action,
            vm=vm,
            policy=POLICY,
            hands=world.hands,
            on_progress=lambda _: None,
        )
    )
    assert done.outcome is AttemptOutcome.FAILED, done.message
    assert world.fleet.machines["b"].images == {path: theirs}
    assert world.fleet.running_on(world.db) == ["a"]


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_after_a_lost_answer_only_an_image_that_holds_nothing_counts_as_made(
    world: Whole, whose: str, monkeypatch: pytest.MonkeyPatch
):
    target = world.fleet.node("b")
    create = target.create_disk

    def answer_is_lost(path: str, **how: Any) -> str:
        if path != DISK:
            return create(path, **how)
        if whose == "theirs":
            world.fleet.machines["b"].images[path] = Image(b"theirs", "raw", 1 << 20)
        else:
            create(path, **how)
        raise ActionFailed("the answer was lost")

    monkeypatch.setattr(target, "create_disk", answer_is_lost)
    done = world.attempt(ActionKind.COLD_MIGRATE)
    assert done.outcome is AttemptOutcome.FAILED, done.message
    assert list(world.files("b")) == ([DISK] if whose == "theirs" else [])
    assert (f"{DISK} on b stays" in done.message) == (whose == "theirs")


def test_a_definition_that_somebody_made_first_is_not_undefined(world: Whole, monkeypatch: pytest.MonkeyPatch):
    target = world.fleet.node("b")
    define = target.define

    def define_second(xml: str) -> str:
        define(xml)
        return define(xml)

    monkeypatch.setattr(target, "define", define_second)
    done = world.attempt(ActionKind.COLD_MIGRATE)
    assert done.outcome is AttemptOutcome.INDETERMINATE, done.message
    assert world.fleet.known_on(world.vm) == ["a", "b"]
    assert len(world.files("b")) == 6
