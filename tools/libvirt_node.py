"""`LibvirtNode`: libvirt on one node, behind the Hypervisor port."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any, cast

import libvirt

from models.errors import ActionFailed, BadInput, PrecheckFailed
from models.fleet import Node, Vm
from tools import libvirt_state as state
from tools import libvirt_steering as steering
from tools import libvirt_streams as streams
from tools import libvirt_volumes as volumes
from tools.domain_xml import parse_domain
from tools.labels import ATTEMPT_NAMESPACE, ATTEMPT_PREFIX, read_attempt, read_labels, without_attempt, write_attempt
from tools.libvirt_compatibility import (
    common_cpu_model,
    missing_cpu,
    missing_machine,
    numa_cells,
    widest_guest,
)
from tools.libvirt_connection import Answer, LibvirtConnection, closed_port, one_line, pki_directory
from tools.libvirt_inventory import SharedStorage, observe_disks, read_state
from tools.libvirt_migration import (
    Peer,
    in_post_copy,
    is_incoming,
    read_progress,
    read_statistics,
    require_compression,
    run_migration,
)
from tools.numa import Cell
from tools.ports import (
    Certificate,
    IoLimits,
    JobProgress,
    MigrationOptions,
    MigrationStatistics,
    StateFile,
    StorageFacts,
    Versions,
    VmObservation,
)
from tools.tls_identity import shown_certificate

_GONE = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_DOMAIN_METADATA)
_STATE_SECONDS = 60.0
_NO_SUCH_JOB = (libvirt.VIR_ERR_OPERATION_INVALID,)


class LibvirtNode:
    """One node. Thread-safe; nothing is connected before the first question.

    `peers` maps the other nodes' names to how this node reaches them for peer-to-peer migration. libvirt can't know
    which storage every node reaches: pools and disks over the network count, and what `shared_paths` (directories) and
    `shared_pools` (names) declare.
    `clock_offset` tells how far a node's clock is ahead, as libvirt does not. Raises BadInput for a URI that can't be one.
    """

    def __init__(
        self,
        name: str,
        uri: str,
        *,
        peers: Mapping[str, Peer] | None = None,
        migration_uri: str | None = None,
        shared_paths: Sequence[str] = (),
        shared_pools: Sequence[str] = (),
        failure_domain: str = "",
        memory_reserved_bytes: int = 1 << 30,
        cpu_overcommit: float = 4.0,
        migration_bytes_per_second: float = 125_000_000.0,
        archive_bytes_per_second: float = 100_000_000.0,
        clock_offset: Callable[[str], float | None] | None = None,
        connect_seconds: float = 5.0,
        answer_seconds: float = 15.0,
    ) -> None:
        self._name = name
        self._connection = LibvirtConnection(name, uri, connect_seconds=connect_seconds, answer_seconds=answer_seconds)
        self._migration_uri = migration_uri or uri.partition("?")[0]
        self._peers = dict(peers or {})
        self._shared = SharedStorage(tuple(shared_paths), tuple(shared_pools))
        self._failure_domain = failure_domain
        self._reserved = memory_reserved_bytes
        self._overcommit = cpu_overcommit
        self._migration_rate = migration_bytes_per_second
        self._archive_rate = archive_bytes_per_second
        self._clock_offset = clock_offset
        self._told_to_end: set[str] = set()
        """uuids of vms whose job `abort_job` was asked to end since their last migration began"""

    @property
    def name(self) -> str:
        return self._name

    def node(self) -> Node:
        info, memory, capabilities = self._ask(
            "its inventory", lambda c: (c.getInfo(), _memory_stats(c), c.getCapabilities())
        )
        return Node(
            name=self._name,
            memory_bytes=memory["total"],
            memory_reserved_bytes=self._reserved,
            cpus=int(info[2]),
            cpu_overcommit=self._overcommit,
            cpu_model=_xml(capabilities).findtext("./host/cpu/model", ""),
            failure_domain=self._failure_domain,
            migration_bytes_per_second=self._migration_rate,
            archive_bytes_per_second=self._archive_rate,
        )

    def vms(self) -> list[Vm]:
        """As the port says. A vm that is still arriving here is left out: it runs, and is listed, at its source."""

        def read(connection: libvirt.virConnect) -> list[Vm]:
            pools = volumes.list_pools(connection)
            found: list[Vm] = []
            for domain in connection.listAllDomains(0):
                try:
                    vm = self._vm(connection, domain, pools)
                except libvirt.libvirtError as error:
                    if error.get_error_code() in _GONE:
                        continue  # undefined between the two calls
                    raise
                if vm is not None:
                    found.append(vm)
            return sorted(found, key=lambda vm: vm.name)

        return self._ask("its vms", read, seconds=60.0)

    def _vm(self, connection: libvirt.virConnect, domain: libvirt.virDomain, pools: list[volumes.Pool]) -> Vm | None:
        if is_incoming(domain):
            return None
        xml = domain.XMLDesc(0)
        described, labels = parse_domain(xml), read_labels(xml)
        images = observe_disks(connection, domain, described, self._shared, pools)
        return Vm(
            uuid=described.uuid,
            name=described.name,
            node=self._name,
            memory_bytes=described.memory_bytes,
            vcpus=described.vcpus,
            state=read_state(domain)[0],
            priority=labels.priority,
            workload=labels.workload,
            disk_bytes=sum(disk.allocated_bytes for disk in images),
            shared_storage=all(disk.shared for disk in images),
            anti_affinity_group=labels.anti_affinity_group,
            migratable=not described.bound,
            hugepage_bytes=described.hugepage_bytes,
            cold_archive_allowed=labels.cold_archive_allowed,
            probe=labels.probe,
            label_warning=labels.warning,
        )

    def observe(self, uuid: str) -> VmObservation | None:
        def look(connection: libvirt.virConnect) -> VmObservation | None:
            domain = _find(connection, uuid)
            if domain is None:
                return None
            try:
                xml = domain.XMLDesc(0)
                seen, reason = read_state(domain)
                incoming = is_incoming(domain)
                described = parse_domain(xml)
                return VmObservation(
                    uuid=described.uuid,
                    name=described.name,
                    node=self._name,
                    state=seen,
                    persistent=domain.isPersistent() == 1,
                    disks=observe_disks(
                        connection,
                        domain,
                        described,
                        self._shared,
                        volumes.list_pools(connection),
                        ask_qemu=not incoming,
                    ),
                    incoming=incoming,
                    attempt=read_attempt(xml),
                    state_reason=reason,
                    saved_memory=domain.hasManagedSaveImage(0) == 1,
                    snapshots=domain.snapshotNum(0),
                    nvram=described.nvram,
                    tpm=described.tpm,
                )
            except libvirt.libvirtError as error:
                if error.get_error_code() in _GONE:
                    return None
                raise

        return self._ask(f"vm {uuid}", look)

    def uuid_of(self, name: str) -> str | None:
        def look(connection: libvirt.virConnect) -> str | None:
            try:
                return connection.lookupByName(name).UUIDString()
            except libvirt.libvirtError as error:
                if error.get_error_code() in _GONE:
                    return None
                raise

        return self._ask(f"vm {name}", look)

    def free_memory_bytes(self, *, hugepage_bytes: int = 0) -> int:
        """The smaller of two figures: what the host has free or in caches, and what its running vms leave of it when
        each of them uses all it may. Less the reserve, except for hugepages, which are set apart already."""

        def read(connection: libvirt.virConnect) -> int:
            if hugepage_bytes:
                cells: Any = connection.getFreePages(cast("Any", [hugepage_bytes >> 10]), -1, 1, 0)
                return hugepage_bytes * sum(int(count) for cell in cells.values() for count in cell.values())
            stats = _memory_stats(connection)
            measured = stats["free"] + stats["buffers"] + stats["cached"]
            promised = 0
            for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
                with suppress(libvirt.libvirtError):
                    promised += domain.maxMemory() << 10
            return max(0, min(measured, stats["total"] - promised) - self._reserved)

        return self._ask("its free memory", read)

    def free_disk_bytes(self, path: str) -> int:
        return self._ask("free disk space", lambda c: volumes.free_bytes(c, self._name, path))

    def disk_exists(self, path: str) -> bool:
        return self._ask(f"disk {path}", lambda c: volumes.volume_exists(c, self._name, path))

    def domain_xml(self, uuid: str) -> str:
        def read(domain: libvirt.virDomain) -> str:
            if domain.isPersistent() != 1:
                raise ActionFailed(
                    f"vm {uuid} on node {self._name} is transient: it has no definition that outlives it",
                    hint="define it first (`virsh define`), or move it live",
                )
            return without_attempt(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))

        return self._read_domain("the definition of", uuid, read)

    def running_xml(self, uuid: str) -> str:
        return self._read_domain("the running definition of", uuid, lambda d: d.XMLDesc(0))

    def host_cpu(self) -> str:
        capabilities = self._ask("its capabilities", lambda c: c.getCapabilities())
        cpu = _xml(capabilities).find("./host/cpu")
        return ET.tostring(cpu, encoding="unicode") if cpu is not None else ""

    def widest_guest(self, virt_type: str) -> str:
        return self._ask("what its guests can have", lambda c: widest_guest(c, virt_type))

    def cpu_compatible(self, domain_xml: str, host_cpu: str) -> str | None:
        domain = parse_domain(domain_xml)
        return self._ask("a CPU comparison", lambda c: missing_cpu(c, domain, host_cpu))

    def machine_compatible(self, domain_xml: str) -> str | None:
        return missing_machine(self._ask("its capabilities", lambda c: c.getCapabilities()), parse_domain(domain_xml))

    def common_cpu_model(self, domain_xml: str, host_cpus: Sequence[str]) -> str | None:
        domain = parse_domain(domain_xml)
        return self._ask("a common CPU", lambda c: common_cpu_model(c, domain, host_cpus))

    def versions(self) -> Versions:
        return self._ask("its versions", lambda c: Versions(int(c.getLibVersion()), int(c.getVersion())))

    def cells(self) -> tuple[Cell, ...]:
        return self._ask("its NUMA cells", lambda c: numa_cells(c, c.getCapabilities()))

    def clock_offset_seconds(self) -> float | None:
        return self._clock_offset(self._name) if self._clock_offset is not None else None

    def closed_port(self) -> str | None:
        return closed_port(self._migration_uri, seconds=self._connection.connect_seconds)

    def tls_fingerprint(self) -> str:
        return self.tls_certificate().sha256

    def tls_certificate(self) -> Certificate:
        return shown_certificate(
            self._name,
            self._migration_uri,
            client=pki_directory(self._connection.uri),
            seconds=self._connection.connect_seconds,
        )

    def stamp_attempt(self, uuid: str, attempt: str | None) -> None:
        def stamp(domain: libvirt.virDomain) -> None:
            flags = 0
            if domain.isActive():
                flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE
            if domain.isPersistent():
                flags |= libvirt.VIR_DOMAIN_AFFECT_CONFIG
            element: Any = write_attempt(attempt) if attempt is not None else None
            try:
                domain.setMetadata(
                    libvirt.VIR_DOMAIN_METADATA_ELEMENT, element, ATTEMPT_PREFIX, ATTEMPT_NAMESPACE, flags
                )
            except libvirt.libvirtError as error:
                if attempt is None and error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
                    return
                raise

        self._act("marking", uuid, stamp)

    def migrate_live(self, uuid: str, target: str, options: MigrationOptions) -> None:
        peer = self._peers.get(target)
        if peer is None:
            raise BadInput(
                f"node {self._name} has no way to {target!r} (peers: {', '.join(sorted(self._peers)) or 'none'})",
                hint="add the target under `nodes`",
            )
        if options.tls and not peer.migration_uri.startswith("qemu+tls://"):
            raise BadInput(
                f"policy asks for TLS, and node {target} is reached through {peer.migration_uri}",
                hint="set its migration_uri to qemu+tls://HOST/system",
            )
        if options.compression != "none":
            version = self._ask("its version", lambda c: int(c.getLibVersion()))
            require_compression(version, options, self._name)
        before = self.observe(uuid)
        if before is None:
            raise self._unknown(uuid)
        staying = [disk for disk in before.disks if disk.device not in options.copy_disks]
        with self._connection.dedicated() as connection:
            domain = _find(connection, uuid)
            if domain is None:
                raise self._unknown(uuid)
            self._told_to_end.discard(uuid)
            run_migration(
                self._connection,
                domain,
                peer,
                options,
                declared_shared=any(disk.shared and self._shared.declares(disk.path) for disk in staying),
                told_to_end=lambda: uuid in self._told_to_end,
                what=f"vm {before.name} ({uuid})",
            )

    def job(self, uuid: str) -> JobProgress | None:
        def read(connection: libvirt.virConnect) -> JobProgress | None:
            domain = _find(connection, uuid)
            return read_progress(_job_stats(domain), post_copy=in_post_copy(domain)) if domain is not None else None

        return self._ask("job statistics", read)

    def completed_job(self, uuid: str) -> MigrationStatistics | None:
        flags = libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED

        def read(connection: libvirt.virConnect) -> MigrationStatistics | None:
            domain = _find(connection, uuid)
            return read_statistics(_job_stats(domain, flags)) if domain is not None else None

        return self._ask("job statistics", read)

    def abort_job(self, uuid: str) -> None:
        def abort(connection: libvirt.virConnect) -> None:
            domain = _find(connection, uuid)
            if domain is None:
                return
            try:
                domain.abortJob()
            except libvirt.libvirtError as error:
                if error.get_error_code() in _GONE:
                    return
                if error.get_error_code() in _NO_SUCH_JOB and not _job_stats(domain).get("type"):
                    return
                raise

        self._told_to_end.add(uuid)  # even when nothing answers: then QEMU hangs, and the call may still take effect
        try:
            self._connection.call("an abort", abort)
        except libvirt.libvirtError as error:
            self._told_to_end.discard(uuid)
            raise ActionFailed(
                f"vm {uuid} on node {self._name}: its job can't be ended: {one_line(error)}",
                hint="in post-copy the guest runs at the target already; let it finish",
            ) from error

    def set_max_downtime(self, uuid: str, seconds: float) -> None:
        milliseconds = max(1, round(seconds * 1000))
        self._act("a downtime limit for", uuid, lambda d: d.migrateSetMaxDowntime(milliseconds, 0))

    def max_downtime(self, uuid: str) -> float | None:
        return self._acting("the downtime limit of", uuid, lambda d: int(d.migrateGetMaxDowntime(0)) / 1000)

    def start_post_copy(self, uuid: str) -> None:
        self._act("post-copy of", uuid, lambda d: d.migrateStartPostCopy(0))

    def suspend(self, uuid: str) -> None:
        self._act("suspending", uuid, lambda d: d.suspend())

    def io_limits(self, uuid: str) -> IoLimits:
        return self._acting("reading the disk limits of", uuid, steering.read_io_limits)

    def set_io_limits(self, uuid: str, limits: IoLimits) -> None:
        self._act("limiting the disks of", uuid, lambda d: steering.write_io_limits(d, limits))

    def measure_dirty_rate(self, uuid: str, seconds: float) -> float:
        whole = max(1, round(seconds))

        def measure(domain: libvirt.virDomain) -> float:
            if _job_stats(domain).get("type"):
                raise ActionFailed(f"vm {uuid} on node {self._name} is being migrated: its dirty rate is left alone")
            rate = steering.measured_dirty_rate(domain.connect(), domain, whole)
            if rate is None:
                raise ActionFailed(f"the dirty rate of vm {uuid} on node {self._name} was not measured in time")
            return rate

        return self._acting("measuring the dirty rate of", uuid, measure, seconds=whole + 10.0)

    def guest_answers(self, uuid: str) -> bool | None:
        return self._acting("asking the agent of", uuid, steering.agent_answers)

    def shut_down(self, uuid: str, *, press_button: bool = False) -> None:
        def shut_down(domain: libvirt.virDomain) -> None:
            state = int(domain.state()[0])
            if state in (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTDOWN):
                return
            if state == libvirt.VIR_DOMAIN_PAUSED:
                raise ActionFailed(
                    f"vm {uuid} on node {self._name} is paused and can't hear a request to stop",
                    hint="resume it, or let policy pull its plug",
                )
            if not press_button and steering.has_agent(domain.XMLDesc(0)):
                with suppress(libvirt.libvirtError):  # the agent may have ended just now: ACPI is asked instead
                    domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
                    return
            domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

        self._act("stopping", uuid, shut_down)

    def power_off(self, uuid: str) -> None:
        self._act("powering off", uuid, lambda d: d.destroy() if d.isActive() else 0)

    def start(self, uuid: str) -> None:
        self._act("starting", uuid, lambda d: d.create(), seconds=60.0)

    def resume(self, uuid: str) -> None:
        self._act("resuming", uuid, lambda d: d.resume())

    def define(self, xml: str) -> str:
        described = parse_domain(xml)

        def define(connection: libvirt.virConnect) -> str:
            for what, lookup, value in (
                ("uuid", connection.lookupByUUIDString, described.uuid),
                ("name", connection.lookupByName, described.name),
            ):
                with suppress(libvirt.libvirtError):
                    if value:
                        lookup(value)
                        raise PrecheckFailed(
                            f"node {self._name} has a vm with {what} {value} already",
                            hint="find out which one is the right one; nothing was changed",
                        )
            return connection.defineXML(xml).UUIDString()

        try:
            return self._connection.call("defining a vm", define)
        except libvirt.libvirtError as error:
            raise ActionFailed(
                f"vm {described.name} could not be defined on node {self._name}: {one_line(error)}",
                hint="nothing was changed there",
            ) from error

    def undefine(self, uuid: str, *, with_snapshots: bool = False) -> None:
        def undefine(domain: libvirt.virDomain) -> None:
            if domain.isActive():
                raise ActionFailed(
                    f"vm {uuid} on node {self._name} is not shut off: its definition stays", hint="look who started it"
                )
            if domain.hasManagedSaveImage(0):
                raise ActionFailed(
                    f"vm {uuid} on node {self._name} has its memory saved, which would be lost: its definition stays",
                    hint="start it, or `virsh managedsave-remove` it",
                )
            flags = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
            if parse_domain(domain.XMLDesc(0)).tpm:
                flags |= libvirt.VIR_DOMAIN_UNDEFINE_KEEP_TPM
            if with_snapshots:
                flags |= libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            domain.undefineFlags(flags)

        self._act("undefining", uuid, undefine)

    def state_files(self, uuid: str) -> tuple[StateFile, ...]:
        domain = parse_domain(self.domain_xml(uuid))
        return self._ask(
            "its UEFI variables and TPM state",
            lambda c: state.read_state_files(c, self._name, domain),
            seconds=_STATE_SECONDS,
        )

    def write_state_file(self, file: StateFile) -> bool:
        return self._ask(
            f"writing {file.path}", lambda c: state.write_state_file(c, self._name, file), seconds=_STATE_SECONDS
        )

    def delete_state_file(self, path: str) -> None:
        self._ask(f"removing {path}", lambda c: state.delete_state_file(c, self._name, path), seconds=_STATE_SECONDS)

    def snapshots(self, uuid: str) -> tuple[str, ...]:
        return self._read_domain("the snapshots of", uuid, state.read_snapshots)

    def restore_snapshots(self, uuid: str, snapshots: tuple[str, ...]) -> None:
        self._act("making snapshots known of", uuid, lambda d: state.restore_snapshots(d, snapshots))

    def storage_facts(self, path: str) -> StorageFacts:
        return self._ask(
            f"disk {path}",
            lambda c: volumes.storage_facts(c, self._name, path, self._shared.shares_file),
            seconds=60.0,
        )

    def wipe_disk(self, path: str, *, overwrite: bool) -> str:
        with self._connection.dedicated() as connection:
            return streams.wipe_volume(self._connection, connection, path, overwrite=overwrite)

    def wipe_state_file(self, path: str) -> bool:
        return self._ask(f"wiping {path}", lambda c: state.wipe_state_file(c, self._name, path), seconds=_STATE_SECONDS)

    def read_disk(self, path: str, *, chunk_bytes: int = 4 << 20) -> Generator[bytes]:
        return streams.read_volume(self._connection, path, chunk_bytes=chunk_bytes)

    def create_disk(
        self,
        path: str,
        *,
        format: str,
        virtual_bytes: int,
        needed_bytes: int | None = None,
    ) -> None:
        def create(connection: libvirt.virConnect) -> None:
            volumes.create_volume(
                connection,
                self._name,
                path,
                format=format,
                virtual_bytes=virtual_bytes,
                needed_bytes=virtual_bytes if needed_bytes is None else needed_bytes,
            )

        self._ask(f"making disk {PurePosixPath(path).name}", create, seconds=60.0)

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

    def close(self) -> None:
        self._connection.close()

    def _ask(
        self, what: str, function: Callable[[libvirt.virConnect], Answer], *, seconds: float | None = None
    ) -> Answer:
        """An answer, or NodeUnreachable: an error where only an answer was wanted tells nothing either."""
        try:
            return self._connection.call(what, function, seconds=seconds)
        except libvirt.libvirtError as error:
            raise self._connection.unreachable(f"{what}: {one_line(error)}") from error

    def _with_domain(
        self, what: str, uuid: str, function: Callable[[libvirt.virDomain], Answer], *, seconds: float | None = None
    ) -> Answer:
        def run(connection: libvirt.virConnect) -> Answer:
            domain = _find(connection, uuid)
            if domain is None:
                raise self._unknown(uuid)
            return function(domain)

        return self._connection.call(f"{what} vm {uuid}", run, seconds=seconds)

    def _read_domain(self, what: str, uuid: str, function: Callable[[libvirt.virDomain], Answer]) -> Answer:
        try:
            return self._with_domain(what, uuid, function)
        except libvirt.libvirtError as error:
            raise self._connection.unreachable(f"{what} vm {uuid}: {one_line(error)}") from error

    def _act(
        self, what: str, uuid: str, function: Callable[[libvirt.virDomain], object], *, seconds: float | None = None
    ) -> None:
        self._acting(what, uuid, function, seconds=seconds)

    def _acting(
        self, what: str, uuid: str, function: Callable[[libvirt.virDomain], Answer], *, seconds: float | None = None
    ) -> Answer:
        try:
            return self._with_domain(what, uuid, function, seconds=seconds)
        except libvirt.libvirtError as error:
            raise ActionFailed(
                f"{what} vm {uuid} on node {self._name} failed: {one_line(error)}",
                hint="look at the vm before going on",
            ) from error

    def _unknown(self, uuid: str) -> ActionFailed:
        return ActionFailed(f"vm {uuid} is not known on node {self._name}", hint="it moved or was removed; look again")


def _find(connection: libvirt.virConnect, uuid: str) -> libvirt.virDomain | None:
    """The domain; None when there is none, or can't be: what is no uuid is nobody's."""
    try:
        return connection.lookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_INVALID_ARG):
            return None
        raise


def _memory_stats(connection: libvirt.virConnect) -> dict[str, int]:
    """total, free, buffers and cached memory, bytes."""
    stats: Any = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS, 0)
    return {key: int(stats.get(key, 0)) << 10 for key in ("total", "free", "buffers", "cached")}


def _job_stats(domain: libvirt.virDomain, flags: int = 0) -> Mapping[str, Any]:
    """Empty when there is no such job, or no such domain any more."""
    try:
        return cast("Any", domain.jobStats(flags))
    except libvirt.libvirtError as error:
        if error.get_error_code() in (*_GONE, *_NO_SUCH_JOB):
            return {}
        raise


def _xml(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 — libvirt wrote it
