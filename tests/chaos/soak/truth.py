"""What must hold of a large fleet at any time, and at the end of a day, by the simulation's truth and the journal."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from chaos.soak.guests import Peculiar, at_risk_of_starting_twice
from chaos.soak.rules import broken_by

from agent.state.requests import read_requests, unfinished
from models.errors import LifeboatError
from models.evacuation import Attempt, AttemptOutcome
from models.fleet import VmState
from models.plan import ActionKind
from models.policy.policy import Policy
from models.risk.tier import Tier
from tools.archive.store import FsspecArchiveStore
from tools.ports.journal import Entry, Journal
from tools.ports.records.attempts import AttemptEnded, AttemptIntended
from tools.ports.records.evacuations import EvacuationPlanned, EvacuationStarted
from tools.ports.records.nodes import TiersChanged
from tools.simulated.fleet import SimulatedFleet

STUCK_AFTER = timedelta(hours=2)
"""an evacuation that nobody paused is over by then: its moves have 15 minutes each"""
STOP_GRACE = timedelta(minutes=2)
"""what was on its way when the kill switch was thrown is written down by then"""
BLIND_GRACE = timedelta(minutes=10)
"""beyond policy's `data.max_age`: a summary may be five minutes old when it is read, and a look takes some"""
STOPPED = (ActionKind.COLD_MIGRATE, ActionKind.COLD_ARCHIVE)


@dataclass(kw_only=True)
class Truth:
    """The fleet as it is, watched all the time."""

    fleet: SimulatedFleet
    policy: Policy
    died: set[str] = field(default_factory=set[str])
    """vms that a node took along: they are off until somebody starts them"""
    most: Counter[str] = field(default_factory=Counter[str])
    """how many moves there were at once, at most: of a node, of the fleet"""
    broken: list[str] = field(default_factory=list[str])
    stopped: list[tuple[datetime, datetime]] = field(default_factory=list[tuple[datetime, datetime]])
    """when the kill switch was thrown, and when it was taken back"""
    blind: Sequence[tuple[str, datetime, datetime]] = ()
    """node, and from when to when nothing is told of it"""
    peculiar: Peculiar = field(default_factory=Peculiar)
    looked_at: Counter[str] = field(default_factory=Counter[str])
    """how often there was something to be wrong, by what"""
    _over: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Until `end`: the limits of moves at once, as the nodes see them."""
        limits = self.policy.limits
        while not self._over.wait(0.02):
            with self.fleet.lock:
                moving = [(m.source, m.target) for m in self.fleet.migrations if m.end is None]
                self._check_room({target for _, target in moving})
            outbound, inbound = Counter(s for s, _ in moving), Counter(t for _, t in moving)
            for what, now, most in (
                ("out of one node", max(outbound.values(), default=0), limits.outbound_per_node),
                ("into one node", max(inbound.values(), default=0), limits.inbound_per_node),
                ("over one link", max(Counter(moving).values(), default=0), limits.per_link),
                ("in the fleet", len(moving), limits.per_fleet),
            ):
                self.most[what] = max(self.most[what], now)
                if now > most:
                    self.say(f"{now} moves {what} at once, {most} are allowed")

    def _check_room(self, targets: Iterable[str]) -> None:
        """Nobody moves onto a node past the memory it keeps back. The fleet's lock is held."""
        for target in targets:
            machine = self.fleet.machines[target]
            taken = sum(
                each.described.memory_bytes for each in machine.domains.values() if each.active or each.incoming
            )
            if taken > machine.node.memory_bytes - machine.node.memory_reserved_bytes:
                self.say(f"{target} takes {taken} bytes of guests, past its reserve")

    def end(self) -> None:
        self._over.set()

    def say(self, what: str) -> None:
        if what not in self.broken:
            self.broken.append(what)

    def note_dying(self, node: str) -> None:
        """Called before a node is killed: what runs there is off then, and nobody's fault."""
        with self.fleet.lock:
            self.fleet.advance()
            self.died |= {uuid for uuid, domain in self.fleet.machines[node].domains.items() if domain.active}

    def check(self, journal: Journal, store: FsspecArchiveStore, now: datetime, *, at_the_end: bool) -> None:
        """Everything that must hold now; `at_the_end`: all is mended, and everything has had its time."""
        for uuid in sorted(self.fleet.ran_twice):
            self.say(f"{self._name(uuid)} ran twice at once")
        try:
            journal.verify()
        except LifeboatError as error:
            self.say(f"audit: {error}")
        ended = [entry.record.attempt for entry in journal.of(AttemptEnded)]
        intended = journal.of(AttemptIntended)
        frozen = {each.action.vm for each in ended if each.outcome is AttemptOutcome.INDETERMINATE}
        archived = {entry.vm_uuid for entry in store.entries()}
        known = self._known()
        for uuid in self.fleet.guests:
            where = known.get(uuid, [])
            running = [name for name, runs in where if runs]
            if len(running) > 1:
                self.say(f"{self._name(uuid)} runs on {' and '.join(running)}")
            if not where and uuid not in archived:
                self.say(f"{self._name(uuid)} is lost: on no node, and in no archive")
        self._check_requests(journal, intended, now)
        with self.fleet.lock:
            doubtful = [each for each in at_risk_of_starting_twice(self.fleet) if each[0] not in frozen]
        for uuid, node in doubtful:
            self.say(f"{self._name(uuid)} runs, and would start a second time with {node} (14)")
        if at_the_end:
            self._check_unknown(journal)
            self._check_peculiar(journal, intended)
            for wrong in broken_by(journal.entries(), journal.locks()):
                self.say(f"journal: {wrong}")
            for entry in store.entries():
                try:
                    store.verify(entry.id)
                except LifeboatError as error:
                    self.say(f"archive {entry.id}: {error}")
            self._check_end(journal, ended, {e.attempt or "" for e in intended}, frozen, archived, known)

    def _check_unknown(self, journal: Journal) -> None:
        """What nothing is known of is not healthy: its tier says so, and nothing is sent there (11)."""
        for entry in journal.of(TiersChanged):
            for step in entry.record.changes:
                if self._is_blind(step.node, entry.at):
                    self.looked_at["tiers of nodes of which nothing is known"] += 1
                    if not step.unknown_data or step.tier is not Tier.CORDON:
                        self.say(
                            f"{step.node} is said to be at {step.tier} at {entry.at:%H:%M}, and nothing is known (11)"
                        )
        for started in journal.of(EvacuationStarted):
            seen_at = started.record.fleet.observed_at
            self.looked_at["plans made while something is unknown"] += any(
                self._is_blind(node, seen_at) for node, _, _ in self.blind
            )
            for action in started.record.plan.moves:
                if action.target is not None and self._is_blind(action.target, seen_at):
                    self.say(
                        f"{started.evacuation} sends {action.vm_name} to {action.target}: nothing is known of it (11)"
                    )

    def _is_blind(self, node: str, at: datetime) -> bool:
        """Whether so little was told of a node for so long that it counts as unknown."""
        late = self.policy.data.max_age + BLIND_GRACE
        return any(node == each and since + late <= at < until for each, since, until in self.blind)

    def _check_peculiar(self, journal: Journal, intended: Sequence[Entry[AttemptIntended]]) -> None:
        """Guests whose definition isn't understood are not stopped (13); what outsiders write allows nothing (15)."""
        for each in journal.of(EvacuationStarted):
            for action in each.record.plan.actions:
                self.looked_at["guests that nobody understands, planned for"] += (
                    action.vm in self.peculiar.not_understood
                )
                self.looked_at["guests with an outsider's words, planned for"] += action.vm in self.peculiar.outsiders
        for entry in intended:
            action = entry.record.action
            self.looked_at["moves of guests that start with their node"] += action.vm in self.peculiar.autostart
            if action.kind in STOPPED and action.vm in self.peculiar.not_understood:
                self.say(f"{self._name(action.vm)}, which nobody understands, is stopped for a {action.kind} (13)")
            if action.kind is ActionKind.COLD_ARCHIVE and action.vm in self.peculiar.no_consent:
                self.say(f"{self._name(action.vm)} is archived by a label that can't be read (15)")
        for planned in journal.of(EvacuationPlanned):
            if planned.record.plan.planned_by.planner == "llm":
                self.say(f"{planned.evacuation} is planned by a language model that never answered as it should (13)")

    def _check_requests(self, journal: Journal, intended: Sequence[Entry[AttemptIntended]], now: datetime) -> None:
        for entry in intended:
            for since, until in self.stopped:
                if since + STOP_GRACE < entry.at < until:
                    self.say(f"attempt {entry.attempt} began at {entry.at:%H:%M:%S}, while the kill switch was thrown")
        for name in unfinished(journal):
            started = journal.entries(evacuation=name)[0].at
            if now - started > STUCK_AFTER and read_requests(journal, name).paused_by is None:
                self.say(f"{name} is not over after {now - started}")

    def _check_end(self, journal: Journal, ended: Sequence[Attempt], begun: set[str], frozen: set[str], archived: set[str],
                   known: Mapping[str, list[tuple[str, bool]]]) -> None:  # fmt: skip
        for name in unfinished(journal):
            self.say(f"{name} is not over at the end of the day")
        for attempt in sorted(begun - {each.id for each in ended}):
            self.say(f"attempt {attempt} never ended")
        by_id = {each.id: each for each in ended}
        for uuid, holder in journal.locks().items():
            if holder not in by_id or by_id[holder].outcome is not AttemptOutcome.INDETERMINATE:
                self.say(f"{self._name(uuid)} is locked by {holder}, which is not indeterminate")
        for uuid, where in known.items():
            if uuid in frozen:
                continue
            if len(where) > 1:
                self.say(f"{self._name(uuid)} is defined on {' and '.join(name for name, _ in where)}")
            if not any(runs for _, runs in where) and uuid not in self.died and uuid not in archived:
                self.say(f"{self._name(uuid)} is off on {where[0][0]}, and no node took it along")
        with self.fleet.lock:
            for node, machine in self.fleet.machines.items():
                for uuid, domain in machine.domains.items():
                    self._check_autostart(uuid, node, domain.autostart, frozen, archived, ended)
                    if uuid not in frozen and (domain.attempt is not None or domain.incoming):
                        self.say(f"{self._name(uuid)} on {node} still carries the mark of attempt {domain.attempt}")
        found_on = {entry.attempt: entry.record.initial.node for entry in journal.of(AttemptIntended)}
        last = {each.action.vm: each for each in ended}
        for uuid, attempt in last.items():
            target = attempt.action.target
            moved = attempt.outcome is AttemptOutcome.DONE and target is not None and uuid in known
            if moved and [name for name, _ in known[uuid]] != [target]:
                self.say(f"{self._name(uuid)}: the journal has it on {target}, it is on {known[uuid]}")
            undone = attempt.outcome in (AttemptOutcome.FAILED, AttemptOutcome.CANCELLED) and attempt.id in found_on
            if undone and uuid in known and [name for name, _ in known[uuid]] != [found_on[attempt.id]]:
                self.say(f"{self._name(uuid)}: its move came to nothing, it is on {known[uuid]}")

    def _check_autostart(
        self, uuid: str, node: str, starts: bool, frozen: set[str], archived: set[str], ended: Sequence[Attempt]
    ) -> None:
        """What libvirt keeps beside the definition is the guest's wherever it is, and off where its archive has it (14)."""
        told = any(each.action.vm == uuid and "its autostart could not be set again" in each.message for each in ended)
        wanted = uuid in self.peculiar.autostart and uuid not in archived
        if starts is not wanted and uuid not in frozen and not told:
            self.say(
                f"{self._name(uuid)} on {node} {'starts' if starts else 'does not start'} with its node any more (14)"
            )

    def _known(self) -> dict[str, list[tuple[str, bool]]]:
        """vm → the nodes that know it, and whether it really runs there."""
        found: dict[str, list[tuple[str, bool]]] = {}
        with self.fleet.lock:
            self.fleet.advance()
            for name, machine in self.fleet.machines.items():
                for uuid, domain in machine.domains.items():
                    runs = machine.powered and domain.state is VmState.RUNNING and not domain.incoming
                    found.setdefault(uuid, []).append((name, runs))
        return found

    def _name(self, uuid: str) -> str:
        with self.fleet.lock:
            for machine in self.fleet.machines.values():
                if uuid in machine.domains:
                    return machine.domains[uuid].described.name
        return uuid
