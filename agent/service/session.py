"""From settings to hands: open what a command needs, close it afterwards."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from agent.actions.resources import BlackoutMeter, Resources
from agent.assess.monitor import Look
from agent.documents import read_policy
from agent.llm.choose import planner_named
from agent.plan.solver import Planner
from agent.service.known import knowledge_of
from models.errors import BadInput
from models.fleet import Fleet, Vm
from models.knowledge import Knowledge
from models.label_rights import with_label_rights
from models.policy import Policy
from models.risk import Risk
from models.situation import Situation
from tools.journal import open_journal
from tools.llm.capabilities import LLM_DIRECTORY

if TYPE_CHECKING:
    from agent.execute.workflows import Durable
    from agent.llm.reader import NoteReader
    from agent.settings import Settings
    from tools.ports.archives import ArchiveStore
    from tools.ports.hypervisor import Hypervisor


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a command that acts works with."""

    settings: Settings
    hands: Resources
    policy: Policy
    look: Look
    planner: Planner

    @cached_property
    def durable(self) -> Durable:
        """Carries out what survives a crash. Loads DBOS (about a second), so only for who needs it."""
        from agent.execute.workflows import Durable

        return Durable(self.settings.state_dir, self.settings.durable_url)


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
    from agent.observe.sources import node_clocks
    from agent.state.certificate_pins import Pins
    from tools.clock import SystemClock
    from tools.guest_probe import guest_asker
    from tools.libvirt.fleet import connect_nodes

    policy_path = policy_file or settings.policy_file
    policy = read_policy(policy_path) if policy_path is not None else Policy()
    journal = open_journal(settings.state_dir)
    nodes: dict[str, Hypervisor] = dict(connect_nodes(settings, clock_offset=node_clocks(settings)))
    monitor: FleetMonitor | None = None
    try:
        archives = open_archives(settings) if settings.archive_url else None
        clock = SystemClock()
        pins = Pins(settings.state_dir / "pins.json", journal, clock)
        hands = Resources(
            nodes=nodes,
            clock=clock,
            journal=journal,
            archives=archives,
            watch=watch,
            pins=pins,
            ask_guest=guest_asker(policy.labels.probe_networks),
        )
        monitor = FleetMonitor(settings, nodes, keep_ring=keep_ring, storage=policy.storage)
        watching = monitor

        def look() -> tuple[Fleet, list[Risk]]:
            fleet, risks = watching.poll()
            return heeded(with_label_rights(fleet, policy.labels)), risks

        def known(situation: Situation) -> Knowledge:
            notes = reader.notes(situation.fleet) if reader else ()
            return knowledge_of(
                situation, telemetry=watching.telemetry, notes=notes, journal=journal, settings=settings
            )

        reader = note_reader(settings, policy)
        heeded = reader.heeded if reader else _as_it_is
        planning = planner_named(
            planner,
            settings.llm,
            directory=settings.state_dir / LLM_DIRECTORY,
            knowledge=known,
        )
        yield Session(settings=settings, hands=hands, policy=policy, look=look, planner=planning)
    finally:
        if monitor is not None:
            monitor.close()
        for node in nodes.values():
            node.close()
        journal.close()
