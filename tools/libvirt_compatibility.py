"""Can a node run a domain: its CPU and its machine type."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import libvirt

from tools.domain_xml import Domain
from tools.libvirt_connection import one_line

_CANT_COMPARE = (
    libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_OPERATION_UNSUPPORTED, libvirt.VIR_ERR_CONFIG_UNSUPPORTED
)  # fmt: skip


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
        raise
    return None


def missing_machine(capabilities: str, domain: Domain) -> str | None:
    """What a node with these capabilities lacks of architecture, machine type and virtualisation; None when nothing."""
    root = ET.fromstring(capabilities)  # noqa: S314 — libvirt wrote it
    arch = root.find(f"./guest/arch[@name='{domain.arch}']")
    if arch is None:
        return f"emulator for {domain.arch}"
    machines = {name for element in arch.iter("machine") for name in (element.text, element.get("canonical"))}
    if domain.machine and domain.machine not in machines:
        return f"machine type {domain.machine}"
    if domain.virt_type not in {element.get("type") for element in arch.findall("domain")}:
        return f"virtualisation {domain.virt_type}"
    return None
