"""The truth about a simulated fleet: what each node has, what each vm is, whatever anybody answers."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count

from models.fleet import Node, VmState
from tools.domain.xml import Domain
from tools.ports.compatibility import HostResources, Versions
from tools.ports.vms import Cell
from tools.simulated.migration import Migration
from tools.simulated.xml import MACHINE

LOCAL_DIRECTORY = "/var/lib/libvirt/images"
SHARED_DIRECTORY = "/srv/shared"
NVRAM_DIRECTORY = "/var/lib/libvirt/qemu/nvram"
TPM_DIRECTORY = "/var/lib/libvirt/swtpm"
_HEADER = struct.Struct(">8sQH")
"""magic, bytes it stands for, length of the path of the image below it, which follows"""
_MAGIC = b"lifeboat"
_CONTENT_BYTES = 96 << 10
_numbers = count(1)


@dataclass
class Image:
    """A disk image. It stands for `allocated_bytes` on a disk; its content is small, and carries that figure."""

    content: bytes
    format: str
    virtual_bytes: int
    identity: str = field(default_factory=lambda: f"image-{next(_numbers)}")
    """its own, however it is written to"""

    @classmethod
    def standing_for(cls, size: int, backing: str, noise: random.Random) -> Image:
        """One that says of itself that it takes `size` bytes; an overlay where there is an image below it."""
        header = _HEADER.pack(_MAGIC, size, len(backing)) + backing.encode()
        filler = noise.randbytes(_CONTENT_BYTES // 2) + bytes(_CONTENT_BYTES // 2)
        return cls(header + filler, "qcow2" if backing else "raw", size)

    @property
    def allocated_bytes(self) -> int:
        return self._header[0]

    @property
    def backing(self) -> str:
        return self._header[1]

    @property
    def _header(self) -> tuple[int, str]:
        if len(self.content) >= _HEADER.size:
            magic, size, length = _HEADER.unpack_from(self.content)
            if magic == _MAGIC:
                return size, self.content[_HEADER.size : _HEADER.size + length].decode()
        return len(self.content), ""


@dataclass(kw_only=True)
class SimulatedDomain:
    """One vm as one node knows it."""

    xml: str
    described: Domain
    state: VmState = VmState.SHUTOFF
    reason: str = ""
    persistent: bool = True
    incoming: bool = False
    attempt: str | None = None
    saved_memory: bool = False
    snapshots: int = 0
    autostart: bool = False
    io_limits: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    """of the running guest, as set"""
    max_downtime: float = 0.3
    """QEMU's limit on the pause of a migration, seconds: its default, or what was set since it started"""
    stops_at: float | None = None
    """when a guest that was asked to stop will have stopped"""
    checkpoints: int = 0
    on_poweroff: str = "destroy"
    """of the running guest"""
    starts: int = 0
    """how often it was started here: each start is another QEMU"""
    live_refusal: str = ""
    """what QEMU says when it is asked to move it live, for as long as this QEMU runs; empty: nothing"""
    hides_blockers: bool = False
    """QEMU does not say so before it is asked to move it"""
    defined_xml: str | None = None
    """the definition for its next start, where it differs from what runs"""

    @property
    def active(self) -> bool:
        """Has a QEMU process."""
        return self.state is not VmState.SHUTOFF


@dataclass
class Machine:
    """The truth about one node."""

    node: Node
    disk_bytes: int
    powered: bool = True
    libvirtd: bool = True
    reachable: bool = True
    """lifeboat's own way to it"""
    tls: bool = True
    certificate: str = ""
    """what its fingerprint is made of; empty: its name"""
    port_open: bool = True
    """where other nodes reach its libvirt"""
    clock_offset_seconds: float | None = 0.0
    versions: Versions = field(default_factory=lambda: Versions(9_000_000, 7_002_000))
    cells: tuple[Cell, ...] | None = None
    """its NUMA cells with what is free in them; None: one, with all of its memory and no hugepages"""
    machine_types: tuple[str, ...] = (MACHINE,)
    resources: HostResources = field(default_factory=HostResources)
    """what it has for guests; by itself it can't tell"""
    takes_definition: Callable[[str], str | None] = lambda xml: xml
    """what its libvirt makes of a definition; None: it refuses it"""
    domains: dict[str, SimulatedDomain] = field(default_factory=dict[str, SimulatedDomain])
    images: dict[str, Image] = field(default_factory=dict[str, Image])
    state_files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """UEFI variables and TPM state, by path"""
    completed: dict[str, Migration] = field(default_factory=dict[str, Migration])


@dataclass
class Guest:
    """What a vm is like inside, wherever it runs."""

    dirty_bytes_per_second: float = 0.0
    stop_seconds: float | None = 2.0
    """how long it takes to stop when asked; None: it never does"""
    io_dirty_bytes_per_second: float = 0.0
    """memory it rewrites by reading its disks as fast as they go, besides the rest; a limit on them bounds it"""
    agent_answers: bool | None = None
    """None: it has no agent"""
    agent_does_nothing: bool = False
    """its agent takes the request to stop and does not act on it; the ACPI button works"""

    def dirties(self, io_limits: Mapping[str, Mapping[str, int]]) -> float:
        """Memory rewritten per second under these limits."""
        limits = [each.get("total_bytes_sec", 0) for each in io_limits.values()]
        held = sum(limits) if limits and all(limits) else self.io_dirty_bytes_per_second
        return self.dirty_bytes_per_second + min(self.io_dirty_bytes_per_second, held)
