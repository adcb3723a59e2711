"""What `openstack … -f json` prints becomes a fleet, however old the client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scenes.command_line import lifeboat

from models.errors import BadInput
from models.fleet import NodeState, Vm, VmState
from tools.fleet_exports.imported import Imported
from tools.fleet_exports.openstack import read_openstack

GIB = 1 << 30
IDS = {name: f"00000000-0000-4000-8000-00000000000{k}" for k, name in enumerate(("web", "db", "gpu", "old", "gone"))}


def hypervisor(name: str, *, state: str = "up", used: int = 14848) -> dict[str, Any]:
    return {
        "ID": name, "Hypervisor Hostname": name, "Hypervisor Type": "QEMU", "Host IP": "192.0.2.7", "State": state,
        "vCPUs Used": 6, "vCPUs": 32, "Memory MB Used": used, "Memory MB": 131072,
    }  # fmt: skip


def server(name: str, host: str | None, **more: Any) -> dict[str, Any]:
    return {
        "ID": IDS[name], "Name": name, "Status": "ACTIVE", "Task State": None, "Power State": 1,
        "Networks": {"private": ["10.0.0.11"]}, "Image Name": "debian-13", "Image ID": "i1", "Flavor": "m1.large",
        "Availability Zone": "az1", "Host": host, "Properties": {}, **more,
    }  # fmt: skip


FLAVORS = [
    {"ID": "f1", "Name": "m1.large", "RAM": 8192, "Disk": 80, "Ephemeral": 0, "VCPUs": 4, "Is Public": True, "Swap": 0,
     "RXTX Factor": 1.0, "Properties": {}},
    {"ID": "f2", "Name": "g1.gpu", "RAM": 4096, "Disk": 20, "Ephemeral": 10, "VCPUs": 2, "Is Public": False, "Swap": 0,
     "RXTX Factor": 1.0, "Properties": {"pci_passthrough:alias": "gpu:1", "hw:mem_page_size": "1GB"}},
]  # fmt: skip
EXPORT: dict[str, Any] = {
    "hypervisors": [
        hypervisor("c1.example.net"),
        hypervisor("c2.example.net", used=512),
        hypervisor("c3.example.net", state="down", used=512),
    ],
    "servers": [
        server("web", "c1.example.net"),
        server("db", "c1", **{"Image Name": "N/A (booted from volume)", "Image ID": None}),
        server("gpu", "c2.example.net", Flavor="g1.gpu", Status="SHUTOFF", **{"Power State": 4}),
        server("old", "c3.example.net", Status="RESIZE", **{"Task State": "resize_migrating"}),
        server("gone", None, Status="SHELVED_OFFLOADED"),
    ],
    "flavors": FLAVORS,
    "services": [
        {"ID": 1, "Binary": "nova-scheduler", "Host": "ctl", "Zone": "internal", "Status": "enabled", "State": "up"},
        {"ID": 2, "Binary": "nova-compute", "Host": "c1", "Zone": "rack-1", "Status": "enabled", "State": "up"},
        {"ID": 3, "Binary": "nova-compute", "Host": "c2.example.net", "Zone": "rack-2", "Status": "disabled", "State": "up"},
    ],
    "volumes": [
        {"ID": "v1", "Name": "root", "Status": "in-use", "Size": 100, "Type": "ceph", "Bootable": "true",
         "Attached to": [{"server_id": IDS["db"], "device": "/dev/vda"}], "Properties": {}},
        {"ID": "v2", "Name": "free", "Status": "available", "Size": 10, "Attached to": []},
    ],
    "groups": [{"ID": "g", "Name": "web-tier", "Policy": "anti-affinity", "Members": [IDS["web"], IDS["db"]]}],
    "show": {
        "hypervisor_hostname": "c1.example.net", "state": "up", "status": "enabled", "memory_mb": 131072,
        "memory_mb_used": 14848, "vcpus": 32, "cpu_info": json.dumps({"model": "Cascadelake-Server-noTSX", "vendor": "Intel"}),
    },
}  # fmt: skip


def export(folder: Path, **changed: Any) -> Imported:
    for name, content in (EXPORT | changed).items():
        if content is not None:
            (folder / f"{name}.json").write_text(json.dumps(content))
    return read_openstack(folder)


def vm(imported: Imported, name: str) -> Vm:
    return imported.fleet.vm_by_uuid[IDS[name]]


def test_a_cloud(tmp_path: Path) -> None:
    imported = export(tmp_path)
    nodes = {node.name: node for node in imported.fleet.nodes}
    c1 = nodes["c1.example.net"]
    assert (c1.memory_bytes, c1.cpus, c1.failure_domain) == (128 * GIB, 32, "rack-1")
    assert c1.cpu_model == "Cascadelake-Server-noTSX"
    assert c1.memory_reserved_bytes == 0, "two servers of 8 GiB are more than the 14,848 MB that Nova counted"
    assert nodes["c2.example.net"].state is NodeState.DRAINING
    assert nodes["c3.example.net"].state is NodeState.OFFLINE
    web, db, gpu, old = (vm(imported, name) for name in ("web", "db", "gpu", "old"))
    assert (web.node, web.memory_bytes, web.vcpus, web.disk_bytes) == ("c1.example.net", 8 * GIB, 4, 80 * GIB)
    assert not web.shared_storage
    assert (db.node, db.disk_bytes, db.shared_storage) == ("c1.example.net", 100 * GIB, True)
    assert db.anti_affinity_group == "web-tier"
    assert db.archive_obstacle == "its volumes are on network storage"
    assert (gpu.state, gpu.migratable, gpu.hugepage_bytes, gpu.disk_bytes) == (VmState.SHUTOFF, False, GIB, 30 * GIB)
    assert old.live_obstacle == old.cold_obstacle == "OpenStack has it as RESIZE"
    assert len(imported.fleet.vms) == 4
    assert any("1 servers are on no node" in line for line in imported.remarks)


def test_what_the_node_keeps_for_itself_is_what_nova_counts_besides_the_servers(tmp_path: Path) -> None:
    servers = [server("web", "c1.example.net"), server("db", "c1")]
    imported = export(
        tmp_path, hypervisors=[hypervisor("c1.example.net", used=16384 + 2048)], show=None, servers=servers
    )
    assert imported.fleet.nodes[0].memory_reserved_bytes == 2 * GIB


def test_older_clients_and_server_show(tmp_path: Path) -> None:
    """Networks, properties and members as text, the flavor inside the server, power states in words."""
    shown = {
        "id": IDS["gpu"], "name": "gpu", "status": "PAUSED", "OS-EXT-STS:vm_state": "paused",
        "OS-EXT-STS:power_state": "Paused", "OS-EXT-STS:task_state": "None", "image": "",
        "OS-EXT-SRV-ATTR:hypervisor_hostname": "c2.example.net",
        "flavor": {"ram": 2048, "vcpus": 2, "disk": 0, "ephemeral": 0, "original_name": "tiny", "extra_specs": {}},
        "volumes_attached": [{"id": "v9"}],
    }  # fmt: skip
    old = server("web", "c1.example.net", Networks="private=10.0.0.11", **{"Flavor Name": "m1.large"})
    del old["Flavor"]
    flavors = [{**FLAVORS[0], "Properties": "hw:mem_page_size='2048', resources:VGPU='1'"}]
    groups = [
        {"ID": "g", "Name": "tier", "Policies": "anti-affinity", "Members": f"{IDS['web']}, {IDS['db']}"},
        {"ID": "h", "Name": "wish", "Policies": "soft-anti-affinity", "Members": IDS["gpu"]},
    ]
    imported = export(tmp_path, servers=[old], server=shown, flavors=flavors, groups=groups, show=None)
    web, gpu = vm(imported, "web"), vm(imported, "gpu")
    assert (web.migratable, web.hugepage_bytes, web.anti_affinity_group) == (False, 2 << 20, "tier")
    assert gpu.anti_affinity_group is None
    assert (gpu.state, gpu.memory_bytes, gpu.shared_storage, gpu.live_obstacle) == (VmState.PAUSED, 2 * GIB, True, None)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hypervisors": None, "show": None}, "no hypervisor in any of"),
        ({"servers": None}, "no server in any of"),
        ({"flavors": None}, "nothing tells what flavor 'm1.large' has"),
        ({"flavors": [{"Name": "m1.large", "RAM": "lots", "VCPUs": 1}]}, "tells no RAM or no VCPUs"),
        ({"hypervisors": [{"Hypervisor Hostname": "c9", "State": "up"}]}, "'c9' tells no memory and processors"),
        ({"servers": [server("web", "elsewhere")]}, "server 'web' is on 'elsewhere', which is no hypervisor"),
    ],
    ids=["no hypervisors", "no servers", "no flavors", "absurd flavor", "microversion 2.88", "unknown host"],
)
def test_what_is_missing_is_one_line(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        export(tmp_path, **changed)


def test_a_plan_from_it_without_any_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    up = [hypervisor("c1.example.net"), hypervisor("c2.example.net", used=512)]
    (tmp_path / "cloud").mkdir()
    export(tmp_path / "cloud", hypervisors=up, servers=EXPORT["servers"][:2], services=None)
    (tmp_path / "cloud/notes.json").write_text(json.dumps({"hello": "there"}))
    assert lifeboat("fleet", "--from-openstack", "cloud", "-o", "fleet.json")[0] == 0
    risks = [
        {"node": f"c{k}.example.net", "probability": {"2h": p}, "data_age_seconds": 1} for k, p in ((1, 0.9), (2, 0.0))
    ]
    (tmp_path / "risks.json").write_text(json.dumps(risks))
    code, said = lifeboat("plan", "--fleet", "fleet.json", "--risks", "risks.json", "--json")
    assert code == 0
    where = {action["vm_name"]: action["target"] for action in json.loads(said)["actions"]}
    assert "c2.example.net" in where.values()
    assert lifeboat("fleet", "--from-openstack", "nowhere")[0] == 2
