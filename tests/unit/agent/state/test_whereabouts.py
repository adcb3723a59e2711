"""lifeboat knows on which node it runs, on the host or in a vm."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agent.state.whereabouts import Whereabouts
from models.fleet import Fleet, Node, Vm

NODES = ("node-a.example", "node-b.example", "other")
FLEET = Fleet(
    observed_at=datetime(2026, 11, 29, tzinfo=UTC),
    nodes=tuple(Node(name=name, memory_bytes=1 << 34, cpus=8) for name in NODES),
    vms=(
        Vm(uuid="4F1231BD-1F6D-543B-94FD-275DDF0BBA97", name="lifeboat", node="node-b.example", memory_bytes=1 << 30),
    ),
)


@pytest.mark.parametrize(
    ("known", "node"),
    [
        (Whereabouts(host="other"), "other"),
        (Whereabouts(host="NODE-A.example"), "node-a.example"),
        (Whereabouts(host="node-a"), "node-a.example"),
        (Whereabouts(host="elsewhere"), ""),
        (Whereabouts(), ""),
        (Whereabouts(host="guest", machine_uuid="4f1231bd-1f6d-543b-94fd-275ddf0bba97"), "node-b.example"),
        (Whereabouts(host="other", machine_uuid="00000000-0000-0000-0000-000000000000"), "other"),
        (Whereabouts(stated="node-b.example", host="other"), "node-b.example"),
    ],
)
def test_its_node_is_found_by_name_by_its_vm_or_as_stated(known: Whereabouts, node: str) -> None:
    assert known.node_in(FLEET) == node


def test_a_vm_that_has_moved_takes_it_along() -> None:
    here = Whereabouts(host="guest", machine_uuid="4f1231bd-1f6d-543b-94fd-275ddf0bba97")
    moved = FLEET.model_copy(update={"vms": (FLEET.vms[0].model_copy(update={"node": "other"}),)})
    assert here.node_in(moved) == "other"
