"""What a libvirt node shows of itself and its vms, behind the Hypervisor port. Nothing is changed here."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import libvirt

from models.errors import ActionFailed, LifeboatError
from models.fleet import Node, Vm, VmState
from tools.domain.incarnation import incarnation_of
from tools.domain.inventory.handlers import take_inventory
from tools.domain.inventory.resource import Inventory
from tools.domain.inventory.whole import LibvirtState, whole_inventory
from tools.domain.labels import read_attempt, read_labels, read_note, without_attempt
from tools.domain.obstacles import ListedVm, obstacle_fields, without_common_disks
from tools.domain.xml import Domain, parse_domain
from tools.libvirt.connection import alive, close_quietly, one_line
from tools.libvirt.domains import GONE, DomainAccess, find_domain
from tools.libvirt.migration.compatibility import memory_stats
from tools.libvirt.migration.migration_job import is_incoming
from tools.libvirt.migration.tuning import blockers_from_qemu
from tools.libvirt.on_disk.disks import (
    Sizes,
    observe_disks,
    observe_only_read,
    read_state,
    shared_by_pools,
    sizes_from_qemu,
    with_sizes,
    without_sizes,
)
from tools.libvirt.on_disk.volumes import Pool, list_pools
from tools.libvirt.qemu_questions import QemuQuestions
from tools.ports.shared_storage import SharedStorage
from tools.ports.vms import IO_ERROR, DiskObservation, VmObservation


@dataclass(frozen=True, kw_only=True)
class NodeFigures:
    """What the settings say of a node, which libvirt can't know."""

    failure_domain: str
    memory_reserved_bytes: int
    """of its memory, for the host itself"""
    cpu_overcommit: float
    """virtual processors for each of its own"""
    migration_bytes_per_second: float
    archive_bytes_per_second: float


@dataclass(frozen=True, kw_only=True)
class _Listed:
    """A vm of the list, before its QEMU was asked."""

    xml: str
    described: Domain
    state: VmState
    io_error: bool
    incarnation: str
    disks: tuple[DiskObservation, ...]
    inventory: Inventory


class LibvirtView:
    """The part of LibvirtNode that only looks."""

    def __init__(self, access: DomainAccess, shared: SharedStorage, figures: NodeFigures) -> None:
        self._access = access
        self._name = access.name
        self._shared = shared
        self._figures = figures
        self._questions = QemuQuestions(
            access.connection.open_another, close_quietly, alive, idle_seconds=access.connection.idle_seconds
        )

    def node(self) -> Node:
        info, memory, capabilities = self._access.query(
            "its inventory", lambda c: (c.getInfo(), memory_stats(c), c.getCapabilities())
        )
        return Node(
            name=self._name,
            memory_bytes=memory["total"],
            memory_reserved_bytes=self._figures.memory_reserved_bytes,
            cpus=int(info[2]),
            cpu_overcommit=self._figures.cpu_overcommit,
            cpu_model=ET.fromstring(capabilities).findtext("./host/cpu/model", ""),  # noqa: S314 — libvirt wrote it
            failure_domain=self._figures.failure_domain,
            migration_bytes_per_second=self._figures.migration_bytes_per_second,
            archive_bytes_per_second=self._figures.archive_bytes_per_second,
        )

    def vms(self) -> list[Vm]:
        """As the port says. A vm that is still arriving here is left out: it runs, and is listed, at its source."""

        odd: list[Vm] = []

        def read(connection: libvirt.virConnect) -> list[_Listed]:
            pools = list_pools(connection)
            vms: list[_Listed] = []
            for domain in connection.listAllDomains(0):
                try:
                    vm = self._listed(connection, domain, pools)
                except (libvirt.libvirtError, LifeboatError) as error:
                    if isinstance(error, libvirt.libvirtError) and error.get_error_code() in GONE:
                        continue  # undefined between the two calls
                    if not alive(connection):
                        raise
                    odd.append(self._odd(domain, error))  # one guest that nobody can tell of hides no node
                    continue
                if vm is not None:
                    vms.append(vm)
            return vms

        listed = self._access.query("its vms", read, seconds=60.0)
        sizes = self._sizes({vm.described.uuid: without_sizes(vm.disks) for vm in listed})
        told = without_common_disks(self._vm(vm, sizes.get(vm.described.uuid, {})) for vm in listed)
        return sorted((*told, *odd), key=lambda vm: vm.name) if odd else told

    def _odd(self, domain: libvirt.virDomain, error: Exception) -> Vm:
        """A guest that libvirt can't describe: it stays, and holds its room as far as libvirt tells."""
        said = one_line(error) if isinstance(error, libvirt.libvirtError) else str(error)
        why = f"libvirt on {self._name} can't tell what it is: {said}"
        memory, vcpus, state = 0, 1, VmState.RUNNING
        with suppress(libvirt.libvirtError):
            state = read_state(domain)[0]
            info = domain.info()
            memory, vcpus = int(info[1]) << 10, max(1, int(info[3]))
        return Vm(
            uuid=domain.UUIDString(),
            name=domain.name(),
            node=self._name,
            memory_bytes=memory,
            vcpus=vcpus,
            state=state,
            live_obstacle=why,
            cold_obstacle=why,
            archive_obstacle=why,
        )

    def _sizes(self, devices: Mapping[str, list[str]]) -> dict[str, dict[str, Sizes]]:
        """vm → device → its sizes, as the QEMUs say that answer in time."""
        return self._questions.ask(
            {vm: partial(sizes_from_qemu, uuid=vm, devices=wanted) for vm, wanted in devices.items() if wanted}
        )

    def _listed(self, connection: libvirt.virConnect, domain: libvirt.virDomain, pools: list[Pool]) -> _Listed | None:
        if is_incoming(domain):
            return None
        xml = domain.XMLDesc(0)
        described, (state, reason) = parse_domain(xml), read_state(domain)
        both = domain.isPersistent() == 1 and state is not VmState.SHUTOFF
        defined = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) if both else None
        return _Listed(
            xml=xml,
            described=described,
            state=state,
            io_error=state is VmState.PAUSED and reason == IO_ERROR,
            incarnation=incarnation_of(xml, *([defined] if defined else [])),
            disks=observe_disks(connection, described, self._shared, pools),
            inventory=self._inventory(domain, xml, defined, pools),
        )

    def _vm(self, listed: _Listed, sizes: Mapping[str, Sizes]) -> ListedVm:
        described, labels = listed.described, read_labels(listed.xml)
        images = with_sizes(listed.disks, described, sizes)
        vm = Vm(
            uuid=described.uuid,
            name=described.name,
            node=self._name,
            memory_bytes=described.memory_bytes,
            vcpus=described.vcpus,
            state=listed.state,
            priority=labels.priority,
            workload=labels.workload,
            disk_bytes=sum(disk.allocated_bytes for disk in images),
            shared_storage=all(disk.shared for disk in images),
            anti_affinity_group=labels.anti_affinity_group,
            migratable=not described.bound,
            hugepage_bytes=described.hugepage_bytes,
            cold_archive_allowed=labels.cold_archive_allowed,
            probe=labels.probe,
            note=read_note(listed.xml),
            label_warning=labels.warning,
            io_error=listed.io_error,
            incarnation=listed.incarnation,
            **obstacle_fields(listed.inventory, images),
        )
        return ListedVm(vm=vm, disks=images)

    def _inventory(self, domain: libvirt.virDomain, xml: str, defined: str | None, pools: list[Pool]) -> Inventory:
        """Everything it names here, running and defined, and what libvirt keeps of it besides."""
        storage = shared_by_pools(self._shared, pools)
        return whole_inventory(
            take_inventory(xml, storage),
            take_inventory(defined, storage) if defined else None,
            LibvirtState(
                persistent=domain.isPersistent() == 1,
                snapshots=domain.snapshotNum(0),
                checkpoints=_checkpoints(domain),
                saved_memory=domain.hasManagedSaveImage(0) == 1,
            ),
        )

    def migration_blockers(self, uuids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        return self._questions.ask({uuid: partial(blockers_from_qemu, uuid=uuid) for uuid in uuids})

    def observe(self, uuid: str) -> VmObservation | None:
        def look(connection: libvirt.virConnect) -> tuple[VmObservation, Domain] | None:
            domain = find_domain(connection, uuid)
            if domain is None:
                return None
            try:
                xml = domain.XMLDesc(0)
                seen, reason = read_state(domain)
                incoming = is_incoming(domain)
                described = parse_domain(xml)
                pools = list_pools(connection)
                found = VmObservation(
                    uuid=described.uuid,
                    name=described.name,
                    node=self._name,
                    state=seen,
                    persistent=domain.isPersistent() == 1,
                    disks=observe_disks(connection, described, self._shared, pools),
                    incoming=incoming,
                    attempt=read_attempt(xml),
                    state_reason=reason,
                    saved_memory=domain.hasManagedSaveImage(0) == 1,
                    snapshots=domain.snapshotNum(0),
                    autostart=domain.isPersistent() == 1 and domain.autostart() == 1,
                    nvram=described.nvram,
                    tpm=described.tpm,
                    checkpoints=_checkpoints(domain),
                    on_poweroff=described.on_poweroff,
                    only_read=observe_only_read(connection, described, self._shared, pools),
                )
                return found, described
            except libvirt.libvirtError as error:
                if error.get_error_code() in GONE:
                    return None
                raise

        seen = self._access.query(f"vm {uuid}", look)
        if seen is None:
            return None
        observation, described = seen
        if observation.incoming:  # its QEMU has no disks open yet
            return observation
        sizes = self._sizes({uuid: without_sizes(observation.disks)}).get(uuid, {})
        return replace(observation, disks=with_sizes(observation.disks, described, sizes))

    def close(self) -> None:
        """Let go of the connections to the QEMUs."""
        self._questions.close()

    def shared_storage(self) -> SharedStorage:
        return self._access.query("its storage pools", lambda c: shared_by_pools(self._shared, list_pools(c)))

    def uuid_of(self, name: str) -> str | None:
        def look(connection: libvirt.virConnect) -> str | None:
            try:
                return connection.lookupByName(name).UUIDString()
            except libvirt.libvirtError as error:
                if error.get_error_code() in GONE:
                    return None
                raise

        return self._access.query(f"vm {name}", look)

    def domain_xml(self, uuid: str) -> str:
        def read(domain: libvirt.virDomain) -> str:
            if domain.isPersistent() != 1:
                raise ActionFailed(
                    f"vm {uuid} on node {self._name} is transient: it has no definition that outlives it",
                    hint="define it first (`virsh define`), or move it live",
                )
            return without_attempt(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))

        return self._access.read("the definition of", uuid, read)

    def running_xml(self, uuid: str) -> str:
        return self._access.read("the running definition of", uuid, lambda d: d.XMLDesc(0))


def _checkpoints(domain: libvirt.virDomain) -> int:
    with suppress(libvirt.libvirtError):  # a libvirt without checkpoints has none
        return len(domain.listAllCheckpoints(0))
    return 0
