"""Where the solver, a language model and people came to the same, and where not. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from models.base import Value
from models.hindsight.calibration import Share, share
from models.plan import Plan


class Agreement(Value):
    """Over a stretch of time."""

    model_and_solver: Share
    """vms for which a language model's plan did what the solver's would have"""
    people_approved: Share
    """plans that people were asked about and agreed to, of those they answered"""
    people_did_the_same: Share
    """in shadow mode: vms that would have left their node and that somebody else did take off it within the window"""


def agreement(
    plans: Iterable[Plan], answers: Collection[bool], shadow: Iterable[tuple[Plan, Collection[str]]]
) -> Agreement:
    """plans: all that were made. answers: whether people agreed, of each plan that they answered. shadow: each plan of shadow
    mode, with the vms (uuids) that somebody else took off its nodes."""
    compared = [plan for plan in plans if plan.planned_by.compared is not None]
    vms = sum(len(plan.actions) for plan in compared)
    differing = sum(len(plan.planned_by.compared.differs) for plan in compared if plan.planned_by.compared)
    moves = [(action.vm in by_people) for plan, by_people in shadow for action in plan.moves]
    return Agreement(
        model_and_solver=share(vms - differing, vms),
        people_approved=share(sum(answers), len(answers)),
        people_did_the_same=share(sum(moves), len(moves)),
    )
