"""The lab's guests: what each is, its disk, its libvirt definition, and whether it answers."""

from __future__ import annotations

import os
import random
import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lab.nodes import hypervisor
from lab.nodes.initramfs import BootImage
from lab.nodes.node import Lab, run

METADATA_NAMESPACE = "https://lifeboat.dev/xmlns/vm/1.0"
PROBE_PORT = 7777
MIB = 1 << 20


@dataclass(frozen=True)
class Guest:
    """One guest as the lab makes it. `host` is the last number of its address; sizes are MiB."""

    name: str
    node: str
    host: int
    workload: Literal["inference", "batch"]
    storage: Literal["shared", "local"]
    disk_format: Literal["raw", "qcow2"]
    memory: int = 128
    disk: int = 64
    data: int = 8
    """how much of the disk holds data (random, so that it does not compress) besides the ring"""
    dirty_rate: int = 0
    """memory rewritten, MiB per second"""
    dirty_set: int = 16
    anti_affinity_group: str | None = None

    @property
    def priority(self) -> str:
        return "high" if self.workload == "inference" else "low"

    @property
    def cold_archive(self) -> str:
        return "forbidden" if self.workload == "inference" else "allowed"


GUESTS = (
    Guest("infer-1", "node-a", 101, "inference", "shared", "raw", anti_affinity_group="chat"),
    Guest("infer-2", "node-a", 102, "inference", "shared", "raw", dirty_rate=4),
    Guest("infer-3", "node-a", 103, "inference", "local", "qcow2"),
    Guest("batch-1", "node-a", 104, "batch", "local", "qcow2", data=24, disk=128),
    Guest("batch-2", "node-a", 105, "batch", "local", "raw", data=16, dirty_rate=8),
    Guest("infer-4", "node-b", 106, "inference", "shared", "raw", anti_affinity_group="chat"),
    Guest("batch-3", "node-c", 107, "batch", "local", "qcow2", data=16),
)


def guest(name: str) -> Guest:
    """Raises KeyError when the lab has no such guest."""
    return {each.name: each for each in GUESTS}[name]


def address(lab: Lab, guest: Guest) -> str:
    return lab.host_address(guest.host)


def guest_uuid(lab: Lab, guest: Guest) -> uuid.UUID:
    """The same at every `lab up` of the same lab name."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"lifeboat-lab/{lab.name}/{guest.name}")


def disk_path(lab: Lab, guest: Guest) -> Path:
    """The guest's first disk file, seen from outside the nodes."""
    file = f"{guest.name}.{guest.disk_format}"
    if guest.storage == "shared":
        return hypervisor.shared_pool(lab) / file
    return hypervisor.local_path(lab.node(guest.node), file)


def create_disk(lab: Lab, guest: Guest) -> None:
    """An empty ring, then `data` MiB of random bytes from 4 MiB on: the guest's own data."""
    path = disk_path(lab, guest)
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = path if guest.disk_format == "raw" else path.with_suffix(".new")
    data = random.Random(guest.name).randbytes(guest.data * MIB)  # noqa: S311 - filling, the same bytes each time
    with raw.open("wb") as file:
        file.seek(4 * MIB)
        file.write(data)
        file.truncate(guest.disk * MIB)
        if raw == path:
            os.posix_fallocate(file.fileno(), 0, 2 * MIB)  # so that the ring's writes need no allocation
    if raw != path:
        run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(path)])
        raw.unlink()


def domain_xml(lab: Lab, guest: Guest, image: BootImage) -> str:
    """The guest's libvirt definition, labels included.

    TCG (`type='qemu'`): KVM opens on many machines where no guest boots under it. Every path in it is the same on
    all nodes, as migration needs.
    """
    domain = ET.Element("domain", type="qemu")
    _text(domain, "name", guest.name)
    _text(domain, "uuid", str(guest_uuid(lab, guest)))
    metadata = ET.SubElement(domain, "metadata")
    ET.register_namespace("lifeboat", METADATA_NAMESPACE)
    labels = {
        "priority": guest.priority,
        "workload": guest.workload,
        "cold-archive": guest.cold_archive,
        "probe": f"udp://{address(lab, guest)}:{PROBE_PORT}",
    }
    if guest.anti_affinity_group:
        labels["anti-affinity-group"] = guest.anti_affinity_group
    ET.SubElement(metadata, f"{{{METADATA_NAMESPACE}}}vm", labels)
    _text(domain, "memory", str(guest.memory), unit="MiB")
    _text(domain, "vcpu", "1")
    system = ET.SubElement(domain, "os")
    _text(system, "type", "hvm", arch="x86_64", machine="pc-i440fx-7.2")
    _text(system, "kernel", str(image.kernel))
    _text(system, "initrd", str(image.initramfs))
    _text(
        system,
        "cmdline",
        # emulated, its own tests of ciphers would take a tenth of the time to boot
        "console=ttyS0 quiet panic=1 no_timer_check mitigations=off nokaslr cryptomgr.notests apparmor=0 "
        f"lifeboat.name={guest.name} lifeboat.ip={address(lab, guest)}/24 lifeboat.port={PROBE_PORT} "
        f"lifeboat.dirty={guest.dirty_rate} lifeboat.dirty_set={guest.dirty_set}",
    )
    features = ET.SubElement(domain, "features")
    ET.SubElement(features, "acpi")
    # QEMU takes up to 1 GiB for translated code unless told
    _text(ET.SubElement(features, "tcg"), "tb-cache", "32", unit="MiB")
    cpu = ET.SubElement(domain, "cpu", mode="custom", match="exact", check="none")
    _text(cpu, "model", "qemu64", fallback="forbid")
    ET.SubElement(domain, "clock", offset="utc")
    for event, action in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        _text(domain, event, action)
    devices = ET.SubElement(domain, "devices")
    _text(devices, "emulator", str(image.emulator))
    _disk(lab, guest, devices)
    interface = ET.SubElement(devices, "interface", type="bridge")
    ET.SubElement(interface, "mac", address=f"52:54:00:77:{lab.index:02x}:{guest.host:02x}")
    ET.SubElement(interface, "source", bridge="br0")
    ET.SubElement(interface, "model", type="virtio")
    ET.SubElement(interface, "rom", enabled="no")  # no network boot to wait for
    serial = ET.SubElement(devices, "serial", type="pty")
    ET.SubElement(serial, "log", file=f"/var/log/libvirt/qemu/{guest.name}-console.log", append="on")
    ET.SubElement(devices, "controller", type="usb", model="none")
    balloon = ET.SubElement(devices, "memballoon", model="virtio")
    ET.SubElement(balloon, "stats", period="5")
    ET.indent(domain)
    return ET.tostring(domain, encoding="unicode")


def _disk(lab: Lab, guest: Guest, devices: ET.Element) -> None:
    if guest.storage == "shared":
        disk = ET.SubElement(devices, "disk", type="network", device="disk")
        ET.SubElement(disk, "driver", name="qemu", type="raw", cache="none")
        source = ET.SubElement(disk, "source", protocol="nbd", name=guest.name)
        ET.SubElement(source, "host", name=lab.gateway, port=str(hypervisor.NBD_PORT))
    else:
        disk = ET.SubElement(devices, "disk", type="file", device="disk")
        ET.SubElement(disk, "driver", name="qemu", type=guest.disk_format, cache="none")
        ET.SubElement(disk, "source", file=str(hypervisor.LOCAL_POOL / disk_path(lab, guest).name))
    ET.SubElement(disk, "target", dev="vda", bus="virtio")


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text


def define_and_start(lab: Lab, node: str, image: BootImage) -> None:
    """Define and start, on one node, the guests that begin there."""
    commands: list[str] = []
    for each in (g for g in GUESTS if g.node == node):
        xml = lab.node(node).run_dir / f"{each.name}.xml"
        xml.write_text(domain_xml(lab, each, image))
        commands += [f"define {xml}", f"start {each.name}"]
    hypervisor.virsh(lab, node, "; ".join(commands), timeout=120)


def where(lab: Lab, node: str) -> dict[str, str]:
    """Every domain this node knows, by name: its state. Raises LabError when its libvirtd does not answer."""
    out = hypervisor.virsh(lab, node, "domstats --state", timeout=10)
    states: dict[str, str] = {}
    name = ""
    for line in out.splitlines():
        key, _, value = line.strip().partition("=")
        if line.startswith("Domain:"):
            name = line.split("'")[1]
        elif key == "state.state":
            states[name] = _STATES.get(int(value), value)
    return states


_STATES = {1: "running", 3: "paused", 4: "shutting down", 5: "shut off", 6: "crashed"}


def probe_target(lab: Lab, guest: Guest) -> str:
    """What to give lab.probe: `udp://ADDRESS:PORT`, the same wherever the guest runs."""
    return f"udp://{address(lab, guest)}:{PROBE_PORT}"
