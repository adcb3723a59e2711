"""What a history can't know by itself: evacuations, as the journal has them, and the failures and maintenance people know of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.risk.incidents import Window
from tools.history.incident_file import read_incidents
from tools.journal import open_existing_journal
from tools.ports.journal import Journal
from tools.ports.records.evacuations import EvacuationApproved, EvacuationPlanned

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
    journal = open_existing_journal(settings)
    if journal is not None:
        evacuated = evacuations(journal)
        journal.close()
    return KnownIncidents(evacuated, reported, planned)


def evacuations(journal: Journal) -> list[tuple[str, float]]:
    """(node, unix seconds) of every evacuation that was begun, as the journal has them."""
    leaving: dict[str, list[str]] = {}
    begun: list[tuple[str, float]] = []
    for entry in journal.of(EvacuationPlanned, EvacuationApproved):
        if entry.evacuation is None:
            continue
        if isinstance(entry.record, EvacuationPlanned):
            leaving[entry.evacuation] = list(entry.record.plan.evacuating)
        else:
            begun += [(node, entry.at.timestamp()) for node in leaving.get(entry.evacuation, [])]
    return begun
