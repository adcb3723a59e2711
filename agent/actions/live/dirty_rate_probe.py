"""Right before a live migration: measure how fast the guest rewrites its memory, and say whether it is worth starting."""

from __future__ import annotations

import math
from dataclasses import dataclass

from agent.actions.attempt import AttemptContext
from models.errors import ActionFailed, WontConverge
from models.fleet import VmState
from models.migration.advice import REMEMBERED, Advice, Advised, MeasuredRate, advise, worth_probing
from models.migration.convergence import Rules, Start, start_position
from models.migration.estimate import LiveEstimate, live_migration, post_copy_stall, stream_bandwidth
from tools.ports.records.migration import DirtyRateMeasured, DirtyRateUnknown
from tools.ports.vms import VmObservation

_SAMPLES_IN_DOUBT = 3
"""how many samples are taken, all told, of a guest that would have to be slowed to get across"""


@dataclass(frozen=True, kw_only=True)
class MigrationForecast:
    """How a live migration is begun and steered, and what is expected of it."""

    rules: Rules
    start: Start
    estimate: LiveEstimate
    measured_rate: float | None
    """bytes per second; None when it was not measured just now"""

    @property
    def estimated_seconds(self) -> float | None:
        return self.estimate.seconds if math.isfinite(self.estimate.seconds) else None

    @property
    def estimated_downtime(self) -> float | None:
        return self.estimate.downtime_seconds if math.isfinite(self.estimate.downtime_seconds) else None


def probe_and_estimate(ctx: AttemptContext, initial: VmObservation) -> MigrationForecast:
    """The course of the move of a vm that was found fit to move.

    Raises WontConverge when its measured dirty rate is more than the link carries within policy; nothing was changed then.
    """
    source, target = ctx.hands.node(ctx.action.source), ctx.hands.node(ctx.action.target or "")
    bandwidth = stream_bandwidth(source.node(), target.node(), 1, 1, ctx.policy)
    rate = _probe(ctx, initial, bandwidth)
    vm = ctx.vm.model_copy(update={"state": initial.state})
    if rate is not None:
        vm = vm.model_copy(update={"dirty_bytes_per_second": rate})
        advised = advise(vm, bandwidth, ctx.policy, now=ctx.hands.clock.now())
        if not advised.goes:
            advised = advise(vm, bandwidth, ctx.policy, now=ctx.hands.clock.now(), history=_history(ctx))
        ctx.record(DirtyRateMeasured(vm=vm.uuid, bytes_per_second=rate, advice=advised.advice, why=advised.reason))
        if not advised.goes:
            raise WontConverge(f"{ctx.label}: {advised.reason}", hint=_hint(advised))
    known = vm.dirty_bytes_per_second is not None or initial.state is not VmState.RUNNING
    estimate = live_migration(vm, bandwidth, ctx.policy)
    rules = Rules.of(ctx.policy.migration, post_copy_stall=post_copy_stall(vm, bandwidth))
    return MigrationForecast(
        rules=rules,
        start=start_position(rules, estimate.ratio if known else None),
        estimate=estimate,
        measured_rate=rate,
    )


def _probe(ctx: AttemptContext, initial: VmObservation, bandwidth: float) -> float | None:
    if initial.state is not VmState.RUNNING:
        return None
    if not worth_probing(ctx.vm, bandwidth, ctx.policy, risk=ctx.action.risk_before_safe):
        return None
    ctx.progress("checking", None, "measuring how fast it rewrites its memory")
    source, seconds = ctx.hands.node(ctx.action.source), ctx.policy.migration.dirty_probe.total_seconds()
    try:
        rate = source.measure_dirty_rate(initial.uuid, seconds)
        vm = ctx.vm.model_copy(update={"state": initial.state, "dirty_bytes_per_second": rate})
        if advise(vm, bandwidth, ctx.policy, now=ctx.hands.clock.now()).advice is Advice.THROTTLE:
            # One second is a small sample, and a guest slowed for minutes in vain is worse than two seconds more.
            again = [source.measure_dirty_rate(initial.uuid, seconds) for _ in range(_SAMPLES_IN_DOUBT - 1)]
            rate = max(rate, *again)
        return rate
    except ActionFailed as error:  # a hypervisor that can't measure says nothing against the move
        ctx.record(DirtyRateUnknown(error=str(error)))
        return None


def _history(ctx: AttemptContext) -> list[MeasuredRate]:
    since = ctx.hands.clock.now() - REMEMBERED
    measured = ctx.hands.journal.of(DirtyRateMeasured, vm=ctx.vm.uuid, since=since)
    return [MeasuredRate(entry.at, entry.record.bytes_per_second) for entry in measured]


def _hint(advised: Advised) -> str:
    match advised.advice:
        case Advice.WAIT if advised.until is not None:
            return f"nothing was changed; try again at {advised.until:%Y-%m-%d %H:%M} UTC, or move it cold"
        case Advice.ARCHIVE:
            return "nothing was changed; archive it cold, or move it cold"
        case _:
            return "nothing was changed; move it cold, make the link faster, or let policy allow post-copy"
