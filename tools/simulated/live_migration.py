"""Live migration from a simulated node: the call, its job, and what steers it, as libvirt has them."""

from __future__ import annotations

from collections.abc import Sequence

from models.errors import ActionFailed, BadInput, Indeterminate, Lasting, MigrationFailed, MigrationRefused
from models.fleet import VmState
from models.migration.convergence import JobProgress
from tools.ports.migration import MigrationOptions, MigrationStatistics
from tools.ports.vms import IO_ERROR
from tools.simulated.domains import DomainAccess
from tools.simulated.migration import End, Migration, Phase
from tools.simulated.storage import SimulatedStorage

ABORT_SECONDS = 60.0
"""how long a job may take to end once it was told to, as with the real ones"""
_POLL_SECONDS = 0.1


class SimulatedLiveMigration:
    """The part of SimulatedNode that moves running guests."""

    def __init__(self, access: DomainAccess, storage: SimulatedStorage) -> None:
        self._access = access
        self._fleet = access.fleet
        self._name = access.name
        self._storage = storage

    def migrate_live(self, uuid: str, target: str, options: MigrationOptions) -> None:
        fleet, clock = self._fleet, self._fleet.clock
        if target not in fleet.machines or target == self._name:
            raise BadInput(f"node {self._name} has no way to {target!r}", hint="add the target under `nodes`")
        with self._access.domain(uuid) as domain:
            migration = self.prepare(uuid, target, options)
            downtime_before, domain.max_downtime = domain.max_downtime, options.max_downtime_seconds
            fleet.begin(migration)
        timed_out = False
        while True:
            with fleet.lock:
                fleet.advance()
            fleet.do_afterwards(uuid)
            with fleet.lock:
                fleet.advance()
                end, error = migration.end, migration.error
                connected = self._access.connected()
                late = clock.monotonic() - migration.started >= options.timeout_seconds
                if connected and end is None and late and not timed_out:
                    timed_out = True
                    if not migration.post_copy:
                        fleet.abort(migration)
                    continue
                abort_asked_at = migration.abort_asked_at
            if not connected or end is End.SOURCE_LOST:
                raise self._access.unreachable("while a vm was migrating")
            if end is End.FAILED:
                domain.max_downtime = downtime_before
                raise MigrationFailed(
                    f"vm {uuid}: libvirt on {self._name} says: {error}", hint="both nodes are looked at next"
                )
            if end is End.DONE:
                return
            if abort_asked_at is not None and clock.monotonic() - abort_asked_at >= ABORT_SECONDS:
                raise Indeterminate(
                    f"vm {uuid}: the migration did not end within {ABORT_SECONDS:g} s of being told to",
                    hint=f"look with `virsh domjobinfo {uuid}` on {self._name}",
                )
            now = clock.monotonic()
            clock.sleep(max(min(_POLL_SECONDS, migration.next_phase_at() - now), 0.0))

    def prepare(self, uuid: str, target: str, options: MigrationOptions) -> Migration:
        """A migration that could begin now. Raises MigrationFailed as libvirt would. Called with the lock held."""
        fleet, there = self._fleet, self._fleet.machines[target]
        domain = fleet.machines[self._name].domains[uuid]
        refusal = ""
        if not domain.active:
            refusal = "domain is not running"
        elif fleet.job(uuid, self._name) is not None:
            refusal = "another job is active"
        elif not there.powered or not there.libvirtd or not fleet.linked(self._name, target):
            refusal = f"unable to connect to server at '{target}:16514'"
        elif options.tls and not there.tls:
            refusal = "the certificate of the target has expired"
        elif uuid in there.domains:
            refusal = f"domain is already defined on {target}"
        elif domain.state is VmState.PAUSED and domain.reason == IO_ERROR and options.abort_on_io_error:
            refusal = "cannot migrate domain with I/O error"
        if refusal:
            raise MigrationFailed(
                f"vm {uuid}: libvirt on {self._name} says: {refusal}", hint="both nodes are looked at next"
            )
        lasting = domain.live_refusal or next(iter(domain.described.bound), "")
        if lasting:
            raise MigrationRefused(
                f"vm {uuid}: libvirt on {self._name} says: cannot migrate domain: {lasting}",
                hint="both nodes are looked at next",
                lasting=Lasting.EVERYWHERE,
            )
        guest = fleet.guests.get(uuid)
        rate = min(fleet.machines[name].node.migration_bytes_per_second for name in (self._name, target))
        if options.bandwidth_bytes_per_second is not None:
            rate = min(rate, options.bandwidth_bytes_per_second)
        return Migration(
            uuid=uuid,
            source=self._name,
            target=target,
            options=options,
            started=fleet.clock.monotonic(),
            memory_bytes=domain.described.memory_bytes,
            disk_bytes=sum(
                d.allocated_bytes
                for d in self._storage.disks(domain)
                if d.device in options.copy_disks and not d.shared
            ),
            dirty_bytes_per_second=guest.dirties(domain.io_limits)
            if guest is not None and domain.state is VmState.RUNNING
            else 0.0,
            bytes_per_second=rate,
        )

    def migration_blockers(self, uuids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        with self._access.answering() as machine:
            known = {uuid: machine.domains[uuid] for uuid in uuids if uuid in machine.domains}
            return {
                uuid: (domain.live_refusal,) if domain.live_refusal else ()
                for uuid, domain in known.items()
                if domain.active and not domain.hides_blockers
            }

    def job(self, uuid: str) -> JobProgress | None:
        with self._access.answering():
            migration = self._fleet.job(uuid, self._name)
            return migration.progress(self._fleet.clock.monotonic()) if migration is not None else None

    def completed_job(self, uuid: str) -> MigrationStatistics | None:
        with self._access.answering() as machine:
            migration = machine.completed.get(uuid)
            return migration.statistics() if migration is not None else None

    def abort_job(self, uuid: str) -> None:
        with self._access.answering():
            migration = self._fleet.job(uuid, self._name)
            if migration is None:
                return
            if migration.post_copy or migration.has(Phase.HANDED_OVER):
                raise ActionFailed(
                    f"vm {uuid} on node {self._name}: its job can't be ended",
                    hint="the guest runs at the target already",
                )
            self._fleet.abort(migration)

    def set_max_downtime(self, uuid: str, seconds: float) -> None:
        with self._access.domain(uuid) as domain:
            domain.max_downtime = seconds
            migration = self._fleet.job(uuid, self._name)
            if migration is not None:
                migration.set_max_downtime(self._fleet.clock.monotonic(), seconds)

    def start_post_copy(self, uuid: str) -> None:
        with self._access.domain(uuid):
            migration = self._fleet.job(uuid, self._name)
            now = self._fleet.clock.monotonic()
            why = ""
            if migration is None or not migration.copies_memory(now):
                why = "post-copy can only be started while outgoing migration is in progress"
            elif not migration.options.post_copy:
                why = "switching to post-copy requires migration to be started with the post-copy flag"
            if migration is None or why:
                raise ActionFailed(f"post-copy of vm {uuid} on node {self._name} failed: {why}")
            migration.switch_to_post_copy(now)
