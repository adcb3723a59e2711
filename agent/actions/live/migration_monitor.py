"""Steer a running live migration: look at the job, let the ladder decide, do what it says, show how it gets on."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace

from agent.actions.attempt import AttemptContext
from agent.actions.progress import FETCHING, PAUSED, CopyState
from agent.actions.reconcile import is_own_job
from models.errors import Indeterminate, LifeboatError, MigrationFailed, NodeUnreachable
from models.migration.convergence import (
    JobProgress,
    LadderDecision,
    LadderPosition,
    LadderStep,
    Rules,
    current_ratio,
    expected_left,
    last_round_limit,
    link_carries,
    next_step,
    smoothed,
)
from tools.ports.journal import NotWritten
from tools.ports.migration import MigrationOptions
from tools.ports.records.migration import (
    AbortIntended,
    LadderStepFailed,
    LadderStepHeld,
    LadderStepTaken,
    MigrateCalled,
    MigrateCallEnded,
)

POLL_SECONDS = 0.5
BACKSTOP_SECONDS = 30.0
"""the hypervisor ends the job by itself this long after lifeboat should have"""
_AVERAGED = 8
"""looks that the figures shown are averaged over"""


@dataclass
class MigrationMonitor:
    """One migration job under way."""

    ctx: AttemptContext
    rules: Rules
    reached: LadderPosition
    history: list[JobProgress] = field(default_factory=list[JobProgress])
    gave_up: str = ""
    """why the ladder ended it; empty when it did not"""
    _job_seconds: float = 0.0
    """age of the job, as libvirt counts it"""
    _fraction: float = 0.0
    _recorded: set[LadderStep] = field(default_factory=set[LadderStep])
    """what was held back or asked for before, and is not written down each time it is tried again"""
    _failed: set[LadderStep] = field(default_factory=set[LadderStep])

    @property
    def job(self) -> JobProgress | None:
        """As last seen."""
        return self.history[-1] if self.history else None

    def poll(self, elapsed: float) -> bool:
        """Look once and act on it; whether there is a job. Raises NodeUnreachable when the source does not answer."""
        source, vm = self.ctx.hands.node(self.ctx.action.source), self.ctx.vm.uuid
        job = source.job(vm)
        if job is not None:
            self._job_seconds = job.elapsed_seconds
            self.history.append(replace(job, elapsed_seconds=elapsed))
        cancelled = self.ctx.cancelled.is_set() and not self.reached.abort_asked and not self.reached.post_copy
        if cancelled and self._is_ours():
            self._abort("", replace(self.reached, abort_asked=True))
        decision = next_step(self.history, self.reached, self.rules, elapsed=elapsed)
        if decision.step is LadderStep.POST_COPY and not self._link_holds():
            without = replace(self.rules, post_copy=False)
            decision = next_step(self.history, self.reached, without, elapsed=elapsed)
        self._do(decision)
        if job is not None:
            self._show(decision)
        return job is not None

    def _do(self, decision: LadderDecision) -> None:
        """A step that can't be done yet is tried again at the next look: a job in its preparations takes none."""
        source, vm, ctx = self.ctx.hands.node(self.ctx.action.source), self.ctx.vm.uuid, self.ctx
        step = decision.step
        if step is LadderStep.GO_ON:
            self.reached = decision.reached
            return
        if not self._is_ours():
            return
        if step is LadderStep.ABORT:
            self._abort(decision.reason, decision.reached)
            return
        if step is LadderStep.POST_COPY and not self._link_holds():
            ctx.record(
                LadderStepHeld(step=step, why="the link does not carry it steadily, or the target does not answer")
            )
            self.rules = replace(self.rules, post_copy=False)
            return
        ctx.record(LadderStepTaken(step=step, why=decision.reason, elapsed_seconds=round(self._elapsed, 1)))
        try:
            if step is LadderStep.RAISE_DOWNTIME:
                allowance = ctx.policy.migration.switchover_allowance.total_seconds()
                source.set_max_downtime(vm, last_round_limit(decision.reached.downtime, allowance))
            elif step is LadderStep.POST_COPY:
                source.start_post_copy(vm)
            else:
                source.suspend(vm)
        except LifeboatError as error:
            ctx.record(LadderStepFailed(step=step, error=str(error)))
            if step in self._failed:  # twice is enough: on to the next rung
                self.reached = replace(self.reached, position=decision.reached.position)
            self._failed.add(step)
        else:
            self.reached = decision.reached

    def _is_ours(self) -> bool:
        """Asked before anything is done to the job: libvirt has one at a time, and it may be somebody else's."""
        target = self.ctx.target
        return is_own_job(
            self._job_seconds, seconds_since_migrate_call(self.ctx), self.ctx.hands.observe(target, self.ctx.vm.uuid)
        )

    def _abort(self, reason: str, reached: LadderPosition) -> None:
        if LadderStep.ABORT not in self._recorded:
            self._recorded.add(LadderStep.ABORT)
            self.gave_up = reason
            self.ctx.record(AbortIntended(why=reason or "cancelled"))
        with suppress(LifeboatError):
            self.ctx.hands.node(self.ctx.action.source).abort_job(self.ctx.vm.uuid)
            self.reached = reached

    def _link_holds(self) -> bool:
        """What post-copy stands on: memory flows, and the target answers and holds the arriving vm."""
        target = self.ctx.target
        holds = link_carries(self.history) and self.ctx.hands.observe(target, self.ctx.vm.uuid).arriving
        if not holds and LadderStep.POST_COPY not in self._recorded:
            self._recorded.add(LadderStep.POST_COPY)
            self.ctx.record(
                LadderStepHeld(
                    step=LadderStep.POST_COPY, why="the link does not carry it steadily, or the target is silent"
                )
            )
        return holds

    @property
    def _elapsed(self) -> float:
        return self.history[-1].elapsed_seconds if self.history else 0.0

    def _show(self, decision: LadderDecision) -> None:
        job = self.history[-1]
        recent = self.history[-_AVERAGED:]
        rate = smoothed([look.bytes_per_second for look in recent]) or 0.0
        if job.bytes_total:
            self._fraction = max(self._fraction, min(1.0, 1 - job.bytes_remaining / job.bytes_total))
        if job.iteration == 0 and not job.bytes_processed:
            self.ctx.progress("copying", 0.0, "getting ready")
            return
        copy = CopyState(
            remaining_bytes=job.bytes_remaining,
            bytes_per_second=rate,
            dirty_bytes_per_second=(current_ratio(recent) or 0.0) * rate,
            iteration=job.iteration,
            expected_seconds=expected_left(recent),
            ladder=decision.reason,
        )
        copying = PAUSED if self.reached.suspended else "copying"
        self.ctx.progress(FETCHING if job.post_copy else copying, self._fraction, copy=copy)


def start_and_monitor(
    ctx: AttemptContext, options: MigrationOptions, monitor: MigrationMonitor
) -> LifeboatError | None:
    """Make the call in a thread of its own and steer until it is over; what it reported. Never raises."""
    action, clock = ctx.action, ctx.hands.clock
    source, over = ctx.hands.node(action.source), threading.Event()
    downtime: float | None = None
    ctx.progress("copying", 0.0, "getting ready")
    with suppress(LifeboatError):
        downtime = source.max_downtime(ctx.vm.uuid)
    ctx.record(MigrateCalled(max_downtime=downtime, uptime=clock.uptime()))
    started = clock.monotonic()
    clock.sleep(0)  # a virtual clock waits for those who have slept: the call must not run ahead of the looks
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"migrate-{ctx.vm.name}") as pool:
        call: Future[None] = pool.submit(source.migrate_live, ctx.vm.uuid, ctx.target, options)
        call.add_done_callback(lambda _: over.set())
        while not clock.wait(over, POLL_SECONDS):
            with suppress(LifeboatError, NotWritten):  # a step that can't be written down is not done, and tried again
                monitor.poll(clock.monotonic() - started)
        error = call.exception()
    # Answered, not by the loss of the connection or of patience: then libvirt has ended the job.
    answered = error is None or (
        isinstance(error, LifeboatError) and not isinstance(error, NodeUnreachable | Indeterminate)
    )
    ctx.record(MigrateCallEnded(error=str(error) if error else None, answered=answered))
    if error is None:
        return None
    if monitor.gave_up and answered:
        return MigrationFailed(f"given up: {monitor.gave_up}", hint="both nodes are looked at next")
    if isinstance(error, LifeboatError):
        return error
    if not isinstance(error, Exception):
        raise error
    # whatever it was, the vm may be moving: both ends must still be looked at
    return MigrationFailed(f"{ctx.label}: unexpected {type(error).__name__}: {error}")


def restore_downtime(ctx: AttemptContext) -> None:
    """Give QEMU the limit it had before the call, for a vm that stayed at the source: it outlasts a migration, and whoever
    raised it may have crashed."""
    source, vm = ctx.hands.node(ctx.action.source), ctx.vm.uuid
    for entry in ctx.recorded(MigrateCalled):
        initial = entry.record.max_downtime
        with suppress(LifeboatError):
            if initial is not None and source.max_downtime(vm) != initial:
                source.set_max_downtime(vm, initial)


def seconds_since_migrate_call(ctx: AttemptContext) -> float | None:
    """Seconds since this attempt made its migrate call; None when it made none, or libvirt has answered it."""
    made: float | None = None
    for entry in ctx.recorded(MigrateCalled, MigrateCallEnded):
        if isinstance(entry.record, MigrateCalled):
            made = ctx.hands.seconds_since(entry.record, entry.at)
        elif entry.record.answered:
            made = None
    return made


def resume_monitoring(ctx: AttemptContext, monitor: MigrationMonitor) -> None:
    """After a restart: libvirt carries a peer-to-peer move on without its client. Steer it until there is no job.

    Ends early when the source does not answer; whoever comes next has to look.
    """
    clock = ctx.hands.clock
    started = clock.monotonic()
    with suppress(LifeboatError):
        job = ctx.hands.node(ctx.action.source).job(ctx.vm.uuid)
        before = job.elapsed_seconds if job is not None else 0.0
        limit = monitor.rules.timeout + BACKSTOP_SECONDS
        while monitor.poll(elapsed := before + clock.monotonic() - started):
            if elapsed > limit and not monitor.reached.post_copy:
                return
            clock.sleep(POLL_SECONDS)
