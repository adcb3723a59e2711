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
from tools.tracing.trace import current_links, current_trace

log = structlog.get_logger("lifeboat")

_LONGEST = timedelta(days=30)
"""a tier that was raised longer ago is not looked for: the plan then goes by its own look"""


def raised_in(nodes: Collection[str], journal: Journal, now: datetime) -> tuple[str, ...]:
    """Traces of the looks that changed the tiers of these nodes since each last was at rest, the oldest first: the first raised
    one of them, the rest raised others or the same further. Empty: none is known."""
    since: dict[str, list[tuple[int, str]]] = {}
    for entry in journal.of(TiersChanged, since=now - _LONGEST):
        for step in entry.record.changes:
            if step.node in nodes:
                if step.tier is Tier.WATCH:
                    since.pop(step.node, None)
                else:
                    since.setdefault(step.node, []).append((entry.seq, entry.record.trace))
    looks = sorted(look for of_node in since.values() for look in of_node)
    return tuple(dict.fromkeys(trace for _, trace in looks if trace))


def trace_of(journal: Journal, evacuation: str) -> str:
    """As it was planned under; empty: nobody wrote one."""
    planned = journal.of(EvacuationPlanned, evacuation=evacuation)
    return planned[-1].record.trace if planned else ""


def links_of(journal: Journal, evacuation: str) -> tuple[str, ...]:
    """Other traces that its plan has to do with, the oldest first."""
    planned = journal.of(EvacuationPlanned, evacuation=evacuation)
    return planned[-1].record.links if planned else ()


def append_step(journal: Journal, record: Record, *, now: datetime, evacuation: str) -> None:
    """Write a record that takes an evacuation a step on, and log a line; `audit` is its number in the audit log."""
    entry = journal.append(record, now=now, evacuation=evacuation)
    about = {"evacuation": entry.evacuation, "audit": entry.seq}
    match entry.record:
        case EvacuationPlanned(plan=plan, verdict=verdict, links=links):
            nodes, planner = [visible(node, 60) for node in plan.evacuating], plan.planned_by.planner
            log.info("planned", nodes=nodes, moves=len(plan.moves), planner=planner, links=list(links), **about)
            failures = [f"{one.rule}: {one.why}" for one in verdict.failures]
            log.info("judged", passed=verdict.passed, approval=verdict.approval, failures=failures, **about)
        case EvacuationApproved(by=by, at=at):
            log.info("approved", by=by, at=at.isoformat(), **about)
        case EvacuationRefused(code=code, why=why):
            planned = journal.of(EvacuationPlanned, evacuation=entry.evacuation)
            nodes = [visible(node, 60) for node in planned[-1].record.plan.evacuating] if planned else []
            log.warning("refused", code=code, why=why, nodes=nodes, **about)
        case EvacuationVerified(checks=checks):
            log.info("verified", passed=checks.passed, **about)
        case _:
            pass


def planned_now(
    plan: Plan, verdict: Verdict, risks: Iterable[Risk] | None, *, cools_down: bool = False
) -> EvacuationPlanned:
    """The record of a plan that is made under the trace that goes on now."""
    return EvacuationPlanned.of(
        plan, verdict, risks, cools_down=cools_down, trace=current_trace(), links=current_links()
    )


@dataclass(frozen=True, kw_only=True)
class Trail:
    """What the audit log has of one trace."""

    trace: str
    """empty: an earlier version wrote it"""
    links: tuple[str, ...]
    """other traces that it has to do with: of looks in which the risk lasted or grew, and of the pass that planned"""
    evacuations: tuple[str, ...]
    entries: tuple[Entry[Record], ...]
    """in their order"""


def trail_of(journal: Journal, wanted: str) -> Trail | None:
    """Everything about an id: a trace, an evacuation or an attempt. None: the journal does not know it.

    An evacuation leads to its trace, the trace to every evacuation of it, and each of these to the looks it is linked with; a
    look leads to the evacuations that are linked with it.
    """
    entries = journal.entries()
    planned = {
        entry.evacuation: entry.record
        for entry in entries
        if isinstance(entry.record, EvacuationPlanned) and entry.evacuation is not None
    }
    named = {entry.evacuation for entry in entries if wanted in (entry.evacuation, entry.attempt)} - {None}
    traces = {planned[each].trace for each in named if each in planned} if named else {wanted}
    traces.discard("")
    evacuations = {each for each, own in planned.items() if own.trace in traces} | named
    linked = {each for each, own in planned.items() if not named and wanted in own.links}
    evacuations |= linked
    looks = dict.fromkeys(
        each for name, own in planned.items() if name in evacuations for each in (own.trace, *own.links)
    )
    wanted_looks = {*looks, *traces}
    found = tuple(entry for entry in entries if entry.evacuation in evacuations or _trace(entry) in wanted_looks)
    if not found:
        return None
    own = next((planned[each].trace for each in planned if each in evacuations), "" if named else wanted)
    order = dict.fromkeys(entry.evacuation for entry in found if entry.evacuation is not None)
    links = tuple(each for each in looks if each and each != own)
    return Trail(trace=own, links=links, evacuations=tuple(order), entries=found)


def _trace(entry: Entry[Record]) -> str | None:
    told = entry.record.trace if isinstance(entry.record, EvacuationPlanned | TiersChanged) else ""
    return told or None
