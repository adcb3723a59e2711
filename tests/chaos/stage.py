"""Where a scenario is played: the nodes, what can be done to them, and the truth about every vm, whoever answers.

`SimulatedStage` plays on the simulated fleet, in virtual time. `stage_lab.LabStage` plays on real libvirt.
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from chaos.process import ProcessClock
from chaos.scenario import Guest, Scenario
from chaos.store_faults import StoreFaults

from models.errors import LifeboatError, MigrationFailed, NodeUnreachable
from models.fleet import Fleet, Node, NodeState, Priority, Vm, VmState
from models.policy.policy import Policy
from tools.archive.store import FsspecArchiveStore
from tools.domain.labels import Labels
from tools.domain.xml import parse_domain
from tools.ports.clock import Clock
from tools.simulated.fleet import SimulatedFleet
from tools.simulated.migration import Phase
from tools.simulated.state import LOCAL_DIRECTORY, SimulatedDomain

NODES = ("node-a", "node-b", "node-c")


@dataclass(frozen=True)
class Copy:
    """What one node really holds of a vm, asked or not."""

    node: str
    state: VmState
    arriving: bool
    attempt: str | None
    """the mark of a lifeboat attempt"""
    settings: dict[str, Any]
    """everything else that is set about it, for comparing before with after: name, definition, throttles"""

    def __str__(self) -> str:
        return f"{'arriving' if self.arriving else self.state} on {self.node}"


class Stage(ABC):
    """One fleet of three nodes. Vms go by their names."""

    kind: Literal["simulated", "lab"]
    clock: Clock
    uuids: dict[str, str]
    """of the vms on this stage, by name"""

    def __init__(self) -> None:
        self.touched: dict[str, float] = {}
        """vm → when somebody other than lifeboat last changed what it does, on this stage's clock"""
        self.held: set[str] = set()
        """vms that somebody else paused, and means to stay so"""
        self.removed: set[str] = set()
        """vms that somebody else removed for good"""
        self._known: dict[str, tuple[Node, list[Vm]]] = {}

    # --- what lifeboat works with ---------------------------------------------------------------------------------

    @property
    @abstractmethod
    def nodes(self) -> Mapping[str, Any]:
        """Hypervisors by node name."""

    @abstractmethod
    def open_store(self) -> FsspecArchiveStore:
        """Each process opens its own."""

    @cached_property
    def store(self) -> FsspecArchiveStore:
        """For whoever looks at it from outside."""
        return self.open_store()

    @abstractmethod
    def used_by(self, require_running: Callable[[], None] | None) -> None:
        """The process whose every act fails once it was stopped dead; None once it has ended."""

    def others_wait(self) -> AbstractContextManager[None]:
        """What is done in this block is done before anybody else goes on, where a stage can have that."""
        return nullcontext()

    @abstractmethod
    def policy(self, policy: Policy) -> Policy:
        """The policy with what this stage needs in addition."""

    def look(self) -> Fleet:
        """A snapshot; of a silent node, as it was last seen."""
        for name, node in self.nodes.items():
            try:
                self._known[name] = (node.node(), [vm for vm in node.vms() if vm.name in self.uuids])
            except NodeUnreachable:
                described, vms = self._known[name]
                self._known[name] = (described.model_copy(update={"state": NodeState.OFFLINE}), vms)
        vms: dict[str, Vm] = {}
        for _, found in self._known.values():
            for vm in found:
                if vm.uuid not in vms or vm.state is VmState.RUNNING:
                    vms[vm.uuid] = vm
        return Fleet(
            observed_at=self.clock.now(),
            nodes=tuple(node for node, _ in self._known.values()),
            vms=tuple(sorted(vms.values(), key=lambda vm: vm.name)),
        )

    # --- the truth --------------------------------------------------------------------------------------------------

    @abstractmethod
    def copies(self, vm: str) -> list[Copy]:
        """On every node, dead and silent ones included."""

    @abstractmethod
    def ran_twice(self) -> set[str]:
        """Vms of which two copies ever ran at once, as far as this stage can tell."""

    @abstractmethod
    def images(self) -> set[tuple[str, str]]:
        """(node, path) of every local disk image of the vms."""

    @abstractmethod
    def powered(self, node: str) -> bool: ...

    def touch(self, *vms: str) -> None:
        for vm in vms:
            self.touched[vm] = self.clock.monotonic()

    def active_on(self, node: str) -> list[str]:
        return [
            vm for vm in self.uuids if any(c.node == node and c.state is not VmState.SHUTOFF for c in self.copies(vm))
        ]

    # --- what happens -------------------------------------------------------------------------------------------------

    @abstractmethod
    def when(self, vm: str, phase: Phase, do: Callable[[], object], *, takes_time: bool) -> None:
        """Have `do` happen when a live migration of this vm reaches that phase."""

    @abstractmethod
    def after_seconds(self, seconds: float, do: Callable[[], object]) -> None:
        """Have `do` happen once so much of this stage's time has passed."""

    def set_wall_clock(self, seconds: float) -> None:
        raise NotImplementedError("on simulated nodes only")

    @abstractmethod
    def kill_node(self, node: str) -> None: ...
    @abstractmethod
    def kill_libvirtd(self, node: str) -> None: ...
    @abstractmethod
    def start_libvirtd(self, node: str) -> None: ...
    @abstractmethod
    def cut_link(self, one: str, other: str) -> None: ...
    @abstractmethod
    def mend_links(self) -> None: ...
    @abstractmethod
    def cut_off(self, node: str) -> None: ...
    @abstractmethod
    def reconnect(self) -> None: ...
    @abstractmethod
    def shut_off(self, vm: str) -> None:
        """Somebody pulls its plug, wherever it runs."""

    @abstractmethod
    def store_room(self, room: int | None) -> None: ...
    @abstractmethod
    def store_gone(self, gone: bool) -> None: ...
    @abstractmethod
    def store_is_gone(self) -> bool: ...


def scratch() -> Path:
    """A directory for one play; in memory where there is one, since every journal record is synced to disk."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="lifeboat-chaos-", dir=memory if memory.is_dir() else None))


STANDARD: dict[str, dict[str, Any]] = {
    "infer-1": {"labels": Labels(priority=Priority.HIGH), "shared": True},
    "infer-3": {"labels": Labels(priority=Priority.HIGH), "disk_bytes": (64 << 20,)},
    "batch-1": {"labels": Labels(priority=Priority.LOW, cold_archive_allowed=True), "disk_bytes": (128 << 20,)},
}
"""On node-a, as in the lab: one vm on shared storage, one with a local disk, one that may be archived"""


class SimulatedStage(Stage):
    kind = "simulated"

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        super().__init__()
        self.directory = directory
        self.clock = self.virtual = ProcessClock()
        self.fleet = SimulatedFleet(self.virtual)
        for node in NODES:
            self.fleet.add_node(node)
        vms = {n: {**STANDARD.get(n, {}), **scenario.vms.get(n, {})} for n in {**STANDARD, **scenario.vms}}
        reads = {name: float(given.pop("io_dirty_bytes_per_second", 0.0)) for name, given in vms.items()}
        self.uuids = {
            name: self.fleet.add_vm(given.pop("node", "node-a"), name, **{"memory_bytes": 64 << 20, **given})
            for name, given in ((name, {**given, **_states(given)}) for name, given in vms.items())
        }
        for name, rate in reads.items():
            self.fleet.guests[self.uuids[name]].io_dirty_bytes_per_second = rate
        for name, guest in scenario.guests.items():
            self._make_awkward(self.fleet.machines["node-a"].domains[self.uuids[name]], guest)
        self.names = {uuid: name for name, uuid in self.uuids.items()}
        self.store_faults = StoreFaults()

    def _make_awkward(self, domain: SimulatedDomain, guest: Guest) -> None:
        defined = domain.xml.replace("</devices>", f"{guest.devices}</devices>")
        if guest.on_poweroff != "destroy":
            defined = defined.replace("<devices>", f"<on_poweroff>{guest.on_poweroff}</on_poweroff><devices>")
        domain.xml = defined.replace("</devices>", f"{guest.only_running}</devices>")
        domain.defined_xml = defined if guest.only_running else None
        domain.described = parse_domain(domain.xml)
        domain.on_poweroff = guest.on_poweroff
        domain.checkpoints, domain.snapshots, domain.saved_memory = (
            guest.checkpoints,
            guest.snapshots,
            guest.saved_memory,
        )

    @property
    def nodes(self) -> Mapping[str, Any]:
        return self.fleet.hypervisors()

    def open_store(self) -> FsspecArchiveStore:
        return FsspecArchiveStore(
            "faulty:///archives",
            key_file=self.directory / "key",
            clock=self.clock,
            options={"faults": self.store_faults},
        )

    def others_wait(self) -> AbstractContextManager[None]:
        return self.virtual.held()

    def policy(self, policy: Policy) -> Policy:
        return policy

    def used_by(self, require_running: Callable[[], None] | None) -> None:
        self.store_faults.before_each = self.virtual.require_running = require_running or (lambda: None)

    def copies(self, vm: str) -> list[Copy]:
        uuid = self.uuids[vm]
        with self.fleet.lock:
            self.fleet.advance()
            return [
                Copy(name, domain.state, domain.incoming, domain.attempt, _settings(domain))
                for name, machine in self.fleet.machines.items()
                if (domain := machine.domains.get(uuid)) is not None
            ]

    def ran_twice(self) -> set[str]:
        return {self.names[uuid] for uuid in self.fleet.ran_twice}

    def images(self) -> set[tuple[str, str]]:
        return {(name, path) for name, machine in self.fleet.machines.items() for path in machine.images}

    def powered(self, node: str) -> bool:
        return self.fleet.machines[node].powered

    def when(self, vm: str, phase: Phase, do: Callable[[], object], *, takes_time: bool) -> None:
        (self.fleet.after if takes_time else self.fleet.when)(self.uuids[vm], phase, do)

    def after_seconds(self, seconds: float, do: Callable[[], object]) -> None:
        self.virtual.at(self.clock.monotonic() + seconds, do)

    def set_wall_clock(self, seconds: float) -> None:
        self.virtual.set_wall_clock(timedelta(seconds=seconds))

    def kill_node(self, node: str) -> None:
        self.touch(*self.active_on(node))
        self.fleet.kill_node(node)

    def revive_node(self, node: str) -> None:
        self.fleet.revive_node(node)

    def kill_libvirtd(self, node: str) -> None:
        self.fleet.stop_libvirtd(node)

    def start_libvirtd(self, node: str) -> None:
        self.fleet.start_libvirtd(node)

    def cut_link(self, one: str, other: str) -> None:
        self.fleet.cut_link(one, other)

    def stall(self, vm: str, *, ignores_abort: bool) -> None:
        self.fleet.stall(self.uuids[vm], ignores_abort=ignores_abort)

    def mend_links(self) -> None:
        self.fleet.mend_links()

    def cut_off(self, node: str) -> None:
        self.fleet.cut_off(node)

    def reconnect(self) -> None:
        self.fleet.reconnect()

    def shut_off(self, vm: str) -> None:
        self.touch(vm)
        for copy in self.copies(vm):
            if copy.state is not VmState.SHUTOFF and not copy.arriving:
                with suppress(LifeboatError), self._at_hand(copy.node):
                    self.fleet.node(copy.node).power_off(self.uuids[vm])

    def delete(self, vm: str) -> None:
        """Somebody destroys and undefines it."""
        self.shut_off(vm)
        self.removed.add(vm)
        with self.fleet.lock:
            for machine in self.fleet.machines.values():
                machine.domains.pop(self.uuids[vm], None)

    def rename(self, vm: str, name: str) -> None:
        self.touch(vm)
        with self.fleet.lock:
            for machine in self.fleet.machines.values():
                domain = machine.domains.get(self.uuids[vm])
                if domain is not None:
                    xml = domain.xml.replace(f"<name>{vm}</name>", f"<name>{name}</name>")
                    machine.domains[self.uuids[vm]] = _with_xml(domain, xml)

    def pause(self, vm: str) -> None:
        self.touch(vm)
        with self.fleet.lock:
            for machine in self.fleet.machines.values():
                domain = machine.domains.get(self.uuids[vm])
                if domain is not None and domain.state is VmState.RUNNING:
                    domain.state, domain.reason = VmState.PAUSED, "user"
                    self.held.add(vm)  # of one that is off just then, there is nothing to hold

    def migrate_by_hand(self, vm: str, target: str) -> None:
        self.touch(vm)
        (source,) = self.fleet.running_on(self.uuids[vm])
        self.fleet.migrate_by_hand(self.uuids[vm], source, target)

    def fill_memory(self, node: str) -> None:
        """Somebody starts a vm that takes all of it, if the node answers them."""
        machine = self.fleet.machines[node]
        if not (machine.powered and machine.libvirtd):
            return
        with self._at_hand(node):
            free = self.fleet.node(node).free_memory_bytes()
        self.fleet.add_vm(node, f"big-{node}", memory_bytes=free, disk_bytes=())

    def take_name(self, vm: str, node: str) -> None:
        self.fleet.add_vm(node, vm, uuid="00000000-0000-4000-8000-000000000001", disk_bytes=(), state=VmState.SHUTOFF)

    def expire_certificate(self, node: str) -> None:
        self.fleet.machines[node].tls = False

    def refuse(self, words: str) -> None:
        """libvirt's answer to the migration whose phase this is."""
        raise MigrationFailed(words)

    def store_room(self, room: int | None) -> None:
        self.store_faults.room = room

    def store_gone(self, gone: bool) -> None:
        self.store_faults.gone = gone

    def store_is_gone(self) -> bool:
        return self.store_faults.gone

    def _at_hand(self, node: str) -> Any:
        """Somebody on the node itself needs no network."""
        return _Reachable(self.fleet.machines[node])


class _Reachable:
    def __init__(self, machine: Any) -> None:
        self._machine = machine
        self._was = machine.reachable

    def __enter__(self) -> None:
        self._machine.reachable = True

    def __exit__(self, *_: object) -> None:
        self._machine.reachable = self._was


def local_image(vm: str) -> str:
    """Where the simulated disk of a vm with a local one lies."""
    return f"{LOCAL_DIRECTORY}/{vm}-0.raw"


def _states(given: dict[str, Any]) -> dict[str, Any]:
    return {"state": VmState(given["state"])} if "state" in given else {}


_PASSING = frozenset(
    {"starts", "state", "reason", "persistent", "incoming", "attempt", "saved_memory", "stops_at", "described"}
)


def _settings(domain: SimulatedDomain) -> dict[str, Any]:
    found = {each.name: getattr(domain, each.name) for each in fields(domain) if each.name not in _PASSING}
    limits: dict[str, dict[str, int]] = found["io_limits"]
    found["io_limits"] = {
        device: set_ for device, each in limits.items() if (set_ := {k: v for k, v in each.items() if v})
    }
    return found


def _with_xml(domain: SimulatedDomain, xml: str) -> SimulatedDomain:
    return replace(domain, xml=xml, described=parse_domain(xml))
