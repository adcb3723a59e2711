"""Conditions on the node that is to run a vm: room, machine type, QEMU, CPU, clock, port, identity. As `prechecks` says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from models.errors import (
    ClockOff,
    CpuIncompatible,
    IdentityUnproven,
    MachineUnknown,
    MemoryShort,
    NameTaken,
    NodeUnreachable,
    PortClosed,
    VersionTooOld,
)
from models.fleet import Vm
from tools.domain.numa import shortage
from tools.domain.xml import Domain
from tools.ports.compatibility import version
from tools.ports.hypervisor import Hypervisor
from tools.ports.vms import VmObservation


def require_unknown_at(target: Hypervisor, before: VmObservation) -> None:
    """Neither its uuid nor its name is known on the target, not even shut off."""
    there = target.observe(before.uuid)
    if there is not None:
        raise NameTaken(
            f"vm {before.name} is known on node {target.name} already ({there.state})",
            hint="find out which copy is the right one and undefine the other; nothing was changed",
        )
    other = target.uuid_of(before.name)
    if other is not None:
        raise NameTaken(
            f"another vm on node {target.name} is named {before.name} ({other})",
            hint="rename one of them, or choose another target",
        )


def require_memory(target: Hypervisor, domain: Domain, vm: Vm) -> None:
    """The target has the memory free now: of the domain's definition, or of the snapshot if that was larger; hugepages,
    and memory tied to NUMA cells, in the cells where they have to lie."""
    needed = sum(demand.bytes for demand in domain.demands if not demand.page_bytes)
    if not domain.hugepage_bytes:
        needed = max(needed, domain.memory_bytes, vm.memory_bytes)
    free = target.free_memory_bytes() if needed else 0
    if free < needed:
        raise MemoryShort(
            f"vm {domain.name} needs {needed} bytes of memory, node {target.name} has {free} free",
            hint="choose another target or make room; nothing was changed",
        )
    tied = [demand for demand in domain.demands if demand.page_bytes or demand.cells is not None]
    lacking = shortage(tied, target.cells()) if tied else None
    if lacking is not None:
        kind = f"hugepages of {lacking.page_bytes} bytes" if lacking.page_bytes else "memory"
        where = ""
        if lacking.cells is not None:
            which = ", ".join(map(str, lacking.cells)) or "none that exists there"
            where = f" in NUMA cell{'s' if len(lacking.cells) > 1 else ''} {which}"
        raise MemoryShort(
            f"vm {domain.name} needs {lacking.needed_bytes} bytes of {kind}{where}, node {target.name} has "
            f"{lacking.free_bytes} free there",
            hint="choose another target, make room, or change the vm's <numatune> or <hugepages>; nothing was changed",
        )


def require_machine(target: Hypervisor, xml: str, before: VmObservation) -> None:
    missing = target.machine_compatible(xml)
    if missing is not None:
        raise MachineUnknown(
            f"vm {before.name} can't run on node {target.name}, which has no {missing}",
            hint="bring QEMU there to the source's version, or choose another target",
        )


def require_versions(
    source: Hypervisor, target: Hypervisor, before: VmObservation, *, older_allowed: bool = False
) -> None:
    """The target's QEMU is as new as the source's, by its first two numbers: device state of a newer one may not be
    readable for an older one, even with a machine type that both have."""
    here, there = source.versions().qemu, target.versions().qemu
    if not older_allowed and there // 1000 < here // 1000:
        raise VersionTooOld(
            f"vm {before.name} runs on QEMU {version(here)}, node {target.name} has the older {version(there)}",
            hint="bring QEMU there up to date, choose another target, or allow it with migration.allow_older_target",
        )


def require_cpu(
    source: Hypervisor, target: Hypervisor, xml: str, before: VmObservation, fleet: Iterable[Hypervisor] = ()
) -> None:
    """The target's CPU has every feature of the vm's; else says which are missing, and what would fit all of `fleet`."""
    missing = target.cpu_compatible(xml, source.host_cpu())
    if missing is None:
        return
    hint = "choose a target with the same CPU, or give the vm a CPU model that all nodes have"
    cpus = _host_cpus(fleet)
    model = target.common_cpu_model(xml, list(cpus.values())) if cpus else None
    if model is not None:
        hint = f"choose a target with the same CPU, or give the vm the CPU model {model}, which {', '.join(cpus)} have"
    raise CpuIncompatible(f"vm {before.name} can't run on node {target.name}, whose CPU lacks: {missing}", hint=hint)


def _host_cpus(fleet: Iterable[Hypervisor]) -> dict[str, str]:
    """By node, of those that answer."""
    cpus: dict[str, str] = {}
    for node in fleet:
        with suppress(NodeUnreachable):
            cpu = node.host_cpu()
            if cpu:
                cpus[node.name] = cpu
    return cpus


def require_clock(target: Hypervisor, before: VmObservation, *, most_seconds: float) -> None:
    """The target's clock is close to lifeboat's, where that can be told. A clock that nobody can read stops nothing:
    certificates are judged by each end's own clock anyway."""
    offset = target.clock_offset_seconds()
    if offset is not None and abs(offset) > most_seconds:
        side = "ahead of" if offset > 0 else "behind"
        raise ClockOff(
            f"vm {before.name} can't move: the clock of node {target.name} is {abs(offset):.1f} s {side} lifeboat's "
            f"(at most {most_seconds:g} s)",
            hint="fix time synchronisation there, or here; or raise migration.max_clock_difference",
        )


def require_port(target: Hypervisor, before: VmObservation) -> None:
    """The port where other nodes reach the target's libvirt accepts connections from here."""
    closed = target.closed_port()
    if closed is not None:
        raise PortClosed(
            f"vm {before.name} can't move: node {target.name} accepts no connection at {closed}",
            hint="check libvirtd's listener and the firewall there; nothing was sent",
        )


def require_identity(
    target: Hypervisor, before: VmObservation, pinned: Callable[[str, str], None] | None = None
) -> None:
    """The target shows a certificate that holds (CA, name, dates, TLS 1.3), and the pinned one. A missing or swapped one
    would otherwise be noticed with the vm on its way, or not at all."""
    try:
        fingerprint = target.tls_fingerprint()
        if pinned is not None:
            pinned(target.name, fingerprint)
    except IdentityUnproven as error:
        raise IdentityUnproven(f"vm {before.name} can't move over TLS: {error.message}", hint=error.hint) from error
