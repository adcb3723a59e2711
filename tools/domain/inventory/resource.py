"""What a guest's definition names on its host, and what each kind of move does with it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from models.plan import ActionKind

MOVES = (ActionKind.LIVE_MIGRATE, ActionKind.COLD_MIGRATE, ActionKind.COLD_ARCHIVE)
"""the kinds of move that are judged; staying needs nothing"""


class ResourceKind(StrEnum):
    """What sort of thing a resource is."""

    DISK = "disk"
    MEDIUM = "medium"
    """what the guest only reads, or can do without: a CD-ROM or floppy image, a read-only disk"""
    BACKING_IMAGE = "backing image"
    DATA_FILE = "data file"
    """raw data of a qcow2 image in a file of its own"""
    BOOT_FILE = "boot file"
    """kernel, initrd, device tree, ACPI table, firmware configuration: read when QEMU starts"""
    FIRMWARE = "firmware"
    UEFI_VARIABLES = "UEFI variables"
    TPM_STATE = "TPM state"
    DIRECTORY = "directory"
    HOST_DEVICE = "host device"
    """hardware of this host: passed through, or used directly"""
    PERSISTENT_MEMORY = "persistent memory"
    SHARED_MEMORY = "shared memory"
    MEMORY_BACKING = "memory backing"
    PSTORE = "pstore"
    SECRET = "secret"  # noqa: S105 — the word
    LOCK = "lock"
    EMULATOR = "emulator"
    CPU = "CPU"
    HOST_CPUS = "host CPUs"
    NUMA_NODES = "NUMA nodes"
    NETWORK = "network"
    BRIDGE = "bridge"
    HOST_INTERFACE = "host interface"
    NETWORK_FILTER = "network filter"
    STORAGE_POOL = "storage pool"
    HOST_FILE = "host file"
    """one that every host of the kind has, or that holds nothing of the guest"""
    SOCKET = "socket"
    """a service of the host, or a port or name on it"""
    ADDRESS = "address"
    LOG = "log"
    GRAPHICS = "graphics"
    LAUNCH_SECURITY = "launch security"
    LIFECYCLE = "lifecycle action"
    QEMU_ARGUMENT = "QEMU argument"
    GUEST = "guest"
    """the guest as a whole, such as one of another hypervisor"""
    LIBVIRT_STATE = "libvirt state"
    """what libvirt keeps of a guest outside its definition: snapshots, saved memory, checkpoints"""
    UNKNOWN = "unknown"


class Outcome(StrEnum):
    """What becomes of a resource in a move."""

    COPIED = "copied"
    SHARED = "shared"
    """every node reaches it, so it stays where it is"""
    PRESENT = "present at the target"
    """the target (for an archive, the node it is restored to) has its own, and is asked for it first"""
    REFUSES = "refuses"


@dataclass(frozen=True)
class Fate:
    """An outcome, and why."""

    outcome: Outcome
    why: str = ""
    """what there is to say; for REFUSES always"""

    def __str__(self) -> str:
        said = "present at the target (to be checked)" if self.outcome is Outcome.PRESENT else str(self.outcome)
        return f"{said}: {self.why}" if self.why else said


COPIED = Fate(Outcome.COPIED)
SHARED = Fate(Outcome.SHARED)
PRESENT = Fate(Outcome.PRESENT)


def refuses(why: str) -> Fate:
    return Fate(Outcome.REFUSES, why)


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One thing that a definition names on its host."""

    what: str
    """in words, such as `disk vda`"""
    kind: ResourceKind
    where: str
    """path, name or address on the host"""
    live_migrate: Fate
    cold_migrate: Fate
    cold_archive: Fate
    device: str = ""
    """target in the guest of what belongs to a disk, such as `vda`"""
    host_tells: str = ""
    """what only a host can tell of it; empty when nothing"""

    def fate(self, move: ActionKind) -> Fate:
        """Raises KeyError for a kind that moves nothing."""
        return {
            ActionKind.LIVE_MIGRATE: self.live_migrate,
            ActionKind.COLD_MIGRATE: self.cold_migrate,
            ActionKind.COLD_ARCHIVE: self.cold_archive,
        }[move]

    def refusal(self, move: ActionKind) -> str | None:
        """Why it keeps its guest from moving so; None when it does not."""
        fate = self.fate(move)
        if fate.outcome is not Outcome.REFUSES:
            return None
        where = f" ({self.where})" if self.where and self.where not in self.what else ""
        return f"{self.what}{where}: {fate.why}"


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """Everything a definition names on its host."""

    name: str
    uuid: str
    resources: tuple[Resource, ...]

    def obstacle(self, move: ActionKind) -> str | None:
        """Why the guest can't move so, all reasons in one line; None when nothing that is known of it keeps it."""
        reasons = [reason for resource in self.resources if (reason := resource.refusal(move)) is not None]
        return "; ".join(dict.fromkeys(reasons)) or None

    def of(self, *kinds: ResourceKind) -> tuple[Resource, ...]:
        return tuple(resource for resource in self.resources if resource.kind in kinds)

    def account(self, move: ActionKind) -> tuple[str, ...]:
        """Each thing, and what becomes of it, one line each."""
        return tuple(
            f"{each.what}{f' ({each.where})' if each.where else ''}: {each.fate(move)}" for each in self.resources
        )

    def left_out(self) -> tuple[str, ...]:
        """What an archive of it does not hold and a restore elsewhere needs from its owner, in words."""
        return tuple(
            dict.fromkeys(
                f"{resource.what} ({resource.where})"
                for resource in self.resources
                if resource.kind in _NOT_IN_AN_ARCHIVE and resource.cold_archive.outcome is not Outcome.COPIED
            )
        )

    def host_tells(self) -> tuple[str, ...]:
        """What only a host can tell, which has to be known before the guest is touched."""
        own = dict.fromkeys(resource.host_tells for resource in self.resources if resource.host_tells)
        return (*own, *_OF_EVERY_GUEST)


_OF_EVERY_GUEST = (
    "whether the running guest differs from its definition, as by a disk attached live",
    "snapshots, checkpoints, saved memory and autostart, which libvirt keeps outside the definition",
    "whether another guest uses one of its images",
    "whether the target has a vm of its name or UUID already, and room for its memory",
    "what QEMU itself says keeps it from moving live, once it runs",
)
_NOT_IN_AN_ARCHIVE = (
    ResourceKind.SECRET,
    ResourceKind.DIRECTORY,
    ResourceKind.LOCK,
    ResourceKind.PERSISTENT_MEMORY,
    ResourceKind.DATA_FILE,
    ResourceKind.PSTORE,
    ResourceKind.UNKNOWN,
)
"""kinds whose content nobody else is sure to have"""
