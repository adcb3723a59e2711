"""A simulated fleet: nodes, vms, disks and time, behind the same ports as the real ones, and everything that can break.

It is for `--simulated`, for tests of what the lab can't reach quickly, and for fault injection. It does what libvirt
does, mistakes included, and keeps the truth: which copies of a vm really ran, whatever each node answers.

    fleet = SimulatedFleet()
    a, b = fleet.add_node("a"), fleet.add_node("b")
    vm = fleet.add_vm("a", "web", memory_bytes=1 << 30)
    fleet.when(vm, Phase.HANDED_OVER, lambda: fleet.cut_link("a", "b"))
    a.migrate_live(vm, "b", options)        # raises as libvirt would
    fleet.running_on(vm)                    # the truth
"""

from __future__ import annotations

import random
import uuid as uuids
from collections.abc import Sequence

from models.fleet import Fleet, Node, NodeState, VmState
from tools.domain.labels import Labels
from tools.domain.xml import parse_domain
from tools.ports.clock import Clock
from tools.ports.migration import MigrationOptions
from tools.simulated.node import SimulatedNode
from tools.simulated.state import (
    LOCAL_DIRECTORY,
    NVRAM_DIRECTORY,
    SHARED_DIRECTORY,
    TPM_DIRECTORY,
    Guest,
    Image,
    Machine,
    SimulatedDomain,
)
from tools.simulated.timeline import Timeline
from tools.simulated.xml import MACHINE, domain_xml


class SimulatedFleet(Timeline):
    """Nodes and vms, and what happens to them. Thread-safe. With the virtual clock, one thread makes it deterministic.

    Each link carries its migrations at full speed, however many there are. Not simulated: contention of any kind,
    hugepages, NUMA, storage pools other than one local and one shared directory.
    """

    def __init__(self, clock: Clock | None = None, *, seed: int = 0) -> None:
        super().__init__(clock)
        self._random = random.Random(seed)  # noqa: S311 — contents of disks, not secrets
        self._nodes: dict[str, SimulatedNode] = {}

    # --- building --------------------------------------------------------------------------------------------------------

    @classmethod
    def from_fleet(cls, fleet: Fleet, clock: Clock | None = None) -> SimulatedFleet:
        """Nodes and vms as a `fleet.json` has them. An offline node is one that does not answer."""
        simulated = cls(clock)
        for node in fleet.nodes:
            simulated.add_node(node.name, node=node)
            simulated.machines[node.name].reachable = node.state is not NodeState.OFFLINE
        for vm in fleet.vms:
            simulated.add_vm(
                vm.node,
                vm.name,
                uuid=vm.uuid,
                memory_bytes=vm.memory_bytes,
                vcpus=vm.vcpus,
                state=vm.state,
                labels=Labels(vm.priority, vm.workload, vm.anti_affinity_group, vm.cold_archive_allowed, vm.probe),
                disk_bytes=(vm.disk_bytes,) if vm.disk_bytes else (),
                shared=vm.shared_storage,
                dirty_bytes_per_second=vm.dirty_bytes_per_second or 0.0,
                passthrough=not vm.migratable,
            )
        return simulated

    def add_node(
        self,
        name: str,
        *,
        memory_bytes: int = 64 << 30,
        memory_reserved_bytes: int = 1 << 30,
        cpus: int = 16,
        cpu_model: str = "EPYC",
        disk_bytes: int = 1 << 40,
        machine_types: tuple[str, ...] = (MACHINE,),
        node: Node | None = None,
    ) -> SimulatedNode:
        described = node or Node(
            name=name,
            memory_bytes=memory_bytes,
            memory_reserved_bytes=memory_reserved_bytes,
            cpus=cpus,
            cpu_model=cpu_model,
            cpu_overcommit=4.0,
        )
        self.machines[name] = Machine(described, disk_bytes, machine_types=machine_types)
        self._nodes[name] = SimulatedNode(self, name)
        return self._nodes[name]

    def add_vm(
        self,
        node: str,
        name: str,
        *,
        uuid: str | None = None,
        memory_bytes: int = 1 << 30,
        vcpus: int = 1,
        state: VmState = VmState.RUNNING,
        labels: Labels | None = None,
        disk_bytes: Sequence[int] = (1 << 30,),
        shared: bool = False,
        dirty_bytes_per_second: float = 0.0,
        stop_seconds: float | None = 2.0,
        passthrough: bool = False,
        cpu_model: str = "",
        backing: str = "",
        uefi: bool = False,
        tpm: bool = False,
        autostart: bool = False,
    ) -> str:
        """Its uuid. Each entry of `disk_bytes` makes a raw disk that holds that much; with `backing`, each is an overlay
        over that image."""
        machine = self.machines[node]
        identity = uuid or str(uuids.uuid5(uuids.NAMESPACE_URL, f"simulated/{name}"))
        paths: list[str] = []
        for number, size in enumerate(disk_bytes):
            directory, images = (SHARED_DIRECTORY, self.shared_images) if shared else (LOCAL_DIRECTORY, machine.images)
            path = f"{directory}/{name}-{number}.raw"
            images[path] = Image.standing_for(size, backing, self._random)
            paths.append(path)
        xml = domain_xml(
            identity,
            name,
            memory_bytes=memory_bytes,
            vcpus=vcpus,
            disks=paths,
            labels=labels,
            passthrough=passthrough,
            cpu_model=cpu_model,
            nvram=f"{NVRAM_DIRECTORY}/{name}_VARS.fd" if uefi else "",
            tpm=tpm,
        )
        if uefi:
            machine.state_files[f"{NVRAM_DIRECTORY}/{name}_VARS.fd"] = self._random.randbytes(1000)
        if tpm:
            machine.state_files[f"{TPM_DIRECTORY}/{identity}/tpm2/tpm2-00.permall"] = self._random.randbytes(1000)
        machine.domains[identity] = SimulatedDomain(
            xml=xml, described=parse_domain(xml), state=state, autostart=autostart
        )
        self.guests[identity] = Guest(dirty_bytes_per_second, stop_seconds)
        return identity

    def add_image(self, node: str, path: str, size: int = 1 << 30, *, backing: str = "") -> None:
        """An image that no vm has as its disk, such as a template."""
        self.machines[node].images[path] = Image.standing_for(size, backing, self._random)

    def hypervisors(self) -> dict[str, SimulatedNode]:
        return dict(self._nodes)

    def node(self, name: str) -> SimulatedNode:
        return self._nodes[name]

    # --- the truth -------------------------------------------------------------------------------------------------------

    def running_on(self, uuid: str) -> list[str]:
        """The nodes on which a copy of this vm really runs now."""
        with self.lock:
            self.advance()
            return self._running_on(uuid)

    def known_on(self, uuid: str) -> list[str]:
        """The nodes that know this vm, in any state, dead nodes included."""
        with self.lock:
            self.advance()
            return sorted(name for name, machine in self.machines.items() if uuid in machine.domains)

    # --- what can break --------------------------------------------------------------------------------------------------

    def migrate_by_hand(self, uuid: str, source: str, target: str) -> None:
        """Somebody else's `virsh migrate --live --copy-storage-all`: it begins now, and nobody here waits for its end."""
        with self.lock:
            self.advance()
            disks = tuple(disk.device for disk in self.machines[source].domains[uuid].described.disks)
            options = MigrationOptions(
                tls=True,
                max_downtime_seconds=0.3,
                timeout_seconds=float("inf"),
                auto_converge=False,
                post_copy=False,
                parallel_connections=0,
                bandwidth_bytes_per_second=None,
                copy_disks=disks,
            )
            self.begin(self._nodes[source].prepare_migration(uuid, target, options))

    def kill_node(self, name: str) -> None:
        """Its power fails: every guest on it is gone at once."""
        with self.lock:
            self.advance()
            machine = self.machines[name]
            machine.powered = False
            for uuid, domain in list(machine.domains.items()):
                if domain.active:
                    domain.state, domain.reason, domain.incoming = VmState.SHUTOFF, "crashed", False
                    domain.io_limits = {}
                if not domain.persistent:
                    del machine.domains[uuid]
            self._judge_all()

    def revive_node(self, name: str) -> None:
        """Power comes back; guests with autostart start by themselves."""
        with self.lock:
            self.machines[name].powered = True
            self._autostart(name)

    def cut_off(self, *names: str) -> None:
        """lifeboat can't reach these nodes any more. Their guests and migrations go on."""
        with self.lock:
            self.advance()
            for name in names:
                self.machines[name].reachable = False

    def reconnect(self, *names: str) -> None:
        with self.lock:
            self.advance()
            for name in names or self.machines:
                self.machines[name].reachable = True

    def cut_link(self, one: str, other: str) -> None:
        """These two nodes can't reach each other any more."""
        with self.lock:
            self.advance()
            self._cut_links.add(frozenset((one, other)))
            self._judge_all()

    def stall(self, uuid: str, *, ignores_abort: bool = False) -> None:
        """The link swallows what a migration of this vm sends, without an error, as one does that a disk is copied over
        (QEMU's NBD waits for TCP to give up). `ignores_abort`: the job does not end when told to, either."""
        with self.lock:
            self.advance()
            for migration in self.migrations:
                if migration.uuid == uuid:
                    migration.stall(self.clock.monotonic(), ignores_abort=ignores_abort)

    def mend_links(self) -> None:
        with self.lock:
            self._cut_links.clear()

    def stop_libvirtd(self, name: str) -> None:
        """Guests go on; jobs end."""
        with self.lock:
            self.advance()
            self.machines[name].libvirtd = False
            self._judge_all()

    def start_libvirtd(self, name: str) -> None:
        """As libvirtd does on its start, it gives up an outgoing migration that had not switched over, and removes a
        guest that was still arriving. Guests with autostart that are off are started: older versions do that at every
        start of the daemon, newer ones once a boot."""
        with self.lock:
            self.machines[name].libvirtd = True
            self._autostart(name)

    def _autostart(self, name: str) -> None:
        machine = self.machines[name]
        if not (machine.powered and machine.libvirtd):
            return
        for uuid, domain in machine.domains.items():
            if domain.autostart and not domain.active and not domain.incoming:
                domain.state, domain.reason, domain.saved_memory = VmState.RUNNING, "", False
                self.note_running(uuid)

    def restart_libvirtd(self, name: str) -> None:
        self.stop_libvirtd(name)
        self.start_libvirtd(name)
