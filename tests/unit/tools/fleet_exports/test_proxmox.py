"""Proxmox's list of resources becomes a fleet."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from models.errors import BadInput
from models.fleet import NodeState, VmState
from tools.fleet_exports.imported import Imported
from tools.fleet_exports.proxmox import read_proxmox

GIB = 1 << 30


def resources() -> list[dict[str, Any]]:
    return [
        {"id": "node/pve1", "type": "node", "node": "pve1", "status": "online", "maxcpu": 16, "maxmem": 64 * GIB, "mem": 9},
        {"id": "node/pve2", "type": "node", "node": "pve2", "status": "offline", "maxcpu": 8, "maxmem": 32 * GIB},
        {"id": "qemu/100", "type": "qemu", "vmid": 100, "name": "web", "node": "pve1", "status": "running", "maxcpu": 4,
         "maxmem": 8 * GIB, "maxdisk": 20 * GIB, "template": 0},
        {"id": "qemu/101", "type": "qemu", "vmid": 101, "node": "pve1", "status": "stopped", "maxcpu": 2, "maxmem": GIB},
        {"id": "qemu/900", "type": "qemu", "vmid": 900, "name": "tpl", "node": "pve1", "status": "stopped", "maxcpu": 2,
         "maxmem": GIB, "template": 1},
        {"id": "lxc/200", "type": "lxc", "vmid": 200, "name": "ct", "node": "pve1", "status": "running", "maxmem": 2 * GIB},
        {"id": "storage/pve1/local", "type": "storage", "node": "pve1", "storage": "local"},
    ]  # fmt: skip


def read(content: object) -> Imported:
    return read_proxmox(content, Path("pve.json"), datetime(2026, 11, 28, tzinfo=UTC))


def test_a_cluster() -> None:
    imported = read(resources())
    fleet = imported.fleet
    assert [(n.name, n.state, n.cpus) for n in fleet.nodes] == [
        ("pve1", NodeState.ACTIVE, 16),
        ("pve2", NodeState.OFFLINE, 8),
    ]
    assert fleet.nodes[0].memory_reserved_bytes == 2 * GIB, "what containers may use is not there for vms"
    assert [(vm.uuid, vm.name, vm.state) for vm in fleet.vms] == [
        ("qemu/100", "web", VmState.RUNNING),
        ("qemu/101", "vm-101", VmState.SHUTOFF),
    ]
    assert fleet.vms[0].disk_bytes == 20 * GIB
    assert not fleet.vms[0].shared_storage, "nobody said that every node reaches it"
    assert any("1 containers" in line for line in imported.remarks)
    assert any("1 templates" in line for line in imported.remarks)


def test_the_apis_own_answer_is_the_same() -> None:
    assert read({"data": resources()}).fleet == read(resources()).fleet


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"errors": {}}, "expected a list"),
        ("text", "expected a list"),
        ([], "no node in it"),
        ([{"type": "node", "node": "a", "maxcpu": 1}], "node 'a': no maxmem"),
        ([{"type": "node", "node": "", "maxcpu": 1, "maxmem": 1}], "node '': name"),
        ([{"type": "node", "node": "a", "maxcpu": "x", "maxmem": 1}], "node 'a'"),
        ([*resources()[:1], {"type": "qemu", "node": "pve1", "maxcpu": 1, "maxmem": 1}], "vm 'None'"),
        ([*resources()[:1], {"type": "qemu", "vmid": 1, "node": "gone", "maxcpu": 1, "maxmem": 1}], "on node 'gone'"),
        ([*resources()[:1], *resources()[2:3], *resources()[2:3]], "'qemu/100' appears twice"),
    ],
)
def test_what_is_wrong_is_named(content: object, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        read(content)
