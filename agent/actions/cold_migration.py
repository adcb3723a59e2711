"""Cold migration of one vm: stop, copy what is not shared, define, start, observe; only then undefine the source.

Images below its disks are only read while it runs: they are copied first, or found to be there already, and the vm
stops only for its own disks, its UEFI variables and its TPM state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import replace

from agent.actions.attempt import AttemptContext, AttemptResult
from agent.actions.image_copy import already_there, image_sha256, put_image
from agent.actions.libvirt_state import hold_libvirt_state
from agent.actions.shutdown import indeterminate, put_back, stop
from models.errors import ActionFailed, ArchiveFailed, CutOff, Lasting, LifeboatError, PrecheckFailed
from models.evacuation import AttemptOutcome, Measured, ObservedState
from models.fleet import VmState
from tools.domain.files import ONLY_READ_ROLES, image_files
from tools.domain.inventory.handlers import take_inventory
from tools.domain.inventory.whole import lost_from
from tools.ports.archives import ImageFile
from tools.ports.hypervisor import Hypervisor
from tools.ports.platform import Platform
from tools.ports.records.attempts import ShutdownIntended, SourceUndefineIntended
from tools.ports.records.cold import (
    DefineIntended,
    DefineRefused,
    DefinitionTrialIntended,
    DefinitionTried,
    StartIntended,
    TargetUndefineIntended,
)
from tools.ports.storage import Storage
from tools.ports.vms import ImageRole, StateFile, VmObservation
from tools.prechecks.checks import check_cold_migration


def cold_migrate(ctx: AttemptContext) -> AttemptResult:
    """Carry out a `cold_migrate` action. A vm that was shut off stays shut off.

    Raises Refused or NodeUnreachable when nothing was begun. A failure before the vm was seen running at the target
    removes what was made there and starts it again at the source.
    """
    action, clock = ctx.action, ctx.hands.clock
    source, target = ctx.hands.node(action.source), ctx.hands.node(ctx.target)
    ctx.progress("checking")
    initial = ctx.find_on_source(VmState.RUNNING, VmState.SHUTOFF)
    ctx.require_nobody_else_runs_it()
    pins = ctx.hands.pins
    check_cold_migration(
        source,
        target,
        initial,
        ctx.vm,
        pinned=pins.checker_of(target.name, ctx.policy.migration.pins) if pins else None,
    )
    domain_xml, snapshots = source.domain_xml(initial.uuid), source.snapshots(initial.uuid)
    images = image_files(initial, shared=False)
    below = [image for image in images if image.role in ONLY_READ_ROLES and not _there(ctx, source, target, image)]
    boot_files = source.boot_files(initial.uuid)

    ctx.record_intent(initial)
    started = clock.monotonic()
    try:
        if initial.state is VmState.RUNNING:
            _try_definition(ctx, target, domain_xml)
        copied = sum(_copy(ctx, source, target, image) for image in below)
        _put_small_files(ctx, target, boot_files)  # nothing writes to them while it runs
        hold_libvirt_state(ctx, source, initial)
    except LifeboatError as error:
        ending = _roll_back(ctx, initial, error.message, error.code)
        return replace(ending, refusal=error) if error.lasting is not None else ending
    stopping = clock.monotonic()
    if initial.state is VmState.RUNNING:
        unstopped = stop(ctx, source)
        if unstopped is not None:
            ctx.remove_created()
            return unstopped
    try:
        stopped = source.observe(initial.uuid) or initial  # a qcow2 image may have grown until it stopped
        copied += sum(
            _copy(ctx, source, target, image)
            for image in image_files(stopped, shared=False)
            if image.role is ImageRole.DISK
        )
        _put_small_files(ctx, target, source.state_files(initial.uuid))
        ctx.record(DefineIntended(node=ctx.target))
        try:
            target.define(domain_xml)
        except PrecheckFailed:
            ctx.record(DefineRefused(node=ctx.target))
            raise
        if snapshots:
            target.restore_snapshots(initial.uuid, snapshots)
        if initial.state is VmState.RUNNING:
            _require_source_off(ctx, source)
            ctx.record(StartIntended(node=ctx.target))
            ctx.progress("starting", None, f"at {ctx.target}")
            target.start(initial.uuid)
    except LifeboatError as error:
        return _roll_back(ctx, initial, error.message, error.code)
    now = clock.monotonic()
    downtime = now - stopping if initial.state is VmState.RUNNING else None
    return _finish(ctx, initial, Measured(seconds=now - started, bytes_transferred=copied, downtime_seconds=downtime))


def recover_cold_migrate(ctx: AttemptContext, initial: VmObservation) -> AttemptResult:
    """After a restart: running at the target means finish; anything less is taken back."""
    at_target = ctx.hands.observe(ctx.target, initial.uuid)
    snapshots = at_target.observation.snapshots if at_target.observation else 0
    if at_target.seen == initial.state.value and snapshots == initial.snapshots and _defined(ctx):
        return _finish(ctx, initial, Measured())
    return _roll_back(ctx, initial, "lifeboat was restarted in the middle", CutOff.code)


def _finish(ctx: AttemptContext, initial: VmObservation, measured: Measured) -> AttemptResult:
    """Seen at the target as it was before: the source may let go of its definition."""
    action = ctx.action
    wanted = ObservedState(initial.state.value)
    at_target = ctx.hands.observe(ctx.target, initial.uuid)
    if at_target.seen is not wanted:
        return indeterminate(ctx, f"{ctx.target} shows it {at_target.seen}, expected {wanted}")
    at_source, why = ctx.hands.observe(action.source, initial.uuid), ""
    if at_source.seen is ObservedState.SHUTOFF:
        ctx.record(SourceUndefineIntended(why=f"{wanted} on {ctx.target}"))
        try:
            ctx.hands.node(action.source).undefine(initial.uuid, with_snapshots=True)
        except LifeboatError as error:
            why = error.message
        at_source = ctx.hands.observe(action.source, initial.uuid)
    if at_source.seen is not ObservedState.ABSENT:
        because = f": {why}" if why else ""
        return indeterminate(ctx, f"{wanted} on {ctx.target}, and {action.source} shows it {at_source.seen}{because}")
    return AttemptResult(
        outcome=AttemptOutcome.DONE,
        message=f"{ctx.label}: {wanted} on {ctx.target}, gone from {action.source}",
        error_code=None,
        measured=measured,
        archive=None,
        evidence=ctx.evidence(at_source, at_target),
    )


def _roll_back(ctx: AttemptContext, initial: VmObservation, cause: str, code: str) -> AttemptResult:
    """Remove what this attempt made at the target, as the journal lists it, and put the vm back at the source.

    Only with the target seen without a live copy: a target that does not answer may be running it, unless this attempt
    never came to define it there, which the journal would say.
    """
    action = ctx.action
    at_target = ctx.hands.observe(ctx.target, initial.uuid)
    never_asked = initial.state is VmState.RUNNING and not ctx.recorded(ShutdownIntended)
    if at_target.seen is ObservedState.UNREACHABLE and never_asked and _defined(ctx):
        left = [*ctx.defer_removal(str(at_target)), ctx.files.leave_definition(ctx.target, str(at_target))]
        return put_back(ctx, ctx.hands.node(action.source), f"{cause}{_named(left)}", code, was=initial.state)
    if at_target.seen is ObservedState.UNREACHABLE and not _defined(ctx):
        left = ctx.defer_removal(str(at_target))
        cause += f"; {ctx.target} does not answer, and the vm was never defined there{_named(left)}"
        return put_back(ctx, ctx.hands.node(action.source), cause, code, was=initial.state)
    if at_target.seen not in (ObservedState.ABSENT, ObservedState.SHUTOFF):
        return indeterminate(ctx, f"{cause}; {ctx.target} shows it {at_target.seen}")
    target = ctx.hands.node(ctx.target)
    if at_target.seen is ObservedState.SHUTOFF and _defined(ctx):
        ctx.record(TargetUndefineIntended(why=cause))
        with suppress(LifeboatError):
            target.undefine(initial.uuid, with_snapshots=True)
        at_target = ctx.hands.observe(ctx.target, initial.uuid)
    if at_target.seen is not ObservedState.ABSENT:
        return indeterminate(ctx, f"{cause}; {ctx.target} still shows it {at_target.seen}")
    cause += _named(ctx.remove_created())
    return put_back(ctx, ctx.hands.node(action.source), cause, code, was=initial.state)


def _named(left: list[str]) -> str:
    return "".join(f"; {each}" for each in left)


def _defined(ctx: AttemptContext) -> bool:
    """Whether this attempt's definition is, or may be, at the target."""
    steps = ctx.recorded(DefinitionTrialIntended, DefinitionTried, DefineIntended, DefineRefused)
    return bool(steps) and isinstance(steps[-1].record, DefinitionTrialIntended | DefineIntended)


def _try_definition(ctx: AttemptContext, target: Hypervisor, domain_xml: str) -> None:
    """Before the guest is stopped: the target's libvirt takes its definition, and takes it whole. Raises PrecheckFailed.

    Nothing is started there: an image that moves along is not there yet, and one that both reach is open at the source.
    """
    ctx.progress("checking", None, f"its definition at {target.name}")
    ctx.record(DefinitionTrialIntended(node=target.name))
    try:
        taken = target.try_definition(domain_xml)
    except PrecheckFailed:
        ctx.record(DefineRefused(node=target.name))
        raise
    ctx.record(DefinitionTried(node=target.name))
    lost = lost_from(take_inventory(domain_xml), take_inventory(taken))
    if lost:
        names = ", ".join(f"{each.what} ({each.where})" for each in lost)
        raise PrecheckFailed(
            f"{ctx.label} can't be moved to node {target.name}: libvirt there knows no {names}",
            hint="bring libvirt there to the source's version, or choose another target",
            lasting=Lasting.AT_TARGET,
        )


def _require_source_off(ctx: AttemptContext, source: Platform) -> None:
    now = source.observe(ctx.vm.uuid)
    if now is None or now.state is not VmState.SHUTOFF:
        raise ActionFailed(
            f"{ctx.label} is {now.state if now else 'gone'} on {ctx.action.source}: somebody else acted on it",
            hint="nothing was started on the target",
        )


def _put_small_files(ctx: AttemptContext, target: Storage, files: Iterable[StateFile]) -> None:
    """Those the target does not have already, the very same."""
    for file in files:
        ctx.files.put_state_file(target, file)


def _there(ctx: AttemptContext, source: Storage, target: Storage, image: ImageFile) -> bool:
    """Whether the target has the same image below the disk already, such as a template that many vms lie on."""
    ctx.progress("checking", None, f"{image.path} on both nodes")
    return already_there(target, image, lambda: image_sha256(source, image.path)[1])


def _copy(ctx: AttemptContext, source: Storage, target: Storage, image: ImageFile) -> int:
    """Copy one image and read it back at the target; its length."""
    name = image.path.rpartition("/")[2]
    count = 0

    def chunks() -> Iterator[bytes]:
        nonlocal count
        with closing(source.read_disk(image.path)) as read:
            for chunk in read:
                if ctx.cancelled.is_set():
                    raise ArchiveFailed(f"{ctx.label}: cancelled while {image.path} was copied")
                count += len(chunk)
                total = image.image_bytes or image.virtual_bytes
                ctx.progress("copying", min(1.0, count / total) if total else None, f"{name}: {count / 1e6:.0f} MB")
                yield chunk

    return put_image(
        ctx.files,
        target,
        image,
        chunks(),
        verifying=lambda: ctx.progress("verifying", None, f"{name}: reading it back at {target.name}"),
    )
