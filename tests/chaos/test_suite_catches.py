"""The suite under test: mistakes planted in lifeboat, and wrong states planted in a fleet, are noticed.

A mistake that no scenario notices would be one that a change could make unseen.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chaos import golden, replay
from chaos.invariants import Before, broken_invariants
from chaos.scenario import SCENARIOS, Scenario, read_scenario
from chaos.stage import SimulatedStage, local_image
from chaos.store_faults import FaultyFileSystem

import agent.actions.cold_archive
import agent.actions.cold_migration
import agent.actions.live.live_migration
from agent.actions.attempt import AttemptContext, AttemptResult
from agent.actions.reconcile import NodeView, ReconcileStep, Reconciliation
from agent.actions.resources import Resources
from models.errors import LifeboatError
from models.evacuation import AttemptOutcome, ObservedState
from tools.simulated.lifecycle import SimulatedLifecycle
from tools.simulated.state import Image
from tools.simulated.storage import SimulatedStorage

Plant = Callable[[pytest.MonkeyPatch], None]
_MISTAKES: list[Any] = []


def mistake(scenario: str, phase: str, noticed: str) -> Callable[[Plant], Plant]:
    """Planted, it makes that scenario say something that holds `noticed`."""

    def register(plant: Plant) -> Plant:
        _MISTAKES.append(pytest.param(plant, scenario, phase, noticed, id=plant.__name__.replace("_", " ")))
        return plant

    return register


def _judge_blindly(patch: pytest.MonkeyPatch, settlement: Reconciliation) -> None:
    """Without looking. Taking the mark off where no vm is fails then, and makes lifeboat look after all: that is kept
    quiet here."""
    patch.setattr(agent.actions.live.live_migration, "reconcile_migration", lambda *_, **__: settlement)
    honest = SimulatedLifecycle.tag_attempt

    def stamp(self: SimulatedLifecycle, uuid: str, attempt: str | None) -> None:
        with suppress(LifeboatError):
            honest(self, uuid, attempt)

    patch.setattr(SimulatedLifecycle, "tag_attempt", stamp)


@mistake("link-cut", "copying", "the journal says done")
def success_is_inferred_from_silence(patch: pytest.MonkeyPatch) -> None:
    _judge_blindly(patch, Reconciliation(ReconcileStep.DONE, "it must have moved"))


@mistake("libvirt-reports-an-error", "done", "the journal says failed")
def failure_is_inferred_from_the_answer(patch: pytest.MonkeyPatch) -> None:
    _judge_blindly(patch, Reconciliation(ReconcileStep.AS_FOUND, "libvirt said so"))


def _unreachable_is_absent(patch: pytest.MonkeyPatch) -> None:
    honest = Resources.observe

    def look(self: Resources, node: str, uuid: str) -> NodeView:
        sight = honest(self, node, uuid)
        return replace(sight, seen=ObservedState.ABSENT) if sight.seen is ObservedState.UNREACHABLE else sight

    patch.setattr(Resources, "observe", look)


@mistake("target-loses-its-network", "handed over", "ran twice at once")
def the_source_is_resumed_while_the_target_is_silent(patch: pytest.MonkeyPatch) -> None:
    _unreachable_is_absent(patch)


@mistake("source-loses-its-network", "handed over", "the journal says done")
def a_silent_source_is_taken_to_have_let_go(patch: pytest.MonkeyPatch) -> None:
    _unreachable_is_absent(patch)


@mistake("link-cut", "handed over", "not locked by that attempt")
def an_indeterminate_vm_is_unlocked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AttemptResult, "keeps_lock", property(lambda _: False))


@mistake("source-dies", "handed over", "does not name")
def an_indeterminate_vm_is_not_explained(patch: pytest.MonkeyPatch) -> None:
    honest = AttemptResult.__init__

    def vague(self: AttemptResult, **named: Any) -> None:
        honest(self, **{**named, "message": "something went wrong"})

    patch.setattr(AttemptResult, "__init__", vague)


def _undefine_once_stopped(patch: pytest.MonkeyPatch, move: Any) -> None:
    honest = move.stop

    def stop(ctx: AttemptContext, source: Any, *more: Any, **named: Any) -> AttemptResult | None:
        ending = honest(ctx, source, *more, **named)
        source.undefine(ctx.vm.uuid)
        return ending

    patch.setattr(move, "stop", stop)


@mistake("cold-move-target-dies", "reads a disk", "is lost")
def the_source_is_undefined_before_anybody_looked(patch: pytest.MonkeyPatch) -> None:
    _undefine_once_stopped(patch, agent.actions.cold_migration)


@mistake("archive-store-full", "says stopping about batch-1", "is lost")
def the_source_is_released_before_its_archive_is_whole(patch: pytest.MonkeyPatch) -> None:
    _undefine_once_stopped(patch, agent.actions.cold_archive)


@mistake("lifeboat-stopped-live", "copying", "carries the mark")
def no_intent_is_written(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AttemptContext, "record_intent", lambda *_: None)


@mistake("archive-store-full", "says stopping about batch-1", "nobody touched it")
def a_failed_archive_leaves_the_vm_off(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        agent.actions.cold_archive,
        "put_back",
        lambda *_, **__: AttemptResult(
            outcome=AttemptOutcome.FAILED, message="as it was found", error_code="archive-failed"
        ),
    )


@mistake("nothing-breaks", "", "carries the mark")
def the_mark_is_never_taken_off(patch: pytest.MonkeyPatch) -> None:
    honest = SimulatedLifecycle.tag_attempt

    def stamp(self: SimulatedLifecycle, uuid: str, attempt: str | None) -> None:
        if attempt is not None:
            honest(self, uuid, attempt)

    patch.setattr(SimulatedLifecycle, "tag_attempt", stamp)


@mistake("link-cut", "copying", "is left on node-b")
def what_was_made_at_the_target_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimulatedStorage, "delete_disk", lambda *_: None)


@pytest.mark.parametrize(("plant", "scenario", "phase", "noticed"), _MISTAKES)
def test_a_planted_mistake_is_noticed(
    plant: Plant, scenario: str, phase: str, noticed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = read_scenario(SCENARIOS / scenario)
    assert golden.play_simulated(read, phase).broken == [], "the scenario holds without the mistake"
    plant(monkeypatch)
    broken = golden.play_simulated(read, phase).broken
    assert any(noticed in each for each in broken), broken


def test_a_wrong_exit_code_is_a_changed_log(monkeypatch: pytest.MonkeyPatch) -> None:
    read = read_scenario(SCENARIOS / "link-cut")
    monkeypatch.setattr(replay, "exit_code_of", lambda _: 0)
    told = golden.play_simulated(read, "handed over")
    changed = golden.difference(golden.lines_for(read, "handed over"), told.lines, read.name)
    assert "-apply: exit 4, indeterminate" in changed
    assert "+apply: exit 0, indeterminate" in changed


# --- wrong states, planted in the fleet itself ---


@pytest.fixture
def stage(tmp_path: Path) -> SimulatedStage:
    return SimulatedStage(Scenario(name="none", title=""), tmp_path)


def _run_twice(stage: SimulatedStage) -> None:
    there, here = stage.fleet.machines["node-b"], stage.fleet.machines["node-a"]
    there.domains[stage.uuids["infer-1"]] = replace(here.domains[stage.uuids["infer-1"]])


def _define_twice(stage: SimulatedStage) -> None:
    xml = stage.fleet.node("node-a").domain_xml(stage.uuids["infer-1"])
    stage.fleet.node("node-b").define(xml)


def _lose(stage: SimulatedStage) -> None:
    del stage.fleet.machines["node-a"].domains[stage.uuids["infer-3"]]


def _stop(stage: SimulatedStage) -> None:
    stage.fleet.node("node-a").power_off(stage.uuids["infer-1"])


def _mark(stage: SimulatedStage) -> None:
    stage.fleet.node("node-a").tag_attempt(stage.uuids["infer-1"], "evac-1")


def _leave_a_throttle(stage: SimulatedStage) -> None:
    stage.fleet.node("node-a").set_io_limits(stage.uuids["infer-1"], {"vda": {"total_bytes_sec": 1 << 20}})


def _leave_an_image(stage: SimulatedStage) -> None:
    stage.fleet.machines["node-c"].images[local_image("infer-3")] = Image(b"", "raw", 1)


def _remove_an_image(stage: SimulatedStage) -> None:
    del stage.fleet.machines["node-a"].images[local_image("infer-3")]


def _leave_half_an_archive(stage: SimulatedStage) -> None:
    store = FaultyFileSystem(faults=stage.store_faults)
    store.makedirs("/archives/half", exist_ok=True)
    store.pipe_file("/archives/half/disk-vda.zst", b"half")


@pytest.mark.parametrize(
    ("plant", "noticed"),
    [
        (_run_twice, "infer-1 runs 2 times"),
        (_define_twice, "infer-1 is left defined twice"),
        (_lose, "infer-3 is lost"),
        (_stop, "nobody touched it"),
        (_mark, "carries the mark of attempt evac-1"),
        (_leave_a_throttle, "other settings: io_limits"),
        (_leave_an_image, "is left on node-c"),
        (_remove_an_image, "is gone from node-a"),
        (_leave_half_an_archive, "an unfinished archive half"),
    ],
)
def test_a_wrong_state_is_noticed(stage: SimulatedStage, plant: Callable[[SimulatedStage], None], noticed: str) -> None:
    before = Before.of(stage)
    assert broken_invariants(stage, [], before) == []
    plant(stage)
    assert any(noticed in each for each in broken_invariants(stage, [], before))
