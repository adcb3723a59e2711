"""Can a node run a domain: its CPU, its machine type and its memory by NUMA cell."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

import libvirt

from tools.domain.xml import Domain, parse_domain
from tools.libvirt.connection import alive, closed_port, one_line
from tools.libvirt.domains import DomainAccess
from tools.libvirt.host_resources import host_resources
from tools.libvirt.tls_identity import shown_certificate
from tools.libvirt.uri import pki_directory
from tools.ports.compatibility import Certificate, HostResources, Versions
from tools.ports.vms import Cell

_CANT_COMPARE = (
    libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_OPERATION_UNSUPPORTED, libvirt.VIR_ERR_CONFIG_UNSUPPORTED
)  # fmt: skip


class LibvirtCompatibility:
    """The part of LibvirtNode that tells what it can take, and who it proves to be."""

    def __init__(
        self,
        access: DomainAccess,
        *,
        migration_uri: str,
        memory_reserved_bytes: int,
        clock_offset: Callable[[str], float | None] | None,
    ) -> None:
        self._access = access
        self._migration_uri = migration_uri
        self._reserved = memory_reserved_bytes
        self._clock_offset = clock_offset

    def free_memory_bytes(self, *, hugepage_bytes: int = 0) -> int:
        """The smaller of two figures: what the host has free or in caches, and what its running vms leave of it when
        each of them uses all it may. Less the reserve, except for hugepages, which are set apart already."""

        def read(connection: libvirt.virConnect) -> int:
            if hugepage_bytes:
                cells: Any = connection.getFreePages(cast("Any", [hugepage_bytes >> 10]), -1, 1, 0)
                return hugepage_bytes * sum(int(count) for cell in cells.values() for count in cell.values())
            stats = memory_stats(connection)
            measured = stats["free"] + stats["buffers"] + stats["cached"]
            promised = 0
            for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
                with suppress(libvirt.libvirtError):
                    promised += domain.maxMemory() << 10
            return max(0, min(measured, stats["total"] - promised) - self._reserved)

        return self._access.query("its free memory", read)

    def host_cpu(self) -> str:
        capabilities = self._access.query("its capabilities", lambda c: c.getCapabilities())
        cpu = _xml(capabilities).find("./host/cpu")
        return ET.tostring(cpu, encoding="unicode") if cpu is not None else ""

    def widest_guest(self, virt_type: str) -> str:
        return self._access.query("what its guests can have", lambda c: widest_guest(c, virt_type))

    def cpu_compatible(self, domain_xml: str, host_cpu: str) -> str | None:
        domain = parse_domain(domain_xml)
        return self._access.query("a CPU comparison", lambda c: missing_cpu(c, domain, host_cpu))

    def machine_compatible(self, domain_xml: str) -> str | None:
        return missing_machine(
            self._access.query("its capabilities", lambda c: c.getCapabilities()), parse_domain(domain_xml)
        )

    def common_cpu_model(self, domain_xml: str, host_cpus: Sequence[str]) -> str | None:
        domain = parse_domain(domain_xml)
        return self._access.query("a common CPU", lambda c: common_cpu_model(c, domain, host_cpus))

    def versions(self) -> Versions:
        return self._access.query("its versions", lambda c: Versions(int(c.getLibVersion()), int(c.getVersion())))

    def host_resources(self, domain_xml: str) -> HostResources:
        domain = parse_domain(domain_xml)
        return self._access.query("what it has for guests", lambda c: host_resources(c, domain))

    def cells(self) -> tuple[Cell, ...]:
        return self._access.query("its NUMA cells", lambda c: numa_cells(c, c.getCapabilities()))

    def clock_offset_seconds(self) -> float | None:
        return self._clock_offset(self._access.name) if self._clock_offset is not None else None

    def closed_port(self) -> str | None:
        return closed_port(self._migration_uri, seconds=self._access.connection.connect_seconds)

    def tls_fingerprint(self) -> str:
        return self.tls_certificate().sha256

    def tls_certificate(self) -> Certificate:
        return shown_certificate(
            self._access.name,
            self._migration_uri,
            client=pki_directory(self._access.connection.uri),
            seconds=self._access.connection.connect_seconds,
        )


def memory_stats(connection: libvirt.virConnect) -> dict[str, int]:
    """total, free, buffers and cached memory, bytes."""
    stats: Any = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS, 0)
    return {key: int(stats.get(key, 0)) << 10 for key in ("total", "free", "buffers", "cached")}


def _xml(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 — libvirt wrote it


def missing_cpu(connection: libvirt.virConnect, domain: Domain, host_cpu: str) -> str | None:
    """What the node's CPU lacks for this domain; None when nothing, or when libvirt can't compare on this architecture
    (it checks once more when the migration begins).

    A host-passthrough domain needs what the host it runs on has (`host_cpu`); any other what its definition says.
    """
    if domain.cpu_mode in ("", "maximum"):  # QEMU's own model: what the machine type is, it is too
        return None
    flags = libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE
    try:
        if domain.cpu_mode == "host-passthrough":
            connection.compareCPU(host_cpu, flags)
        else:
            compare: Any = connection.compareHypervisorCPU
            compare(domain.emulator, domain.arch, None, domain.virt_type, domain.cpu_xml, flags)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_CPU_INCOMPATIBLE:
            return one_line(error).rpartition(": ")[2]
        if error.get_error_code() in _CANT_COMPARE:
            return None
        if alive(connection):  # an emulator that is not there, or does not run
            return f"what libvirt could not compare ({one_line(error)})"
        raise
    return None


def widest_guest(connection: libvirt.virConnect, virt_type: str) -> str:
    """A domain with the host-model CPU of this node's QEMU, which is what compareHypervisorCPU compares with; the host's
    own (compareCPU) says nothing of what QEMU can give without KVM. Empty when there is none."""
    capabilities: Any = connection.getDomainCapabilities
    try:
        root = ET.fromstring(capabilities(None, None, None, virt_type, 0))  # noqa: S314 — libvirt wrote it
    except libvirt.libvirtError as error:
        if error.get_error_code() in (*_CANT_COMPARE, libvirt.VIR_ERR_INVALID_ARG):
            return ""  # no such virtualisation here
        raise
    model = root.find("./cpu/mode[@name='host-model'][@supported='yes']")
    if model is None:
        return ""
    domain = ET.Element("domain", type=virt_type)
    ET.SubElement(domain, "name").text = "guest"
    ET.SubElement(ET.SubElement(domain, "os"), "type", arch=root.findtext("arch", "")).text = "hvm"
    ET.SubElement(domain, "cpu", mode="custom", match="exact").extend(list(model))
    return ET.tostring(domain, encoding="unicode")


def common_cpu_model(connection: libvirt.virConnect, domain: Domain, host_cpus: Sequence[str]) -> str | None:
    """The best CPU model that all these hosts have, as far as this node's libvirt can tell."""
    baseline: Any = connection.baselineHypervisorCPU
    ask: tuple[Callable[[], str], ...] = (
        lambda: baseline(domain.emulator, domain.arch, None, domain.virt_type, list(host_cpus), 0),
        lambda: connection.baselineCPU(list(host_cpus), 0),
    )
    for each in ask:
        with suppress(libvirt.libvirtError, ET.ParseError):
            model = ET.fromstring(each()).findtext("model")  # noqa: S314 — libvirt wrote it
            if model:
                return model
    return None


def numa_cells(connection: libvirt.virConnect, capabilities: str) -> tuple[Cell, ...]:
    """The node's cells. The caches of the host count as if they lay in any of them: libvirt tells them for the whole
    host only, and the kernel drops them where memory is needed."""
    host: Any = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS, 0)
    caches = (int(host.get("buffers", 0)) + int(host.get("cached", 0))) << 10
    cells: list[Cell] = []
    for element in _xml(capabilities).findall("./host/topology/cells/cell"):
        number = int(element.get("id", "0"))
        stats: Any = connection.getMemoryStats(number, 0)
        total, free = int(stats.get("total", 0)) << 10, int(stats.get("free", 0)) << 10
        # The first page size is the normal one; where it can't be told apart, sizes of a megabyte and more are huge.
        sizes = sorted({int(page.get("size", "0")) for page in element.findall("pages")} - {0})
        huge = [size for size in sizes if size >= 1 << 10]
        pages: Any = connection.getFreePages(cast("Any", huge), number, 1, 0) if huge else {}
        counts: Any = pages.get(number, {})
        cells.append(
            Cell(
                id=number,
                memory_bytes=total,
                free_bytes=min(total, free + caches),
                free_hugepages={int(size) << 10: int(count) for size, count in counts.items()},
            )
        )
    return tuple(cells)


def missing_machine(capabilities: str, domain: Domain) -> str | None:
    """What a node with these capabilities lacks of architecture, machine type and virtualisation; None when nothing."""
    root = _xml(capabilities)
    arch = root.find(f"./guest/arch[@name='{domain.arch}']")
    if arch is None:
        return f"emulator for {domain.arch}"
    machines = {name for element in arch.iter("machine") for name in (element.text, element.get("canonical"))}
    if domain.machine and domain.machine not in machines:
        return f"machine type {domain.machine}"
    if domain.virt_type not in {element.get("type") for element in arch.findall("domain")}:
        return f"virtualisation {domain.virt_type}"
    return None
