"""What a libvirt node shows of itself and its vms, behind the Hypervisor port. Nothing is changed here."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import libvirt

from models.errors import ActionFailed
from models.fleet import Node, Vm
from tools.domain.labels import read_attempt, read_labels, without_attempt
from tools.domain.xml import parse_domain
from tools.libvirt.compatibility import common_cpu_model, missing_cpu, missing_machine, numa_cells, widest_guest
from tools.libvirt.disks import observe_disks, read_state
from tools.libvirt.domains import GONE, LibvirtReach, find_domain
from tools.libvirt.migration_job import is_incoming
from tools.libvirt.volumes import Pool, list_pools
from tools.ports.compatibility import Versions
from tools.ports.vms import Cell, VmObservation


class LibvirtView(LibvirtReach):
    """The part of LibvirtNode that only looks."""

    def node(self) -> Node:
        info, memory, capabilities = self._query(
            "its inventory", lambda c: (c.getInfo(), _memory_stats(c), c.getCapabilities())
        )
        return Node(
            name=self._name,
            memory_bytes=memory["total"],
            memory_reserved_bytes=self._reserved,
            cpus=int(info[2]),
            cpu_overcommit=self._overcommit,
            cpu_model=_xml(capabilities).findtext("./host/cpu/model", ""),
            failure_domain=self._failure_domain,
            migration_bytes_per_second=self._migration_rate,
            archive_bytes_per_second=self._archive_rate,
        )

    def vms(self) -> list[Vm]:
        """As the port says. A vm that is still arriving here is left out: it runs, and is listed, at its source."""

        def read(connection: libvirt.virConnect) -> list[Vm]:
            pools = list_pools(connection)
            found: list[Vm] = []
            for domain in connection.listAllDomains(0):
                try:
                    vm = self._vm(connection, domain, pools)
                except libvirt.libvirtError as error:
                    if error.get_error_code() in GONE:
                        continue  # undefined between the two calls
                    raise
                if vm is not None:
                    found.append(vm)
            return sorted(found, key=lambda vm: vm.name)

        return self._query("its vms", read, seconds=60.0)

    def _vm(self, connection: libvirt.virConnect, domain: libvirt.virDomain, pools: list[Pool]) -> Vm | None:
        if is_incoming(domain):
            return None
        xml = domain.XMLDesc(0)
        described, labels = parse_domain(xml), read_labels(xml)
        images = observe_disks(connection, domain, described, self._shared, pools)
        return Vm(
            uuid=described.uuid,
            name=described.name,
            node=self._name,
            memory_bytes=described.memory_bytes,
            vcpus=described.vcpus,
            state=read_state(domain)[0],
            priority=labels.priority,
            workload=labels.workload,
            disk_bytes=sum(disk.allocated_bytes for disk in images),
            shared_storage=all(disk.shared for disk in images),
            anti_affinity_group=labels.anti_affinity_group,
            migratable=not described.bound,
            hugepage_bytes=described.hugepage_bytes,
            cold_archive_allowed=labels.cold_archive_allowed,
            probe=labels.probe,
            label_warning=labels.warning,
        )

    def observe(self, uuid: str) -> VmObservation | None:
        def look(connection: libvirt.virConnect) -> VmObservation | None:
            domain = find_domain(connection, uuid)
            if domain is None:
                return None
            try:
                xml = domain.XMLDesc(0)
                seen, reason = read_state(domain)
                incoming = is_incoming(domain)
                described = parse_domain(xml)
                return VmObservation(
                    uuid=described.uuid,
                    name=described.name,
                    node=self._name,
                    state=seen,
                    persistent=domain.isPersistent() == 1,
                    disks=observe_disks(
                        connection,
                        domain,
                        described,
                        self._shared,
                        list_pools(connection),
                        ask_qemu=not incoming,
                    ),
                    incoming=incoming,
                    attempt=read_attempt(xml),
                    state_reason=reason,
                    saved_memory=domain.hasManagedSaveImage(0) == 1,
                    snapshots=domain.snapshotNum(0),
                    nvram=described.nvram,
                    tpm=described.tpm,
                )
            except libvirt.libvirtError as error:
                if error.get_error_code() in GONE:
                    return None
                raise

        return self._query(f"vm {uuid}", look)

    def uuid_of(self, name: str) -> str | None:
        def look(connection: libvirt.virConnect) -> str | None:
            try:
                return connection.lookupByName(name).UUIDString()
            except libvirt.libvirtError as error:
                if error.get_error_code() in GONE:
                    return None
                raise

        return self._query(f"vm {name}", look)

    def free_memory_bytes(self, *, hugepage_bytes: int = 0) -> int:
        """The smaller of two figures: what the host has free or in caches, and what its running vms leave of it when
        each of them uses all it may. Less the reserve, except for hugepages, which are set apart already."""

        def read(connection: libvirt.virConnect) -> int:
            if hugepage_bytes:
                cells: Any = connection.getFreePages(cast("Any", [hugepage_bytes >> 10]), -1, 1, 0)
                return hugepage_bytes * sum(int(count) for cell in cells.values() for count in cell.values())
            stats = _memory_stats(connection)
            measured = stats["free"] + stats["buffers"] + stats["cached"]
            promised = 0
            for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
                with suppress(libvirt.libvirtError):
                    promised += domain.maxMemory() << 10
            return max(0, min(measured, stats["total"] - promised) - self._reserved)

        return self._query("its free memory", read)

    def domain_xml(self, uuid: str) -> str:
        def read(domain: libvirt.virDomain) -> str:
            if domain.isPersistent() != 1:
                raise ActionFailed(
                    f"vm {uuid} on node {self._name} is transient: it has no definition that outlives it",
                    hint="define it first (`virsh define`), or move it live",
                )
            return without_attempt(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))

        return self._read_domain("the definition of", uuid, read)

    def running_xml(self, uuid: str) -> str:
        return self._read_domain("the running definition of", uuid, lambda d: d.XMLDesc(0))

    def host_cpu(self) -> str:
        capabilities = self._query("its capabilities", lambda c: c.getCapabilities())
        cpu = _xml(capabilities).find("./host/cpu")
        return ET.tostring(cpu, encoding="unicode") if cpu is not None else ""

    def widest_guest(self, virt_type: str) -> str:
        return self._query("what its guests can have", lambda c: widest_guest(c, virt_type))

    def cpu_compatible(self, domain_xml: str, host_cpu: str) -> str | None:
        domain = parse_domain(domain_xml)
        return self._query("a CPU comparison", lambda c: missing_cpu(c, domain, host_cpu))

    def machine_compatible(self, domain_xml: str) -> str | None:
        return missing_machine(self._query("its capabilities", lambda c: c.getCapabilities()), parse_domain(domain_xml))

    def common_cpu_model(self, domain_xml: str, host_cpus: Sequence[str]) -> str | None:
        domain = parse_domain(domain_xml)
        return self._query("a common CPU", lambda c: common_cpu_model(c, domain, host_cpus))

    def versions(self) -> Versions:
        return self._query("its versions", lambda c: Versions(int(c.getLibVersion()), int(c.getVersion())))

    def cells(self) -> tuple[Cell, ...]:
        return self._query("its NUMA cells", lambda c: numa_cells(c, c.getCapabilities()))


def _memory_stats(connection: libvirt.virConnect) -> dict[str, int]:
    """total, free, buffers and cached memory, bytes."""
    stats: Any = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS, 0)
    return {key: int(stats.get(key, 0)) << 10 for key in ("total", "free", "buffers", "cached")}


def _xml(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 — libvirt wrote it
