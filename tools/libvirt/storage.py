"""What a libvirt node has on its disks, behind the Hypervisor port: images, UEFI variables, TPM state, snapshots."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from functools import partial
from pathlib import PurePosixPath

import libvirt

from models.errors import ActionFailed
from tools.domain.xml import parse_domain
from tools.libvirt.connection import one_line
from tools.libvirt.domains import DomainAccess
from tools.libvirt.on_disk import state_files, streams, volumes
from tools.libvirt.on_disk.disks import shares_file
from tools.libvirt.on_disk.reads import Reads
from tools.libvirt.view import LibvirtView
from tools.ports.shared_storage import SharedStorage
from tools.ports.vms import StateFile, StorageFacts

_STATE_SECONDS = 60.0


class LibvirtStorage:
    """The part of LibvirtNode that holds files."""

    def __init__(self, access: DomainAccess, shared: SharedStorage, view: LibvirtView) -> None:
        self._access = access
        self._connection = access.connection
        self._name = access.name
        self._reads = Reads(access.connection)
        self._shared = shared
        self._view = view

    def free_disk_bytes(self, path: str) -> int:
        return self._access.query("free disk space", lambda c: volumes.free_bytes(c, self._name, path))

    def disk_exists(self, path: str) -> bool:
        return self._access.query(f"disk {path}", lambda c: volumes.volume_exists(c, self._name, path))

    def storage_facts(self, path: str) -> StorageFacts:
        return self._access.query(
            f"disk {path}",
            lambda c: volumes.storage_facts(c, self._name, path, partial(shares_file, self._shared)),
            seconds=60.0,
        )

    def users_of(self, path: str) -> Mapping[str, str]:
        return self._access.query(f"who uses {path}", lambda c: volumes.users_of(c, path), seconds=60.0)

    def wipe_disk(self, path: str, *, overwrite: bool) -> str:
        with self._connection.dedicated() as connection:
            return streams.wipe_volume(self._connection, connection, path, overwrite=overwrite)

    def read_disk(self, path: str, *, chunk_bytes: int = 4 << 20) -> Generator[bytes]:
        return streams.read_volume(self._connection, self._reads, path, chunk_bytes=chunk_bytes)

    def image_header(self, path: str, *, length: int) -> bytes:
        return self._access.query(f"the header of {path}", lambda c: streams.read_header(c, self._name, path, length))

    def create_disk(
        self,
        path: str,
        *,
        format: str,
        virtual_bytes: int,
        needed_bytes: int | None = None,
    ) -> str:
        def create(connection: libvirt.virConnect) -> str:
            return volumes.create_volume(
                connection,
                self._name,
                path,
                format=format,
                virtual_bytes=virtual_bytes,
                needed_bytes=virtual_bytes if needed_bytes is None else needed_bytes,
            )

        return self._access.query(f"making disk {PurePosixPath(path).name}", create, seconds=60.0)

    def write_disk(self, path: str, chunks: Iterator[bytes], *, total_bytes: int | None = None) -> int:
        with self._connection.dedicated() as connection:
            return streams.write_volume(self._connection, connection, path, chunks, total_bytes=total_bytes)

    def delete_disk(self, path: str) -> None:
        try:
            self._connection.call(f"removing disk {path}", lambda c: volumes.delete_volume(c, path), seconds=60.0)
        except libvirt.libvirtError as error:
            raise ActionFailed(
                f"disk {path} could not be removed from node {self._name}: {one_line(error)}", hint="remove it by hand"
            ) from error

    def state_files(self, uuid: str) -> tuple[StateFile, ...]:
        domain = parse_domain(self._view.domain_xml(uuid))
        return self._access.query(
            "its UEFI variables and TPM state",
            lambda c: state_files.read_state_files(c, self._name, domain),
            seconds=_STATE_SECONDS,
        )

    def boot_files(self, uuid: str) -> tuple[StateFile, ...]:
        domain = parse_domain(self._view.domain_xml(uuid))
        if not domain.boot_files:
            return ()
        shared = self._view.shared_storage()
        paths = dict.fromkeys(path for _, path in domain.boot_files if not shared.holds(path))
        return self._access.query(
            "its kernel and what goes with it",
            lambda c: state_files.read_boot_files(c, self._name, domain.name, tuple(paths)),
            seconds=_STATE_SECONDS,
        )

    def write_state_file(self, file: StateFile) -> bool:
        return self._access.query(
            f"writing {file.path}", lambda c: state_files.write_state_file(c, self._name, file), seconds=_STATE_SECONDS
        )

    def delete_state_file(self, path: str) -> None:
        self._access.query(
            f"removing {path}", lambda c: state_files.delete_state_file(c, self._name, path), seconds=_STATE_SECONDS
        )

    def read_state_file(self, path: str) -> bytes | None:
        return self._access.query(
            f"reading {path}", lambda c: state_files.read_state_file(c, self._name, path), seconds=_STATE_SECONDS
        )

    def wipe_state_file(self, path: str) -> bool:
        return self._access.query(
            f"wiping {path}", lambda c: state_files.wipe_state_file(c, self._name, path), seconds=_STATE_SECONDS
        )

    def snapshots(self, uuid: str) -> tuple[str, ...]:
        return self._access.read("the snapshots of", uuid, state_files.read_snapshots)

    def checkpoints(self, uuid: str) -> tuple[str, ...]:
        return self._access.read("the checkpoints of", uuid, state_files.read_checkpoints)

    def restore_checkpoints(self, uuid: str, checkpoints: tuple[str, ...]) -> None:
        self._access.change(
            "making checkpoints known of", uuid, lambda d: state_files.restore_checkpoints(d, checkpoints)
        )

    def restore_snapshots(self, uuid: str, snapshots: tuple[str, ...]) -> None:
        self._access.change("making snapshots known of", uuid, lambda d: state_files.restore_snapshots(d, snapshots))
