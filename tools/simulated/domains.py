"""How a simulated node is reached: whether it answers, and what it takes to find out that it does not."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from models.errors import ActionFailed, NodeUnreachable
from tools.simulated.state import Machine, SimulatedDomain
from tools.simulated.timeline import Timeline

UNREACHABLE_SECONDS = 5.0
"""how long it takes to find out that a node does not answer, as with the real ones"""


class DomainAccess:
    """One simulated node, as far as it answers, for the parts of SimulatedNode."""

    def __init__(self, fleet: Timeline, name: str) -> None:
        self.fleet = fleet
        self.name = name

    def connected(self) -> bool:
        machine = self.fleet.machines[self.name]
        return machine.powered and machine.libvirtd and machine.reachable

    def unreachable(self, when: str = "") -> NodeUnreachable:
        return NodeUnreachable(
            f"node {self.name} (simulated): does not answer{f' {when}' if when else ''}",
            hint="its vms may still be running; check the node, its libvirtd and the network",
            node=self.name,
        )

    @contextmanager
    def answering(self) -> Generator[Machine]:
        """The node's truth, brought up to now; finding out that it does not answer takes as long as it really does."""
        with self.fleet.lock:
            self.fleet.advance()
            connected = self.connected()
        if not connected:
            self.fleet.clock.sleep(UNREACHABLE_SECONDS)
        with self.fleet.lock:
            self.fleet.advance()
            if not self.connected() or not connected:
                raise self.unreachable()
            yield self.fleet.machines[self.name]

    @contextmanager
    def domain(self, uuid: str) -> Generator[SimulatedDomain]:
        """As `answering`, for one vm. Raises ActionFailed when the node does not know it."""
        with self.answering() as machine:
            domain = machine.domains.get(uuid)
            if domain is None:
                raise ActionFailed(f"vm {uuid} is not known on node {self.name}", hint="it moved or was removed")
            yield domain

    def require_active(self, uuid: str, domain: SimulatedDomain) -> None:
        if not domain.active:
            raise ActionFailed(f"vm {uuid} on node {self.name} is not running")
