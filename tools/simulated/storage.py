"""What a simulated node has on its disks: images, UEFI variables, TPM state, snapshots."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace

from models.errors import ActionFailed, ArchiveFailed, PrecheckFailed
from models.fleet import VmState
from tools.domain.xml import DomainDisk
from tools.ports.vms import BackingImage, DiskObservation, ImageRole, OnlyReadFile, StateFile, StorageFacts
from tools.simulated.domains import DomainAccess
from tools.simulated.state import LOCAL_DIRECTORY, SHARED_DIRECTORY, TPM_DIRECTORY, Image, Machine, SimulatedDomain


class SimulatedStorage:
    """The part of SimulatedNode that holds files."""

    def __init__(self, access: DomainAccess) -> None:
        self._access = access
        self._fleet = access.fleet
        self._name = access.name

    def free_disk_bytes(self, path: str) -> int:
        with self._access.answering() as machine:
            return machine.disk_bytes - sum(image.allocated_bytes for image in self._images(path).values())

    def disk_exists(self, path: str) -> bool:
        with self._access.answering():
            return path in self._images(path)

    def storage_facts(self, path: str) -> StorageFacts:
        with self._access.answering() as machine:
            image = self._images(path).get(path)
            if image is None:
                raise PrecheckFailed(f"disk {path} is not there on node {self._name}", hint="look what became of it")
            return StorageFacts(
                format=image.format,
                image_bytes=len(image.content),
                pool_type="dir",
                shared=path.startswith(f"{SHARED_DIRECTORY}/"),
                users=self._users(machine, path),
                virtual_bytes=image.virtual_bytes,
                allocated_bytes=image.allocated_bytes,
                identity=image.identity,
            )

    def users_of(self, path: str) -> dict[str, str]:
        with self._access.answering() as machine:
            return self._users(machine, path)

    def _users(self, machine: Machine, path: str) -> dict[str, str]:
        return {
            uuid: domain.described.name
            for uuid, domain in machine.domains.items()
            if any(file.path == path for file in self.needed(domain))
            or path in self.state_paths(domain)
            or any(path == file for _, file in domain.described.boot_files)
        }

    def wipe_disk(self, path: str, *, overwrite: bool) -> str:
        with self._access.answering():
            image = self._existing(path)
            if self._in_use(path):
                raise ActionFailed(f"disk {path} on node {self._name} is in use", hint="stop the vm first")
            self._images(path)[path] = replace(image, content=bytes(len(image.content)))
            return "overwritten with zeros (simulated)" if overwrite else "discarded (simulated)"

    def read_disk(self, path: str, *, chunk_bytes: int = 4 << 20) -> Generator[bytes]:
        return self._read(path, chunk_bytes)

    def _read(self, path: str, chunk_bytes: int) -> Generator[bytes]:
        what = f"disk {path} on node {self._name}"
        with self._access.answering() as machine:
            image = self._existing(path)
            rate = machine.node.archive_bytes_per_second
        content = image.content
        for start in range(0, len(content), chunk_bytes):
            chunk = content[start : start + chunk_bytes]
            self._fleet.clock.sleep(image.allocated_bytes / rate * len(chunk) / len(content))
            with self._access.answering():
                if self._existing(path).content is not content or self._in_use(path):
                    raise ArchiveFailed(f"{what} was written to while it was read", hint="make sure that no vm uses it")
            yield chunk

    def image_header(self, path: str, *, length: int) -> bytes:
        with self._access.answering():
            if not self.has_image(path):
                raise PrecheckFailed(f"disk {path} is not there on node {self._name}", hint="look what became of it")
            return self._images(path)[path].content[:length]

    def create_disk(
        self,
        path: str,
        *,
        format: str,
        virtual_bytes: int,
        needed_bytes: int | None = None,
    ) -> str:
        needed = virtual_bytes if needed_bytes is None else needed_bytes
        with self._access.answering():
            if path in self._images(path):
                raise PrecheckFailed(f"disk {path} exists on node {self._name} already", hint="find out whose it is")
            free = self.free_disk_bytes(path)
            if free < needed:
                raise PrecheckFailed(
                    f"node {self._name} has {free} bytes free, disk {path} needs {needed}", hint="choose another node"
                )
            image = self._images(path)[path] = Image(b"", format, virtual_bytes)
            return image.identity

    def write_disk(self, path: str, chunks: Iterator[bytes], *, total_bytes: int | None = None) -> int:
        what = f"disk {path} on node {self._name}"
        with self._access.answering():
            image = self._existing(path)
        content = bytearray()
        for chunk in chunks:
            content += chunk
            with self._access.answering():
                pass
        with self._access.answering():
            self._images(path)[path] = replace(image, content=bytes(content))
        if total_bytes is not None and total_bytes != len(content):
            raise ArchiveFailed(
                f"{what}: {len(content)} bytes came, {total_bytes} were announced", hint="the image there is incomplete"
            )
        return len(content)

    def delete_disk(self, path: str) -> None:
        with self._access.answering():
            self._images(path).pop(path, None)

    def state_files(self, uuid: str) -> tuple[StateFile, ...]:
        with self._access.domain(uuid) as domain:
            files = self._fleet.machines[self._name].state_files
            for path in self.state_paths(domain):
                if path not in files:
                    raise PrecheckFailed(f"{path} is not there on node {self._name}", hint="start the vm once")
            return tuple(
                StateFile(
                    role=ImageRole.NVRAM if path == domain.described.nvram else ImageRole.TPM,
                    path=path,
                    content=files[path],
                    mode=0o600,
                    owner=0,
                    group=0,
                )
                for path in self.state_paths(domain)
            )

    def boot_files(self, uuid: str) -> tuple[StateFile, ...]:
        with self._access.domain(uuid) as domain:
            files = self._fleet.machines[self._name].state_files
            paths = [path for _, path in domain.described.boot_files if not path.startswith(f"{SHARED_DIRECTORY}/")]
            for path in paths:
                if path not in files:
                    raise PrecheckFailed(f"{path} is not there on node {self._name}", hint="put it there")
            return tuple(
                StateFile(role=ImageRole.BOOT, path=path, content=files[path], mode=0o644, owner=0, group=0)
                for path in paths
            )

    def write_state_file(self, file: StateFile) -> bool:
        with self._access.answering() as machine:
            present = machine.state_files.get(file.path)
            if present is None:
                machine.state_files[file.path] = file.content
                return True
            if present != file.content:
                raise PrecheckFailed(
                    f"{file.path} on node {self._name} is there already with other content", hint="find out whose it is"
                )
            return False

    def delete_state_file(self, path: str) -> None:
        with self._access.answering() as machine:
            machine.state_files.pop(path, None)

    def read_state_file(self, path: str) -> bytes | None:
        with self._access.answering() as machine:
            return machine.state_files.get(path)

    def wipe_state_file(self, path: str) -> bool:
        with self._access.answering() as machine:
            if path not in machine.state_files:
                return False
            machine.state_files[path] = bytes(len(machine.state_files[path]))
            return True

    def snapshots(self, uuid: str) -> tuple[str, ...]:
        with self._access.domain(uuid) as domain:
            return tuple(
                f"<domainsnapshot><name>snapshot-{number}</name><state>shutoff</state></domainsnapshot>"
                for number in range(domain.snapshots)
            )

    def checkpoints(self, uuid: str) -> tuple[str, ...]:
        with self._access.domain(uuid) as domain:
            return tuple(
                f"<domaincheckpoint><name>checkpoint-{number}</name></domaincheckpoint>"
                for number in range(domain.checkpoints)
            )

    def restore_checkpoints(self, uuid: str, checkpoints: tuple[str, ...]) -> None:
        with self._access.domain(uuid) as domain:
            domain.checkpoints = len(checkpoints)

    def restore_snapshots(self, uuid: str, snapshots: tuple[str, ...]) -> None:
        with self._access.domain(uuid) as domain:
            domain.snapshots = len(snapshots)

    def _images(self, path: str) -> dict[str, Image]:
        directory = path.rpartition("/")[0]
        if directory == SHARED_DIRECTORY:
            return self._fleet.shared_images
        if directory == LOCAL_DIRECTORY:
            return self._fleet.machines[self._name].images
        raise PrecheckFailed(
            f"no running storage pool on node {self._name} holds {path}", hint="define a pool over that directory"
        )

    def _existing(self, path: str) -> Image:
        try:
            return self._images(path)[path]
        except (KeyError, PrecheckFailed):
            raise ArchiveFailed(
                f"disk {path} on node {self._name}: no running storage pool holds it", hint="refresh the pool"
            ) from None

    def has_image(self, path: str) -> bool:
        try:
            return path in self._images(path)
        except PrecheckFailed:
            return False

    def _in_use(self, path: str) -> bool:
        """Whether a running guest writes to the image, from any node that reaches it."""
        shared = path.startswith(SHARED_DIRECTORY)
        return any(
            domain.state is VmState.RUNNING and any(disk.path == path for disk in domain.described.writable_disks)
            for name, machine in self._fleet.machines.items()
            if machine.powered and (shared or name == self._name)
            for domain in machine.domains.values()
        )

    def disks(self, domain: SimulatedDomain) -> tuple[DiskObservation, ...]:
        return tuple(self._disk(disk) for disk in domain.described.writable_disks)

    def _disk(self, disk: DomainDisk) -> DiskObservation:
        image = self._images(disk.path).get(disk.path) if self.has_image(disk.path) else None
        return DiskObservation(
            device=disk.device,
            path=disk.path,
            format=disk.format,
            virtual_bytes=image.virtual_bytes if image else 0,
            allocated_bytes=image.allocated_bytes if image else 0,
            shared=disk.path.startswith(f"{SHARED_DIRECTORY}/"),
            image_bytes=len(image.content) if image else 0,
            backing=image.backing if image else "",
            chain=tuple(self._chain(image.backing)) if image else (),
            pooled=image is not None or disk.over_network,
        )

    def only_read(self, domain: SimulatedDomain) -> tuple[OnlyReadFile, ...]:
        named = [(ImageRole.MEDIUM, disk.device, disk.path) for disk in domain.described.media]
        named += [(ImageRole.BOOT, what, path) for what, path in domain.described.boot_files]
        files: list[OnlyReadFile] = []
        for role, device, path in named:
            image = self._images(path)[path] if self.has_image(path) else None
            files.append(
                OnlyReadFile(
                    role=role,
                    device=device,
                    path=path,
                    format="raw",
                    virtual_bytes=image.virtual_bytes if image else 0,
                    allocated_bytes=image.allocated_bytes if image else 0,
                    image_bytes=len(image.content) if image else 0,
                    shared=path.startswith(f"{SHARED_DIRECTORY}/"),
                )
            )
        return tuple(files)

    def _chain(self, below: str) -> Iterator[BackingImage]:
        """The images below a disk, as far as they are in a pool."""
        while below and self.has_image(below):
            image = self._images(below)[below]
            yield BackingImage(
                path=below,
                format=image.format,
                virtual_bytes=image.virtual_bytes,
                allocated_bytes=image.allocated_bytes,
                image_bytes=len(image.content),
                backing=image.backing,
                shared=below.startswith(f"{SHARED_DIRECTORY}/"),
            )
            below = image.backing

    def needed(self, domain: SimulatedDomain) -> Iterator[DiskObservation | BackingImage]:
        """Every image it does not run without."""
        for disk in map(self._disk, domain.described.disks):
            yield disk
            yield from disk.chain

    def state_paths(self, domain: SimulatedDomain) -> list[str]:
        tpm = f"{TPM_DIRECTORY}/{domain.described.uuid}/tpm2/tpm2-00.permall"
        return [*([domain.described.nvram] if domain.described.nvram else []), *([tpm] if domain.described.tpm else [])]
