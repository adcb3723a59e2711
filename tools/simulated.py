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
import struct
import threading
import uuid as uuids
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from models.errors import BadInput
from models.fleet import Fleet, Node, NodeState, VmState
from tools.clock import VirtualClock
from tools.domain_xml import Domain, parse_domain
from tools.labels import NAMESPACE, Labels, write_labels
from tools.numa import Cell
from tools.ports import Clock, MigrationOptions, Versions
from tools.simulated_migration import End, Migration, Phase

if TYPE_CHECKING:
    from tools.simulated_node import SimulatedNode

LOCAL_DIRECTORY = "/var/lib/libvirt/images"
SHARED_DIRECTORY = "/srv/shared"
NVRAM_DIRECTORY = "/var/lib/libvirt/qemu/nvram"
TPM_DIRECTORY = "/var/lib/libvirt/swtpm"
_HEADER = struct.Struct(">8sQH")
"""magic, bytes it stands for, length of the path of the image below it, which follows"""
_MAGIC = b"lifeboat"
_CONTENT_BYTES = 96 << 10
MACHINE = "pc-q35-7.2"


@dataclass
class Image:
    """A disk image. It stands for `allocated_bytes` on a disk; its content is small, and carries that figure."""

    content: bytes
    format: str
    virtual_bytes: int

    @property
    def allocated_bytes(self) -> int:
        return self._header[0]

    @property
    def backing(self) -> str:
        return self._header[1]

    @property
    def _header(self) -> tuple[int, str]:
        if len(self.content) >= _HEADER.size:
            magic, size, length = _HEADER.unpack_from(self.content)
            if magic == _MAGIC:
                return size, self.content[_HEADER.size : _HEADER.size + length].decode()
        return len(self.content), ""


@dataclass
class SimulatedDomain:
    """One vm as one node knows it."""

    xml: str
    described: Domain
    state: VmState = VmState.SHUTOFF
    reason: str = ""
    persistent: bool = True
    incoming: bool = False
    attempt: str | None = None
    saved_memory: bool = False
    snapshots: int = 0
    io_limits: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    """of the running guest, as set"""
    max_downtime: float = 0.3
    """QEMU's limit on the pause of a migration, seconds: its default, or what was set since it started"""
    stops_at: float | None = None
    """when a guest that was asked to stop will have stopped"""

    @property
    def active(self) -> bool:
        """Has a QEMU process."""
        return self.state is not VmState.SHUTOFF


@dataclass
class Machine:
    """The truth about one node."""

    node: Node
    disk_bytes: int
    powered: bool = True
    libvirtd: bool = True
    reachable: bool = True
    """lifeboat's own way to it"""
    tls: bool = True
    certificate: str = ""
    """what its fingerprint is made of; empty: its name"""
    port_open: bool = True
    """where other nodes reach its libvirt"""
    clock_offset_seconds: float | None = 0.0
    versions: Versions = field(default_factory=lambda: Versions(9_000_000, 7_002_000))
    cells: tuple[Cell, ...] | None = None
    """its NUMA cells with what is free in them; None: one, with all of its memory and no hugepages"""
    machine_types: tuple[str, ...] = (MACHINE,)
    domains: dict[str, SimulatedDomain] = field(default_factory=dict[str, SimulatedDomain])
    images: dict[str, Image] = field(default_factory=dict[str, Image])
    state_files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """UEFI variables and TPM state, by path"""
    completed: dict[str, Migration] = field(default_factory=dict[str, Migration])


@dataclass
class Guest:
    """What a vm is like inside, wherever it runs."""

    dirty_bytes_per_second: float = 0.0
    stop_seconds: float | None = 2.0
    """how long it takes to stop when asked; None: it never does"""
    io_dirty_bytes_per_second: float = 0.0
    """memory it rewrites by reading its disks as fast as they go, besides the rest; a limit on them bounds it"""
    agent_answers: bool | None = None
    """None: it has no agent"""
    agent_does_nothing: bool = False
    """its agent takes the request to stop and does not act on it; the ACPI button works"""

    def dirties(self, io_limits: Mapping[str, Mapping[str, int]]) -> float:
        """Memory rewritten per second under these limits."""
        limits = [each.get("total_bytes_sec", 0) for each in io_limits.values()]
        held = sum(limits) if limits and all(limits) else self.io_dirty_bytes_per_second
        return self.dirty_bytes_per_second + min(self.io_dirty_bytes_per_second, held)


class SimulatedFleet:
    """Nodes and vms, and what happens to them. Thread-safe. With the virtual clock, one thread makes it deterministic.

    Each link carries its migrations at full speed, however many there are. Not simulated: contention of any kind,
    hugepages, NUMA, storage pools other than one local and one shared directory.
    """

    def __init__(self, clock: Clock | None = None, *, seed: int = 0) -> None:
        self.clock: Clock = clock or VirtualClock()
        self.lock = threading.RLock()
        self.machines: dict[str, Machine] = {}
        self.shared_images: dict[str, Image] = {}
        self.guests: dict[str, Guest] = {}
        self.migrations: list[Migration] = []
        self.ran_twice: set[str] = set()
        """uuids of vms of which two copies ever ran at once, however briefly"""
        self.lost_finish_resumes_source = False
        """What libvirt does when the link breaks while the destination is being started: it takes the missing answer
        for a failure and resumes the source, and then two copies run. Off by default; on, to see it noticed."""
        self._cut_links: set[frozenset[str]] = set()
        self._catching_up = False
        self._planned: list[tuple[str, Phase, Callable[[], object]]] = []
        self._afterwards: list[tuple[str, Callable[[], object]]] = []
        self._random = random.Random(seed)  # noqa: S311 — contents of disks, not secrets
        self._nodes: dict[str, SimulatedNode] = {}

    # --- building -----------------------------------------------------------------------------------------------

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
        from tools.simulated_node import SimulatedNode

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
    ) -> str:
        """Its uuid. Each entry of `disk_bytes` makes a raw disk that holds that much; with `backing`, each is an overlay
        over that image."""
        machine = self.machines[node]
        identity = uuid or str(uuids.uuid5(uuids.NAMESPACE_URL, f"simulated/{name}"))
        paths: list[str] = []
        for number, size in enumerate(disk_bytes):
            directory, images = (SHARED_DIRECTORY, self.shared_images) if shared else (LOCAL_DIRECTORY, machine.images)
            path = f"{directory}/{name}-{number}.raw"
            images[path] = self._image(size, backing)
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
        machine.domains[identity] = SimulatedDomain(xml, parse_domain(xml), state)
        self.guests[identity] = Guest(dirty_bytes_per_second, stop_seconds)
        return identity

    def add_image(self, node: str, path: str, size: int = 1 << 30, *, backing: str = "") -> None:
        """An image that no vm has as its disk, such as a template."""
        self.machines[node].images[path] = self._image(size, backing)

    def _image(self, size: int, backing: str) -> Image:
        header = _HEADER.pack(_MAGIC, size, len(backing)) + backing.encode()
        filler = self._random.randbytes(_CONTENT_BYTES // 2) + bytes(_CONTENT_BYTES // 2)
        return Image(header + filler, "qcow2" if backing else "raw", size)

    def hypervisors(self) -> dict[str, SimulatedNode]:
        return dict(self._nodes)

    def node(self, name: str) -> SimulatedNode:
        return self._nodes[name]

    # --- the truth ----------------------------------------------------------------------------------------------

    def running_on(self, uuid: str) -> list[str]:
        """The nodes on which a copy of this vm really runs now."""
        with self.lock:
            self.catch_up()
            return self._running_on(uuid)

    def known_on(self, uuid: str) -> list[str]:
        """The nodes that know this vm, in any state, dead nodes included."""
        with self.lock:
            self.catch_up()
            return sorted(name for name, machine in self.machines.items() if uuid in machine.domains)

    def _running_on(self, uuid: str) -> list[str]:
        return sorted(
            name
            for name, machine in self.machines.items()
            if machine.powered
            and (domain := machine.domains.get(uuid)) is not None
            and domain.state is VmState.RUNNING
            and not domain.incoming
        )

    # --- what can break -----------------------------------------------------------------------------------------

    def when(self, uuid: str, phase: Phase, do: Callable[[], object]) -> None:
        """Have `do` happen once, when a migration of this vm next reaches that phase. An error it raises becomes
        libvirt's answer: the job fails then (before the destination runs the guest), or is reported to have failed."""
        with self.lock:
            self._planned.append((uuid, phase, do))

    def after(self, uuid: str, phase: Phase, do: Callable[[], object]) -> None:
        """As `when`, but `do` is called right after it by whoever carries the migration, with nothing locked: it may
        take its time, and wait for what others do with the fleet meanwhile."""
        self.when(uuid, phase, lambda: self._afterwards.append((uuid, do)))

    def do_afterwards(self, uuid: str) -> None:
        """Called without the lock held."""
        with self.lock:
            due = [do for of, do in self._afterwards if of == uuid]
            self._afterwards = [each for each in self._afterwards if each[0] != uuid]
        for do in due:
            do()

    def migrate_by_hand(self, uuid: str, source: str, target: str) -> None:
        """Somebody else's `virsh migrate --live --copy-storage-all`: it begins now, and nobody here waits for its end."""
        with self.lock:
            self.catch_up()
            disks = tuple(disk.device for disk in self.machines[source].domains[uuid].described.disks)
            options = MigrationOptions(True, 0.3, float("inf"), False, False, 0, None, disks)
            self.begin(self._nodes[source].prepare_migration(uuid, target, options))

    def kill_node(self, name: str) -> None:
        """Its power fails: every guest on it is gone at once."""
        with self.lock:
            self.catch_up()
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
        """Power comes back; no guest starts by itself."""
        with self.lock:
            self.machines[name].powered = True

    def cut_off(self, *names: str) -> None:
        """lifeboat can't reach these nodes any more. Their guests and migrations go on."""
        with self.lock:
            self.catch_up()
            for name in names:
                self.machines[name].reachable = False

    def reconnect(self, *names: str) -> None:
        with self.lock:
            self.catch_up()
            for name in names or self.machines:
                self.machines[name].reachable = True

    def cut_link(self, one: str, other: str) -> None:
        """These two nodes can't reach each other any more."""
        with self.lock:
            self.catch_up()
            self._cut_links.add(frozenset((one, other)))
            self._judge_all()

    def hang(self, uuid: str, *, deaf: bool = False) -> None:
        """The link swallows what a migration of this vm sends, without an error, as one does that a disk is copied over
        (QEMU's NBD waits for TCP to give up). `deaf`: the job does not end when told to, either."""
        with self.lock:
            self.catch_up()
            for migration in self.migrations:
                if migration.uuid == uuid:
                    migration.hang(self.clock.monotonic(), deaf=deaf)

    def mend_links(self) -> None:
        with self.lock:
            self._cut_links.clear()

    def stop_libvirtd(self, name: str) -> None:
        """Guests go on; jobs end."""
        with self.lock:
            self.catch_up()
            self.machines[name].libvirtd = False
            self._judge_all()

    def start_libvirtd(self, name: str) -> None:
        """As libvirtd does on its start, it gives up an outgoing migration that had not switched over, and removes a
        guest that was still arriving."""
        with self.lock:
            self.machines[name].libvirtd = True

    def restart_libvirtd(self, name: str) -> None:
        self.stop_libvirtd(name)
        self.start_libvirtd(name)

    # --- the course of things -----------------------------------------------------------------------------------

    def linked(self, one: str, other: str) -> bool:
        return frozenset((one, other)) not in self._cut_links

    def begin(self, migration: Migration) -> None:
        """Called with the lock held."""
        source, target = self.machines[migration.source], self.machines[migration.target]
        leaving = source.domains[migration.uuid]
        target.domains[migration.uuid] = SimulatedDomain(
            leaving.xml,
            leaving.described,
            VmState.PAUSED,
            "starting up",
            persistent=False,
            incoming=True,
            attempt=leaving.attempt,
            io_limits={device: dict(limits) for device, limits in leaving.io_limits.items()},
        )
        self.migrations.append(migration)
        self._reach(migration, Phase.BEGIN)
        self._judge_all()

    def catch_up(self) -> None:
        """Bring everything up to the clock. Called with the lock held."""
        if self._catching_up:  # what breaks at a phase does so before the next one
            return
        self._catching_up = True
        try:
            self._catch_up(self.clock.monotonic())
        finally:
            self._catching_up = False

    def _catch_up(self, now: float) -> None:
        for machine in self.machines.values():
            for domain in machine.domains.values():
                if domain.stops_at is not None and domain.stops_at <= now:
                    domain.stops_at = None
                    if machine.powered and domain.state is VmState.RUNNING:
                        domain.state, domain.reason, domain.io_limits = VmState.SHUTOFF, "shut down", {}
        for migration in list(self.migrations):
            for phase in (Phase.COPYING, Phase.SWITCHOVER, Phase.HANDED_OVER, Phase.DONE):
                if migration.end is None and not migration.has(phase) and migration.at(phase) <= now:
                    self._reach(migration, phase)
            if migration.end is not None and migration in self.migrations:
                self.migrations.remove(migration)

    def job(self, uuid: str, source: str) -> Migration | None:
        return next((m for m in self.migrations if m.uuid == uuid and m.source == source and m.end is None), None)

    def abort(self, migration: Migration) -> None:
        """Somebody told the job to end. Called with the lock held."""
        if migration.deaf:
            migration.abort_asked_at = migration.abort_asked_at or self.clock.monotonic()
        else:
            self.fail(migration, "operation aborted: migration out: canceled by client")

    def fail(self, migration: Migration, error: str, end: End = End.FAILED) -> None:
        """The job ends early. Before the guest runs at the destination it stays, or goes on, at the source."""
        if migration.end is not None:
            return
        migration.end, migration.error = end, error
        leaving = self.machines[migration.source].domains.get(migration.uuid)
        arriving = self.machines[migration.target].domains.get(migration.uuid)
        if migration.has(Phase.HANDED_OVER):
            if migration.post_copy:
                for half in (leaving, arriving):  # each holds a part of its memory, and neither can go on
                    if half is not None and half.active:
                        half.state, half.reason = VmState.PAUSED, "post-copy failed"
            elif self.lost_finish_resumes_source and end is End.FAILED and leaving is not None and leaving.active:
                leaving.state, leaving.reason = VmState.RUNNING, "migration canceled"
                self.note_running(migration.uuid)
            return  # else it stays paused: nobody knows how it ended
        if arriving is not None and arriving.incoming:
            del self.machines[migration.target].domains[migration.uuid]
        for path in self._copied_paths(migration):
            # libvirt makes the images it copies into, and does not remove them again (seen with 9.0)
            self.machines[migration.target].images.setdefault(path, Image(b"", "raw", 0))
        if leaving is not None and leaving.reason == "migration":
            leaving.state, leaving.reason = VmState.RUNNING, "migration canceled"

    def note_running(self, uuid: str) -> None:
        if len(self._running_on(uuid)) > 1:
            self.ran_twice.add(uuid)

    def _reach(self, migration: Migration, phase: Phase) -> None:
        source, target = self.machines[migration.source], self.machines[migration.target]
        leaving, arriving = source.domains.get(migration.uuid), target.domains.get(migration.uuid)
        if leaving is not None and not leaving.active and not migration.has(Phase.HANDED_OVER):
            self.fail(migration, "the guest stopped while it moved")
            return
        migration.passed.add(phase)
        if arriving is None or (leaving is None and phase is not Phase.DONE):
            self.fail(migration, "the vm vanished while it moved")
            return
        if phase is Phase.COPYING:
            arriving.reason = "migration"
        elif phase is Phase.SWITCHOVER and leaving is not None:
            if leaving.state is VmState.RUNNING:
                leaving.state, leaving.reason = VmState.PAUSED, "migration"
        elif phase is Phase.HANDED_OVER and leaving is not None:
            was_running = leaving.reason == "migration"
            arriving.incoming, arriving.persistent = False, True
            arriving.state = VmState.RUNNING if was_running else VmState.PAUSED
            arriving.reason = "" if was_running else leaving.reason
            arriving.attempt = leaving.attempt
            for path in self._copied_paths(migration):
                target.images[path] = source.images[path]
            self.note_running(migration.uuid)
        elif phase is Phase.DONE:
            source.domains.pop(migration.uuid, None)
            target.completed[migration.uuid] = migration
            migration.end = End.DONE
        self._do_planned(migration, phase)
        self._judge_all()

    def _do_planned(self, migration: Migration, phase: Phase) -> None:
        for planned in [each for each in self._planned if each[:2] == (migration.uuid, phase)]:
            self._planned.remove(planned)
            try:
                planned[2]()
            except Exception as error:  # whatever a test raises is libvirt's answer
                if migration.end is End.DONE:
                    migration.end, migration.error = End.FAILED, str(error)
                else:
                    self.fail(migration, str(error))

    def _judge_all(self) -> None:
        """What a node, a libvirtd or a link that just went away means for the migrations under way."""
        for migration in self.migrations:
            if migration.end is not None:
                continue
            source, target = self.machines[migration.source], self.machines[migration.target]
            if not (source.powered and source.libvirtd):
                self.fail(migration, "the source's libvirtd went away", End.SOURCE_LOST)
            elif not (target.powered and target.libvirtd) or not self.linked(migration.source, migration.target):
                self.fail(migration, f"lost the connection to {migration.target}")

    def _copied_paths(self, migration: Migration) -> Iterable[str]:
        source = self.machines[migration.source]
        domain = source.domains.get(migration.uuid)
        disks = domain.described.disks if domain is not None else ()
        return [d.path for d in disks if d.device in migration.options.copy_disks and d.path in source.images]


def domain_xml(
    uuid: str,
    name: str,
    *,
    memory_bytes: int = 1 << 30,
    vcpus: int = 1,
    disks: Sequence[str] = (),
    labels: Labels | None = None,
    passthrough: bool = False,
    cpu_model: str = "",
    machine: str = MACHINE,
    nvram: str = "",
    tpm: bool = False,
) -> str:
    """A libvirt definition with raw file disks vda, vdb, … at these paths."""
    if len(disks) > 26:
        raise BadInput(f"vm {name}: {len(disks)} disks, at most 26 are simulated")
    root = ET.Element("domain", type="kvm")
    ET.SubElement(root, "name").text = name
    ET.SubElement(root, "uuid").text = uuid
    if labels is not None:
        label = ET.fromstring(write_labels(labels))  # noqa: S314 — our own
        label.tag = f"{{{NAMESPACE}}}vm"
        ET.SubElement(root, "metadata").append(label)
    ET.SubElement(root, "memory", unit="b").text = str(memory_bytes)
    ET.SubElement(root, "vcpu").text = str(vcpus)
    system = ET.SubElement(root, "os")
    ET.SubElement(system, "type", arch="x86_64", machine=machine).text = "hvm"
    if nvram:
        ET.SubElement(system, "nvram").text = nvram
    if cpu_model:
        ET.SubElement(ET.SubElement(root, "cpu", mode="custom"), "model").text = cpu_model
    devices = ET.SubElement(root, "devices")
    for letter, path in zip("abcdefghijklmnopqrstuvwxyz", disks, strict=False):
        disk = ET.SubElement(devices, "disk", type="file", device="disk")
        ET.SubElement(disk, "driver", name="qemu", type="raw")
        ET.SubElement(disk, "source", file=path)
        ET.SubElement(disk, "target", dev=f"vd{letter}", bus="virtio")
    if tpm:
        ET.SubElement(ET.SubElement(devices, "tpm"), "backend", type="emulator")
    if passthrough:
        ET.SubElement(devices, "hostdev", mode="subsystem", type="pci")
    return ET.tostring(root, encoding="unicode")
