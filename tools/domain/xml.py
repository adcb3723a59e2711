"""What a libvirt domain's XML says of it, as far as lifeboat has to know. Pure; no libvirt needed."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass

from models.errors import BadInput
from models.plan import ActionKind
from tools.domain.inventory.handlers import HANDLERS
from tools.domain.inventory.images import location, unreadable
from tools.domain.inventory.resource import ResourceKind
from tools.domain.inventory.walk import walk
from tools.domain.numa import UNITS, Demand, hugepage_bytes, memory_demands
from tools.ports.shared_storage import SharedStorage

_HINT = "expected the XML of `virsh dumpxml`"
_NETWORK = "network"
_BY_STORAGE = (
    ResourceKind.DISK,
    ResourceKind.MEDIUM,
    ResourceKind.BACKING_IMAGE,
    ResourceKind.DATA_FILE,
    ResourceKind.UEFI_VARIABLES,
    ResourceKind.FIRMWARE,
    ResourceKind.BOOT_FILE,
    ResourceKind.PERSISTENT_MEMORY,
    ResourceKind.LOCK,
)
"""kinds whose fate depends on what every node reaches"""


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

    on_this_host: bool = False
    """a network disk whose server is this host itself"""
    unreadable: str | None = None
    """why lifeboat can't read its bytes; None when a storage pool may hold it"""

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
    boot_files: tuple[tuple[str, str], ...]
    """what QEMU reads when it starts, such as `kernel`, and its path"""
    nvram: str | None
    """UEFI variables file"""
    tpm: bool
    """has a TPM, whose state lies outside the disks"""
    tpm_emulated: bool
    """its state is in files of the node"""
    tpm_directory: str | None
    """where an emulated TPM's state is, where the definition names a directory"""
    tpm_file: str | None
    """and where it names a file"""
    on_poweroff: str
    """what libvirt does when the guest powers itself off, `destroy` where it says nothing"""
    bound: tuple[str, ...]
    """what ties it to its node, so that it can't be live-migrated, in words; empty when nothing does. Where its disks lie
    is another matter"""

    @property
    def media(self) -> tuple[DomainDisk, ...]:
        """What the guest only reads, those on a server left aside: no copy of it is needed."""
        return tuple(disk for disk in self.disks if not disk.writable and disk.unreadable is None)

    @property
    def writable_disks(self) -> tuple[DomainDisk, ...]:
        return tuple(disk for disk in self.disks if disk.writable)


def parse_domain(xml: str) -> Domain:
    """Read a `<domain>`. Raises BadInput when it is not one."""
    try:
        root = ET.fromstring(xml)  # noqa: S314 — from libvirt, or from an archive whose signature held
    except ET.ParseError as error:
        raise BadInput(f"not a libvirt domain: {error}", hint=_HINT) from error
    name, uuid = root.findtext("name", ""), root.findtext("uuid", "")
    if root.tag != "domain" or not name:
        raise BadInput(f"not a libvirt domain: <{root.tag}> without a name", hint=_HINT)
    os_type = root.find("./os/type")
    cpu = root.find("cpu")
    memory = _size(root.find("memory"))
    return Domain(
        uuid=uuid,
        name=name,
        memory_bytes=memory,
        demands=_demands(root, memory),
        vcpus=max(1, _number(root.findtext("vcpu", "1") or "1", "vcpu")),
        virt_type=root.get("type", ""),
        arch=os_type.get("arch", "x86_64") if os_type is not None else "x86_64",
        machine=os_type.get("machine", "") if os_type is not None else "",
        emulator=root.findtext("./devices/emulator"),
        cpu_xml=ET.tostring(cpu, encoding="unicode") if cpu is not None else None,
        cpu_mode=cpu.get("mode", "custom") if cpu is not None else "",
        cpu_model=cpu.findtext("model", "") if cpu is not None else "",
        disks=tuple(_disks(root)),
        hugepage_bytes=hugepage_bytes(root),
        boot_files=tuple(_boot_files(root)),
        nvram=_nvram(root),
        tpm=root.find("./devices/tpm") is not None,
        tpm_emulated=root.find("./devices/tpm/backend[@type='emulator']") is not None,
        tpm_directory=_tpm_source(root, "dir"),
        tpm_file=_tpm_source(root, "file"),
        on_poweroff=(root.findtext("on_poweroff") or "").strip() or "destroy",
        bound=_bindings(root),
    )


def _size(element: ET.Element | None) -> int:
    if element is None or not element.text:
        return 0
    return _number(element.text, element.tag) * UNITS.get(element.get("unit", "KiB"), 1 << 10)


def _number(text: str, of: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise BadInput(f"not a libvirt domain: <{of}> {text[:40]!r} is not a number", hint=_HINT) from error


def _text_or_none(element: ET.Element | None, attribute: str) -> str | None:
    return (element.get(attribute) or None) if element is not None else None


def _tpm_source(root: ET.Element, of_type: str) -> str | None:
    source = root.find("./devices/tpm/backend[@type='emulator']/source")
    if source is None or source.get("type", "dir") != of_type:
        return None
    return _text_or_none(source, "path")


def _boot_files(root: ET.Element) -> Iterator[tuple[str, str]]:
    named = [(tag, root.findtext(f"./os/{tag}") or "") for tag in ("kernel", "initrd", "dtb", "shim")]
    named += [("acpi-table", table.text or "") for table in root.findall("./os/acpi/table")]
    named += [("fwcfg", entry.get("file", "")) for entry in root.findall("./sysinfo/entry")]
    yield from ((what, path.strip()) for what, path in named if path.strip())


def _nvram(root: ET.Element) -> str | None:
    """UEFI variables as a file, in any of the ways in which a definition names one."""
    plain = (root.findtext("./os/nvram") or "").strip()
    nvram, varstore = root.find("./os/nvram"), root.find("./os/varstore")
    if not plain and nvram is not None and nvram.get("type", "file") == "file":
        plain = _text_or_none(nvram.find("source"), "file") or ""
    return plain or _text_or_none(varstore, "path")


def _bindings(root: ET.Element) -> tuple[str, ...]:
    """What of the inventory keeps it from moving live, wherever its files are."""
    tied = (
        resource.refusal(ActionKind.LIVE_MIGRATE)
        for resource in walk(root, SharedStorage(), HANDLERS).resources
        if resource.kind not in _BY_STORAGE
    )
    return tuple(dict.fromkeys(reason for reason in tied if reason is not None))


def _demands(root: ET.Element, memory_bytes: int) -> tuple[Demand, ...]:
    try:
        return memory_demands(root, memory_bytes)
    except ValueError as error:
        raise BadInput(f"not a libvirt domain: {error}", hint=_HINT) from error


def _disks(root: ET.Element) -> list[DomainDisk]:
    disks: list[DomainDisk] = []
    for disk in root.findall("./devices/disk"):
        source, target, driver = disk.find("source"), disk.find("target"), disk.find("driver")
        image = location(source, disk.get("type", "file"))
        if target is None or image is None:
            continue
        assert source is not None
        removable = disk.get("device", "disk") in ("cdrom", "floppy")
        below = location(disk.find("./backingStore/source"), _type_below(disk))
        disks.append(
            DomainDisk(
                device=target.get("dev", ""),
                type=disk.get("type", "file"),
                path=image.where,
                pool=source.get("pool", ""),
                volume=source.get("volume", ""),
                format=driver.get("type", "raw") if driver is not None else "raw",
                writable=not removable and disk.find("readonly") is None,
                shareable=disk.find("shareable") is not None,
                backing=below.where if below is not None else "",
                on_this_host=image.on_this_host,
                unreadable=unreadable(image),
            )
        )
    return disks


def _type_below(disk: ET.Element) -> str:
    backing = disk.find("backingStore")
    return backing.get("type", "file") if backing is not None else "file"
