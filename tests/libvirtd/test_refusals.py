"""What libvirt and QEMU themselves refuse, as two real libvirtds say it."""

from __future__ import annotations

import time

import libvirt
import pytest
from scenes.two_libvirtds import POLICY, TwoLibvirtds

from agent.state.refusals import fleet_as_known
from models.errors import Lasting, MigrationRefused, PrecheckFailed
from models.evacuation import AttemptOutcome
from models.fleet import Fleet
from models.plan import ActionKind
from models.policy.policy import MigrationPolicy
from tools.libvirt.migration.migration_job import Peer
from tools.libvirt.node import LibvirtNode
from tools.ports.migration import MigrationOptions

pytestmark = pytest.mark.libvirtd

OPTIONS = MigrationOptions(
    tls=False,
    max_downtime_seconds=0.3,
    timeout_seconds=30.0,
    auto_converge=False,
    post_copy=False,
    parallel_connections=0,
    bandwidth_bytes_per_second=None,
    copy_disks=("vda",),
)


def shared_memory(name: str) -> str:
    """QEMU's device for it blocks every migration while the guest is a peer."""
    return f"<shmem name='lifeboat-{name}'><model type='ivshmem-plain'/><size unit='M'>1</size></shmem>"


def test_qemu_says_what_keeps_a_guest_and_libvirt_refuses_it_for_good(two: TwoLibvirtds, vm: str) -> None:
    two.a.make_image(f"{vm}.img")
    two.a.make_image(f"{vm}-b.img")
    two.run_guest(vm, two.definition(vm, two.disk(f"{vm}.img"), devices=shared_memory(vm)), image=f"{vm}.img")
    two.run_guest(f"{vm}-b", two.definition(f"{vm}-b", two.disk(f"{vm}-b.img")), image=f"{vm}-b.img")
    blocked, free = two.vm(vm).uuid, two.vm(f"{vm}-b").uuid
    node = LibvirtNode("a", two.a.uri, memory_reserved_bytes=0, peers={"b": Peer(two.b.uri)})
    try:
        said = node.migration_blockers([blocked, free])
        assert said[free] == ()
        assert "ivshmem" in " ".join(said[blocked])
        with pytest.raises(MigrationRefused) as refused:
            node.migrate_live(blocked, "b", OPTIONS)
        assert refused.value.lasting is Lasting.EVERYWHERE, refused.value
    finally:
        node.close()
    assert two.a.runs(vm)


def test_a_guest_started_anew_is_another_and_one_with_a_smaller_balloon_is_not(two: TwoLibvirtds, vm: str) -> None:
    two.a.make_image(f"{vm}.img")
    balloon = "<memballoon model='virtio'/>"
    two.run_guest(vm, two.definition(vm, two.disk(f"{vm}.img"), devices=balloon), image=f"{vm}.img")
    before = two.vm(vm).incarnation
    two.nodes["a"].tag_attempt(two.vm(vm).uuid, "some-attempt")
    two.a.domain(vm).setMemoryFlags(8 << 10, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    assert two.vm(vm).incarnation == before
    two.a.domain(vm).destroy()
    two.a.domain(vm).create()
    assert two.vm(vm).incarnation not in (before, "")


def test_a_target_that_does_not_take_a_definition_refuses_before_the_stop_and_is_remembered(
    two: TwoLibvirtds, vm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    two.a.make_image(f"{vm}.img")
    two.run_guest(vm, two.definition(vm, two.disk(f"{vm}.img")), image=f"{vm}.img")
    target = two.nodes["b"]
    with pytest.raises(PrecheckFailed) as refused:
        target.try_definition(two.definition(vm, "").replace("machine='pc'", "machine='pc-i440fx-99.9'"))
    assert refused.value.lasting is Lasting.AT_TARGET
    assert "disk" in target.try_definition(two.a.domain(vm).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    assert two.known_on(vm) == ["a"], "what was tried is gone again"

    def without_disks(xml: str) -> str:
        return two.definition(vm, "")

    monkeypatch.setattr(target, "try_definition", without_disks)
    attempt = two.attempt(ActionKind.COLD_MIGRATE, vm)
    assert attempt.outcome is AttemptOutcome.FAILED
    assert "knows no disk vda" in attempt.message
    assert two.a.starts(f"{vm}.img") == 1, "it was not stopped"
    now = two.hands.clock.now()
    fleet = Fleet(observed_at=now, nodes=(two.nodes["a"].node(),), vms=(two.vm(vm),))
    (learned,) = fleet_as_known(fleet, two.journal, POLICY, now).vms[0].learned_obstacles
    assert (learned.kind, learned.target) == (ActionKind.COLD_MIGRATE, "b")


def test_a_guest_that_libvirt_can_not_describe_hides_neither_its_node_nor_the_others(
    two: TwoLibvirtds, vm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tools.libvirt import view

    for name in (vm, f"{vm}-b"):
        two.a.make_image(f"{name}.img")
        two.a.virt.defineXML(two.definition(name, two.disk(f"{name}.img")))
    parse = view.parse_domain

    def odd(xml: str) -> object:
        if f"<name>{vm}</name>" in xml:
            raise libvirt.libvirtError("internal error")
        return parse(xml)

    monkeypatch.setattr(view, "parse_domain", odd)
    began = time.monotonic()
    listed = {each.name: each for each in two.nodes["a"].vms()}
    assert time.monotonic() - began < 5
    assert listed[f"{vm}-b"].cold_obstacle is None
    assert "can't tell what it is" in str(listed[vm].live_obstacle)
    assert listed[vm].memory_bytes == 16 << 20


def test_a_policy_that_lets_io_errors_move_tells_libvirt_so() -> None:
    from tools.libvirt.migration.migration_job import migration_flags

    assert migration_flags(OPTIONS, declared_shared=False) & libvirt.VIR_MIGRATE_ABORT_ON_ERROR
    from dataclasses import replace

    tolerant = replace(OPTIONS, abort_on_io_error=not MigrationPolicy(with_io_error=True).with_io_error)
    assert not migration_flags(tolerant, declared_shared=False) & libvirt.VIR_MIGRATE_ABORT_ON_ERROR
