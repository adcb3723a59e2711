"""Everything one pass acts through, in one place: the nodes, the archive store, the clock and the journal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from agent.actions.reconcile import NodeView
from agent.state.certificate_pins import Pins
from models.errors import BadInput, Halted, NodeUnreachable
from models.evacuation import ObservedState
from models.fleet import Fleet, Vm
from tools.ports.archives import ArchiveStore
from tools.ports.clock import Clock
from tools.ports.hypervisor import Hypervisor
from tools.ports.journal import Journal, Timed

KILL_SWITCH = "STOP"
"""file in the state folder that, whatever it holds, keeps everything from being begun"""


class BlackoutMeter(Protocol):
    """Watches one guest from outside while it moves."""

    def longest_gap_seconds(self) -> float | None:
        """Longest silence so far; None when the guest never answered."""
        ...


@dataclass(frozen=True, kw_only=True)
class Resources:
    nodes: Mapping[str, Hypervisor]
    """by node name"""
    clock: Clock
    journal: Journal
    archives: ArchiveStore | None = None
    """None when no archive store is configured: nothing can be archived then"""
    watch: Callable[[Vm], AbstractContextManager[BlackoutMeter]] | None = None
    """starts watching a guest that has a probe; None when nobody watches"""
    pins: Pins | None = None
    """whose certificates are known; None: CA, name and dates alone decide"""
    ask_guest: Callable[[str], bool | None] | None = None
    """asks a guest's probe once; None when nobody asks over the network"""
    kill_switch: Path | None = None
    """while something is there, nothing is begun; None: there is no such switch"""

    def why_halted(self) -> str | None:
        """Why nothing may be begun now; None when it may. Needs no database, and a place that can't be looked at counts as on."""
        if self.kill_switch is None:
            return None
        try:
            self.kill_switch.lstat()
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"whether the kill switch {self.kill_switch} is on can't be told: {error.strerror or error}"
        return f"the kill switch {self.kill_switch} is on"

    def require_not_halted(self) -> None:
        """Raises Halted when nothing may be begun now."""
        if why := self.why_halted():
            raise Halted(f"{why}; nothing was changed", hint="what moves is seen to its end; remove the file to go on")

    tell_loads: Callable[[Fleet, Collection[str]], Fleet] | None = None
    """adds at which hours the guests of some nodes are at work; None where nobody knows"""

    def with_loads(self, fleet: Fleet, nodes: Collection[str]) -> Fleet:
        """The fleet with the load of these nodes' guests, where it can be told."""
        return fleet if self.tell_loads is None else self.tell_loads(fleet, nodes)

    def node(self, name: str) -> Hypervisor:
        """Raises BadInput for a node that the settings do not name."""
        try:
            return self.nodes[name]
        except KeyError:
            raise BadInput(
                f"node {name!r} is not in the settings (known: {', '.join(sorted(self.nodes)) or 'none'})",
                hint="add it under `nodes`",
            ) from None

    def seconds_since(self, record: Timed, at: datetime) -> float:
        """Since a record was written, `at`, whoever has set the clock meanwhile. Where only the wall clock can tell (a record
        of an earlier version, or of an earlier start of this host), never less than none."""
        seconds = self.clock.seconds_since(record.uptime)
        return max(0.0, (self.clock.now() - at).total_seconds()) if seconds is None else seconds

    def observe(self, node: str, uuid: str) -> NodeView:
        """What one node shows of a vm now. Never raises for a node that does not answer: that is an answer too."""
        try:
            observation = self.node(node).observe(uuid)
        except NodeUnreachable:
            return NodeView(node, ObservedState.UNREACHABLE)
        if observation is None:
            return NodeView(node, ObservedState.ABSENT)
        return NodeView(node, ObservedState(observation.state.value), observation)

    def observe_on_all_nodes(self, uuid: str, *, except_for: frozenset[str] = frozenset()) -> list[NodeView]:
        return [self.observe(name, uuid) for name in sorted(self.nodes) if name not in except_for]
