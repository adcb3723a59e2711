"""Throttle a guest's disks while it moves, and restore their limits: always, after a crash as well.

The old limits are in the journal before the new ones are set. Whatever happens after that, they are set again wherever the
vm is seen to be: at the end of the attempt, by recovery, or by the sweep at the next start.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from agent.actions.attempt import AttemptContext
from agent.actions.resources import Resources
from models.errors import LifeboatError
from models.evacuation import ObservedState
from tools.ports.journal import Journal, Scope
from tools.ports.migration import IoLimits
from tools.ports.records.migration import DiskLimitsRestored, DisksNotThrottled, DisksThrottled

_BYTES: tuple[str, ...] = ("total_bytes_sec", "read_bytes_sec", "write_bytes_sec")
_TRIES = 3
_AGAIN_SECONDS = 2.0


@dataclass
class Throttling:
    """What came of it, for the attempt's message."""

    left: list[str] = field(default_factory=list[str])
    """nodes on which the limits could not be restored"""


def stricter_limits(limits: Mapping[str, Mapping[str, int]], bytes_per_second: int) -> IoLimits:
    """The limits that keep each disk to that rate. A limit that is tighter already stays; no other is touched.

    Where reads and writes are limited apart, each is limited: libvirt takes either those two or the total.
    """

    def limit(value: int) -> int:
        return min(value, bytes_per_second) if value else bytes_per_second

    stricter: IoLimits = {}
    for device, now in limits.items():
        apart = [name for name in ("read_bytes_sec", "write_bytes_sec") if now.get(name)]
        figures: dict[str, int] = dict.fromkeys(_BYTES, 0)
        for name in ("read_bytes_sec", "write_bytes_sec") if apart else ("total_bytes_sec",):
            figures[name] = limit(now.get(name, 0))
        stricter[device] = figures
    return stricter


@contextmanager
def throttled_disks(ctx: AttemptContext, bytes_per_second: int | None) -> Generator[Throttling]:
    """Throttle the vm's disks, if a rate is given, until the block is left; however it is left, the limits are restored."""
    throttling = Throttling()
    if bytes_per_second is not None:
        _throttle(ctx, bytes_per_second)
    try:
        yield throttling
    finally:
        throttling.left += restore_limits(ctx.hands, ctx.id)


def _throttle(ctx: AttemptContext, bytes_per_second: int) -> None:
    """A guest whose disks can't be throttled moves all the same: the ladder goes on without."""
    source = ctx.hands.node(ctx.action.source)
    try:
        initial = source.io_limits(ctx.vm.uuid)
        if not initial:
            return
        ctx.record(DisksThrottled(vm=ctx.vm.uuid, node=source.name, initial=initial, bytes_per_second=bytes_per_second))
        source.set_io_limits(ctx.vm.uuid, stricter_limits(initial, bytes_per_second))
    except LifeboatError as error:
        ctx.record(DisksNotThrottled(error=str(error)))


def restore_limits(hands: Resources, attempt: str) -> list[str]:
    """Set the old limits again wherever the vm of this attempt runs now; the nodes where that failed or is not known.

    Without effect when nothing was throttled, or all was restored.
    """
    throttled = hands.journal.of(DisksThrottled, attempt=attempt)
    if not throttled or hands.journal.of(DiskLimitsRestored, attempt=attempt):
        return []
    record = throttled[0].record
    vm, limits = record.vm, record.initial
    ours = stricter_limits(limits, record.bytes_per_second)
    failed: list[str] = []
    for again in range(_TRIES):
        if again:
            hands.clock.sleep(_AGAIN_SECONDS)
        views = [hands.observe(name, vm) for name in sorted(hands.nodes)]
        failed = [view.node for view in views if view.alive and not _restore(hands, view.node, vm, limits, ours)]
        silent = [view.node for view in views if view.seen is ObservedState.UNREACHABLE]
        seen = any(view.alive for view in views)
        if not failed and (seen or not silent):  # gone everywhere, or stopped: nothing is throttled any more
            hands.journal.append(
                DiskLimitsRestored(vm=vm, nodes=tuple(view.node for view in views if view.alive)),
                now=hands.clock.now(),
                evacuation=throttled[0].evacuation,
                attempt=attempt,
            )
            return []
        failed = failed or silent
    return failed


def unrestored_limits(journal: Journal) -> list[str]:
    """Attempts whose vm was throttled and never seen to get its limits back."""
    throttled = journal.unended(DisksThrottled, DiskLimitsRestored, by=Scope.ATTEMPT)
    return sorted({entry.attempt for entry in throttled if entry.attempt})


def sweep(hands: Resources) -> None:
    """Restore what attempts that are over still throttle. Only for a journal that no other lifeboat works on."""
    for attempt in unrestored_limits(hands.journal):
        restore_limits(hands, attempt)


def _restore(hands: Resources, node: str, vm: str, limits: IoLimits, ours: IoLimits) -> bool:
    """Whether nothing of ours is left there. Limits that somebody else has set since are theirs."""
    try:
        now = hands.node(node).io_limits(vm)
        mine = {
            device: figures
            for device, figures in limits.items()
            if device in now and all(now[device].get(name, 0) == ours[device][name] for name in _BYTES)
        }
        if mine:
            hands.node(node).set_io_limits(vm, mine)
    except LifeboatError:
        return False
    return True
