"""Nothing is changed on a node by who leads no longer, not even in the middle of a copy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.actions.guarded_node import guarded
from tools.ports.journal import LeaseLost
from tools.simulated.fleet import SimulatedFleet


class Lead:
    def __init__(self) -> None:
        self.lost = False

    def require(self) -> None:
        if self.lost:
            raise LeaseLost("another leads")


def test_a_copy_ends_where_the_lead_was_lost_and_looking_goes_on() -> None:
    fleet, lead = SimulatedFleet(), Lead()
    fleet.add_node("a")
    vm = fleet.add_vm("a", "web")
    node = guarded(fleet.hypervisors()["a"], require_lead=lead.require, own_vm="")
    path = "/var/lib/libvirt/images/new.raw"
    node.create_disk(path, format="raw", virtual_bytes=8)
    sent: list[bytes] = []

    def chunks() -> Iterator[bytes]:
        for chunk in (b"one.", b"two."):
            yield chunk
            sent.append(chunk)
            lead.lost = True

    with pytest.raises(LeaseLost):
        node.write_disk(path, chunks())
    assert sent == [b"one."]
    for change in (lambda: node.shut_down(vm), lambda: node.delete_disk(path), lambda: node.tag_attempt(vm, "a1")):
        with pytest.raises(LeaseLost):
            change()
    seen = node.observe(vm)
    assert seen is not None
    assert seen.attempt is None
    assert node.disk_exists(path)
