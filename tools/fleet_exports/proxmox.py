"""A fleet from Proxmox VE: `pvesh get /cluster/resources --output-format json`, or what the API answers with `data` around it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from models.errors import BadInput
from models.fleet import Fleet, Node, NodeState, Vm, VmState
from tools.fleet_exports.imported import Imported


def read_proxmox(content: object, path: Path, at: datetime) -> Imported:
    """The fleet in the JSON `content` of `path`, as of `at`. Raises BadInput with the entry."""
    entries = cast("dict[str, Any]", content).get("data") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise BadInput(
            f"{path}: expected a list of resources", hint="pvesh get /cluster/resources --output-format json"
        )
    listed = [cast("dict[str, Any]", each) for each in cast("list[Any]", entries) if isinstance(each, dict)]
    # What containers use is not there for vms; lifeboat itself does not move them.
    held: dict[str, int] = {}
    containers = [each for each in listed if each.get("type") == "lxc"]
    for each in containers:
        node, memory = each.get("node"), each.get("maxmem")
        if isinstance(node, str) and isinstance(memory, int) and each.get("status") == "running":
            held[node] = held.get(node, 0) + memory
    nodes = [_node(each, held, path) for each in listed if each.get("type") == "node"]
    templates = sum(bool(each.get("template")) for each in listed if each.get("type") == "qemu")
    vms = [_vm(each, path) for each in listed if each.get("type") == "qemu" and not each.get("template")]
    if not nodes:
        raise BadInput(f"{path}: no node in it", hint="pvesh get /cluster/resources, without --type")
    try:
        fleet = Fleet(observed_at=at, nodes=tuple(nodes), vms=tuple(vms))
    except ValidationError as error:
        raise BadInput(
            f"{path}: {error.errors()[0]['msg'].removeprefix('Value error, ')}", hint="take it again"
        ) from error
    remarks = [
        "Proxmox tells no priorities, CPU models and dirty rates, nor where disks lie: taken as normal priority and local disks",
    ]
    if containers:
        remarks.append(f"{len(containers)} containers are not moved: what they may use is kept from vms")
    if templates:
        remarks.append(f"{templates} templates are left aside")
    return Imported(fleet=fleet, remarks=tuple(remarks))


def _node(entry: dict[str, Any], held: dict[str, int], path: Path) -> Node:
    name = entry.get("node")
    try:
        memory = int(entry["maxmem"])
        return Node(
            name=cast("str", name),
            memory_bytes=memory,
            memory_reserved_bytes=min(memory, held.get(str(name), 0)),
            cpus=int(entry["maxcpu"]),
            state=NodeState.ACTIVE if entry.get("status") == "online" else NodeState.OFFLINE,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{path}: node {str(name)[:60]!r}: {_what(error)}", hint="expected node, maxmem and maxcpu"
        ) from error


def _vm(entry: dict[str, Any], path: Path) -> Vm:
    vmid = entry.get("vmid")
    try:
        return Vm(
            uuid=f"qemu/{int(cast('int', vmid))}",
            name=str(entry.get("name") or f"vm-{vmid}"),
            node=str(entry["node"]),
            memory_bytes=int(entry["maxmem"]),
            vcpus=max(1, int(entry["maxcpu"])),
            disk_bytes=int(entry.get("maxdisk") or 0),
            state=VmState.RUNNING if entry.get("status") == "running" else VmState.SHUTOFF,
            shared_storage=False,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{path}: vm {str(vmid)[:60]!r}: {_what(error)}", hint="expected vmid, node, maxmem and maxcpu"
        ) from error


def _what(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"no {error.args[0]}" if isinstance(error, KeyError) else str(error)
