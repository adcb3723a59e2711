"""What a simulated node can take, and who it proves to be."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta

from models.errors import IdentityUnproven
from tools.domain.xml import parse_domain
from tools.ports.compatibility import Certificate, HostResources, Versions
from tools.ports.vms import Cell
from tools.simulated.domains import DomainAccess


class SimulatedCompatibility:
    """The part of SimulatedNode that tells what it can take."""

    def __init__(self, access: DomainAccess) -> None:
        self._access = access
        self._fleet = access.fleet
        self._name = access.name

    def free_memory_bytes(self, *, hugepage_bytes: int = 0) -> int:
        with self._access.answering() as machine:
            if hugepage_bytes:
                return sum(cell.free(hugepage_bytes) for cell in machine.cells or ())
            used = sum(d.described.memory_bytes for d in machine.domains.values() if d.active)
            return max(0, machine.node.vm_memory_bytes - used)

    def host_cpu(self) -> str:
        with self._access.answering() as machine:
            return f"<cpu><model>{machine.node.cpu_model}</model></cpu>"

    def widest_guest(self, virt_type: str) -> str:
        with self._access.answering() as machine:
            if virt_type not in ("kvm", "qemu"):
                return ""
            cpu = f"<cpu mode='custom'><model>{machine.node.cpu_model}</model></cpu>"
            return f"<domain type='{virt_type}'><name>guest</name>{cpu}</domain>"

    def cpu_compatible(self, domain_xml: str, host_cpu: str) -> str | None:
        with self._access.answering() as machine:
            domain = parse_domain(domain_xml)
            cpu = host_cpu if domain.cpu_mode == "host-passthrough" else domain.cpu_xml
            if cpu is None or f">{machine.node.cpu_model}<" in cpu:
                return None
            return cpu.partition("<model>")[2].partition("<")[0] or "what its host has"

    def machine_compatible(self, domain_xml: str) -> str | None:
        with self._access.answering() as machine:
            wanted = parse_domain(domain_xml).machine
            return None if not wanted or wanted in machine.machine_types else f"machine type {wanted}"

    def common_cpu_model(self, domain_xml: str, host_cpus: Sequence[str]) -> str | None:  # noqa: ARG002
        with self._access.answering():
            models = {xml.partition("<model>")[2].partition("<")[0] for xml in host_cpus}
            return models.pop() if len(models) == 1 else "qemu64"

    def versions(self) -> Versions:
        with self._access.answering() as machine:
            return machine.versions

    def host_resources(self, domain_xml: str) -> HostResources:  # noqa: ARG002 — it has the same for every guest
        with self._access.answering() as machine:
            return machine.resources

    def cells(self) -> tuple[Cell, ...]:
        free = self.free_memory_bytes()
        with self._access.answering() as machine:
            return (
                machine.cells
                if machine.cells is not None
                else (Cell(id=0, memory_bytes=machine.node.memory_bytes, free_bytes=free),)
            )

    def clock_offset_seconds(self) -> float | None:
        with self._access.answering() as machine:
            return machine.clock_offset_seconds

    def closed_port(self) -> str | None:
        with self._access.answering() as machine:
            return None if machine.port_open else f"{self._name}:16514: Connection refused"

    def tls_certificate(self) -> Certificate:
        return Certificate(self.tls_fingerprint(), self._fleet.clock.now() + timedelta(days=365))

    def tls_fingerprint(self) -> str:
        with self._access.answering() as machine:
            if not machine.tls:
                raise IdentityUnproven(
                    f"node {self._name}: its certificate does not hold: it has expired", hint="renew it"
                )
            return hashlib.sha256((machine.certificate or self._name).encode()).hexdigest()
