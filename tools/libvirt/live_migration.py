"""Live migration from a libvirt node, behind the Hypervisor port: the call, its job, and what steers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import libvirt

from models.errors import ActionFailed, BadInput
from models.migration.convergence import JobProgress
from tools.libvirt.connection import one_line
from tools.libvirt.domains import GONE, DomainAccess, find_domain
from tools.libvirt.migration import tuning
from tools.libvirt.migration.migration_job import (
    Peer,
    in_post_copy,
    read_progress,
    read_statistics,
    require_compression,
    run_migration,
)
from tools.libvirt.view import LibvirtView
from tools.ports.migration import IoLimits, MigrationOptions, MigrationStatistics
from tools.ports.shared_storage import SharedStorage

_NO_SUCH_JOB = (libvirt.VIR_ERR_OPERATION_INVALID,)


class LibvirtLiveMigration:
    """The part of LibvirtNode that moves running guests. `peers`: the other nodes, by name."""

    def __init__(
        self, access: DomainAccess, shared: SharedStorage, view: LibvirtView, peers: Mapping[str, Peer]
    ) -> None:
        self._access = access
        self._connection = access.connection
        self._name = access.name
        self._shared = shared
        self._view = view
        self._peers = dict(peers)
        self._abort_asked: set[str] = set()
        """uuids of vms whose job `abort_job` was asked to end since their last migration began"""

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
            version = self._access.query("its version", lambda c: int(c.getLibVersion()))
            require_compression(version, options, self._name)
        before = self._view.observe(uuid)
        if before is None:
            raise self._access.unknown(uuid)
        staying = [disk for disk in before.disks if disk.device not in options.copy_disks]
        with self._connection.dedicated() as connection:
            domain = find_domain(connection, uuid)
            if domain is None:
                raise self._access.unknown(uuid)
            self._abort_asked.discard(uuid)
            run_migration(
                self._connection,
                domain,
                peer,
                options,
                declared_shared=any(disk.shared and self._shared.declares(disk.path) for disk in staying),
                abort_asked=lambda: uuid in self._abort_asked,
                what=f"vm {before.name} ({uuid})",
            )

    def job(self, uuid: str) -> JobProgress | None:
        def read(connection: libvirt.virConnect) -> JobProgress | None:
            domain = find_domain(connection, uuid)
            return read_progress(_job_stats(domain), post_copy=in_post_copy(domain)) if domain is not None else None

        return self._access.query("job statistics", read)

    def completed_job(self, uuid: str) -> MigrationStatistics | None:
        flags = libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED

        def read(connection: libvirt.virConnect) -> MigrationStatistics | None:
            domain = find_domain(connection, uuid)
            return read_statistics(_job_stats(domain, flags)) if domain is not None else None

        return self._access.query("job statistics", read)

    def abort_job(self, uuid: str) -> None:
        def abort(connection: libvirt.virConnect) -> None:
            domain = find_domain(connection, uuid)
            if domain is None:
                return
            try:
                domain.abortJob()
            except libvirt.libvirtError as error:
                if error.get_error_code() in GONE:
                    return
                if error.get_error_code() in _NO_SUCH_JOB and not _job_stats(domain).get("type"):
                    return
                raise

        self._abort_asked.add(uuid)  # even when nothing answers: then QEMU hangs, and the call may still take effect
        try:
            self._connection.call("an abort", abort)
        except libvirt.libvirtError as error:
            self._abort_asked.discard(uuid)
            raise ActionFailed(
                f"vm {uuid} on node {self._name}: its job can't be ended: {one_line(error)}",
                hint="in post-copy the guest runs at the target already; let it finish",
            ) from error

    def set_max_downtime(self, uuid: str, seconds: float) -> None:
        milliseconds = max(1, round(seconds * 1000))
        self._access.change("a downtime limit for", uuid, lambda d: d.migrateSetMaxDowntime(milliseconds, 0))

    def max_downtime(self, uuid: str) -> float | None:
        def read(domain: libvirt.virDomain) -> float | None:
            milliseconds: Any = domain.migrateGetMaxDowntime(0)  # None for a guest that has just gone
            return None if milliseconds is None else int(milliseconds) / 1000

        return self._access.change_and_return("the downtime limit of", uuid, read)

    def start_post_copy(self, uuid: str) -> None:
        self._access.change("post-copy of", uuid, lambda d: d.migrateStartPostCopy(0))

    def io_limits(self, uuid: str) -> IoLimits:
        return self._access.change_and_return("reading the disk limits of", uuid, tuning.read_io_limits)

    def set_io_limits(self, uuid: str, limits: IoLimits) -> None:
        self._access.change("limiting the disks of", uuid, lambda d: tuning.write_io_limits(d, limits))

    def measure_dirty_rate(self, uuid: str, seconds: float) -> float:
        whole = max(1, round(seconds))

        def measure(domain: libvirt.virDomain) -> float:
            if _job_stats(domain).get("type"):
                raise ActionFailed(f"vm {uuid} on node {self._name} is being migrated: its dirty rate is left alone")
            rate = tuning.measured_dirty_rate(domain.connect(), domain, whole)
            if rate is None:
                raise ActionFailed(f"the dirty rate of vm {uuid} on node {self._name} was not measured in time")
            return rate

        return self._access.change_and_return("measuring the dirty rate of", uuid, measure, seconds=whole + 10.0)

    def guest_answers(self, uuid: str) -> bool | None:
        return self._access.change_and_return("asking the agent of", uuid, tuning.agent_answers)


def _job_stats(domain: libvirt.virDomain, flags: int = 0) -> Mapping[str, Any]:
    """Empty when there is no such job, or no such domain any more."""
    try:
        return cast("Any", domain.jobStats(flags))
    except libvirt.libvirtError as error:
        if error.get_error_code() in (*GONE, *_NO_SUCH_JOB):
            return {}
        raise
