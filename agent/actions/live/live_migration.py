"""Live migration of one vm: check, write down the intent, move, then look at both ends until they agree."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass

from agent.actions.attempt import AttemptContext, AttemptResult
from agent.actions.libvirt_state import hold_libvirt_state
from agent.actions.live.dirty_rate_probe import MigrationForecast, probe_and_estimate
from agent.actions.live.disk_throttle import restore_limits, throttled_disks
from agent.actions.live.migrated_disks import make_images, settle_old_images
from agent.actions.live.migration_monitor import (
    BACKSTOP_SECONDS,
    MigrationMonitor,
    restore_downtime,
    resume_monitoring,
    seconds_since_migrate_call,
    start_and_monitor,
)
from agent.actions.progress import VERIFYING
from agent.actions.reconcile import NodeView, ReconcileStep, Reconciliation, is_own_job, reconcile_migration
from agent.actions.resources import BlackoutMeter
from models.errors import Indeterminate, LifeboatError, MigrationFailed
from models.evacuation import AttemptOutcome, Evidence, Measured, ObservedState
from models.fleet import VmState
from models.migration.convergence import LadderStep, Rules, last_round_limit, start_position
from models.policy.policy import MigrationPolicy
from tools.ports.migration import MigrationOptions, MigrationStatistics
from tools.ports.records.attempts import SourceUndefineIntended
from tools.ports.records.migration import (
    AbortIntended,
    LadderStepTaken,
    RanTwice,
    Reconciled,
    SourceResumeIntended,
)
from tools.ports.vms import VmObservation
from tools.prechecks.checks import check_live_migration

SETTLE_SECONDS = 30.0
"""how long both ends may disagree before a human is called: libvirt's own finish phase and a daemon restart fit in"""
ANSWER_SECONDS = 10.0
"""how long a guest that has just moved may take to answer before the report says that it does not"""
_LOOK_SECONDS = 0.5


def live_migrate(ctx: AttemptContext) -> AttemptResult:
    """Carry out a `live_migrate` action.

    Raises Refused when a precheck fails or the vm would not converge, and NodeUnreachable when an end does not answer
    before anything was begun; nothing was changed then. After that, every ending is a fact that was observed.
    """
    action, clock = ctx.action, ctx.hands.clock
    source, target = ctx.hands.node(action.source), ctx.hands.node(ctx.target)
    ctx.progress("checking")
    initial = ctx.find_on_source(VmState.RUNNING, VmState.PAUSED)
    ctx.require_nobody_else_runs_it()
    check_live_migration(
        source,
        target,
        initial,
        ctx.vm,
        policy=ctx.policy.migration,
        fleet=tuple(ctx.hands.nodes.values()),
        pinned=ctx.hands.pins.checker(ctx.policy.migration.pins) if ctx.hands.pins is not None else None,
    )
    forecast = probe_and_estimate(ctx, initial)

    ctx.record_intent(initial)
    source.tag_attempt(initial.uuid, ctx.id)
    try:
        make_images(ctx, target, initial)
        hold_libvirt_state(ctx, source, initial)
    except LifeboatError:
        ctx.remove_created()
        ctx.clear_attempt_tag(ctx.hands.observe(action.source, initial.uuid))
        raise
    started = clock.monotonic()
    watching = ctx.hands.watch(ctx.vm) if ctx.hands.watch is not None and ctx.vm.probe else nullcontext(None)
    with throttled_disks(ctx, forecast.start.throttle_io) as held, watching as meter:
        monitor = MigrationMonitor(ctx, forecast.rules, forecast.start.reached)
        error = start_and_monitor(ctx, migration_options(ctx.policy.migration, initial, forecast), monitor)
        reconciled = _reconcile(ctx, initial)
        seconds = clock.monotonic() - started
        blackout = _gap(meter)
    done = reconciled.step is ReconcileStep.DONE
    measured = _measured(ctx, initial, forecast, seconds, blackout) if done else Measured(seconds=seconds)
    return _ending(ctx, reconciled, error, measured, held.left)


def recover_live_migrate(ctx: AttemptContext, initial: VmObservation) -> AttemptResult:
    """After a restart: libvirt carries a peer-to-peer move on without its client, so steer the job to its end, then look."""
    rules = Rules.of(ctx.policy.migration)
    resume_monitoring(ctx, MigrationMonitor(ctx, rules, start_position(rules, None).reached))
    reconciled = _reconcile(ctx, initial)
    held_on = restore_limits(ctx.hands, ctx.id)
    cause = MigrationFailed("lifeboat was restarted in the middle")
    return _ending(ctx, reconciled, cause, Measured(), held_on)


@dataclass(frozen=True, kw_only=True)
class _Reconciled:
    """Where the vm is, as observed, and what the source keeps of it."""

    step: ReconcileStep
    why: str
    views: tuple[NodeView, NodeView]
    old_images: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    """of a move that did not happen: what it made at the target and could not remove"""


def _reconcile(ctx: AttemptContext, initial: VmObservation) -> _Reconciled:
    """Look until both ends agree, and do the one thing that may still be needed, on what was observed."""
    reconciliation, at_source, at_target = wait_until_reconciled(ctx, initial)
    source = ctx.hands.node(ctx.action.source)
    if reconciliation.step in (ReconcileStep.UNDEFINE_SOURCE, ReconcileStep.RESUME_SOURCE):
        undefines = reconciliation.step is ReconcileStep.UNDEFINE_SOURCE
        intended = SourceUndefineIntended if undefines else SourceResumeIntended
        ctx.record(intended(why=reconciliation.why))
        with suppress(LifeboatError):
            if undefines:
                source.undefine(initial.uuid)
            else:
                source.resume(initial.uuid)
        reconciliation, at_source, at_target = wait_until_reconciled(ctx, initial)
    left: list[str] = []
    if reconciliation.step in (ReconcileStep.AS_FOUND, ReconcileStep.CHANGED):
        if at_source.alive:
            restore_downtime(ctx)
        absent = at_target.seen is ObservedState.ABSENT
        left = ctx.remove_created() if absent else ctx.defer_removal(str(at_target))
    if reconciliation.step is ReconcileStep.CHANGED:  # whoever moved it took the mark along
        ctx.clear_attempt_tag(*ctx.hands.observe_on_all_nodes(initial.uuid))
    elif reconciliation.step in (ReconcileStep.DONE, ReconcileStep.AS_FOUND):
        ctx.clear_attempt_tag(at_source, at_target)
    old = settle_old_images(ctx, initial, at_source, at_target) if reconciliation.step is ReconcileStep.DONE else []
    return _Reconciled(
        step=reconciliation.step,
        why=reconciliation.why,
        views=(at_source, at_target),
        old_images=tuple(old),
        left=tuple(left),
    )


def migration_options(policy: MigrationPolicy, initial: VmObservation, forecast: MigrationForecast) -> MigrationOptions:
    """What libvirt is asked for: the policy, the ladder's first rungs, and the disks that must move along."""
    allowance = policy.switchover_allowance.total_seconds()
    return MigrationOptions(
        tls=policy.tls_required,
        max_downtime_seconds=last_round_limit(forecast.start.reached.downtime, allowance),
        timeout_seconds=forecast.rules.timeout + BACKSTOP_SECONDS,
        auto_converge=forecast.start.auto_converge,
        post_copy=forecast.rules.post_copy,
        parallel_connections=policy.parallel_connections,
        bandwidth_bytes_per_second=policy.bandwidth_bytes_per_second,
        copy_disks=tuple(disk.device for disk in initial.disks if not disk.shared),
        abort_on_io_error=not (policy.with_io_error and initial.paused_by_io_error),
        compression=policy.compression,
    )


def wait_until_reconciled(ctx: AttemptContext, initial: VmObservation) -> tuple[Reconciliation, NodeView, NodeView]:
    """Look at both ends until they agree, or for SETTLE_SECONDS. Also what recovery does after a restart.

    This attempt's own job, found still going at the source, is told to end: only without one is a source that runs the
    whole story. Somebody else's is waited for, no longer than policy gives a migration: where the vm ends up is theirs.
    """
    action, clock = ctx.action, ctx.hands.clock
    deadline, told = clock.monotonic() + SETTLE_SECONDS, False
    theirs_until = clock.monotonic() + ctx.policy.migration.timeout.total_seconds()
    suspended = any(entry.record.step is LadderStep.SUSPEND for entry in ctx.recorded(LadderStepTaken))
    while True:
        at_source, at_target = (
            ctx.hands.observe(action.source, initial.uuid),
            ctx.hands.observe(ctx.target, initial.uuid),
        )
        if at_source.runs and at_target.runs:
            # Between the two looks it may have switched over. Seen at the source before and after, it runs twice.
            at_source = ctx.hands.observe(action.source, initial.uuid)
            if at_source.runs:
                return _stop_second_copy(ctx, initial, at_source, at_target)
        job, ours = _job_at_source(ctx, at_source, at_target)
        if ours and not told:
            told = True
            ctx.record(AbortIntended(why="the call is over and the job is not"))
            with suppress(LifeboatError):
                ctx.hands.node(action.source).abort_job(initial.uuid)
        elif job and not ours and not ctx.cancelled.is_set():
            deadline = max(deadline, min(clock.monotonic() + SETTLE_SECONDS, theirs_until))
        late = clock.monotonic() >= deadline
        elsewhere: list[NodeView] | None = None
        gone = at_source.seen is ObservedState.ABSENT
        if at_target.seen is ObservedState.ABSENT and (gone or (late and at_source.seen is ObservedState.PAUSED)):
            elsewhere = ctx.hands.observe_on_all_nodes(initial.uuid, except_for=frozenset({action.source, ctx.target}))
        reconciliation = reconcile_migration(
            initial,
            at_source,
            at_target,
            job=job,
            elsewhere=elsewhere,
            suspended_by_us=suspended,
            out_of_patience=late,
        )
        if reconciliation.step is not ReconcileStep.LOOK_AGAIN:
            ctx.record(Reconciled(step=reconciliation.step, why=reconciliation.why))
            return reconciliation, at_source, at_target
        ctx.progress(VERIFYING, None, reconciliation.why)
        clock.sleep(_LOOK_SECONDS)


def _job_at_source(ctx: AttemptContext, at_source: NodeView, at_target: NodeView) -> tuple[bool | None, bool]:
    """Whether the source has a job of this vm, None when it does not tell; and whether it is this attempt's."""
    if not at_source.alive:
        return (False if at_source.seen is not ObservedState.UNREACHABLE else None), False
    try:
        job = ctx.hands.node(at_source.node).job(ctx.vm.uuid)
    except LifeboatError:
        return None, False
    return job is not None, job is not None and is_own_job(
        job.elapsed_seconds, seconds_since_migrate_call(ctx), at_target
    )


def _stop_second_copy(
    ctx: AttemptContext, initial: VmObservation, at_source: NodeView, at_target: NodeView
) -> tuple[Reconciliation, NodeView, NodeView]:
    """Two copies write to the same disks, and each second does more harm: pause the one at the source.

    It is the one that libvirt resumed when it got no word of the target's start; the target's copy is what clients have
    talked to since. Pausing loses nothing, and which copy goes on is for a human to say.
    """
    why = f"it ran twice, on {at_source.node} and on {at_target.node}"
    ctx.record(RanTwice(source=at_source.node, target=at_target.node, pausing=at_source.node))
    try:
        ctx.hands.node(at_source.node).suspend(initial.uuid)
        why += f"; the copy on {at_source.node} was paused"
    except LifeboatError as error:
        why += f"; the copy on {at_source.node} could not be paused ({error.message}): do it now"
    reconciliation = Reconciliation(ReconcileStep.INDETERMINATE, why)
    ctx.record(Reconciled(step=reconciliation.step, why=why))
    return reconciliation, ctx.hands.observe(at_source.node, initial.uuid), at_target


def _measured(
    ctx: AttemptContext, initial: VmObservation, forecast: MigrationForecast, seconds: float, blackout: float | None
) -> Measured:
    """Of a move that was observed done, beside what was expected of it."""
    statistics = _statistics(ctx)
    sent = statistics.bytes_transferred if statistics else None
    took = statistics.total_seconds if statistics else None
    return Measured(
        seconds=seconds,
        downtime_seconds=statistics.downtime_seconds if statistics else None,
        blackout_seconds=blackout,
        bytes_transferred=sent,
        iterations=statistics.iterations if statistics else None,
        bytes_per_second=sent / took if sent is not None and took else None,
        dirty_bytes_per_second=forecast.measured_rate,
        estimated_seconds=forecast.estimated_seconds,
        estimated_downtime_seconds=forecast.estimated_downtime,
        guest_answered=_guest_answers(ctx) if initial.state is VmState.RUNNING else None,
    )


def _guest_answers(ctx: AttemptContext) -> bool | None:
    """Whether the guest answers where it is now, asked again for a while; None when there is no way to ask."""
    target, clock = ctx.hands.node(ctx.target), ctx.hands.clock
    deadline = clock.monotonic() + ANSWER_SECONDS
    while True:
        answer: bool | None = None
        with suppress(LifeboatError):
            answer = target.guest_answers(ctx.vm.uuid)
        if answer is not True and ctx.vm.probe and ctx.hands.ask_guest is not None:
            answer = ctx.hands.ask_guest(ctx.vm.probe) or answer or False
        if answer is not False or clock.monotonic() >= deadline:
            return answer
        ctx.progress(VERIFYING, None, "waiting for the guest to answer")
        clock.sleep(_LOOK_SECONDS)


def _ending(
    ctx: AttemptContext, reconciled: _Reconciled, error: LifeboatError | None, measured: Measured, held_on: list[str]
) -> AttemptResult:
    """`held_on`: nodes where its disks may still be limited."""
    action, evidence, why = ctx.action, ctx.evidence(*reconciled.views), reconciled.why
    if held_on:
        why += f"; its disks may still be held back on {', '.join(held_on)}: see `virsh blkdeviotune`"
    why += "".join(f"; {each}" for each in reconciled.left)
    if reconciled.step is ReconcileStep.DONE:
        if reconciled.old_images:
            kept = ", ".join(reconciled.old_images)
            why += f"; {action.source} keeps {kept}"
            evidence = (_with_detail(evidence[0], f"its old image is left: {kept}"), *evidence[1:])
        if measured.guest_answered is False:
            why += f"; the guest did not answer within {ANSWER_SECONDS:.0f} s"
        return AttemptResult(
            outcome=AttemptOutcome.DONE, message=f"{ctx.label}: {why}", measured=measured, evidence=evidence
        )
    if reconciled.step is ReconcileStep.AS_FOUND and ctx.cancelled.is_set():
        return AttemptResult(
            outcome=AttemptOutcome.CANCELLED,
            message=f"{ctx.label}: cancelled; {why}",
            measured=measured,
            evidence=evidence,
        )
    if reconciled.step in (ReconcileStep.AS_FOUND, ReconcileStep.CHANGED):
        cause = error.message if error else "libvirt reported no error"
        return AttemptResult(
            outcome=AttemptOutcome.FAILED,
            message=f"{ctx.label} did not move: {cause}; {why}",
            error_code=error.code if error else MigrationFailed.code,
            measured=measured,
            evidence=evidence,
            refusal=error if error and error.lasting else None,
        )
    if isinstance(error, Indeterminate):
        why += f"; {error.message}: {error.hint}; `virsh domjobabort {ctx.vm.uuid}` there asks it again"
    return AttemptResult(
        outcome=AttemptOutcome.INDETERMINATE,
        message=f"{ctx.label}: {why} — it stays locked; look with `virsh domstate {ctx.vm.uuid}` on {action.source} "
        f"and on {ctx.target}, and start or resume it nowhere before exactly one copy is left",
        error_code="indeterminate",
        measured=measured,
        evidence=evidence,
    )


def _with_detail(evidence: Evidence, detail: str) -> Evidence:
    return evidence.model_copy(update={"detail": "; ".join(filter(None, (evidence.detail, detail)))})


def _statistics(ctx: AttemptContext) -> MigrationStatistics | None:
    """From the target first: after a peer-to-peer move the source may have forgotten the job (libvirt 9.0)."""
    for node in (ctx.target, ctx.action.source):
        assert node is not None
        with suppress(LifeboatError):
            statistics = ctx.hands.node(node).completed_job(ctx.vm.uuid)
            if statistics is not None:
                return statistics
    return None


def _gap(meter: BlackoutMeter | None) -> float | None:
    return meter.longest_gap_seconds() if meter is not None else None
