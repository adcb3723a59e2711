"""How a simulated node is reached: whether it answers, and what it takes to find out that it does not."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from models.errors import ActionFailed, NodeUnreachable
from tools.simulated.state import Machine, SimulatedDomain
from tools.simulated.timeline import Timeline

UNREACHABLE_SECONDS = 5.0
"""how long it takes to find out that a node does not answer, as with the real ones"""


class SimulatedReach:
    """One simulated node, as far as it answers."""

    def __init__(self, fleet: Timeline, name: str) -> None:
        self._fleet = fleet
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def _connected(self) -> bool:
        machine = self._fleet.machines[self._name]
        return machine.powered and machine.libvirtd and machine.reachable

    def _unreachable(self, when: str = "") -> NodeUnreachable:
        return NodeUnreachable(
            f"node {self._name} (simulated): does not answer{f' {when}' if when else ''}",
            hint="its vms may still be running; check the node, its libvirtd and the network",
        )

    @contextmanager
    def _answering(self) -> Generator[Machine]:
        """The node's truth, brought up to now; finding out that it does not answer takes as long as it really does."""
        with self._fleet.lock:
            self._fleet.advance()
            connected = self._connected()
        if not connected:
            self._fleet.clock.sleep(UNREACHABLE_SECONDS)
        with self._fleet.lock:
            self._fleet.advance()
            if not self._connected() or not connected:
                raise self._unreachable()
            yield self._fleet.machines[self._name]

    @contextmanager
    def _domain(self, uuid: str) -> Generator[SimulatedDomain]:
        with self._answering() as machine:
            domain = machine.domains.get(uuid)
            if domain is None:
                raise ActionFailed(f"vm {uuid} is not known on node {self._name}", hint="it moved or was removed")
            yield domain

    def _require_active(self, uuid: str, domain: SimulatedDomain) -> None:
        if not domain.active:
            raise ActionFailed(f"vm {uuid} on node {self._name} is not running")
