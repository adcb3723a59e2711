"""What the soak reads off a journal: a real evacuation's passes, and each broken rule is named."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
from chaos.soak.guests import Peculiar
from chaos.soak.rules import broken_by
from chaos.soak.truth import Truth
from scenes.simulated_world import POLICY, World

from models.evacuation import AttemptOutcome
from models.fleet import VmState
from models.migration.convergence import LadderStep
from models.plan import ActionKind, PlannedBy
from models.risk.tier import Tier
from tools.ports.journal import Entry, Record
from tools.ports.records.attempts import AttemptEnded, AttemptIntended, ShutdownIntended, SourceUndefineIntended
from tools.ports.records.evacuations import CancelRequested, EvacuationPlanned, EvacuationStarted
from tools.ports.records.migration import AbortIntended, LadderStepTaken, MigrateCalled
from tools.ports.records.nodes import TiersChanged, TierStep

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


def _of_what_nobody_understands(record: Record) -> Record:
    assert isinstance(record, EvacuationStarted)
    why = {"live_obstacle": "<devices/frobnicator>", "archive_obstacle": "<devices/frobnicator>"}
    vms = tuple(vm.model_copy(update=why) for vm in record.fleet.vms)
    return record.model_copy(update={"fleet": record.fleet.model_copy(update={"vms": vms})})


def _whose_labels_count_too_much(record: Record) -> Record:
    assert isinstance(record, EvacuationStarted)
    labels = record.policy.labels.model_copy(update={"believed": ()})
    return record.model_copy(update={"policy": record.policy.model_copy(update={"labels": labels})})


def _that_leaves_one_out(record: Record) -> Record:
    assert isinstance(record, EvacuationStarted)
    plan = record.plan.model_copy(update={"actions": record.plan.actions[1:]})
    return record.model_copy(update={"plan": plan})


def _that_moves_a_neighbour(record: Record) -> Record:
    assert isinstance(record, EvacuationStarted)
    first, *others = record.plan.actions
    actions = (first.model_copy(update={"source": "c"}), *others)
    return record.model_copy(update={"plan": record.plan.model_copy(update={"actions": actions})})


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
        (changed(EvacuationStarted, _of_what_nobody_understands), "isn't understood (13)"),
        (changed(EvacuationStarted, _whose_labels_count_too_much), "counts for more than policy says (15)"),
        (changed(EvacuationStarted, _that_leaves_one_out), "says nothing of vm"),
        (changed(EvacuationStarted, _that_moves_a_neighbour), "which is not to be left (15)"),
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


def test_a_node_of_which_nothing_is_known_is_never_healthy(day: tuple[World, Truth]) -> None:
    world, truth = day
    now = world.fleet.clock.now()
    truth.blind = [("b", now - timedelta(hours=2), now + timedelta(hours=1))]
    sure = TierStep(node="b", tier=Tier.WATCH, was=Tier.CORDON, why="", unknown_data=False)
    unsure = TierStep(node="b", tier=Tier.CORDON, was=Tier.WATCH, why="", unknown_data=True)
    world.journal.append(TiersChanged(changes=(unsure,)), now=now)
    assert not any("is said to be" in wrong for wrong in judged(world, truth))
    world.journal.append(TiersChanged(changes=(sure,)), now=now)
    assert any("b is said to be at watch" in wrong for wrong in judged(world, truth))
    truth.blind = [(node, now - timedelta(hours=2), now + timedelta(hours=1)) for node in "bc"]
    assert any("nothing is known of it (11)" in wrong for wrong in judged(world, truth))


def test_a_guest_that_nobody_understands_and_is_stopped_is_named(tmp_path: Path) -> None:
    world = cramped(World(tmp_path))
    world.evacuate()
    truth = Truth(fleet=world.fleet, policy=POLICY, peculiar=Peculiar(not_understood=frozenset({world.batch})))
    assert any("batch, which nobody understands, is stopped" in wrong for wrong in judged(world, truth))
    truth = Truth(fleet=world.fleet, policy=POLICY, peculiar=Peculiar(no_consent=frozenset({world.batch})))
    assert any("batch is archived by a label that can't be read (15)" in wrong for wrong in judged(world, truth))
    world.journal.close()


def test_a_plan_taken_from_an_answer_that_was_none_is_named(day: tuple[World, Truth]) -> None:
    world, truth = day
    plan, _, verdict = world.plan()
    plan = plan.model_copy(update={"planned_by": PlannedBy(planner="llm")})
    world.journal.append(EvacuationPlanned.of(plan, verdict, ()), now=world.fleet.clock.now(), evacuation="evac-2")
    assert any("a language model that never answered" in wrong for wrong in judged(world, truth))


def test_a_guest_that_would_start_with_the_wrong_node_is_named(day: tuple[World, Truth]) -> None:
    world, truth = day
    (now,) = world.fleet.known_on(world.web)
    there = world.fleet.machines[now].domains[world.web]
    there.autostart = True
    assert any("starts with its node any more (14)" in wrong for wrong in judged(world, truth))
    world.fleet.machines["a"].domains[world.web] = replace(there, state=VmState.SHUTOFF)
    assert any("web runs, and would start a second time with a" in wrong for wrong in judged(world, truth))


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
