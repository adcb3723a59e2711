"""What libvirt keeps of a guest beside its definition: held at the source while it moves, given where it is in the end.

Autostart, which left on at the source would start a second copy when its node comes up; what a power-off does, which would
start a guest again that is stopped to be copied; and checkpoints, which no move takes along.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from agent.actions.attempt import AttemptContext, AttemptResult
from models.errors import LifeboatError
from models.evacuation import AttemptOutcome, ObservedState
from models.fleet import VmState
from models.plan import ActionKind
from tools.ports.hypervisor import Hypervisor
from tools.ports.records.attempts import (
    AutostartGiven,
    AutostartHeld,
    CheckpointsGiven,
    CheckpointsKept,
    OnPoweroffGiven,
    OnPoweroffHeld,
)
from tools.ports.vms import VmObservation

_STAYS_OFF = "destroy"


def hold_libvirt_state(ctx: AttemptContext, source: Hypervisor, initial: VmObservation) -> None:
    """Before anything of the vm is done elsewhere, or it is stopped. Raises ActionFailed or NodeUnreachable; then the move
    must not go on."""
    node = ctx.action.source
    if initial.checkpoints and ctx.action.target is not None:
        ctx.record(CheckpointsKept(checkpoints=source.checkpoints(initial.uuid)))
    if initial.autostart:
        ctx.record(AutostartHeld(node=node))
        source.set_autostart(initial.uuid, False)
    stops = ctx.action.kind is not ActionKind.LIVE_MIGRATE and initial.state is VmState.RUNNING
    if stops and initial.on_poweroff != _STAYS_OFF:
        ctx.record(OnPoweroffHeld(node=node, action=initial.on_poweroff))
        source.set_on_poweroff(initial.uuid, _STAYS_OFF)


def settle_libvirt_state(ctx: AttemptContext, result: AttemptResult) -> AttemptResult:
    """At the end of an attempt, where the vm was seen to be; the result says what could not be done."""
    return _settle_checkpoints(ctx, _settle_on_poweroff(ctx, _settle_autostart(ctx, result)))


def _settle_autostart(ctx: AttemptContext, result: AttemptResult) -> AttemptResult:
    """Nowhere while it is indeterminate, and not for an archived vm: its archive knows."""
    if not ctx.recorded(AutostartHeld):
        return result
    if result.keeps_lock:
        return _adding(result, "its autostart is off until then")
    moved = result.outcome is AttemptOutcome.DONE
    if moved and ctx.action.kind is ActionKind.COLD_ARCHIVE:
        return result
    node = ctx.action.target if moved and ctx.action.target else ctx.action.source
    failed = f"its autostart could not be set again on {node}"
    if ctx.hands.observe(node, ctx.vm.uuid).seen in (ObservedState.ABSENT, ObservedState.UNREACHABLE):
        return _adding(result, failed)
    ctx.record(AutostartGiven(node=node))
    return _given(result, failed, lambda: ctx.hands.node(node).set_autostart(ctx.vm.uuid, True))


def _settle_on_poweroff(ctx: AttemptContext, result: AttemptResult) -> AttemptResult:
    """For a guest that runs on where it was. One that was started anew, here or elsewhere, has it from its definition."""
    held = ctx.recorded(OnPoweroffHeld)
    if not held or result.outcome is AttemptOutcome.DONE:
        return result
    node, action = held[-1].record.node, held[-1].record.action
    view = ctx.hands.observe(node, ctx.vm.uuid)
    if view.observation is not None and view.observation.on_poweroff == action:
        return result
    failed = f"what a power-off does to it on {node} could not be set to {action!r} again"
    if view.seen is not ObservedState.RUNNING:
        return result if view.seen is ObservedState.SHUTOFF else _adding(result, failed)
    ctx.record(OnPoweroffGiven(node=node))
    return _given(result, failed, lambda: ctx.hands.node(node).set_on_poweroff(ctx.vm.uuid, action))


def _settle_checkpoints(ctx: AttemptContext, result: AttemptResult) -> AttemptResult:
    """At the target, whose images hold the bitmaps. The next backup of a vm without them is a full one."""
    kept, node = ctx.recorded(CheckpointsKept), ctx.action.target
    if not kept or node is None or result.outcome is not AttemptOutcome.DONE:
        return result
    ctx.record(CheckpointsGiven(node=node))
    failed = f"its checkpoints are not known on {node}, so its next backup is a full one"
    checkpoints = kept[-1].record.checkpoints
    return _given(result, failed, lambda: ctx.hands.node(node).restore_checkpoints(ctx.vm.uuid, checkpoints))


def _given(result: AttemptResult, failed: str, give: Callable[[], object]) -> AttemptResult:
    """`give` is called; where that fails, the result says so."""
    try:
        give()
    except LifeboatError as error:
        return _adding(result, f"{failed}: {error.message}")
    return result


def _adding(result: AttemptResult, what: str) -> AttemptResult:
    return replace(result, message=f"{result.message}; {what}")
