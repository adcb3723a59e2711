"""What lifeboat reads out of a libvirt definition."""

from __future__ import annotations

import pytest

from models.errors import BadInput
from tools.domain.xml import parse_domain

GIB = 1 << 30


def domain(devices: str = "", *, more: str = "", memory: str = "<memory unit='KiB'>1048576</memory>") -> str:
    return (
        f"<domain type='kvm'><name>web</name><uuid>7c1f0f5e-5f2c-4d51-9e0e-2d4a6b0f0001</uuid>{memory}<vcpu>4</vcpu>"
        f"<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>{more}<devices>{devices}</devices></domain>"
    )


def test_the_plain_facts():
    found = parse_domain(domain())
    assert (found.name, found.memory_bytes, found.vcpus, found.machine, found.virt_type) == (
        "web", GIB, 4, "pc-q35-7.2", "kvm",
    )  # fmt: skip
    assert found.bound == ()
    assert found.hugepage_bytes == 0


@pytest.mark.parametrize(
    ("memory", "size"),
    [
        ("<memory unit='GiB'>2</memory>", 2 * GIB),
        ("<memory unit='G'>2</memory>", 2 * GIB),
        ("<memory unit='GB'>2</memory>", 2_000_000_000),
        ("<memory>1024</memory>", 1 << 20),
        ("<memory unit='b'>4096</memory>", 4096),
    ],
)
def test_memory_in_every_unit_libvirt_takes(memory: str, size: int):
    assert parse_domain(domain(memory=memory)).memory_bytes == size


DISK = "<disk type='{type}' device='{device}'><driver name='qemu' type='{format}'/>{source}<target dev='{dev}'/>{more}</disk>"


@pytest.mark.parametrize(
    ("type_", "source", "path", "network"),
    [
        ("file", "<source file='/images/a.qcow2'/>", "/images/a.qcow2", False),
        ("block", "<source dev='/dev/vg/a'/>", "/dev/vg/a", False),
        ("volume", "<source pool='fast' volume='a'/>", "fast/a", False),
        ("network", "<source protocol='rbd' name='pool/a'><host name='mon1' port='6789'/></source>",
         "rbd://mon1:6789/pool/a", True),
        ("network", "<source protocol='nbd' name='a'><host transport='unix' socket='/run/nbd'/></source>",
         "nbd:///run/nbd/a", True),
    ],
)  # fmt: skip
def test_disks_of_every_kind(type_: str, source: str, path: str, network: bool):
    xml = DISK.format(type=type_, device="disk", format="qcow2", source=source, dev="vda", more="")
    (disk,) = parse_domain(domain(xml)).disks
    assert (disk.device, disk.path, disk.format, disk.over_network, disk.writable) == (
        "vda", path, "qcow2", network, True,
    )  # fmt: skip


def test_only_what_a_guest_writes_to_has_to_be_copied():
    iso = DISK.format(
        type="file", device="cdrom", format="raw", source="<source file='/iso/a.iso'/>", dev="sda", more="<readonly/>"
    )
    empty = DISK.format(type="file", device="cdrom", format="raw", source="", dev="sdb", more="<readonly/>")
    data = DISK.format(type="file", device="disk", format="raw", source="<source file='/i/a'/>", dev="vda", more="")
    found = parse_domain(domain(iso + empty + data))
    assert [disk.device for disk in found.disks] == ["sda", "vda"]
    assert [disk.device for disk in found.writable_disks] == ["vda"]


def test_an_overlay_names_what_it_lies_on():
    backing = "<backingStore type='file'><format type='qcow2'/><source file='/i/base.qcow2'/></backingStore>"
    xml = DISK.format(
        type="file", device="disk", format="qcow2", source="<source file='/i/a'/>", dev="vda", more=backing
    )
    assert parse_domain(domain(xml)).disks[0].backing == "/i/base.qcow2"


@pytest.mark.parametrize(
    ("devices", "more", "says"),
    [
        ("<hostdev mode='subsystem' type='pci'/>", "", "passthrough pci device"),
        ("<hostdev mode='subsystem' type='mdev'/>", "", "passthrough mdev device"),
        ("<interface type='hostdev'/>", "", "passthrough network card"),
        ("<filesystem type='mount'><driver type='virtiofs'/></filesystem>", "", "virtiofs"),
        ("<filesystem type='mount'/>", "", "9p"),
        ("<tpm><backend type='passthrough'/></tpm>", "", "passthrough TPM"),
        ("", "<launchSecurity type='sev'/>", "launchSecurity"),
        ("", "<cpu mode='host-passthrough' migratable='off'/>", "migratable='off'"),
        ("", "<cpu mode='host-passthrough'><feature policy='require' name='invtsc'/></cpu>", "invtsc"),
    ],
)
def test_what_ties_a_vm_to_its_node(devices: str, more: str, says: str):
    assert says in "; ".join(parse_domain(domain(devices, more=more)).bound)


@pytest.mark.parametrize(
    ("backing", "size"),
    [
        ("<hugepages/>", 2 << 20),
        ("<hugepages><page size='1' unit='GiB'/></hugepages>", GIB),
        ("<hugepages><page size='2048'/><page size='1' unit='G' nodeset='1'/></hugepages>", GIB),
        ("<nosharepages/>", 0),
    ],
)
def test_hugepages(backing: str, size: int):
    assert parse_domain(domain(more=f"<memoryBacking>{backing}</memoryBacking>")).hugepage_bytes == size


@pytest.mark.parametrize("text", ["", "<domain", "<network/>", "<domain type='kvm'/>", "not xml"])
def test_what_is_no_domain_is_bad_input(text: str):
    with pytest.raises(BadInput, match="not a libvirt domain"):
        parse_domain(text)
