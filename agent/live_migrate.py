"""Live migration of one vm: check, write down the intent, move, then look at both ends until they agree."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import nullcontext, suppress

from agent.attempt import AttemptContext, Ending
from agent.hands import BlackoutMeter
from agent.settle import Settlement, Sight, Step, settle_live
from models.errors import LifeboatError, MigrationFailed, NodeUnreachable
from models.evacuation import AttemptOutcome, Measured, SeenState
from models.fleet import VmState
from models.policy import MigrationPolicy
from tools.ports import Hypervisor, JobProgress, MigrationOptions, MigrationStatistics, VmObservation
from tools.prechecks import check_live_migration

SETTLE_SECONDS = 30.0
"""how long both ends may disagree before a human is called: libvirt's own finish phase and a daemon restart fit in"""
_LOOK_SECONDS = 0.5
_POLL_SECONDS = 0.25


def live_migrate(ctx: AttemptContext) -> Ending:
    """Carry out a `live_migrate` action.

    Raises Refused when a precheck fails and NodeUnreachable when an end does not answer before anything was begun;
    nothing was changed then. After that, every ending is a fact that was observed.
    """
    action, clock = ctx.action, ctx.hands.clock
    assert action.target is not None
    source, target = ctx.hands.node(action.source), ctx.hands.node(action.target)
    ctx.progress("checking")
    before = ctx.find_on_source(VmState.RUNNING, VmState.PAUSED)
    ctx.require_nobody_else_runs_it()
    check_live_migration(source, target, before, ctx.vm, tls_required=ctx.policy.migration.tls_required)

    ctx.record_intent(before)
    source.stamp_attempt(before.uuid, ctx.id)
    try:
        _make_images(ctx, target, before)
    except LifeboatError:
        ctx.remove_made_disks()
        _remove_stamp(ctx, action.source)
        raise
    started = clock.monotonic()
    watching = ctx.hands.watch(ctx.vm) if ctx.hands.watch is not None and ctx.vm.probe else nullcontext(None)
    with watching as meter:
        error = _move(ctx, before, migration_options(ctx.policy.migration, before))
        ctx.record("call-over", error=str(error) if error else None)
        settlement, sights = _settle(ctx, before)
        seconds = clock.monotonic() - started
        blackout = _gap(meter)
    statistics = _statistics(ctx) if settlement.step is Step.DONE else None
    measured = Measured(
        seconds=seconds,
        downtime_seconds=statistics.downtime_seconds if statistics else None,
        blackout_seconds=blackout if settlement.step is Step.DONE else None,
        bytes_transferred=statistics.bytes_transferred if statistics else None,
        iterations=statistics.iterations if statistics else None,
    )
    return _ending(ctx, settlement, error, measured, sights)


def recover_live_migrate(ctx: AttemptContext, before: VmObservation) -> Ending:
    """After a restart: libvirt carries a peer-to-peer move on without its client, so wait for the job, then look."""
    clock = ctx.hands.clock
    source = ctx.hands.node(ctx.action.source)
    deadline = clock.monotonic() + ctx.policy.migration.timeout.total_seconds()
    with suppress(LifeboatError):
        while (job := source.job(before.uuid)) is not None and clock.monotonic() < deadline:
            ctx.progress("copying", _fraction(job), _describe(job))
            clock.sleep(_LOOK_SECONDS)
    settlement, sights = _settle(ctx, before)
    cause = MigrationFailed("lifeboat was restarted in the middle")
    return _ending(ctx, settlement, cause, Measured(), sights)


def _settle(ctx: AttemptContext, before: VmObservation) -> tuple[Settlement, tuple[Sight, Sight]]:
    """Look until both ends agree, and do the one thing that may still be needed, on what was observed."""
    settlement, at_source, at_target = look_until_settled(ctx, before)
    source = ctx.hands.node(ctx.action.source)
    if settlement.step in (Step.UNDEFINE_SOURCE, Step.RESUME_SOURCE):
        ctx.record(settlement.step.replace("_", "-"), why=settlement.why)
        with suppress(LifeboatError):
            if settlement.step is Step.UNDEFINE_SOURCE:
                source.undefine(before.uuid)
            else:
                source.resume(before.uuid)
        settlement, at_source, at_target = look_until_settled(ctx, before)
    if settlement.step is Step.AS_FOUND and at_target.seen is SeenState.ABSENT:
        ctx.remove_made_disks()
    if settlement.step in (Step.DONE, Step.AS_FOUND):
        where = ctx.action.target if settlement.step is Step.DONE else ctx.action.source
        assert where is not None
        _remove_stamp(ctx, where)
    return settlement, (at_source, at_target)


def _make_images(ctx: AttemptContext, target: Hypervisor, before: VmObservation) -> None:
    """Make room for the disks that move along. libvirt would too, but never removes it again when the move fails, and
    only what the journal calls ours may be removed."""
    for disk in before.disks:
        if not disk.shared:
            ctx.create_disk(target, disk)


def migration_options(policy: MigrationPolicy, before: VmObservation) -> MigrationOptions:
    """What libvirt is asked for: the policy, and the disks that must move along."""
    return MigrationOptions(
        tls=policy.tls_required,
        max_downtime_seconds=policy.max_downtime.total_seconds(),
        timeout_seconds=policy.timeout.total_seconds(),
        auto_converge=policy.auto_converge,
        post_copy=policy.post_copy,
        parallel_connections=policy.parallel_connections,
        bandwidth_bytes_per_second=policy.bandwidth_bytes_per_second,
        copy_disks=tuple(disk.device for disk in before.disks if not disk.shared),
    )


def look_until_settled(ctx: AttemptContext, before: VmObservation) -> tuple[Settlement, Sight, Sight]:
    """Look at both ends until they agree, or for SETTLE_SECONDS. Also what recovery does after a restart."""
    action, clock = ctx.action, ctx.hands.clock
    assert action.target is not None
    deadline = clock.monotonic() + SETTLE_SECONDS
    while True:
        at_source, at_target = ctx.hands.look(action.source, before.uuid), ctx.hands.look(action.target, before.uuid)
        late = clock.monotonic() >= deadline
        elsewhere: list[Sight] = []
        if at_source.seen is SeenState.ABSENT and at_target.seen is SeenState.ABSENT:
            elsewhere = ctx.hands.look_everywhere(before.uuid, except_for=frozenset({action.source, action.target}))
        settlement = settle_live(before, at_source, at_target, elsewhere=elsewhere, out_of_patience=late)
        if settlement.step is not Step.LOOK_AGAIN:
            ctx.record("settled", step=settlement.step, why=settlement.why)
            return settlement, at_source, at_target
        ctx.progress("verifying", None, settlement.why)
        clock.sleep(_LOOK_SECONDS)


def _move(ctx: AttemptContext, before: VmObservation, options: MigrationOptions) -> LifeboatError | None:
    """Make the call in a thread of its own, show progress and pass a cancellation on; what the call reported."""
    action = ctx.action
    assert action.target is not None
    source = ctx.hands.node(action.source)
    ctx.progress("copying", 0.0)
    abort_asked = False
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"migrate-{ctx.vm.name}") as pool:
        call: Future[None] = pool.submit(source.migrate_live, before.uuid, action.target, options)
        while True:
            try:
                call.result(timeout=_POLL_SECONDS)
            except FutureTimeout:
                pass
            except LifeboatError as error:
                return error
            except Exception as error:  # whatever it was, the vm may be moving: both ends must still be looked at
                return MigrationFailed(f"{ctx.label}: unexpected {type(error).__name__}: {error}")
            else:
                return None
            if ctx.cancelled.is_set() and not abort_asked:
                abort_asked = True
                ctx.record("abort-asked")
                with suppress(LifeboatError):
                    source.abort_job(before.uuid)
            with suppress(LifeboatError):
                job = source.job(before.uuid)
                if job is not None:
                    ctx.progress("copying", _fraction(job), _describe(job))


def _ending(
    ctx: AttemptContext,
    settlement: Settlement,
    error: LifeboatError | None,
    measured: Measured,
    sights: tuple[Sight, Sight],
) -> Ending:
    action, evidence = ctx.action, ctx.evidence(*sights)
    if settlement.step is Step.DONE:
        return Ending(AttemptOutcome.DONE, f"{ctx.label}: {settlement.why}", None, measured, None, evidence)
    if settlement.step is Step.AS_FOUND and ctx.cancelled.is_set():
        return Ending(
            AttemptOutcome.CANCELLED, f"{ctx.label}: cancelled; {settlement.why}", None, measured, None, evidence
        )
    if settlement.step in (Step.AS_FOUND, Step.CHANGED):
        cause = error.message if error else "libvirt reported no error"
        return Ending(
            AttemptOutcome.FAILED,
            f"{ctx.label} did not move: {cause}; {settlement.why}",
            error.code if error else MigrationFailed.code,
            measured,
            None,
            evidence,
        )
    return Ending(
        AttemptOutcome.INDETERMINATE,
        f"{ctx.label}: {settlement.why} — it stays locked; look with `virsh domstate {ctx.vm.uuid}` on {action.source} "
        f"and on {action.target}, and start or resume it nowhere before exactly one copy is left",
        "indeterminate",
        measured,
        None,
        evidence,
    )


def _statistics(ctx: AttemptContext) -> MigrationStatistics | None:
    """From the target first: after a peer-to-peer move the source may have forgotten the job (libvirt 9.0)."""
    for node in (ctx.action.target, ctx.action.source):
        assert node is not None
        with suppress(LifeboatError):
            statistics = ctx.hands.node(node).completed_job(ctx.vm.uuid)
            if statistics is not None:
                return statistics
    return None


def _remove_stamp(ctx: AttemptContext, node: str) -> None:
    try:
        ctx.hands.node(node).stamp_attempt(ctx.vm.uuid, None)
    except (NodeUnreachable, MigrationFailed) as error:
        ctx.record("stamp-left", node=node, error=str(error))


def _gap(meter: BlackoutMeter | None) -> float | None:
    return meter.longest_gap_seconds() if meter is not None else None


def _fraction(job: JobProgress) -> float | None:
    return min(1.0, job.bytes_processed / job.bytes_total) if job.bytes_total else None


def _describe(job: JobProgress) -> str:
    return f"{job.bytes_remaining / 1e6:.0f} MB left, {job.bytes_per_second / 1e6:.0f} MB/s, round {job.iteration}"
