"""What of a simulated guest can be changed for a migration, or learned before it: disk limits, dirty rate, agent."""

from __future__ import annotations

from models.errors import ActionFailed
from models.fleet import VmState
from tools.ports.migration import IoLimits
from tools.simulated.domains import DomainAccess

_BYTES = ("total_bytes_sec", "read_bytes_sec", "write_bytes_sec")


class SimulatedTuning:
    """The part of SimulatedNode that measures and limits running guests."""

    def __init__(self, access: DomainAccess) -> None:
        self._access = access
        self._fleet = access.fleet
        self._name = access.name

    def max_downtime(self, uuid: str) -> float | None:
        with self._access.domain(uuid) as domain:
            self._access.require_active(uuid, domain)
            return domain.max_downtime

    def io_limits(self, uuid: str) -> IoLimits:
        with self._access.domain(uuid) as domain:
            self._access.require_active(uuid, domain)
            disks = [disk.device for disk in domain.described.writable_disks]
            return {device: dict.fromkeys(_BYTES, 0) | domain.io_limits.get(device, {}) for device in disks}

    def set_io_limits(self, uuid: str, limits: IoLimits) -> None:
        with self._access.domain(uuid) as domain:
            self._access.require_active(uuid, domain)
            if self._fleet.job(uuid, self._name) is not None:
                raise ActionFailed(
                    f"limiting the disks of vm {uuid} on node {self._name} failed: a migration holds the state lock"
                )
            for device, figures in limits.items():
                domain.io_limits[device] = domain.io_limits.get(device, {}) | figures

    def measure_dirty_rate(self, uuid: str, seconds: float) -> float:
        def begin() -> None:
            with self._access.domain(uuid) as domain:
                self._access.require_active(uuid, domain)
                if self._fleet.job(uuid, self._name) is not None:
                    raise ActionFailed(
                        f"vm {uuid} on node {self._name} is being migrated: its dirty rate is left alone"
                    )

        begin()
        self._fleet.clock.sleep(max(1.0, seconds))
        with self._access.domain(uuid) as domain:
            guest = self._fleet.guests.get(uuid)
            return guest.dirties(domain.io_limits) if guest is not None and domain.state is VmState.RUNNING else 0.0

    def guest_answers(self, uuid: str) -> bool | None:
        with self._access.domain(uuid) as domain:
            guest = self._fleet.guests.get(uuid)
            if guest is None or guest.agent_answers is None:
                return None
            return guest.agent_answers and domain.state is VmState.RUNNING
