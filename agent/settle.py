"""Where is the vm now? The pure decision after (or during, or long after) a move: what two looks at it mean.

libvirt's answer to the migrate call is not an input on purpose. A call can fail after the vm has moved, and a lost
connection says nothing at all; only what both nodes show counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from models.evacuation import SeenState
from tools.ports import VmObservation


@dataclass(frozen=True)
class Sight:
    """One look at one node for one vm."""

    node: str
    seen: SeenState
    observation: VmObservation | None = None
    """None when absent or unreachable"""

    @property
    def arriving(self) -> bool:
        return self.observation is not None and self.observation.incoming

    @property
    def alive(self) -> bool:
        """A process of this vm exists here that holds, or may resume, its state."""
        return self.seen in (SeenState.RUNNING, SeenState.PAUSED) and not self.arriving

    @property
    def runs(self) -> bool:
        return self.seen is SeenState.RUNNING and not self.arriving

    @property
    def resumed_by_libvirt(self) -> bool:
        """libvirt let it run on after it had stopped it for a switchover: for want of the target's word, perhaps."""
        return self.runs and self.observation is not None and self.observation.state_reason == "migration canceled"

    def __str__(self) -> str:
        return f"{self.node}: {'arriving' if self.arriving else self.seen}"


class Step(StrEnum):
    """What follows from what was seen."""

    DONE = "done"
    """it runs at the target and is gone from the source"""
    AS_FOUND = "as_found"
    """it did not move and is as it was before"""
    CHANGED = "changed"
    """it did not move by this attempt, and somebody else changed it meanwhile; known where it is"""
    RESUME_SOURCE = "resume_source"
    """it stands paused at the source and was observed absent at the target: resume it there"""
    UNDEFINE_SOURCE = "undefine_source"
    """it runs at the target; the source keeps only a definition, shut off"""
    LOOK_AGAIN = "look_again"
    """libvirt may still be finishing; not to be judged yet"""
    INDETERMINATE = "indeterminate"
    """a human must look"""


@dataclass(frozen=True)
class Settlement:
    step: Step
    why: str
    """one clause a person reads"""


def settle_live(
    before: VmObservation,
    source: Sight,
    target: Sight,
    *,
    job: bool | None = False,
    elsewhere: Sequence[Sight] = (),
    out_of_patience: bool,
) -> Settlement:
    """Judge a live migration by what both ends show.

    `before` is the vm as found on the source; `job`: whether the source still has a job of it, None when that is not
    known; `elsewhere` are looks at the other nodes, wanted when neither end shows it. With `out_of_patience` false, states
    that libvirt passes through by itself give LOOK_AGAIN; with it true, they are judged as they are. Never asks for the
    source to be undefined or resumed unless the destination was observed.
    """

    def unless_it_settles(step: Step, why: str) -> Settlement:
        return Settlement(step, why) if out_of_patience else Settlement(Step.LOOK_AGAIN, why)

    as_before = SeenState(before.state.value)
    if target.alive and source.alive:
        if source.seen is SeenState.RUNNING and target.seen is SeenState.RUNNING:
            # Two looks are never at one instant: a switchover between them looks like this once, a real double stays.
            return unless_it_settles(Step.INDETERMINATE, f"it runs twice, on {source.node} and on {target.node}")
        return unless_it_settles(Step.INDETERMINATE, f"both nodes hold it ({source}; {target})")
    if target.alive:
        if target.seen is not as_before:
            return unless_it_settles(
                Step.INDETERMINATE, f"it was {as_before} before and is {target.seen} now ({target})"
            )
        assert target.observation is not None
        different = _different_disks(before, target.observation)
        if different:
            return Settlement(Step.INDETERMINATE, f"at {target.node} it has other disks: {different}")
        if source.seen is SeenState.ABSENT:
            return Settlement(Step.DONE, f"{target.seen} on {target.node}, gone from {source.node}")
        if source.seen is SeenState.SHUTOFF:
            return Settlement(Step.UNDEFINE_SOURCE, f"{target.seen} on {target.node}, still defined on {source.node}")
        return unless_it_settles(
            Step.INDETERMINATE,
            f"{target.seen} on {target.node}, but {source.node} does not answer, so it was not seen to let go",
        )
    if source.seen is as_before and not source.arriving:
        if target.seen is SeenState.ABSENT and job is False:
            return Settlement(Step.AS_FOUND, f"{source.seen} on {source.node}, absent from {target.node}")
        return unless_it_settles(*_still_at_source(source, target, job))
    if target.seen is SeenState.ABSENT and source.alive:
        return unless_it_settles(Step.RESUME_SOURCE, f"{source.seen} on {source.node}, absent from {target.node}")
    if target.seen is SeenState.ABSENT and source.seen is SeenState.SHUTOFF:
        return unless_it_settles(Step.CHANGED, f"shut off on {source.node} meanwhile, absent from {target.node}")
    if source.seen is SeenState.ABSENT and target.seen is SeenState.ABSENT:
        alive = [sight for sight in elsewhere if sight.alive]
        if len(alive) == 1 and all(sight.seen is not SeenState.UNREACHABLE for sight in elsewhere):
            return Settlement(Step.CHANGED, f"somebody else moved it: {alive[0]}")
        found = "; ".join(str(sight) for sight in elsewhere if sight.seen is not SeenState.ABSENT) or "nor elsewhere"
        return unless_it_settles(Step.INDETERMINATE, f"neither on {source.node} nor on {target.node} ({found})")
    return unless_it_settles(Step.INDETERMINATE, f"not clear where it runs ({source}; {target})")


def _still_at_source(source: Sight, target: Sight, job: bool | None) -> tuple[Step, str]:
    """What it means when patience ends with the vm at the source as it was, and that is not the whole picture."""
    shows = f"{source.seen} on {source.node}; {target.node} shows it {'arriving' if target.arriving else target.seen}"
    if job is not False:
        going = "its migration has not ended" if job else f"{source.node} does not say whether its migration has ended"
        return Step.INDETERMINATE, f"{shows}, and {going}"
    if source.seen is not SeenState.RUNNING:
        return Step.INDETERMINATE, shows
    if target.arriving:
        # Without a job at the source nothing more can arrive, and what is there can't start: it has no whole memory.
        return Step.AS_FOUND, shows
    if target.seen is SeenState.UNREACHABLE and not source.resumed_by_libvirt:
        # It never stood still for a switchover, and QEMU starts at the target only after that.
        return Step.AS_FOUND, shows
    if target.seen is SeenState.UNREACHABLE:
        # libvirt takes a lost answer to "start it" for a failure, and resumes the source: the target may run it too.
        return Step.INDETERMINATE, f"{shows}, and libvirt resumed it on {source.node}: it may run twice"
    return Step.INDETERMINATE, f"{shows}, where it was not before"


def runs_at_most_once(sights: Sequence[Sight]) -> tuple[bool, str]:
    """Over looks at every node: (False, where) when it runs twice. Silent nodes are named, not assumed empty."""
    running = [sight.node for sight in sights if sight.seen is SeenState.RUNNING and not sight.arriving]
    unseen = [sight.node for sight in sights if sight.seen is SeenState.UNREACHABLE]
    where = f"runs on {', '.join(running) or 'no node'}" + (f"; not seen: {', '.join(unseen)}" if unseen else "")
    return len(running) <= 1, where


def _different_disks(before: VmObservation, after: VmObservation) -> str:
    was = {disk.device: disk.virtual_bytes for disk in before.disks}
    now = {disk.device: disk.virtual_bytes for disk in after.disks}
    # A size of 0 means that nobody could tell it just now (a busy QEMU, a disk on the network).
    if was.keys() == now.keys() and all(was[d] == now[d] or 0 in (was[d], now[d]) for d in was):
        return ""
    return f"{_disks(was)} before, {_disks(now)} now"


def _disks(sizes: dict[str, int]) -> str:
    return ", ".join(f"{device} {size} B" for device, size in sorted(sizes.items())) or "none"
