"""What a node shows of a vm (its state, its disks, the small files beside them), and of the memory it has for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from models.fleet import VmState


class ImageRole(StrEnum):
    """What a file is to its vm."""

    DISK = "disk"
    """what the guest writes to"""
    BACKING = "backing"
    """below a qcow2 overlay; only read, and often by several vms"""
    MEDIUM = "medium"
    """only read: a CD-ROM or floppy image, a read-only disk"""
    BOOT = "boot"
    """kernel, initrd, device tree: read when QEMU starts"""
    NVRAM = "nvram"
    """UEFI variables"""
    TPM = "tpm"
    """state of an emulated TPM"""


IO_ERROR = "I/O error"
"""libvirt's word for why a guest is paused whose disks failed it"""


@dataclass(frozen=True, kw_only=True)
class BackingImage:
    """One image below a disk."""

    path: str
    format: str
    virtual_bytes: int
    allocated_bytes: int
    image_bytes: int
    backing: str
    """the next one below it; empty at the end of the chain"""
    shared: bool = False


@dataclass(frozen=True, kw_only=True)
class DiskObservation:
    """One writable disk of a vm, as a node sees it."""

    device: str
    """target device in the guest, such as `vda`"""
    path: str
    """where it lies on the node"""
    format: str
    """`raw` or `qcow2`"""
    virtual_bytes: int
    allocated_bytes: int
    shared: bool
    """lies in storage that every node reaches"""
    image_bytes: int = 0
    """length of the image as `read_disk` gives it, now; 0 when not known. A qcow2 image grows while its vm runs"""
    backing: str = ""
    """the image below it that it needs; empty when it stands alone"""
    chain: tuple[BackingImage, ...] = ()
    """the images below it, nearest first, as far as storage pools hold them"""
    pooled: bool = True
    """a storage pool holds it, or its server does: only through one can it be read"""


@dataclass(frozen=True, kw_only=True)
class OnlyReadFile:
    """A file that a vm only reads, and does not start without."""

    role: ImageRole
    """MEDIUM or BOOT"""
    device: str
    """target of a medium, such as `sda`; what a boot file is, such as `kernel`"""
    path: str
    format: str
    virtual_bytes: int = 0
    """sizes are 0 where no storage pool holds it"""
    allocated_bytes: int = 0
    image_bytes: int = 0
    shared: bool = False


@dataclass(frozen=True, kw_only=True)
class StateFile:
    """A small file that a vm has beside its disks, and does not run without: UEFI variables, TPM state."""

    role: ImageRole
    path: str
    content: bytes = field(repr=False)
    mode: int
    """permission bits"""
    owner: int
    group: int


@dataclass(frozen=True, kw_only=True)
class StorageFacts:
    """What is to be known of an image before it is wiped or removed."""

    format: str
    image_bytes: int
    pool_type: str
    """libvirt's word: `dir`, `logical`, `rbd`, …"""
    shared: bool
    users: Mapping[str, str]
    """uuid → name of the vms of this node, running or not, that have it as a disk or below one"""
    virtual_bytes: int = 0
    allocated_bytes: int = 0
    identity: str = ""
    """what no other image has that is put in its place later; empty where the storage knows an image by its path alone"""
    changed: datetime | None = None
    """when it was last written to or put there, by the node's clock; None where the storage does not say"""

    @property
    def used_by(self) -> tuple[str, ...]:
        """Names of the vms that use it."""
        return tuple(sorted(self.users.values()))


@dataclass(frozen=True, kw_only=True)
class VmObservation:
    """What one node says of one vm at one moment."""

    uuid: str
    name: str
    node: str
    state: VmState
    persistent: bool
    disks: tuple[DiskObservation, ...]
    incoming: bool = False
    """a migration is arriving: the vm is defined here but does not run here yet"""
    attempt: str | None = None
    """id of the lifeboat attempt stamped into the domain's metadata, if any"""
    state_reason: str = ""
    """libvirt's word for why it is in that state, such as `migration`, `user`, `post-copy failed`"""
    saved_memory: bool = False
    """shut off with its memory in a managed save image: a copy of the disks alone would lose it"""
    snapshots: int = 0
    autostart: bool = False
    """libvirt starts it when the node comes up: a second copy, if it lives elsewhere by then"""
    nvram: str | None = None
    """file with the UEFI variables, outside the disks"""
    tpm: bool = False
    """has an emulated TPM, whose state lies outside the disks"""
    checkpoints: int = 0
    on_poweroff: str = "destroy"
    """what libvirt does when the running guest powers itself off: `restart` starts it again"""
    only_read: tuple[OnlyReadFile, ...] = ()
    """media and boot files, those on a server left aside"""

    @property
    def paused_by_io_error(self) -> bool:
        return self.state is VmState.PAUSED and self.state_reason == IO_ERROR


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One NUMA cell of a node."""

    id: int
    memory_bytes: int
    free_bytes: int
    """of normal pages, caches that can be dropped included"""
    free_hugepages: Mapping[int, int] = field(default_factory=dict[int, int])
    """page size in bytes → how many are free"""

    def free(self, page_bytes: int) -> int:
        return self.free_hugepages.get(page_bytes, 0) * page_bytes if page_bytes else self.free_bytes
