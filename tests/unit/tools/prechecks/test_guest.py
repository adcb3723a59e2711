"""Awkward guests: refused before anything is touched, or taken along whole."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import DeviceBound, DisksUnmovable, MachineUnknown, PrecheckFailed
from models.fleet import Priority, VmState
from models.policy.policy import ArchivePolicy
from tools.archive.store import FsspecArchiveStore
from tools.domain.files import image_files
from tools.domain.labels import Labels
from tools.domain.xml import parse_domain
from tools.ports.compatibility import HostResources
from tools.ports.vms import ImageRole
from tools.prechecks.checks import check_archive, check_cold_migration, check_live_migration
from tools.simulated.fleet import SimulatedFleet
from tools.simulated.state import LOCAL_DIRECTORY, SHARED_DIRECTORY, Image

LABELS = Labels(priority=Priority.LOW, cold_archive_allowed=True)
QUORUM = f"{LOCAL_DIRECTORY}/quorum.raw"
DISK = (
    "<disk type='{type}' device='disk'><driver name='qemu' type='{format}'/>{source}"
    "<target dev='vdb' bus='virtio'/>{more}</disk>"
)


class Guest:
    """One vm on the first of two nodes, with more in its definition."""

    def __init__(self, tmp_path: Path, *, devices: str = "", os: str = "") -> None:
        self.fleet = SimulatedFleet()
        self.source, self.target = self.fleet.add_node("node-a"), self.fleet.add_node("node-b")
        self.uuid = self.fleet.add_vm("node-a", "web", labels=LABELS)
        self.store = FsspecArchiveStore((tmp_path / "archives").as_uri(), key_file=tmp_path / "key")
        self.domain = self.fleet.machines["node-a"].domains[self.uuid]
        self.become(self.with_more(devices, os))

    def with_more(self, devices: str, os: str = "") -> str:
        return self.domain.xml.replace("</devices>", f"{devices}</devices>").replace("</os>", f"{os}</os>")

    def become(self, xml: str) -> None:
        self.domain.xml, self.domain.described = xml, parse_domain(xml)

    def image(self, path: str, content: bytes = b"data" * 64, format: str = "raw") -> None:
        images = self.fleet.shared_images if path.startswith(SHARED_DIRECTORY) else self.fleet.machines["node-a"].images
        images[path] = Image(content, format, len(content))

    def live(self) -> None:
        check_live_migration(self.source, self.target, self.seen, self.vm)

    def cold(self) -> None:
        check_cold_migration(self.source, self.target, self.seen, self.vm)

    def archive(self) -> None:
        check_archive(self.source, self.store, self.seen, self.vm, ArchivePolicy())

    @property
    def seen(self):
        found = self.source.observe(self.uuid)
        assert found is not None
        return found

    @property
    def vm(self):
        return next(vm for vm in self.source.vms() if vm.uuid == self.uuid)

    def refused(self) -> str:
        letters = ""
        for letter, check in (("L", self.live), ("C", self.cold), ("A", self.archive)):
            try:
                check()
            except PrecheckFailed:
                letters += letter
        return letters


NVME = "<source type='pci' namespace='1'><address bus='3'/></source>"
AWKWARD = [
    (DISK.format(type="vhostuser", format="raw", source="<source type='unix' path='/run/spdk.0'/>", more=""), "LCA"),
    (DISK.format(type="nvme", format="raw", source=NVME, more=""), "LCA"),
    ("<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host5'/></source></hostdev>", "LCA"),
    ("<filesystem type='mount'><source dir='/srv/d'/><target dir='d'/></filesystem>", "LCA"),
    (f"<filesystem type='mount'><source dir='{SHARED_DIRECTORY}/d'/><target dir='d'/></filesystem>", "L"),
    ("<teleporter/>", "CA"),
    ("<serial type='pty'/>", ""),
]  # fmt: skip


@pytest.mark.parametrize(("devices", "expected"), AWKWARD)
def test_what_can_not_be_taken_along_is_refused_before_the_guest_is_touched(
    devices: str, expected: str, tmp_path: Path
):
    assert Guest(tmp_path, devices=devices).refused() == expected


def test_the_refusal_names_the_thing_and_its_kind(tmp_path: Path):
    guest = Guest(
        tmp_path, devices=DISK.format(type="vhostuser", format="raw", source="<source path='/run/s'/>", more="")
    )
    with pytest.raises(DisksUnmovable, match=r"can't be archived: disk vdb \(/run/s\)"):
        guest.archive()
    guest = Guest(tmp_path, devices="<serial type='dev'><source path='/dev/ttyS0'/></serial>")
    with pytest.raises(DeviceBound, match="serial port of this host"):
        guest.cold()


def test_a_disk_attached_live_only_is_not_lost_by_a_stop(tmp_path: Path):
    guest = Guest(tmp_path)
    plugged = DISK.format(type="file", format="raw", source=f"<source file='{LOCAL_DIRECTORY}/plugged'/>", more="")
    guest.image(f"{LOCAL_DIRECTORY}/plugged")
    guest.domain.defined_xml = guest.domain.xml
    guest.become(guest.with_more(plugged))
    assert guest.refused() == "CA"
    with pytest.raises(PrecheckFailed, match="only in the running guest"):
        guest.archive()


@pytest.mark.parametrize("shareable", ["<shareable/>", ""])
def test_a_disk_that_another_guest_uses_is_not_parted_from_it(shareable: str, tmp_path: Path):
    more = DISK.format(type="file", format="raw", source=f"<source file='{QUORUM}'/>", more=shareable)
    guest = Guest(tmp_path, devices=more)
    guest.image(QUORUM)
    assert guest.refused() == ("LCA" if shareable else "")
    other = guest.fleet.add_vm("node-a", "other", state=VmState.SHUTOFF)
    domain = guest.fleet.machines["node-a"].domains[other]
    domain.xml = domain.xml.replace("</devices>", f"{more}</devices>")
    domain.described = parse_domain(domain.xml)
    assert guest.refused() == "LCA"
    if not shareable:
        with pytest.raises(DisksUnmovable, match="is used by other as well"):
            guest.cold()


def test_a_qcow2_image_whose_data_is_elsewhere_is_refused_by_its_header(tmp_path: Path):
    path = f"{LOCAL_DIRECTORY}/ext.qcow2"
    guest = Guest(
        tmp_path, devices=DISK.format(type="file", format="qcow2", source=f"<source file='{path}'/>", more="")
    )
    header = b"QFI\xfb" + struct.pack(">IQI", 3, 0, 0) + bytes(52) + struct.pack(">QQQII", 4, 0, 0, 4, 104)
    guest.image(path, header + struct.pack(">II", 0x44415441, 8) + b"/srv/ext" + bytes(64), format="qcow2")
    assert guest.refused() == "CA"
    with pytest.raises(DisksUnmovable, match="lies in another file, /srv/ext"):
        guest.archive()
    guest.image(path, header[:72] + bytes(8) + header[80:] + bytes(64), format="qcow2")
    assert guest.refused() == ""


def test_media_and_boot_files_go_along_cold_and_have_to_be_at_a_live_target(tmp_path: Path):
    iso, data = f"{LOCAL_DIRECTORY}/a.iso", f"{LOCAL_DIRECTORY}/ref.raw"
    cdrom = f"<disk type='file' device='cdrom'><source file='{iso}'/><target dev='sda'/><readonly/></disk>"
    only_read = DISK.format(type="file", format="raw", source=f"<source file='{data}'/>", more="<readonly/>")
    guest = Guest(tmp_path, devices=cdrom + only_read, os="<kernel>/boot/k</kernel>")
    assert guest.refused() == "LCA", "nothing of it is anywhere"
    guest.image(iso)
    guest.image(data)
    assert guest.refused() == "LCA", "the kernel is still missing"
    guest.fleet.machines["node-a"].state_files["/boot/k"] = b"kernel"
    assert guest.refused() == "L"
    with pytest.raises(DisksUnmovable, match=r"medium .*a\.iso of vm web is not on node node-b"):
        guest.live()
    for path in (iso, data):
        guest.fleet.machines["node-b"].images[path] = guest.fleet.machines["node-a"].images[path]
    assert guest.refused() == ""
    assert {image.path for image in image_files(guest.seen, shared=False) if image.role is ImageRole.MEDIUM} == {
        iso,
        data,
    }


def test_state_that_is_nowhere_to_be_found_is_not_left_behind(tmp_path: Path):
    guest = Guest(tmp_path, os="<nvram type='file'><source file='/srv/VARS.fd'/></nvram>")
    assert guest.refused() == "CA"
    guest.fleet.machines["node-a"].state_files["/srv/VARS.fd"] = b"variables"
    assert guest.refused() == ""
    (variables,) = guest.source.state_files(guest.uuid)
    assert (variables.role, variables.path) == (ImageRole.NVRAM, "/srv/VARS.fd")


def test_a_target_that_lacks_what_the_guest_needs_is_told_before_anything_is_stopped(tmp_path: Path):
    card = "<interface type='bridge'><source bridge='br7'/></interface>"
    guest = Guest(tmp_path, devices=f"<emulator>/opt/qemu/qemu-kvm</emulator>{card}")
    target = guest.fleet.machines["node-b"]
    has_all = HostResources(emulators=frozenset({"/opt/qemu/qemu-kvm"}), interfaces=frozenset({"lo", "br7"}))
    guest.fleet.machines["node-a"].resources = has_all
    assert guest.refused() == "", "a target that can't tell is tried"
    target.resources = HostResources(emulators=frozenset({"/opt/qemu/qemu-kvm"}), interfaces=frozenset({"lo"}))
    assert guest.refused() == "LC", "an archive needs no target"
    with pytest.raises(PrecheckFailed, match="can't run on node node-b, which lacks: bridge br7"):
        guest.cold()
    target.resources = HostResources(emulators=frozenset(), interfaces=frozenset({"lo", "br7"}))
    with pytest.raises(MachineUnknown, match="lacks: emulator /opt/qemu/qemu-kvm"):
        guest.live()
    target.resources = has_all
    assert guest.refused() == ""


def test_what_libvirt_keeps_besides_the_definition_counts(tmp_path: Path):
    guest = Guest(tmp_path)
    guest.domain.checkpoints = 1
    assert guest.refused() == "", "they go along"
    guest.domain.checkpoints, guest.domain.snapshots = 0, 1
    assert guest.refused() == "L"
    guest.domain.snapshots = 0
    guest.domain.state, guest.domain.reason = VmState.PAUSED, "I/O error"
    assert guest.refused() == "L"


def test_an_image_in_a_network_pool_of_the_node_needs_no_copy():
    """The paths of pools over the network count as shared without being declared."""
    pytest.importorskip("libvirt")
    from tools.libvirt.on_disk.disks import shared_by_pools
    from tools.libvirt.on_disk.volumes import Pool
    from tools.ports.shared_storage import SharedStorage

    pools = [Pool("nfs", "netfs", "/mnt/nfs"), Pool("local", "dir", "/images"), Pool("ceph", "rbd", "")]
    shared = shared_by_pools(SharedStorage(("/srv/gfs",), ("san",)), [*pools, Pool("san", "logical", "/dev/san")])
    assert shared.holds("/mnt/nfs/a.qcow2")
    assert shared.holds("ceph/a", pool="ceph")
    assert shared.holds("/dev/san/lv")
    assert shared.holds("/srv/gfs/a")
    assert not shared.holds("/images/a.qcow2")
    assert not shared.holds("local/a", pool="local")
    assert replace(shared, pools=()).holds("ceph/a", pool="ceph") is False
