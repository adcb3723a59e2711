"""A guest runs at most once, across restarts of the libvirtd and of the node it came from, and keeps what libvirt had of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import libvirt
import pytest
from scenes.two_libvirtds import POLICY, Libvirtd, TwoLibvirtds, until

from agent.archives.restore import restore
from models.errors import ActionFailed
from models.evacuation import AttemptOutcome
from models.plan import ActionKind
from models.policy.policy import ArchivePolicy, Policy, SourceRelease

pytestmark = pytest.mark.libvirtd

RESTARTS: dict[str, Callable[[Libvirtd], None]] = {
    "its libvirtd restarts": Libvirtd.restart,
    "it comes up again": Libvirtd.come_up_again,
}


@pytest.mark.parametrize("what", RESTARTS)
def test_autostart_starts_no_second_copy_on_the_old_node(two: TwoLibvirtds, vm: str, what: str) -> None:
    two.a.make_image(f"{vm}.img")
    two.run_guest(vm, two.definition(vm, two.disk(f"{vm}.img")), image=f"{vm}.img")
    two.a.domain(vm).setAutostart(1)
    attempt = two.attempt(ActionKind.COLD_MIGRATE, vm)
    assert attempt.outcome is AttemptOutcome.DONE, attempt.message
    RESTARTS[what](two.a)
    assert two.running_on(vm) == ["b"]
    assert two.known_on(vm) == ["b"]
    assert two.b.domain(vm).autostart() == 1
    two.b.come_up_again()
    until(lambda: two.running_on(vm) == ["b"], "start of the guest with its new node")


def test_an_archived_guest_stays_off_when_its_node_comes_up_again(two: TwoLibvirtds, vm: str) -> None:
    two.a.make_image(f"{vm}.img")
    two.run_guest(vm, two.definition(vm, two.disk(f"{vm}.img")), image=f"{vm}.img")
    two.a.domain(vm).setAutostart(1)
    attempt = two.attempt(ActionKind.COLD_ARCHIVE, vm, Policy(archive=ArchivePolicy(release_source=SourceRelease.KEEP)))
    assert attempt.outcome is AttemptOutcome.DONE, attempt.message
    assert attempt.archive is not None
    two.a.come_up_again()
    assert two.running_on(vm) == []
    two.a.domain(vm).undefine()
    restore(two.hands, attempt.archive.id, "b", start=True)
    until(lambda: two.b.starts(f"{vm}.img") == 2, "boot of what was restored")
    assert two.b.domain(vm).autostart() == 1


def test_a_move_that_fails_leaves_autostart_on(two: TwoLibvirtds, vm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    two.a.make_image(f"{vm}.img")
    two.run_guest(vm, two.definition(vm, two.disk(f"{vm}.img")), image=f"{vm}.img")
    two.a.domain(vm).setAutostart(1)
    two.b.image("").chmod(0o500)
    try:
        attempt = two.attempt(ActionKind.COLD_MIGRATE, vm)
    finally:
        two.b.image("").chmod(0o700)
    assert attempt.outcome is AttemptOutcome.FAILED, attempt.message
    assert two.running_on(vm) == ["a"]
    assert two.a.domain(vm).autostart() == 1
    two.a.come_up_again()
    until(lambda: two.running_on(vm) == ["a"], "start of the guest with its node")


RESTARTS_ITSELF = "<on_poweroff>restart</on_poweroff>"


def test_a_guest_that_libvirt_starts_again_after_a_poweroff_moves_and_is_still_so(two: TwoLibvirtds, vm: str) -> None:
    two.a.make_image(f"{vm}.img")
    two.run_guest(vm, two.definition(vm, two.disk(f"{vm}.img"), more=RESTARTS_ITSELF), image=f"{vm}.img")
    attempt = two.attempt(ActionKind.COLD_MIGRATE, vm)
    assert attempt.outcome is AttemptOutcome.DONE, attempt.message
    assert two.a.starts(f"{vm}.img") == 1, "it was stopped once, and not started again at its source"
    until(lambda: two.b.starts(f"{vm}.img") == 2, "boot at the target")
    two.b.domain(vm).shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
    until(lambda: two.b.starts(f"{vm}.img") == 3, "start after a power-off, as its owner wants it")


def test_a_move_that_fails_before_the_stop_leaves_what_a_poweroff_does_as_it_was(
    two: TwoLibvirtds, vm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    two.a.make_image(f"{vm}.img")
    two.run_guest(vm, two.definition(vm, two.disk(f"{vm}.img"), more=RESTARTS_ITSELF), image=f"{vm}.img")

    def refuses(*_: object, **__: object) -> None:
        raise ActionFailed("libvirt: it is paused and can't hear a request to stop")

    two.a.domain(vm).setAutostart(1)
    monkeypatch.setattr(two.nodes["a"], "shut_down", refuses)
    short = POLICY.model_copy(
        update={"archive": POLICY.archive.model_copy(update={"shutdown_timeout": timedelta(seconds=1)})}
    )
    attempt = two.attempt(ActionKind.COLD_MIGRATE, vm, short)
    assert attempt.outcome is AttemptOutcome.FAILED, attempt.message
    assert "<on_poweroff>restart" in two.a.domain(vm).XMLDesc(0)
    assert two.a.domain(vm).autostart() == 1
    assert two.a.starts(f"{vm}.img") == 1


CHECKPOINT = "<domaincheckpoint><name>{}</name><disks><disk name='vda' checkpoint='bitmap'/></disks></domaincheckpoint>"


def checkpoints(node: Libvirtd, vm: str) -> list[str]:
    listed = node.domain(vm).listAllCheckpoints(libvirt.VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL)
    return [each.getName() for each in listed]


def make_incremental_backup(node: Libvirtd, vm: str, since: str) -> None:
    """Raises libvirtError when libvirt or QEMU has no such checkpoint, or its bitmap is lost."""
    target = f"<target file='{node.image('backup.qcow2')}'/><driver type='qcow2'/>"
    disks = f"<disks><disk name='vda' backup='yes' type='file'>{target}</disk></disks>"
    backup = f"<domainbackup mode='push'><incremental>{since}</incremental>{disks}</domainbackup>"
    node.domain(vm).backupBegin(backup, None, 0)
    until(lambda: node.domain(vm).jobStats().get("type", 0) == libvirt.VIR_DOMAIN_JOB_NONE, "end of the backup")


@pytest.mark.parametrize("kind", [ActionKind.COLD_MIGRATE, ActionKind.COLD_ARCHIVE])
def test_a_backup_goes_on_from_its_checkpoints_where_the_guest_is_then(
    two: TwoLibvirtds, vm: str, kind: ActionKind
) -> None:
    file = f"{vm}.qcow2"
    two.a.make_image(file, format="qcow2")
    two.run_guest(vm, two.definition(vm, two.disk(file, format="qcow2")), image=file, format="qcow2")
    for name in ("monday", "tuesday"):
        two.a.domain(vm).checkpointCreateXML(CHECKPOINT.format(name))
    attempt = two.attempt(kind, vm)
    assert attempt.outcome is AttemptOutcome.DONE, attempt.message
    assert two.known_on(vm) == (["b"] if kind is ActionKind.COLD_MIGRATE else [])
    if attempt.archive is not None:
        restore(two.hands, attempt.archive.id, "b", start=True)
    assert checkpoints(two.b, vm) == ["monday", "tuesday"]
    make_incremental_backup(two.b, vm, "tuesday")
