"""Restore and wipe beside everything else that goes on: two at once, other lifeboats and vms, a kill at any step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scenes.simulated_world import BATCH, POLICY
from scenes.whole_vm import BASE, Whole, archive_and_forget, archived_and_off

from agent.actions.archive_actions import open_archive_actions
from agent.actions.attempt import AttemptContext
from agent.actions.resources import Resources
from agent.actions.runner import needs_recovery, recover_attempts, run_attempt
from agent.archives.restore import restore
from agent.archives.wipe import wipe
from models.errors import LifeboatError, PrecheckFailed, Refused
from models.evacuation import AttemptOutcome, ObservedState
from models.plan import Action, ActionKind
from models.policy.policy import ArchivePolicy, SourceRelease
from tools.domain.xml import parse_domain
from tools.journal.sqlite import SqliteJournal
from tools.simulated.state import LOCAL_DIRECTORY, SHARED_DIRECTORY

DISK = f"{LOCAL_DIRECTORY}/whole-0.raw"
NEW_UUID = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Whole]:
    world = Whole(tmp_path)
    yield world
    world.journal.close()


# --- two at once -----------------------------------------------------------------------------------------------------


def test_of_two_restores_of_one_lifeboat_the_second_is_refused(world: Whole):
    archive_and_forget(world)
    refused: list[str] = []

    def second(text: str) -> None:
        if text.startswith("writing"):
            with pytest.raises(Refused, match="locked by attempt restore-"):
                restore(world.hands, "attempt-1", "b", start=True)
            refused.append(text)

    restore(world.hands, "attempt-1", "c", start=True, tell=second)
    assert refused
    assert world.fleet.running_on(world.vm) == ["c"]
    assert world.files("b") == {}
    assert world.journal.locks() == {}
    assert not world.fleet.ran_twice


@pytest.fixture
def other_lifeboat(world: Whole) -> Iterator[Resources]:
    """One that shares the nodes and the store, and no journal."""
    journal = SqliteJournal(world.directory / "other.sqlite")
    yield replace(world.hands, journal=journal)
    journal.close()


@pytest.mark.parametrize("begun", ["before it is defined", "once it is defined"])
def test_of_two_restores_by_lifeboats_that_do_not_know_each_other_one_starts(
    world: Whole, other_lifeboat: Resources, begun: str, monkeypatch: pytest.MonkeyPatch
):
    archive_and_forget(world)
    define = world.fleet.node("c").define

    def meanwhile() -> None:
        restore(other_lifeboat, "attempt-1", "b", start=True)

    def defining(xml: str) -> str:
        if begun == "before it is defined":
            meanwhile()
            return define(xml)
        uuid = define(xml)
        with pytest.raises(PrecheckFailed, match="node c has it already"):
            meanwhile()
        return uuid

    monkeypatch.setattr(world.fleet.node("c"), "define", defining)
    if begun == "before it is defined":
        with pytest.raises(PrecheckFailed, match="node b has it already"):
            restore(world.hands, "attempt-1", "c", start=True)
    else:
        restore(world.hands, "attempt-1", "c", start=True)
    assert world.fleet.running_on(world.vm) == (["b"] if begun == "before it is defined" else ["c"])
    assert not world.fleet.ran_twice
    assert world.files("b" if begun == "once it is defined" else "c") == {}


def test_a_vm_that_somebody_defined_while_it_was_written_is_theirs(world: Whole, monkeypatch: pytest.MonkeyPatch):
    archive_and_forget(world)
    define = world.fleet.node("c").define

    def define_second(xml: str) -> str:
        define(xml)
        return define(xml)

    monkeypatch.setattr(world.fleet.node("c"), "define", define_second)
    with pytest.raises(PrecheckFailed):
        restore(world.hands, "attempt-1", "c", start=True)
    assert world.fleet.known_on(world.vm) == ["c"]
    assert len(world.files("c")) == 6, "its disks are that vm's now"


# --- shared disks ----------------------------------------------------------------------------------------------------


@pytest.fixture
def shared(world: Whole) -> str:
    """An archived vm whose disk lies on shared storage, and that no node knows any more."""
    vm = world.fleet.add_vm("a", "shared", labels=BATCH, shared=True, disk_bytes=(1 << 20,))
    action = Action(kind=ActionKind.COLD_ARCHIVE, vm=vm, vm_name="shared", source="a", reason="a test")
    seen = next(each for each in world.fleet.node("a").vms() if each.uuid == vm)
    policy = POLICY.model_copy(update={"archive": ArchivePolicy(release_source=SourceRelease.UNDEFINE)})
    done = run_attempt(
        AttemptContext(
            id="attempt-s",
            evacuation="evac",
            action=action,
            vm=seen,
            policy=policy,
            hands=world.hands,
            on_progress=lambda _: None,
        )
    )
    assert done.outcome is AttemptOutcome.DONE, done.message
    return vm


SHARED_DISK = f"{SHARED_DIRECTORY}/shared-0.raw"


def test_its_disk_on_shared_storage_is_used_as_it_is(world: Whole, shared: str):
    before = world.fleet.shared_images[SHARED_DISK]
    assert restore(world.hands, "attempt-s", "b", start=True).seen is ObservedState.RUNNING
    assert world.fleet.shared_images[SHARED_DISK] is before
    assert world.fleet.running_on(shared) == ["b"]


def test_another_disk_on_shared_storage_is_not(world: Whole, shared: str):
    images = world.fleet.shared_images
    newer = images[SHARED_DISK] = replace(images[SHARED_DISK], content=images[SHARED_DISK].content + b"newer")
    with pytest.raises(PrecheckFailed, match="with other content"):
        restore(world.hands, "attempt-s", "b", start=True)
    assert images[SHARED_DISK] is newer


def test_a_shared_disk_that_another_vm_has_is_not_used_by_two(world: Whole, shared: str):
    xml = world.store.domain_xml("attempt-s").replace(shared, NEW_UUID).replace("<name>shared<", "<name>theirs<")
    world.fleet.node("c").define(xml)
    with pytest.raises(PrecheckFailed, match="used by theirs on c"):
        restore(world.hands, "attempt-s", "b", start=True)
    assert world.fleet.known_on(shared) == []


def test_a_restore_that_fails_leaves_the_disk_that_it_found(world: Whole, shared: str, monkeypatch: pytest.MonkeyPatch):
    before = world.fleet.shared_images[SHARED_DISK]

    def broken(_: str) -> None:
        raise PrecheckFailed("start broke")

    monkeypatch.setattr(world.fleet.node("b"), "start", broken)
    with pytest.raises(PrecheckFailed, match="start broke"):
        restore(world.hands, "attempt-s", "b", start=True)
    assert world.fleet.shared_images[SHARED_DISK] is before


# --- wipe: whose files -----------------------------------------------------------------------------------------------


def recreated(world: Whole, node: str) -> None:
    """Somebody made the vm anew, under the old name, on the files that the archived one left."""
    xml = world.fleet.node("a").domain_xml(world.vm).replace(world.vm, NEW_UUID)
    world.fleet.node("a").undefine(world.vm, with_snapshots=True)
    world.fleet.node("a").power_off(world.other)
    world.fleet.node("a").undefine(world.other)
    world.fleet.node(node).define(xml)


@pytest.mark.parametrize("node", ["a", "b"])
def test_a_wipe_leaves_what_a_vm_of_the_same_name_uses_wherever_it_is(world: Whole, node: str):
    archived_and_off(world)
    recreated(world, node)
    had = {path: content for path, content in world.files("a").items() if world.vm not in path}
    record = wipe(world.hands, "attempt-1", by="root")
    assert had.items() <= world.files("a").items()
    left = {image.path: image.done for image in record.images if not image.wiped}
    used = "left: also used by whole" + ("" if node == "a" else " on b")
    assert left[DISK] == used
    assert left[BASE] == (used if node == "a" else "left: an image that lies on it is left too")
    assert next(done for path, done in left.items() if "nvram" in path) == used
    assert not record.complete


def test_a_vm_that_comes_while_the_wipe_goes_on_keeps_its_files(world: Whole):
    archived_and_off(world)

    def come(text: str) -> None:
        if text.startswith("wiping") and NEW_UUID not in world.fleet.machines["a"].domains:
            recreated(world, "a")

    had = world.files("a")
    record = wipe(world.hands, "attempt-1", by="root", tell=come)
    assert world.files("a")[DISK] == had[DISK]
    assert {image.done for image in record.images if image.path == DISK} == {"left: also used by whole"}


def nvram_at(world: Whole, path: str) -> None:
    domain, files = world.fleet.machines["a"].domains[world.vm], world.fleet.machines["a"].state_files
    assert domain.described.nvram is not None
    files[path] = files.pop(domain.described.nvram)
    domain.xml = domain.xml.replace(domain.described.nvram, path)
    domain.described = parse_domain(domain.xml)


def test_newer_uefi_variables_are_not_wiped(world: Whole):
    archived_and_off(world)
    path = next(path for path in world.fleet.machines["a"].state_files if "nvram" in path)
    world.fleet.machines["a"].state_files[path] = b"newer"
    had = world.files("a")
    with pytest.raises(PrecheckFailed, match="was written to since"):
        wipe(world.hands, "attempt-1", by="root")
    assert world.files("a") == had


def test_uefi_variables_that_other_nodes_reach_are_left(world: Whole):
    path = f"{SHARED_DIRECTORY}/whole_VARS.fd"
    nvram_at(world, path)
    archived_and_off(world)
    world.fleet.machines["a"].state_files[path] = b"newer"
    record = wipe(world.hands, "attempt-1", by="root")
    assert world.files("a")[path] == b"newer"
    (done,) = {image.done for image in record.images if image.path == path}
    assert done == "left: other nodes reach it and may use it"


def test_the_kernel_of_the_host_is_not_wiped(world: Whole):
    domain = world.fleet.machines["a"].domains[world.vm]
    domain.xml = domain.xml.replace("</os>", "<kernel>/boot/vmlinuz</kernel></os>")
    domain.described = parse_domain(domain.xml)
    world.fleet.machines["a"].state_files["/boot/vmlinuz"] = b"kernel"
    archived_and_off(world)
    wipe(world.hands, "attempt-1", by="root")
    assert world.files("a")["/boot/vmlinuz"] == b"kernel"


# --- recovery --------------------------------------------------------------------------------------------------------


def test_recovery_leaves_a_wipe_and_a_restore_that_go_on_alone(world: Whole):
    archived_and_off(world)
    looked: list[str] = []

    def recovery(text: str) -> None:
        if "archive" not in text.split()[:3]:
            recover_attempts(world.hands, POLICY)
            assert list(world.journal.locks()) == [world.vm], text
            looked.append(text.split()[0])

    wipe(world.hands, "attempt-1", by="root", tell=recovery)
    world.fleet.node("a").undefine(world.vm, with_snapshots=True)
    restore(world.hands, "attempt-1", "b", start=True, tell=recovery)
    assert set(looked) >= {"comparing", "wiping", "writing"}
    assert world.fleet.running_on(world.vm) == ["b"]
    assert not needs_recovery(world.journal)


def test_after_a_kill_the_same_command_again_is_enough(world: Whole):
    archive_and_forget(world)
    assert killed_after(60, world.hands, lambda hands: restore(hands, "attempt-1", "c", start=True))
    assert world.journal.locks()
    restore(world.hands, "attempt-1", "b", start=True)
    assert world.fleet.running_on(world.vm) == ["b"]
    assert world.fleet.known_on(world.vm) == ["b"]
    assert world.fleet.machines["c"].images == {}


class Killed(BaseException):
    pass


class Mortal:
    """Something that lifeboat acts through, until lifeboat is killed: nothing it does then reaches anything."""

    def __init__(self, real: Any, life: Life) -> None:
        self._real, self._life = real, life

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._real, name)
        if not callable(attribute):
            return attribute

        def step(*arguments: Any, **options: Any) -> Any:
            self._life.live()
            result = attribute(*arguments, **options)
            self._life.live()
            return result

        return step


class Life:
    """So many steps, before and after every call, and then no more."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def live(self) -> None:
        if self.left <= 0:
            raise Killed
        self.left -= 1

    def hands(self, hands: Resources) -> Resources:
        nodes = {name: Mortal(node, self) for name, node in hands.nodes.items()}
        return replace(hands, nodes=nodes, journal=Mortal(hands.journal, self))


def killed_after(steps: int, hands: Resources, act: Callable[[Resources], object]) -> bool:
    """Whether it was killed before it was over."""
    try:
        act(Life(steps).hands(hands))
    except Killed:
        return True
    return False


@pytest.mark.slow
def test_wherever_a_restore_is_killed_it_is_whole_or_gone_and_the_next_one_works(tmp_path: Path):
    def begin(hands: Resources) -> None:
        restore(hands, "attempt-1", "c", start=True)

    for steps in range(0, 1000, 3):
        world = Whole(tmp_path / str(steps))
        archive_and_forget(world)
        killed = killed_after(steps, world.hands, begin)
        recover_attempts(world.hands, POLICY)
        assert (world.journal.locks(), open_archive_actions(world.journal)) == ({}, []), steps
        if not world.fleet.known_on(world.vm):
            assert not [path for path in world.files("c") if path in world.fleet.machines["c"].images], steps
            begin(world.hands)
        assert world.fleet.known_on(world.vm) == ["c"], steps
        assert world.fleet.machines["c"].domains[world.vm].snapshots == 2
        assert len(world.files("c")) == 6
        assert not world.fleet.ran_twice
        world.journal.close()
        if not killed:
            return
    raise AssertionError("it came to no end")


@pytest.mark.slow
def test_wherever_a_wipe_is_killed_the_next_one_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def begin(hands: Resources) -> None:
        wipe(hands, "attempt-1", by="root")

    for steps in range(1, 1000, 3):
        world = Whole(tmp_path / str(steps))
        archived_and_off(world)
        had = world.files_of_vm()
        killed = killed_after(steps, world.hands, begin)
        images = world.fleet.machines["a"].images
        for path, image in images.items():  # killed in the middle of a file: half of it is zeros
            if path in had and not any(image.content):
                half = len(image.content) // 2
                images[path] = replace(image, content=bytes(half) + had[path][half:])
        recover_attempts(world.hands, POLICY)
        assert (world.journal.locks(), open_archive_actions(world.journal)) == ({}, []), steps
        if killed:
            begin(world.hands)
        assert not world.files_of_vm().keys() - {BASE}, steps
        world.fleet.node("a").undefine(world.vm, with_snapshots=True)
        restore(world.hands, "attempt-1", "b", start=True)
        assert world.files("b") == had
        world.journal.close()
        if not killed:
            return
    raise AssertionError("it came to no end")


def test_a_vm_that_was_about_to_be_given_free_is_free_for_the_next_command(
    world: Whole, monkeypatch: pytest.MonkeyPatch
):
    archive_and_forget(world)

    def dies(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(world.journal, "unlock", dies)
    with pytest.raises(Killed):
        restore(world.hands, "attempt-1", "c", start=True)
    monkeypatch.undo()
    with pytest.raises(PrecheckFailed, match="node c has it already"):
        restore(world.hands, "attempt-1", "c", start=True)
    assert world.journal.locks() == {}
    assert world.fleet.running_on(world.vm) == ["c"]


def test_files_that_an_earlier_wipe_removed_are_on_record_as_wiped(world: Whole):
    archived_and_off(world)
    wipe(world.hands, "attempt-1", by="root")
    again = wipe(world.hands, "attempt-1", by="root")
    its_own = [image for image in again.images if image.path != BASE]
    assert all(image.wiped and "by an earlier wipe" in image.done for image in its_own), again.images


def test_files_that_somebody_else_removed_are_not(world: Whole):
    archived_and_off(world)
    world.fleet.machines["a"].images.pop(next(path for path in world.files_of_vm() if "whole-0" in path))
    record = wipe(world.hands, "attempt-1", by="root")
    (gone,) = [image for image in record.images if "whole-0" in image.path]
    assert not gone.wiped
    assert not record.complete


@pytest.mark.slow
def test_what_was_written_to_after_a_wipe_was_cut_off_is_not_wiped(world: Whole):
    archived_and_off(world)
    steps = 1
    while not any(entry.kind == "wipe-image" for entry in world.journal.entries()):
        with pytest.raises(Killed):
            wipe(Life(steps).hands(world.hands), "attempt-1", by="root")
        recover_attempts(world.hands, POLICY)
        steps += 1
    wiped = next(entry.record for entry in world.journal.entries() if entry.kind == "wipe-image")
    path = getattr(wiped, "path", "")
    files = world.fleet.machines["a"].state_files
    files[path] = b"newer" + files[path][5:]
    with pytest.raises(LifeboatError, match="was written to since"):
        wipe(world.hands, "attempt-1", by="root")
    assert world.files("a")[path].startswith(b"newer")
