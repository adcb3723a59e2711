"""What libvirt keeps of a guest beside its definition, and what happens when nodes and daemons come up again. SIMULATED."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scenes.simulated_world import POLICY, World

from agent.actions.runner import recover_attempts
from agent.archives.restore import restore
from models.errors import ActionFailed, NodeUnreachable, PrecheckFailed
from models.evacuation import AttemptOutcome
from models.policy.policy import SourceRelease
from tools.domain.xml import parse_domain
from tools.simulated.node import SimulatedNode


def autostarted(world: World) -> dict[str, list[str]]:
    """vm → the nodes whose libvirt would start it."""
    vms = {"web": world.web, "db": world.db, "batch": world.batch}
    return {
        name: [node for node, machine in world.fleet.machines.items()
               if uuid in machine.domains and machine.domains[uuid].autostart]
        for name, uuid in vms.items()
    }  # fmt: skip


def give_autostart(world: World) -> None:
    for uuid in (world.web, world.db, world.batch):
        world.fleet.machines["a"].domains[uuid].autostart = True


RESTARTS: dict[str, Callable[[World], None]] = {
    "the source's libvirtd restarts": lambda world: world.fleet.restart_libvirtd("a"),
    "the source dies and comes up again": lambda world: (world.fleet.kill_node("a"), world.fleet.revive_node("a"))[0],
}


@pytest.mark.parametrize("restart", RESTARTS)
def test_no_restart_of_the_old_node_starts_a_second_copy(world: World, restart: str) -> None:
    give_autostart(world)
    evacuation = world.evacuate()
    assert {attempt.outcome for attempt in evacuation.attempts} == {AttemptOutcome.DONE}
    RESTARTS[restart](world)
    world.check_nothing_lost_or_doubled()
    assert world.fleet.running_on(world.batch) == [], "what is archived stays off"
    assert autostarted(world) == {
        "web": world.fleet.running_on(world.web),
        "db": world.fleet.running_on(world.db),
        "batch": [],
    }


@pytest.mark.parametrize("step", ["start", "define", "undefine", "migrate_live", "shut_down"])
def test_a_source_that_restarts_in_the_middle_starts_no_second_copy(
    world: World, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_autostart(world)
    policy = POLICY.model_copy(update={"archive": POLICY.archive.model_copy(update={"priorities": ()})})
    for node in world.fleet.hypervisors().values():
        original = getattr(node, step)

        def restarts(*args: object, original: Callable[..., object] = original, **more: object) -> object:
            world.fleet.restart_libvirtd("a")
            try:
                return original(*args, **more)
            finally:
                world.fleet.restart_libvirtd("a")

        monkeypatch.setattr(node, step, restarts)
    world.evacuate(policy)
    recover_attempts(world.hands, policy)
    assert not world.fleet.ran_twice


def test_a_move_that_fails_gives_autostart_back_where_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    give_autostart(world)

    def full(**_: object) -> None:
        raise PrecheckFailed("the store is full")

    monkeypatch.setattr(world.store, "write", full)
    evacuation = world.evacuate()
    assert world.outcome(evacuation, world.batch) is AttemptOutcome.FAILED
    assert autostarted(world)["batch"] == ["a"]


def test_a_vm_without_autostart_gets_none(world: World) -> None:
    world.evacuate()
    assert autostarted(world) == {"web": [], "db": [], "batch": []}


def test_an_archive_remembers_autostart_and_a_restore_sets_it(world: World) -> None:
    give_autostart(world)
    attempt = world.evacuate().attempt_for(world.batch)
    assert attempt is not None
    assert attempt.archive is not None
    world.fleet.kill_node("a")
    restore(world.hands, attempt.archive.id, "b", start=True, gone=frozenset({"a"}))
    assert world.fleet.machines["b"].domains[world.batch].autostart


def comes_back_after_a_poweroff(world: World, vm: str) -> None:
    """Its owner has libvirt start it again when it powers itself off."""
    domain = world.fleet.machines["a"].domains[vm]
    domain.xml = domain.xml.replace("<devices>", "<on_poweroff>restart</on_poweroff><devices>")
    domain.described = parse_domain(domain.xml)
    domain.on_poweroff = "restart"


def on_poweroff(world: World, vm: str) -> dict[str, str]:
    """node → what its libvirt does when the vm that runs there powers itself off."""
    found = {node: world.fleet.node(node).observe(vm) for node in world.fleet.running_on(vm)}
    return {node: seen.on_poweroff for node, seen in found.items() if seen is not None}


def test_a_guest_that_libvirt_starts_again_after_a_poweroff_stays_off_while_it_is_archived(world: World) -> None:
    comes_back_after_a_poweroff(world, world.batch)
    attempt = world.evacuate().attempt_for(world.batch)
    assert attempt is not None
    assert attempt.outcome is AttemptOutcome.DONE, attempt.message
    assert attempt.archive is not None
    assert world.fleet.running_on(world.batch) == []
    world.fleet.node("a").undefine(world.batch)
    restore(world.hands, attempt.archive.id, "b", start=True)
    assert on_poweroff(world, world.batch) == {"b": "restart"}


@pytest.mark.parametrize("why", ["the store is full", "the guest does not stop"])
def test_a_move_that_fails_leaves_what_a_poweroff_does_as_it_was(
    world: World, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    comes_back_after_a_poweroff(world, world.batch)
    if why == "the guest does not stop":
        world.fleet.guests[world.batch].stop_seconds = None

    def full(**_: object) -> None:
        raise PrecheckFailed("the store is full")

    monkeypatch.setattr(world.store, "write", full)
    assert world.outcome(world.evacuate(), world.batch) is AttemptOutcome.FAILED
    assert on_poweroff(world, world.batch) == {"a": "restart"}


def test_a_lifeboat_that_dies_before_the_stop_gives_back_what_a_poweroff_does(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    comes_back_after_a_poweroff(world, world.batch)

    class Killed(BaseException): ...

    def dies(*_: object, **__: object) -> None:
        raise Killed

    monkeypatch.setattr(world.fleet.node("a"), "shut_down", dies)
    with pytest.raises(Killed):
        world.evacuate()
    assert on_poweroff(world, world.batch) == {"a": "destroy"}
    monkeypatch.undo()
    recover_attempts(world.hands, POLICY)
    assert on_poweroff(world, world.batch) == {"a": "restart"}


def test_checkpoints_go_along_live_and_into_the_archive_and_back(world: World) -> None:
    for vm in (world.web, world.batch):
        world.fleet.machines["a"].domains[vm].checkpoints = 2
    attempt = world.evacuate().attempt_for(world.batch)
    web = world.fleet.running_on(world.web)[0]
    assert web != "a"
    assert world.fleet.machines[web].domains[world.web].checkpoints == 2
    assert attempt is not None
    assert attempt.archive is not None
    world.fleet.node("a").undefine(world.batch, with_snapshots=True)
    restore(world.hands, attempt.archive.id, "b", start=True)
    assert world.fleet.machines["b"].domains[world.batch].checkpoints == 2


def test_a_move_is_done_though_its_checkpoints_could_not_be_told_to_the_target(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fleet.machines["a"].domains[world.web].checkpoints = 1

    def refuses(*_: object, **__: object) -> None:
        raise ActionFailed("libvirt: bitmap 'one' is missing")

    for node in world.fleet.hypervisors().values():
        monkeypatch.setattr(node, "restore_checkpoints", refuses)
    attempt = world.evacuate().attempt_for(world.web)
    assert attempt is not None
    assert attempt.outcome is AttemptOutcome.DONE
    assert "its next backup is a full one: libvirt: bitmap 'one' is missing" in attempt.message


def test_an_archive_that_verifies_is_done_though_its_source_can_not_be_undefined(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise ActionFailed("libvirt: cannot delete inactive domain with 1 checkpoints")

    monkeypatch.setattr(world.fleet.node("a"), "undefine", refuses)
    archive = POLICY.archive.model_copy(update={"release_source": SourceRelease.UNDEFINE})
    attempt = world.evacuate(POLICY.model_copy(update={"archive": archive})).attempt_for(world.batch)
    assert attempt is not None
    assert attempt.outcome is AttemptOutcome.DONE
    assert attempt.archive is not None
    assert "cannot delete inactive domain with 1 checkpoints" in attempt.message


def _answer_lost(original: Callable[..., None]) -> Callable[..., None]:
    def stop(*args: object, **more: object) -> None:
        original(*args, **more)
        raise NodeUnreachable("node a does not answer")

    return stop


def test_a_stop_whose_answer_is_lost_is_followed_to_its_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    node: SimulatedNode = world.fleet.node("a")
    monkeypatch.setattr(node, "shut_down", _answer_lost(node.shut_down))
    evacuation = world.evacuate()
    assert world.outcome(evacuation, world.batch) is AttemptOutcome.DONE
    world.check_nothing_lost_or_doubled()


@pytest.mark.parametrize(("seconds", "when"), [(70.0, "soon"), (400.0, "after its attempt was over")])
def test_a_guest_that_stops_late_is_started_again(world: World, seconds: float, when: str) -> None:
    world.fleet.guests[world.batch].stop_seconds = seconds
    evacuation = world.evacuate()
    assert world.outcome(evacuation, world.batch) is AttemptOutcome.FAILED
    if when == "soon":
        attempt = evacuation.attempt_for(world.batch)
        assert attempt is not None
        assert "longer to stop" in attempt.message
        assert "was stopped for" in attempt.message
    else:
        world.fleet.clock.sleep(seconds)
        recover_attempts(world.hands, POLICY)
    assert world.fleet.running_on(world.batch) == ["a"]
    world.check_nothing_lost_or_doubled()


def test_a_guest_that_stopped_late_and_runs_elsewhere_by_now_is_not_started(world: World) -> None:
    world.fleet.guests[world.batch].stop_seconds = 400.0
    world.evacuate()
    world.fleet.clock.sleep(400.0)
    node = world.fleet.node("b")
    definition = world.fleet.node("a").domain_xml(world.batch)
    images = world.fleet.machines["a"].images
    world.fleet.machines["b"].images.update(images)
    node.define(definition)
    node.start(world.batch)
    recover_attempts(world.hands, POLICY)
    assert world.fleet.running_on(world.batch) == ["b"]
    assert not world.fleet.ran_twice
