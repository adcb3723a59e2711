"""Autostart belongs to the guest: off at the source while it moves, on again where the guest is in the end.

libvirt keeps it beside the definition. Left on at the source, a node that comes up again would start a second copy.
"""

from __future__ import annotations

from dataclasses import replace

from agent.actions.attempt import AttemptContext, AttemptResult
from models.errors import LifeboatError
from models.evacuation import AttemptOutcome, ObservedState
from models.plan import ActionKind
from tools.ports.hypervisor import Hypervisor
from tools.ports.records.attempts import AutostartGiven, AutostartHeld
from tools.ports.vms import VmObservation


def hold_autostart(ctx: AttemptContext, source: Hypervisor, initial: VmObservation) -> None:
    """Before anything of the vm is done elsewhere. Raises ActionFailed or NodeUnreachable; then the move must not go on."""
    if initial.autostart:
        ctx.record(AutostartHeld(node=ctx.action.source))
        source.set_autostart(initial.uuid, False)


def settle_autostart(ctx: AttemptContext, result: AttemptResult) -> AttemptResult:
    """At the end of an attempt: where the vm was seen to be, it starts by itself as it did before; the result says what
    could not be done. Nowhere while it is indeterminate, and not for an archived vm: its archive knows."""
    held = bool(ctx.recorded(AutostartHeld))
    if not held:
        return result
    if result.keeps_lock:
        return replace(result, message=f"{result.message}; its autostart is off until then")
    moved = result.outcome is AttemptOutcome.DONE
    if moved and ctx.action.kind is ActionKind.COLD_ARCHIVE:
        return result
    node = ctx.action.target if moved and ctx.action.target else ctx.action.source
    if ctx.hands.observe(node, ctx.vm.uuid).seen in (ObservedState.ABSENT, ObservedState.UNREACHABLE):
        return replace(result, message=f"{result.message}; its autostart could not be set again on {node}")
    ctx.record(AutostartGiven(node=node))
    try:
        ctx.hands.node(node).set_autostart(ctx.vm.uuid, True)
    except LifeboatError as error:
        return replace(
            result, message=f"{result.message}; its autostart could not be set again on {node}: {error.message}"
        )
    return result
