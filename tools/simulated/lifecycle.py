"""A vm's life on a simulated node: defined, tagged, started, stopped, undefined."""

from __future__ import annotations

from models.errors import ActionFailed, Lasting, PrecheckFailed
from models.fleet import VmState
from tools.domain.xml import parse_domain
from tools.simulated.domains import DomainAccess
from tools.simulated.state import SimulatedDomain
from tools.simulated.storage import SimulatedStorage


class SimulatedLifecycle:
    """The part of SimulatedNode that defines, tags, starts and stops vms."""

    def __init__(self, access: DomainAccess, storage: SimulatedStorage) -> None:
        self._access = access
        self._fleet = access.fleet
        self._name = access.name
        self._storage = storage

    def tag_attempt(self, uuid: str, attempt: str | None) -> None:
        with self._access.domain(uuid) as domain:
            domain.attempt = attempt

    def shut_down(self, uuid: str, *, press_button: bool = False) -> None:
        with self._access.domain(uuid) as domain:
            if domain.state is VmState.PAUSED:
                raise ActionFailed(f"vm {uuid} on node {self._name} is paused and can't hear a request to stop")
            guest = self._fleet.guests.get(uuid)
            seconds = guest.stop_seconds if guest is not None else 2.0
            ignores_agent = guest is not None and guest.agent_does_nothing and not press_button
            if (
                domain.state is VmState.RUNNING
                and seconds is not None
                and domain.stops_at is None
                and not ignores_agent
            ):
                domain.stops_at = self._fleet.clock.monotonic() + seconds
                self._fleet.stopping.append((self._fleet.machines[self._access.name], domain))

    def set_autostart(self, uuid: str, on: bool) -> None:
        with self._access.domain(uuid) as domain:
            domain.autostart = on

    def set_on_poweroff(self, uuid: str, action: str) -> None:
        with self._access.domain(uuid) as domain:
            self._access.require_active(uuid, domain)
            domain.on_poweroff = action

    def power_off(self, uuid: str) -> None:
        with self._access.domain(uuid) as domain:
            if domain.active:
                domain.state, domain.reason, domain.stops_at = VmState.SHUTOFF, "destroyed", None
                domain.io_limits, domain.on_poweroff = {}, domain.described.on_poweroff

    def start(self, uuid: str) -> None:
        with self._access.domain(uuid) as domain:
            why = ""
            if domain.active:
                why = "domain is already running"
            elif any(not self._storage.has_image(disk.path) for disk in self._storage.needed(domain)):
                why = "a disk image is missing"
            elif any(
                path not in self._fleet.machines[self._name].state_files for path in self._storage.state_paths(domain)
            ):
                why = "its UEFI variables or TPM state are missing"
            if why:
                raise ActionFailed(
                    f"starting vm {uuid} on node {self._name} failed: {why}", hint="look at the vm first"
                )
            domain.state, domain.reason, domain.saved_memory = VmState.RUNNING, "", False
            domain.on_poweroff = domain.described.on_poweroff
            domain.starts += 1
            self._fleet.note_running(uuid)

    def resume(self, uuid: str) -> None:
        with self._access.domain(uuid) as domain:
            if domain.state is not VmState.PAUSED:
                raise ActionFailed(f"resuming vm {uuid} on node {self._name} failed: it is not paused")
            domain.state, domain.reason, domain.incoming = VmState.RUNNING, "", False
            self._fleet.note_running(uuid)

    def define(self, xml: str) -> str:
        described = parse_domain(xml)
        with self._access.answering() as machine:
            for uuid, domain in machine.domains.items():
                if uuid == described.uuid or domain.described.name == described.name:
                    raise PrecheckFailed(
                        f"node {self._name} has a vm {domain.described.name} ({uuid}) already",
                        hint="find out which one is the right one; nothing was changed",
                    )
            machine.domains[described.uuid] = SimulatedDomain(xml=xml, described=described)
            return described.uuid

    def try_definition(self, xml: str) -> str:
        machine = self._fleet.machines[self._name]
        with self._access.answering():
            taken = machine.takes_definition(xml)
        if taken is None:
            raise PrecheckFailed(
                f"libvirt on {self._name} does not take the definition",
                hint="nothing was changed",
                lasting=Lasting.AT_TARGET,
            )
        self.undefine(self.define(xml))
        return taken

    def undefine(self, uuid: str, *, with_snapshots: bool = False) -> None:
        with self._access.domain(uuid) as domain:
            if (
                domain.active
                or domain.saved_memory
                or ((domain.snapshots or domain.checkpoints) and not with_snapshots)
            ):
                raise ActionFailed(
                    f"vm {uuid} on node {self._name} is not shut off, or something would be lost: its definition stays",
                    hint="look who started it",
                )
            del self._fleet.machines[self._name].domains[uuid]

    def suspend(self, uuid: str) -> None:
        with self._access.domain(uuid) as domain:
            if domain.state is not VmState.RUNNING:
                raise ActionFailed(f"suspending vm {uuid} on node {self._name} failed: it is not running")
            migration = self._fleet.job(uuid, self._name)
            if migration is not None:
                migration.suspend(self._fleet.clock.monotonic())
            domain.state, domain.reason = VmState.PAUSED, "user" if migration is None else "migration"
