"""What libvirt lets one learn and change of a running guest before, during and after a live migration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from tools.ports.migration import IoLimits, MigrationStatistics


class LiveMigration(Protocol):
    """What steers a guest's migration off one node. Every method raises NodeUnreachable when the node does not answer."""

    def migration_blockers(self, uuids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """What QEMU itself says keeps each of these running vms from moving live; a vm of which it does not tell is left out.

        In a bounded time for all of them. libvirt marks a vm as tainted whose QEMU was asked past it."""
        ...

    def completed_job(self, uuid: str) -> MigrationStatistics | None:
        """Statistics of the last finished migration of this vm, as far as this end has them."""
        ...

    def set_max_downtime(self, uuid: str, seconds: float) -> None:
        """Let the running migration pause the guest for this long in its last round. Raises ActionFailed when the
        hypervisor takes no limit, or the vm is not here any more."""
        ...

    def max_downtime(self, uuid: str) -> float | None:
        """QEMU's limit on the pause of a running vm's migration now, seconds; it outlasts a migration. None when the
        hypervisor has none. Raises ActionFailed when it can't be told."""
        ...

    def start_post_copy(self, uuid: str) -> None:
        """Have the guest go over now, and fetch the rest of its memory as it needs it. There is no way back: when either
        node or the link fails before the end, the guest is lost. Raises ActionFailed when the job can't."""
        ...

    def suspend(self, uuid: str) -> None:
        """Pause a running vm; during a migration it runs again at its end, at whichever side that is. Raises
        ActionFailed."""
        ...

    def resume(self, uuid: str) -> None:
        """Let a paused vm run again. Only after the destination of its move was observed absent. Raises ActionFailed."""
        ...

    def io_limits(self, uuid: str) -> IoLimits:
        """The limits on each writable disk of a running vm. Raises ActionFailed when they can't be told."""
        ...

    def set_io_limits(self, uuid: str, limits: IoLimits) -> None:
        """Limit the disks of a running vm, until it stops; its definition is not changed, and a live migration takes the
        limits along. Not while one runs: libvirt takes no change then. Raises ActionFailed."""
        ...

    def measure_dirty_rate(self, uuid: str, seconds: float) -> float:
        """Memory the running vm rewrites, bytes per second, sampled for about that long (whole seconds, at least 1); the
        guest does not notice. Never during a migration, which it would disturb. Raises ActionFailed when it can't be
        measured."""
        ...

    def guest_answers(self, uuid: str) -> bool | None:
        """Whether the guest's agent answers a ping; None when the guest has no agent connected."""
        ...
