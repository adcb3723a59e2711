"""Guests as people have them, on two real libvirtds: what is refused is refused before anything is touched."""

from __future__ import annotations

import os
import signal
import time

import pytest
from scenes.two_libvirtds import IMAGES, TwoLibvirtds, until

from models.evacuation import Attempt, AttemptOutcome
from models.fleet import VmState
from models.plan import ActionKind

pytestmark = pytest.mark.libvirtd

COLD = (ActionKind.COLD_MIGRATE, ActionKind.COLD_ARCHIVE)
SPDK = (
    "<disk type='vhostuser' device='disk'><driver name='qemu' type='raw'/><source type='unix' path='/run/spdk.sock'/>"
    "<target dev='vdb' bus='virtio'/></disk>"
)
NVME = (
    "<disk type='nvme' device='disk'><driver name='qemu' type='raw'/><source type='pci' managed='yes' namespace='1'>"
    "<address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source><target dev='vdb' bus='virtio'/></disk>"
)
SHARED_MEMORY = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"


def require_untouched(two: TwoLibvirtds, name: str, image: str, attempt: Attempt) -> None:
    assert attempt.outcome is AttemptOutcome.REFUSED, attempt.message
    assert two.running_on(name) == ["a"]
    assert two.a.starts(image) == 1, "it was not stopped to find that out"
    assert two.known_on(name) == ["a"]
    assert two.b.files() == set()
    assert two.store.entries() == []


@pytest.mark.parametrize("kind", COLD)
@pytest.mark.parametrize(("disk", "why"), [(SPDK, "vhost-user"), (NVME, "NVMe")], ids=["spdk", "nvme"])
def test_a_disk_whose_bytes_nobody_can_read_refuses(
    two: TwoLibvirtds, vm: str, kind: ActionKind, disk: str, why: str
) -> None:
    two.a.make_image(f"{vm}.img")
    two.a.virt.defineXML(two.definition(vm, two.disk(f"{vm}.img"), devices=disk, more=SHARED_MEMORY))
    attempt = two.attempt(kind, vm)
    assert attempt.outcome is AttemptOutcome.REFUSED
    assert why in attempt.message
    assert two.known_on(vm) == ["a"]
    assert two.b.files() == set()
    assert two.store.entries() == []


@pytest.mark.parametrize("kind", COLD)
def test_an_image_whose_data_is_in_another_file_refuses(two: TwoLibvirtds, vm: str, kind: ActionKind) -> None:
    two.a.make_image(f"{vm}.qcow2", format="qcow2", options=f"data_file={two.a.image(f'{vm}.data')},data_file_raw=on")
    two.run_guest(vm, two.definition(vm, two.disk(f"{vm}.qcow2", format="qcow2")))
    attempt = two.attempt(kind, vm)
    assert attempt.outcome is AttemptOutcome.REFUSED
    assert f"{vm}.data" in attempt.message
    assert two.running_on(vm) == ["a"]
    assert two.store.entries() == []


@pytest.mark.parametrize("kind", COLD)
def test_a_disk_that_only_the_running_guest_has_refuses(two: TwoLibvirtds, vm: str, kind: ActionKind) -> None:
    two.a.make_image(f"{vm}.img")
    two.a.make_image("hot.img")
    two.run_guest(vm, two.definition(vm, two.disk(f"{vm}.img")), image=f"{vm}.img")
    two.a.domain(vm).attachDevice(two.disk("hot.img", "vdb"))
    attempt = two.attempt(kind, vm)
    require_untouched(two, vm, f"{vm}.img", attempt)
    assert f"vdb ({IMAGES}/hot.img)" in attempt.message
    assert "only in the running guest" in attempt.message


@pytest.mark.parametrize("kind", COLD)
def test_memory_in_a_managed_save_image_refuses(two: TwoLibvirtds, vm: str, kind: ActionKind) -> None:
    two.a.make_image(f"{vm}.img")
    two.run_guest(vm, two.definition(vm, two.disk(f"{vm}.img")), image=f"{vm}.img")
    two.a.domain(vm).managedSave()
    attempt = two.attempt(kind, vm)
    assert attempt.outcome is AttemptOutcome.REFUSED
    assert "managed save" in attempt.message
    assert two.a.domain(vm).hasManagedSaveImage() == 1, "its memory is kept"
    assert two.known_on(vm) == ["a"]


def test_another_guest_of_that_name_at_the_target_refuses(two: TwoLibvirtds, vm: str) -> None:
    two.a.make_image(f"{vm}.img")
    two.run_guest(vm, two.definition(vm, two.disk(f"{vm}.img")), image=f"{vm}.img")
    other = two.definition(vm, "").replace(two.vm(vm).uuid, "11111111-2222-4333-8444-555555555555")
    two.b.virt.defineXML(other)
    attempt = two.attempt(ActionKind.COLD_MIGRATE, vm)
    assert attempt.outcome is AttemptOutcome.REFUSED
    assert "node b" in attempt.message
    assert two.a.starts(f"{vm}.img") == 1
    assert two.b.domain(vm).UUIDString() == "11111111-2222-4333-8444-555555555555"
    assert two.b.files() == set()


def test_what_it_only_reads_goes_along_where_the_target_lacks_it(two: TwoLibvirtds, vm: str) -> None:
    two.a.make_image(f"{vm}.img")
    two.a.own(two.a.image("install.iso"), b"\x01CD001" * 1000)
    disks = two.disk(f"{vm}.img") + two.disk("install.iso", "hda", cdrom=True)
    two.run_guest(vm, two.definition(vm, disks), image=f"{vm}.img")
    attempt = two.attempt(ActionKind.COLD_MIGRATE, vm)
    assert attempt.outcome is AttemptOutcome.DONE, attempt.message
    until(lambda: two.b.starts(f"{vm}.img") == 2, "boot at the target")
    assert two.running_on(vm) == ["b"]
    assert two.b.image("install.iso").read_bytes() == b"\x01CD001" * 1000


def test_an_iso_that_is_gone_from_its_node_refuses_before_the_stop(two: TwoLibvirtds, vm: str) -> None:
    two.a.make_image(f"{vm}.img")
    two.a.own(two.a.image("gone.iso"), b"CD001")
    disks = two.disk(f"{vm}.img") + two.disk("gone.iso", "hda", cdrom=True)
    two.run_guest(vm, two.definition(vm, disks), image=f"{vm}.img")
    two.a.image("gone.iso").unlink()
    attempt = two.attempt(ActionKind.COLD_MIGRATE, vm)
    require_untouched(two, vm, f"{vm}.img", attempt)
    assert "gone.iso" in attempt.message


def test_an_emulator_that_can_not_run_at_the_target_refuses_before_the_stop(two: TwoLibvirtds, vm: str) -> None:
    two.a.make_image(f"{vm}.img")
    own = two.a.directory / "own-qemu"
    two.a.own(own, two.emulator.read_bytes())
    own.chmod(0o755)
    two.run_guest(vm, two.definition(vm, two.disk(f"{vm}.img")).replace(str(two.emulator), str(own)), image=f"{vm}.img")
    own.chmod(0o600)
    attempt = two.attempt(ActionKind.COLD_MIGRATE, vm)
    require_untouched(two, vm, f"{vm}.img", attempt)
    assert "own-qemu" in attempt.message


def test_hung_qemus_hide_neither_their_node_nor_its_other_guests(two: TwoLibvirtds, vm: str) -> None:
    # sizes of disks that no pool holds are asked of QEMU; two of the three are stopped dead
    outside = two.a.directory / "outside"
    two.a.own(outside)
    for name in ("hung-1", "hung-2", "well"):
        two.a.make_image(f"{name}.img")
        os.rename(two.a.image(f"{name}.img"), outside / f"{name}.img")
        disk = two.disk(f"{name}.img").replace(IMAGES, str(outside))
        two.run_guest(name, two.definition(name, disk))
    pids = [two.a.qemu_pid(name) for name in ("hung-1", "hung-2")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        vms = {vm.name: vm for vm in two.nodes["a"].vms()}
        first = time.monotonic() - began
        later: list[float] = []
        for _ in range(5):
            began = time.monotonic()
            two.nodes["a"].vms()
            later.append(time.monotonic() - began)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert {vms[name].state for name in ("hung-1", "hung-2", "well")} == {VmState.RUNNING}
    assert vms["well"].disk_bytes > 0
    assert vms["hung-1"].disk_bytes == 0
    assert first < 15, "they would hang for ever"
    assert min(later) < 0.7, "who still owes an answer is not waited for again"
