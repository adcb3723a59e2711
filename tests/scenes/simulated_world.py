"""A small simulated fleet with all that an evacuation needs, and the checks that must hold after anything."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from agent.actions.resources import Resources
from agent.approve.approval import approve
from agent.approve.approvers import DenyingApprover
from agent.execute.evacuation import Watcher, execute
from agent.guard.judge import judge
from agent.plan.solver import plan as solve
from models.approval import ApprovedPlan
from models.evacuation import AttemptOutcome, Evacuation
from models.fleet import Fleet, Priority
from models.knowledge import Knowledge
from models.plan import Plan, Verdict
from models.policy.policy import ApprovalMode, ApprovalPolicy, Policy
from models.risk.risk import Risk
from models.situation import Situation
from tools.archive.store import FsspecArchiveStore
from tools.domain.labels import Labels
from tools.journal.sqlite import SqliteJournal
from tools.simulated.fleet import SimulatedFleet

if TYPE_CHECKING:
    import pytest

POLICY = Policy(
    approval=ApprovalPolicy(
        live_migrate=ApprovalMode.AUTO, cold_archive=ApprovalMode.AUTO, cold_migrate=ApprovalMode.AUTO
    )
)
BATCH = Labels(priority=Priority.LOW, cold_archive_allowed=True)
INFERENCE = Labels(priority=Priority.HIGH)


@dataclass
class World:
    """Three simulated nodes, two inference vms and a batch vm on the first, and everything needed to evacuate it."""

    directory: Path
    fleet: SimulatedFleet = field(default_factory=SimulatedFleet)
    evacuations: int = 0

    def __post_init__(self) -> None:
        for name in ("a", "b", "c"):
            self.fleet.add_node(name)
        self.web = self.fleet.add_vm("a", "web", labels=INFERENCE, shared=True, memory_bytes=1 << 30)
        self.db = self.fleet.add_vm("a", "db", labels=INFERENCE, memory_bytes=1 << 30)
        self.batch = self.fleet.add_vm("a", "batch", labels=BATCH)
        self.store = FsspecArchiveStore(
            (self.directory / "archives").as_uri(), key_file=self.directory / "key", clock=self.fleet.clock
        )
        self.reopen()

    def reopen(self) -> None:
        """A new lifeboat process on the same state directory."""
        self.journal = SqliteJournal(self.directory / "journal.sqlite")
        self.hands = Resources(
            nodes=self.fleet.hypervisors(), clock=self.fleet.clock, journal=self.journal, archives=self.store
        )

    def snapshot(self) -> Fleet:
        nodes = self.fleet.hypervisors().values()
        return Fleet(
            observed_at=self.fleet.clock.now(),
            nodes=tuple(node.node() for node in nodes),
            vms=tuple(vm for node in nodes for vm in node.vms()),
        )

    def risks(self, failing: tuple[str, ...] = ("a",)) -> list[Risk]:
        now = self.fleet.clock.now()
        return [
            Risk(node=n, probability={"2h": 0.95 if n in failing else 0.001}, data_age_seconds=1.0, assessed_at=now)
            for n in ("a", "b", "c")
        ]

    def plan(self, policy: Policy = POLICY) -> tuple[Plan, Fleet, Verdict]:
        fleet, now = self.snapshot(), self.fleet.clock.now()
        risks = self.risks()
        made = solve(Situation(fleet=fleet, risks=risks, policy=policy, now=now))
        return made, fleet, judge(made, Situation(fleet=fleet, risks=risks, policy=policy, now=now))

    def approved(self, policy: Policy = POLICY) -> ApprovedPlan:
        """The plan for the fleet as it is, with the policy's own agreement."""
        made, fleet, verdict = self.plan(policy)
        assert verdict.passed, verdict.failures
        now = self.fleet.clock.now()
        agreement = approve(made, verdict, DenyingApprover(), now=now, expires_after=timedelta(minutes=15))
        return ApprovedPlan(plan=made, fleet=fleet, verdict=verdict, policy=policy, agreement=agreement)

    def evacuate(self, policy: Policy = POLICY, watcher: Watcher | None = None) -> Evacuation:
        approved = self.approved(policy)
        self.evacuations += 1
        return execute(approved, self.hands, evacuation=f"evac-{self.evacuations}", watcher=watcher)

    def outcome(self, evacuation: Evacuation, vm: str) -> AttemptOutcome:
        attempt = evacuation.attempt_for(vm)
        assert attempt is not None
        assert attempt.outcome is not None
        return attempt.outcome

    def check_nothing_lost_or_doubled(self, *, locked: set[str] | None = None) -> None:
        assert not self.fleet.ran_twice
        archived = {entry.vm_uuid for entry in self.store.entries()}
        for entry in self.store.entries():
            self.store.verify(entry.id)
        for vm in (self.web, self.db, self.batch):
            assert len(self.fleet.running_on(vm)) <= 1
            assert self.fleet.known_on(vm) or vm in archived
        assert self.journal.verify() > 0
        assert set(self.journal.locks()) == (locked or set())


def stand_in_for_the_fleet(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nodes that any settings name are this world's, its clock is the time, and a look finds that `a` is failing."""

    class FleetMonitor:
        unusable = MappingProxyType[str, str]({})

        def __init__(self, *_: object, **__: object) -> None:
            self.telemetry = Knowledge()

        def poll(self) -> tuple[Fleet, list[Risk]]:
            # Looks beside an evacuation move the virtual clock, which waits for nobody who works by the real one: at the
            # pace of real ones, an approval does not expire before DBOS has begun.
            if threading.current_thread() is not threading.main_thread():
                threading.Event().wait(0.5)
            return world.snapshot(), world.risks()

        def close(self) -> None: ...

    monkeypatch.setattr("tools.libvirt.fleet.connect_nodes", lambda *_, **__: world.fleet.hypervisors())
    monkeypatch.setattr("agent.assess.monitor.FleetMonitor", FleetMonitor)
    monkeypatch.setattr("tools.clock.SystemClock", lambda: world.fleet.clock)
