"""How close a rule that is kept came to being broken, in figures."""

from __future__ import annotations

from collections.abc import Callable

from agent.guard.facts import LiveMove, PlanFacts
from models.brake import counted_moves, emptied_today, nodes_a_day
from models.planning.placement import memory_room
from models.planning.schedule import Limit, allowed, busiest
from models.risk.risk_level import RiskLevel

GIBIBYTE = 1 << 30


def fleet_age(facts: PlanFacts) -> str:
    """How old the snapshot is."""
    age = (facts.now - facts.fleet.observed_at).total_seconds()
    return f"observed {max(0.0, age):.0f} s ago, policy allows {facts.policy.data.max_age.total_seconds():.0f} s"


def room_made(facts: PlanFacts) -> str:
    """How many vms of sound nodes move for others."""
    count = len(facts.making_room)
    return (
        f"{count} vms make room for others, policy allows {facts.policy.make_room.max_moves}"
        if count
        else "none has to"
    )


def riskiest_target(facts: PlanFacts) -> str:
    """The target most likely to fail itself."""
    risks = facts.node_risks or {}
    known = [(risks[name].probability or 0.0, name) for name in facts.receiving if name in risks]
    p, name = max(known, default=(0.0, ""))
    most = facts.policy.target.max_probability
    return (
        f"the riskiest target {name} has P(fails) {p:.2g}, policy allows {most:g}"
        if name
        else "nothing moves to a node"
    )


def fullest_target(
    held: Callable[[PlanFacts, str], float], room: Callable[[PlanFacts, str], float], unit: str
) -> Callable[[PlanFacts], str]:
    """Names the target that is left with the least, and the figures."""

    def describe(facts: PlanFacts) -> str:
        if not facts.receiving:
            return "nothing moves to a node"
        name = min(facts.receiving, key=lambda n: (room(facts, n) - held(facts, n), n))
        return f"the fullest target {name} holds {held(facts, name):.4g} of {room(facts, name):.4g} {unit}"

    return describe


def room_gib(facts: PlanFacts, name: str) -> float:
    """What vms may hold on a node, GiB."""
    return memory_room(facts.fleet.node_by_name[name], facts.policy) / GIBIBYTE


def worst_live(figure: Callable[[LiveMove], float], text: str) -> Callable[[PlanFacts], str]:
    """The largest figure of any live migration, put into `text`."""

    def describe(facts: PlanFacts) -> str:
        figures = [figure(move) for move in facts.live]
        return text.format(max(figures)) if figures else "nothing moves live"

    return describe


def busiest_wave(limit: Limit) -> Callable[[PlanFacts], str]:
    """How close any moment may come to a limit."""

    def describe(facts: PlanFacts) -> str:
        most, _ = busiest(limit, facts.lanes_of_moves)
        return f"{most} at most, policy allows {allowed(limit, facts.policy.limits)}"

    return describe


def put_off_longest(facts: PlanFacts) -> str:
    """How far anything is put off."""
    told = [action.not_before for action, _ in facts.moves if action.not_before is not None]
    if not told:
        return "nothing is put off"
    hours = max(0.0, (max(told) - facts.now).total_seconds()) / 3600
    return f"{len(told)} moves wait, the last {hours:.1f} h, policy allows {facts.policy.wait.longest.total_seconds() / 3600:g} h"


def nodes_at_trigger(facts: PlanFacts) -> str:
    """How much of the fleet looks risky."""
    count = sum(node.level is RiskLevel.TRIGGERED for node in (facts.node_risks or {}).values())
    return f"{count} of {len(facts.fleet.nodes)} nodes at the trigger"


def remembered(facts: PlanFacts) -> str:
    """Whether anybody told of earlier moves, and how many vms are held for them."""
    if facts.fleet.past_moves is None:
        return "nobody told of earlier moves"
    return f"{len(facts.held)} vms of the fleet are left alone after a move, none of them moves"


def moves_of_the_day(facts: PlanFacts) -> str:
    """How close the day comes to its caps with this plan."""
    before = counted_moves(facts.fleet, facts.now)
    emptied = emptied_today(facts.fleet, facts.now) | set(facts.plan.evacuating) - set(facts.plan.asked)
    return (
        f"{len(emptied)} nodes a day, policy allows {nodes_a_day(facts.fleet, facts.policy)}; "
        f"{len(before) + len(facts.unasked)} vms, policy allows {facts.policy.churn.guests_a_day}"
    )
