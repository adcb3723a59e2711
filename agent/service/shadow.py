"""Shadow mode: what would have been done is written down, and nothing is done."""

from __future__ import annotations

from dataclasses import replace

from agent.actions.resources import Resources
from agent.execute.evacuation import new_evacuation_id
from agent.service.pass_result import PassOutcome, PassResult
from models.plan import Approval, Plan, Verdict
from models.situation import Situation
from models.text import counted, listed, visible
from tools.ports.records.hindsight import ShadowDecided


def note_only(hands: Resources, plan: Plan, verdict: Verdict, situation: Situation, so_far: PassResult) -> PassResult:
    """Write the plan down under an id of its own, for `lifeboat hindsight`."""
    told = tuple(risk for risk in situation.risks or () if risk.node in plan.evacuating)
    record = ShadowDecided(plan=plan, verdict=verdict, risks=told)
    hands.journal.append(record, now=situation.now, evacuation=f"shadow-{new_evacuation_id(hands)}")
    why = shadow_line(plan, verdict)
    return replace(so_far, outcome=PassOutcome.SHADOW, why=why, plan=plan, verdict=verdict, situation=situation)


def shadow_line(plan: Plan, verdict: Verdict) -> str:
    """What would have been done, in one line."""
    nodes = listed([visible(node, 60) for node in plan.evacuating])
    if not verdict.passed:
        return f"would not have left {nodes}: {verdict.failures[0].rule}: {verdict.failures[0].why}"
    asking = ", once people had agreed" if verdict.approval is Approval.HUMAN else ""
    return f"would have moved {counted(len(plan.moves), 'vm')} off {nodes}{asking}; nothing was done (autonomy: shadow)"
