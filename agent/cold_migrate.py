"""Cold migration of one vm: stop, copy what is not shared, define, start, observe; only then undefine the source."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress

from agent.attempt import AttemptContext, Ending
from agent.stop import indeterminate, put_back, stop
from models.errors import ActionFailed, ArchiveFailed, LifeboatError
from models.evacuation import AttemptOutcome, Measured, SeenState
from models.fleet import VmState
from tools.ports import DiskObservation, Hypervisor, VmObservation
from tools.prechecks import check_cold_migration


def cold_migrate(ctx: AttemptContext) -> Ending:
    """Carry out a `cold_migrate` action. A vm that was shut off stays shut off.

    Raises Refused or NodeUnreachable when nothing was begun. A failure before the vm was seen running at the target
    removes what was made there and starts it again at the source.
    """
    action, clock = ctx.action, ctx.hands.clock
    assert action.target is not None
    source, target = ctx.hands.node(action.source), ctx.hands.node(action.target)
    ctx.progress("checking")
    before = ctx.find_on_source(VmState.RUNNING, VmState.SHUTOFF)
    ctx.require_nobody_else_runs_it()
    check_cold_migration(source, target, before, ctx.vm)
    domain_xml = source.domain_xml(before.uuid)

    ctx.record_intent(before)
    started = clock.monotonic()
    if before.state is VmState.RUNNING:
        unstopped = stop(ctx, source)
        if unstopped is not None:
            return unstopped
    try:
        copied = sum(_copy(ctx, source, target, disk) for disk in before.disks if not disk.shared)
        ctx.record("define", node=action.target)
        target.define(domain_xml)
        if before.state is VmState.RUNNING:
            _require_source_off(ctx, source)
            ctx.record("start", node=action.target)
            ctx.progress("starting", None, f"at {action.target}")
            target.start(before.uuid)
    except LifeboatError as error:
        return _roll_back(ctx, before, error.message, error.code)
    return _finish(ctx, before, Measured(seconds=clock.monotonic() - started, bytes_transferred=copied))


def recover_cold_migrate(ctx: AttemptContext, before: VmObservation) -> Ending:
    """After a restart: running at the target means finish; anything less is taken back."""
    assert ctx.action.target is not None
    at_target = ctx.hands.look(ctx.action.target, before.uuid)
    if at_target.seen == before.state.value and _defined(ctx):
        return _finish(ctx, before, Measured())
    return _roll_back(ctx, before, "lifeboat was restarted in the middle", ActionFailed.code)


def _finish(ctx: AttemptContext, before: VmObservation, measured: Measured) -> Ending:
    """Seen at the target as it was before: the source may let go of its definition."""
    action = ctx.action
    assert action.target is not None
    wanted = SeenState(before.state.value)
    at_target = ctx.hands.look(action.target, before.uuid)
    if at_target.seen is not wanted:
        return indeterminate(ctx, f"{action.target} shows it {at_target.seen}, expected {wanted}")
    at_source = ctx.hands.look(action.source, before.uuid)
    if at_source.seen is SeenState.SHUTOFF:
        ctx.record("undefine-source", why=f"{wanted} on {action.target}")
        with suppress(LifeboatError):
            ctx.hands.node(action.source).undefine(before.uuid)
        at_source = ctx.hands.look(action.source, before.uuid)
    if at_source.seen is not SeenState.ABSENT:
        return indeterminate(ctx, f"{wanted} on {action.target}, and {action.source} shows it {at_source.seen}")
    if before.state is VmState.RUNNING:
        measured = measured.model_copy(update={"downtime_seconds": measured.seconds})
    return Ending(
        AttemptOutcome.DONE,
        f"{ctx.label}: {wanted} on {action.target}, gone from {action.source}",
        None,
        measured,
        None,
        ctx.evidence(at_source, at_target),
    )


def _roll_back(ctx: AttemptContext, before: VmObservation, cause: str, code: str) -> Ending:
    """Remove what this attempt made at the target, as the journal lists it, and put the vm back at the source.

    Only with the target seen without a live copy: a target that does not answer may be running it.
    """
    action = ctx.action
    assert action.target is not None
    at_target = ctx.hands.look(action.target, before.uuid)
    if at_target.seen not in (SeenState.ABSENT, SeenState.SHUTOFF):
        return indeterminate(ctx, f"{cause}; {action.target} shows it {at_target.seen}")
    target = ctx.hands.node(action.target)
    if at_target.seen is SeenState.SHUTOFF and _defined(ctx):
        ctx.record("undefine-target", why=cause)
        with suppress(LifeboatError):
            target.undefine(before.uuid)
        at_target = ctx.hands.look(action.target, before.uuid)
    if at_target.seen is not SeenState.ABSENT:
        return indeterminate(ctx, f"{cause}; {action.target} still shows it {at_target.seen}")
    ctx.remove_made_disks()
    return put_back(ctx, ctx.hands.node(action.source), cause, code, was=before.state)


def _defined(ctx: AttemptContext) -> bool:
    return any(record.kind == "define" for record in ctx.hands.journal.records(attempt=ctx.id))


def _require_source_off(ctx: AttemptContext, source: Hypervisor) -> None:
    now = source.observe(ctx.vm.uuid)
    if now is None or now.state is not VmState.SHUTOFF:
        raise ActionFailed(
            f"{ctx.label} is {now.state if now else 'gone'} on {ctx.action.source}: somebody else acted on it",
            hint="nothing was started on the target",
        )


def _copy(ctx: AttemptContext, source: Hypervisor, target: Hypervisor, disk: DiskObservation) -> int:
    """Copy one image and read it back at the target; its size in bytes. Raises ArchiveFailed when both differ."""
    ctx.create_disk(target, disk)
    sent = hashlib.sha256()
    count = 0

    def chunks() -> Iterator[bytes]:
        nonlocal count
        for chunk in source.read_disk(disk.path):
            if ctx.cancelled.is_set():
                raise ArchiveFailed(f"{ctx.label}: cancelled while disk {disk.device} was copied")
            sent.update(chunk)
            count += len(chunk)
            ctx.progress("copying", min(1.0, count / disk.virtual_bytes), f"{disk.device}: {count / 1e6:.0f} MB")
            yield chunk

    target.write_disk(disk.path, chunks())
    ctx.progress("verifying", None, f"{disk.device}: reading it back at {target.name}")
    received, left = hashlib.sha256(), count
    for chunk in target.read_disk(disk.path):
        received.update(chunk[:left])
        left -= min(left, len(chunk))
    if left or received.digest() != sent.digest():
        raise ArchiveFailed(
            f"{ctx.label}: disk {disk.device} at {target.name} differs from the one at {source.name} after the copy",
            hint="the source is untouched; check the storage behind the target",
        )
    return count
