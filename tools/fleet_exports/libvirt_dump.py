"""A fleet from libvirt's own output: a folder a node, `virsh dumpxml` of every vm in it, and `virsh capabilities`.

    DIR/node-1/capabilities.xml   virsh capabilities
    DIR/node-1/web.xml            virsh dumpxml web

Definitions do not tell how large local disks are, nor whether a vm that runs is paused: `remarks` says for how many.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from models.errors import BadInput
from models.fleet import Fleet, Node, Vm, VmState
from models.plan import ActionKind
from tools.domain.inventory.handlers import take_inventory
from tools.domain.labels import read_labels, read_note
from tools.domain.xml import Domain, parse_domain
from tools.fleet_exports.imported import Imported
from tools.ports.shared_storage import SharedStorage

CAPABILITIES = "capabilities.xml"
MOST_BYTES = 2 << 20
"""of one file; hundreds of disks and the network cards to go with them take less"""
_UNITS = {"b": 1, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def read_dump(directory: Path, storage: SharedStorage) -> Imported:
    """The fleet in a folder. Raises BadInput naming the file, and what to put there."""
    if not directory.is_dir():
        raise BadInput(f"{directory} is not a folder", hint="give a folder with one folder a node")
    folders = sorted(path for path in directory.iterdir() if path.is_dir())
    if not folders:
        raise BadInput(f"{directory} has no folder in it", hint=f"one a node: NODE/{CAPABILITIES} and NODE/*.xml")
    nodes: list[Node] = []
    vms: list[Vm] = []
    newest, unsized = 0.0, 0
    for folder in folders:
        capabilities = folder / CAPABILITIES
        if not capabilities.is_file():
            raise BadInput(f"{capabilities} is missing", hint=f"on {folder.name}: virsh capabilities > {CAPABILITIES}")
        nodes.append(_node(folder.name, _read(capabilities), capabilities))
        newest = max(newest, capabilities.stat().st_mtime)
        for path in sorted(folder.glob("*.xml")):
            if path.name == CAPABILITIES:
                continue
            newest = max(newest, path.stat().st_mtime)
            try:
                vm, known = _vm(folder.name, _read(path), storage)
            except BadInput as error:
                raise BadInput(f"{path}: {error.message}", hint=error.hint) from error
            vms.append(vm)
            unsized += not known
    remarks: list[str] = []
    if unsized:
        remarks.append(
            f"how large the local disks of {unsized} vms are is in no definition: their copies are taken as instant; "
            "put disk_bytes into the file"
        )
    if any(vm.state is VmState.RUNNING for vm in vms):
        remarks.append(
            "a paused vm looks like a running one in its definition: those that have an id are taken as running"
        )
    fleet = _fleet(directory, datetime.fromtimestamp(newest, UTC), nodes, vms)
    return Imported(fleet=fleet, remarks=tuple(remarks))


def _fleet(directory: Path, at: datetime, nodes: list[Node], vms: list[Vm]) -> Fleet:
    seen: dict[str, str] = {}
    for vm in vms:
        if vm.uuid in seen:
            raise BadInput(
                f"{directory}: vm {vm.name} is on {seen[vm.uuid]} and on {vm.node}",
                hint="a dump taken while it moved: take it again",
            )
        seen[vm.uuid] = vm.node
    return Fleet(observed_at=at, nodes=tuple(nodes), vms=tuple(vms))


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadInput(f"{path}: longer than {MOST_BYTES} bytes", hint="expected what virsh prints")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} can't be read: {error}", hint="give what virsh prints, in UTF-8") from error


def _node(name: str, text: str, path: Path) -> Node:
    try:
        host = ET.fromstring(text).find("host")  # noqa: S314 — expat refuses entities that grow
        cells = [] if host is None else host.findall("./topology/cells/cell")
        memory = sum(int(cell.findtext("memory", "0")) * _UNITS[_memory_unit(cell)] for cell in cells)
        cpus = sum(int(each.get("num", "0")) for cell in cells for each in cell.findall("cpus"))
    except (ET.ParseError, ValueError, KeyError) as error:
        raise BadInput(f"{path} is not what `virsh capabilities` prints: {error}", hint="take it again") from error
    if host is None or not memory or not cpus:
        raise BadInput(f"{path} tells no memory and processors of the host", hint="expected <host><topology><cells>")
    return Node(name=name, memory_bytes=memory, cpus=cpus, cpu_model=host.findtext("./cpu/model", ""))


def _memory_unit(cell: ET.Element) -> str:
    memory = cell.find("memory")
    return "KiB" if memory is None else memory.get("unit", "KiB")


def _vm(node: str, text: str, storage: SharedStorage) -> tuple[Vm, bool]:
    """The vm, and whether all it would have to copy is known."""
    domain, labels, inventory = parse_domain(text), read_labels(text), take_inventory(text, storage)
    shared = all(_reached(domain, number, storage) for number in range(len(domain.writable_disks)))
    running = ET.fromstring(text).get("id") is not None  # noqa: S314 — it was parsed before
    vm = Vm(
        uuid=domain.uuid or f"{node}/{domain.name}",
        name=domain.name,
        node=node,
        memory_bytes=domain.memory_bytes,
        vcpus=domain.vcpus,
        state=VmState.RUNNING if running else VmState.SHUTOFF,
        priority=labels.priority,
        workload=labels.workload,
        shared_storage=shared,
        anti_affinity_group=labels.anti_affinity_group,
        migratable=not domain.bound,
        hugepage_bytes=domain.hugepage_bytes,
        cold_archive_allowed=labels.cold_archive_allowed,
        probe=labels.probe,
        note=read_note(text),
        label_warning=labels.warning,
        live_obstacle=inventory.obstacle(ActionKind.LIVE_MIGRATE),
        cold_obstacle=inventory.obstacle(ActionKind.COLD_MIGRATE),
        archive_obstacle=inventory.obstacle(ActionKind.COLD_ARCHIVE),
    )
    return vm, shared


def _reached(domain: Domain, number: int, storage: SharedStorage) -> bool:
    disk = domain.writable_disks[number]
    return (disk.over_network and not disk.on_this_host) or storage.holds(disk.path, pool=disk.pool)
