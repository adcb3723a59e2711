"""What a plan is made from: the nodes as they are, or files; and who makes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.plan.solver import Planner
    from models.fleet import Fleet
    from models.knowledge import Knowledge
    from models.policy.policy import Policy
    from models.risk.risk import Risk
    from models.situation import Situation

NOTES_PATIENCE_SECONDS = 20.0
"""how long a plan that somebody asks for waits until owners' notes are read"""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a plan is made from, and what is known besides."""

    situation: Situation
    knowledge: Knowledge


def observed_or_read(
    fleet_file: Path | None, risks_file: Path | None, policy_file: Path | None, config: Path | None
) -> Situation:
    """As `seen`, for planners that go by the figures alone."""
    return seen(fleet_file, risks_file, policy_file, config).situation


def seen(
    fleet_file: Path | None,
    risks_file: Path | None,
    policy_file: Path | None,
    config: Path | None,
    *,
    now: str | None = None,
    knowledge_file: Path | None = None,
    everything: bool = False,
) -> Seen:
    """What a plan is made from: the nodes as they are, or files as of their own time.

    `everything`: with what is known besides, of a live fleet; it costs a look into the journal, and at the telemetry.
    """
    from agent.cli.console import note
    from agent.documents import read_fleet, read_knowledge, read_risks
    from models.errors import BadInput
    from models.knowledge import Knowledge
    from models.situation import Situation

    policy = _policy(policy_file, config, live=fleet_file is None)  # a broken one is reported before any node is asked
    told = Knowledge() if knowledge_file is None else read_knowledge(knowledge_file)
    if fleet_file is None:
        if risks_file is not None or now is not None:
            raise BadInput("--risks and --now go with --fleet", hint="name the fleet file the risks belong to")
        live = _observe(config, policy, everything=everything)
        return live if knowledge_file is None else Seen(situation=live.situation, knowledge=told)
    fleet = read_fleet(fleet_file)
    risks = [] if risks_file is None else read_risks(risks_file)
    at = as_of(now, fleet, risks)
    for line in remarks(fleet, risks, risks_given=risks_file is not None):
        note(f"note: {line}")
    return Seen(situation=Situation(fleet=fleet, risks=risks, policy=policy, now=at), knowledge=told)


def _observe(config: Path | None, policy: Policy, *, everything: bool) -> Seen:
    from agent.assess.monitor import poll_once, poll_once_with_telemetry
    from agent.cli.console import note
    from agent.service.known import knowledge_of
    from agent.service.session import note_reader
    from agent.settings import load_settings
    from agent.state.refusals import fleet_as_known
    from models.knowledge import Knowledge
    from models.policy.label_rights import with_label_rights
    from models.situation import Situation
    from tools.journal import open_existing_journal

    settings = load_settings(config)
    told = Knowledge()
    if everything:
        fleet, risks, told = poll_once_with_telemetry(settings)
    else:
        fleet, risks = poll_once(settings)
    fleet, at = with_label_rights(fleet, policy.labels), as_of(None, fleet, risks)
    reader = note_reader(settings, policy)
    if reader is not None:
        fleet = reader.heeded(fleet, patience_seconds=NOTES_PATIENCE_SECONDS)
        if reader.problem:
            note(f"note: owners' notes are not all read, those count as unclear: {reader.problem}")
    journal = open_existing_journal(settings)
    try:
        if journal is not None:
            fleet = fleet_as_known(fleet, journal, policy, at)
        situation = Situation(fleet=fleet, risks=risks, policy=policy, now=at)
        if everything:
            notes = reader.notes(fleet) if reader is not None else ()
            told = knowledge_of(situation, telemetry=told, notes=notes, journal=journal, settings=settings)
    finally:
        if journal is not None:
            journal.close()
    return Seen(situation=situation, knowledge=told)


def _policy(policy_file: Path | None, config: Path | None, *, live: bool) -> Policy:
    """The policy file given, else (for a live fleet) that of the settings, else the default policy."""
    from agent.documents import read_policy
    from models.policy.policy import Policy

    if policy_file is not None:
        return read_policy(policy_file)
    if live:
        from agent.settings import load_settings

        from_settings = load_settings(config).policy_file
        if from_settings is not None:
            return read_policy(from_settings)
    return Policy()


def as_of(now: str | None, fleet: Fleet, risks: list[Risk]) -> datetime:
    """The time the files are judged at: `--now`, else the newest time in them. `apply` judges again by the clock."""
    if now is not None:
        from pydantic import TypeAdapter, ValidationError

        from models.base import UtcTime
        from models.errors import BadInput

        try:
            return TypeAdapter(UtcTime).validate_python(now)
        except ValidationError as error:
            raise BadInput(f"--now {now!r} is not a time with a zone", hint="such as 2026-11-23T04:00:00Z") from error
    return max([fleet.observed_at, *(risk.assessed_at for risk in risks if risk.assessed_at)])


def require_node(node: str, fleet: Fleet) -> None:
    """Raises BadInput, naming some that are there, for a NODE that is not."""
    from models.errors import BadInput

    if node not in fleet.node_by_name:
        known = ", ".join(sorted(fleet.node_by_name)[:8]) or "none"
        raise BadInput(f"NODE {node!r} is not in the fleet", hint=f"it has {known}")


def remarks(fleet: Fleet, risks: list[Risk], *, risks_given: bool) -> list[str]:
    """What a person should know about the files before they believe what follows."""
    told: list[str] = []
    if not risks_given:
        told.append("no --risks: every node's risk is unknown, so none triggers and none takes a vm")
    unmatched = [risk.node for risk in risks if risk.node not in fleet.node_by_name]
    if unmatched:
        more = f" and {len(unmatched) - 3} more" if unmatched[3:] else ""
        told.append(f"risks for nodes that are not in the fleet are left aside: {', '.join(unmatched[:3])}{more}")
    return told


def planner_for(name: str, config: Path | None, knowledge: Knowledge) -> Planner:
    """The planner of this name, told what is known besides; when another one has to stand in, that is on stderr."""
    from agent.cli.console import note
    from agent.llm.choose import planner_named
    from agent.settings import load_settings_if_any
    from models.text import visible
    from tools.llm.capabilities import LLM_DIRECTORY

    settings = load_settings_if_any(config) if name == "llm" else None
    return planner_named(
        name,
        settings.llm if settings else None,
        directory=settings.state_dir / LLM_DIRECTORY if settings else None,
        knowledge=lambda _: knowledge,
        on_fallback=lambda why: note(f"note: the solver's plan, because {visible(why, 300)}"),
    )
