"""Live migration through libvirt: flags and parameters, the watch over a running job, and its statistics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import libvirt

from models.errors import BadInput, Indeterminate, LifeboatError, MigrationFailed, MigrationRefused, NodeUnreachable
from models.migration.convergence import JobProgress
from tools.bounded_call import BoundedCall
from tools.libvirt.connection import LibvirtConnection, alive, host_of, one_line
from tools.libvirt.refusals import how_long
from tools.ports.compatibility import version
from tools.ports.migration import MigrationOptions, MigrationStatistics

ABORT_SECONDS = 60.0
"""how long libvirt may take to end a job it was told to end"""
_ASK_AGAIN_SECONDS = 5.0
_NOTICE_SECONDS = 1.0
_MIB = 1 << 20
_MULTIFD_COMPRESSION = 9_004_000
"""libvirt that knows zlib and zstd over parallel connections; earlier ones refuse the names (seen with 9.0)"""
_POST_COPY = (libvirt.VIR_DOMAIN_PAUSED_POSTCOPY, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED)
_ARRIVING = (libvirt.VIR_DOMAIN_PAUSED_MIGRATION, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP)


@dataclass(frozen=True)
class Peer:
    """Another node, as this one reaches it."""

    migration_uri: str
    """libvirt URI for the peer-to-peer connection, `qemu+tls://node-b/system`"""
    data_address: str = ""
    """host or address the guest's memory is sent to; empty: the host of `migration_uri`"""


def migration_flags(options: MigrationOptions, *, declared_shared: bool) -> int:
    """libvirt's flags. PERSIST_DEST and UNDEFINE_SOURCE always: libvirt lets the source go only after it got word that
    the destination runs.

    `declared_shared`: a disk that stays put lies on storage that only the operator knows to be shared. libvirt, which
    sees a plain file, must then be told that it may go on.
    """
    flags = (
        libvirt.VIR_MIGRATE_LIVE
        | libvirt.VIR_MIGRATE_PEER2PEER
        | libvirt.VIR_MIGRATE_PERSIST_DEST
        | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    )
    for wanted, flag in (
        (options.abort_on_io_error, libvirt.VIR_MIGRATE_ABORT_ON_ERROR),
        (options.tls, libvirt.VIR_MIGRATE_TLS),
        (options.auto_converge, libvirt.VIR_MIGRATE_AUTO_CONVERGE),
        (options.post_copy, libvirt.VIR_MIGRATE_POSTCOPY),
        (options.parallel_connections > 0, libvirt.VIR_MIGRATE_PARALLEL),
        (options.compression != "none", libvirt.VIR_MIGRATE_COMPRESSED),
        (bool(options.copy_disks), libvirt.VIR_MIGRATE_NON_SHARED_DISK),
        (declared_shared, libvirt.VIR_MIGRATE_UNSAFE),
    ):
        if wanted:
            flags |= flag
    return flags


def migration_parameters(options: MigrationOptions, peer: Peer) -> dict[str, Any]:
    """libvirt's typed parameters. Bandwidth is in MiB/s there, at least 1.

    The address for the guest's memory is always given: left out, libvirt would use whatever the target takes for its
    own host name, which often resolves nowhere, or to 127.0.1.1.
    """
    host = peer.data_address or host_of(peer.migration_uri)
    parameters: dict[str, Any] = {}
    if host:
        parameters[libvirt.VIR_MIGRATE_PARAM_URI] = f"tcp://{f'[{host}]' if ':' in host else host}"
    if options.bandwidth_bytes_per_second is not None:
        parameters[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = max(1, options.bandwidth_bytes_per_second // _MIB)
    if options.parallel_connections > 0:
        parameters[libvirt.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS] = options.parallel_connections
    if options.compression != "none":
        parameters[libvirt.VIR_MIGRATE_PARAM_COMPRESSION] = [options.compression]
    if options.copy_disks:
        parameters[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = list(options.copy_disks)
    return parameters


def run_migration(
    node: LibvirtConnection,
    domain: libvirt.virDomain,
    peer: Peer,
    options: MigrationOptions,
    *,
    declared_shared: bool,
    abort_asked: Callable[[], bool],
    what: str,
) -> None:
    """Migrate and wait for the end of it. `domain` belongs to a connection of its own, `node` is used for control.

    Raises MigrationFailed, NodeUnreachable, or Indeterminate when libvirt does not end a job it was told to end.
    """
    flags = migration_flags(options, declared_shared=declared_shared)
    parameters: Any = migration_parameters(options, peer)
    uuid = domain.UUIDString()
    downtime_before = _set_downtime(node, uuid, max(1, round(options.max_downtime_seconds * 1000)))
    call = BoundedCall(lambda: domain.migrateToURI3(peer.migration_uri, parameters, flags), name=f"migrate-{node.node}")
    _watch(node, uuid, call, options, abort_asked, what)
    try:
        call.result()
    except libvirt.libvirtError as error:
        if not alive(domain.connect()):
            raise node.unreachable(f"migrating {what}: {one_line(error)}") from error
        if downtime_before is not None:  # QEMU keeps it past the job, and the vm is to be left as it was found
            _set_downtime(node, uuid, downtime_before)
        hint = "both nodes are looked at next"
        if error.get_error_code() == libvirt.VIR_ERR_MIGRATE_UNSAFE:
            hint = "if the disk is on storage that every node reaches, list its directory under `shared_paths`"
        said = f"{what}: libvirt on {node.node} says: {one_line(error)}"
        lasting = how_long(error.get_error_code() or 0, str(error))
        if lasting is not None:
            raise MigrationRefused(said, hint=hint, lasting=lasting) from error
        raise MigrationFailed(said, hint=hint) from error


def require_compression(libvirt_version: int, options: MigrationOptions, node: str) -> None:
    """Raises BadInput when this libvirt does not know the compression that is asked for."""
    if options.compression in ("zlib", "zstd") and libvirt_version < _MULTIFD_COMPRESSION:
        raise BadInput(
            f"node {node} has libvirt {version(libvirt_version)}, which can't compress a migration with "
            f"{options.compression} (from {version(_MULTIFD_COMPRESSION)} on)",
            hint="set migration.compression to none, or to xbzrle with parallel_connections 0",
        )


def _watch(
    node: LibvirtConnection,
    uuid: str,
    call: BoundedCall[int],
    options: MigrationOptions,
    abort_asked: Callable[[], bool],
    what: str,
) -> None:
    """Until the call is over; at the timeout it is told to end, unless the guest runs at the target already. Told to end,
    then or before, it has ABORT_SECONDS: a QEMU whose disk copy lost its link may wait for TCP to give up."""
    timeout = time.monotonic() + options.timeout_seconds
    while not abort_asked() and (left := timeout - time.monotonic()) > 0:
        if call.wait(min(left, _NOTICE_SECONDS)):
            return
    deadline = time.monotonic() + ABORT_SECONDS
    while time.monotonic() < deadline:  # asked again: a job that is just beginning can't be aborted yet
        with suppress(LifeboatError, libvirt.libvirtError):
            if node.call("its state", lambda c: in_post_copy(c.lookupByUUIDString(uuid))):
                while not call.wait(60.0):  # no way back, and no hurry: the guest runs at the target
                    pass
                return
            node.call("an abort", lambda c: c.lookupByUUIDString(uuid).abortJob())
        if call.wait(_ASK_AGAIN_SECONDS):
            return
    raise Indeterminate(
        f"{what}: the migration did not end within {ABORT_SECONDS:g} s of being told to",
        hint=f"look with `virsh domjobinfo {uuid}` on {node.node}",
    )


def in_post_copy(domain: libvirt.virDomain) -> bool:
    """Whether the guest left for the target under post-copy: here it stands still, and only serves its memory."""
    state, reason = (int(figure) for figure in domain.state())
    return state == libvirt.VIR_DOMAIN_PAUSED and reason in _POST_COPY


def _set_downtime(node: LibvirtConnection, uuid: str, milliseconds: int) -> int | None:
    """Cap the pause at switchover; what the cap was before. None when QEMU takes no cap: then its default holds."""

    def set_it(connection: libvirt.virConnect) -> int:
        domain = connection.lookupByUUIDString(uuid)
        before = int(domain.migrateGetMaxDowntime(0))
        domain.migrateSetMaxDowntime(milliseconds, 0)
        return before

    try:
        return node.call("a downtime limit", set_it)
    except (libvirt.libvirtError, NodeUnreachable):
        return None


def read_progress(stats: Mapping[str, Any], *, post_copy: bool = False) -> JobProgress | None:
    """From virDomainGetJobStats of a running job. Its dirty rate is in pages per second."""
    if stats.get("type") in (None, libvirt.VIR_DOMAIN_JOB_NONE):
        return None
    number = _numbers(stats)
    memory, disk = number("memory_total"), number("disk_total")
    return JobProgress(
        elapsed_seconds=number("time_elapsed") / 1000,
        bytes_total=memory + disk,
        bytes_processed=number("memory_processed") + number("disk_processed"),
        bytes_remaining=number("memory_remaining") + number("disk_remaining"),
        dirty_bytes_per_second=float(number("memory_dirty_rate") * (number("memory_page_size") or 4096)),
        bytes_per_second=float(number("memory_bps") + number("disk_bps")),
        iteration=number("memory_iteration"),
        throttle=number("auto_converge_throttle") / 100,
        post_copy=post_copy,
    )


def read_statistics(stats: Mapping[str, Any]) -> MigrationStatistics | None:
    """From virDomainGetJobStats of a completed job; None when that was no migration."""
    migrations = (libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN, libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT)
    if stats.get("type") != libvirt.VIR_DOMAIN_JOB_COMPLETED or stats.get("operation") not in migrations:
        return None
    elapsed, downtime, iterations = stats.get("time_elapsed"), stats.get("downtime"), stats.get("memory_iteration")
    number = _numbers(stats)
    return MigrationStatistics(
        total_seconds=elapsed / 1000 if elapsed is not None else None,
        downtime_seconds=downtime / 1000 if downtime is not None else None,
        bytes_transferred=number("memory_processed") + number("disk_processed")
        if "memory_processed" in stats
        else None,
        iterations=iterations,
    )


def is_incoming(domain: libvirt.virDomain) -> bool:
    """Whether a domain is the arriving end of a migration and does not run yet.

    Asks only for what libvirt answers without waiting for the job itself: an arriving domain has no definition yet,
    and libvirt refuses to tell its job's figures (libvirt 9.0), or names the direction (later ones).
    """
    state, reason = (int(figure) for figure in domain.state())
    if state != libvirt.VIR_DOMAIN_PAUSED:
        return False
    if reason in _ARRIVING and domain.isPersistent() != 1:
        return True
    try:
        stats: Any = domain.jobStats(0)
    except libvirt.libvirtError as error:
        return error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID and "source host" in str(error)
    return bool(stats.get("type")) and stats.get("operation") == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN


def _numbers(stats: Mapping[str, Any]) -> Callable[[str], int]:
    return lambda key: int(stats.get(key) or 0)
