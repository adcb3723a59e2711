"""What a simulated node does to a guest on the move: the hands of the convergence ladder, as libvirt has them."""

from __future__ import annotations

from models.errors import ActionFailed
from models.fleet import VmState
from tools.ports.migration import IoLimits
from tools.simulated.migration import Phase
from tools.simulated.node_base import SimulatedReach

_BYTES = ("total_bytes_sec", "read_bytes_sec", "write_bytes_sec")


class SimulatedSteering(SimulatedReach):
    """The part of SimulatedNode that steers a migration."""

    def abort_job(self, uuid: str) -> None:
        with self._answering():
            migration = self._fleet.job(uuid, self._name)
            if migration is None:
                return
            if migration.post_copy or migration.has(Phase.HANDED_OVER):
                raise ActionFailed(
                    f"vm {uuid} on node {self._name}: its job can't be ended",
                    hint="the guest runs at the target already",
                )
            self._fleet.abort(migration)

    def set_max_downtime(self, uuid: str, seconds: float) -> None:
        with self._domain(uuid) as domain:
            domain.max_downtime = seconds
            migration = self._fleet.job(uuid, self._name)
            if migration is not None:
                migration.set_max_downtime(self._fleet.clock.monotonic(), seconds)

    def max_downtime(self, uuid: str) -> float | None:
        with self._domain(uuid) as domain:
            self._require_active(uuid, domain)
            return domain.max_downtime

    def start_post_copy(self, uuid: str) -> None:
        with self._domain(uuid):
            migration = self._fleet.job(uuid, self._name)
            now = self._fleet.clock.monotonic()
            why = ""
            if migration is None or not migration.copies_memory(now):
                why = "post-copy can only be started while outgoing migration is in progress"
            elif not migration.options.post_copy:
                why = "switching to post-copy requires migration to be started with the post-copy flag"
            if migration is None or why:
                raise ActionFailed(f"post-copy of vm {uuid} on node {self._name} failed: {why}")
            migration.switch_to_post_copy(now)

    def suspend(self, uuid: str) -> None:
        with self._domain(uuid) as domain:
            if domain.state is not VmState.RUNNING:
                raise ActionFailed(f"suspending vm {uuid} on node {self._name} failed: it is not running")
            migration = self._fleet.job(uuid, self._name)
            if migration is not None:
                migration.suspend(self._fleet.clock.monotonic())
            domain.state, domain.reason = VmState.PAUSED, "user" if migration is None else "migration"

    def io_limits(self, uuid: str) -> IoLimits:
        with self._domain(uuid) as domain:
            self._require_active(uuid, domain)
            disks = [disk.device for disk in domain.described.writable_disks]
            return {device: dict.fromkeys(_BYTES, 0) | domain.io_limits.get(device, {}) for device in disks}

    def set_io_limits(self, uuid: str, limits: IoLimits) -> None:
        with self._domain(uuid) as domain:
            self._require_active(uuid, domain)
            if self._fleet.job(uuid, self._name) is not None:
                raise ActionFailed(
                    f"limiting the disks of vm {uuid} on node {self._name} failed: a migration holds the state lock"
                )
            for device, figures in limits.items():
                domain.io_limits[device] = domain.io_limits.get(device, {}) | figures

    def measure_dirty_rate(self, uuid: str, seconds: float) -> float:
        def begin() -> None:
            with self._domain(uuid) as domain:
                self._require_active(uuid, domain)
                if self._fleet.job(uuid, self._name) is not None:
                    raise ActionFailed(
                        f"vm {uuid} on node {self._name} is being migrated: its dirty rate is left alone"
                    )

        begin()
        self._fleet.clock.sleep(max(1.0, seconds))
        with self._domain(uuid) as domain:
            guest = self._fleet.guests.get(uuid)
            return guest.dirties(domain.io_limits) if guest is not None and domain.state is VmState.RUNNING else 0.0

    def guest_answers(self, uuid: str) -> bool | None:
        with self._domain(uuid) as domain:
            guest = self._fleet.guests.get(uuid)
            if guest is None or guest.agent_answers is None:
                return None
            return guest.agent_answers and domain.state is VmState.RUNNING
