"""A fluent builder of fleets with their risks, for tests that plan and judge.

scene = Topology().node("a", risk=0.8).node("b").vm("web", on="a", priority="high")
plan(scene.situation)
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from models.fleet import Fleet, Node, Vm
from models.past_moves import Mover, PastMove, PastMoves, Tripped
from models.plan import Action, ActionKind, Plan
from models.policy.policy import Policy
from models.risk.risk import Risk
from models.risk.witness import Witness
from models.situation import Situation

GIB = 1 << 30
NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)


class Topology:
    """Nodes of 64 GiB, 16 CPUs and 1 Gbit/s that are sound; running vms of 4 GiB on shared storage, slow to dirty."""

    def __init__(self, **policy: Any) -> None:
        self.policy = Policy.model_validate(policy)
        self._nodes: list[Node] = []
        self._vms: list[Vm] = []
        self._risks: list[Risk] = []
        self.observed_at = NOW
        self._moves: list[PastMove] = []
        self._tripped: Tripped | None = None
        self._counted_from: datetime | None = None

    def moved(
        self, vm: str, source: str, target: str, *, minutes_ago: float, by: Mover = Mover.LIFEBOAT, emptied: bool = True
    ) -> Topology:
        """An earlier move, as the journal remembers it."""
        at = NOW - timedelta(minutes=minutes_ago)
        self._moves.append(
            PastMove(at=at, vm=f"uuid-{vm}", vm_name=vm, source=source, target=target, by=by, emptied=emptied)
        )
        return self

    def breaker(self, *, tripped: bool, minutes_ago: float = 0.0) -> Topology:
        """Tripped by a storm then, or reset then."""
        at = NOW - timedelta(minutes=minutes_ago)
        self._tripped = Tripped(at=at, rule="storm", why="3 of 4 nodes") if tripped else None
        self._counted_from = None if tripped else at
        return self

    def node(
        self,
        name: str,
        *,
        risk: float | None = 0.001,
        data_age: float | None = 5.0,
        misfit: str = "",
        grounded: float | None = None,
        witnesses: dict[Witness, dict[str, float]] | None = None,
        **fields: Any,
    ) -> Topology:
        """A node and its P(fails within 2 h), and what documented limits or each witness alone give; `risk=None`: nobody
        assessed it."""
        defaults = {"memory_bytes": 64 * GIB, "memory_reserved_bytes": 4 * GIB, "cpus": 16, "cpu_overcommit": 4.0}
        self._nodes.append(Node.model_validate({"name": name, **defaults, **fields}))
        if risk is not None:
            curve = {"30m": risk * 0.4, "2h": risk, "24h": min(1.0, risk * 1.1)}
            alone = None if grounded is None else {"2h": grounded}
            self._risks.append(
                Risk(
                    node=name,
                    probability=curve,
                    data_age_seconds=data_age,
                    misfit=misfit,
                    grounded=alone,
                    witnesses=witnesses,
                )
            )
        return self

    def vm(self, name: str, *, on: str, gib: float = 4, **fields: Any) -> Topology:
        """A vm; its uuid is `uuid-<name>`."""
        defaults = {"vcpus": 2, "dirty_bytes_per_second": 1e6, "disk_bytes": 10 * 10**9}
        told = {"uuid": f"uuid-{name}", "name": name, "node": on, "memory_bytes": int(gib * GIB), **defaults, **fields}
        self._vms.append(Vm.model_validate(told))
        return self

    @property
    def fleet(self) -> Fleet:
        past = PastMoves(moves=tuple(self._moves), tripped=self._tripped, counted_from=self._counted_from)
        known = past if past != PastMoves() else None
        return Fleet(observed_at=self.observed_at, nodes=tuple(self._nodes), vms=tuple(self._vms), past_moves=known)

    @property
    def risks(self) -> list[Risk]:
        return list(self._risks)

    @property
    def situation(self) -> Situation:
        return Situation(fleet=self.fleet, risks=self.risks, policy=self.policy, now=NOW)

    def plan_of(self, *actions: Action, evacuating: tuple[str, ...] = (), **fields: Any) -> Plan:
        """A hand-made plan for this fleet."""
        told = {"created_at": NOW, "fleet_sha256": self.fleet.digest(), "evacuating": evacuating, **fields}
        return Plan(actions=actions, **told)


def live(vm: str, source: str, target: str, wave: int = 0, **fields: Any) -> Action:
    return _action(ActionKind.LIVE_MIGRATE, vm, source, target, wave, fields)


def cold(vm: str, source: str, target: str, wave: int = 0, **fields: Any) -> Action:
    return _action(ActionKind.COLD_MIGRATE, vm, source, target, wave, fields)


def archive(vm: str, source: str, wave: int = 0, **fields: Any) -> Action:
    return _action(ActionKind.COLD_ARCHIVE, vm, source, None, wave, fields)


def stay(vm: str, source: str, wave: int = 0, **fields: Any) -> Action:
    return _action(ActionKind.STAY, vm, source, None, wave, fields)


def _action(kind: ActionKind, vm: str, source: str, target: str | None, wave: int, fields: dict[str, Any]) -> Action:
    told = {"vm": f"uuid-{vm}", "vm_name": vm, "source": source, "target": target, "wave": wave, **fields}
    return Action(kind=kind, **told)
