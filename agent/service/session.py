"""From settings to hands: open what a command needs, close it afterwards."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING

from agent.actions.guarded_node import guarded, guarded_store
from agent.actions.resources import KILL_SWITCH, BlackoutMeter, Resources
from agent.actions.runner import needs_recovery
from agent.assess.monitor import Look
from agent.documents import read_policy
from agent.llm.choose import planner_named
from agent.plan.solver import Planner
from agent.service.known import knowledge_of
from agent.state.whereabouts import Whereabouts
from models.errors import BadInput
from models.fleet import Fleet, Vm
from models.knowledge import Knowledge
from models.policy.label_rights import with_label_rights
from models.policy.policy import Policy
from models.risk.risk import Risk
from models.situation import Situation
from tools.journal import AWAY_SECONDS, local_journal, local_lease, open_journal, open_leadership
from tools.llm.capabilities import LLM_DIRECTORY

if TYPE_CHECKING:
    from agent.execute.workflows import Durable
    from agent.llm.reader import LogLineReader, NoteReader
    from agent.settings import Settings
    from tools.ports.archives import ArchiveStore
    from tools.ports.hypervisor import Hypervisor
    from tools.ports.journal import Journal, Leadership, Lease


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a command that acts works with."""

    settings: Settings
    hands: Resources
    policy: Policy
    look: Look
    planner: Planner
    lease: Lease
    unled: Journal
    """as `hands.journal`, and written to whoever leads: what people decide"""
    leadership: Leadership | None = None
    """where several lifeboats share a database: the same as `lease`"""
    whereabouts: Whereabouts = field(default_factory=Whereabouts)
    unusable_forecasts: Callable[[], Mapping[str, str]] = dict[str, str]
    """which learned forecasts the last look could not use → why"""
    given_up: Callable[[], Mapping[str, int]] = dict[str, int]
    """node → how many questions to its libvirt got no answer in time"""

    @cached_property
    def durable(self) -> Durable:
        """Carries out what survives a crash. Loads DBOS (about a second), so only for who needs it."""
        from agent.execute.workflows import Durable

        return Durable(self.settings.state_dir, self.settings.database_url, self.leadership)


def open_archives(settings: Settings) -> ArchiveStore:
    """The archive store. Raises BadInput when none is configured."""
    if not settings.archive_url:
        raise BadInput("no archive store is configured", hint="set `archive_url` in the settings")
    from tools.archive.store import FsspecArchiveStore

    return FsspecArchiveStore(
        settings.archive_url,
        key_file=settings.state_dir / "archive-signing.key",
        encryption_key_file=settings.archive_key_file,
        options=settings.archive_options,
    )


def note_reader(settings: Settings, policy: Policy) -> NoteReader | None:
    """Who reads owners' notes; None where policy has nobody do it, or no model is configured."""
    if not policy.language_model.read_notes or settings.llm is None:
        return None
    from agent.llm.reader import NoteReader  # openai takes a second to import
    from agent.llm.record import LlmDirectory

    return NoteReader(llm=settings.llm, directory=LlmDirectory(settings.state_dir / LLM_DIRECTORY))


def log_line_reader(settings: Settings, policy: Policy) -> LogLineReader | None:
    """Who reads log lines that no pattern names; None as for `note_reader`."""
    if not policy.language_model.read_log_lines or settings.llm is None:
        return None
    from agent.llm.reader import LogLineReader
    from agent.llm.record import LlmDirectory

    return LogLineReader(llm=settings.llm, directory=LlmDirectory(settings.state_dir / LLM_DIRECTORY))


def _as_it_is(fleet: Fleet) -> Fleet:
    return fleet


@contextmanager
def connect(
    settings: Settings,
    policy_file: Path | None = None,
    *,
    planner: str = "solver",
    watch: Callable[[Vm], AbstractContextManager[BlackoutMeter]] | None = None,
    keep_ring: bool = False,
) -> Generator[Session]:
    """Open the nodes, the telemetry, the archive store and the journal of these settings; with `keep_ring` the summary ring.

    Raises BadInput when the settings or the policy can't be used. A node that does not answer is no error here.
    """
    from agent.assess.monitor import FleetMonitor
    from agent.observe.quiet_hours import loads_from
    from agent.observe.sources import node_clocks
    from agent.state.certificate_pins import Pins
    from tools.clock import SystemClock
    from tools.guest_probe import guest_asker
    from tools.libvirt.fleet import connect_nodes
    from tools.libvirt.given_up import GivenUp

    policy_path = policy_file or settings.policy_file
    policy = read_policy(policy_path) if policy_path is not None else Policy()
    leadership = _leadership(settings)
    whereabouts = Whereabouts.here(settings.runs_on)
    journal = open_journal(settings, under=leadership)
    unled = open_journal(settings) if leadership is not None else journal
    tally = GivenUp(node.name for node in settings.nodes)
    nodes: dict[str, Hypervisor] = dict(connect_nodes(settings, clock_offset=node_clocks(settings), tally=tally))
    monitor: FleetMonitor | None = None
    try:
        archives = open_archives(settings) if settings.archive_url else None
        clock = SystemClock()
        pins = Pins(settings.state_dir / "pins.json", unled, clock)
        require_lead = partial(leadership.require, patience_seconds=AWAY_SECONDS) if leadership is not None else _always
        hands = Resources(
            nodes={
                name: guarded(node, require_lead=require_lead, own_vm=whereabouts.machine_uuid)
                for name, node in nodes.items()
            },
            clock=clock,
            journal=journal,
            archives=guarded_store(archives, require_lead=require_lead) if archives is not None else None,
            watch=watch,
            pins=pins,
            ask_guest=guest_asker(policy.labels.probe_networks),
            tell_loads=loads_from(settings.prometheus, clock.now) if policy.wait.quiet_hours else None,
            kill_switch=settings.state_dir / KILL_SWITCH,
        )
        monitor = FleetMonitor(
            settings, nodes, keep_ring=keep_ring, keep_telemetry=planner == "llm", storage=policy.storage
        )
        watching = monitor

        def look() -> tuple[Fleet, list[Risk]]:
            fleet, risks = watching.poll()
            return heeded(with_label_rights(fleet, policy.labels)), lines_told(risks)

        def lines_told(risks: list[Risk]) -> list[Risk]:
            if lines is None:
                return risks
            from agent.llm.reader import with_troubles_told

            return with_troubles_told(risks, lines.troubles(watching.strange_lines()))

        def known(situation: Situation) -> Knowledge:
            notes = reader.notes(situation.fleet) if reader else ()
            telemetry = watching.telemetry
            if lines is not None:
                from agent.llm.reader import as_events

                read = as_events(lines.troubles(watching.strange_lines()), situation.now)
                telemetry = telemetry.model_copy(update={"events": (*telemetry.events, *read)})
            return knowledge_of(situation, telemetry=telemetry, notes=notes, journal=journal, settings=settings)

        reader, lines = note_reader(settings, policy), log_line_reader(settings, policy)
        heeded = reader.heeded if reader else _as_it_is
        planning = planner_named(
            planner,
            settings.llm,
            directory=settings.state_dir / LLM_DIRECTORY,
            knowledge=known,
        )
        yield Session(
            settings=settings,
            hands=hands,
            policy=policy,
            look=look,
            planner=planning,
            lease=leadership or local_lease(settings.state_dir),
            unled=unled,
            leadership=leadership,
            whereabouts=whereabouts,
            unusable_forecasts=lambda: watching.unusable,
            given_up=tally.counts,
        )
    finally:
        if monitor is not None:
            monitor.close()
        for node in nodes.values():
            node.close()
        journal.close()
        unled.close()
        if leadership is not None:
            leadership.close()


def _always() -> None:
    """The only lifeboat there is: nobody else can lead."""


def _leadership(settings: Settings) -> Leadership | None:
    """Of the lifeboats that share a database; None: this is the only one. Raises BadInput, also where a lifeboat has left work
    unfinished in `state_dir` before it shared one: nobody would finish that."""
    if settings.database_url is None:
        return None
    local = local_journal(settings.state_dir)
    if local is not None:
        try:
            if needs_recovery(local):
                raise BadInput(
                    f"{local.name} holds work that is not finished, and with database_url nobody finishes it",
                    hint="run `lifeboat resume` with settings that leave database_url out, then try again",
                )
        finally:
            local.close()
    where = f"{settings.state_dir.absolute()}"
    name = settings.agent or f"{gethostname()}-{sha256(where.encode()).hexdigest()[:6]}"
    return open_leadership(settings.database_url, agent=name, lease_seconds=settings.lease.total_seconds())
