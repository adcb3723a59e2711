"""The background agent's part of hindsight: what it saw of nodes and said of risks, and what came of decisions, as records."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from agent.service.upkeep.jobs import Job, JobCounts
from agent.state.decisions import evidence, scored, write_scores
from models.errors import LifeboatError
from models.fleet import NodeState
from models.hindsight.look_back import WINDOW
from models.situation import Situation
from tools.ports.journal import Journal, NotWritten
from tools.ports.records.hindsight import NodesSeen, RisksNoted

log = structlog.get_logger("lifeboat")

EVERY = timedelta(hours=1)
"""that the agent looks is noted this often when nothing changes, and decisions are looked back on"""
LOOK_BACK = timedelta(days=3)
"""how old a decision is looked back on; the window is over by then"""
MATTERS = 0.01
"""a probability from which a node's risk is noted by its name"""


@dataclass
class HindsightKeeper:
    """Writes down, look after look."""

    journal: Journal
    jobs: JobCounts = field(default_factory=JobCounts)
    _seen: tuple[datetime, frozenset[str]] | None = None
    _noted: datetime | None = None
    _restored: bool = False

    def after_look(self, situation: Situation) -> None:
        """Note what this look saw; once an hour, score what can be scored by now."""
        fleet, now = situation.fleet, situation.now
        if not self._restored:
            self._restore(now)
        silent = frozenset(node.name for node in fleet.nodes if node.state is NodeState.OFFLINE)
        due = self._seen is None or now - self._seen[0] >= EVERY
        if self._seen is None or due or silent != self._seen[1]:
            self.journal.append(NodesSeen(nodes=len(fleet.nodes), silent=tuple(sorted(silent))), now=now)
            self._seen = now, silent
        if self._noted is None or now - self._noted >= WINDOW:
            self.journal.append(noted(situation), now=now)
            self._noted = now
        if due:
            self._score(now)

    def _score(self, now: datetime) -> None:
        """What can't be judged for a fault of lifeboat's own keeps nothing from being evacuated now."""
        since = now - LOOK_BACK
        try:
            with self.jobs.counted(Job.HINDSIGHT):
                made = scored(self.journal, evidence(self.journal, since), now, since)
                for one in write_scores(self.journal, made, now, since):
                    log.info(
                        "hindsight", evacuation=one.decision.id, node=one.decision.node, came=one.hindsight, why=one.why
                    )
        except (LifeboatError, NotWritten):  # the journal itself is what is wrong: nothing may be begun with it
            raise
        except Exception as error:
            log.error("hindsight-failed", error=repr(error), next="the next try is in an hour")

    def _restore(self, now: datetime) -> None:
        seen = self.journal.of(NodesSeen, since=now - EVERY)
        if seen:
            self._seen = seen[-1].at, frozenset(seen[-1].record.silent)
        risks = self.journal.of(RisksNoted, since=now - WINDOW)
        self._noted = risks[-1].at if risks else None
        self._restored = True


def noted(situation: Situation) -> RisksNoted:
    """The risks of a moment; unknown ones are left out."""
    known = {
        name: risk.within(WINDOW.total_seconds())
        for name, node in situation.node_risks.items()
        if (risk := node.usable_risk) is not None
    }
    named = {name: round(p, 6) for name, p in known.items() if p >= MATTERS}
    others = [p for p in known.values() if p < MATTERS]
    return RisksNoted(probability=named, others=len(others), others_mean=sum(others) / len(others) if others else 0.0)
