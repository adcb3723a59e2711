"""Cold moves on real libvirt of a vm that is more than its disk: UEFI variables, TPM state, a snapshot, a chain of images."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.actions.attempt import AttemptContext
from agent.actions.resources import Resources
from agent.actions.runner import run_attempt
from agent.archives.restore import restore
from agent.archives.wipe import wipe
from lab.nodes import guests, hypervisor, initramfs, probe
from lab.nodes.guests import Guest
from lab.nodes.node import Lab, run
from models.errors import PrecheckFailed
from models.evacuation import AttemptOutcome, ObservedState
from models.plan import Action, ActionKind
from models.policy.policy import ArchivePolicy, Policy, SourceRelease
from tools.archive.store import FsspecArchiveStore
from tools.clock import SystemClock
from tools.journal.sqlite import SqliteJournal
from tools.libvirt.node import LibvirtNode
from tools.ports.hypervisor import Hypervisor
from tools.ports.vms import ImageRole, VmObservation

pytestmark = pytest.mark.lab

WHOLE = Guest("whole", "node-a", 120, "batch", "local", "qcow2", memory=256, disk=32, data=4)
CODE, VARIABLES = Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
POOL = hypervisor.LOCAL_POOL
POLICY = Policy(archive=ArchivePolicy(release_source=SourceRelease.UNDEFINE))
UEFI_SECONDS = 240


class Place:
    """The lab's nodes as lifeboat reaches them, and the vm."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self.nodes: dict[str, Hypervisor] = {
            name: LibvirtNode(name, hypervisor.uri(lab, name), memory_reserved_bytes=0) for name in lab.nodes
        }
        self.vm = str(guests.guest_uuid(lab, WHOLE))
        self.store = FsspecArchiveStore(f"file://{directory}/archives", key_file=directory / "key")
        self.hands = Resources(
            nodes=self.nodes,
            clock=SystemClock(),
            journal=SqliteJournal(directory / "journal.sqlite"),
            archives=self.store,
        )

    def attempt(self, kind: ActionKind, source: str, target: str | None = None) -> str:
        action = Action(kind=kind, vm=self.vm, vm_name="whole", source=source, target=target, reason="a test")
        vm = next(vm for vm in self.nodes[source].vms() if vm.uuid == self.vm)
        done = run_attempt(
            AttemptContext(
                id=f"attempt-{kind}",
                evacuation="evac",
                action=action,
                vm=vm,
                policy=POLICY,
                hands=self.hands,
                on_progress=lambda _: None,
            )
        )
        assert done.outcome is AttemptOutcome.DONE, done.message
        return done.id

    def seen(self, node: str) -> VmObservation:
        found = self.nodes[node].observe(self.vm)
        assert found is not None
        return found

    def state(self, node: str) -> dict[str, bytes]:
        return {file.path: file.content for file in self.nodes[node].state_files(self.vm)}

    def answer(self) -> probe.Answer:
        found = probe.ask(guests.probe_target(self.lab, WHOLE), seconds=UEFI_SECONDS)
        assert found is not None, "the guest does not answer"
        return found

    def stopped(self, node: str) -> None:
        self.nodes[node].power_off(self.vm)

    def pools(self, node: str) -> set[str]:
        return set(hypervisor.virsh(self.lab, node, "pool-list --all --name").split())

    def virsh(self, node: str, command: str) -> str:
        return hypervisor.virsh(self.lab, node, command)


@pytest.fixture
def place(lab: Lab, tmp_path: Path) -> Iterator[Place]:
    if not CODE.exists() or not shutil.which("swtpm"):
        pytest.skip("needs the packages ovmf, swtpm and swtpm-tools")
    place = Place(lab, tmp_path)
    _make(place)
    yield place
    for name, node in place.nodes.items():
        if node.observe(place.vm) is not None:
            node.power_off(place.vm)
            hypervisor.virsh(lab, name, f"undefine {place.vm} --nvram --tpm --snapshots-metadata", check=False)
        for path in (f"{POOL}/whole.overlay", f"{POOL}/whole.qcow2"):
            node.delete_disk(path)
        local = lab.node(name).run_dir / "fs/var/lib/libvirt"
        (local / "qemu/nvram/whole_VARS.fd").unlink(missing_ok=True)
        shutil.rmtree(local / "swtpm" / place.vm, ignore_errors=True)
        node.close()
    place.hands.journal.close()


def _make(place: Place) -> None:
    """On node-a: a disk with an internal snapshot, an overlay over it, then firmware and a TPM; started once."""
    lab, node = place.lab, place.lab.node("node-a")
    guests.create_disk(lab, WHOLE)
    image = initramfs.build(lab.root / "guest")
    plain = guests.domain_xml(lab, WHOLE, image)
    (node.run_dir / "whole.xml").write_text(plain)
    place.virsh("node-a", "pool-refresh local")
    place.virsh("node-a", f"define {node.run_dir / 'whole.xml'}")
    place.virsh("node-a", "snapshot-create-as whole clean")
    overlay = hypervisor.local_path(node, "whole.overlay")
    below = f"{POOL}/whole.qcow2"
    run(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", below, "-F", "qcow2", str(overlay), "32M"])
    place.virsh("node-a", "pool-refresh local")
    domain = ET.fromstring(plain)
    system, devices = domain.find("os"), domain.find("devices")
    assert system is not None
    assert devices is not None
    loader = ET.SubElement(system, "loader", readonly="yes", type="pflash")
    loader.text = str(CODE)
    nvram = ET.SubElement(system, "nvram", template=str(VARIABLES))
    nvram.text = "/var/lib/libvirt/qemu/nvram/whole_VARS.fd"
    source = devices.find("disk/source")
    assert source is not None
    source.set("file", f"{POOL}/whole.overlay")
    tpm = ET.SubElement(devices, "tpm", model="tpm-tis")
    ET.SubElement(tpm, "backend", type="emulator", version="2.0")
    (node.run_dir / "whole.xml").write_text(ET.tostring(domain, encoding="unicode"))
    place.virsh("node-a", f"define {node.run_dir / 'whole.xml'}")
    place.virsh("node-a", "start whole")


def test_the_whole_vm_moves_is_archived_restored_and_wiped(place: Place):
    had_pools = {node: place.pools(node) for node in place.nodes}
    first = place.answer()
    place.attempt(ActionKind.COLD_MIGRATE, "node-a", "node-b")
    assert place.nodes["node-a"].observe(place.vm) is None
    moved = place.seen("node-b")
    assert (moved.state.value, moved.snapshots) == ("running", 1)
    assert [(below.path, below.backing) for below in moved.disks[0].chain] == [(f"{POOL}/whole.qcow2", "")]
    second = place.answer()
    assert second.boot_id != first.boot_id
    assert second.counter >= first.durable, "it goes on from what its disk held"

    archive = place.attempt(ActionKind.COLD_ARCHIVE, "node-b")
    assert all(node.observe(place.vm) is None for node in place.nodes.values())
    restored = restore(place.hands, archive, "node-c", start=False)
    assert restored.seen is ObservedState.SHUTOFF
    small = {image: b"".join(read()) for image, read in place.store.images(archive) if image.mode is not None}
    assert len([image for image in small if image.role is ImageRole.BOOT]) == 2, "its kernel and initrd"
    archived = {image.path: content for image, content in small.items() if image.role is not ImageRole.BOOT}
    assert len(archived) == 2
    assert place.state("node-c") == archived
    assert archived["/var/lib/libvirt/qemu/nvram/whole_VARS.fd"] != VARIABLES.read_bytes(), "the firmware wrote them"
    assert place.seen("node-c").snapshots == 1
    check = run(place.lab.node("node-c").command("qemu-img", "snapshot", "-l", f"{POOL}/whole.qcow2")).stdout
    assert "clean" in check
    with pytest.raises(PrecheckFailed, match="node node-c has it already"):
        restore(place.hands, archive, "node-a", start=True)
    place.nodes["node-c"].start(place.vm)
    third = place.answer()
    assert third.boot_id != second.boot_id
    assert third.counter >= second.durable

    with pytest.raises(PrecheckFailed, match="node node-c shows it running"):
        wipe(place.hands, archive, by="root")
    place.stopped("node-c")
    record = wipe(place.hands, archive, by="root")
    assert record.complete, record.images
    assert {image.path for image in record.images} == {f"{POOL}/whole.overlay", f"{POOL}/whole.qcow2", *archived}
    assert all("zeros" in image.done for image in record.images)
    for path in (f"{POOL}/whole.overlay", f"{POOL}/whole.qcow2"):
        assert not place.nodes["node-b"].disk_exists(path)
    left = list((place.lab.node("node-b").run_dir / "fs/var/lib/libvirt/swtpm").rglob("tpm2-*"))
    assert left == []
    assert {node: place.pools(node) for node in place.nodes} == had_pools, "pools made for a while are gone"
