"""A fleet from OpenStack: a folder of what `openstack … -f json` printed, told apart by what is in each file.

Wanted, as an administrator: `hypervisor list --long`, `server list --all-projects --long`, `flavor list --all --long`.
Better with `compute service list`, `volume list --all-projects`, `server group list --long`, and `hypervisor show` or
`server show` of any of them. From microversion 2.88 on, Nova keeps processors and memory out of `hypervisor list`. Column and
field names are those of python-openstackclient; older ones (`Flavor Name`, `Policies`) are read as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from models.errors import BadInput
from models.fleet import Fleet, Node, NodeState, Vm, VmState
from tools.fleet_exports.imported import Imported
from tools.fleet_exports.openstack_rows import (
    Flavor,
    as_rows,
    cpu_model,
    flavor_of_row,
    flavor_of_server,
    host_of,
    number,
    state_of,
    text,
)
from tools.input_file import read_json

MIB, GIB = 1 << 20, 1 << 30
WANTED = "openstack hypervisor list --long, server list --all-projects --long and flavor list --all --long, each with -f json"


@dataclass
class _Export:
    """Every file's rows, by what they are."""

    hypervisors: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """by hostname; what `show` tells over what `list` tells"""
    servers: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """by id"""
    flavors: dict[str, Flavor] = field(default_factory=dict[str, Flavor])
    """by name and by id"""
    services: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """nova-compute's, by host"""
    volumes: dict[str, int] = field(default_factory=dict[str, int])
    """server → bytes of the volumes attached to it"""
    groups: dict[str, str] = field(default_factory=dict[str, str])
    """server → its anti-affinity group"""
    others: list[str] = field(default_factory=list[str])
    """files that are none of these"""


def read_openstack(folder: Path) -> Imported:
    """The fleet in a folder's JSON files, as of the newest of them. Raises BadInput with the file, or what is missing."""
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".json" and path.is_file())
        at = max((datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in files), default=None)
    except OSError as error:
        raise BadInput(
            f"{folder} can't be read: {error.strerror}", hint=f"a folder with the JSON of {WANTED}"
        ) from error
    if at is None:
        raise BadInput(f"{folder} holds no .json file", hint=WANTED)
    export = _Export()
    for path in files:
        _take(read_json(path, what="export"), path, export)
    for what, found in (("hypervisor", export.hypervisors), ("server", export.servers)):
        if not found:
            raise BadInput(f"{folder}: no {what} in any of {len(files)} files", hint=WANTED)
    held = _held(export, folder)
    nodes = tuple(_node(name, row, export, held[name], folder) for name, row in sorted(export.hypervisors.items()))
    vms, homeless = _vms(export, folder)
    try:
        fleet = Fleet(observed_at=at, nodes=nodes, vms=tuple(vms))
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise BadInput(f"{folder}: {said}", hint="take all files at one time") from error
    return Imported(fleet=fleet, remarks=tuple(_remarks(export, homeless)))


def _take(content: object, path: Path, export: _Export) -> None:
    rows = as_rows(content)
    if not rows:
        return
    first = rows[0]
    if "Hypervisor Hostname" in first or ("hypervisor_hostname" in first and "flavor" not in first):
        for row in rows:
            name = text(row.get("Hypervisor Hostname") or row.get("hypervisor_hostname"))
            if not name:
                raise BadInput(f"{path}: a hypervisor without a hostname", hint=WANTED)
            export.hypervisors[name] = export.hypervisors.get(name, {}) | row
    elif "OS-EXT-STS:vm_state" in first or (
        {"ID", "Name", "Status"} <= first.keys()
        and ("Networks" in first or "Task State" in first or "Flavor" in first or "Flavor Name" in first)
    ):
        for row in rows:
            id_ = text(row.get("ID") or row.get("id"))
            if not id_:
                raise BadInput(f"{path}: a server without an id", hint=WANTED)
            export.servers[id_] = export.servers.get(id_, {}) | row
    elif "RAM" in first and "VCPUs" in first:
        for row in rows:
            flavor = flavor_of_row(row, path)
            export.flavors |= {text(row.get(key)): flavor for key in ("Name", "ID") if text(row.get(key))}
    elif "Binary" in first:
        export.services |= {
            text(row.get("Host")): row for row in rows if row.get("Binary") == "nova-compute" and row.get("Host")
        }
    elif "Attached to" in first or "Attached To" in first:
        for row in rows:
            for one in as_rows(row.get("Attached to") or row.get("Attached To")):
                server = text(one.get("server_id"))
                if server:
                    export.volumes[server] = export.volumes.get(server, 0) + int(number(row.get("Size")) or 0) * GIB
    elif "Members" in first and ("Policy" in first or "Policies" in first):
        for row in rows:
            # a soft one is a wish: held as a must, it would keep a guest on a dying node
            if text(row.get("Policy") or row.get("Policies")) == "anti-affinity":
                members = row["Members"]
                listed = members.split(", ") if isinstance(members, str) else cast("list[Any]", members or [])
                export.groups |= {text(each): text(row.get("Name") or row.get("ID")) for each in listed}
    else:
        export.others.append(path.name)


def _flavor(id_: str, row: Mapping[str, Any], export: _Export, folder: Path) -> Flavor:
    told = flavor_of_server(row, export.flavors)
    if told is None:
        shown = text(row.get("Flavor") or row.get("Flavor Name") or row.get("flavor"))
        raise BadInput(
            f"{folder}: server {text(row.get('Name') or row.get('name')) or id_}: nothing tells what flavor {shown[:60]!r} has",
            hint="add openstack flavor list --all --long -f json",
        )
    return told


def _held(export: _Export, folder: Path) -> dict[str, int]:
    """Bytes that the servers of each node may use, by their flavors."""
    held: dict[str, int] = defaultdict(int)
    for id_, row in export.servers.items():
        host = host_of(row, export.hypervisors)
        if host is not None:
            held[host] += _flavor(id_, row, export, folder).memory
    return held


def _node(name: str, row: Mapping[str, Any], export: _Export, held: int, folder: Path) -> Node:
    memory, cpus = number(row.get("Memory MB", row.get("memory_mb"))), number(row.get("vCPUs", row.get("vcpus")))
    if not memory or not cpus:
        raise BadInput(
            f"{folder}: hypervisor {name[:60]!r} tells no memory and processors",
            hint="openstack --os-compute-api-version 2.87 hypervisor list --long -f json still does",
        )
    used = number(row.get("Memory MB Used", row.get("memory_mb_used")))
    total = int(memory) * MIB
    reserved = max(0, int(used) * MIB - held) if used is not None else 0
    service = export.services.get(name) or export.services.get(name.split(".")[0]) or {}
    state = text(row.get("State") or row.get("state") or service.get("State")).lower()
    status = text(service.get("Status") or row.get("status") or row.get("Status")).lower()
    try:
        return Node(
            name=name,
            memory_bytes=total,
            memory_reserved_bytes=min(total, reserved),
            cpus=int(cpus),
            cpu_model=cpu_model(row.get("cpu_info")),
            failure_domain=text(service.get("Zone")),
            state=NodeState.OFFLINE
            if state != "up"
            else NodeState.DRAINING
            if status == "disabled"
            else NodeState.ACTIVE,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(
            f"{folder}: hypervisor {name[:60]!r}: {'.'.join(map(str, first['loc']))}: {first['msg']}", hint=WANTED
        ) from error


def _vms(export: _Export, folder: Path) -> tuple[list[Vm], list[str]]:
    """The servers that are on a node, and the names of those that are on none."""
    vms: list[Vm] = []
    homeless: list[str] = []
    for id_, row in sorted(export.servers.items()):
        name = text(row.get("Name") or row.get("name")) or id_
        host = host_of(row, export.hypervisors)
        if host is None:
            asked = text(row.get("Host") or row.get("OS-EXT-SRV-ATTR:host"))
            if asked:
                raise BadInput(
                    f"{folder}: server {name[:60]!r} is on {asked[:60]!r}, which is no hypervisor of the export"
                )
            homeless.append(name)
            continue
        flavor = _flavor(id_, row, export, folder)
        from_volume = "booted from volume" in text(row.get("Image Name") or row.get("image")) or row.get("image") == ""
        local = 0 if from_volume else flavor.disk
        state, doubt = state_of(row)
        volumes = export.volumes.get(id_, 0)
        try:
            vms.append(
                Vm(
                    uuid=id_,
                    name=name,
                    node=host,
                    memory_bytes=flavor.memory,
                    vcpus=flavor.vcpus,
                    state=state,
                    disk_bytes=local or volumes,
                    shared_storage=not local,
                    migratable=not flavor.passthrough,
                    hugepage_bytes=flavor.hugepage,
                    anti_affinity_group=export.groups.get(id_),
                    live_obstacle=doubt,
                    cold_obstacle=doubt,
                    archive_obstacle=doubt
                    or ("its volumes are on network storage" if volumes or from_volume else None),
                )
            )
        except ValidationError as error:
            first = error.errors()[0]
            raise BadInput(
                f"{folder}: server {name[:60]!r}: {'.'.join(map(str, first['loc']))}: {first['msg']}", hint=WANTED
            ) from error
    return vms, homeless


def _remarks(export: _Export, homeless: list[str]) -> list[str]:
    remarks = [
        "OpenStack tells no priorities and dirty rates: taken as normal priority",
        "a server's own disk is taken as local to its node, volumes as reachable from every node",
    ]
    if all("cpu_info" not in row for row in export.hypervisors.values()):
        remarks.append("no CPU models: add openstack hypervisor show -f json of each")
    if not export.services:
        remarks.append("no failure domains and disabled nodes: add openstack compute service list -f json")
    if not export.volumes:
        remarks.append("no volumes: add openstack volume list --all-projects -f json")
    if homeless:
        remarks.append(f"{len(homeless)} servers are on no node and left aside, such as {homeless[0][:60]}")
    doubts = sum(state_of(row)[1] is not None for row in export.servers.values())
    if doubts:
        remarks.append(f"{doubts} servers are in a state in which they are not moved")
    if export.others:
        remarks.append(f"not understood and left aside: {', '.join(export.others[:5])}")
    stopped = sum(state_of(row)[0] is VmState.SHUTOFF for row in export.servers.values())
    if stopped:
        remarks.append(f"{stopped} servers are shut off; their room counts as taken unless policy says otherwise")
    return remarks
