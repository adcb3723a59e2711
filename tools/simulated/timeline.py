"""The course of things in a simulated fleet: how migrations get on with the clock, and what ends them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from models.fleet import VmState
from tools.clock import VirtualClock
from tools.ports.clock import Clock
from tools.simulated.migration import End, Migration, Phase
from tools.simulated.state import Guest, Image, Machine, SimulatedDomain


class Timeline:
    """Everything that is so in a fleet, brought up to the clock by whoever looks. Thread-safe where not said otherwise."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or VirtualClock()
        self.lock = threading.RLock()
        self.machines: dict[str, Machine] = {}
        self.shared_images: dict[str, Image] = {}
        self.guests: dict[str, Guest] = {}
        self.migrations: list[Migration] = []
        self.stopping: list[tuple[Machine, SimulatedDomain]] = []
        """guests that were asked to stop: few of a large fleet, which everybody who looks brings up to the clock"""
        self.ran_twice: set[str] = set()
        """uuids of vms of which two copies ever ran at once, however briefly"""
        self.lost_finish_resumes_source = False
        """What libvirt does when the link breaks while the destination is being started: it takes the missing answer
        for a failure and resumes the source, and then two copies run. Off by default; on, to see it noticed."""
        self._cut_links: set[frozenset[str]] = set()
        self._advancing = False
        self._planned: list[tuple[str, Phase, Callable[[], object]]] = []
        self._afterwards: list[tuple[str, Callable[[], object]]] = []

    def when(self, uuid: str, phase: Phase, do: Callable[[], object]) -> None:
        """Have `do` happen once, when a migration of this vm next reaches that phase. An error it raises becomes
        libvirt's answer: the job fails then (before the destination runs the guest), or is reported to have failed."""
        with self.lock:
            self._planned.append((uuid, phase, do))

    def after(self, uuid: str, phase: Phase, do: Callable[[], object]) -> None:
        """As `when`, but `do` is called right after it by whoever carries the migration, with nothing locked: it may
        take its time, and wait for what others do with the fleet meanwhile."""
        self.when(uuid, phase, lambda: self._afterwards.append((uuid, do)))

    def do_afterwards(self, uuid: str) -> None:
        """Called without the lock held."""
        with self.lock:
            due = [do for of, do in self._afterwards if of == uuid]
            self._afterwards = [each for each in self._afterwards if each[0] != uuid]
        for do in due:
            do()

    def linked(self, one: str, other: str) -> bool:
        return frozenset((one, other)) not in self._cut_links

    def begin(self, migration: Migration) -> None:
        """Called with the lock held."""
        source, target = self.machines[migration.source], self.machines[migration.target]
        leaving = source.domains[migration.uuid]
        target.domains[migration.uuid] = SimulatedDomain(
            xml=leaving.xml,
            described=leaving.described,
            state=VmState.PAUSED,
            reason="starting up",
            persistent=False,
            incoming=True,
            attempt=leaving.attempt,
            io_limits={device: dict(limits) for device, limits in leaving.io_limits.items()},
            on_poweroff=leaving.on_poweroff,
        )
        self.migrations.append(migration)
        self._reach(migration, Phase.BEGIN)
        self._judge_all()

    def advance(self) -> None:
        """Bring everything up to the clock. Called with the lock held."""
        if self._advancing:  # what breaks at a phase does so before the next one
            return
        self._advancing = True
        try:
            self._advance_to(self.clock.monotonic())
        finally:
            self._advancing = False

    def _advance_to(self, now: float) -> None:
        for machine, domain in self.stopping:
            if domain.stops_at is not None and domain.stops_at <= now:
                domain.stops_at = None
                stops = machine.powered and domain.state is VmState.RUNNING
                if stops and domain.on_poweroff == "destroy":
                    domain.state, domain.reason, domain.io_limits = VmState.SHUTOFF, "shut down", {}
                    domain.on_poweroff = domain.described.on_poweroff
        self.stopping = [each for each in self.stopping if each[1].stops_at is not None]
        for migration in list(self.migrations):
            for phase in (Phase.COPYING, Phase.SWITCHOVER, Phase.HANDED_OVER, Phase.DONE):
                if migration.end is None and not migration.has(phase) and migration.at(phase) <= now:
                    self._reach(migration, phase)
            if migration.end is not None and migration in self.migrations:
                self.migrations.remove(migration)

    def job(self, uuid: str, source: str) -> Migration | None:
        return next((m for m in self.migrations if m.uuid == uuid and m.source == source and m.end is None), None)

    def abort(self, migration: Migration) -> None:
        """Somebody told the job to end. Called with the lock held."""
        if migration.ignores_abort:
            migration.abort_asked_at = migration.abort_asked_at or self.clock.monotonic()
        else:
            self.fail(migration, "operation aborted: migration out: canceled by client")

    def fail(self, migration: Migration, error: str, end: End = End.FAILED) -> None:
        """The job ends early. Before the guest runs at the destination it stays, or goes on, at the source."""
        if migration.end is not None:
            return
        migration.end, migration.error = end, error
        leaving = self.machines[migration.source].domains.get(migration.uuid)
        arriving = self.machines[migration.target].domains.get(migration.uuid)
        if migration.has(Phase.HANDED_OVER):
            if migration.post_copy:
                for half in (leaving, arriving):  # each holds a part of its memory, and neither can go on
                    if half is not None and half.active:
                        half.state, half.reason = VmState.PAUSED, "post-copy failed"
            elif self.lost_finish_resumes_source and end is End.FAILED and leaving is not None and leaving.active:
                leaving.state, leaving.reason = VmState.RUNNING, "migration canceled"
                self.note_running(migration.uuid)
            return  # else it stays paused: nobody knows how it ended
        if arriving is not None and arriving.incoming:
            del self.machines[migration.target].domains[migration.uuid]
        for path in self._copied_paths(migration):
            # libvirt makes the images it copies into, and does not remove them again (seen with 9.0)
            self.machines[migration.target].images.setdefault(path, Image(b"", "raw", 0))
        if leaving is not None and leaving.reason == "migration":
            leaving.state, leaving.reason = VmState.RUNNING, "migration canceled"

    def note_running(self, uuid: str) -> None:
        if len(self._running_on(uuid)) > 1:
            self.ran_twice.add(uuid)

    def _running_on(self, uuid: str) -> list[str]:
        return sorted(
            name
            for name, machine in self.machines.items()
            if machine.powered
            and (domain := machine.domains.get(uuid)) is not None
            and domain.state is VmState.RUNNING
            and not domain.incoming
        )

    def _reach(self, migration: Migration, phase: Phase) -> None:
        source, target = self.machines[migration.source], self.machines[migration.target]
        leaving, arriving = source.domains.get(migration.uuid), target.domains.get(migration.uuid)
        if leaving is not None and not leaving.active and not migration.has(Phase.HANDED_OVER):
            self.fail(migration, "the guest stopped while it moved")
            return
        migration.passed.add(phase)
        if arriving is None or (leaving is None and phase is not Phase.DONE):
            self.fail(migration, "the vm vanished while it moved")
            return
        if phase is Phase.COPYING:
            arriving.reason = "migration"
        elif phase is Phase.SWITCHOVER and leaving is not None:
            if leaving.state is VmState.RUNNING:
                leaving.state, leaving.reason = VmState.PAUSED, "migration"
        elif phase is Phase.HANDED_OVER and leaving is not None:
            was_running = leaving.reason == "migration"
            arriving.incoming, arriving.persistent = False, True
            arriving.state = VmState.RUNNING if was_running else VmState.PAUSED
            arriving.reason = "" if was_running else leaving.reason
            arriving.attempt = leaving.attempt
            for path in self._copied_paths(migration):
                target.images[path] = source.images[path]
            self.note_running(migration.uuid)
        elif phase is Phase.DONE:
            source.domains.pop(migration.uuid, None)
            target.completed[migration.uuid] = migration
            migration.end = End.DONE
        self._do_planned(migration, phase)
        self._judge_all()

    def _do_planned(self, migration: Migration, phase: Phase) -> None:
        for planned in [each for each in self._planned if each[:2] == (migration.uuid, phase)]:
            self._planned.remove(planned)
            try:
                planned[2]()
            except Exception as error:  # whatever a test raises is libvirt's answer
                if migration.end is End.DONE:
                    migration.end, migration.error = End.FAILED, str(error)
                else:
                    self.fail(migration, str(error))

    def _judge_all(self) -> None:
        """What a node, a libvirtd or a link that just went away means for the migrations under way."""
        for migration in self.migrations:
            if migration.end is not None:
                continue
            source, target = self.machines[migration.source], self.machines[migration.target]
            if not (source.powered and source.libvirtd):
                self.fail(migration, "the source's libvirtd went away", End.SOURCE_LOST)
            elif not (target.powered and target.libvirtd) or not self.linked(migration.source, migration.target):
                self.fail(migration, f"lost the connection to {migration.target}")

    def _copied_paths(self, migration: Migration) -> Iterable[str]:
        source = self.machines[migration.source]
        domain = source.domains.get(migration.uuid)
        disks = domain.described.disks if domain is not None else ()
        return [d.path for d in disks if d.device in migration.options.copy_disks and d.path in source.images]
