"""What a libvirt node has of what a guest may need of its host, each asked of libvirt; what it can't tell is left open."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from typing import Any

import libvirt

from tools.domain.xml import Domain
from tools.libvirt.connection import alive
from tools.ports.compatibility import HostResources

_NO_ANSWER = (
    libvirt.VIR_ERR_NO_SUPPORT,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    libvirt.VIR_ERR_ACCESS_DENIED,
    libvirt.VIR_ERR_NO_CONNECT,
)
"""the node has no such driver, or does not let lifeboat ask"""


def host_resources(connection: libvirt.virConnect, domain: Domain) -> HostResources:
    """Of this guest's kind. Raises libvirtError when the node does not answer."""
    emulators, firmware = _emulator(connection, domain)
    return HostResources(
        emulators=emulators,
        firmware=firmware,
        networks=_names(
            lambda: (n.name() for n in connection.listAllNetworks(libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE))
        ),
        interfaces=_interfaces(connection),
        network_filters=_names(lambda: (each.name() for each in connection.listAllNWFilters(0))),
        secrets=_names(lambda: _secrets(connection)),
        storage_pools=_names(
            lambda: (p.name() for p in connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE))
        ),
        cpus=_online(connection),
        numa_nodes=_numa_nodes(connection),
    )


def _names(ask: Callable[[], Iterable[str]]) -> frozenset[str] | None:
    try:
        return frozenset(ask())
    except libvirt.libvirtError as error:
        if error.get_error_code() in _NO_ANSWER:
            return None
        raise


def _emulator(connection: libvirt.virConnect, domain: Domain) -> tuple[frozenset[str] | None, frozenset[str] | None]:
    """The guest's own emulator where it runs there, and the firmware images libvirt knows for it."""
    wanted = domain.emulator or None
    try:
        answer = connection.getDomainCapabilities(
            wanted, domain.arch, domain.machine or None, domain.virt_type or None, 0
        )
    except libvirt.libvirtError as error:
        if not alive(connection):
            raise
        if error.get_error_code() in _NO_ANSWER:
            return None, None
        return frozenset(), None  # "Cannot check QEMU binary": it is not there, or does not run
    root = ET.fromstring(answer)  # noqa: S314 — libvirt wrote it
    images = {(value.text or "").strip() for value in root.findall("./os/loader/value")}
    return frozenset(filter(None, [wanted, root.findtext("path")])), frozenset(images) or None


def _interfaces(connection: libvirt.virConnect) -> frozenset[str] | None:
    """From the node devices: libvirt's own list of interfaces has only those that the host's configuration names. A list
    without the loopback is not the kernel's: where udev does not run, libvirt sees nothing."""

    def ask() -> Iterable[str]:
        for device in connection.listAllDevices(libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_NET):
            name = ET.fromstring(device.XMLDesc(0)).findtext("./capability/interface")  # noqa: S314 — libvirt wrote it
            if name:
                yield name

    names = _names(ask)
    return names if names is not None and "lo" in names else None


def _online(connection: libvirt.virConnect) -> frozenset[int] | None:
    try:
        online: Any = connection.getCPUMap(0)[1]
    except libvirt.libvirtError as error:
        if error.get_error_code() in _NO_ANSWER:
            return None
        raise
    return frozenset(number for number, runs in enumerate(online) if runs) or None


def _secrets(connection: libvirt.virConnect) -> Iterable[str]:
    for each in connection.listAllSecrets(0):
        yield each.UUIDString()
        if each.usageID():
            yield each.usageID()


def _numa_nodes(connection: libvirt.virConnect) -> frozenset[int] | None:
    cells = ET.fromstring(connection.getCapabilities()).findall("./host/topology/cells/cell")  # noqa: S314
    return frozenset(int(cell.get("id", "0")) for cell in cells) or None
