"""What of a plan begins now, and what waits for its time. Pure."""

from __future__ import annotations

from datetime import datetime

from agent.guard.judge import judge
from models.fleet import Fleet
from models.plan import Action, ActionKind, Plan, Verdict
from models.proposals.states import Proposal
from models.situation import Situation
from models.text import counted, visible, when_in_words


def first_part(plan: Plan, verdict: Verdict, situation: Situation) -> tuple[Plan, Verdict]:
    """What of it begins first, judged on its own; the plan itself where it is all of a piece."""
    part = plan.parts(situation.now)[0]
    return (plan, verdict) if part is plan else (part, judge(part, situation))


def is_early(plan: Plan, now: datetime) -> bool:
    """Whether nothing of it is due yet."""
    return plan.starts_at is not None and now < plan.starts_at


def begins_later(proposal: Proposal, now: datetime) -> bool:
    """Whether what people agreed to waits for its time."""
    return is_early(proposal.question.plan, now)


def waiting_for_its_time(plan: Plan, now: datetime) -> str:
    """One line: who waits, and until when."""
    assert plan.starts_at is not None
    names = [visible(action.vm_name or action.vm, 60) for action in plan.moves]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    verb = "waits" if len(names) == 1 else "wait"
    return (
        f"{', '.join(names[:3])}{more} {verb} until {when_in_words(plan.starts_at, now)}: "
        f"{counted(len(names), 'vm')} moved at a better time, the risk until then costs less"
    )


def at_its_time(plan: Plan, fleet: Fleet) -> Plan:
    """A plan for later on the fleet as it is when it begins: its moves, and everything else on the nodes stays."""
    if plan.starts_at is None:
        return plan
    moved = {action.vm for action in plan.moves}
    since = min(action.estimated_start_seconds for action in plan.moves)
    moves = [
        action.model_copy(update={"estimated_start_seconds": action.estimated_start_seconds - since})
        for action in plan.moves
    ]
    stays = [
        Action(kind=ActionKind.STAY, vm=vm.uuid, vm_name=vm.name, source=node, reason="no part of this plan")
        for node in plan.evacuating
        if node in fleet.node_by_name
        for vm in fleet.vms_on(node)
        if vm.uuid not in moved
    ]
    return plan.model_copy(update={"actions": (*moves, *stays)})
