"""The lab's status as tables on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.lifecycle.status import LabStatus

_GOOD = {"up", "running", "yes"}


def render(status: LabStatus, console: Console | None = None) -> None:
    """Print nodes, vms and services."""
    console = console or Console()
    nodes = Table("node", "address", "state", "memory", title=f"lab {status.name}", title_justify="left")
    for node in status.nodes:
        nodes.add_row(node.name, node.address, _state(node.state), _mib(node.memory_bytes))
    vms = Table("vm", "node", "state", "answers", "counter", "boot id", "probe")
    for vm in status.vms:
        vms.add_row(
            vm.name,
            vm.node or "–",
            _state(vm.state),
            _state("yes" if vm.answers else "no"),
            str(vm.counter) if vm.counter is not None else "–",
            vm.boot_id or "–",
            vm.probe or "–",
        )
    services = Table("service", "where", "pid", "state")
    for service in status.services:
        services.add_row(
            service.name, service.where, str(service.pid), _state("running" if service.running else "ended")
        )
    for table in (nodes, vms, services):
        console.print(table)
    for fault in status.faults:
        console.print(Text(f"{fault.node}: {fault.kind} is broken, phase {fault.phase}", style="yellow"))
    console.print(f"memory in all: {_mib(status.memory_bytes)} · configuration: {status.config}", soft_wrap=True)


def _state(word: str) -> Text:
    return Text(word, style="green" if word in _GOOD else "bold red")


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"
