"""A simulated fleet in a process of its own, so that lifeboat can be killed while the fleet goes on."""

from __future__ import annotations

import copy
import os
import signal
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Any

from models.fleet import Fleet, Priority, VmState
from models.policy.policy import ApprovalMode, ApprovalPolicy, Policy
from models.risk.risk import Risk
from tools.clock import seconds_between
from tools.domain.labels import Labels
from tools.simulated.fleet import SimulatedFleet
from tools.simulated.migration import Phase

NODES = ("a", "b", "c")
VMS = ("web", "db", "churn", "spare", "batch")
POLICY = Policy(approval=ApprovalPolicy(live_migrate=ApprovalMode.ASK))


class FastClock:
    """Many times the machine's clock, the same in every process. Satisfies the Clock port."""

    speed = 20.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return time.monotonic() * self.speed

    def uptime(self) -> str:
        return f"fast:{self.monotonic()}"

    def seconds_since(self, uptime: str) -> float | None:
        return seconds_between(uptime, self.uptime())

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds) / self.speed)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(max(0.0, seconds) / self.speed)


@dataclass(frozen=True)
class Truth:
    """What is really so, whatever anybody says."""

    ran_twice: frozenset[str]
    running_on: dict[str, list[str]]
    known_on: dict[str, list[str]]
    stamped: list[str]
    arriving: list[str]
    stray_images: list[str]


@dataclass(frozen=True, kw_only=True)
class Hand:
    """Somebody's on a guest; or on a node, for what is of no guest's."""

    about: str
    agent: str
    epoch: int
    call: str
    late: bool
    """somebody who led later had a hand on it already"""


class World:
    """Lives in the server process: one node to leave, a vm for every kind of move, and two nodes to go to."""

    _hands: list[Hand]
    _failing: bool

    def reset(self) -> None:
        self._hands, self._failing = [], True
        fleet = SimulatedFleet(FastClock())
        for name in NODES:
            fleet.add_node(name)
        high, low = Labels(priority=Priority.HIGH), Labels(priority=Priority.LOW, cold_archive_allowed=True)
        size = 1 << 28
        self._uuids = {
            "web": fleet.add_vm("a", "web", labels=high, shared=True, memory_bytes=size),
            "db": fleet.add_vm("a", "db", labels=high, memory_bytes=size, disk_bytes=(1 << 26,)),
            # dirties memory faster than any link carries it: stopped, copied and started again
            "churn": fleet.add_vm("a", "churn", memory_bytes=size, disk_bytes=(1 << 26,), dirty_bytes_per_second=1e9),
            "spare": fleet.add_vm("a", "spare", memory_bytes=size, disk_bytes=(1 << 26,), state=VmState.SHUTOFF),
            "batch": fleet.add_vm("a", "batch", labels=low, memory_bytes=size, disk_bytes=(1 << 26,)),
        }
        self._fleet = fleet

    def reset_with_one(self) -> None:
        """The same nodes, and one vm that has all there is, which is archived when its node is to be left."""
        fleet = SimulatedFleet(FastClock())
        for name in NODES:
            fleet.add_node(name)
        low = Labels(priority=Priority.LOW, cold_archive_allowed=True)
        uuid = fleet.add_vm(
            "a",
            "whole",
            labels=low,
            memory_bytes=1 << 28,
            disk_bytes=(1 << 20, 1 << 20),
            uefi=True,
            tpm=True,
            autostart=True,
        )
        domain = fleet.machines["a"].domains[uuid]
        domain.snapshots, domain.checkpoints = 1, 1
        self._fleet, self._uuids = fleet, {"whole": uuid}
        self._before = self._files("a")

    def reset_with_one_that_moves(self) -> None:
        """The same nodes, and one vm that moves live at once."""
        fleet = SimulatedFleet(FastClock())
        for name in NODES:
            fleet.add_node(name)
        high = Labels(priority=Priority.HIGH)
        self._fleet = fleet
        self._uuids = {"web": fleet.add_vm("a", "web", labels=high, shared=True, memory_bytes=1 << 28)}

    def remember(self) -> None:
        """What the nodes have now, to come back to."""
        with self._fleet.lock:
            self._fleet.advance()
            self._machines = copy.deepcopy(self._fleet.machines)

    def recall(self, *, forget_vm: bool) -> None:
        """The nodes as they were remembered; with `forget_vm`, the source has let go of the vm and its files are gone."""
        fleet = SimulatedFleet(FastClock())
        for name in NODES:
            fleet.add_node(name)
        for name, machine in copy.deepcopy(self._machines).items():
            fleet.machines[name].domains.update(machine.domains)
            fleet.machines[name].images.update(machine.images)
            fleet.machines[name].state_files.update(machine.state_files)
        fleet.stopping = [
            (machine, domain)
            for machine in fleet.machines.values()
            for domain in machine.domains.values()
            if domain.stops_at is not None
        ]
        if forget_vm:
            gone = fleet.machines["a"]
            gone.domains.clear()
            gone.images.clear()
            gone.state_files.clear()
        self._fleet = fleet

    def files(self, node: str) -> dict[str, bytes]:
        """Everything on its disks."""
        with self._fleet.lock:
            return self._files(node)

    def files_before(self) -> dict[str, bytes]:
        """What the vm of `reset_with_one` had on its node."""
        return self._before

    def autostarted_on(self, vm: str) -> list[str]:
        machines = self._fleet.machines.items()
        uuid = self._uuids[vm]
        return [name for name, machine in machines if uuid in machine.domains and machine.domains[uuid].autostart]

    def _files(self, node: str) -> dict[str, bytes]:
        machine = self._fleet.machines[node]
        return {path: image.content for path, image in machine.images.items()} | machine.state_files

    def uuids(self) -> dict[str, str]:
        return self._uuids

    def call(self, node: str, method: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        answer = getattr(self._fleet.node(node), method)(*arguments, **options)
        return list(answer) if method == "read_disk" else answer

    def call_as(
        self,
        agent: str,
        epoch: int | None,
        node: str,
        method: str,
        arguments: tuple[Any, ...],
        options: dict[str, Any],
    ) -> Any:
        """A call that may change something, and who makes it under which lease."""
        about = next((vm for vm, uuid in self._uuids.items() if arguments and uuid == arguments[0]), node)
        with self._fleet.lock:
            newest = max((hand.epoch for hand in self._hands if hand.about == about), default=0)
            hand = Hand(about=about, agent=agent, epoch=epoch or 0, call=method, late=(epoch or 0) < newest)
            self._hands.append(hand)
        return self.call(node, method, arguments, options)

    def fails(self, failing: bool) -> None:
        """Whether node `a` is about to fail, from now on."""
        self._failing = failing

    def failing(self) -> bool:
        return self._failing

    def hands(self) -> list[Hand]:
        """Every such call, in the order they came."""
        return list(self._hands)

    def kill_at(self, vm: str, phase: Phase, pid: int) -> None:
        """SIGKILL that process when a migration of the vm reaches the phase."""

        def kill() -> None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

        self._fleet.when(self._uuids[vm], phase, kill)

    def truth(self) -> Truth:
        return truth_of(self._fleet, self._uuids)


def truth_of(fleet: SimulatedFleet, uuids: dict[str, str]) -> Truth:
    """`uuids`: by vm."""
    with fleet.lock:
        fleet.advance()
        domains = {(n, u): d for n, m in fleet.machines.items() for u, d in m.domains.items()}
        return Truth(
            ran_twice=frozenset(fleet.ran_twice),
            running_on={name: fleet.running_on(uuid) for name, uuid in uuids.items()},
            known_on={name: fleet.known_on(uuid) for name, uuid in uuids.items()},
            stamped=[f"{d.described.name} on {n}" for (n, _), d in domains.items() if d.attempt is not None],
            arriving=[f"{d.described.name} on {n}" for (n, _), d in domains.items() if d.incoming],
            stray_images=[
                f"{path} on {n}"
                for n, machine in fleet.machines.items()
                for path in machine.images
                if n != "a" and path not in _paths_in_use(fleet, n)
            ],
        )


def _paths_in_use(fleet: SimulatedFleet, node: str) -> set[str]:
    return {disk.path for d in fleet.machines[node].domains.values() for disk in d.described.disks}


class WorldServer(BaseManager):
    """Start one, fork lifeboats that `connect()` to it, `shutdown()`."""


_world = World()
WorldServer.register("world", callable=lambda: _world)


class RemoteNode:
    """One node of the world, as the lifeboat process sees it. Satisfies the Hypervisor port."""

    def __init__(self, world: Any, name: str) -> None:
        self._world, self.name = world, name

    def __getattr__(self, method: str) -> Any:
        return lambda *arguments, **options: self._world.call(self.name, method, arguments, options)

    def read_disk(self, path: str, **options: Any) -> Generator[bytes]:
        yield from self._world.call(self.name, "read_disk", (path,), options)

    def write_disk(self, path: str, chunks: Iterator[bytes], **options: Any) -> int:
        return self._world.call(self.name, "write_disk", (path, list(chunks)), options)

    def close(self) -> None:
        """Nothing to close: the server goes on."""


def remote_nodes(address: str) -> dict[str, RemoteNode]:
    server = WorldServer(address=address, authkey=b"kill")
    server.connect()
    return {name: RemoteNode(server.world(), name) for name in NODES}  # type: ignore[attr-defined]


def look(
    nodes: dict[str, RemoteNode], now: datetime | None = None, *, failing: bool = True
) -> tuple[Fleet, list[Risk]]:
    """Observe the nodes; `a` is about to fail, if it is `failing`. `now`: by a clock that may be wrong."""
    now = now or FastClock().now()
    fleet = Fleet(
        observed_at=now,
        nodes=tuple(node.node() for node in nodes.values()),
        vms=tuple({vm.uuid: vm for node in nodes.values() for vm in node.vms()}.values()),  # two while one moves
    )
    chance = {"a": 0.95 if failing else 0.001, "b": 0.001, "c": 0.001}
    return fleet, [
        Risk(node=name, probability={"2h": chance[name]}, data_age_seconds=1.0, assessed_at=now) for name in nodes
    ]


def settings_yaml(state: Path) -> str:
    nodes = "".join(f"  - {{name: {name}, libvirt_uri: 'simulated:///'}}\n" for name in NODES)
    return f"state_dir: {state}\narchive_url: {(state / 'archives').as_uri()}\nsimulated: true\nnodes:\n{nodes}"
