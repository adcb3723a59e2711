"""The last look after an evacuation: everything is looked at, and what that takes grows with the fleet, not with its square."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.actions.resources import Resources
from agent.verify import verify
from models.evacuation import Evacuation
from models.fleet import Fleet, VmState
from models.plan import Approval, Plan, PlannedBy, Verdict
from models.verification import Verification
from tools.clock import VirtualClock
from tools.journal.sqlite import SqliteJournal
from tools.simulated.domains import UNREACHABLE_SECONDS
from tools.simulated.fleet import SimulatedFleet

NODES, GUESTS = 10, 4
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Scene:
    def __init__(self, directory: Path) -> None:
        self.clock = VirtualClock(NOW)
        self.fleet = SimulatedFleet(self.clock)
        for n in range(NODES):
            self.fleet.add_node(f"n{n}")
            for k in range(GUESTS):
                self.fleet.add_vm(f"n{n}", f"vm-{n}-{k}", memory_bytes=1 << 28, disk_bytes=())
        self.before = Fleet(
            observed_at=NOW,
            nodes=tuple(node.node() for node in self.fleet.hypervisors().values()),
            vms=tuple(vm for node in self.fleet.hypervisors().values() for vm in node.vms()),
        )
        self.journal = SqliteJournal(directory / "journal.sqlite")
        self.hands = Resources(nodes=self.fleet.hypervisors(), clock=self.clock, journal=self.journal)

    def verified(self) -> Verification:
        plan = Plan(created_at=NOW, actions=(), planned_by=PlannedBy(planner="solver"))
        verdict = Verdict(plan_sha256=plan.digest(), passed=True, approval=Approval.NONE, results=())
        return verify(Evacuation(id="evac-1", plan=plan, verdict=verdict, started_at=NOW), self.before, self.hands)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def failed(verification: Verification) -> dict[str, str]:
    return {check.name: check.why for check in verification.checks if check.passed is False}


def test_a_dead_node_is_waited_for_once_not_once_for_each_vm_of_the_fleet(scene: Scene) -> None:
    scene.fleet.cut_off("n3", "n4")

    found = failed(scene.verified())

    assert scene.clock.monotonic() <= 2 * UNREACHABLE_SECONDS
    assert set(found) == {f"vm vm-{n}-{k}" for n in (3, 4) for k in range(GUESTS)}
    assert all("not seen: n3, n4" in why for why in found.values())


def test_a_vm_that_runs_twice_or_not_at_all_is_still_found(scene: Scene) -> None:
    twice, off = (next(vm.uuid for vm in scene.before.vms if vm.name == name) for name in ("vm-0-0", "vm-5-1"))
    copy = scene.fleet.machines["n0"].domains[twice]
    scene.fleet.machines["n7"].domains[twice] = copy
    scene.fleet.machines["n5"].domains[off].state = VmState.SHUTOFF

    found = failed(scene.verified())

    assert found == {"vm vm-0-0": "runs on n0, n7", "vm vm-5-1": "runs on no node"}


def test_a_healthy_fleet_passes(scene: Scene) -> None:
    assert not failed(scene.verified())
