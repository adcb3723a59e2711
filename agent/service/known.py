"""What is known of a live fleet besides its nodes, risks and policy: for a language model that plans."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from agent.settings import Settings
from models.hindsight.look_back import Decision, Hindsight
from models.knowledge import Aftermath, Knowledge, PastEvacuation, PlannedWork, VmNote
from models.situation import Situation
from tools.history.incident_file import read_incidents
from tools.ports.journal import Journal
from tools.ports.records.hindsight import DecisionCorrected, DecisionScored

LOOKED_BACK = timedelta(days=180)
"""how far back what came of a node's evacuations says something of its next"""
WORK_AHEAD = timedelta(days=30)
AFTERMATH = {
    Hindsight.AVERTED: Aftermath.FAILED,
    Hindsight.MISSED: Aftermath.FAILED,
    Hindsight.UNNEEDED: Aftermath.LIVED,
    Hindsight.UNKNOWABLE: Aftermath.UNKNOWN,
}


def knowledge_of(
    situation: Situation,
    *,
    telemetry: Knowledge,
    notes: Iterable[VmNote],
    journal: Journal | None,
    settings: Settings,
) -> Knowledge:
    """`telemetry` as the look brought it, with notes, planned work and what came of earlier decisions.

    Raises BadInput when the file of planned work can't be read.
    """
    return telemetry.model_copy(
        update={
            "notes": tuple(notes),
            "planned_work": tuple(_planned_work(situation, settings)),
            "past": tuple(past_evacuations(journal, situation.now)) if journal is not None else (),
        }
    )


def _planned_work(situation: Situation, settings: Settings) -> Iterable[PlannedWork]:
    """What people wrote down and is not over, by node."""
    if settings.forecast.incidents is None:
        return
    _, windows = read_incidents(settings.forecast.incidents)
    first, last = situation.now.timestamp(), (situation.now + WORK_AHEAD).timestamp()
    for window in windows:
        if window.end > first and window.start < last:
            start, end = (datetime.fromtimestamp(at, UTC) for at in (window.start, window.end))
            named = situation.fleet.node_by_name if window.node == "*" else (window.node,)
            yield from (PlannedWork(node=node, start=start, end=end) for node in named)


def past_evacuations(journal: Journal, now: datetime) -> list[PastEvacuation]:
    """What came of decisions about nodes, as far as hindsight has told; a person's word counts before any other."""
    words = {(e.record.decision, e.record.node): e.record.hindsight for e in journal.of(DecisionCorrected)}
    return [
        _past(entry.record.decision, words.get(_key(entry.record.decision), entry.record.hindsight))
        for entry in journal.of(DecisionScored, since=now - LOOKED_BACK)
    ]


def _key(decision: Decision) -> tuple[str, str]:
    return decision.id, decision.node


def _past(decision: Decision, came: Hindsight) -> PastEvacuation:
    safe = sum(guest.safe_at is not None for guest in decision.guests)
    return PastEvacuation(
        node=decision.node,
        at=decision.at,
        aftermath=AFTERMATH[came],
        moved=safe,
        failed=len(decision.guests) - safe if decision.taken else 0,
    )
