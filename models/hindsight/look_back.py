"""What came of a decision about a node: did it fail, and were its vms off by then? Pure.

Every decision is looked back on over one window. Silence of a node that still holds its vms is a failure; silence after it was
emptied is not, as whoever empties a node then switches it off. What nobody saw is unknowable, and stays so until a person says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from models.base import UtcTime, Value, format_duration
from models.risk.incidents import LEAST_DOWN_SECONDS, MONITORING_SHARE
from models.text import counted, moment

WINDOW = timedelta(days=1)
"""how far a decision is looked back on: a node that fails a week later was not worth leaving today"""
LOOK_GAP = timedelta(hours=2)
"""the agent notes at least once an hour that it looks; a longer gap is a stretch that nobody saw"""


class Hindsight(StrEnum):
    AVERTED = "averted"
    """the node failed, and vms of it were off by then"""
    UNNEEDED = "unneeded"
    """it worked on to the end of the window: leaving it was not needed, or the advice was rightly not taken"""
    MISSED = "missed"
    """it failed with its vms on it"""
    UNKNOWABLE = "unknowable"
    """nobody can tell: nobody looked, work was done on it, or it went silent after it was emptied"""


class Guest(Value):
    """One vm of a node that was decided about."""

    vm: str
    """uuid"""
    weight: float
    """what losing it costs, by the policy of then"""
    safe_at: UtcTime | None = None
    """when it was off the node; None: it never was"""


class Decision(Value):
    """Something decided about one node, or advised."""

    id: str
    """the evacuation's, also of a plan that was never carried out"""
    node: str
    at: UtcTime
    taken: bool
    why_not: str = ""
    """why it was not carried out"""
    occasion: str = "evacuate"
    probability: float | None = None
    """P(the node fails within WINDOW) as it was told then; None: not told"""
    planner: str = ""
    guests: tuple[Guest, ...] = ()
    emptied_at: UtcTime | None = None
    """when the evacuation was over"""
    expected_loss: float | None = None
    """as planned, within the policy's horizon"""
    horizon_seconds: float = 7200.0
    moved_by_people: int = 0
    """vms that somebody else took off the node within the window"""


class Failure(Value):
    """One failure of one node."""

    node: str
    at: UtcTime
    why: str
    sure: bool
    """a person or the hardware says so; else it is only silent"""


class Scored(Value):
    """What came of one decision."""

    decision: Decision
    hindsight: Hindsight
    why: str
    failed_at: UtcTime | None = None
    corrected_by: str = ""
    """the person whose word it is"""

    @property
    def lost(self) -> float:
        """Weight of the vms that were on the node when it failed within the policy's horizon; what the expected loss expects."""
        if self.failed_at is None or self.failed_at > self.decision.at + timedelta(
            seconds=self.decision.horizon_seconds
        ):
            return 0.0
        return sum(g.weight for g in self.decision.guests if g.safe_at is None or g.safe_at > self.failed_at)


class SeenNodes(Value):
    """One note of the agent: which nodes it knew at that time, and which of them were silent."""

    at: UtcTime
    nodes: int
    silent: tuple[str, ...]


class Stretch(Value):
    """From one moment to another."""

    start: UtcTime
    end: UtcTime


class NodeEvidence(Value):
    """What is known of the nodes over the time looked back on."""

    seen: tuple[SeenNodes, ...] = ()
    """in order"""
    told: tuple[Failure, ...] = ()
    """failures that people or the history of the telemetry tell of"""
    work: Mapping[str, tuple[Stretch, ...]] = {}
    """by node (`*`: all): planned work"""

    def failures(self, node: str, now: datetime) -> list[Failure]:
        """Every failure of the node: told ones, and silences long enough to be one that nobody told of."""
        found = [failure for failure in self.told if failure.node == node]
        for start, end in self._silences(node, now):
            # people write down the hour, and the agent notes silence at its next look
            told_of = any(failure.node == node and start - LOOK_GAP <= failure.at <= end for failure in self.told)
            if (end - start).total_seconds() >= LEAST_DOWN_SECONDS and not told_of:
                why = f"it did not answer from {moment(start)} on"
                found.append(Failure(node=node, at=start, why=why, sure=False))
        return sorted(found, key=lambda failure: failure.at)

    def failed_within(self, start: datetime, end: datetime, now: datetime) -> set[str]:
        """Nodes that failed within that time."""
        names = {name for note in self.seen for name in note.silent} | {failure.node for failure in self.told}
        return {name for name in names if any(start < one.at <= end for one in self.failures(name, now))}

    def _silences(self, node: str, now: datetime) -> list[tuple[datetime, datetime]]:
        """Where most of the fleet is silent, the monitoring or lifeboat's own network is: no silence of this node."""
        found: list[tuple[datetime, datetime]] = []
        since: datetime | None = None
        last: datetime | None = None
        for note in self.seen:
            silent = node in note.silent and len(note.silent) <= max(1, MONITORING_SHARE * note.nodes)
            if silent and since is None:
                since = note.at
            elif not silent and since is not None:
                found.append((since, note.at))
                since = None
            last = note.at
        if since is not None and last is not None:
            found.append((since, min(now, last + LOOK_GAP)))
        return found

    def unseen(self, start: datetime, end: datetime) -> Stretch | None:
        """The first stretch in which nobody looked, longer than LOOK_GAP; None when somebody did all the while."""
        before = start
        for at in [note.at for note in self.seen if note.at > start]:
            if min(at, end) - before > LOOK_GAP:
                return Stretch(start=before, end=min(at, end))
            if at >= end:
                return None
            before = at
        return Stretch(start=before, end=end) if end - before > LOOK_GAP else None

    def work_on(self, node: str, start: datetime, end: datetime) -> Stretch | None:
        """Planned work on the node within that time."""
        return next(
            (one for name in (node, "*") for one in self.work.get(name, ()) if one.start <= end and start <= one.end),
            None,
        )


def look_back(decision: Decision, evidence: NodeEvidence, now: datetime) -> Scored | None:
    """What came of it; None while it is too early to tell."""
    end = decision.at + WINDOW
    failure = next((one for one in evidence.failures(decision.node, now) if decision.at < one.at <= end), None)
    work = evidence.work_on(decision.node, decision.at, min(end, failure.at if failure else end))
    if work is not None and (failure is None or not failure.sure):
        return _scored(decision, Hindsight.UNKNOWABLE, f"work was planned on it from {moment(work.start)} on")
    if failure is not None:
        emptied = decision.emptied_at
        if not failure.sure and decision.taken and emptied is not None and failure.at >= emptied:
            return _scored(
                decision,
                Hindsight.UNKNOWABLE,
                f"{failure.why}, after it was emptied: whether it failed or was switched off nobody told",
            )
        return _failed(decision, failure)
    if now < end:
        return None
    gap = evidence.unseen(decision.at, end)
    if gap is not None:
        return _scored(decision, Hindsight.UNKNOWABLE, f"nobody looked from {moment(gap.start)} to {moment(gap.end)}")
    return _scored(decision, Hindsight.UNNEEDED, f"it worked on for {format_duration(WINDOW)}")


def _failed(decision: Decision, failure: Failure) -> Scored:
    on_it = [g for g in decision.guests if g.safe_at is None or g.safe_at > failure.at]
    off = len(decision.guests) - len(on_it)
    if decision.taken:
        averted = off > 0 or not decision.guests
        told = f"{failure.why}; {counted(off, 'vm')} off by then, {len(on_it)} not"
    else:
        averted = decision.moved_by_people > 0
        told = f"{failure.why}; {decision.why_not or 'it was not carried out'}"
        if averted:
            told += f"; somebody else had moved {counted(decision.moved_by_people, 'vm')}"
    verdict = Hindsight.AVERTED if averted else Hindsight.MISSED
    return Scored(decision=decision, hindsight=verdict, why=told, failed_at=failure.at)


def _scored(decision: Decision, verdict: Hindsight, why: str) -> Scored:
    return Scored(decision=decision, hindsight=verdict, why=why)


def unadvised(
    evidence: NodeEvidence, decisions: Sequence[Decision], nodes: Sequence[str], now: datetime
) -> list[Scored]:
    """Failures that nobody was warned of: no decision about the node in the window before."""
    found: list[Scored] = []
    for node in nodes:
        mine = [one for one in decisions if one.node == node]
        for failure in evidence.failures(node, now):
            before = [one for one in mine if one.at < failure.at]
            # one that was emptied holds nothing to lose until something comes back, of which the decisions do not tell
            if any(failure.at - one.at <= WINDOW or (one.taken and not failure.sure) for one in before):
                continue
            if evidence.work_on(node, failure.at, failure.at) is not None:
                continue
            told = Decision(
                id="", node=node, at=failure.at, taken=False, why_not="nothing was advised", occasion="none"
            )
            found.append(
                Scored(
                    decision=told,
                    hindsight=Hindsight.MISSED,
                    why=f"{failure.why}; nothing was advised",
                    failed_at=failure.at,
                )
            )
    return found
