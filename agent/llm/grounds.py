"""What a language model's plan may cost by the figures: something only where something is known that the figures do not hold.

Without a note, planned work, a shared cause or a reason to doubt the alarm, the figures are all there is, and a plan that loses
more by them is a worse plan.
"""

from __future__ import annotations

from collections.abc import Collection

from agent.llm.alternatives import WORK_AHEAD
from models.knowledge import Aftermath, Knowledge
from models.plan import ActionKind, Comparison, OtherChoice, Plan
from models.situation import Situation

WITHOUT_GROUNDS = 1.01
"""times the solver's expected loss: what rounding and another order of equals come to"""
_STOPS = (ActionKind.COLD_ARCHIVE, ActionKind.COLD_MIGRATE)


def most_loss_ratio(
    plan: Plan, compared: Comparison, situation: Situation, knowledge: Knowledge, failing_together: Collection[str]
) -> float:
    """How many times the solver's expected loss this plan may come to. `failing_together`: nodes with a cause in common with one
    that is left."""
    uuids = {vm.uuid for name in plan.evacuating for vm in situation.fleet.vms_on(name)}
    noted = {n.vm for n in knowledge.notes if n.vm in uuids and (n.until is None or n.until > situation.now)}
    worked = knowledge.nodes_worked_on(situation.now, WORK_AHEAD)
    doubted = {past.node for past in knowledge.past if past.aftermath is Aftermath.LIVED}
    doubted |= {reading.node for reading in knowledge.readings}

    def has_grounds(one: OtherChoice) -> bool:
        kept_running = one.solver_kind in _STOPS and one.kind is ActionKind.LIVE_MIGRATE
        return (
            one.vm in noted
            or one.solver_target in worked
            or one.solver_target in failing_together
            or (kept_running and situation.fleet.vm_by_uuid[one.vm].node in doubted)
        )

    grounded = [has_grounds(one) for one in compared.differs]
    if any(_is_worse(one) for one, has in zip(compared.differs, grounded, strict=True) if not has):
        return WITHOUT_GROUNDS
    # An order of one's own shows in no choice: notes are what it can stand on.
    return situation.policy.language_model.max_loss_ratio if any(grounded) or noted else WITHOUT_GROUNDS


def _is_worse(one: OtherChoice) -> bool:
    """It is left, or stopped, where the solver does neither."""
    return (one.kind is ActionKind.STAY and one.solver_kind is not ActionKind.STAY) or (
        one.kind in _STOPS and one.solver_kind is ActionKind.LIVE_MIGRATE
    )
