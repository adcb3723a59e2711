"""`SimulatedNode`: one node of a simulated fleet, behind the Hypervisor port. Answers as LibvirtNode does."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta

from models.errors import ActionFailed, BadInput, IdentityUnproven, Indeterminate, MigrationFailed, PrecheckFailed
from models.fleet import Node, Vm, VmState
from models.migration.convergence import JobProgress
from tools.domain.labels import read_labels
from tools.domain.xml import parse_domain
from tools.ports.compatibility import Certificate, Versions
from tools.ports.migration import MigrationOptions, MigrationStatistics
from tools.ports.vms import Cell, VmObservation
from tools.simulated.migration import End, Migration
from tools.simulated.state import SimulatedDomain
from tools.simulated.storage import SimulatedStorage
from tools.simulated.tuning import SimulatedSteering

ABORT_SECONDS = 60.0
"""how long a job may take to end once it was told to, as with the real ones"""
_POLL_SECONDS = 0.1


class SimulatedNode(SimulatedSteering, SimulatedStorage):
    """One simulated node."""

    def node(self) -> Node:
        with self._answering() as machine:
            return machine.node

    def vms(self) -> list[Vm]:
        with self._answering() as machine:
            return [
                self._vm(uuid, domain)
                for uuid, domain in sorted(machine.domains.items(), key=lambda item: item[1].described.name)
                if not domain.incoming
            ]

    def _vm(self, uuid: str, domain: SimulatedDomain) -> Vm:
        labels, described, disks = read_labels(domain.xml), domain.described, self._disks(domain)
        guest = self._fleet.guests.get(uuid)
        return Vm(
            uuid=uuid,
            name=described.name,
            node=self._name,
            memory_bytes=described.memory_bytes,
            vcpus=described.vcpus,
            state=domain.state,
            priority=labels.priority,
            workload=labels.workload,
            dirty_bytes_per_second=guest.dirty_bytes_per_second if guest else None,
            disk_bytes=sum(disk.allocated_bytes for disk in disks),
            shared_storage=all(disk.shared for disk in disks),
            anti_affinity_group=labels.anti_affinity_group,
            migratable=not described.bound,
            cold_archive_allowed=labels.cold_archive_allowed,
            probe=labels.probe,
            label_warning=labels.warning,
        )

    def observe(self, uuid: str) -> VmObservation | None:
        with self._answering() as machine:
            domain = machine.domains.get(uuid)
            if domain is None:
                return None
            return VmObservation(
                uuid=uuid,
                name=domain.described.name,
                node=self._name,
                state=domain.state,
                persistent=domain.persistent,
                disks=self._disks(domain),
                incoming=domain.incoming,
                attempt=domain.attempt,
                state_reason=domain.reason,
                saved_memory=domain.saved_memory,
                snapshots=domain.snapshots,
                nvram=domain.described.nvram,
                tpm=domain.described.tpm,
            )

    def uuid_of(self, name: str) -> str | None:
        with self._answering() as machine:
            return next((uuid for uuid, d in machine.domains.items() if d.described.name == name), None)

    def free_memory_bytes(self, *, hugepage_bytes: int = 0) -> int:
        with self._answering() as machine:
            if hugepage_bytes:
                return sum(cell.free(hugepage_bytes) for cell in machine.cells or ())
            used = sum(d.described.memory_bytes for d in machine.domains.values() if d.active)
            return max(0, machine.node.vm_memory_bytes - used)

    def domain_xml(self, uuid: str) -> str:
        with self._domain(uuid) as domain:
            if not domain.persistent:
                raise ActionFailed(
                    f"vm {uuid} on node {self._name} is transient", hint="define it first, or move it live"
                )
            return domain.xml

    def running_xml(self, uuid: str) -> str:
        with self._domain(uuid) as domain:
            return domain.xml

    def host_cpu(self) -> str:
        with self._answering() as machine:
            return f"<cpu><model>{machine.node.cpu_model}</model></cpu>"

    def widest_guest(self, virt_type: str) -> str:
        with self._answering() as machine:
            if virt_type not in ("kvm", "qemu"):
                return ""
            cpu = f"<cpu mode='custom'><model>{machine.node.cpu_model}</model></cpu>"
            return f"<domain type='{virt_type}'><name>guest</name>{cpu}</domain>"

    def cpu_compatible(self, domain_xml: str, host_cpu: str) -> str | None:
        with self._answering() as machine:
            domain = parse_domain(domain_xml)
            cpu = host_cpu if domain.cpu_mode == "host-passthrough" else domain.cpu_xml
            if cpu is None or f">{machine.node.cpu_model}<" in cpu:
                return None
            return cpu.partition("<model>")[2].partition("<")[0] or "what its host has"

    def machine_compatible(self, domain_xml: str) -> str | None:
        with self._answering() as machine:
            wanted = parse_domain(domain_xml).machine
            return None if not wanted or wanted in machine.machine_types else f"machine type {wanted}"

    def common_cpu_model(self, domain_xml: str, host_cpus: Sequence[str]) -> str | None:  # noqa: ARG002
        with self._answering():
            models = {xml.partition("<model>")[2].partition("<")[0] for xml in host_cpus}
            return models.pop() if len(models) == 1 else "qemu64"

    def versions(self) -> Versions:
        with self._answering() as machine:
            return machine.versions

    def cells(self) -> tuple[Cell, ...]:
        free = self.free_memory_bytes()
        with self._answering() as machine:
            return machine.cells if machine.cells is not None else (Cell(0, machine.node.memory_bytes, free),)

    def clock_offset_seconds(self) -> float | None:
        with self._answering() as machine:
            return machine.clock_offset_seconds

    def closed_port(self) -> str | None:
        with self._answering() as machine:
            return None if machine.port_open else f"{self._name}:16514: Connection refused"

    def tls_certificate(self) -> Certificate:
        return Certificate(self.tls_fingerprint(), self._fleet.clock.now() + timedelta(days=365))

    def tls_fingerprint(self) -> str:
        with self._answering() as machine:
            if not machine.tls:
                raise IdentityUnproven(
                    f"node {self._name}: its certificate does not hold: it has expired", hint="renew it"
                )
            return hashlib.sha256((machine.certificate or self._name).encode()).hexdigest()

    def tag_attempt(self, uuid: str, attempt: str | None) -> None:
        with self._domain(uuid) as domain:
            domain.attempt = attempt

    def migrate_live(self, uuid: str, target: str, options: MigrationOptions) -> None:
        fleet, clock = self._fleet, self._fleet.clock
        if target not in fleet.machines or target == self._name:
            raise BadInput(f"node {self._name} has no way to {target!r}", hint="add the target under `nodes`")
        with self._domain(uuid) as domain:
            migration = self.prepare_migration(uuid, target, options)
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
                connected = self._connected()
                late = clock.monotonic() - migration.started >= options.timeout_seconds
                if connected and end is None and late and not timed_out:
                    timed_out = True
                    if not migration.post_copy:
                        fleet.abort(migration)
                    continue
                told = migration.abort_asked_at
            if not connected or end is End.SOURCE_LOST:
                raise self._unreachable("while a vm was migrating")
            if end is End.FAILED:
                domain.max_downtime = downtime_before
                raise MigrationFailed(
                    f"vm {uuid}: libvirt on {self._name} says: {error}", hint="both nodes are looked at next"
                )
            if end is End.DONE:
                return
            if told is not None and clock.monotonic() - told >= ABORT_SECONDS:
                raise Indeterminate(
                    f"vm {uuid}: the migration did not end within {ABORT_SECONDS:g} s of being told to",
                    hint=f"look with `virsh domjobinfo {uuid}` on {self._name}",
                )
            now = clock.monotonic()
            clock.sleep(max(min(_POLL_SECONDS, migration.next_phase_at() - now), 0.0))

    def prepare_migration(self, uuid: str, target: str, options: MigrationOptions) -> Migration:
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
        elif domain.described.bound:
            refusal = domain.described.bound[0]
        if refusal:
            raise MigrationFailed(
                f"vm {uuid}: libvirt on {self._name} says: {refusal}", hint="both nodes are looked at next"
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
                d.allocated_bytes for d in self._disks(domain) if d.device in options.copy_disks and not d.shared
            ),
            dirty_bytes_per_second=guest.dirties(domain.io_limits)
            if guest is not None and domain.state is VmState.RUNNING
            else 0.0,
            bytes_per_second=rate,
        )

    def job(self, uuid: str) -> JobProgress | None:
        with self._answering():
            migration = self._fleet.job(uuid, self._name)
            return migration.progress(self._fleet.clock.monotonic()) if migration is not None else None

    def completed_job(self, uuid: str) -> MigrationStatistics | None:
        with self._answering() as machine:
            migration = machine.completed.get(uuid)
            return migration.statistics() if migration is not None else None

    def shut_down(self, uuid: str, *, press_button: bool = False) -> None:
        with self._domain(uuid) as domain:
            if domain.state is VmState.PAUSED:
                raise ActionFailed(f"vm {uuid} on node {self._name} is paused and can't hear a request to stop")
            guest = self._fleet.guests.get(uuid)
            seconds = guest.stop_seconds if guest is not None else 2.0
            deaf = guest is not None and guest.agent_does_nothing and not press_button
            if domain.state is VmState.RUNNING and seconds is not None and domain.stops_at is None and not deaf:
                domain.stops_at = self._fleet.clock.monotonic() + seconds

    def power_off(self, uuid: str) -> None:
        with self._domain(uuid) as domain:
            if domain.active:
                domain.state, domain.reason, domain.stops_at = VmState.SHUTOFF, "destroyed", None
                domain.io_limits = {}

    def start(self, uuid: str) -> None:
        with self._domain(uuid) as domain:
            why = ""
            if domain.active:
                why = "domain is already running"
            elif any(not self._has_image(disk.path) for disk in self._needed(domain)):
                why = "a disk image is missing"
            elif any(path not in self._fleet.machines[self._name].state_files for path in self._state_paths(domain)):
                why = "its UEFI variables or TPM state are missing"
            if why:
                raise ActionFailed(
                    f"starting vm {uuid} on node {self._name} failed: {why}", hint="look at the vm first"
                )
            domain.state, domain.reason, domain.saved_memory = VmState.RUNNING, "", False
            self._fleet.note_running(uuid)

    def resume(self, uuid: str) -> None:
        with self._domain(uuid) as domain:
            if domain.state is not VmState.PAUSED:
                raise ActionFailed(f"resuming vm {uuid} on node {self._name} failed: it is not paused")
            domain.state, domain.reason, domain.incoming = VmState.RUNNING, "", False
            self._fleet.note_running(uuid)

    def define(self, xml: str) -> str:
        described = parse_domain(xml)
        with self._answering() as machine:
            for uuid, domain in machine.domains.items():
                if uuid == described.uuid or domain.described.name == described.name:
                    raise PrecheckFailed(
                        f"node {self._name} has a vm {domain.described.name} ({uuid}) already",
                        hint="find out which one is the right one; nothing was changed",
                    )
            machine.domains[described.uuid] = SimulatedDomain(xml, described)
            return described.uuid

    def undefine(self, uuid: str, *, with_snapshots: bool = False) -> None:
        with self._domain(uuid) as domain:
            if domain.active or domain.saved_memory or (domain.snapshots and not with_snapshots):
                raise ActionFailed(
                    f"vm {uuid} on node {self._name} is not shut off, or something would be lost: its definition stays",
                    hint="look who started it",
                )
            del self._fleet.machines[self._name].domains[uuid]

    def close(self) -> None:
        """Nothing is held open."""
