"""A folder of what virsh printed becomes a fleet, with everything that its definitions hold a vm back for."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import BadInput
from models.fleet import VmState
from tools.fleet_exports.libvirt_dump import read_dump
from tools.ports.shared_storage import SharedStorage

GIB = 1 << 30
CAPABILITIES = """<capabilities><host><uuid>x</uuid><cpu><arch>x86_64</arch><model>Skylake-Server-IBRS</model></cpu>
<topology><cells num='2'>
<cell id='0'><memory unit='KiB'>33554432</memory><cpus num='8'><cpu id='0'/></cpus></cell>
<cell id='1'><memory unit='KiB'>33554432</memory><cpus num='8'><cpu id='8'/></cpus></cell>
</cells></topology></host></capabilities>"""


def definition(
    name: str, *, number: int, running: bool = True, disk: str = "/srv/shared/x.qcow2", extra: str = ""
) -> str:
    at = " id='3'" if running else ""
    return f"""<domain type='kvm'{at}><name>{name}</name><uuid>00000000-0000-4000-8000-00000000000{number}</uuid>
<memory unit='KiB'>2097152</memory><vcpu>2</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{disk}'/>
<target dev='vda' bus='virtio'/></disk>{extra}</devices></domain>"""


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    for node in ("node-1", "node-2"):
        (tmp_path / node).mkdir()
        (tmp_path / node / "capabilities.xml").write_text(CAPABILITIES)
    (tmp_path / "node-1" / "web.xml").write_text(definition("web", number=1))
    (tmp_path / "node-1" / "off.xml").write_text(definition("off", number=2, running=False, disk="/var/lib/off.qcow2"))
    return tmp_path


SHARED = SharedStorage(("/srv/shared",))


def test_two_nodes(dump: Path) -> None:
    imported = read_dump(dump, SHARED)
    fleet = imported.fleet
    assert [(n.name, n.memory_bytes, n.cpus, n.cpu_model) for n in fleet.nodes] == [
        ("node-1", 64 * GIB, 16, "Skylake-Server-IBRS"),
        ("node-2", 64 * GIB, 16, "Skylake-Server-IBRS"),
    ]
    off, web = fleet.vms
    assert (web.name, web.node, web.memory_bytes, web.vcpus, web.state) == (
        "web",
        "node-1",
        2 * GIB,
        2,
        VmState.RUNNING,
    )
    assert off.state is VmState.SHUTOFF
    assert (web.shared_storage, off.shared_storage) == (True, False)
    assert any("local disks of 1 vms" in line for line in imported.remarks)


def test_what_the_definition_names_keeps_a_vm_from_moving(dump: Path) -> None:
    address = "<address domain='0' bus='1' slot='0' function='0'/>"
    device = f"<hostdev mode='subsystem' type='pci' managed='yes'><source>{address}</source></hostdev>"
    (dump / "node-2" / "gpu.xml").write_text(definition("gpu", number=3, extra=device))
    gpu = next(vm for vm in read_dump(dump, SHARED).fleet.vms if vm.name == "gpu")
    assert gpu.live_obstacle is not None


def test_a_vm_seen_on_two_nodes_is_refused(dump: Path) -> None:
    (dump / "node-2" / "web.xml").write_text(definition("web", number=1))
    with pytest.raises(BadInput, match="vm web is on node-1 and on node-2"):
        read_dump(dump, SHARED)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("node-2/capabilities.xml", None, "capabilities.xml is missing"),
        ("node-2/capabilities.xml", "<capabilities/>", "tells no memory and processors"),
        ("node-2/capabilities.xml", "hello", "is not what `virsh capabilities` prints"),
        ("node-2/odd.xml", "<network/>", "odd.xml: not a libvirt domain"),
        ("node-2/odd.xml", "<domain", "odd.xml: not a libvirt domain"),
    ],
)
def test_what_is_wrong_is_told_by_its_file(dump: Path, file: str, content: str | None, said: str) -> None:
    path = dump / file
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(BadInput, match=said):
        read_dump(dump, SHARED)


def test_a_folder_without_nodes_says_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no folder in it"):
        read_dump(tmp_path, SHARED)
    with pytest.raises(BadInput, match="is not a folder"):
        read_dump(tmp_path / "missing", SHARED)
