"""What the journal remembers for the brake: the last day's moves, who else moves vms, and the breaker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from models.brake import DAY
from models.errors import BadInput
from models.evacuation import AttemptOutcome
from models.fleet import Fleet
from models.past_moves import Mover, PastMove, PastMoves, Tripped
from models.plan import Action, Plan, RuleResult, Verdict
from models.policy.policy import Policy
from models.text import listed, visible
from tools.ports.journal import Journal
from tools.ports.records.attempts import AttemptEnded, AttemptIntended
from tools.ports.records.brake import BreakerReset, BreakerTripped, StormSeen, VmMovedByOthers
from tools.ports.records.evacuations import EvacuationPlanned

log = structlog.get_logger("lifeboat")

STORM_MEMORY = timedelta(hours=1)
"""a storm that comes back within this is the same one"""


def past_moves(journal: Journal, now: datetime) -> PastMoves:
    """The last day's moves, and whether the breaker is tripped."""
    done = [
        entry
        for entry in journal.of(AttemptEnded, since=now - DAY)
        if entry.record.attempt.outcome is AttemptOutcome.DONE
    ]
    plans = {name: _plan(journal, name) for name in {entry.evacuation for entry in done} if name is not None}
    moves = [
        PastMove(
            at=entry.at,
            vm=action.vm,
            vm_name=action.vm_name,
            source=action.source,
            target=action.target,
            emptied=plan is not None and action.source in plan.evacuating,
            asked=plan is not None and _asked(plan, action),
        )
        for entry in done
        for action, plan in [(entry.record.attempt.action, plans.get(entry.evacuation or ""))]
    ]
    moves += [
        PastMove(at=entry.at, by=Mover.OTHERS, emptied=False, **dict(entry.record))
        for entry in journal.of(VmMovedByOthers, since=now - DAY)
    ]
    resets = journal.of(BreakerReset)
    return PastMoves(
        moves=tuple(sorted(moves, key=lambda move: move.at)),
        counted_from=resets[-1].at if resets else None,
        tripped=tripped(journal),
    )


def with_past_moves(fleet: Fleet, journal: Journal | None, now: datetime) -> Fleet:
    """The fleet with what the journal remembers of its moves; `journal` None: nothing yet."""
    return fleet if journal is None else fleet.model_copy(update={"past_moves": past_moves(journal, now)})


def _plan(journal: Journal, evacuation: str) -> Plan | None:
    planned = journal.of(EvacuationPlanned, evacuation=evacuation)
    return planned[-1].record.plan if planned else None


def _asked(plan: Plan, action: Action) -> bool:
    """Whether it is a person who wanted this, and not a risk."""
    return action.source in plan.asked or action.target in plan.returning or plan.at_leisure is not None


def tripped(journal: Journal) -> Tripped | None:
    """Why nothing moves until a person resets the breaker; None when it is not tripped. It holds over restarts."""
    standing: Tripped | None = None
    for entry in journal.of(BreakerTripped, BreakerReset):
        match entry.record:
            case BreakerReset():
                standing = None
            case BreakerTripped(rule=rule, why=why):
                standing = standing or Tripped(at=entry.at, rule=rule, why=why)
    return standing


def trip_if_due(
    verdict: Verdict, journal: Journal, policy: Policy, now: datetime, *, plan: Plan, risky: Sequence[str]
) -> Tripped | None:
    """Trip the breaker when a verdict of the background agent calls for it; what it is now.

    A day's cap that is reached trips it at once. A storm does once it was there `storm.latch_after` after it was first seen.
    `plan`: that the verdict is about; `risky`: nodes at the trigger.
    """
    standing = tripped(journal)
    if standing is not None:
        return standing
    failed = {result.rule: result for result in verdict.failures}
    if "day-cap" in failed:
        return _trip(failed["day-cap"], journal, now, plan.evacuating)
    if "storm" in failed:
        seen = journal.of(StormSeen, since=now - STORM_MEMORY)
        resets = journal.of(BreakerReset, since=now - STORM_MEMORY)
        seen = [entry for entry in seen if not resets or entry.seq > resets[-1].seq]
        if not seen:
            journal.append(StormSeen(why=failed["storm"].why), now=now)
        if (seen and now - seen[0].at >= policy.storm.latch_after) or not policy.storm.latch_after:
            return _trip(failed["storm"], journal, now, risky)
    return None


def _trip(result: RuleResult, journal: Journal, now: datetime, nodes: Sequence[str]) -> Tripped:
    journal.append(BreakerTripped(rule=result.rule, why=result.why, nodes=tuple(nodes)), now=now)
    log.error(
        "breaker-tripped", rule=result.rule, why=result.why, nodes=[visible(node, 60) for node in nodes],
        next="look, then `lifeboat breaker reset`",
    )  # fmt: skip
    return Tripped(at=now, rule=result.rule, why=result.why)


def reset(journal: Journal, *, by: str, why: str, now: datetime) -> Tripped:
    """Let lifeboat go on; why it had stopped. Raises BadInput when the breaker is not tripped."""
    standing = tripped(journal)
    if standing is None:
        raise BadInput("the breaker is not tripped", hint="`lifeboat breaker` shows it; `resume` is for evacuations")
    journal.append(BreakerReset(by=by, why=why), now=now)
    return standing


def moved_by_others(before: Fleet | None, after: Fleet, journal: Journal, now: datetime) -> list[VmMovedByOthers]:
    """Vms that somebody else brought to another node between two looks. Writes nothing.

    `before` None, at the first look: those that are not where they were brought last, as far as the journal tells.
    """
    was = _last_known(journal, now) if before is None else {vm.uuid: vm.node for vm in before.vms}
    elsewhere = [(was[vm.uuid], vm) for vm in after.vms if was.get(vm.uuid, vm.node) != vm.node]
    if not elsewhere:
        return []
    since = now - DAY
    over = {
        entry.attempt
        for entry in journal.of(AttemptEnded, since=since)
        if before is None or entry.at < before.observed_at
    }
    own = {
        (entry.record.action.vm, entry.record.action.target)
        for entry in journal.of(AttemptIntended, since=since)
        if entry.attempt not in over
    }
    return [
        VmMovedByOthers(vm=vm.uuid, vm_name=vm.name, source=source, target=vm.node)
        for source, vm in elsewhere
        if (vm.uuid, vm.node) not in own
    ]


def _last_known(journal: Journal, now: datetime) -> dict[str, str]:
    """vm → the node that it was brought to last, of those that moved within the day."""
    return {move.vm: move.target for move in past_moves(journal, now).moves if move.target is not None}


@dataclass
class OtherMovers:
    """Notices from look to look what somebody else moved."""

    _seen: Fleet | None = None

    def notice(self, fleet: Fleet, journal: Journal, now: datetime) -> str | None:
        """Write down what was moved since the last look; one line for who follows the agent, None when nothing was."""
        found = moved_by_others(self._seen, fleet, journal, now)
        self._seen = fleet
        for each in found:
            journal.append(each, now=now)
        if not found:
            return None
        named = [
            f"{visible(each.vm_name, 60)} from {visible(each.source, 60)} to {visible(each.target, 60)}"
            for each in found
        ]
        return f"somebody else moved {listed(named)}: lifeboat leaves {'them' if found[1:] else 'it'} alone for a while"
