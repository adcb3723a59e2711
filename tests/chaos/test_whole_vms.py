"""Cold moves of vms that are more than their disks: chains of images, UEFI variables, TPM state, snapshots.

On a simulated fleet: what an archive holds brings a vm up on another node, what failed leaves nothing, a cut-off copy is
gone on from, and a wipe destroys only what the archive holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scenes.simulated_world import POLICY
from scenes.whole_vm import BASE, SNAPSHOT, Whole, archive_and_forget, archived_and_off, fail_at

from agent.actions.progress import Progress
from agent.actions.runner import recover_attempts, run_attempt
from agent.archives.restore import restore
from agent.archives.wipe import wipe
from models.errors import ActionFailed, ArchiveFailed, LifeboatError, NodeUnreachable, PrecheckFailed, Refused
from models.evacuation import AttemptOutcome, ObservedState
from models.plan import ActionKind
from models.policy.policy import ArchivePolicy, SourceRelease
from tools.simulated.state import LOCAL_DIRECTORY


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Whole]:
    world = Whole(tmp_path)
    yield world
    world.journal.close()


def test_a_cold_move_takes_everything_along(world: Whole):
    had = world.files_of_vm()
    assert len(had) == 6
    done = world.attempt(ActionKind.COLD_MIGRATE)
    assert done.outcome is AttemptOutcome.DONE, done.message
    assert world.fleet.running_on(world.vm) == ["b"]
    assert world.files("b") == had
    assert world.fleet.machines["b"].domains[world.vm].snapshots == 2
    assert world.fleet.known_on(world.vm) == ["b"]


def test_a_template_that_is_there_already_is_used_as_it_is(world: Whole):
    world.fleet.machines["b"].images[BASE] = world.fleet.machines["a"].images[BASE]
    before = world.fleet.machines["b"].images[BASE]
    done = world.attempt(ActionKind.COLD_MIGRATE)
    assert done.outcome is AttemptOutcome.DONE, done.message
    assert world.fleet.machines["b"].images[BASE] is before


def test_another_template_of_that_name_stops_it_before_the_guest_is(world: Whole):
    world.fleet.add_image("b", BASE)
    done = world.attempt(ActionKind.COLD_MIGRATE)
    assert done.outcome is AttemptOutcome.REFUSED
    assert "with other content" in done.message
    assert world.fleet.running_on(world.vm) == ["a"]
    assert list(world.files("b")) == [BASE]


def test_the_guest_runs_while_the_images_below_its_disks_are_copied(world: Whole, monkeypatch: pytest.MonkeyPatch):
    running: dict[str, bool] = {}
    create = world.fleet.node("b").create_disk

    def noticed(path: str, **how: Any) -> None:
        running[path] = world.fleet.running_on(world.vm) == ["a"]
        create(path, **how)

    monkeypatch.setattr(world.fleet.node("b"), "create_disk", noticed)
    done = world.attempt(ActionKind.COLD_MIGRATE)
    assert done.outcome is AttemptOutcome.DONE
    assert running[BASE]
    assert running[SNAPSHOT]
    assert not running[f"{LOCAL_DIRECTORY}/whole-0.raw"]
    assert done.measured.downtime_seconds is not None
    assert done.measured.seconds is not None
    assert done.measured.downtime_seconds < done.measured.seconds


@pytest.mark.parametrize(
    "step", ["create_disk", "write_disk", "write_state_file", "define", "restore_snapshots", "start"]
)
@pytest.mark.parametrize("nth", [1, 3])
def test_a_cold_move_that_fails_leaves_nothing_at_the_target(
    world: Whole, step: str, nth: int, monkeypatch: pytest.MonkeyPatch
):
    calls = fail_at(monkeypatch, world.fleet.node("b"), step, nth)
    done = world.attempt(ActionKind.COLD_MIGRATE)
    if len(calls) < nth:
        assert done.outcome is AttemptOutcome.DONE
        return
    assert done.outcome is AttemptOutcome.FAILED, done.message
    assert world.files("b") == {}
    assert world.fleet.known_on(world.vm) == ["a"]
    assert world.fleet.running_on(world.vm) == ["a"]
    assert world.fleet.machines["a"].domains[world.vm].snapshots == 2


def test_an_archive_brings_the_whole_vm_back_on_another_node(world: Whole):
    had = world.files_of_vm()
    policy = POLICY.model_copy(update={"archive": ArchivePolicy(release_source=SourceRelease.UNDEFINE)})
    done = world.attempt(ActionKind.COLD_ARCHIVE, policy)
    assert done.outcome is AttemptOutcome.DONE, done.message
    assert world.fleet.known_on(world.vm) == []
    assert world.store.leftovers() == []
    world.fleet.kill_node("a")
    sight = restore(world.hands, "attempt-1", "c", start=True, gone=frozenset({"a"}))
    assert sight.seen is ObservedState.RUNNING
    assert world.files("c") == had
    assert world.fleet.machines["c"].domains[world.vm].snapshots == 2
    assert world.fleet.running_on(world.vm) == ["c"]


@pytest.mark.parametrize(
    "step", ["create_disk", "write_disk", "write_state_file", "define", "restore_snapshots", "start"]
)
@pytest.mark.parametrize(
    ("nth", "error"), [(1, ActionFailed("broke")), (3, ActionFailed("broke")), (1, KeyboardInterrupt())]
)
def test_a_restore_that_fails_leaves_nothing(
    world: Whole, step: str, nth: int, error: Exception, monkeypatch: pytest.MonkeyPatch
):
    archive_and_forget(world)
    calls = fail_at(monkeypatch, world.fleet.node("c"), step, nth, error)
    try:
        restore(world.hands, "attempt-1", "c", start=True)
    except type(error):
        assert world.files("c") == {}
        assert world.fleet.known_on(world.vm) == []
    else:
        assert len(calls) < nth
        assert world.fleet.running_on(world.vm) == ["c"]


def test_a_restore_whose_answer_to_start_was_lost_takes_nothing_from_the_running_vm(
    world: Whole, monkeypatch: pytest.MonkeyPatch
):
    archive_and_forget(world)
    start = world.fleet.node("c").start

    def starts_and_is_silent(uuid: str) -> None:
        start(uuid)
        raise NodeUnreachable("node c: no answer")

    monkeypatch.setattr(world.fleet.node("c"), "start", starts_and_is_silent)
    with pytest.raises(NodeUnreachable):
        restore(world.hands, "attempt-1", "c", start=True)
    assert world.fleet.running_on(world.vm) == ["c"]
    assert len(world.files("c")) == 6


def test_a_restore_reads_back_what_it_wrote(world: Whole, monkeypatch: pytest.MonkeyPatch):
    archive_and_forget(world)
    write = world.fleet.node("c").write_disk

    def rots(path: str, chunks: Iterator[bytes], **how: Any) -> int:
        length = write(path, chunks, **how)
        images = world.fleet.machines["c"].images
        images[path] = replace(images[path], content=images[path].content[:-1] + b"\1")
        return length

    monkeypatch.setattr(world.fleet.node("c"), "write_disk", rots)
    with pytest.raises(ArchiveFailed, match="reads back otherwise"):
        restore(world.hands, "attempt-1", "c", start=True)
    assert world.files("c") == {}


def test_a_restore_overwrites_nothing(world: Whole):
    archive_and_forget(world)
    world.fleet.add_image("c", f"{LOCAL_DIRECTORY}/whole-0.raw")
    had = world.files("c")
    with pytest.raises(PrecheckFailed, match="exists on node c already"):
        restore(world.hands, "attempt-1", "c", start=True)
    assert world.files("c") == had


# --- interrupted -----------------------------------------------------------------------------------------------------


def cut_off_at(world: Whole, monkeypatch: pytest.MonkeyPatch, path: str, do: Callable[[], None]) -> None:
    """Have `do` happen once, in the middle of the reading of an image."""
    node = world.fleet.node("a")
    read = node.read_disk

    def reads(wanted: str, **how: Any) -> Generator[bytes]:
        for chunk in read(wanted, **how):
            if wanted == path:
                monkeypatch.setattr(node, "read_disk", read)
                do()
            yield chunk

    monkeypatch.setattr(node, "read_disk", reads)


class Killed(BaseException):
    pass


def test_after_a_crash_the_vm_is_put_back_and_the_next_archive_goes_on(world: Whole, monkeypatch: pytest.MonkeyPatch):
    def kill() -> None:
        raise Killed

    cut_off_at(world, monkeypatch, f"{LOCAL_DIRECTORY}/whole-1.raw", kill)
    with pytest.raises(Killed):
        world.attempt(ActionKind.COLD_ARCHIVE)
    world.journal.close()
    world.reopen()
    (recovered,) = recover_attempts(world.hands, POLICY)
    assert recovered.outcome is AttemptOutcome.FAILED
    assert world.fleet.running_on(world.vm) == ["a"]
    (left,) = world.store.leftovers()
    assert (left.id, left.vm_uuid) == ("attempt-1", world.vm)
    kept = {path.name for path in (world.directory / "archives/attempt-1").glob("*.zst")}
    assert len(kept) >= 3
    done = world.attempt(ActionKind.COLD_ARCHIVE, number=2)
    assert done.outcome is AttemptOutcome.DONE, done.message
    assert world.store.leftovers() == []
    assert kept <= {path.name for path in (world.directory / "archives/attempt-2").glob("*.zst")}
    world.store.verify("attempt-2")


def test_a_cancelled_archive_puts_the_vm_back_and_keeps_what_it_copied(world: Whole, monkeypatch: pytest.MonkeyPatch):
    ctx = world.context(ActionKind.COLD_ARCHIVE)
    cut_off_at(world, monkeypatch, f"{LOCAL_DIRECTORY}/whole-1.raw", ctx.cancelled.set)
    assert run_attempt(ctx).outcome is AttemptOutcome.CANCELLED
    assert world.fleet.running_on(world.vm) == ["a"]
    assert world.store.entries() == []
    assert [left.id for left in world.store.leftovers()] == ["attempt-1"]


# --- stopping --------------------------------------------------------------------------------------------------------


def test_a_guest_whose_agent_does_nothing_hears_the_button(world: Whole):
    world.fleet.guests[world.vm].agent_does_nothing = True
    assert world.attempt(ActionKind.COLD_ARCHIVE).outcome is AttemptOutcome.DONE


def test_a_guest_that_hears_nothing_runs_on_unless_policy_pulls_its_plug(world: Whole):
    world.fleet.guests[world.vm].stop_seconds = None
    left = world.attempt(ActionKind.COLD_ARCHIVE)
    assert left.outcome is AttemptOutcome.FAILED
    assert "did not stop within 60 s" in left.message
    assert world.fleet.running_on(world.vm) == ["a"]
    policy = POLICY.model_copy(update={"archive": ArchivePolicy(force_off=True)})
    assert world.attempt(ActionKind.COLD_ARCHIVE, policy, number=2).outcome is AttemptOutcome.DONE


@pytest.mark.parametrize("kind", [ActionKind.COLD_ARCHIVE, ActionKind.COLD_MIGRATE])
def test_cancelled_while_the_guest_stops_it_is_waited_for_and_started_again(world: Whole, kind: ActionKind):
    world.fleet.guests[world.vm].stop_seconds = 30.0
    ctx = world.context(kind)

    def tell(progress: Progress) -> None:
        if progress.phase == "stopping":
            ctx.cancelled.set()

    ctx = replace(ctx, on_progress=tell)
    done = run_attempt(ctx)
    assert done.outcome is AttemptOutcome.CANCELLED, done.message
    assert world.fleet.running_on(world.vm) == ["a"]
    world.fleet.clock.sleep(120)
    assert world.fleet.running_on(world.vm) == ["a"], "nothing that was asked of it comes later"
    assert world.files("b") == {}


# --- wipe ------------------------------------------------------------------------------------------------------------


def test_a_wipe_destroys_what_only_this_vm_had_and_signs_for_it(world: Whole):
    had = world.files_of_vm()
    others = world.files("a").keys() - had.keys()
    archived_and_off(world)
    record = wipe(world.hands, "attempt-1", by="root")
    assert world.files("a").keys() == others | {BASE}, "the template is another vm's as well"
    assert world.files("a")[BASE] == had[BASE]
    assert not record.complete
    left = {image.path: image.done for image in record.images if not image.wiped}
    assert left == {BASE: "left: also used by other"}
    assert {image.path for image in record.images if image.wiped} == had.keys() - {BASE}
    assert record.limits
    (path,) = (world.directory / "archives/attempt-1").glob("wipe-*.json")
    stored = json.loads(path.read_bytes())
    assert stored["manifest_sha256"] == world.store.verify("attempt-1").sha256
    signer = world.store._signer
    signer.verify(path.read_bytes(), path.with_suffix(".sig").read_bytes(), what="the record")
    with pytest.raises(ArchiveFailed):
        signer.verify(path.read_bytes() + b" ", path.with_suffix(".sig").read_bytes(), what="the record")
    kinds = [each.kind for each in world.journal.entries()]
    assert kinds.index("wipe-begun") < kinds.index("wiped")
    assert world.journal.locks() == {}
    world.fleet.node("a").undefine(world.vm, with_snapshots=True)
    restore(world.hands, "attempt-1", "b", start=True)
    assert world.files("b") == had


def started_again(world: Whole) -> None:
    world.fleet.node("a").start(world.vm)


def written_to(world: Whole) -> None:
    images, path = world.fleet.machines["a"].images, f"{LOCAL_DIRECTORY}/whole-0.raw"
    images[path] = replace(images[path], content=images[path].content + b"new")


def runs_elsewhere(world: Whole) -> None:
    fleet = world.fleet
    fleet.machines["b"].images.update(fleet.machines["a"].images)
    fleet.machines["b"].state_files.update(fleet.machines["a"].state_files)
    fleet.node("b").define(fleet.node("a").domain_xml(world.vm))
    fleet.node("b").start(world.vm)


def does_not_answer(world: Whole) -> None:
    world.fleet.cut_off("c")


def rotted_archive(world: Whole) -> None:
    path = next((world.directory / "archives/attempt-1").glob("disk-vda.*.zst"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def locked(world: Whole) -> None:
    world.journal.lock(world.vm, "someone", now=world.fleet.clock.now())


@pytest.mark.parametrize(
    ("spoil", "error", "says"),
    [
        (started_again, PrecheckFailed, "node a shows it running"),
        (written_to, PrecheckFailed, "was written to since"),
        (runs_elsewhere, PrecheckFailed, "node b shows it running"),
        (does_not_answer, PrecheckFailed, "does not answer"),
        (rotted_archive, ArchiveFailed, "SHA-256 differs"),
        (locked, Refused, "locked by attempt someone"),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
def test_a_wipe_that_may_lose_something_destroys_nothing(
    world: Whole, spoil: Callable[[Whole], None], error: type[LifeboatError], says: str
):
    archived_and_off(world)
    spoil(world)
    had = world.files("a")
    with pytest.raises(error, match=says):
        wipe(world.hands, "attempt-1", by="root")
    assert world.files("a") == had
    assert not list((world.directory / "archives/attempt-1").glob("wipe-*"))


def test_a_wipe_that_breaks_halfway_says_what_was_wiped(world: Whole, monkeypatch: pytest.MonkeyPatch):
    archived_and_off(world)
    fail_at(monkeypatch, world.fleet.node("a"), "wipe_disk", 2)
    with pytest.raises(ActionFailed, match="the archive itself is untouched"):
        wipe(world.hands, "attempt-1", by="root")
    (path,) = (world.directory / "archives/attempt-1").glob("wipe-*.json")
    images = {image["path"]: image for image in json.loads(path.read_bytes())["images"]}
    for file, image in images.items():
        assert image["wiped"] == (file not in world.files("a"))
    assert any("failed: wipe_disk broke" in image["done"] for image in images.values())
    world.store.verify("attempt-1")


def test_storage_that_keeps_the_data_is_not_called_wiped(world: Whole, monkeypatch: pytest.MonkeyPatch):
    archived_and_off(world)
    monkeypatch.setattr(world.fleet.node("a"), "wipe_disk", lambda path, **_: "discarded")
    with pytest.raises(ActionFailed, match="still reads other than zeros"):
        wipe(world.hands, "attempt-1", by="root")
    assert f"{LOCAL_DIRECTORY}/whole-0.raw" in world.files("a")
