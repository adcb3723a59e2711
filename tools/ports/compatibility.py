"""What must fit for a vm to run on a node: memory, CPU, machine type, versions, clock, and who the node proves to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tools.ports.vms import Cell


@dataclass(frozen=True)
class Certificate:
    """One that was verified."""

    sha256: str
    """hex"""
    expires_at: datetime


@dataclass(frozen=True)
class Versions:
    """As libvirt counts: 1,000,000 × major + 1,000 × minor + release."""

    libvirt: int
    qemu: int


def version(number: int) -> str:
    """libvirt's way of counting, in words: 7002009 is 7.2.9."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


@dataclass(frozen=True, kw_only=True)
class HostResources:
    """What a node has of what a guest may need of its host. None: the node can't tell, which is not the same as none."""

    emulators: frozenset[str] | None = None
    """paths of those that were asked for and run there, for the guest's own kind, machine type and architecture"""
    firmware: frozenset[str] | None = None
    """paths of firmware images that libvirt knows there; others may be there as well"""
    networks: frozenset[str] | None = None
    """names of libvirt's networks that are active"""
    interfaces: frozenset[str] | None = None
    """names of bridges and other network interfaces"""
    network_filters: frozenset[str] | None = None
    secrets: frozenset[str] | None = None
    """UUIDs, and what each is for"""
    storage_pools: frozenset[str] | None = None
    """names of those that are active"""
    cpus: frozenset[int] | None = None
    """numbers of the logical processors that are online"""
    numa_nodes: frozenset[int] | None = None


class Compatibility(Protocol):
    """What one node can take. Every method raises NodeUnreachable when the node does not answer."""

    @property
    def name(self) -> str:
        """The node's name in the fleet."""
        ...

    def free_memory_bytes(self, *, hugepage_bytes: int = 0) -> int:
        """Host memory a new vm could take now, the node's reserve left aside; of hugepages of that size, if given."""
        ...

    def host_resources(self, domain_xml: str) -> HostResources:
        """What it has of what this guest may need: emulator, firmware, networks, secrets and the like."""
        ...

    def cells(self) -> tuple[Cell, ...]:
        """Its NUMA cells with what they have free now."""
        ...

    def host_cpu(self) -> str:
        """This node's CPU as libvirt's XML, for `cpu_compatible` of another node."""
        ...

    def widest_guest(self, virt_type: str) -> str:
        """A domain's XML with all the CPU that this node can give one of that kind (`kvm`, `qemu`), which is not all that
        the host has; for `cpu_compatible` of another node. Empty when it can't run such a kind, or can't tell."""
        ...

    def cpu_compatible(self, domain_xml: str, host_cpu: str) -> str | None:
        """None when this node's CPU can run the domain, now on a host with `host_cpu`; else what is missing."""
        ...

    def machine_compatible(self, domain_xml: str) -> str | None:
        """None when this node's QEMU has the domain's architecture and machine type; else what is missing."""
        ...

    def common_cpu_model(self, domain_xml: str, host_cpus: Sequence[str]) -> str | None:
        """The CPU model that a vm like this could have on every one of these hosts (`host_cpu` of each); None when
        libvirt can't tell."""
        ...

    def versions(self) -> Versions:
        """Of libvirt and QEMU as they run there now."""
        ...

    def clock_offset_seconds(self) -> float | None:
        """How far this node's clock is ahead of lifeboat's; None where nothing tells: libvirt itself does not."""
        ...

    def closed_port(self) -> str | None:
        """None when the port where other nodes reach this one's libvirt accepts a connection from here; else which one
        does not, and why. The ports for the guests' memory (49152 to 49215 unless configured) are opened only when
        a migration begins: nobody can try them before."""
        ...

    def tls_certificate(self) -> Certificate:
        """The certificate behind `tls_fingerprint`; raises as it does."""
        ...

    def tls_fingerprint(self) -> str:
        """SHA-256 (hex) of the certificate this node shows where other nodes reach it, after it passed verification
        against the CA, the name and its dates, over TLS 1.3. Raises IdentityUnproven when it shows none that does,
        NodeUnreachable."""
        ...
