"""The status page: what an operator wants to see at 3 a.m., as plain HTML that needs no script and asks nobody."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from agent.actions.progress import FETCHING, VERIFYING, Progress
from agent.service.observability.moves import MoveReading
from agent.service.observability.passes import PassLine
from agent.state.status import EvacuationStatus, Status
from models.base import format_duration
from models.plan import ActionKind
from models.proposals.states import Proposal
from models.risk.risk_level import RiskLevel
from models.situation import Situation
from models.text import bytes_in_words, listed, moment, percent, seconds_in_words, visible

if TYPE_CHECKING:
    from jinja2 import Template

MOST_NODES = 20
MOST_EVACUATIONS = 5
REFRESH_SECONDS = 15
_LONGEST = 400


def render_status(
    *,
    status: Status,
    questions: Sequence[Proposal],
    situation: Situation | None,
    passes: Sequence[PassLine],
    not_ready: str | None,
    first_look_seconds: float | None = None,
    look_seconds: float | None = None,
    moves: Sequence[MoveReading] = (),
) -> str:
    """The whole page. Names and reasons from outside stay text. `look_seconds`: how long a look has taken that is not over;
    `moves`: how far those are that this process carries out."""
    return _template().render(
        status=status,
        evacuations=[(each, _moves(each, moves)) for each in status.evacuations[:MOST_EVACUATIONS]],
        questions=[_question(each) for each in questions],
        nodes=_nodes(situation),
        more=max(0, len(situation.fleet.nodes) - MOST_NODES) if situation is not None else 0,
        horizon=format_duration(situation.policy.trigger.horizon) if situation is not None else "",
        looked_at=situation.now if situation is not None else None,
        passes=passes,
        not_ready=not_ready,
        first_look=first_look_seconds,
        look=look_seconds if first_look_seconds is None else None,
        refresh=REFRESH_SECONDS,
    )


def _nodes(situation: Situation | None) -> list[dict[str, Any]]:
    """Of the last look, the worst first; unknown counts as worse than calm."""
    if situation is None:
        return []
    seconds = situation.policy.trigger.horizon.total_seconds()
    vms: dict[str, int] = {}
    for vm in situation.fleet.vms:
        vms[vm.node] = vms.get(vm.node, 0) + 1
    rows: list[dict[str, Any]] = []
    for name, node in situation.node_risks.items():
        known = node.usable_risk if node.level is not RiskLevel.UNKNOWN else None
        chance = known.within(seconds) if known is not None else None
        rows.append(
            {
                "name": name,
                "level": str(node.level),
                "chance": percent(chance) if chance is not None else "unknown",
                "why": known.drivers[0].words if known is not None and known.drivers else node.why,
                "vms": vms.get(name, 0),
                "order": 0.5 if chance is None else chance,
            }
        )
    return sorted(rows, key=lambda row: (-row["order"], row["name"]))[:MOST_NODES]


def _moves(evacuation: EvacuationStatus, readings: Sequence[MoveReading]) -> list[dict[str, Any]]:
    """Each that is under way, with its reading where this process carries it out."""
    over = {each.id for each in evacuation.attempts if each.outcome != "running"}
    mine = [each for each in readings if each.progress.attempt.startswith(f"{evacuation.id}-")]
    known = {each.progress.attempt: each for each in mine if each.progress.attempt not in over}
    running = {each.id: each for each in evacuation.attempts if each.outcome == "running"}
    told: list[dict[str, Any]] = []
    for attempt in dict.fromkeys([*known, *running]):
        reading, action = known.get(attempt), running.get(attempt)
        if reading is not None:
            told.append(_move_reading(reading))
        elif action is not None:
            name = action.vm_name or action.vm
            told.append({"vm": name, "way": _way(action.kind, action.source, action.target), "reading": None})
    return told


def _move_reading(reading: MoveReading) -> dict[str, Any]:
    progress = reading.progress
    action, copy = progress.action, progress.copy
    figures = (
        [progress.detail]
        if copy is None
        else [
            f"{bytes_in_words(copy.remaining_bytes)} left at {bytes_in_words(copy.bytes_per_second)}/s",
            f"round {copy.iteration}" if copy.iteration else "",
            f"{seconds_in_words(copy.expected_seconds)} to go"
            if copy.expected_seconds is not None
            else "no end in sight yet",
            copy.ladder,
        ]
    )
    still = reading.still_seconds
    return {
        "vm": action.vm_name or action.vm,
        "way": _way(action.kind, action.source, action.target),
        "reading": reading,
        "phase": progress.phase,
        "fraction": progress.fraction,
        "percent": f"{progress.fraction * 100:.0f} %" if progress.fraction is not None else "",
        "figures": "; ".join(filter(None, figures)),
        "still": _pause(progress, still),
        "is_still": still is not None,
    }


def _pause(progress: Progress, still: float | None) -> str:
    if still is not None:
        return f"the guest has stood still for {seconds_in_words(still)}"
    if progress.action.kind is ActionKind.LIVE_MIGRATE and progress.phase in (FETCHING, VERIFYING):
        return "its pause at switchover is told once the move has ended"
    return "no pause so far"


def _way(kind: str, source: str | None, target: str | None) -> str:
    return f"{kind.replace('_', ' ')}, {source or 'from an archive'} → {target or 'archive'}"


def _question(proposal: Proposal) -> dict[str, Any]:
    plan = proposal.question.plan
    return {
        "id": proposal.id,
        "state": str(proposal.state),
        "nodes": listed([visible(node, 60) for node in plan.evacuating]),
        "moves": len(plan.moves),
        "expires_at": proposal.expires_at,
    }


@cache
def _template() -> Template:
    from jinja2 import Environment
    from markupsafe import escape

    text = (files("agent.service.observability") / "templates/status.html.j2").read_text(encoding="utf-8")

    def shown(value: object) -> object:
        return escape(visible(value, _LONGEST)) if isinstance(value, str) else value

    environment = Environment(autoescape=True, finalize=shown, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"moment": moment, "seconds": seconds_in_words}
    return environment.from_string(text)
