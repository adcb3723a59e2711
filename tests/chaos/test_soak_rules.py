"""What the soak reads off a journal: a real evacuation's passes, and each broken rule is named."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
from chaos.soak.rules import broken_by
from chaos.soak.truth import Truth
from scenes.simulated_world import POLICY, World

from models.evacuation import AttemptOutcome
from models.migration.convergence import LadderStep
from models.plan import ActionKind
from tools.ports.journal import Entry, Record
from tools.ports.records.attempts import AttemptEnded, AttemptIntended, ShutdownIntended, SourceUndefineIntended
from tools.ports.records.evacuations import CancelRequested, EvacuationStarted
from tools.ports.records.migration import AbortIntended, LadderStepTaken, MigrateCalled

pytestmark = pytest.mark.slow

Entries = list[Entry[Record]]
Tamper = Callable[[Entries], Entries]


def cramped(world: World) -> World:
    """With nowhere to go for the batch vm: it is archived."""
    for name in ("b", "c"):
        machine = world.fleet.machines[name]
        machine.node = machine.node.model_copy(update={"memory_bytes": 5 << 29, "memory_reserved_bytes": 1 << 30})
    return world


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Entries:
    """Of one evacuation that moved two vms live and archived a third."""
    world = cramped(World(tmp_path_factory.mktemp("world")))
    world.evacuate()
    entries = world.journal.entries()
    world.journal.close()
    kinds = {entry.record.attempt.action.kind for entry in entries if isinstance(entry.record, AttemptEnded)}
    assert kinds == {ActionKind.LIVE_MIGRATE, ActionKind.COLD_ARCHIVE}
    return entries


def at(entries: Entries, kind: type[Record]) -> int:
    return next(n for n, entry in enumerate(entries) if isinstance(entry.record, kind))


def without(kind: type[Record]) -> Tamper:
    return lambda entries: [entry for entry in entries if not isinstance(entry.record, kind)]


def again(kind: type[Record]) -> Tamper:
    return lambda entries: [*entries, entries[at(entries, kind)]]


def put(record: Record, *, after: type[Record], later: timedelta = timedelta(0)) -> Tamper:
    """Written into the same attempt or evacuation."""

    def tamper(entries: Entries) -> Entries:
        n = at(entries, after)
        return [*entries[: n + 1], replace(entries[n], record=record, at=entries[n].at + later), *entries[n + 1 :]]

    return tamper


def changed(kind: type[Record], change: Callable[[Record], Record], *, later: timedelta = timedelta(0)) -> Tamper:
    def tamper(entries: Entries) -> Entries:
        n = at(entries, kind)
        there = entries[n]
        return [*entries[:n], replace(there, record=change(there.record), at=there.at + later), *entries[n + 1 :]]

    return tamper


def _to_the_failing_node(record: Record) -> Record:
    assert isinstance(record, AttemptIntended)
    return record.model_copy(update={"action": record.action.model_copy(update={"target": "a"})})


def _of_a_vm_nobody_planned(record: Record) -> Record:
    assert isinstance(record, AttemptIntended)
    return record.model_copy(update={"action": record.action.model_copy(update={"vm": "somebody else's"})})


def _refused(record: Record) -> Record:
    assert isinstance(record, EvacuationStarted)
    return record.model_copy(update={"verdict": record.verdict.model_copy(update={"passed": False})})


def _of_another_plan(record: Record) -> Record:
    assert isinstance(record, EvacuationStarted)
    return record.model_copy(update={"agreement": record.agreement.model_copy(update={"plan_sha256": "0" * 64})})


def _nobody_knows(record: Record) -> Record:
    assert isinstance(record, AttemptEnded)
    attempt = record.attempt.model_copy(update={"outcome": AttemptOutcome.INDETERMINATE})
    return record.model_copy(update={"attempt": attempt})


def _once_more(entries: Entries) -> Entries:
    """After an end that nobody knows, another attempt at the same vm."""
    frozen = changed(AttemptEnded, _nobody_knows)(entries)
    ended = entries[at(entries, AttemptEnded)].record
    assert isinstance(ended, AttemptEnded)
    first = next(
        e for e in entries if isinstance(e.record, AttemptIntended) and e.record.action.vm == ended.attempt.action.vm
    )
    return [*frozen, replace(first, attempt="another")]


def test_a_real_evacuation_breaks_no_rule(told: Entries) -> None:
    assert broken_by(told, {}) == []


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        (without(AttemptIntended), "nobody intended (4)"),
        (again(AttemptIntended), "begun a second time (4)"),
        (again(AttemptEnded), "ends a second time (4)"),
        (again(MigrateCalled), "has ended (4)"),
        (_once_more, "is indeterminate (3)"),
        (put(SourceUndefineIntended(why=""), after=MigrateCalled), "not seen elsewhere (2)"),
        (put(SourceUndefineIntended(why=""), after=ShutdownIntended), "no whole archive stands for (7)"),
        (without(EvacuationStarted), "no evacuation that was agreed to (6)"),
        (changed(EvacuationStarted, lambda same: same, later=timedelta(hours=1)), "its approval holds from"),
        (changed(EvacuationStarted, _of_another_plan), "an approval of another plan (6)"),
        (changed(AttemptIntended, _of_a_vm_nobody_planned), "not in the plan that was agreed to (6)"),
        (changed(EvacuationStarted, _refused), "the guard refused its plan (12)"),
        (changed(AttemptIntended, _to_the_failing_node), "which is left itself (8)"),
        (put(CancelRequested(by="u"), after=EvacuationStarted, later=-timedelta(minutes=3)), "was cancelled at"),
        (
            put(LadderStepTaken(step=LadderStep.POST_COPY, why="", elapsed_seconds=1.0), after=MigrateCalled),
            "which policy does not allow (5)",
        ),
    ],
)
def test_each_broken_rule_is_named(told: Entries, tamper: Tamper, named: str) -> None:
    assert any(named in wrong for wrong in broken_by(tamper(told)))


def test_nothing_is_aborted_after_post_copy(told: Entries) -> None:
    switched = put(LadderStepTaken(step=LadderStep.POST_COPY, why="", elapsed_seconds=1.0), after=MigrateCalled)(told)
    aborted = put(AbortIntended(why=""), after=LadderStepTaken)(switched)
    assert any("is aborted after post-copy (5)" in wrong for wrong in broken_by(aborted))


def test_what_is_indeterminate_keeps_its_lock(told: Entries) -> None:
    frozen = changed(AttemptEnded, _nobody_knows)(told)
    record = frozen[at(frozen, AttemptEnded)].record
    assert isinstance(record, AttemptEnded)
    vm, attempt = record.attempt.action.vm, record.attempt.id
    assert any("is unlocked" in wrong for wrong in broken_by(frozen, {}))
    assert broken_by(frozen, {vm: attempt}) == []


# ---- and what the fleet itself shows ----


@pytest.fixture
def day(tmp_path: Path) -> Generator[tuple[World, Truth]]:
    """A day of one evacuation, over and judged right."""
    world = World(tmp_path)
    world.evacuate()
    truth = Truth(fleet=world.fleet, policy=POLICY)
    truth.check(world.journal, world.store, world.fleet.clock.now(), at_the_end=True)
    assert truth.broken == []
    yield world, truth
    world.journal.close()


def judged(world: World, truth: Truth) -> list[str]:
    truth.check(world.journal, world.store, world.fleet.clock.now(), at_the_end=True)
    return truth.broken


def test_a_vm_that_is_not_where_the_journal_has_it_is_named(day: tuple[World, Truth]) -> None:
    world, truth = day
    (now,) = world.fleet.known_on(world.web)
    world.fleet.machines["a"].domains[world.web] = world.fleet.machines[now].domains.pop(world.web)
    assert any("web: the journal has it on" in wrong for wrong in judged(world, truth))


def test_a_vm_whose_move_failed_and_is_elsewhere_is_named(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fleet.cut_link("a", "b")
    world.fleet.cut_link("a", "c")
    world.evacuate()
    truth = Truth(fleet=world.fleet, policy=POLICY)
    assert judged(world, truth) == []
    world.fleet.machines["b"].domains[world.web] = world.fleet.machines["a"].domains.pop(world.web)
    assert any("web: its move came to nothing" in wrong for wrong in judged(world, truth))
    world.journal.close()


def test_an_archive_that_rotted_is_named(tmp_path: Path) -> None:
    world = cramped(World(tmp_path))
    world.evacuate()
    (entry,) = world.store.entries()
    truth = Truth(fleet=world.fleet, policy=POLICY)
    assert judged(world, truth) == []
    piece = max((tmp_path / "archives").rglob("*.*"), key=lambda path: path.stat().st_size)
    whole = bytearray(piece.read_bytes())
    whole[len(whole) // 2] ^= 1
    piece.write_bytes(whole)
    assert any(f"archive {entry.id}" in wrong for wrong in judged(world, truth))
    world.journal.close()


def test_a_node_filled_past_its_reserve_is_named_while_a_vm_moves_there(day: tuple[World, Truth]) -> None:
    world, truth = day
    machine = world.fleet.machines["c"]
    machine.node = machine.node.model_copy(update={"memory_bytes": 1 << 30, "memory_reserved_bytes": 1 << 29})
    world.fleet.migrate_by_hand(world.fleet.add_vm("a", "late"), "a", "c")
    watching = Thread(target=truth.watch, daemon=True)
    watching.start()
    while not truth.broken and watching.is_alive():
        watching.join(0.01)
    truth.end()
    watching.join()
    assert any("c takes" in wrong for wrong in truth.broken)
