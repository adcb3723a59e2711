"""What the journal keeps of a plan that is carried out: enough to finish it, and no more of a large fleet than that."""

from __future__ import annotations

from pathlib import Path

from scenes.simulated_world import World

from agent.execute.evacuation import Run
from models.evacuation import EvacuationOutcome
from models.fleet import Priority
from models.plan import ActionKind
from tools.ports.records.evacuations import EvacuationStarted


def test_a_plan_is_finished_from_the_nodes_that_it_names(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number in range(20):
        world.fleet.add_node(f"far-{number}")
        world.fleet.add_vm(f"far-{number}", f"bystander-{number}")
    neighbour = world.fleet.add_vm("b", "neighbour")
    approved = world.approved()
    Run(approved, world.hands, "evac-1").begin()

    run = Run.from_journal(world.hands, "evac-1")  # as after a crash
    kept = run.approved
    targets = {action.target for action in kept.plan.moves if action.target}
    assert {node.name for node in kept.fleet.nodes} == {"a", *targets} <= {*"abc"}
    assert {neighbour, world.web, world.db, world.batch} <= {vm.uuid for vm in kept.fleet.vms}
    assert kept.plan == approved.plan
    assert kept.plan.fleet_sha256 == approved.fleet.digest(), "bound to the whole fleet"
    with run.watching_requests():
        evacuation = run.run_lanes()
    assert evacuation.outcome is EvacuationOutcome.DONE
    assert world.fleet.running_on(world.web) != ["a"]
    world.check_nothing_lost_or_doubled()


def test_a_guest_that_stays_is_judged_by_its_priority_after_a_crash_too(tmp_path: Path) -> None:
    world = World(tmp_path)
    approved = world.approved()
    stays = tuple(
        action
        if action.vm != world.web
        else action.model_copy(update={"kind": ActionKind.STAY, "target": None, "source": ""})
        for action in approved.plan.actions
    )
    plan = approved.plan.model_copy(update={"actions": stays})
    Run(approved.model_copy(update={"plan": plan}), world.hands, "evac-1").begin()
    (started,) = world.journal.of(EvacuationStarted)
    assert started.record.fleet.vm_by_uuid[world.web].priority is Priority.HIGH
    run = Run.from_journal(world.hands, "evac-1")
    with run.watching_requests():
        assert run.run_lanes().outcome is EvacuationOutcome.PARTIAL
