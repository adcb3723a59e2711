"""A guest runs at most once, across restarts of the libvirtd and of the node it came from, and keeps what libvirt had of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scenes.two_libvirtds import Libvirtd, TwoLibvirtds, until

from agent.archives.restore import restore
from models.evacuation import AttemptOutcome
from models.plan import ActionKind
from models.policy import ArchivePolicy, Policy, SourceRelease

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
