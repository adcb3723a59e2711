"""What a journal by itself shows of the invariants, whatever the fleet did: pure, from its entries in their order.

By number, as in the design: 2 no source is let go of before its vm was seen elsewhere, 3 what is indeterminate is left alone,
4 intent first and attempts only once, 5 nothing is aborted after post-copy, 6 nothing begins without an approval that holds,
7 an archived guest's source is let go of only after every byte was read back, 8 nothing goes to a node that is left,
10 nothing begins after a cancel, 12 whoever planned it, the guard passed it, 13 no guest is stopped to be moved whose definition
isn't understood, 15 what owners write counts as far as policy says, and makes an evacuation neither smaller nor larger.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from models.evacuation import AttemptOutcome
from models.migration.convergence import LadderStep
from models.plan import ActionKind
from models.policy.label_rights import with_label_rights
from tools.ports.journal import Entry, Record
from tools.ports.records.attempts import (
    AttemptEnded,
    AttemptIntended,
    PowerOffIntended,
    ShutdownIntended,
    SourceUndefineIntended,
)
from tools.ports.records.cold import Archived, DefineIntended, StartIntended, TargetUndefineIntended
from tools.ports.records.disks import DiskIntended
from tools.ports.records.evacuations import CancelRequested, EvacuationStarted
from tools.ports.records.migration import AbortIntended, LadderStepTaken, MigrateCalled, Reconciled

SIDE_EFFECTS = (
    MigrateCalled, ShutdownIntended, PowerOffIntended, DiskIntended, DefineIntended, StartIntended, SourceUndefineIntended,
    TargetUndefineIntended,
)  # fmt: skip
"""records that announce one, for an attempt"""
SEEN_ELSEWHERE = (StartIntended, Reconciled)
"""what a move writes on its way to a vm that runs at the target"""
CANCEL_GRACE = timedelta(minutes=2)
"""what was on its way when it was cancelled is written down by then"""


def broken_by(entries: Iterable[Entry[Record]], locks: Mapping[str, str] | None = None) -> list[str]:
    """One sentence each; empty when all hold. `locks`: vm → attempt, as of the last entry; None: not looked at."""
    story = _Story()
    found = [f"entry {entry.seq}: {wrong}" for entry in entries for wrong in story.goes_on(entry)]
    if locks is not None:
        found += [
            f"vm {vm} is unlocked, and what became of it is indeterminate (attempt {attempt})"
            for vm, attempt in sorted(story.frozen.items())
            if locks.get(vm) != attempt
        ]
    return found


@dataclass(frozen=True, kw_only=True)
class _Agreed:
    """What is kept of a beginning, which holds a whole fleet."""

    actions: frozenset[tuple[str, ActionKind]]
    """vm and what is done to it"""
    left: frozenset[str]
    """nodes"""
    post_copy: bool
    obstacles: Mapping[tuple[str, ActionKind], str]
    """vm and what may not be done to it → what of its definition isn't understood"""


class _Story:
    """What was written so far."""

    def __init__(self) -> None:
        self.frozen: dict[str, str] = {}
        """vm → the attempt that nobody knows the end of"""
        self._started: dict[str, _Agreed] = {}
        self._cancelled: dict[str, datetime] = {}
        self._intended: dict[str, AttemptIntended] = {}
        self._ended: set[str] = set()
        self._seen: dict[str, set[type[Record]]] = {}
        self._post_copy: set[str] = set()

    def goes_on(self, entry: Entry[Record]) -> Iterator[str]:
        """What the next entry breaks."""
        record, evacuation, attempt = entry.record, entry.evacuation or "", entry.attempt or ""
        match record:
            case EvacuationStarted():
                yield from self._begins(record, evacuation, entry.at)
            case CancelRequested():
                self._cancelled.setdefault(evacuation, entry.at)
            case AttemptIntended():
                yield from self._intends(record, evacuation, attempt, entry.at)
            case AttemptEnded():
                yield from self._ends(record)
            case _:
                pass
        if isinstance(record, SIDE_EFFECTS):
            if attempt not in self._intended:
                yield f"{record.kind} of attempt {attempt}, which nobody intended (4)"
            elif attempt in self._ended:
                yield f"{record.kind} of attempt {attempt}, which has ended (4)"
        if isinstance(record, SourceUndefineIntended):
            yield from self._lets_go(attempt)
        if isinstance(record, LadderStepTaken) and record.step is LadderStep.POST_COPY:
            started = self._started.get(evacuation)
            if started is not None and not started.post_copy:
                yield f"attempt {attempt} goes to post-copy, which policy does not allow (5)"
            self._post_copy.add(attempt)
        if isinstance(record, AbortIntended) and attempt in self._post_copy:
            yield f"attempt {attempt} is aborted after post-copy (5)"
        self._seen.setdefault(attempt, set()).add(type(record))

    def _begins(self, record: EvacuationStarted, evacuation: str, at: datetime) -> Iterator[str]:
        agreement, already = record.agreement, evacuation in self._started
        self._started[evacuation] = _Agreed(
            actions=frozenset((action.vm, action.kind) for action in record.plan.actions),
            left=frozenset(record.plan.evacuating), post_copy=record.policy.migration.post_copy,
            obstacles=_obstacles(record),
        )  # fmt: skip
        yield from _outsiders(record, evacuation)
        if not record.verdict.passed:
            yield f"{evacuation} begins though the guard refused its plan (12)"
        if agreement.plan_sha256 != record.plan.digest():
            yield f"{evacuation} begins by an approval of another plan (6)"
        if not already and not agreement.at <= at <= agreement.expires_at:
            yield f"{evacuation} begins at {at}, its approval holds from {agreement.at} to {agreement.expires_at} (6)"

    def _intends(self, record: AttemptIntended, evacuation: str, attempt: str, at: datetime) -> Iterator[str]:
        action = record.action
        if attempt in self._intended:
            yield f"attempt {attempt} is begun a second time (4)"
        self._intended[attempt] = record
        if action.vm in self.frozen:
            yield f"attempt {attempt} touches vm {action.vm}, of which {self.frozen[action.vm]} is indeterminate (3)"
        started = self._started.get(evacuation)
        if started is None:
            yield f"attempt {attempt} belongs to no evacuation that was agreed to (6)"
            return
        if (action.vm, action.kind) not in started.actions:
            yield f"attempt {attempt}: {action.kind} of vm {action.vm} is not in the plan that was agreed to (6)"
        if (obstacle := started.obstacles.get((action.vm, action.kind))) is not None:
            yield f"attempt {attempt}: {action.kind} of vm {action.vm}, of which {obstacle} isn't understood (13)"
        if action.target in started.left:
            yield f"attempt {attempt} goes to {action.target}, which is left itself (8)"
        cancelled = self._cancelled.get(evacuation)
        if cancelled is not None and at > cancelled + CANCEL_GRACE:
            yield f"attempt {attempt} begins at {at}, {evacuation} was cancelled at {cancelled} (10)"

    def _ends(self, record: AttemptEnded) -> Iterator[str]:
        attempt = record.attempt
        if attempt.id in self._ended:
            yield f"attempt {attempt.id} ends a second time (4)"
        if attempt.id not in self._intended and attempt.outcome is AttemptOutcome.DONE:
            yield f"attempt {attempt.id} is done, and nobody intended it (4)"
        self._ended.add(attempt.id)
        if attempt.outcome is AttemptOutcome.INDETERMINATE:
            self.frozen[attempt.action.vm] = attempt.id

    def _lets_go(self, attempt: str) -> Iterator[str]:
        intended, seen = self._intended.get(attempt), self._seen.get(attempt, set[type[Record]]())
        if intended is None:
            return
        if intended.action.kind is ActionKind.COLD_ARCHIVE:
            if Archived not in seen:
                yield f"attempt {attempt} lets go of a source that no whole archive stands for (7)"
        elif not seen & {*SEEN_ELSEWHERE}:
            yield f"attempt {attempt} lets go of a source whose vm was not seen elsewhere (2)"


def _obstacles(record: EvacuationStarted) -> dict[tuple[str, ActionKind], str]:
    told = {
        ActionKind.LIVE_MIGRATE: "live_obstacle",
        ActionKind.COLD_MIGRATE: "cold_obstacle",
        ActionKind.COLD_ARCHIVE: "archive_obstacle",
    }
    found = {(vm.uuid, kind): getattr(vm, field) for vm in record.fleet.vms for kind, field in told.items()}
    return {each: obstacle for each, obstacle in found.items() if obstacle is not None}


def _outsiders(record: EvacuationStarted, evacuation: str) -> Iterator[str]:
    """Names, notes and labels are the owners' words."""
    plan, fleet = record.plan, record.fleet
    for vm in fleet.vms:
        if vm != with_label_rights(fleet.model_copy(update={"vms": (vm,)}), record.policy.labels).vms[0]:
            yield f"{evacuation}: a label of vm {vm.uuid} counts for more than policy says (15)"
    named, left = {action.vm for action in plan.actions}, set(plan.evacuating)
    for vm in fleet.vms:
        if vm.node in left and vm.uuid not in named:
            yield f"{evacuation} says nothing of vm {vm.uuid}, which is on {vm.node} (15)"
    for action in plan.moves:
        if plan.evacuating and action.source not in left:
            yield f"{evacuation} moves vm {action.vm} off {action.source}, which is not to be left (15)"
