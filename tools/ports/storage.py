"""What a node has on its disks: images, UEFI variables, TPM state, snapshots."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Protocol

from tools.ports.vms import StateFile, StorageFacts


class Storage(Protocol):
    """The storage of one node. Every method raises NodeUnreachable when the node does not answer."""

    @property
    def name(self) -> str:
        """The node's name in the fleet."""
        ...

    def free_disk_bytes(self, path: str) -> int:
        """Free space of the storage that holds, or would hold, `path`. Raises PrecheckFailed when no pool holds it."""
        ...

    def disk_exists(self, path: str) -> bool:
        """Whether an image lies there already. Raises PrecheckFailed when no pool holds `path`."""
        ...

    def storage_facts(self, path: str) -> StorageFacts:
        """Raises PrecheckFailed when no pool holds it or it is not there."""
        ...

    def users_of(self, path: str) -> Mapping[str, str]:
        """uuid → name of the vms of this node, running or not, that name a file: as a disk, below one, as UEFI variables,
        TPM state, kernel or the like. Whether it is there, or in a pool, plays no part."""
        ...

    def read_disk(self, path: str, *, chunk_bytes: int = 4 << 20) -> Generator[bytes]:
        """The bytes of a disk image as it lies there (qcow2 stays qcow2), in order, each chunk but the last of
        `chunk_bytes`. Raises ArchiveFailed when it can't be read to its end, or changed meanwhile."""
        ...

    def image_header(self, path: str, *, length: int) -> bytes:
        """The first `length` bytes of an image as they lie there now, whether or not a vm writes to it; fewer where it is
        shorter. Raises PrecheckFailed when no pool holds it or it can't be read."""
        ...

    def create_disk(self, path: str, *, format: str, virtual_bytes: int, needed_bytes: int | None = None) -> str:
        """Make an empty, sparse image in the pool that holds `path`; its identity, as `StorageFacts` has it.

        `needed_bytes` is what will be written to it, checked against the free space; `virtual_bytes` when left out.
        Raises PrecheckFailed when it exists or does not fit.
        """
        ...

    def write_disk(self, path: str, chunks: Iterator[bytes], *, total_bytes: int | None = None) -> int:
        """Put an image, as `read_disk` gave it, in the place of what `create_disk` made; its length in bytes.

        Raises ArchiveFailed, also when `total_bytes` is given and another number came.
        """
        ...

    def delete_disk(self, path: str) -> None:
        """Remove an image that lifeboat itself created in a move that did not finish."""
        ...

    def wipe_disk(self, path: str, *, overwrite: bool) -> str:
        """Overwrite with zeros where data lies, or discard; how it was done, in words. Then nothing but zeros is read.

        Nobody asks here whether it is in use. Raises ActionFailed."""
        ...

    def state_files(self, uuid: str) -> tuple[StateFile, ...]:
        """UEFI variables and TPM state as they lie there now; none for a vm without.

        Raises PrecheckFailed, saying why, when there are some and they can't be read whole."""
        ...

    def boot_files(self, uuid: str) -> tuple[StateFile, ...]:
        """Kernel, initrd and whatever else QEMU reads when the vm starts, where other nodes don't reach them; none for a
        vm that boots from its disks.

        Raises PrecheckFailed, saying why, when there are some and they can't be read whole."""
        ...

    def write_state_file(self, file: StateFile) -> bool:
        """Put one where it was on another node. False: the very same was there already, and was not made by this call.

        Raises PrecheckFailed when another one is there, or it can't be written; nothing is overwritten."""
        ...

    def delete_state_file(self, path: str) -> None:
        """Remove one that lifeboat itself wrote, or wiped. No error when it is gone."""
        ...

    def read_state_file(self, path: str) -> bytes | None:
        """One as it lies there now, whoever's it is; None when it is not there. Raises PrecheckFailed when it can't be
        read whole."""
        ...

    def wipe_state_file(self, path: str) -> bool:
        """Overwrite with zeros. False when it is not there. Raises PrecheckFailed when it can't be written."""
        ...

    def snapshots(self, uuid: str) -> tuple[str, ...]:
        """libvirt's XML of each snapshot, parents first, the current one marked."""
        ...

    def restore_snapshots(self, uuid: str, snapshots: tuple[str, ...]) -> None:
        """Make snapshots known again whose data its images hold. Raises ActionFailed."""
        ...

    def checkpoints(self, uuid: str) -> tuple[str, ...]:
        """XML of each checkpoint, parents first, without the definition of its time. Raises ActionFailed."""
        ...

    def restore_checkpoints(self, uuid: str, checkpoints: tuple[str, ...]) -> None:
        """Make checkpoints known again whose bitmaps its images hold; those it has already are left. Of a running vm it is
        checked that the bitmaps are there. Raises ActionFailed."""
        ...
