"""Stopping a vm for a cold move, and putting it back when the move fails. What both cold moves share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from agent.actions.attempt import AttemptContext, AttemptResult
from agent.actions.progress import STOPPING
from agent.actions.reconcile import NodeView, why_not_start
from agent.actions.resources import Resources
from models.errors import ActionFailed, LifeboatError
from models.evacuation import AttemptOutcome, ObservedState
from models.fleet import VmState
from models.text import seconds_in_words
from tools.ports.journal import Entry, Journal, Scope
from tools.ports.platform import Platform
from tools.ports.records.attempts import (
    PowerOffIntended,
    RestartIntended,
    ShutdownIntended,
    ShutdownOutstanding,
    ShutdownSettled,
)

_LOOK_SECONDS = 0.5
_FORCED_SECONDS = 10.0
_PRESS_SECONDS = 5.0
LINGER_SECONDS = 120.0
"""how long a guest that did not stop in time is watched, at most, before its attempt is over"""
LATE_SECONDS = 900.0
"""and how long after that it is started again should it stop; later, somebody else may have wanted it off"""
START_SECONDS = 30.0
"""how long libvirt may take to show a vm running after it was asked to start it"""


def stop(ctx: AttemptContext, source: Platform) -> AttemptResult | None:
    """Have the guest stop and see it shut off. None when it did; else how the attempt ends, the vm left running.

    First its agent or, where none is connected, the ACPI button; then the button again and again until the time that
    policy gives is over; then its plug, where policy allows that. Once asked, a guest may stop at any time: an attempt
    that is cancelled waits for that as long, and starts it again.
    """
    clock, policy = ctx.hands.clock, ctx.policy.archive
    if ctx.cancelled.is_set():
        return _still_running(ctx, ctx.hands.observe(ctx.action.source, ctx.vm.uuid))
    ctx.record(ShutdownIntended(uptime=clock.uptime()))
    try:
        source.shut_down(ctx.vm.uuid)
    except LifeboatError:  # the answer may be lost and the guest stopping: only looking can tell
        if ctx.hands.observe(ctx.action.source, ctx.vm.uuid).seen is ObservedState.PAUSED:
            raise
    deadline = clock.monotonic() + policy.shutdown_timeout.total_seconds()
    press_again = clock.monotonic() + _PRESS_SECONDS
    forced = False
    while True:
        view = ctx.hands.observe(ctx.action.source, ctx.vm.uuid)
        if view.seen is ObservedState.SHUTOFF:
            ctx.progress(STOPPING, None, "it has stopped")
            if ctx.cancelled.is_set():
                return put_back(ctx, source, "cancelled while it stopped", ActionFailed.code, was=VmState.RUNNING)
            return None
        if view.seen is ObservedState.ABSENT:
            return indeterminate(ctx, f"it vanished from {ctx.action.source} while it was asked to stop")
        if clock.monotonic() >= deadline:
            if view.seen is ObservedState.UNREACHABLE:
                return indeterminate(ctx, f"{ctx.action.source} stopped answering while the vm was asked to stop")
            if policy.force_off and not forced and not ctx.cancelled.is_set():
                forced = True
                deadline = clock.monotonic() + _FORCED_SECONDS
                ctx.record(PowerOffIntended())
                with suppress(LifeboatError):
                    source.power_off(ctx.vm.uuid)
                continue
            return _give_back_late(ctx, source)
        if clock.monotonic() >= press_again:
            # A guest that is still booting misses the power button, and an agent may say yes and do nothing.
            press_again = clock.monotonic() + _PRESS_SECONDS
            if not ctx.cancelled.is_set():
                with suppress(LifeboatError):
                    source.shut_down(ctx.vm.uuid, press_button=True)
        ctx.progress(STOPPING, None, f"waiting for the guest, {deadline - clock.monotonic():.0f} s left")
        clock.sleep(_LOOK_SECONDS)


def _give_back_late(ctx: AttemptContext, source: Platform) -> AttemptResult:
    """It did not stop in time, but may still: it is watched a while longer and started again if it does. What stops even
    later is left to `settle_late_stops`."""
    clock, policy = ctx.hands.clock, ctx.policy.archive
    until = clock.monotonic() + min(policy.shutdown_timeout.total_seconds(), LINGER_SECONDS)
    while clock.monotonic() < until:
        sight = ctx.hands.observe(ctx.action.source, ctx.vm.uuid)
        if sight.seen is ObservedState.SHUTOFF:
            seconds = policy.shutdown_timeout.total_seconds()
            cause = f"the guest took longer to stop than the {seconds:.0f} s that policy gives"
            return put_back(ctx, source, cause, ActionFailed.code, was=VmState.RUNNING)
        ctx.progress(STOPPING, None, "it was asked to stop and is late: it is started again if it does")
        clock.sleep(_LOOK_SECONDS)
    ctx.record(ShutdownOutstanding(node=ctx.action.source, vm=ctx.vm.uuid, uptime=clock.uptime()))
    return _still_running(ctx, ctx.hands.observe(ctx.action.source, ctx.vm.uuid))


def late_stops(journal: Journal) -> list[Entry[ShutdownOutstanding]]:
    """Guests that were asked to stop, left running, and may still stop."""
    return list(journal.unended(ShutdownOutstanding, ShutdownSettled, by=Scope.ATTEMPT))


def settle_late_stops(hands: Resources) -> None:
    """Start again what stopped after its attempt was over. Nothing while another attempt has the vm, or a node is silent."""
    locked = hands.journal.locks()
    for entry in late_stops(hands.journal):
        vm, node = entry.record.vm, entry.record.node
        if vm in locked:
            continue
        at_source = hands.observe(node, vm)
        elsewhere = hands.observe_on_all_nodes(vm, except_for=frozenset({node}))
        how = ""
        if at_source.seen is ObservedState.SHUTOFF and not why_not_start(at_source, elsewhere):
            with suppress(LifeboatError):
                hands.node(node).start(vm)
            how = f"it stopped late and was started again on {node}"
        elif any(sight.alive for sight in elsewhere) or at_source.seen is ObservedState.ABSENT:
            how = "somebody moved or removed it"
        elif hands.seconds_since(entry.record, entry.at) > LATE_SECONDS:
            how = f"it did not stop: {at_source}"
        if how:
            hands.journal.append(
                ShutdownSettled(how=how), now=hands.clock.now(), evacuation=entry.evacuation, attempt=entry.attempt
            )


def put_back(ctx: AttemptContext, source: Platform, cause: str, code: str, *, was: VmState) -> AttemptResult:
    """After a failure with the vm stopped, or about to stop: start it where it was when it ran before, and look. Not when
    another node shows it: `why_not_start`."""
    wanted, stopped_for = ObservedState(was.value), ""
    if was is VmState.RUNNING and (stopped := _see_it_stop(ctx)).seen is ObservedState.SHUTOFF:
        elsewhere = ctx.hands.observe_on_all_nodes(ctx.vm.uuid, except_for=frozenset({ctx.action.source}))
        if forbidden := why_not_start(stopped, elsewhere):
            return indeterminate(
                ctx, f"{cause}; it is shut off on {ctx.action.source}, and not started again: {forbidden}"
            )
        ctx.record(RestartIntended(node=ctx.action.source, because=cause))
        with suppress(LifeboatError):
            source.start(ctx.vm.uuid)
        stopped_for = _stopped_for(ctx)
    clock = ctx.hands.clock
    deadline = clock.monotonic() + START_SECONDS
    while True:
        view = ctx.hands.observe(ctx.action.source, ctx.vm.uuid)
        if view.seen is wanted:
            cancelled = ctx.cancelled.is_set()
            return AttemptResult(
                outcome=AttemptOutcome.CANCELLED if cancelled else AttemptOutcome.FAILED,
                message=f"{ctx.label}: {cause}; it is {view.seen} on {ctx.action.source}, {stopped_for or 'as it was found'}",
                error_code=code,
                evidence=ctx.evidence(view),
            )
        if clock.monotonic() >= deadline:
            return indeterminate(
                ctx, f"{cause}; it could not be brought back and shows {view.seen} on {ctx.action.source}"
            )
        clock.sleep(_LOOK_SECONDS)


def _stopped_for(ctx: AttemptContext) -> str:
    """A guest that was stopped and started again has lost its memory and its connections: not as it was found."""
    asked = ctx.recorded(ShutdownIntended)
    if not asked:
        return ""
    seconds = ctx.hands.seconds_since(asked[-1].record, asked[-1].at)
    return f"and was stopped for {seconds_in_words(seconds)} and started again"


def _see_it_stop(ctx: AttemptContext) -> NodeView:
    """What the source shows. A guest that was asked to stop right before a crash still runs, and is waited for: seen
    running, and left, it would stop a moment later and stay off."""
    clock = ctx.hands.clock
    asked = ctx.recorded(ShutdownIntended)
    allowed = ctx.policy.archive.shutdown_timeout.total_seconds()
    since = ctx.hands.seconds_since(asked[-1].record, asked[-1].at) if asked else allowed
    pending_until = clock.monotonic() + max(0.0, allowed - since)
    while True:
        view = ctx.hands.observe(ctx.action.source, ctx.vm.uuid)
        if view.seen is not ObservedState.RUNNING or clock.monotonic() >= pending_until:
            return view
        ctx.progress(STOPPING, None, "it was asked to stop: waiting, to start it again")
        clock.sleep(_LOOK_SECONDS)


def indeterminate(ctx: AttemptContext, why: str) -> AttemptResult:
    """The ending that freezes a vm, saying what to look at on which node."""
    nodes = [ctx.action.source, *([ctx.action.target] if ctx.action.target else [])]
    return AttemptResult(
        outcome=AttemptOutcome.INDETERMINATE,
        message=f"{ctx.label}: {why} — it stays locked; look with `virsh domstate {ctx.vm.uuid}` on {' and on '.join(nodes)}, "
        "and start it nowhere before exactly one copy is left",
        error_code="indeterminate",
        evidence=ctx.evidence(*_looks(ctx, nodes)),
    )


def _looks(ctx: AttemptContext, nodes: Sequence[str]) -> list[NodeView]:
    return [ctx.hands.observe(node, ctx.vm.uuid) for node in nodes]


def _still_running(ctx: AttemptContext, view: NodeView) -> AttemptResult:
    asked = bool(ctx.recorded(ShutdownIntended))
    seconds = ctx.policy.archive.shutdown_timeout.total_seconds()
    outcome = AttemptOutcome.CANCELLED if ctx.cancelled.is_set() else AttemptOutcome.FAILED
    why = f"the guest did not stop within {seconds:.0f} s" if asked else "the guest was not asked to stop yet"
    return AttemptResult(
        outcome=outcome,
        message=f"{ctx.label}: {'cancelled; ' if ctx.cancelled.is_set() else ''}{why}; it was left {view.seen} on "
        f"{ctx.action.source}{', and may still stop by itself' if asked else ''}",
        error_code=ActionFailed.code,
        evidence=ctx.evidence(view),
    )
