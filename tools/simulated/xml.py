"""Definitions of simulated vms, as libvirt's XML has them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from models.errors import BadInput
from tools.domain.labels import NAMESPACE, Labels, write_labels

MACHINE = "pc-q35-7.2"


def domain_xml(
    uuid: str,
    name: str,
    *,
    memory_bytes: int = 1 << 30,
    vcpus: int = 1,
    disks: Sequence[str] = (),
    labels: Labels | None = None,
    passthrough: bool = False,
    cpu_model: str = "",
    machine: str = MACHINE,
    nvram: str = "",
    tpm: bool = False,
) -> str:
    """A libvirt definition with raw file disks vda, vdb, … at these paths."""
    if len(disks) > 26:
        raise BadInput(f"vm {name}: {len(disks)} disks, at most 26 are simulated")
    root = ET.Element("domain", type="kvm")
    ET.SubElement(root, "name").text = name
    ET.SubElement(root, "uuid").text = uuid
    if labels is not None:
        label = ET.fromstring(write_labels(labels))  # noqa: S314 — our own
        label.tag = f"{{{NAMESPACE}}}vm"
        ET.SubElement(root, "metadata").append(label)
    ET.SubElement(root, "memory", unit="b").text = str(memory_bytes)
    ET.SubElement(root, "vcpu").text = str(vcpus)
    system = ET.SubElement(root, "os")
    ET.SubElement(system, "type", arch="x86_64", machine=machine).text = "hvm"
    if nvram:
        ET.SubElement(system, "nvram").text = nvram
    if cpu_model:
        ET.SubElement(ET.SubElement(root, "cpu", mode="custom"), "model").text = cpu_model
    devices = ET.SubElement(root, "devices")
    for letter, path in zip("abcdefghijklmnopqrstuvwxyz", disks, strict=False):
        disk = ET.SubElement(devices, "disk", type="file", device="disk")
        ET.SubElement(disk, "driver", name="qemu", type="raw")
        ET.SubElement(disk, "source", file=path)
        ET.SubElement(disk, "target", dev=f"vd{letter}", bus="virtio")
    if tpm:
        ET.SubElement(ET.SubElement(devices, "tpm"), "backend", type="emulator")
    if passthrough:
        ET.SubElement(devices, "hostdev", mode="subsystem", type="pci")
    return ET.tostring(root, encoding="unicode")
