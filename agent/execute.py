"""Carry out an approved plan: wave by wave, as many actions at once as the limits allow, each in its own attempt."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from agent.approve import Agreement
from agent.attempt import AttemptContext, Progress
from agent.hands import Hands
from agent.run_attempt import run_attempt
from models.evacuation import (
    Attempt,
    AttemptOutcome,
    Evacuation,
    EvacuationOutcome,
    judge_outcome,
)
from models.fleet import Fleet
from models.plan import Action, ActionKind, Plan, Verdict
from models.policy import LimitPolicy, Policy

_POLL_SECONDS = 0.2


@dataclass
class Watcher:
    """How the caller follows and steers a running evacuation."""

    tell: Callable[[Progress], None] = lambda _: None
    ended: Callable[[Attempt], None] = lambda _: None
    withdraw: Callable[[Action], str | None] = lambda _: None
    """asked right before an action begins; a reason means it is not wanted any more (the node recovered, the target
    became risky)"""
    cancelled: threading.Event = field(default_factory=threading.Event)


def new_evacuation_id(hands: Hands) -> str:
    return f"evac-{hands.clock.now():%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"


def may_start(action: Action, running: Sequence[Action], limits: LimitPolicy) -> bool:
    """Whether one more action fits beside those running. Archives count outbound too: they load the same disks."""
    moves_in = action.target is not None
    return (
        len(running) < limits.per_fleet
        and sum(other.source == action.source for other in running) < limits.outbound_per_node
        and not (moves_in and sum(other.target == action.target for other in running) >= limits.inbound_per_node)
        and not (
            moves_in
            and sum((other.source, other.target) == (action.source, action.target) for other in running)
            >= limits.per_link
        )
        and not (
            action.kind is ActionKind.COLD_ARCHIVE
            and sum(o.kind is ActionKind.COLD_ARCHIVE and o.source == action.source for o in running)
            >= limits.archives_per_node
        )
    )


def execute(
    plan: Plan,
    fleet: Fleet,
    verdict: Verdict,
    policy: Policy,
    hands: Hands,
    *,
    evacuation: str,
    agreement: Agreement,
    watcher: Watcher | None = None,
) -> Evacuation:
    """Run every action of the plan that is not `stay`.

    One failure neither stops nor undoes the others. Ctrl-C (or `watcher.cancelled`) ends what can still be ended and
    waits until every vm was observed. Raises nothing for failed actions: the outcome is in the Evacuation.
    """
    watcher = watcher or Watcher()
    started_at = hands.clock.now()
    hands.journal.append(
        "evacuation-started",
        {"plan": plan.model_dump(mode="json"), "agreement": agreement.model_dump(mode="json")},
        now=started_at,
        evacuation=evacuation,
    )
    attempts: list[Attempt] = []
    moves = plan.moves
    for wave in sorted({action.wave for action in moves}):
        attempts += _run_wave(
            [action for action in moves if action.wave == wave], fleet, policy, hands, evacuation, watcher
        )
    attempts.sort(key=lambda attempt: attempt.started_at)
    outcome = judge_outcome(tuple(attempts), frozenset(action.vm for action in moves))
    ended_at = hands.clock.now()
    hands.journal.append("evacuation-ended", {"outcome": outcome}, now=ended_at, evacuation=evacuation)
    return Evacuation(
        id=evacuation,
        plan=plan,
        verdict=verdict,
        approved_by=agreement.by,
        approved_at=agreement.at,
        started_at=started_at,
        ended_at=ended_at,
        outcome=EvacuationOutcome.DONE if not moves else outcome,
        attempts=tuple(attempts),
    )


def _run_wave(
    actions: list[Action], fleet: Fleet, policy: Policy, hands: Hands, evacuation: str, watcher: Watcher
) -> list[Attempt]:
    waiting, running, done = list(actions), dict[Future[Attempt], Action](), list[Attempt]()

    def finish(attempt: Attempt) -> None:
        done.append(attempt)
        watcher.ended(attempt)

    with ThreadPoolExecutor(max_workers=policy.limits.per_fleet, thread_name_prefix="attempt") as pool:
        while waiting or running:
            try:
                for action in list(waiting):
                    ctx = _context(action, fleet, policy, hands, evacuation, watcher)
                    reason = "cancelled" if watcher.cancelled.is_set() else watcher.withdraw(action)
                    if reason is not None:
                        waiting.remove(action)
                        finish(_called_off(ctx, reason))
                    elif may_start(action, list(running.values()), policy.limits):
                        waiting.remove(action)
                        running[pool.submit(run_attempt, ctx)] = action
                ended, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            except KeyboardInterrupt:
                watcher.cancelled.set()
                continue
            for future in ended:
                del running[future]
                finish(future.result())
    return done


def _context(
    action: Action, fleet: Fleet, policy: Policy, hands: Hands, evacuation: str, watcher: Watcher
) -> AttemptContext:
    return AttemptContext(
        id=f"{evacuation}-{uuid.uuid4().hex[:8]}",
        evacuation=evacuation,
        action=action,
        vm=fleet.vm_by_uuid[action.vm],
        policy=policy,
        hands=hands,
        tell=watcher.tell,
        cancelled=watcher.cancelled,
    )


def _called_off(ctx: AttemptContext, reason: str) -> Attempt:
    now = ctx.hands.clock.now()
    attempt = Attempt(
        id=ctx.id,
        action=ctx.action,
        started_at=now,
        ended_at=now,
        outcome=AttemptOutcome.CANCELLED,
        message=f"{ctx.label}: not begun: {reason}",
    )
    ctx.record("result", attempt=attempt.model_dump(mode="json"))
    return attempt
