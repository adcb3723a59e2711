"""Where is the vm now? The pure decision after (or during, or long after) a move: what two looks at it mean.

libvirt's answer to the migrate call is not an input on purpose. A call can fail after the vm has moved, and a lost
connection says nothing at all; only what both nodes show counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from models.evacuation import ObservedState
from tools.ports.vms import VmObservation

_JOB_SLACK_SECONDS = 1.0
"""between libvirt's count of a job's age and ours"""


@dataclass(frozen=True)
class NodeView:
    """One look at one node for one vm."""

    node: str
    seen: ObservedState
    observation: VmObservation | None = None
    """None when absent or unreachable"""

    @property
    def arriving(self) -> bool:
        return self.observation is not None and self.observation.incoming

    @property
    def alive(self) -> bool:
        """A process of this vm exists here that holds, or may resume, its state."""
        return self.seen in (ObservedState.RUNNING, ObservedState.PAUSED) and not self.arriving

    @property
    def runs(self) -> bool:
        return self.seen is ObservedState.RUNNING and not self.arriving

    @property
    def reason(self) -> str:
        """libvirt's word for why it is in that state; empty when it gives none."""
        return self.observation.state_reason if self.observation is not None else ""

    @property
    def resumed_by_libvirt(self) -> bool:
        """libvirt let it run on after it had stopped it for a switchover: for want of the target's word, perhaps."""
        return self.runs and self.reason == "migration canceled"

    def __str__(self) -> str:
        return f"{self.node}: {'arriving' if self.arriving else self.seen}"


class ReconcileStep(StrEnum):
    """What follows from what was seen."""

    DONE = "done"
    """it runs at the target and is gone from the source"""
    AS_FOUND = "as_found"
    """it did not move and is as it was before"""
    CHANGED = "changed"
    """it did not move by this attempt, and somebody else changed it meanwhile; known where it is"""
    RESUME_SOURCE = "resume_source"
    """its migration left it paused at the source, and no other node has it, each of them seen: resume it there"""
    UNDEFINE_SOURCE = "undefine_source"
    """it runs at the target; the source keeps only a definition, shut off"""
    LOOK_AGAIN = "look_again"
    """libvirt may still be finishing; not to be judged yet"""
    INDETERMINATE = "indeterminate"
    """a human must look"""


@dataclass(frozen=True)
class Reconciliation:
    step: ReconcileStep
    why: str
    """one clause a person reads"""


def reconcile_migration(
    initial: VmObservation,
    source: NodeView,
    target: NodeView,
    *,
    job: bool | None = False,
    elsewhere: Sequence[NodeView] | None = None,
    suspended_by_us: bool = False,
    out_of_patience: bool,
) -> Reconciliation:
    """Judge a live migration by what both ends show.

    `initial` is the vm as found on the source; `job`: whether the source still has a job of it, None when that is not
    known; `elsewhere` are looks at all other nodes (None: nobody looked), wanted when neither end shows it, or when the
    source holds it paused; `suspended_by_us`: the journal says that this attempt paused it. With `out_of_patience` false,
    states that libvirt passes through by itself give LOOK_AGAIN; with it true, they are judged as they are. Never asks for
    the source to be undefined or resumed unless the destination was observed.

    A source that a migration left paused is resumed only when every other node was seen without the vm, nodes that have no
    part in this attempt included: somebody else may have migrated it, and a paused half of a handover is just what the
    source then shows. So one silent node, whichever, leaves a guest paused until a human has looked. That costs downtime,
    in the rare case that a handover broke, libvirt itself resumed nothing, and a node is silent; the other choice costs the
    disks, whenever the silent node is the one that runs it. Unreachable is not stopped.
    """

    def unless_it_settles(step: ReconcileStep, why: str) -> Reconciliation:
        return Reconciliation(step, why) if out_of_patience else Reconciliation(ReconcileStep.LOOK_AGAIN, why)

    as_before = ObservedState(initial.state.value)
    if target.alive and source.alive:
        if source.seen is ObservedState.RUNNING and target.seen is ObservedState.RUNNING:
            # Two looks are never at one instant: a switchover between them looks like this once, a real double stays.
            return unless_it_settles(
                ReconcileStep.INDETERMINATE, f"it runs twice, on {source.node} and on {target.node}"
            )
        return unless_it_settles(ReconcileStep.INDETERMINATE, f"both nodes hold it ({source}; {target})")
    if target.alive:
        if target.seen is not as_before:
            return unless_it_settles(
                ReconcileStep.INDETERMINATE, f"it was {as_before} before and is {target.seen} now ({target})"
            )
        assert target.observation is not None
        different = _different_disks(initial, target.observation)
        if different:
            return Reconciliation(ReconcileStep.INDETERMINATE, f"at {target.node} it has other disks: {different}")
        if source.seen is ObservedState.ABSENT:
            return Reconciliation(ReconcileStep.DONE, f"{target.seen} on {target.node}, gone from {source.node}")
        if source.seen is ObservedState.SHUTOFF:
            return Reconciliation(
                ReconcileStep.UNDEFINE_SOURCE, f"{target.seen} on {target.node}, still defined on {source.node}"
            )
        return unless_it_settles(
            ReconcileStep.INDETERMINATE,
            f"{target.seen} on {target.node}, but {source.node} does not answer, so it was not seen to let go",
        )
    if source.seen is as_before and not source.arriving:
        if target.seen is ObservedState.ABSENT and job is False:
            return Reconciliation(ReconcileStep.AS_FOUND, f"{source.seen} on {source.node}, absent from {target.node}")
        return unless_it_settles(*_still_at_source(source, target, job))
    if target.seen is ObservedState.ABSENT and source.alive:
        return unless_it_settles(*_other_than_before(source, target, job, elsewhere, suspended_by_us=suspended_by_us))
    if target.seen is ObservedState.ABSENT and source.seen is ObservedState.SHUTOFF:
        return unless_it_settles(
            ReconcileStep.CHANGED, f"shut off on {source.node} meanwhile, absent from {target.node}"
        )
    if source.seen is ObservedState.ABSENT and target.seen is ObservedState.ABSENT:
        elsewhere = elsewhere or ()
        alive = [view for view in elsewhere if view.alive]
        if len(alive) == 1 and all(view.seen is not ObservedState.UNREACHABLE for view in elsewhere):
            return Reconciliation(ReconcileStep.CHANGED, f"somebody else moved it: {alive[0]}")
        elsewhere_seen = (
            "; ".join(str(view) for view in elsewhere if view.seen is not ObservedState.ABSENT) or "nor elsewhere"
        )
        return unless_it_settles(
            ReconcileStep.INDETERMINATE, f"neither on {source.node} nor on {target.node} ({elsewhere_seen})"
        )
    return unless_it_settles(ReconcileStep.INDETERMINATE, f"not clear where it runs ({source}; {target})")


def _still_at_source(source: NodeView, target: NodeView, job: bool | None) -> tuple[ReconcileStep, str]:
    """What it means when patience ends with the vm at the source as it was, and that is not the whole picture."""
    shows = f"{source.seen} on {source.node}; {target.node} shows it {'arriving' if target.arriving else target.seen}"
    if job is not False:
        going = "its migration has not ended" if job else f"{source.node} does not say whether its migration has ended"
        return ReconcileStep.INDETERMINATE, f"{shows}, and {going}"
    if source.seen is not ObservedState.RUNNING:
        return ReconcileStep.INDETERMINATE, shows
    if target.arriving:
        # Without a job at the source nothing more can arrive, and what is there can't start: it has no whole memory.
        return ReconcileStep.AS_FOUND, shows
    if target.seen is ObservedState.UNREACHABLE and not source.resumed_by_libvirt:
        # It never stood still for a switchover, and QEMU starts at the target only after that.
        return ReconcileStep.AS_FOUND, shows
    if target.seen is ObservedState.UNREACHABLE:
        # libvirt takes a lost answer to "start it" for a failure, and resumes the source: the target may run it too.
        return ReconcileStep.INDETERMINATE, f"{shows}, and libvirt resumed it on {source.node}: it may run twice"
    return ReconcileStep.INDETERMINATE, f"{shows}, where it was not before"


def _other_than_before(
    source: NodeView, target: NodeView, job: bool | None, elsewhere: Sequence[NodeView] | None, *, suspended_by_us: bool
) -> tuple[ReconcileStep, str]:
    """What it means that the source alone holds it, otherwise than it was found."""
    shows = f"{source.seen} on {source.node}{f' ({source.reason})' if source.reason else ''}, absent from {target.node}"
    if job is not False:
        going = "a migration of it goes on" if job else f"{source.node} does not say whether a migration of it goes on"
        return ReconcileStep.INDETERMINATE, f"{shows}, and {going}"
    if source.seen is ObservedState.RUNNING:
        return ReconcileStep.CHANGED, f"{shows}: somebody resumed it meanwhile"
    if source.reason.startswith("post-copy"):
        return (
            ReconcileStep.INDETERMINATE,
            f"{shows}: a part of its memory went over, and {target.node} does not have it",
        )
    if source.reason != "migration" and not suspended_by_us:
        if not source.reason:
            return ReconcileStep.INDETERMINATE, f"{shows}, and {source.node} does not say what paused it"
        return ReconcileStep.CHANGED, f"{shows}: not its migration paused it"
    if elsewhere is None:
        return ReconcileStep.INDETERMINATE, f"{shows}, and nobody looked at the other nodes"
    if may_have_it := [
        str(view) for view in elsewhere if view.seen not in (ObservedState.ABSENT, ObservedState.SHUTOFF)
    ]:
        return ReconcileStep.INDETERMINATE, f"{shows}, and it may run elsewhere ({'; '.join(may_have_it)})"
    return ReconcileStep.RESUME_SOURCE, shows


def why_not_start(source: NodeView, elsewhere: Sequence[NodeView]) -> str:
    """Why a vm that a cold move stopped must not be started at its source again; empty when it may.

    `elsewhere` are looks at all other nodes. A copy that lives or arrives on one of them forbids it, and so does a source
    that says it migrated away. A silent node does not, other than for a source left paused (`reconcile_migration`): here the one
    process of this vm was seen to end, so nothing can be half handed over. A second copy would need somebody to define it
    by hand on the very node that is silent, while guests would stay off in every outage that silences any node at all.
    A silent target is the caller's to judge: only the journal knows whether anything was defined there.
    """
    if source.reason == "migrated":
        return f"{source.node} says that it migrated away"
    return "; ".join(str(view) for view in elsewhere if view.alive or view.arriving)


def is_own_job(job_seconds: float, seconds_since_migrate_call: float | None, target: NodeView) -> bool:
    """Whether a job that the source has of the vm can be the one this attempt began; any other is left alone.

    libvirt runs one job of a vm at a time. `job_seconds`: its age; `seconds_since_migrate_call`: how long ago this
    attempt made its call, None when it made none, or libvirt has answered it, which ends its job. A job that is older, or
    of which the target shows nothing, is somebody else's. A target that does not answer can't tell.
    """
    if seconds_since_migrate_call is None or job_seconds > seconds_since_migrate_call + _JOB_SLACK_SECONDS:
        return False
    return target.seen is not ObservedState.ABSENT


def runs_at_most_once(views: Sequence[NodeView]) -> tuple[bool, str]:
    """Over looks at every node: (False, where) when it runs twice. Silent nodes are named, not assumed empty."""
    running = [view.node for view in views if view.seen is ObservedState.RUNNING and not view.arriving]
    unseen = [view.node for view in views if view.seen is ObservedState.UNREACHABLE]
    where = f"runs on {', '.join(running) or 'no node'}" + (f"; not seen: {', '.join(unseen)}" if unseen else "")
    return len(running) <= 1, where


def _different_disks(initial: VmObservation, after: VmObservation) -> str:
    was = {disk.device: disk.virtual_bytes for disk in initial.disks}
    now = {disk.device: disk.virtual_bytes for disk in after.disks}
    # A size of 0 means that nobody could tell it just now (a busy QEMU, a disk on the network).
    if was.keys() == now.keys() and all(was[d] == now[d] or 0 in (was[d], now[d]) for d in was):
        return ""
    return f"{_disks(was)} before, {_disks(now)} now"


def _disks(sizes: dict[str, int]) -> str:
    return ", ".join(f"{device} {size} B" for device, size in sorted(sizes.items())) or "none"
