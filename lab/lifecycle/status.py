"""The lab as it is now, asked of the nodes and guests themselves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab.hardware import faults
from lab.hardware.faults import FaultStatus
from lab.nodes import guests, network, power, probe, processes
from lab.nodes.node import DEFAULT_NAME, HOLDER, Lab
from lab.nodes.processes import ProcessRef
from models.errors import LabError


@dataclass(frozen=True, kw_only=True)
class NodeStatus:
    """`state`: `up`, `no libvirt` (it runs, its libvirtd does not answer), `no link`, or `dead` (killed)."""

    name: str
    address: str
    state: str
    memory_bytes: int
    """proportional set size of all it runs"""


@dataclass(frozen=True, kw_only=True)
class VmStatus:
    """One domain on one node; a name on two nodes gives two. `node` is None where no node that answers has it."""

    name: str
    node: str | None
    state: str
    probe: str
    answers: bool
    boot_id: str | None
    counter: int | None


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """One daemon that `lab up` or `lab break` started."""

    name: str
    where: str
    """the node, or `lab` for what runs beside the nodes"""
    pid: int
    running: bool


@dataclass(frozen=True, kw_only=True)
class LabStatus:
    name: str
    config: str
    nodes: tuple[NodeStatus, ...]
    vms: tuple[VmStatus, ...]
    services: tuple[ServiceStatus, ...]
    faults: tuple[FaultStatus, ...]
    memory_bytes: int
    """proportional set size of everything the lab runs"""


def status(name: str = DEFAULT_NAME) -> LabStatus:
    """Check every node, guest and daemon. Raises LabError when the lab is not up."""
    lab = Lab.load(name)
    with ThreadPoolExecutor() as pool:
        by_node = {name: pool.submit(_domains, lab, name) for name in lab.nodes}
        seen_by = {name: domains.result() for name, domains in by_node.items()}
    answers = probe.ask_all([guests.probe_target(lab, guest) for guest in guests.GUESTS], seconds=1.0)
    memory = {
        node.name: _memory([*node.processes(), *([node.holder] if node.holder else [])]) for node in lab.nodes.values()
    }
    beside = lab.journal.processes("")
    return LabStatus(
        name=name,
        config=str(lab.config_path),
        nodes=tuple(
            NodeStatus(
                name=node.name,
                address=node.address,
                state=_state(lab, node.name, seen_by[node.name]),
                memory_bytes=memory[node.name],
            )
            for node in lab.nodes.values()
        ),
        vms=tuple(_vms(lab, seen_by, answers)),
        services=tuple(_services(lab)),
        faults=tuple(faults.status(lab)) if (lab.root / "hardware.json").exists() else (),
        memory_bytes=sum(memory.values()) + _memory(beside),
    )


def problems(now: LabStatus) -> list[str]:
    """What is not as `lab up` left it, one line each. VMs may have moved: that is no problem."""
    lines = [f"{node.name}: {node.state}" for node in now.nodes if node.state != "up"]
    lines += [f"{vm.name} does not answer ({vm.state})" for vm in now.vms if vm.probe and not vm.answers]
    lines += [f"{service.name} of {service.where} has ended" for service in now.services if not service.running]
    return lines


def _domains(lab: Lab, node: str) -> dict[str, str] | None:
    """None when its libvirtd does not answer."""
    if not lab.node(node).alive():
        return None
    try:
        return guests.where(lab, node)
    except LabError:
        return None


def _state(lab: Lab, node: str, domains: dict[str, str] | None) -> str:
    if power.was_killed(lab, node) or not lab.node(node).alive():
        return "dead"
    if not network.link_is_up(lab, node):
        return "no link"
    return "no libvirt" if domains is None else "up"


def _vms(
    lab: Lab, seen_by: dict[str, dict[str, str] | None], answers: dict[str, probe.Answer | None]
) -> list[VmStatus]:
    rows: list[VmStatus] = []
    known = {guest.name: guest for guest in guests.GUESTS}
    others = {name for domains in seen_by.values() for name in domains or {}} - set(known)
    for name in [*known, *sorted(others)]:
        target = guests.probe_target(lab, known[name]) if name in known else ""
        answer = answers.get(target)
        places = [(node, domains[name]) for node, domains in seen_by.items() if domains and name in domains]
        rows += [
            VmStatus(
                name=name,
                node=node,
                state=state,
                probe=target,
                answers=answer is not None,
                boot_id=answer.boot_id if answer else None,
                counter=answer.counter if answer else None,
            )
            for node, state in (places or [(None, "not found")])
        ]
    return rows


def _services(lab: Lab) -> list[ServiceStatus]:
    return [
        ServiceStatus(
            name=_program(entry["argv"]),
            where=entry["node"] or "lab",
            pid=entry["pid"],
            running=ProcessRef(entry["pid"], entry["start"]).alive(),
        )
        for entry in lab.journal.read("process")
        if HOLDER not in entry["argv"]
    ]


def _program(argv: list[str]) -> str:
    """What runs, without the nsenter before it; for `python -m MODULE` the module."""
    argv = argv[argv.index("--") + 1 :] if "--" in argv else argv
    return argv[argv.index("-m") + 1] if "-m" in argv else Path(argv[0]).name


def _memory(refs: list[ProcessRef]) -> int:
    """Proportional set size, summed: memory shared between processes counts once in all."""
    return sum(processes.proportional_bytes(ref) for ref in refs)
