"""The fleet: one snapshot of all nodes and their vms (`fleet.json`)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Self, cast

from pydantic import ConfigDict, Field, model_validator

from models.base import MOST_BYTES, UtcTime, Value
from models.past_moves import PastMoves
from models.plan import ActionKind

Bytes = Annotated[int, Field(ge=0, le=MOST_BYTES)]


class NodeState(StrEnum):
    ACTIVE = "active"
    """takes vms"""
    DRAINING = "draining"
    """keeps its vms until they are moved; takes none"""
    OFFLINE = "offline"
    """libvirt does not answer; its vms may still be running"""


class VmState(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    SHUTOFF = "shutoff"


class Priority(StrEnum):
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class _FromOutside(Value):
    """Read from files that others write: fields lifeboat does not know are left aside, not refused."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_told(cls, given: Any) -> Any:
        """Writers of JSON put null where they know nothing: the default stands, as if the field were left out."""
        if not isinstance(given, dict):
            return given
        fields = cast("dict[str, Any]", given)
        return {name: value for name, value in fields.items() if value is not None}


class Node(_FromOutside):
    """A physical machine running libvirt."""

    name: str = Field(min_length=1)
    memory_bytes: Bytes
    """physical memory"""
    memory_reserved_bytes: Bytes = 0
    """kept for the host itself; vms never use it"""
    cpus: int = Field(ge=1, le=1_000_000)
    """logical processors"""
    cpu_overcommit: float = Field(default=1.0, gt=0)
    """how many vcpus may share one logical processor"""
    cpu_model: str = ""
    """libvirt's CPU model name; empty when not known"""
    failure_domain: str = ""
    """rack, power feed or room: what fails together; empty when not known"""
    state: NodeState = NodeState.ACTIVE
    migration_bytes_per_second: float = Field(default=125_000_000.0, gt=0)
    """what this node's migration link carries, each way; streams at the same time share it. 1 Gbit/s unless told"""
    archive_bytes_per_second: float = Field(default=100_000_000.0, gt=0)
    """how fast this node's disks are read, compressed, archived and read back; archives at the same time share it"""

    @property
    def vm_memory_bytes(self) -> int:
        """What vms may use in all, bytes."""
        return max(0, self.memory_bytes - self.memory_reserved_bytes)

    @property
    def vcpu_capacity(self) -> float:
        return self.cpus * self.cpu_overcommit


class LearnedObstacle(_FromOutside):
    """What an earlier try showed to keep a vm from moving in one way."""

    kind: ActionKind
    target: str | None = None
    """the node it holds for; None: for every node"""
    why: str
    """the reason, when it was given and to which attempt"""


class Vm(_FromOutside):
    """A libvirt domain."""

    uuid: str = Field(min_length=1)
    name: str = Field(min_length=1)
    node: str
    """the node it is defined on"""
    memory_bytes: Bytes
    vcpus: int = Field(default=1, ge=1, le=1_000_000)
    state: VmState = VmState.RUNNING
    priority: Priority = Priority.NORMAL
    workload: str = ""
    """free text from the label, such as `inference` or `batch`"""
    dirty_bytes_per_second: float | None = Field(default=None, ge=0)
    """memory rewritten per second; None when it was never measured"""
    disk_bytes: Bytes = 0
    """what the disks hold, summed: what a copy has to read"""
    shared_storage: bool = True
    """every disk is reachable from every node; otherwise the disks move with the vm"""
    anti_affinity_group: str | None = None
    """vms of one group must not share a node"""
    migratable: bool = True
    """False with passthrough devices and the like: it can't be live-migrated"""
    hugepage_bytes: Bytes = 0
    """size of the hugepages behind its memory; 0 for normal pages"""
    cold_archive_allowed: bool | None = None
    """the owner's consent to be stopped and archived; None when the label is missing (policy decides)"""
    probe: str | None = None
    """where the guest answers, such as `udp://10.0.0.5:7000`; None when nothing is configured"""
    note: str = ""
    """title and description of its definition: its owner's free text. No part of what an approval depends on, and sent to no
    language model that plans"""
    label_warning: str = ""
    """what in its label could not be read and was left aside; empty when nothing"""
    live_obstacle: str | None = None
    """what of it keeps it from moving live, whatever the policy and the target; None when nothing is known to"""
    cold_obstacle: str | None = None
    """what keeps it from moving while it is stopped"""
    archive_obstacle: str | None = None
    """what keeps it from being archived cold"""
    learned_obstacles: tuple[LearnedObstacle, ...] = ()
    """what earlier tries showed; for whoever plans, and no part of what an approval depends on"""
    io_error: bool = False
    """paused by an error of its disks: it moves live only where policy lets it"""
    idle_since: UtcTime | None = None
    """since when its processors did next to nothing; None: nobody told, which is not idle"""
    stop_seconds: float | None = Field(default=None, ge=0)
    """how long it takes to stop, by earlier stops of it or of others; None: never seen, policy's limit counts"""
    load_by_hour: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = Field(
        default=None, min_length=24, max_length=24
    )
    """its processor time in each hour of the day (UTC) over the last week, as a share of its busiest; None: not known"""
    incarnation: str = ""
    """another one whenever the vm is started anew or its devices change: what was learned of it then counts no more; empty
    when not told"""


def plain_uuid(text: str) -> str:
    """The same for every way in which one UUID is written (capitals, without hyphens, in braces, as a URN); other text as it
    is."""
    digits = text.lower().removeprefix("urn:uuid:").strip("{}").replace("-", "")
    return digits if len(digits) == 32 and all(digit in "0123456789abcdef" for digit in digits) else text


class Fleet(_FromOutside):
    """Nodes and vms as they were at `observed_at`."""

    observed_at: UtcTime
    nodes: tuple[Node, ...]
    vms: tuple[Vm, ...]
    past_moves: PastMoves | None = None
    """what is remembered of earlier moves; no part of what an approval depends on. None: nobody told"""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what, names in (
            ("node name", [n.name for n in self.nodes]),
            ("vm uuid", [plain_uuid(v.uuid) for v in self.vms]),
        ):
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise ValueError(f"{what} {twice[0]!r} appears twice")
        known = {node.name for node in self.nodes}
        for vm in self.vms:
            if vm.node not in known:
                raise ValueError(f"vm {vm.name!r} is on node {vm.node!r}, which is not in nodes")
        return self

    @cached_property
    def node_by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def vm_by_uuid(self) -> dict[str, Vm]:
        return {vm.uuid: vm for vm in self.vms}

    @cached_property
    def _vms_by_node(self) -> dict[str, tuple[Vm, ...]]:
        grouped: dict[str, list[Vm]] = {node.name: [] for node in self.nodes}
        for vm in self.vms:
            grouped[vm.node].append(vm)
        return {node: tuple(vms) for node, vms in grouped.items()}

    def vms_on(self, node: str) -> tuple[Vm, ...]:
        """Every vm defined on a node, running or not; none for a node nobody knows."""
        return self._vms_by_node.get(node, ())

    def only(self, nodes: Collection[str]) -> Fleet:
        """These nodes of it, with every vm on them."""
        return self.model_copy(
            update={
                "nodes": tuple(node for node in self.nodes if node.name in nodes),
                "vms": tuple(vm for vm in self.vms if vm.node in nodes),
            }
        )

    def digest(self) -> str:
        """SHA-256 over the facts an approval depends on: everything but `observed_at`, what running guests change by
        themselves (dirty rates, what their disks hold), and what is remembered of earlier moves and lives.

        Two snapshots a second apart are the same fleet unless a node or vm really changed.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        of_vms = {
            "dirty_bytes_per_second",
            "disk_bytes",
            "idle_since",
            "incarnation",
            "learned_obstacles",
            "load_by_hour",
            "note",
            "stop_seconds",
        }
        passing: dict[str, Any] = {"observed_at": True, "past_moves": True, "vms": {"__all__": of_vms}}
        return hashlib.sha256(self.model_dump_json(exclude=passing).encode()).hexdigest()
