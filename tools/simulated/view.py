"""What a simulated node shows of itself and its vms. Nothing is changed here."""

from __future__ import annotations

from functools import lru_cache

from models.errors import ActionFailed
from models.fleet import Node, Vm, VmState
from tools.domain.incarnation import incarnation_of
from tools.domain.inventory.handlers import take_inventory
from tools.domain.inventory.resource import Inventory
from tools.domain.inventory.whole import LibvirtState, whole_inventory
from tools.domain.labels import read_labels, read_note
from tools.domain.obstacles import ListedVm, obstacle_fields, without_common_disks
from tools.ports.shared_storage import SharedStorage
from tools.ports.vms import IO_ERROR, VmObservation
from tools.simulated.domains import DomainAccess
from tools.simulated.state import SHARED_DIRECTORY, SimulatedDomain
from tools.simulated.storage import SimulatedStorage


class SimulatedView:
    """The part of SimulatedNode that only looks."""

    def __init__(self, access: DomainAccess, storage: SimulatedStorage) -> None:
        self._access = access
        self._fleet = access.fleet
        self._name = access.name
        self._storage = storage

    def node(self) -> Node:
        with self._access.answering() as machine:
            return machine.node

    def vms(self) -> list[Vm]:
        with self._access.answering() as machine:
            return without_common_disks(
                ListedVm(vm=self._vm(uuid, domain), disks=self._storage.disks(domain))
                for uuid, domain in machine.domains.items()
                if not domain.incoming
            )

    def _vm(self, uuid: str, domain: SimulatedDomain) -> Vm:
        labels, described, disks = _labels(domain.xml), domain.described, self._storage.disks(domain)
        guest = self._fleet.guests.get(uuid)
        return Vm(
            uuid=uuid,
            name=described.name,
            node=self._name,
            memory_bytes=described.memory_bytes,
            vcpus=described.vcpus,
            state=domain.state,
            priority=labels.priority,
            workload=labels.workload,
            dirty_bytes_per_second=guest.dirty_bytes_per_second if guest else None,
            disk_bytes=sum(disk.allocated_bytes for disk in disks),
            shared_storage=all(disk.shared for disk in disks),
            anti_affinity_group=labels.anti_affinity_group,
            migratable=not described.bound,
            cold_archive_allowed=labels.cold_archive_allowed,
            probe=labels.probe,
            note=_note(domain.xml),
            label_warning=labels.warning,
            io_error=domain.state is VmState.PAUSED and domain.reason == IO_ERROR,
            incarnation=_incarnation(domain.xml, domain.defined_xml or domain.xml) + f"-{domain.starts}",
            **obstacle_fields(_inventory(domain), disks),
        )

    def observe(self, uuid: str) -> VmObservation | None:
        with self._access.answering() as machine:
            domain = machine.domains.get(uuid)
            if domain is None:
                return None
            return VmObservation(
                uuid=uuid,
                name=domain.described.name,
                node=self._name,
                state=domain.state,
                persistent=domain.persistent,
                disks=self._storage.disks(domain),
                incoming=domain.incoming,
                attempt=domain.attempt,
                state_reason=domain.reason,
                saved_memory=domain.saved_memory,
                snapshots=domain.snapshots,
                autostart=domain.autostart,
                nvram=domain.described.nvram,
                tpm=domain.described.tpm,
                checkpoints=domain.checkpoints,
                on_poweroff=domain.on_poweroff if domain.active else domain.described.on_poweroff,
                only_read=self._storage.only_read(domain),
            )

    def shared_storage(self) -> SharedStorage:
        with self._access.answering():
            return SharedStorage(paths=(SHARED_DIRECTORY,))

    def uuid_of(self, name: str) -> str | None:
        with self._access.answering() as machine:
            return next((uuid for uuid, d in machine.domains.items() if d.described.name == name), None)

    def domain_xml(self, uuid: str) -> str:
        with self._access.domain(uuid) as domain:
            if not domain.persistent:
                raise ActionFailed(
                    f"vm {uuid} on node {self._name} is transient", hint="define it first, or move it live"
                )
            return domain.defined_xml or domain.xml

    def running_xml(self, uuid: str) -> str:
        with self._access.domain(uuid) as domain:
            return domain.xml


def _inventory(domain: SimulatedDomain) -> Inventory:
    storage = SharedStorage(paths=(SHARED_DIRECTORY,))
    return whole_inventory(
        _inventory_of(domain.xml, storage),
        _inventory_of(domain.defined_xml, storage) if domain.defined_xml and domain.active else None,
        LibvirtState(
            persistent=domain.persistent,
            snapshots=domain.snapshots,
            checkpoints=domain.checkpoints,
            saved_memory=domain.saved_memory,
        ),
    )


# A large fleet's definitions are looked at in every pass, and hardly ever change.
_labels = lru_cache(maxsize=1 << 14)(read_labels)
_note = lru_cache(maxsize=1 << 14)(read_note)
_incarnation = lru_cache(maxsize=1 << 14)(incarnation_of)
_inventory_of = lru_cache(maxsize=1 << 14)(take_inventory)
