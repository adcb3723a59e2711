"""The worlds in which every implementation of Hypervisor has to behave the same: a simulated fleet, and the lab's libvirt."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from models.fleet import VmState
from tools.domain.labels import Labels
from tools.ports.hypervisor import Hypervisor
from tools.simulated.fleet import SimulatedFleet
from tools.simulated.migration import Phase
from tools.simulated.state import LOCAL_DIRECTORY


class World(ABC):
    """Two nodes; a vm on shared storage and one with a local disk, both running on the first."""

    a: Hypervisor
    b: Hypervisor
    shared_vm: str
    local_vm: str
    directory: str
    """of the pool that each node has for itself"""

    @abstractmethod
    def elapsed(self) -> float:
        """Seconds of this world's time."""

    @abstractmethod
    def sleep(self, seconds: float) -> None: ...

    @abstractmethod
    def silence(self, node: Hypervisor) -> None:
        """Pull a node's network plug: it answers nobody, its guests are untouched."""

    @abstractmethod
    def unsilence(self, node: Hypervisor) -> None: ...

    @abstractmethod
    def pause(self, node: Hypervisor, vm: str) -> None: ...

    @abstractmethod
    def while_copying(self, node: Hypervisor, vm: str, do: Callable[[], object]) -> None:
        """Have `do` happen once, while the next migration of `vm` from `node` copies memory."""

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
        deadline = self.elapsed() + seconds
        while not condition():
            assert self.elapsed() < deadline, f"no {what} within {seconds} s"
            self.sleep(0.2)


class SimulatedWorld(World):
    def __init__(self) -> None:
        self.fleet = SimulatedFleet()
        self.a, self.b = self.fleet.add_node("node-a"), self.fleet.add_node("node-b")
        self.shared_vm = self.fleet.add_vm(
            "node-a", "web", memory_bytes=128 << 20, shared=True, labels=Labels(workload="inference")
        )
        self.local_vm = self.fleet.add_vm("node-a", "batch", labels=Labels(cold_archive_allowed=True))
        self.directory = LOCAL_DIRECTORY

    def elapsed(self) -> float:
        return self.fleet.clock.monotonic()

    def sleep(self, seconds: float) -> None:
        self.fleet.clock.sleep(seconds)

    def silence(self, node: Hypervisor) -> None:
        self.fleet.cut_off(node.name)
        self.fleet.cut_link("node-a", "node-b")

    def unsilence(self, node: Hypervisor) -> None:
        self.fleet.reconnect(node.name)
        self.fleet.mend_links()

    def pause(self, node: Hypervisor, vm: str) -> None:
        domain = self.fleet.machines[node.name].domains[vm]
        domain.state, domain.reason = VmState.PAUSED, "user"

    def while_copying(self, node: Hypervisor, vm: str, do: Callable[[], object]) -> None:
        self.fleet.when(vm, Phase.COPYING, do)


class LabWorld(World):
    def __init__(self, lab: Any) -> None:
        from lab.nodes import guests, hypervisor
        from tools.libvirt.migration.migration_job import Peer
        from tools.libvirt.node import LibvirtNode

        self.lab = lab
        uris = {name: hypervisor.uri(lab, name, pkipath=False) for name in lab.nodes}
        self.nodes = {
            name: LibvirtNode(
                name,
                hypervisor.uri(lab, name),
                peers={peer: Peer(uri) for peer, uri in uris.items() if peer != name},
                migration_uri=uris[name],
            )
            for name in lab.nodes
        }
        self.a, self.b = self.nodes["node-a"], self.nodes["node-b"]
        self.shared_vm = str(guests.guest_uuid(lab, guests.guest("infer-1")))
        self.local_vm = str(guests.guest_uuid(lab, guests.guest("batch-1")))
        self.directory = str(hypervisor.LOCAL_POOL)

    def elapsed(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def silence(self, node: Hypervisor) -> None:
        from lab.nodes import power

        power.set_link(self.lab, node.name, up=False)

    def unsilence(self, node: Hypervisor) -> None:
        from lab.nodes import power

        power.set_link(self.lab, node.name, up=True)

    def pause(self, node: Hypervisor, vm: str) -> None:
        from lab.nodes import hypervisor

        hypervisor.virsh(self.lab, node.name, "suspend", vm)

    def while_copying(self, node: Hypervisor, vm: str, do: Callable[[], object]) -> None:
        def watch() -> None:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                job = node.job(vm)
                if job is not None and job.bytes_processed > 0:
                    do()
                    return
                time.sleep(0.05)

        threading.Thread(target=watch, daemon=True).start()

    def settle(self) -> None:
        """Both guests running on node-a again, whatever a test did."""
        for vm in (self.shared_vm, self.local_vm):
            seen = self.a.observe(vm)
            assert seen is not None, f"a test left {vm} elsewhere"
            if seen.state is VmState.SHUTOFF:
                self.a.start(vm)
            elif seen.state is VmState.PAUSED:
                self.a.resume(vm)
            self.a.tag_attempt(vm, None)

    def close(self) -> None:
        for node in self.nodes.values():
            node.close()
