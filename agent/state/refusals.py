"""What earlier tries say of the next: moves that were refused for good, or came to nothing, stand in the fleet as obstacles.

A refusal that does not pass by itself holds until its guest is started anew or its devices change, and for as long as policy
says at most. A move that failed is tried again, and then left alone for a while; one that stopped its guest for nothing is
left alone at once, unless it was lifeboat that ended in the middle. All of it is read from the journal, so that a restart forgets
nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from agent.state.archived_guests import archives_to_go_by
from agent.state.brake import with_past_moves
from agent.state.stop_times import with_stop_times
from models.errors import CutOff, NodeCannotTell, NodeUnreachable
from models.evacuation import Attempt, AttemptOutcome
from models.fleet import Fleet, LearnedObstacle, Vm, VmState
from models.plan import ActionKind
from models.planning.archived import ArchivedGuest
from models.policy.policy import Policy
from models.text import moment, visible
from tools.ports.journal import Journal
from tools.ports.records.attempts import AttemptEnded, MoveRefused, ShutdownIntended

_HOW = {
    ActionKind.LIVE_MIGRATE: "moving live",
    ActionKind.COLD_MIGRATE: "moving cold",
    ActionKind.COLD_ARCHIVE: "archiving",
}
_SHOWN = 300
"""characters of a reason"""


@dataclass(frozen=True, kw_only=True)
class StandingRefusal:
    """One kind of move of one vm that is not to be planned now."""

    vm: str
    """uuid"""
    kind: ActionKind
    target: str | None
    """the node it holds for; None: for every node"""
    why: str
    incarnation: str | None = None
    """the life of the guest that it holds for; None: for any"""
    node: str | None = None
    """where the guest has to be for it to hold; None: anywhere"""
    only_shut_off: bool = False

    def holds_for(self, vm: Vm) -> bool:
        return (
            vm.uuid == self.vm
            and self.incarnation in (None, vm.incarnation)
            and self.node in (None, vm.node)
            and (vm.state is VmState.SHUTOFF or not self.only_shut_off)
        )


def standing_refusals(journal: Journal, policy: Policy, now: datetime) -> list[StandingRefusal]:
    """What holds at this time, by the journal."""
    retry = policy.retry
    found = [
        of_refusal(entry.record, entry.at, entry.attempt)
        for entry in journal.of(MoveRefused, since=now - retry.refused_after)
    ]
    ended = [each.record.attempt for each in journal.of(AttemptEnded, since=now - retry.failed_after)]
    stopped = {entry.attempt for entry in journal.of(ShutdownIntended, since=now - 2 * retry.failed_after)}
    found += _failed(ended, stopped, policy)
    found += _archived(archives_to_go_by(journal, now, unwatched=retry.failed_after))
    return found


def with_refusals(fleet: Fleet, refusals: Iterable[StandingRefusal]) -> Fleet:
    """The fleet with what stands in the way of its vms; the same object where nothing does."""
    of: dict[str, list[StandingRefusal]] = defaultdict(list)
    for refusal in refusals:
        of[refusal.vm].append(refusal)
    if not any(vm.uuid in of for vm in fleet.vms):
        return fleet
    return fleet.model_copy(update={"vms": tuple(_with(vm, of.get(vm.uuid, ())) for vm in fleet.vms)})


def fleet_as_known(fleet: Fleet, journal: Journal | None, policy: Policy, now: datetime) -> Fleet:
    """The fleet as seen, with what the journal remembers of it; `journal` None: nothing yet."""
    if journal is None:
        return fleet
    known = with_refusals(with_stop_times(fleet, journal, now), standing_refusals(journal, policy, now))
    return with_past_moves(known, journal, now)


def _with(vm: Vm, refusals: Iterable[StandingRefusal]) -> Vm:
    learned = [
        LearnedObstacle(kind=each.kind, target=each.target, why=each.why) for each in refusals if each.holds_for(vm)
    ]
    if not learned:
        return vm
    return vm.model_copy(update={"learned_obstacles": tuple(dict.fromkeys((*vm.learned_obstacles, *learned)))})


def of_refusal(refusal: MoveRefused, at: datetime, attempt: str | None = None) -> StandingRefusal:
    """What a refusal at this time, to this attempt, means for later plans."""
    by = f", attempt {attempt}" if attempt else ""
    return StandingRefusal(
        vm=refusal.vm,
        kind=refusal.move,
        target=refusal.target,
        why=f"{_HOW[refusal.move]} was refused at {moment(at)}{by}: {visible(refusal.why, _SHOWN)}",
        incarnation=refusal.incarnation,
    )


def _failed(ended: Iterable[Attempt], stopped: set[str | None], policy: Policy) -> Iterator[StandingRefusal]:
    """Moves that were tried often enough. What a silent node did is left out: the next look tells whether it answers."""
    tries: dict[tuple[str, ActionKind, str | None], list[Attempt]] = defaultdict(list)
    for attempt in ended:
        action = attempt.action
        if attempt.outcome is AttemptOutcome.DONE:
            for key in [key for key in tries if key[0] == action.vm]:
                del tries[key]
        elif attempt.outcome in (AttemptOutcome.FAILED, AttemptOutcome.REFUSED) and (
            attempt.error_code not in (NodeUnreachable.code, NodeCannotTell.code) or attempt.id in stopped
        ):
            tries[action.vm, action.kind, action.target].append(attempt)
    for (vm, kind, target), failed in tries.items():
        in_vain = [attempt for attempt in failed if attempt.id in stopped]
        by_itself = any(attempt.error_code != CutOff.code for attempt in in_vain)  # and not because lifeboat ended
        if len(failed) < policy.retry.failures and not by_itself:
            continue
        last = failed[-1]
        at = last.ended_at or last.started_at
        often = f"failed {len(failed)} times, last" if len(failed) > 1 else "failed"
        yield StandingRefusal(
            vm=vm,
            kind=kind,
            # a guest that was stopped for nothing is not stopped again, for whatever target
            target=None if in_vain else target,
            why=f"{_HOW[kind]} {often} at {moment(at)}, not tried again before "
            f"{moment(at + policy.retry.failed_after)}: {visible(last.message, _SHOWN)}",
            node=last.action.source,
        )


def _archived(guests: Iterable[ArchivedGuest]) -> Iterator[StandingRefusal]:
    """What lies in an archive and is still off where it was archived needs no other move."""
    for guest in guests:
        for kind in (ActionKind.COLD_MIGRATE, ActionKind.COLD_ARCHIVE):
            yield StandingRefusal(
                vm=guest.vm,
                kind=kind,
                target=None,
                why=f"it was archived at {moment(guest.at)} ({guest.archive}) and is off",
                node=guest.node,
                only_shut_off=True,
            )
