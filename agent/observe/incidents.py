"""What a history can't know by itself: evacuations, as the journal has them, and the failures and maintenance people know of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from models.incidents import Window
from tools.history.incident_file import read_incidents
from tools.journal.sqlite import JOURNAL_FILE, Journal, open_journal

if TYPE_CHECKING:
    from agent.settings import Settings


@dataclass(frozen=True)
class KnownIncidents:
    """What a history can't know by itself."""

    evacuated: list[tuple[str, float]]
    """(node, unix seconds), as the journal has them"""
    reported: list[tuple[str, float]]
    """failures that people know of: (node, unix seconds)"""
    maintenance: list[Window]


def known_incidents(settings: Settings, incidents: Path | None) -> KnownIncidents:
    """What the journal, if there is one yet, and the CSV `incidents` tell. Raises BadInput where that can't be read."""
    reported, planned = read_incidents(incidents) if incidents is not None else ([], [])
    evacuated: list[tuple[str, float]] = []
    if (settings.state_dir / JOURNAL_FILE).exists():
        journal = open_journal(settings.state_dir)
        evacuated = evacuations(journal)
        journal.close()
    return KnownIncidents(evacuated, reported, planned)


def evacuations(journal: Journal) -> list[tuple[str, float]]:
    """(node, unix seconds) of every evacuation that was begun, as the journal has them."""
    leaving: dict[str, list[str]] = {}
    found: list[tuple[str, float]] = []
    for record in journal.records(kinds=("planned", "approved")):
        if record.evacuation is None:
            continue
        if record.kind == "planned":
            leaving[record.evacuation] = list(record.data["plan"]["evacuating"])
        else:
            at = datetime.fromisoformat(record.time).timestamp()
            found += [(node, at) for node in leaving.get(record.evacuation, [])]
    return found
