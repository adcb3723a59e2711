"""Network cards, hardware passed through, directories, memory that outlives the guest: everything else a device names."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from tools.domain.inventory.channels import host_device, log_file
from tools.domain.inventory.images import location
from tools.domain.inventory.machine import needed
from tools.domain.inventory.registry import accounts_for
from tools.domain.inventory.resource import COPIED, PRESENT, SHARED, Fate, Resource, ResourceKind, refuses
from tools.domain.inventory.walk import Place, unknown

_OF_THIS_HOST = "it is hardware of this host"
_ROM_OF_QEMU = ("/usr/share/qemu/", "/usr/share/ipxe/", "/usr/lib/ipxe/", "/usr/share/seabios/")


def _is_transient(element: ET.Element) -> bool:
    teaming = element.find("teaming")
    return teaming is not None and teaming.get("type") == "transient"


def _of_pci(element: ET.Element, what: str, where: str) -> Resource:
    """QEMU unplugs the transient half of a team before it moves live, and plugs the target's in after."""
    unplugged = Fate(PRESENT.outcome, "unplugged for the move; its team goes on over the other card")
    return Resource(
        what=what,
        kind=ResourceKind.HOST_DEVICE,
        where=where,
        live_migrate=unplugged if _is_transient(element) else refuses(_OF_THIS_HOST),
        cold_migrate=refuses(f"{_OF_THIS_HOST}: another would be taken blindly at the target"),
        cold_archive=refuses(f"{_OF_THIS_HOST}: another would be taken blindly where it is restored"),
        host_tells=f"what is at {where} at the target" if _is_transient(element) else "",
    )


@accounts_for("devices/hostdev")
def passthrough(place: Place) -> Iterator[Resource]:
    """What libvirt lets move live: qemuMigrationSrcIsAllowedHostdev; VFIO's own migration is not believed in unasked."""
    element = place.element
    mode, kind = element.get("mode", ""), element.get("type", "")
    source = element.find("source")
    if mode != "subsystem" or kind not in ("usb", "pci", "scsi", "scsi_host", "mdev"):
        yield host_device(f"passthrough {kind or mode or 'device'}", _where(source), _OF_THIS_HOST)
        return
    what = f"passthrough {kind} device"
    if kind == "pci":
        yield _of_pci(element, what, _where(source))
    elif kind == "scsi" and source is not None and source.get("protocol"):
        image = location(source, "network")
        elsewhere = image is not None and not image.on_this_host
        why = "its data is on a server, which lifeboat does not read"
        yield Resource(
            what=what,
            kind=ResourceKind.DISK,
            where=_where(source),
            live_migrate=refuses("libvirt moves no passthrough SCSI device live"),
            cold_migrate=SHARED if elsewhere else refuses(_OF_THIS_HOST),
            cold_archive=refuses(why),
        )
    elif kind == "usb" and source is not None and source.get("startupPolicy") in ("optional", "requisite"):
        left_out = Fate(PRESENT.outcome, "left out where it is missing, as its startupPolicy says")
        cold = left_out if source.get("startupPolicy") == "optional" else refuses(_OF_THIS_HOST)
        yield Resource(
            what=what,
            kind=ResourceKind.HOST_DEVICE,
            where=_where(source),
            live_migrate=left_out,
            cold_migrate=cold,
            cold_archive=cold,
        )
    else:
        yield host_device(what, _where(source), f"{_OF_THIS_HOST}{', with its data' if 'scsi' in kind else ''}")


def _where(source: ET.Element | None) -> str:
    """The device in libvirt's own terms: address, vendor and product, name, path."""
    if source is None:
        return ""
    parts = [*(source.get(name, "") for name in ("protocol", "name", "wwpn", "dev", "evdev"))]
    for each in source:
        parts += [each.text or "", *each.attrib.values()]
    return " ".join(filter(None, (part.strip() for part in parts)))


@accounts_for("devices/interface")
def network_card(place: Place) -> Iterator[Resource]:
    element = place.element
    kind = element.get("type", "")
    source = element.find("source")
    get = source.get if source is not None else dict[str, str]().get
    target = element.find("target")
    if kind == "network":
        name = get("network", "")
        yield needed(ResourceKind.NETWORK, "network", name, tells=f"whether the target has the network {name}, running")
    elif kind == "bridge":
        name = get("bridge", "")
        yield needed(ResourceKind.BRIDGE, "bridge", name, tells=f"whether the target has the bridge {name}")
    elif kind == "direct":
        name = get("dev", "")
        yield _host_interface(name)
    elif kind == "ethernet":
        managed_outside = target is not None and target.get("managed") == "no"
        if managed_outside and target is not None:
            name = target.get("dev", "")
            yield needed(
                ResourceKind.HOST_INTERFACE,
                "host interface",
                name,
                tells=f"whether the target has the interface {name}",
            )
    elif kind == "vhostuser":
        path = get("path", "")
        yield needed(ResourceKind.SOCKET, "network card", path, tells=f"whether the target's switch listens at {path}")
    elif kind in ("hostdev", "vdpa"):
        if kind == "vdpa":
            yield host_device("vDPA network card", get("dev", ""), _OF_THIS_HOST)
        else:
            yield _of_pci(element, "passthrough network card", _where(source))
    elif kind in ("server", "client", "mcast", "udp"):
        where = f"{get('address', '')}:{get('port', '')}"
        yield needed(
            ResourceKind.ADDRESS, "network card", where, tells=f"whether the target reaches {where}, or has it free"
        )
    elif kind == "user":
        if get("dev"):
            name = get("dev", "")
            yield needed(
                ResourceKind.HOST_INTERFACE,
                "host interface",
                name,
                tells=f"whether the target has the interface {name}",
            )
    elif kind != "null":
        yield unknown(place, f"a network card of type {kind!r}")


def _host_interface(name: str) -> Resource:
    return needed(ResourceKind.HOST_INTERFACE, "host interface", name, tells=f"whether the target has interface {name}")


@accounts_for("devices/interface/backend")
def network_backend(place: Place) -> Iterator[Resource]:
    element = place.element
    if element.get("type", "default") not in ("default", "passt"):
        yield unknown(place, f"a network backend of type {element.get('type')!r}")
    if element.get("logFile"):
        yield log_file("network card", element.get("logFile", ""))
    for name in ("tap", "vhost"):
        where = element.get(name)
        if where:
            yield needed(ResourceKind.HOST_FILE, f"{name} device", where, tells=f"whether the target has {where}")


@accounts_for("devices/interface/filterref")
def network_filter(place: Place) -> Iterator[Resource]:
    name = place.element.get("filter", "")
    yield needed(ResourceKind.NETWORK_FILTER, "network filter", name, tells=f"whether the target has the filter {name}")


@accounts_for("devices/interface/script", "devices/interface/downscript")
def network_script(place: Place) -> Iterator[Resource]:
    where = place.element.get("path", "")
    if where:
        yield needed(ResourceKind.HOST_FILE, "network script", where, tells=f"whether the target has {where}")


@accounts_for("devices/*/rom")
def option_rom(place: Place) -> Iterator[Resource]:
    where = place.element.get("file", "")
    if where and not where.startswith(_ROM_OF_QEMU):
        yield needed(ResourceKind.HOST_FILE, "option ROM", where, tells=f"whether the target has {where}")


@accounts_for("devices/filesystem")
def directory(place: Place) -> Iterator[Resource]:
    element = place.element
    kind, source, driver = element.get("type", "mount"), element.find("source"), element.find("driver")
    driver_type = driver.get("type", "path") if driver is not None else "path"
    if kind == "ram":
        return
    get = source.get if source is not None else dict[str, str]().get
    socket = get("socket", "")
    where = get("dir") or get("file") or get("dev") or get("name") or socket
    if kind != "mount" or driver_type not in ("path", "handle", "virtiofs", "mtp"):
        yield unknown(place, f"a file system of type {kind!r}, driver {driver_type!r}")
        return
    shared = not socket and place.storage.holds(where)
    through = "virtiofs" if driver_type == "virtiofs" else "9p"
    why = "it would be left behind" if not socket else "a process of this host serves it"
    yield Resource(
        what=f"directory of the host, through {through}",
        kind=ResourceKind.DIRECTORY,
        where=where,
        live_migrate=refuses(
            f"QEMU moves no guest live that uses {through}, unless all its parts are known to allow it"
        ),
        cold_migrate=SHARED if shared else refuses(why),
        cold_archive=SHARED if shared else refuses(why),
    )


@accounts_for("devices/filesystem/binary")
def filesystem_server(place: Place) -> Iterator[Resource]:
    where = place.element.get("path", "")
    if where:
        yield needed(ResourceKind.HOST_FILE, "virtiofs server", where, tells=f"whether the target has {where}")


@accounts_for("devices/memory")
def memory(place: Place) -> Iterator[Resource]:
    element = place.element
    model = element.get("model", "")
    path = (element.findtext("./source/path") or "").strip()
    nodes = (element.findtext("./source/nodemask") or "").strip()
    if model not in ("dimm", "nvdimm", "virtio-pmem", "virtio-mem", "sgx-epc"):
        yield unknown(place, f"memory of model {model!r}")
        return
    if model in ("nvdimm", "virtio-pmem"):
        shared = bool(path) and place.storage.holds(path)
        why = "its content is on this host, and lifeboat does not copy it"
        yield Resource(
            what=f"persistent memory ({model})",
            kind=ResourceKind.PERSISTENT_MEMORY,
            where=path,
            live_migrate=SHARED if shared else refuses(why),
            cold_migrate=SHARED if shared else refuses(why),
            cold_archive=refuses("its content is outside the disks, and lifeboat does not copy it"),
        )
    elif path:
        yield unknown(place, f"a path of memory of model {model!r}")
    elif model == "sgx-epc":
        live = refuses("memory of an SGX enclave can't leave its processor")
        yield needed(ResourceKind.CPU, "SGX memory", "", tells="whether the target's processor has SGX", live=live)
    if nodes:
        yield needed(
            ResourceKind.NUMA_NODES, "memory", nodes, tells=f"whether the target has NUMA nodes {nodes} with room"
        )


@accounts_for("devices/shmem")
def shared_memory(place: Place) -> Iterator[Resource]:
    """Memory that processes of this host have in common. libvirt moves it live only as its master."""
    element = place.element
    name = element.get("name", "")
    model, server = element.find("model"), element.find("server")
    if model is not None and model.get("type") not in ("ivshmem", "ivshmem-plain", "ivshmem-doorbell"):
        yield unknown(place, f"shared memory of model {model.get('type')!r}")
        return
    live = PRESENT
    if element.get("role") != "master" or server is not None:
        live = refuses("shared memory moves live only with role='master' and without a server")
    where = server.get("path", "") if server is not None else f"shm {name}"
    tells = f"whether a server listens at {where} at the target" if server is not None else ""
    yield needed(ResourceKind.SHARED_MEMORY, f"shared memory {name}", where, tells=tells, live=live)


@accounts_for("devices/pstore")
def pstore(place: Place) -> Iterator[Resource]:
    """Where the guest's kernel leaves its last messages: a file of the host. Moved live, its content goes along."""
    where = (place.element.findtext("path") or "").strip()
    shared = place.storage.holds(where)
    why = "its records would be left behind"
    yield Resource(
        what="pstore",
        kind=ResourceKind.PSTORE,
        where=where or "libvirt's default",
        live_migrate=SHARED if shared else COPIED,
        cold_migrate=SHARED if shared else refuses(why),
        cold_archive=refuses(why),
    )


@accounts_for("devices/input")
def input_device(place: Place) -> Iterator[Resource]:
    element = place.element
    kind, source = element.get("type", ""), element.find("source")
    if kind in ("passthrough", "evdev"):
        yield host_device("input device", _where(source), "it is a keyboard, mouse or the like of this host")
    elif source is not None or kind not in ("mouse", "keyboard", "tablet"):
        yield unknown(place, f"an input device of type {kind!r}")


@accounts_for("devices/lease")
def lease(place: Place) -> Iterator[Resource]:
    """A lock that keeps the guest from running twice, through sanlock or the like."""
    target = place.element.find("target")
    where = target.get("path", "") if target is not None else ""
    fate = SHARED if place.storage.holds(where) else refuses("its lock is not on shared storage")
    yield Resource(
        what=f"lock {place.element.findtext('key') or ''}".strip(),
        kind=ResourceKind.LOCK,
        where=where,
        live_migrate=fate,
        cold_migrate=fate,
        cold_archive=fate,
    )
