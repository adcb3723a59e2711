"""What a target has of what a guest needs there: what it lacks is told before anything is stopped."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenes.definitions import ROOT, definition, disk

from models.plan import ActionKind
from tools.domain.inventory.handlers import take_inventory
from tools.domain.inventory.target import TargetVerdict, compare
from tools.ports.compatibility import HostResources

LUKS = "<source file='/i/a'><encryption format='luks'><secret type='passphrase' uuid='s-1'/></encryption></source>"
GUEST = definition(
    "<emulator>/opt/qemu/qemu-kvm</emulator>"
    "<interface type='network'><source network='lan'/><filterref filter='clean-traffic'/></interface>"
    "<interface type='bridge'><source bridge='br7'/></interface>"
    "<interface type='direct'><source dev='eno2' mode='bridge'/></interface>"
    + disk(LUKS)
    + disk("<source pool='fast' volume='a'/>", type="volume").replace("vda", "vdb"),
    more="<cputune><vcpupin vcpu='0' cpuset='8-11'/></cputune><numatune><memory mode='strict' nodeset='1'/></numatune>",
)
EVERYTHING = HostResources(
    emulators=frozenset({"/opt/qemu/qemu-kvm"}),
    networks=frozenset({"lan"}),
    interfaces=frozenset({"lo", "br7", "eno2"}),
    network_filters=frozenset({"clean-traffic"}),
    secrets=frozenset({"s-1"}),
    storage_pools=frozenset({"fast"}),
    cpus=frozenset(range(16)),
    numa_nodes=frozenset({0, 1}),
)
NOTHING = HostResources(
    emulators=frozenset(),
    networks=frozenset(),
    interfaces=frozenset({"lo"}),
    network_filters=frozenset(),
    secrets=frozenset(),
    storage_pools=frozenset(),
    cpus=frozenset({0, 1}),
    numa_nodes=frozenset({0}),
)
NEEDS = {"/opt/qemu/qemu-kvm", "lan", "clean-traffic", "br7", "eno2", "s-1", "fast", "8-11", "1"}


def judge(has: HostResources, xml: str = GUEST) -> TargetVerdict:
    return compare(take_inventory(xml), has, ActionKind.COLD_MIGRATE)


def test_a_target_that_has_everything_lacks_nothing():
    verdict = judge(EVERYTHING)
    assert {each.where for each in verdict.present} == NEEDS
    assert verdict.why_not() is None


def test_a_target_that_has_nothing_is_told_each_thing_by_name():
    verdict = judge(NOTHING)
    assert {each.where for each in verdict.missing} == NEEDS
    assert all(where in str(verdict.why_not()) for where in NEEDS)


def test_what_a_target_can_not_tell_is_neither_there_nor_missing():
    verdict = judge(HostResources())
    assert (verdict.present, verdict.missing) == ((), ())
    assert {each.where for each in verdict.untold} == NEEDS


@pytest.mark.parametrize(
    ("known", "there"), [({"/srv/own/CODE.fd"}, "present"), ({"/usr/share/OVMF/CODE.fd"}, "untold")]
)
def test_firmware_that_libvirt_does_not_list_may_be_there_all_the_same(known: set[str], there: str):
    xml = definition(ROOT, os="<loader readonly='yes' type='pflash'>/srv/own/CODE.fd</loader>")
    verdict = judge(HostResources(firmware=frozenset(known)), xml)
    assert [each.where for each in getattr(verdict, there)] == ["/srv/own/CODE.fd"]


def test_what_the_source_uses_without_listing_it_is_not_missing_elsewhere_either():
    inventory = take_inventory(GUEST)
    blind = replace(EVERYTHING, interfaces=frozenset({"lo"}))
    verdict = compare(inventory, NOTHING, ActionKind.LIVE_MIGRATE, source_has=blind)
    assert {each.where for each in verdict.untold} == {"br7", "eno2"}
    assert NEEDS - {each.where for each in verdict.missing} == {"br7", "eno2"}


def test_what_is_copied_or_may_be_left_out_is_not_asked_for():
    usb = "<hostdev mode='subsystem' type='usb'><source startupPolicy='optional'><vendor id='0x1'/></source></hostdev>"
    verdict = judge(NOTHING, definition(ROOT + usb))
    assert verdict.missing == ()
