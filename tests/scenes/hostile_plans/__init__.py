"""Plans that the guard has to refuse, each with the rule that does; the fleets they are made for are in `worlds`."""

from __future__ import annotations

from collections.abc import Callable

from scenes.hostile_plans import churn, leisure, plan, targets, ways
from scenes.hostile_plans.worlds import Case

HOSTILE: list[tuple[str, Callable[[], Case]]] = [
    *plan.HOSTILE,
    *targets.HOSTILE,
    *ways.HOSTILE,
    *churn.HOSTILE,
    *leisure.HOSTILE,
]

ACCOMPLICES = {
    # What is refused for one reason may be wrong for another as well.
    "wrong_source": {"source-risky"},
    "return_that_moves_elsewhere_too": {"source-risky"},
    "target_too_small": {"target-memory-peak"},
    "stopped_vms_hold_their_room": {"target-memory-peak"},
}
