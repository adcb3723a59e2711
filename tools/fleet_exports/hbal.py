"""A fleet from the text file that Ganeti's hbal and hscan read and write.

Sections are set apart by one empty line each: groups, nodes, instances, cluster tags, policies. Columns stand between `|`;
sizes are MiB. The columns are described in htools(1) of ganeti-htools 3.0, under `--text-data`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from models.errors import BadInput
from models.fleet import Fleet, Node, NodeState, Vm, VmState
from tools.fleet_exports.imported import Imported

MEBIBYTE = 1 << 20
RUNNING = frozenset({"running", "ERROR_up"})
"""Ganeti's words for an instance that runs, though nobody wanted it to in the second case"""
SHARED_TEMPLATES = frozenset({"sharedfile", "rbd", "ext", "gluster", "blockdev", "diskless"})
"""disk templates that every node reaches; plain, file and drbd lie on one or two nodes"""


def read_hbal(text: str, path: Path, at: datetime) -> Imported:
    """The fleet in the file `path`, whose content is `text`, as of `at`. Raises BadInput with the line."""
    sections: list[list[tuple[int, str]]] = [[]]
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            sections[-1].append((number, line))
        else:
            sections.append([])
    if len(sections) < 3:
        raise BadInput(
            f"{path}: {len(sections)} sections", hint="expected groups, nodes and instances, an empty line between"
        )
    ratio = _vcpu_ratio(sections)
    nodes = [_node(_columns(line, 8, path, number), ratio, path, number) for number, line in sections[1]]
    known = {node.name for node in nodes}
    vms: list[Vm] = []
    for number, line in sections[2]:
        vm = _vm(_columns(line, 9, path, number), path, number)
        if vm.node not in known:
            raise BadInput(f"{path}, line {number}: instance {vm.name} is on {vm.node}", hint="no node has that name")
        vms.append(vm)
    drbd = sum(_is_drbd(line) for _, line in sections[2])
    remarks = ["hbal knows no priorities, CPU models and dirty rates: priorities are taken as normal"]
    if drbd:
        remarks.append(
            f"{drbd} vms are on DRBD, which Ganeti moves to their secondary node only: they are taken as local disks"
        )
    if ratio is None:
        remarks.append("no policy section: one vcpu a core is taken as the limit")
    return Imported(fleet=_fleet(path, at, nodes, vms), remarks=tuple(remarks))


def _fleet(path: Path, at: datetime, nodes: list[Node], vms: list[Vm]) -> Fleet:
    for what, names in (("node", [node.name for node in nodes]), ("instance", [vm.name for vm in vms])):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise BadInput(f"{path}: {what} {twice[0]} appears twice", hint="give each once")
    return Fleet(observed_at=at, nodes=tuple(nodes), vms=tuple(vms))


def _columns(line: str, least: int, path: Path, number: int) -> list[str]:
    columns = [column.strip() for column in line.split("|")]
    if len(columns) < least:
        raise BadInput(f"{path}, line {number}: {len(columns)} columns", hint=f"expected {least} or more, `|` between")
    return columns


def _whole(text: str, what: str, path: Path, number: int) -> int:
    try:
        value = int(float(text))
    except (ValueError, OverflowError):
        value = -1
    if value < 0:
        raise BadInput(f"{path}, line {number}: {what} is {text[:40]!r}", hint="expected a number, 0 or more")
    return value


def _node(columns: Sequence[str], ratio: float | None, path: Path, number: int) -> Node:
    name, total, used, _, _, _, cores, role = columns[:8]
    memory = _whole(total, "memory", path, number)
    return Node(
        name=name or _missing("name", path, number),
        memory_bytes=memory * MEBIBYTE,
        memory_reserved_bytes=min(memory, _whole(used, "memory of the node itself", path, number)) * MEBIBYTE,
        cpus=max(1, _whole(cores, "cores", path, number)),
        cpu_overcommit=ratio or 1.0,
        state=NodeState.OFFLINE if role == "Y" else NodeState.ACTIVE,
    )


def _vm(columns: Sequence[str], path: Path, number: int) -> Vm:
    name, memory, disk, vcpus, status, _, primary, _, template = columns[:9]
    return Vm(
        uuid=name or _missing("name", path, number),
        name=name,
        node=primary,
        memory_bytes=_whole(memory, "memory", path, number) * MEBIBYTE,
        disk_bytes=_whole(disk, "disk", path, number) * MEBIBYTE,
        vcpus=max(1, _whole(vcpus, "vcpus", path, number)),
        state=VmState.RUNNING if status in RUNNING else VmState.SHUTOFF,
        shared_storage=template in SHARED_TEMPLATES,
    )


def _missing(what: str, path: Path, number: int) -> str:
    raise BadInput(f"{path}, line {number}: no {what}", hint="the first column is the name")


def _is_drbd(line: str) -> bool:
    columns = line.split("|")
    return len(columns) > 8 and columns[8].strip() == "drbd"


def _vcpu_ratio(sections: Sequence[Sequence[tuple[int, str]]]) -> float | None:
    """The cluster's own: the policy whose owner is empty, last column but one."""
    for section in sections[3:]:
        for _, line in section:
            columns = line.split("|")
            if len(columns) >= 5 and not columns[0]:
                try:
                    ratio = float(columns[-2])
                except ValueError:
                    continue
                return ratio if ratio > 0 else None
    return None
