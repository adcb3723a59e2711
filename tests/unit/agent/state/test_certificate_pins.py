"""Pinned certificates: what is recorded, what is never overwritten, and what stops a move."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from scenes.simulated_world import World

from agent.actions.attempt import AttemptContext
from agent.actions.cold_migration import cold_migrate
from agent.actions.resources import Resources
from agent.archives.restore import restore
from agent.state.certificate_pins import Pins, PinState
from models.errors import BadInput, IdentityUnproven
from models.evacuation import AttemptOutcome
from models.fleet import VmState
from models.plan import Action, ActionKind
from models.policy.policy import PinRule, Policy
from tools.clock import VirtualClock
from tools.journal.sqlite import SqliteJournal
from tools.ports.records.attempts import AttemptIntended
from tools.ports.records.nodes import CertificatePinned
from tools.simulated.fleet import SimulatedFleet

ONE, OTHER = "1" * 64, "2" * 64


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


@pytest.fixture
def pins(tmp_path: Path, journal: SqliteJournal) -> Pins:
    return Pins(tmp_path / "pins.json", journal, VirtualClock())


def test_a_pin_is_kept_and_every_change_is_in_the_audit_log(pins: Pins, journal: SqliteJournal):
    assert pins.pin("node-b", ONE, by="doctor") is PinState.NEW
    assert pins.pin("node-b", ONE, by="doctor") is PinState.SAME
    assert pins.pin("node-b", OTHER, by="doctor") is PinState.CHANGED
    assert pins.known()["node-b"].sha256 == ONE, "another one never replaces it by itself"
    assert pins.pin("node-b", OTHER, by="doctor", replace=True) is PinState.REPLACED
    assert pins.known()["node-b"].sha256 == OTHER
    assert [(entry.record.before, entry.record.sha256) for entry in journal.of(CertificatePinned)] == [
        (None, ONE),
        (ONE, OTHER),
    ]
    assert journal.verify() == 2


@pytest.mark.parametrize(
    ("rule", "pinned", "shown", "stopped"),
    [
        (PinRule.REQUIRED, None, ONE, "no certificate is pinned"),
        (PinRule.REQUIRED, ONE, ONE, None),
        (PinRule.REQUIRED, ONE, OTHER, "it shows certificate 2222222222222222…, pinned since"),
        (PinRule.FIRST_USE, None, ONE, None),
        (PinRule.FIRST_USE, ONE, ONE, None),
        (PinRule.FIRST_USE, ONE, OTHER, "--repin node-b"),
        (PinRule.OFF, ONE, OTHER, None),
    ],
)
def test_what_each_rule_stops(pins: Pins, rule: PinRule, pinned: str | None, shown: str, stopped: str | None):
    if pinned is not None:
        pins.pin("node-b", pinned, by="doctor")
    check = pins.checker(rule)
    if stopped is None:
        if check is not None:
            check("node-b", shown)
        return
    assert check is not None
    with pytest.raises(IdentityUnproven) as caught:
        check("node-b", shown)
    assert stopped in str(caught.value)
    assert (pins.known()["node-b"].sha256 if pinned else None) == pinned


def test_the_first_use_is_pinned_and_the_second_is_held_to_it(pins: Pins):
    check = pins.checker(PinRule.FIRST_USE)
    assert check is not None
    check("node-b", ONE)
    assert pins.known()["node-b"].by == "first-use"
    with pytest.raises(IdentityUnproven):
        check("node-b", OTHER)
    check("node-c", OTHER)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pins": {"node-b": {"sha256": "short"}}}', '{"version": 2}'])
def test_a_damaged_file_is_not_an_empty_one(pins: Pins, tmp_path: Path, content: str):
    (tmp_path / "pins.json").write_text(content)
    check = pins.checker(PinRule.FIRST_USE)
    assert check is not None
    with pytest.raises(BadInput, match=r"pins\.json can't be used"):
        check("node-b", ONE)
    assert (tmp_path / "pins.json").read_text() == content


@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "not pinned"])
def test_a_cold_move_is_held_to_the_pin_where_there_is_one_before_the_vm_stops(
    pins: Pins, journal: SqliteJournal, pinned: bool
):
    fleet = SimulatedFleet()
    for name in ("node-a", "node-b"):
        fleet.add_node(name)
    uuid = fleet.add_vm("node-a", "web")
    if pinned:
        pins.pin("node-b", ONE, by="doctor")
    hands = Resources(nodes=fleet.hypervisors(), clock=fleet.clock, journal=journal, pins=pins)
    (vm,) = hands.nodes["node-a"].vms()
    action = Action(
        kind=ActionKind.COLD_MIGRATE, vm=uuid, vm_name="web", source="node-a", target="node-b", reason="test"
    )
    context = AttemptContext(
        id="try", evacuation="test", action=action, vm=vm, policy=Policy(), hands=hands, on_progress=lambda _: None
    )  # fmt: skip
    if pinned:
        with pytest.raises(IdentityUnproven, match="pinned since"):
            cold_migrate(context)
    else:
        cold_migrate(context)
        assert pins.known() == {}, "a cold move pins nothing"
    where = {name: node.observe(uuid) for name, node in hands.nodes.items()}
    runs_at = [name for name, seen in where.items() if seen is not None and seen.state is VmState.RUNNING]
    assert runs_at == (["node-a"] if pinned else ["node-b"])


@pytest.mark.parametrize("rule", PinRule)
def test_a_restore_is_held_to_the_pin_before_anything_is_written(tmp_path: Path, rule: PinRule):
    world = World(tmp_path)
    attempt = world.evacuate().attempt_for(world.batch)
    assert attempt is not None
    assert attempt.archive is not None
    pins = Pins(tmp_path / "pins.json", world.journal, world.fleet.clock)
    pins.pin("b", world.hands.node("b").tls_fingerprint(), by="doctor")
    world.hands = replace(world.hands, pins=pins)
    world.fleet.kill_node("a")
    world.fleet.machines["b"].certificate = "swapped"
    dead = frozenset({"a"})
    if rule is PinRule.OFF:
        restore(world.hands, attempt.archive.id, "b", start=True, gone=dead, pins=rule)
        assert world.fleet.running_on(world.batch) == ["b"]
        return
    with pytest.raises(IdentityUnproven, match=r"nothing is restored to node b.*pinned since"):
        restore(world.hands, attempt.archive.id, "b", start=True, gone=dead, pins=rule)
    assert world.fleet.known_on(world.batch) == ["a"]
    restore(world.hands, attempt.archive.id, "c", start=True, gone=dead, pins=rule)
    assert world.fleet.running_on(world.batch) == ["c"], "a node without a pin is reached as the settings say"


def test_an_evacuation_moves_nothing_to_nodes_that_show_other_certificates(tmp_path: Path):
    world = World(tmp_path)
    pins = Pins(tmp_path / "pins.json", world.journal, world.fleet.clock)
    for name, node in world.hands.nodes.items():
        pins.pin(name, node.tls_fingerprint(), by="doctor")
    world.hands = replace(world.hands, pins=pins)
    for name in ("b", "c"):
        world.fleet.machines[name].certificate = "swapped"
    evacuation = world.evacuate()
    for vm in (world.web, world.db):
        attempt = evacuation.attempt_for(vm)
        assert attempt is not None
        assert (attempt.outcome, attempt.error_code) == (AttemptOutcome.REFUSED, "precheck-identity")
        assert world.fleet.known_on(vm) == world.fleet.running_on(vm) == ["a"]
        assert world.journal.of(AttemptIntended, attempt=attempt.id) == []
    world.journal.close()


def test_a_pins_file_that_was_removed_does_not_make_the_next_certificate_the_first(pins: Pins, tmp_path: Path):
    check = pins.checker(PinRule.FIRST_USE)
    assert check is not None
    check("node-b", ONE)
    (tmp_path / "pins.json").unlink()
    with pytest.raises(IdentityUnproven, match="has no pin of it any more"):
        check("node-b", OTHER)
    assert "node-b" not in pins.known()
    check("node-b", ONE)
    assert pins.known()["node-b"].sha256 == ONE, "the one that was pinned is pinned again"
    (tmp_path / "pins.json").unlink()
    pins.pin("node-b", OTHER, by="doctor", replace=True)
    check("node-b", OTHER)
