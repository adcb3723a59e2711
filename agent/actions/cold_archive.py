"""Cold archive of one vm: stop confirmed → copy → SHA-256 → fsync → re-read → signed manifest → only then let go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress

from agent.actions.attempt import AttemptContext, AttemptResult
from agent.actions.libvirt_state import hold_libvirt_state
from agent.actions.shutdown import put_back, stop
from models.errors import ArchiveFailed, CutOff, LifeboatError, PrecheckFailed
from models.evacuation import ArchiveFacts, AttemptOutcome, Measured, ObservedState
from models.fleet import VmState
from models.plan import ActionKind
from models.policy.policy import SourceRelease
from tools.domain.files import image_files, snapshot_files, split, state_image
from tools.ports.archives import ArchiveEntry, ImageFile
from tools.ports.hypervisor import Hypervisor
from tools.ports.records.attempts import SourceUndefineIntended
from tools.ports.records.cold import Archived
from tools.ports.storage import Storage
from tools.ports.vms import VmObservation
from tools.prechecks.checks import check_archive
from tools.prechecks.guest import inventory_of


def cold_archive(ctx: AttemptContext) -> AttemptResult:
    """Carry out a `cold_archive` action.

    Raises Refused or NodeUnreachable when nothing was begun. A failed copy starts the vm again where it was.
    """
    action, clock, store = ctx.action, ctx.hands.clock, ctx.hands.archives
    if store is None:
        raise PrecheckFailed(f"{ctx.label} can't be archived: no archive store is configured", hint="set `archive_url`")
    source = ctx.hands.node(action.source)
    ctx.progress("checking")
    initial = ctx.find_on_source(VmState.RUNNING, VmState.SHUTOFF)
    ctx.require_nobody_else_runs_it()
    check_archive(source, store, initial, ctx.vm, ctx.policy.archive)
    domain_xml = source.domain_xml(initial.uuid)
    inventory = inventory_of(source, initial)

    ctx.record_intent(initial)
    started = clock.monotonic()
    try:
        hold_libvirt_state(ctx, source, initial)
    except LifeboatError as error:
        return put_back(ctx, source, error.message, error.code, was=initial.state)
    if initial.state is VmState.RUNNING:
        unstopped = stop(ctx, source)
        if unstopped is not None:
            return unstopped
    try:
        snapshots = source.snapshots(initial.uuid)
        entry = store.write(
            archive_id=ctx.id,
            vm=initial,
            domain_xml=domain_xml,
            images=_images(ctx, source, initial),
            snapshots=snapshots,
            checkpoints=source.checkpoints(initial.uuid) if initial.checkpoints else (),
            left_out=(*snapshot_files(snapshots, image_files(initial, shared=True)), *inventory.left_out()),
            account=inventory.account(ActionKind.COLD_ARCHIVE),
            on_progress=lambda done, total: ctx.progress(
                "archiving", done / total if total else None, f"{done / 1e6:.0f} of {total / 1e6:.0f} MB"
            ),
        )
    except LifeboatError as error:
        return put_back(ctx, source, error.message, error.code, was=initial.state)
    return _archived(ctx, entry, clock.monotonic() - started)


def recover_cold_archive(ctx: AttemptContext, initial: VmObservation) -> AttemptResult:
    """After a restart: a complete archive is finished with; anything less is put back as it was found.

    What was copied stays in the store: an attempt is one-shot, and the next one of this vm goes on from it.
    """
    source, store = ctx.hands.node(ctx.action.source), ctx.hands.archives
    if store is not None:
        with suppress(ArchiveFailed):
            if ctx.hands.observe(ctx.action.source, initial.uuid).seen is not ObservedState.RUNNING:
                return _archived(ctx, store.verify(ctx.id), None)
    return put_back(ctx, source, "lifeboat was restarted in the middle", CutOff.code, was=initial.state)


def _archived(ctx: AttemptContext, entry: ArchiveEntry, seconds: float | None) -> AttemptResult:
    """The archive is verified: let the source go as far as policy says, and only when it was seen shut off."""
    action = ctx.action
    stored = entry.stored_bytes
    ctx.record(Archived(archive=entry.id, sha256=entry.sha256, stored_bytes=stored, vm=ctx.vm.uuid, node=action.source))
    assert ctx.hands.archives is not None
    left_out = ctx.hands.archives.left_out(entry.id)
    kept = f"its disks and definition stay on {action.source}"
    view = ctx.hands.observe(action.source, ctx.vm.uuid)
    if left_out:
        kept += f"; not in the archive: {', '.join(left_out)}"
    elif ctx.policy.archive.release_source is SourceRelease.UNDEFINE and view.seen is ObservedState.SHUTOFF:
        ctx.record(SourceUndefineIntended(why="archive verified"))
        try:
            ctx.hands.node(action.source).undefine(ctx.vm.uuid, with_snapshots=True)
            kept = f"its definition was removed from {action.source}, its disks stay"
        except LifeboatError as error:  # the archive is whole all the same
            kept += f"; the definition could not be removed: {error.message}"
        view = ctx.hands.observe(action.source, ctx.vm.uuid)
    return AttemptResult(
        outcome=AttemptOutcome.DONE,
        message=f"{ctx.label}: archived as {entry.id}, every byte read back and matched; {kept}",
        error_code=None,
        measured=Measured(seconds=seconds, bytes_transferred=entry.stored_bytes),
        archive=ArchiveFacts(
            id=entry.id,
            sha256=entry.sha256,
            stored_bytes=entry.stored_bytes,
            original_bytes=entry.original_bytes,
            verified=True,
        ),
        evidence=ctx.evidence(view),
    )


def _images(
    ctx: AttemptContext, source: Hypervisor, initial: VmObservation
) -> list[tuple[ImageFile, Callable[[], Iterator[bytes]]]]:
    """Everything a restore needs besides the definition. Lengths as they are now that the vm has stopped."""
    now = source.observe(initial.uuid) or initial
    images = [(image, _reader(ctx, source, image)) for image in image_files(now, shared=True)]
    for file in (*source.state_files(initial.uuid), *source.boot_files(initial.uuid)):
        images.append((state_image(file), lambda content=file.content: iter(split(content))))
    return images


def _reader(ctx: AttemptContext, source: Storage, image: ImageFile) -> Callable[[], Iterator[bytes]]:
    def read() -> Iterator[bytes]:
        with closing(source.read_disk(image.path)) as chunks:
            for chunk in chunks:
                if ctx.cancelled.is_set():
                    raise ArchiveFailed(f"{ctx.label}: cancelled while {image.path} was read")
                yield chunk

    return read
