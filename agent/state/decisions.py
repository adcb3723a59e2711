"""From the journal to what hindsight looks at: every decision about a node, and what was seen of the nodes since."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from models.errors import BadInput
from models.evacuation import AttemptOutcome
from models.fleet import Fleet
from models.hindsight.agreement import Agreement, agreement
from models.hindsight.calibration import NotedRisks
from models.hindsight.look_back import (
    WINDOW,
    Decision,
    Failure,
    Guest,
    Hindsight,
    NodeEvidence,
    Scored,
    SeenNodes,
    Stretch,
    look_back,
    unadvised,
)
from models.plan import Approval, Plan, Verdict
from models.policy.policy import Policy
from models.proposals.states import EventKind
from models.risk.risk import Risk
from models.risk.tier import Tier
from models.text import listed, visible
from tools.ports.journal import Entry, Journal, Record
from tools.ports.records.approvals import ApprovalAsked, ApprovalClosed
from tools.ports.records.attempts import AttemptEnded
from tools.ports.records.brake import VmMovedByOthers
from tools.ports.records.evacuations import (
    EvacuationEnded,
    EvacuationPlanned,
    EvacuationRefused,
    EvacuationStarted,
)
from tools.ports.records.hindsight import DecisionCorrected, DecisionScored, NodesSeen, RisksNoted, ShadowDecided
from tools.ports.records.nodes import TiersChanged

_NOT_CARRIED_OUT = {
    EventKind.REJECT: "was turned down",
    EventKind.EXPIRE: "nobody answered in time",
    EventKind.SUPERSEDE: "no longer fitted",
    EventKind.WITHDRAW: "was withdrawn",
}


def decisions(journal: Journal, since: datetime) -> list[Decision]:
    """Every decision about a node from then on, in order; several about one node within the window are one, and one that was
    carried out comes before advice that was not."""
    planned = {entry.evacuation: entry for entry in journal.of(EvacuationPlanned, since=since) if entry.evacuation}
    started = {entry.evacuation: entry for entry in journal.of(EvacuationStarted, since=since) if entry.evacuation}
    ended = {entry.evacuation: entry.at for entry in journal.of(EvacuationEnded, since=since)}
    done: dict[str | None, dict[str, datetime]] = defaultdict(dict)
    for entry in journal.of(AttemptEnded, since=since):
        if entry.record.attempt.outcome is AttemptOutcome.DONE:
            done[entry.evacuation][entry.record.attempt.action.vm] = entry.at
    others = journal.of(VmMovedByOthers, since=since)
    found: list[Decision] = []
    for id_, entry in planned.items():
        begun = started.get(id_)
        why_not = "" if begun else _why_not(id_, entry, journal)
        for node in entry.record.plan.evacuating:
            fleet, policy = (begun.record.fleet, begun.record.policy) if begun else (None, None)
            found.append(
                Decision(
                    id=id_,
                    node=node,
                    at=entry.at,
                    taken=begun is not None,
                    why_not=why_not,
                    probability=_within_window(entry.record.risks, node),
                    planner=entry.record.plan.planned_by.planner,
                    guests=_guests(node, entry.record.plan, done[id_], fleet, policy),
                    emptied_at=ended.get(id_),
                    expected_loss=_share_of_loss(entry.record.plan, node),
                    horizon_seconds=policy.trigger.horizon.total_seconds() if policy else 7200.0,
                    moved_by_people=_moved_by_people(others, node, entry.at),
                )
            )
    found += _shadow(journal, since, others)
    found += [
        Decision(
            id=f"tier-{entry.seq}",
            node=change.node,
            at=entry.at,
            taken=False,
            why_not="a drain was only advised",
            occasion="drain",
            moved_by_people=_moved_by_people(others, change.node, entry.at),
        )
        for entry in journal.of(TiersChanged, since=since)
        for change in entry.record.changes
        if change.tier is Tier.DRAIN and not change.unknown_data
    ]
    return _one_a_window(found)


def _shadow(journal: Journal, since: datetime, others: Sequence[Entry[VmMovedByOthers]]) -> list[Decision]:
    return [
        Decision(
            id=entry.evacuation or "",
            node=node,
            at=entry.at,
            taken=False,
            why_not="lifeboat only watches (autonomy: shadow)",
            occasion="shadow",
            probability=_within_window(entry.record.risks, node),
            planner=entry.record.plan.planned_by.planner,
            expected_loss=_share_of_loss(entry.record.plan, node),
            moved_by_people=_moved_by_people(others, node, entry.at),
        )
        for entry in journal.of(ShadowDecided, since=since)
        for node in entry.record.plan.evacuating
    ]


def _why_not(id_: str, entry: Entry[EvacuationPlanned], journal: Journal) -> str:
    for closed in journal.of(ApprovalClosed, evacuation=id_):
        event = closed.record.event
        said = f": {visible(event.why, 120)}" if event.why else ""
        return f"{_NOT_CARRIED_OUT.get(event.kind, 'was not carried out')} ({event.by}){said}"
    for refused in journal.of(EvacuationRefused, evacuation=id_):
        return f"was refused: {visible(refused.record.why, 200)}"
    if journal.of(ApprovalAsked, evacuation=id_):
        return "is waiting for an answer"
    return _nothing_moves(entry.record.plan, entry.record.verdict)


def _nothing_moves(plan: Plan, verdict: Verdict) -> str:
    if not plan.moves:
        return "nothing on it could be moved"
    return "needed a human" if verdict.approval is Approval.HUMAN else "was not begun"


def _within_window(risks: Iterable[Risk], node: str) -> float | None:
    return next((risk.within(WINDOW.total_seconds()) for risk in risks if risk.node == node), None)


def _share_of_loss(plan: Plan, node: str) -> float | None:
    """A plan for several nodes does not say what each is expected to lose: by its share of the vms."""
    mine = sum(action.source == node for action in plan.actions)
    return plan.expected_loss * mine / len(plan.actions) if plan.actions and mine else None


def _guests(
    node: str, plan: Plan, done: Mapping[str, datetime], fleet: Fleet | None, policy: Policy | None
) -> tuple[Guest, ...]:
    if fleet is None or policy is None:
        return ()
    priority = {vm.uuid: vm.priority for vm in fleet.vms}
    return tuple(
        Guest(vm=action.vm, weight=policy.weights.of(priority[action.vm]), safe_at=done.get(action.vm))
        for action in plan.actions
        if action.source == node and action.vm in priority
    )


def _moved_by_people(others: Sequence[Entry[VmMovedByOthers]], node: str, at: datetime) -> int:
    return len({entry.record.vm for entry in others if entry.record.source == node and at <= entry.at <= at + WINDOW})


def _one_a_window(found: Iterable[Decision]) -> list[Decision]:
    kept: list[Decision] = []
    for one in sorted(found, key=lambda each: (not each.taken, each.at)):
        before = next((other for other in kept if other.node == one.node and abs(one.at - other.at) <= WINDOW), None)
        if before is None:
            kept.append(one)
        elif one.taken and before.taken:  # what the first could not move, a later one may have
            later = {guest.vm: guest for guest in one.guests}
            guests = tuple(later[g.vm] if g.safe_at is None and g.vm in later else g for g in before.guests)
            kept[kept.index(before)] = before.model_copy(update={"guests": guests, "emptied_at": one.emptied_at})
    return sorted(kept, key=lambda each: each.at)


def evidence(
    journal: Journal,
    since: datetime,
    *,
    told: Iterable[Failure] = (),
    work: Mapping[str, Sequence[Stretch]] | None = None,
) -> NodeEvidence:
    """What the agent saw from then on, and what others tell."""
    return NodeEvidence(
        seen=tuple(
            SeenNodes(at=entry.at, nodes=entry.record.nodes, silent=entry.record.silent)
            for entry in journal.of(NodesSeen, since=since)
        ),
        told=tuple(told),
        work={node: tuple(stretches) for node, stretches in (work or {}).items()},
    )


def noted_risks(journal: Journal, since: datetime) -> list[NotedRisks]:
    return [NotedRisks(at=entry.at, **dict(entry.record)) for entry in journal.of(RisksNoted, since=since)]


def scored(journal: Journal, seen: NodeEvidence, now: datetime, since: datetime) -> list[Scored]:
    """What came of every decision of which that can be told by now, a person's word before any other."""
    known = decisions(journal, since - WINDOW)
    words = {(entry.record.decision, entry.record.node): entry for entry in journal.of(DecisionCorrected)}
    found = [one for decision in known if (one := look_back(decision, seen, now)) is not None]
    nodes = sorted({name for note in seen.seen for name in note.silent} | {failure.node for failure in seen.told})
    found += unadvised(seen, known, nodes, now)
    corrected: list[Scored] = []
    for one in found:
        word = words.get((one.decision.id, one.decision.node)) if one.decision.id else None
        if word is not None:
            said = word.record
            why = f"{said.by} says so" + (f": {said.why}" if said.why else "")
            one = one.model_copy(update={"hindsight": said.hindsight, "why": why, "corrected_by": said.by})
        corrected.append(one)
    return [one for one in corrected if one.decision.at >= since]


def write_scores(journal: Journal, found: Iterable[Scored], now: datetime, since: datetime) -> list[Scored]:
    """Into the journal what it does not have yet; those."""
    have = {
        (entry.record.decision.id, entry.record.decision.node, entry.record.decision.at)
        for entry in journal.of(DecisionScored, since=since - timedelta(days=1))
    }
    new = [one for one in found if (one.decision.id, one.decision.node, one.decision.at) not in have]
    for one in new:
        record: Record = DecisionScored(decision=one.decision, hindsight=one.hindsight, why=one.why)
        journal.append(record, now=now, evacuation=one.decision.id or None)
    return new


def agreed(journal: Journal, since: datetime) -> Agreement:
    """Where solver, language model and people came to the same."""
    shadow = journal.of(ShadowDecided, since=since)
    others = journal.of(VmMovedByOthers, since=since)
    plans = [entry.record.plan for entry in (*journal.of(EvacuationPlanned, since=since), *shadow)]
    answers = {
        entry.evacuation: entry.record.event.kind is not EventKind.REJECT
        for entry in journal.of(ApprovalClosed, since=since)
        if entry.record.event.kind in (EventKind.REJECT, EventKind.EXECUTE)
    }
    by_people = [
        (
            entry.record.plan,
            {
                other.record.vm
                for other in others
                if other.record.source in entry.record.plan.evacuating and entry.at <= other.at <= entry.at + WINDOW
            },
        )
        for entry in shadow
    ]
    return agreement(plans, list(answers.values()), by_people)


def measured(journal: Journal, since: datetime) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """(estimated, measured) seconds of each move that was done, and of each pause."""
    done = [
        entry.record.attempt
        for entry in journal.of(AttemptEnded, since=since)
        if entry.record.attempt.outcome is AttemptOutcome.DONE
    ]
    return (
        [(a.action.estimated_seconds, a.measured.seconds) for a in done if a.measured.seconds is not None],
        [
            (a.action.estimated_downtime_seconds, a.measured.downtime_seconds)
            for a in done
            if a.measured.downtime_seconds is not None
        ],
    )


def correct(
    journal: Journal, decision: str, node: str, came: Hindsight, *, by: str, why: str, now: datetime
) -> Decision:
    """A person's word on what came of a decision. Raises BadInput when there was none."""
    known = [one for one in decisions(journal, datetime.min.replace(tzinfo=UTC)) if one.id == decision]
    found = next((one for one in known if node in ("", one.node)), None)
    if found is None or (not node and len(known) > 1):
        nodes = listed([one.node for one in known])
        raise BadInput(
            f"{decision!r} decided about {nodes}: name one" if known else f"no decision is known as {decision!r}",
            hint="--node NODE" if known else "`lifeboat hindsight` lists them",
        )
    journal.append(
        DecisionCorrected(decision=decision, node=found.node, hindsight=came, by=by, why=why),
        now=now,
        evacuation=decision,
    )
    return found
