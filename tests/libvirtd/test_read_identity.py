"""Looks by a read-only connection, on a real libvirtd: they see all there is, and can change nothing."""

from __future__ import annotations

from collections.abc import Iterator

import libvirt
import pytest
from scenes.two_libvirtds import TwoLibvirtds, until

from models.errors import LifeboatError
from models.fleet import VmState
from tools.libvirt.connection import LibvirtConnection
from tools.libvirt.node import LibvirtNode
from tools.libvirt.permissions import may_write

pytestmark = pytest.mark.libvirtd

NOBODYS = "qemu+unix:///session?socket=/nowhere/libvirt-sock"


@pytest.fixture
def guest(two: TwoLibvirtds, vm: str) -> str:
    two.a.make_image(f"{vm}.raw")
    two.a.virt.defineXML(two.definition(vm, two.disk(f"{vm}.raw"))).create()
    return two.a.domain(vm).UUIDString()


@pytest.fixture
def looking(two: TwoLibvirtds) -> Iterator[LibvirtNode]:
    """A node that nothing can be done on: only looks get through."""
    node = LibvirtNode("a", NOBODYS, read_uri=two.a.uri, memory_reserved_bytes=0)
    yield node
    node.close()


def test_a_look_needs_no_identity_that_may_write(two: TwoLibvirtds, looking: LibvirtNode, guest: str) -> None:
    assert looking.node() == two.nodes["a"].node()
    assert guest in {vm.uuid for vm in looking.vms()}
    with pytest.raises(LifeboatError):
        looking.power_off(guest)


def test_by_a_read_only_connection_nothing_can_be_changed(two: TwoLibvirtds, vm: str, guest: str) -> None:
    connection = LibvirtConnection("a", two.a.uri, read_only=True)
    for change in (
        lambda c: c.lookupByUUIDString(guest).destroy(),
        lambda c: c.lookupByUUIDString(guest).setAutostart(1),
        lambda c: c.lookupByUUIDString(guest).XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE),
        lambda c: c.defineXML("<domain/>"),
    ):
        with pytest.raises(libvirt.libvirtError, match="forbidden"):
            connection.call("a change", change)
    connection.close()
    assert two.a.runs(vm)


def test_who_acts_is_connected_only_while_it_acts(two: TwoLibvirtds, vm: str, guest: str) -> None:
    node = LibvirtNode("a", two.a.uri, read_uri=two.a.uri, memory_reserved_bytes=0, idle_seconds=0.2)
    before = two.a.connections()
    node.vms()
    looking = two.a.connections()
    assert looking - before
    node.suspend(guest)
    node.migration_blockers([guest])
    node.resume(guest)
    until(lambda: two.a.connections() <= looking, "end of the connections that act")
    node.suspend(guest)
    assert node.vms()[0].state is VmState.PAUSED
    node.close()


def test_the_doctor_finds_out_who_may_write(two: TwoLibvirtds) -> None:
    assert may_write("a", two.a.uri)
