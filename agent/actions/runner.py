"""Run one attempt, or find out after a restart how one ended that was cut off."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime

from agent.actions.archive_actions import open_archive_actions, recover_archive_actions
from agent.actions.attempt import AttemptContext, AttemptResult
from agent.actions.cleanup import left_behind
from agent.actions.cleanup import sweep as remove_left_behind
from agent.actions.cold_archive import cold_archive, recover_cold_archive
from agent.actions.cold_migration import cold_migrate, recover_cold_migrate
from agent.actions.libvirt_state import settle_libvirt_state
from agent.actions.live.disk_throttle import sweep, unrestored_limits
from agent.actions.live.live_migration import live_migrate, recover_live_migrate
from agent.actions.progress import Progress
from agent.actions.resources import Resources
from agent.actions.shutdown import late_stops, settle_late_stops
from agent.state.requests import unfinished
from agent.state.trail import trace_of
from models.errors import Indeterminate, Lasting, LifeboatError, Refused
from models.evacuation import Attempt, AttemptOutcome, ObservedState
from models.fleet import Vm
from models.plan import ActionKind
from models.policy.policy import Policy
from tools.ports.journal import Entry, Journal, NotWritten, Scope
from tools.ports.records.attempts import AttemptEnded, AttemptIntended, MoveRefused, RecoveryBegun
from tools.ports.vms import VmObservation
from tools.tracing.spans import Span, span
from tools.tracing.trace import tracing

_RUNNERS: dict[ActionKind, Callable[[AttemptContext], AttemptResult]] = {
    ActionKind.LIVE_MIGRATE: live_migrate,
    ActionKind.COLD_MIGRATE: cold_migrate,
    ActionKind.COLD_ARCHIVE: cold_archive,
}
_RECOVERIES: dict[ActionKind, Callable[[AttemptContext, VmObservation], AttemptResult]] = {
    ActionKind.LIVE_MIGRATE: recover_live_migrate,
    ActionKind.COLD_MIGRATE: recover_cold_migrate,
    ActionKind.COLD_ARCHIVE: recover_cold_archive,
}


def run_attempt(ctx: AttemptContext) -> Attempt:
    """One try at one action: lock, run, write down how it ended. Never raises for a failed action."""
    started_at = ctx.hands.clock.now()

    def locked(ctx: AttemptContext) -> AttemptResult:
        ctx.hands.journal.lock(ctx.vm.uuid, ctx.id, now=started_at)
        return _RUNNERS[ctx.action.kind](ctx)

    return _conclude(ctx, started_at, locked)


def _conclude(ctx: AttemptContext, started_at: datetime, run: Callable[[AttemptContext], AttemptResult]) -> Attempt:
    """Run it, write down how it ended, and give the vm free unless a human must look first."""
    action = ctx.action
    with span(
        "attempt", key=ctx.id, within=ctx.evacuation, began=started_at, attempt=ctx.id, evacuation=ctx.evacuation,
        vm=ctx.vm.name, vm_uuid=ctx.vm.uuid, action=action.kind, source=action.source, target=action.target,
    ) as told:  # fmt: skip
        attempt = _ended(_telling_phases(ctx, told), started_at, run)
        measured = attempt.measured
        told.tell(
            outcome=attempt.outcome, error_code=attempt.error_code, message=attempt.message,
            downtime_seconds=measured.downtime_seconds,
        )  # fmt: skip
        if attempt.outcome in (AttemptOutcome.FAILED, AttemptOutcome.REFUSED, AttemptOutcome.INDETERMINATE):
            told.failed(attempt.message)
    return attempt


def _telling_phases(ctx: AttemptContext, told: Span) -> AttemptContext:
    """The same, and each phase it enters is an event of the span."""
    phases: list[str] = []

    def on_progress(progress: Progress) -> None:
        if progress.phase not in phases[-1:]:
            phases.append(progress.phase)
            told.happened(progress.phase, detail=progress.detail)
        ctx.on_progress(progress)

    return replace(ctx, on_progress=on_progress)


def _ended(ctx: AttemptContext, started_at: datetime, run: Callable[[AttemptContext], AttemptResult]) -> Attempt:
    try:
        ending = run(ctx)
    except LifeboatError as error:
        nothing_begun = AttemptOutcome.REFUSED if isinstance(error, Refused) else AttemptOutcome.FAILED
        ending = _after_error(ctx, str(error), error.code, nothing_begun)
        if error.lasting is not None:
            ending = replace(ending, refusal=error)
    except NotWritten:
        raise  # nobody can say how it ended, or may: it stays open, and whoever comes next looks first
    except Exception as error:
        # Not one of ours, so a fault in lifeboat: the vm may be half-way, and only looking can tell.
        ending = _after_error(
            ctx, f"{ctx.label}: unexpected {type(error).__name__}: {error}", "unexpected", AttemptOutcome.FAILED
        )
    ending = settle_libvirt_state(ctx, ending)
    attempt = Attempt(
        id=ctx.id,
        action=ctx.action,
        started_at=started_at,
        ended_at=max(started_at, ctx.hands.clock.now()),  # somebody may have set the clock back
        outcome=ending.outcome,
        message=ending.message,
        error_code=ending.error_code,
        measured=ending.measured,
        archive=ending.archive,
        evidence=ending.evidence,
    )
    if ending.refusal is not None and ending.outcome in (AttemptOutcome.FAILED, AttemptOutcome.REFUSED):
        _remember_refusal(ctx, ending.refusal)
    ctx.record(AttemptEnded(attempt=attempt))
    if not ending.keeps_lock:
        ctx.hands.journal.unlock(ctx.vm.uuid, ctx.id)
    return attempt


def _remember_refusal(ctx: AttemptContext, refusal: LifeboatError) -> None:
    here = refusal.lasting is Lasting.AT_TARGET and ctx.action.target is not None
    ctx.record(
        MoveRefused(
            vm=ctx.vm.uuid,
            move=ctx.action.kind,
            target=ctx.action.target if here else None,
            why=refusal.message,
            incarnation=ctx.vm.incarnation,
        )
    )


def _after_error(ctx: AttemptContext, message: str, code: str, nothing_begun: AttemptOutcome) -> AttemptResult:
    """What an error left: nothing when no intent was written; else only as-found when it was seen so."""
    intents = ctx.recorded(AttemptIntended)
    if not intents:
        return AttemptResult(outcome=nothing_begun, message=message, error_code=code)
    at_source = ctx.hands.observe(ctx.action.source, ctx.vm.uuid)
    others = ctx.hands.observe_on_all_nodes(ctx.vm.uuid, except_for=frozenset({ctx.action.source}))
    evidence = ctx.evidence(at_source, *others)
    untouched = at_source.seen == intents[0].record.initial.state.value and all(
        s.seen is ObservedState.ABSENT for s in others
    )
    if untouched:
        ctx.clear_attempt_tag(at_source)
        ctx.remove_created()
        return AttemptResult(
            outcome=AttemptOutcome.FAILED,
            message=f"{message}; it is as it was found",
            error_code=code,
            evidence=evidence,
        )
    seen = "; ".join(str(view) for view in (at_source, *others))
    shown = [view.node for view in others if view.seen is not ObservedState.ABSENT]
    wanted = dict.fromkeys(filter(None, (ctx.action.source, ctx.action.target, *shown)))
    return AttemptResult(
        outcome=AttemptOutcome.INDETERMINATE,
        message=f"{message}; it stays locked: {seen} — look with `virsh domstate {ctx.vm.uuid}` on {' and on '.join(wanted)}, "
        "and start or resume it nowhere before exactly one copy is left",
        error_code=Indeterminate.code,
        evidence=evidence,
    )


def abandon(ctx: AttemptContext, reason: str) -> Attempt:
    """Write down that it is not to be begun."""
    now = ctx.hands.clock.now()
    attempt = Attempt(
        id=ctx.id,
        action=ctx.action,
        started_at=now,
        ended_at=now,
        outcome=AttemptOutcome.CANCELLED,
        message=f"{ctx.label}: not begun: {reason}",
    )
    ctx.record(AttemptEnded(attempt=attempt))
    return attempt


def attempt_so_far(ctx: AttemptContext) -> Attempt | None:
    """How it ended, when it is over. One that was cut off is ended now, by looking. None: it never began."""
    for ended in ctx.recorded(AttemptEnded):
        return ended.record.attempt
    for intended in ctx.recorded(AttemptIntended):
        return _recover(ctx, intended)
    return None


def needs_recovery(journal: Journal) -> bool:
    """Whether anything was begun and not ended: here and now by a live lifeboat, or by one that is gone."""
    return bool(
        unfinished(journal)
        or open_intents(journal)
        or open_archive_actions(journal)
        or journal.locks()
        or unrestored_limits(journal)
        or left_behind(journal)
        or late_stops(journal)
    )


def recover_attempts(
    hands: Resources, policy: Policy, tell: Callable[[Progress], None] = lambda _: None
) -> list[Attempt]:
    """End every attempt whose intent is in the journal and whose result is not: observe first, then decide.

    All at once, since each may have to wait for a move that libvirt carries on. Only for a journal that no other
    lifeboat process is working on.
    """
    open_attempts = open_intents(hands.journal)

    def recover(item: tuple[str, Entry[AttemptIntended]]) -> Attempt:
        attempt_id, entry = item
        action = entry.record.action
        vm = Vm(uuid=action.vm, name=action.vm_name or "?", node=action.source, memory_bytes=0)
        ctx = AttemptContext(
            id=attempt_id,
            evacuation=entry.evacuation or "",
            action=action,
            vm=vm,
            policy=policy,
            hands=hands,
            on_progress=tell,
        )
        with tracing(trace_of(hands.journal, ctx.evacuation), evacuation=ctx.evacuation, attempt=ctx.id):
            return _recover(ctx, entry)

    recovered: list[Attempt] = []
    if open_attempts:
        with ThreadPoolExecutor(max_workers=len(open_attempts), thread_name_prefix="recover") as pool:
            recovered = list(pool.map(recover, open_attempts.items()))
    recover_archive_actions(hands)
    for vm, attempt_id in hands.journal.locks().items():
        if not _keeps_lock(hands.journal, attempt_id):
            hands.journal.unlock(vm, attempt_id)
    sweep(hands)
    remove_left_behind(hands)
    settle_late_stops(hands)
    return recovered


def open_intents(journal: Journal) -> dict[str, Entry[AttemptIntended]]:
    """attempt → its intent, for all that have no result."""
    intents = journal.unended(AttemptIntended, AttemptEnded, by=Scope.ATTEMPT)
    return {entry.attempt: entry for entry in intents if entry.attempt is not None}


def _keeps_lock(journal: Journal, attempt: str) -> bool:
    """Whether it has begun and not ended, or until a human has looked. A lock taken right before a crash, with no intent
    after it, protects nothing. A restore or wipe that is under way, or could not be ended now, keeps it too."""
    if any(entry.attempt == attempt for entry in open_archive_actions(journal)):
        return True
    if not journal.of(AttemptIntended, attempt=attempt):
        return False
    outcomes = [entry.record.attempt.outcome for entry in journal.of(AttemptEnded, attempt=attempt)]
    return not outcomes or AttemptOutcome.INDETERMINATE in outcomes


def _recover(ctx: AttemptContext, intent: Entry[AttemptIntended]) -> Attempt:
    initial = intent.record.initial
    if ctx.vm.name == "?":
        ctx = replace(ctx, vm=ctx.vm.model_copy(update={"name": initial.name}))
    ctx.record(RecoveryBegun(why="its intent is in the journal and its result is not"))
    recover = _RECOVERIES[ctx.action.kind]
    return _conclude(ctx, intent.at, lambda ctx: recover(ctx, initial))
