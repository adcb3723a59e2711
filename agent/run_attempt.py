"""Run one attempt, or find out after a restart how one ended that was cut off."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

from pydantic import TypeAdapter

from agent.attempt import AttemptContext, Ending, Progress
from agent.cold_archive import cold_archive, recover_cold_archive
from agent.cold_migrate import cold_migrate, recover_cold_migrate
from agent.hands import Hands
from agent.io_throttle import sweep
from agent.journal import Record
from agent.live_migrate import live_migrate, recover_live_migrate
from models.errors import Indeterminate, LifeboatError, Refused
from models.evacuation import Attempt, AttemptOutcome, SeenState
from models.fleet import Vm
from models.plan import Action, ActionKind
from models.policy import Policy
from tools.ports import VmObservation

_RUNNERS: dict[ActionKind, Callable[[AttemptContext], Ending]] = {
    ActionKind.LIVE_MIGRATE: live_migrate,
    ActionKind.COLD_MIGRATE: cold_migrate,
    ActionKind.COLD_ARCHIVE: cold_archive,
}
_RECOVERIES: dict[ActionKind, Callable[[AttemptContext, VmObservation], Ending]] = {
    ActionKind.LIVE_MIGRATE: recover_live_migrate,
    ActionKind.COLD_MIGRATE: recover_cold_migrate,
    ActionKind.COLD_ARCHIVE: recover_cold_archive,
}


def run_attempt(ctx: AttemptContext) -> Attempt:
    """One try at one action: lock, run, write down how it ended. Never raises for a failed action."""
    started_at = ctx.hands.clock.now()

    def locked() -> Ending:
        ctx.hands.journal.lock(ctx.vm.uuid, ctx.id, now=started_at)
        return _RUNNERS[ctx.action.kind](ctx)

    return _conclude(ctx, started_at, locked)


def _conclude(ctx: AttemptContext, started_at: datetime, run: Callable[[], Ending]) -> Attempt:
    """Run it, write down how it ended, and give the vm free unless a human must look first."""
    try:
        ending = run()
    except LifeboatError as error:
        nothing_begun = AttemptOutcome.REFUSED if isinstance(error, Refused) else AttemptOutcome.FAILED
        ending = _after_error(ctx, str(error), error.code, nothing_begun)
    except Exception as error:
        # Not one of ours, so a fault in lifeboat: the vm may be half-way, and only looking can tell.
        ending = _after_error(
            ctx, f"{ctx.label}: unexpected {type(error).__name__}: {error}", "unexpected", AttemptOutcome.FAILED
        )
    attempt = Attempt(
        id=ctx.id,
        action=ctx.action,
        started_at=started_at,
        ended_at=ctx.hands.clock.now(),
        outcome=ending.outcome,
        message=ending.message,
        error_code=ending.error_code,
        measured=ending.measured,
        archive=ending.archive,
        evidence=ending.evidence,
    )
    ctx.record("result", attempt=attempt.model_dump(mode="json"))
    if not ending.keeps_lock:
        ctx.hands.journal.unlock(ctx.vm.uuid, ctx.id)
    return attempt


def _after_error(ctx: AttemptContext, message: str, code: str, nothing_begun: AttemptOutcome) -> Ending:
    """What an error left: nothing when no intent was written; else only as-found when it was seen so."""
    intents = [r for r in ctx.hands.journal.records(attempt=ctx.id) if r.kind == "intent"]
    if not intents:
        return Ending(nothing_begun, message, code)
    at_source = ctx.hands.look(ctx.action.source, ctx.vm.uuid)
    others = ctx.hands.look_everywhere(ctx.vm.uuid, except_for=frozenset({ctx.action.source}))
    evidence = ctx.evidence(at_source, *others)
    untouched = at_source.seen == intents[0].data["before"]["state"] and all(s.seen is SeenState.ABSENT for s in others)
    if untouched:
        return Ending(AttemptOutcome.FAILED, f"{message}; it is as it was found", code, evidence=evidence)
    seen = "; ".join(str(sight) for sight in (at_source, *others))
    return Ending(
        AttemptOutcome.INDETERMINATE, f"{message}; it stays locked: {seen}", Indeterminate.code, evidence=evidence
    )


def recover_attempts(hands: Hands, policy: Policy, tell: Callable[[Progress], None] = lambda _: None) -> list[Attempt]:
    """End every attempt whose intent is in the journal and whose result is not: observe first, then decide.

    Only for a journal that no other lifeboat process is working on.
    """
    open_attempts: dict[str, Record] = {}
    for record in hands.journal.records():
        if record.kind == "intent" and record.attempt is not None:
            open_attempts[record.attempt] = record
        elif record.kind == "result" and record.attempt is not None:
            open_attempts.pop(record.attempt, None)
    recovered: list[Attempt] = []
    for attempt_id, record in open_attempts.items():
        action = Action.model_validate(record.data["action"])
        before = TypeAdapter(VmObservation).validate_python(record.data["before"])
        vm = Vm(uuid=action.vm, name=action.vm_name or before.name, node=action.source, memory_bytes=0)
        ctx = AttemptContext(attempt_id, record.evacuation or "", action, vm, policy, hands, tell)
        ctx.record("recovering", why="its intent is in the journal and its result is not")
        recover = partial(_RECOVERIES[action.kind], ctx, before)
        recovered.append(_conclude(ctx, datetime.fromisoformat(record.time), recover))
    # A lock taken right before a crash, with no intent after it, protects nothing.
    with_intent = {record.attempt for record in hands.journal.records() if record.kind == "intent"}
    for vm, attempt_id in hands.journal.locks().items():
        if attempt_id not in with_intent:
            hands.journal.unlock(vm, attempt_id)
    sweep(hands)
    return recovered
