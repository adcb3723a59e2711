"""What the TAB key offers. Only what files of this host tell at once: nobody is asked over a network, and nothing is said when
it can't be told, for a shell has no place for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from tools.ports.journal import Journal

SCHEMAS = ("fleet", "risks", "plan", "policy", "knowledge")


def nodes(context: typer.Context, incomplete: str) -> list[str]:
    """Names of nodes that the settings have, without those that are on the line already."""
    import yaml  # and not the settings: what else is wrong in the file does not matter here

    try:
        content = yaml.safe_load(_settings_path(context).read_text(encoding="utf-8"))
        names = [str(node["name"]) for node in content["nodes"]]
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return []
    there = context.params.get("nodes") or ()
    return [name for name in names if name.startswith(incomplete) and name not in there]


def questions(context: typer.Context, incomplete: str) -> list[str]:
    """Ids of the plans that wait for an answer."""

    def waiting(journal: Journal) -> list[str]:
        from agent.approve.proposals import open_questions
        from tools.clock import SystemClock

        return [proposal.id for proposal in open_questions(journal, SystemClock())]

    return [name for name in _from_journal(context, waiting) if name.startswith(incomplete)]


def evacuations(context: typer.Context, incomplete: str) -> list[str]:
    """Ids of the evacuations that are not over."""
    from agent.state.requests import unfinished

    return [name for name in _from_journal(context, unfinished) if name.startswith(incomplete)]


def schemas(incomplete: str) -> list[str]:
    """Names of the schemas there are."""
    return [name for name in SCHEMAS if name.startswith(incomplete)]


def planners(incomplete: str) -> list[str]:
    """Who may plan."""
    return [name for name in ("solver", "llm") if name.startswith(incomplete)]


def rules(incomplete: str) -> list[str]:
    """Ids of the guard's rules."""
    from agent.guard.rules import RULES

    return [name for name in ("all", *(rule.id for rule in RULES)) if name.startswith(incomplete)]


def explained(context: typer.Context, incomplete: str) -> list[str]:
    """Codes, and ids of the evacuations that are not over."""
    from models.explanations import EXPLANATIONS

    return [name for name in EXPLANATIONS if name.startswith(incomplete)] + evacuations(context, incomplete)


def _from_journal(context: typer.Context, read: Callable[[Journal], list[str]]) -> list[str]:
    from agent.settings import Settings
    from models.errors import LifeboatError
    from tools.journal import open_existing_journal
    from tools.ports.journal import NotWritten

    try:
        settings = Settings.load(_settings_path(context))
        if settings.database_url is not None:  # somewhere in the network
            return []
        journal = open_existing_journal(settings)
        if journal is None:
            return []
        try:
            return read(journal)
        finally:
            journal.close()
    except (LifeboatError, NotWritten, OSError):
        return []


def _settings_path(context: typer.Context) -> Path:
    """As `agent.settings.settings_path`, which takes pydantic to import: half of what a TAB may take."""
    named = context.params.get("config")
    there = Path("lifeboat.yaml")
    return Path(named) if named else there if there.exists() else Path("/etc/lifeboat/lifeboat.yaml")
