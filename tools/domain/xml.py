"""What a libvirt domain's XML says of it, as far as lifeboat has to know. Pure; no libvirt needed."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

from models.errors import BadInput
from tools.domain.numa import UNITS, Demand, hugepage_bytes, memory_demands

_NETWORK = "network"


@dataclass(frozen=True)
class DomainDisk:
    """One disk as the definition has it. CD-ROM and floppy drives without a medium are left out."""

    device: str
    """target in the guest, such as `vda`"""
    type: str
    """libvirt's source type: `file`, `block`, `network`, `volume`, …"""
    path: str
    """file or device; `nbd://HOST:PORT/NAME` and the like for network disks; `POOL/VOLUME` for pool volumes"""
    pool: str
    """for type `volume`; else empty"""
    volume: str
    format: str
    writable: bool
    shareable: bool
    """meant to be written by several vms at once"""
    backing: str
    """the image below a qcow2 overlay, where the definition names it"""

    @property
    def over_network(self) -> bool:
        return self.type == _NETWORK


@dataclass(frozen=True)
class Domain:
    """One definition."""

    uuid: str
    name: str
    memory_bytes: int
    vcpus: int
    virt_type: str
    """`kvm`, `qemu`"""
    arch: str
    machine: str
    emulator: str | None
    cpu_xml: str | None
    """the `<cpu>` element"""
    cpu_mode: str
    cpu_model: str
    """as the definition names it; empty when it names none"""
    disks: tuple[DomainDisk, ...]
    hugepage_bytes: int
    """the largest; 0 for normal pages"""
    demands: tuple[Demand, ...]
    """memory by page size and NUMA cell"""
    nvram: str | None
    """UEFI variables file"""
    tpm: bool
    """has a TPM, whose state lies outside the disks"""
    tpm_emulated: bool
    """its state is in files of the node"""
    bound: tuple[str, ...]
    """what ties it to its node, so that it can't be live-migrated, in words; empty when nothing does"""

    @property
    def writable_disks(self) -> tuple[DomainDisk, ...]:
        return tuple(disk for disk in self.disks if disk.writable)


def parse_domain(xml: str) -> Domain:
    """Read a `<domain>`. Raises BadInput when it is not one."""
    try:
        root = ET.fromstring(xml)  # noqa: S314 — from libvirt, or from an archive whose signature held
    except ET.ParseError as error:
        raise BadInput(f"not a libvirt domain: {error}", hint="expected the XML of `virsh dumpxml`") from error
    name, uuid = root.findtext("name", ""), root.findtext("uuid", "")
    if root.tag != "domain" or not name:
        raise BadInput(f"not a libvirt domain: <{root.tag}> without a name", hint="expected the XML of `virsh dumpxml`")
    os_type = root.find("./os/type")
    cpu = root.find("cpu")
    memory = _size(root.find("memory"))
    return Domain(
        uuid=uuid,
        name=name,
        memory_bytes=memory,
        demands=_demands(root, memory),
        vcpus=max(1, int(root.findtext("vcpu", "1") or 1)),
        virt_type=root.get("type", ""),
        arch=os_type.get("arch", "x86_64") if os_type is not None else "x86_64",
        machine=os_type.get("machine", "") if os_type is not None else "",
        emulator=root.findtext("./devices/emulator"),
        cpu_xml=ET.tostring(cpu, encoding="unicode") if cpu is not None else None,
        cpu_mode=cpu.get("mode", "custom") if cpu is not None else "",
        cpu_model=cpu.findtext("model", "") if cpu is not None else "",
        disks=tuple(_disks(root)),
        hugepage_bytes=hugepage_bytes(root),
        nvram=(root.findtext("./os/nvram") or "").strip() or None,
        tpm=root.find("./devices/tpm") is not None,
        tpm_emulated=root.find("./devices/tpm/backend[@type='emulator']") is not None,
        bound=tuple(_bindings(root)),
    )


def _size(element: ET.Element | None) -> int:
    if element is None or not element.text:
        return 0
    return int(element.text) * UNITS.get(element.get("unit", "KiB"), 1 << 10)


def _demands(root: ET.Element, memory_bytes: int) -> tuple[Demand, ...]:
    try:
        return memory_demands(root, memory_bytes)
    except ValueError as error:
        raise BadInput(f"not a libvirt domain: {error}", hint="expected the XML of `virsh dumpxml`") from error


def _disks(root: ET.Element) -> list[DomainDisk]:
    found: list[DomainDisk] = []
    for disk in root.findall("./devices/disk"):
        source, target, driver = disk.find("source"), disk.find("target"), disk.find("driver")
        path = _path(source)
        if target is None or not path:
            continue
        assert source is not None
        removable = disk.get("device", "disk") in ("cdrom", "floppy")
        backing = disk.find("./backingStore/source")
        found.append(
            DomainDisk(
                device=target.get("dev", ""),
                type=disk.get("type", "file"),
                path=path,
                pool=source.get("pool", ""),
                volume=source.get("volume", ""),
                format=driver.get("type", "raw") if driver is not None else "raw",
                writable=not removable and disk.find("readonly") is None,
                shareable=disk.find("shareable") is not None,
                backing=_path(backing),
            )
        )
    return found


def _path(source: ET.Element | None) -> str:
    if source is None:
        return ""
    plain = source.get("file") or source.get("dev") or source.get("dir")
    if plain:
        return plain
    if source.get("pool"):
        return f"{source.get('pool')}/{source.get('volume')}"
    if source.get("protocol"):
        host = source.find("host")
        where = ""
        if host is not None:
            where = host.get("name") or host.get("socket") or ""
            where += f":{host.get('port')}" if host.get("port") else ""
        return f"{source.get('protocol')}://{where}/{source.get('name', '')}"
    return ""


def _bindings(root: ET.Element) -> list[str]:
    """https://libvirt.org/migration.html and QEMU's own migration blockers, the common ones."""
    bound: list[str] = []
    for device in root.findall("./devices/hostdev"):
        bound.append(f"passthrough {device.get('type', device.get('mode', 'device'))} device")
    if root.find("./devices/interface[@type='hostdev']") is not None:
        bound.append("passthrough network card")
    for share in root.findall("./devices/filesystem"):
        driver = share.find("driver")
        how = "virtiofs" if driver is not None and driver.get("type") == "virtiofs" else "9p"
        bound.append(f"directory of the host shared in through {how}")
    if root.find("./devices/tpm/backend[@type='passthrough']") is not None:
        bound.append("passthrough TPM")
    if root.find("./launchSecurity") is not None:
        bound.append("memory encrypted for this host (launchSecurity)")
    if root.find("./cpu[@migratable='off']") is not None:
        bound.append("CPU declared migratable='off'")
    for feature in root.findall("./cpu/feature[@name='invtsc']"):
        if feature.get("policy") in ("require", "force") and root.find("./clock/timer[@name='tsc']") is None:
            bound.append("CPU feature invtsc without a fixed TSC frequency")
    return bound
