"""A live migration that does not converge, on simulated nodes: the ladder bites, and nothing it took is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from scenes.simulated_world import World

from agent.actions.attempt import AttemptContext
from agent.actions.live.disk_throttle import stricter_limits
from agent.actions.progress import Progress
from agent.actions.runner import recover_attempts, run_attempt
from models.errors import MigrationFailed
from models.evacuation import Attempt, AttemptOutcome
from models.fleet import Vm, VmState
from models.plan import Action, ActionKind
from models.policy.policy import Policy
from tools.ports.records.migration import DirtyRateMeasured, DisksThrottled, LadderStepTaken
from tools.simulated.migration import Phase
from tools.simulated.state import LOCAL_DIRECTORY

MB = 1_000_000


class Move:
    """One attempt at moving `web` (or another vm) from a to b, on a 125 MB/s link."""

    def __init__(self, world: World, vm: str = "", **policy: Any) -> None:
        self.world, self.uuid = world, vm or world.web
        self.policy = Policy.model_validate({"migration": policy})
        self.seen: list[Progress] = []

    def run(self) -> Attempt:
        vm = next(vm for vm in self.world.fleet.node("a").vms() if vm.uuid == self.uuid)
        return run_attempt(self.context(vm))

    def context(self, vm: Vm) -> AttemptContext:
        action = Action(
            kind=ActionKind.LIVE_MIGRATE, vm=vm.uuid, vm_name=vm.name, source="a", target="b", reason="a test",
            estimated_seconds=10, estimated_downtime_seconds=0.3,
        )  # fmt: skip
        return AttemptContext(
            id="attempt-1",
            evacuation="evac-1",
            action=action,
            vm=vm,
            policy=self.policy,
            hands=self.world.hands,
            on_progress=self.seen.append,
        )

    def steps(self) -> list[str]:
        return [taken.record.step for taken in self.world.journal.of(LadderStepTaken, attempt="attempt-1")]

    def dirties(self, rate: float, *, by_disk: float = 0.0) -> Move:
        guest = self.world.fleet.guests[self.uuid]
        guest.dirty_bytes_per_second, guest.io_dirty_bytes_per_second = rate, by_disk
        return self


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    assert not world.fleet.ran_twice or "twice" in str(world.journal.entries()[-2].record)
    world.journal.close()


def test_a_vm_that_rewrites_more_than_the_link_carries_is_refused_before_anything_is_touched(world: World) -> None:
    attempt = Move(world, dirty_probe="500ms").dirties(400e6).run()
    assert (attempt.outcome, attempt.error_code) == (AttemptOutcome.REFUSED, "wont-converge")
    assert "400.0 MB/s" in attempt.message
    assert "move it cold" in attempt.message
    assert {entry.kind for entry in world.journal.entries(attempt="attempt-1")} == {"dirty-rate", "result"}
    assert world.fleet.known_on(world.web) == ["a"]


def test_a_quiet_second_of_a_busy_guest_does_not_start_a_move_that_would_not_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [150e6, 400e6, 400e6]
    monkeypatch.setattr(world.fleet.node("a"), "measure_dirty_rate", lambda *_: samples.pop(0))
    attempt = Move(world, dirty_probe="500ms").run()
    assert (attempt.outcome, attempt.error_code) == (AttemptOutcome.REFUSED, "wont-converge")
    assert world.fleet.known_on(world.web) == ["a"]


def test_advice_to_wait_names_the_time(world: World) -> None:
    assert Move(world, dirty_probe="500ms").dirties(1e6).run().outcome is AttemptOutcome.DONE
    world.fleet.clock.sleep(20 * 3600)
    busy = world.fleet.add_vm("a", "busy", shared=True, memory_bytes=1 << 30)
    world.journal.append(DirtyRateMeasured(vm=busy, bytes_per_second=1e6), now=world.fleet.clock.now())
    world.fleet.clock.sleep(10 * 3600)
    attempt = Move(world, busy, dirty_probe="500ms").dirties(400e6).run()
    assert "try again at 2026-01-02 20:00" in attempt.message


def test_what_was_measured_stands_beside_what_was_expected(world: World) -> None:
    attempt = Move(world, dirty_probe="500ms").dirties(5e6).run()
    measured = attempt.measured
    assert measured.dirty_bytes_per_second == 5e6
    assert measured.bytes_per_second == pytest.approx(125e6, rel=0.1)
    assert measured.estimated_seconds == pytest.approx(measured.seconds, rel=0.5)
    assert (measured.downtime_seconds or 1) <= (measured.estimated_downtime_seconds or 0)
    assert measured.guest_answered is None


@pytest.mark.parametrize(("answers", "word"), [(True, ""), (False, "did not answer")])
def test_whether_the_guest_answers_is_said(world: World, answers: bool, word: str) -> None:
    world.fleet.guests[world.web].agent_answers = answers
    attempt = Move(world).run()
    assert (attempt.outcome, attempt.measured.guest_answered) == (AttemptOutcome.DONE, answers)
    assert word in attempt.message


def test_the_ladder_raises_the_pause_in_steps_and_gives_up_as_found(world: World) -> None:
    move = Move(world, dirty_probe="0s", auto_converge=False).dirties(400e6)
    attempt = move.run()
    assert (attempt.outcome, move.steps()) == (AttemptOutcome.FAILED, ["raise_downtime", "raise_downtime"])
    assert "given up: no progress for" in attempt.message
    assert "running on a, absent from b" in attempt.message
    assert world.fleet.running_on(world.web) == ["a"]
    assert world.fleet.clock.monotonic() < 300, "long before the timeout of 15 minutes"


def test_a_guest_slowed_to_a_standstill_is_let_go(world: World) -> None:
    move = Move(world, dirty_probe="0s").dirties(4e9)
    attempt = move.run()
    assert attempt.outcome is AttemptOutcome.FAILED
    assert "the guest is slowed by" in attempt.message


def test_a_longer_pause_can_be_what_it_takes(world: World) -> None:
    ladder = [
        {"when": {"after": "0s"}, "do": {"downtime": "100ms"}},
        {"when": {"stalled": "5s"}, "do": {"downtime": "12s"}},
    ]
    move = Move(world, dirty_probe="0s", auto_converge=False, ladder=ladder, last_downtime="12s").dirties(126e6)
    attempt = move.run()
    assert (attempt.outcome, move.steps()) == (AttemptOutcome.DONE, ["raise_downtime"])
    assert 1 < (attempt.measured.downtime_seconds or 0) < 12


def test_post_copy_where_policy_allows_it(world: World) -> None:
    move = Move(world, dirty_probe="0s", auto_converge=False, post_copy=True).dirties(400e6)
    attempt = move.run()
    assert (attempt.outcome, move.steps()) == (AttemptOutcome.DONE, ["post_copy"])
    assert world.fleet.running_on(world.web) == ["b"]
    assert any(each.phase == "fetching the rest" for each in move.seen)


def test_post_copy_that_loses_its_link_is_for_a_human(world: World) -> None:
    move = Move(world, dirty_probe="0s", auto_converge=False, post_copy=True).dirties(400e6)
    world.fleet.when(world.web, Phase.HANDED_OVER, lambda: world.fleet.cut_link("a", "b"))
    assert move.run().outcome is AttemptOutcome.INDETERMINATE


def test_suspending_where_policy_allows_it(world: World) -> None:
    ladder = [{"when": {"stalled": "5s"}, "do": "suspend"}]
    move = Move(world, dirty_probe="0s", auto_converge=False, suspend=True, ladder=ladder).dirties(400e6)
    attempt = move.run()
    assert (attempt.outcome, world.fleet.running_on(world.web)) == (AttemptOutcome.DONE, ["b"])
    assert (attempt.measured.downtime_seconds or 0) > 1


def test_progress_has_the_figures(world: World) -> None:
    move = Move(world).dirties(20e6)
    move.run()
    copies = [each.copy for each in move.seen if each.copy is not None]
    assert copies
    assert {round(copy.bytes_per_second) for copy in copies} == {125 * MB}
    assert any(copy.expected_seconds for copy in copies)
    fractions = [each.fraction for each in move.seen if each.phase == "copying" and each.fraction is not None]
    assert fractions == sorted(fractions)
    assert "MB left at 125 MB/s" in str(copies[-1])


class TestDisksHeld:
    """A guest that fills its memory from its disks: holding the disks brings it over, and they are given back."""

    def move(self, world: World, **policy: Any) -> Move:
        # The planner takes three times the rate: 45 MB/s is past 0.9 of 125 MB/s, and slowed by QEMU it would converge.
        return Move(world, dirty_probe="500ms", **policy).dirties(0.0, by_disk=45e6)

    def limits(self, world: World, node: str) -> dict[str, int]:
        return world.fleet.node(node).io_limits(world.web)["vda"]

    def held(self, world: World) -> bool:
        return bool(world.journal.of(DisksThrottled))

    def test_after_a_move(self, world: World) -> None:
        world.fleet.node("a").set_io_limits(world.web, {"vda": {"total_bytes_sec": 90 * MB}})
        during: list[int] = []
        world.fleet.when(world.web, Phase.COPYING, lambda: during.append(self.limits(world, "a")["total_bytes_sec"]))
        assert self.move(world).run().outcome is AttemptOutcome.DONE
        assert during == [20 * MB]
        assert self.limits(world, "b")["total_bytes_sec"] == 90 * MB

    @pytest.mark.parametrize("phase", [Phase.BEGIN, Phase.COPYING, Phase.SWITCHOVER])
    def test_after_a_move_that_failed(self, world: World, phase: Phase) -> None:
        world.fleet.when(world.web, phase, lambda: world.fleet.cut_link("a", "b"))
        assert self.move(world).run().outcome is AttemptOutcome.FAILED
        assert self.held(world)
        assert self.limits(world, "a")["total_bytes_sec"] == 0

    @pytest.mark.parametrize("fails", [False, True])
    def test_after_a_crash(self, world: World, fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        class Killed(BaseException):
            """Stands for SIGKILL: nothing of lifeboat runs after it."""

        move, nodes = self.move(world), (world.fleet.node("a"), world.fleet.node("b"))
        original = nodes[0].migrate_live
        if fails:
            world.fleet.when(world.web, Phase.COPYING, lambda: world.fleet.cut_link("a", "b"))

        def dead(*_: Any) -> None:
            raise Killed

        def die(*args: Any) -> None:
            with suppress(MigrationFailed):
                original(*args)
            for node in nodes:
                monkeypatch.setattr(node, "set_io_limits", dead)
            raise Killed

        monkeypatch.setattr(nodes[0], "migrate_live", die)
        with pytest.raises(Killed):
            move.run()
        monkeypatch.undo()
        where = "a" if fails else "b"
        assert world.fleet.running_on(world.web) == [where]
        assert self.limits(world, where)["total_bytes_sec"] == 20 * MB, "held when lifeboat died"
        world.journal.close()
        world.reopen()
        recover_attempts(world.hands, Policy())
        assert self.limits(world, where)["total_bytes_sec"] == 0

    def test_a_node_that_is_silent_at_the_end_is_named_and_the_next_start_gives_back(self, world: World) -> None:
        move = self.move(world)
        world.fleet.when(world.web, Phase.DONE, lambda: world.fleet.cut_off("b"))
        attempt = move.run()
        assert "held back on b" in attempt.message
        world.fleet.reconnect()
        assert self.limits(world, "b")["total_bytes_sec"] == 20 * MB
        recover_attempts(world.hands, Policy())
        assert self.limits(world, "b")["total_bytes_sec"] == 0

    def test_a_limit_that_somebody_else_has_set_since_stays(self, world: World) -> None:
        move = self.move(world)
        world.fleet.when(world.web, Phase.DONE, lambda: world.fleet.cut_off("b"))
        move.run()
        world.fleet.reconnect()
        world.fleet.node("b").set_io_limits(world.web, {"vda": {"total_bytes_sec": 7 * MB}})
        recover_attempts(world.hands, Policy())
        assert self.limits(world, "b")["total_bytes_sec"] == 7 * MB

    @pytest.mark.parametrize(
        ("now", "then"),
        [
            ({}, {"total_bytes_sec": 20 * MB}),
            ({"total_bytes_sec": 5 * MB}, {"total_bytes_sec": 5 * MB}),
            ({"total_bytes_sec": 50 * MB}, {"total_bytes_sec": 20 * MB}),
            ({"write_bytes_sec": 5 * MB}, {"read_bytes_sec": 20 * MB, "write_bytes_sec": 5 * MB}),
        ],
    )
    def test_a_tighter_limit_stays(self, now: dict[str, int], then: dict[str, int]) -> None:
        assert {k: v for k, v in stricter_limits({"vda": now}, 20 * MB)["vda"].items() if v} == then


class TestTwoCopies:
    def test_a_source_that_libvirt_resumed_is_paused_and_a_human_called(self, world: World) -> None:
        world.fleet.lost_finish_resumes_source = True
        world.fleet.when(world.web, Phase.HANDED_OVER, lambda: world.fleet.cut_link("a", "b"))
        attempt = Move(world).run()
        assert attempt.outcome is AttemptOutcome.INDETERMINATE
        assert "it ran twice, on a and on b; the copy on a was paused" in attempt.message
        assert world.fleet.running_on(world.web) == ["b"]
        assert world.journal.locks() == {world.web: "attempt-1"}

    def test_a_target_that_can_not_be_seen_then_is_not_taken_for_absent(self, world: World) -> None:
        world.fleet.lost_finish_resumes_source = True

        def lost() -> None:
            world.fleet.cut_link("a", "b")
            world.fleet.cut_off("b")

        world.fleet.when(world.web, Phase.HANDED_OVER, lost)
        attempt = Move(world).run()
        assert attempt.outcome is AttemptOutcome.INDETERMINATE
        assert "may run twice" in attempt.message


def test_a_job_that_outlives_the_call_is_ended_before_anything_is_called_as_found(world: World) -> None:
    """lifeboat loses its connection to the source for a moment; libvirt's job goes on without it."""

    def blink() -> None:
        world.fleet.cut_off("a")
        world.fleet.when(world.web, Phase.SWITCHOVER, lambda: None)

    world.fleet.when(world.web, Phase.COPYING, blink)
    move = Move(world, bandwidth_bytes_per_second=10 * MB)
    original = world.fleet.node("a").migrate_live

    def back(*args: Any) -> None:
        try:
            original(*args)
        finally:
            world.fleet.reconnect("a")

    world.fleet.node("a").migrate_live = back  # type: ignore[method-assign]
    attempt = move.run()
    assert (attempt.outcome, world.fleet.running_on(world.web)) == (AttemptOutcome.FAILED, ["a"])
    world.fleet.clock.sleep(600)
    assert world.fleet.running_on(world.web) == ["a"], "it stays where the report says it is"
    assert world.fleet.known_on(world.web) == ["a"]


class TestOldDisks:
    PATH = f"{LOCAL_DIRECTORY}/db-0.raw"

    def on(self, world: World) -> set[str]:
        return {name for name, machine in world.fleet.machines.items() if self.PATH in machine.images}

    def test_kept_and_named_by_default(self, world: World) -> None:
        attempt = Move(world, world.db).run()
        assert (attempt.outcome, self.on(world)) == (AttemptOutcome.DONE, {"a", "b"})
        assert f"a keeps {self.PATH}" in attempt.message
        assert self.PATH in attempt.evidence[0].detail

    def test_removed_where_policy_says_so_and_only_after_the_vm_was_seen_with_its_copy(self, world: World) -> None:
        attempt = Move(world, world.db, old_disks="delete").run()
        assert (attempt.outcome, self.on(world)) == (AttemptOutcome.DONE, {"b"})
        assert world.fleet.running_on(world.db) == ["b"]

    def test_an_image_that_another_vm_uses_stays(self, world: World) -> None:
        """Somebody defines it while the move runs: one that is known before is not parted from its image at all."""
        other = world.fleet.add_vm("a", "twin", state=VmState.SHUTOFF)
        twin = world.fleet.machines["a"].domains[other]
        xml = twin.xml.replace("twin-0.raw", "db-0.raw")
        world.fleet.node("a").undefine(other)
        world.fleet.when(world.db, Phase.COPYING, lambda: world.fleet.node("a").define(xml))
        attempt = Move(world, world.db, old_disks="delete").run()
        assert (attempt.outcome, self.on(world)) == (AttemptOutcome.DONE, {"a", "b"})

    @pytest.mark.parametrize("phase", [Phase.COPYING, Phase.HANDED_OVER])
    def test_a_move_that_is_not_done_removes_nothing_at_the_source(self, world: World, phase: Phase) -> None:
        world.fleet.when(world.db, phase, lambda: world.fleet.cut_link("a", "b"))
        assert Move(world, world.db, old_disks="delete").run().outcome is not AttemptOutcome.DONE
        assert "a" in self.on(world)

    def test_it_stays_when_another_vm_has_it_far_below_its_disk(self, world: World):
        path, above = self.PATH, f"{LOCAL_DIRECTORY}/above.qcow2"
        world.fleet.add_image("a", above, 1 << 20, backing=path)
        other = world.fleet.add_vm("c", "late", backing=above, disk_bytes=(1 << 20,), state=VmState.SHUTOFF)

        def comes() -> None:
            machines = world.fleet.machines
            machines["a"].domains[other] = machines["c"].domains[other]
            machines["a"].images[f"{LOCAL_DIRECTORY}/late-0.raw"] = machines["c"].images[
                f"{LOCAL_DIRECTORY}/late-0.raw"
            ]

        world.fleet.when(world.db, Phase.SWITCHOVER, comes)
        attempt = Move(world, world.db, old_disks="delete").run()
        assert attempt.outcome is AttemptOutcome.DONE
        assert path in world.fleet.machines["a"].images
