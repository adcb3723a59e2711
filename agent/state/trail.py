"""The trail of one trace id: from the look that raised a tier over plan, verdict and approval to the last record about it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from models.plan import Plan, Verdict
from models.risk.risk import Risk
from models.risk.tier import Tier
from models.text import visible
from tools.ports.journal import Entry, Journal, Record
from tools.ports.records.evacuations import (
    EvacuationApproved,
    EvacuationPlanned,
    EvacuationRefused,
    EvacuationVerified,
)
from tools.ports.records.nodes import TiersChanged
from tools.tracing.trace import current_trace

log = structlog.get_logger("lifeboat")

_LONGEST = timedelta(days=30)
"""a tier that was raised longer ago is not looked for: the plan then goes by its own look"""


def raised_in(nodes: Collection[str], journal: Journal, now: datetime) -> tuple[str, ...]:
    """Traces of the looks that raised the tiers in which these nodes still are, the oldest first; empty: none is known."""
    since: dict[str, str] = {}
    for entry in journal.of(TiersChanged, since=now - _LONGEST):
        for step in entry.record.changes:
            if step.node in nodes:
                if step.tier is Tier.WATCH:
                    since.pop(step.node, None)
                else:
                    since.setdefault(step.node, entry.record.trace)
    return tuple(dict.fromkeys(trace for trace in since.values() if trace))


def trace_of(journal: Journal, evacuation: str) -> str:
    """As it was planned under; empty: nobody wrote one."""
    planned = journal.of(EvacuationPlanned, evacuation=evacuation)
    return planned[-1].record.trace if planned else ""


def log_step(entry: Entry[Record]) -> None:
    """One line about a record that takes an evacuation a step on; `audit` is the record's number in the audit log."""
    about = {"evacuation": entry.evacuation, "audit": entry.seq}
    match entry.record:
        case EvacuationPlanned(plan=plan, verdict=verdict):
            nodes = [visible(node, 60) for node in plan.evacuating]
            log.info("planned", nodes=nodes, moves=len(plan.moves), planner=plan.planned_by.planner, **about)
            failures = [f"{one.rule}: {one.why}" for one in verdict.failures]
            log.info("judged", passed=verdict.passed, approval=verdict.approval, failures=failures, **about)
        case EvacuationApproved(by=by, at=at):
            log.info("approved", by=by, at=at.isoformat(), **about)
        case EvacuationRefused(code=code, why=why):
            log.warning("refused", code=code, why=why, **about)
        case EvacuationVerified(checks=checks):
            log.info("verified", passed=checks.passed, **about)
        case _:
            pass


def planned_now(
    plan: Plan, verdict: Verdict, risks: Iterable[Risk] | None, *, cools_down: bool = False
) -> EvacuationPlanned:
    """The record of a plan that is made under the trace that goes on now."""
    return EvacuationPlanned.of(plan, verdict, risks, cools_down=cools_down, trace=current_trace())


@dataclass(frozen=True, kw_only=True)
class Trail:
    """What the audit log has of one trace."""

    trace: str
    """empty: an earlier version wrote it"""
    evacuations: tuple[str, ...]
    entries: tuple[Entry[Record], ...]
    """in their order"""


def trail_of(journal: Journal, wanted: str) -> Trail | None:
    """Everything about an id: a trace, an evacuation or an attempt. None: the journal does not know it.

    An evacuation leads to its trace, and the trace to every evacuation of it.
    """
    entries = journal.entries()
    traces = {entry.evacuation: entry.record.trace for entry in entries if isinstance(entry.record, EvacuationPlanned)}
    trace, named = wanted, {entry.evacuation for entry in entries if wanted in (entry.evacuation, entry.attempt)}
    named.discard(None)
    if named:
        trace = next((traces[each] for each in named if traces.get(each)), "")
    evacuations = {each for each, own in traces.items() if each and trace and own == trace} | named
    found = tuple(entry for entry in entries if entry.evacuation in evacuations or (trace and _trace(entry) == trace))
    if not found:
        return None
    order = dict.fromkeys(entry.evacuation for entry in found if entry.evacuation is not None)
    return Trail(trace=trace, evacuations=tuple(order), entries=found)


def _trace(entry: Entry[Record]) -> str:
    return entry.record.trace if isinstance(entry.record, EvacuationPlanned | TiersChanged) else ""
