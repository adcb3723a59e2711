"""What a language model may know of a fleet: read-only questions, answered with aliases, numbers and closed words.

No name, label, reason or log text that somebody outside could have written is in any answer: nodes and vms are `node-1` and
`vm-1`, and so are failure domains, CPU models and anti-affinity groups. A `FleetFacts` is made of values alone; asking it
changes nothing and reaches nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from models.base import Value
from models.fleet import Priority, Vm, VmState
from models.knowledge import NoteWord, VmNote
from models.migration.estimate import archive_seconds, cold_migration_seconds, live_migration, stream_bandwidth
from models.plan import ActionKind
from models.risk.risk_level import RiskLevel
from models.risk.signal import Component
from models.situation import Situation
from tools.llm.obstacle_words import ObstacleWord

MAX_ROWS = 100
"""rows of one answer"""


_CLOSED = (ActionKind, Priority, VmState, RiskLevel, Component, NoteWord, ObstacleWord)
_WORDS = frozenset(str(word) for kind in _CLOSED for word in kind)
_ALIAS = re.compile(r"(node|vm|domain|group|part)-[0-9]{1,6}")


def holds_only_aliases(answer: str, words: frozenset[str] = frozenset()) -> bool:
    """Whether every text in a tool's JSON answer is an alias, one of lifeboat's own closed words or of `words`."""

    def fine(value: Any) -> bool:
        if isinstance(value, str):
            return value in _WORDS or value in words or _ALIAS.fullmatch(value) is not None
        if isinstance(value, list):
            return all(fine(item) for item in cast("list[Any]", value))
        return all(fine(item) for item in cast("dict[str, Any]", value).values()) if isinstance(value, dict) else True

    return fine(json.loads(answer))


class UnknownAlias(ValueError):
    """The model named a node or vm that it was never told of."""


@dataclass(frozen=True)
class FreeRoom:
    """What a target still takes before anything moves, under the policy's headroom."""

    memory_bytes: int
    vcpus: float


@dataclass(frozen=True)
class Way:
    """One thing that policy and the hardware let happen to one vm."""

    action: ActionKind
    target: str | None
    """a node's real name; None for cold_archive"""
    seconds: float


class Aliases:
    """Short labels for real names, both ways."""

    def __init__(self, prefix: str, names: Iterable[str]) -> None:
        self._prefix = prefix
        self._alias = {name: f"{prefix}-{number}" for number, name in enumerate(dict.fromkeys(names), start=1)}
        self._name = {alias: name for name, alias in self._alias.items()}

    def alias(self, name: str) -> str:
        """The label of a real name. Raises KeyError for one it does not have."""
        return self._alias[name]

    def name(self, alias: str) -> str:
        """The real name behind a label. Raises UnknownAlias."""
        if alias not in self._name:
            raise UnknownAlias(
                f"there is no {self._prefix} with this label; known: {self._prefix}-1 to -{len(self._name)}"
            )
        return self._name[alias]

    def __contains__(self, name: str) -> bool:
        return name in self._alias

    def known(self) -> Mapping[str, str]:
        """Label → real name."""
        return dict(self._name)


class NodeRiskFacts(Value):
    node: str
    standing: RiskLevel
    probability_by_seconds: dict[int, float]
    """P(fails within so many seconds); empty when unknown"""
    driven_by: tuple[Component, ...]
    """parts of the node behind the risk"""
    data_age_seconds: float | None
    failure_domain: str | None


class NoteFacts(Value):
    word: NoteWord
    for_seconds: float | None
    """it holds so long from now; None: it does not say"""


class VmFacts(Value):
    vm: str
    node: str
    priority: Priority
    weight: float
    """what losing it costs, relative to the others"""
    state: VmState
    memory_bytes: int
    vcpus: int
    disk_bytes: int
    shared_storage: bool
    dirty_bytes_per_second: float | None
    """None: never measured"""
    anti_affinity_group: str | None
    may: tuple[ActionKind, ...]
    """what can be done with it at all; empty: it can only stay"""
    cannot: dict[ActionKind, ObstacleWord]
    """what can't, and why"""
    notes: tuple[NoteFacts, ...]
    """what its owner wrote of it, in closed words"""


class VmsOnNode(Value):
    vms: tuple[VmFacts, ...]
    more: int
    """vms left out of this answer"""


class TargetFacts(Value):
    node: str
    free_memory_bytes: int
    free_vcpus: float
    probability: float
    """P(it fails itself within the policy's horizon)"""
    failure_domain: str | None
    anti_affinity_groups: tuple[str, ...]
    """groups that have a vm there already"""
    seconds_by_action: dict[ActionKind, float]
    """how long this vm would take to get there, with nothing else moving"""


class TargetsForVm(Value):
    targets: tuple[TargetFacts, ...]
    """most free memory first"""
    archive_seconds: float | None
    """None: it may not be archived"""
    more: int


class MoveFacts(Value):
    vm: str
    action: ActionKind
    target: str | None
    allowed: bool
    """False: policy or the hardware rules it out, whatever the estimate says"""
    seconds: float | None
    """None: it never ends"""
    downtime_seconds: float | None
    probability_source_fails_first: float | None
    """P(the source fails within `seconds`); None when its risk is unknown or the move never ends"""


class PolicyFacts(Value):
    trigger_horizon_seconds: float
    trigger_probability: float
    target_max_probability: float
    max_downtime_seconds: float
    migration_timeout_seconds: float
    moves_at_once_out_of_a_node: int
    moves_at_once_into_a_node: int
    moves_at_once_in_the_fleet: int
    archives_at_once_on_a_node: int
    prefer_other_failure_domain: bool
    archivable_priorities: tuple[Priority, ...]


class FleetFacts:
    """One snapshot to ask. The five public methods are the tools; their docstrings are what the model reads."""

    def __init__(
        self,
        situation: Situation,
        *,
        evacuating: Sequence[str],
        rooms: Mapping[str, FreeRoom],
        ways: Mapping[str, Sequence[Way]],
        obstacles: Mapping[str, Mapping[ActionKind, ObstacleWord]],
        components: Mapping[str, Component],
        notes: Sequence[VmNote] = (),
    ) -> None:
        """`rooms` by target's name; `ways` and `obstacles` by vm's uuid, for the vms on evacuating nodes; `components` by
        signal's name."""
        self._situation = situation
        self._fleet, self._policy = situation.fleet, situation.policy
        self._rooms = rooms
        self._ways = ways
        self._obstacles = obstacles
        self._notes = notes
        self._components = components
        first = list(evacuating)
        self.nodes = Aliases("node", [*first, *(node.name for node in self._fleet.nodes)])
        self.vms = Aliases("vm", [vm.uuid for name in first for vm in self._fleet.vms_on(name)])
        self._domains = Aliases("domain", [n.failure_domain for n in self._fleet.nodes if n.failure_domain])
        self._groups = Aliases("group", [v.anti_affinity_group for v in self._fleet.vms if v.anti_affinity_group])

    def node_risk(self, node: str) -> NodeRiskFacts:
        """How likely one node is to fail, by when, and which of its parts drive that."""
        name = self.nodes.name(node)
        there = self._situation.node_risks[name]
        risk = there.usable_risk
        parts = [self._components[d.signal] for d in risk.drivers if d.signal in self._components] if risk else []
        return NodeRiskFacts(
            node=node,
            standing=there.level,
            probability_by_seconds={round(s): round(p, 4) for s, p in risk.curve} if risk else {},
            driven_by=tuple(dict.fromkeys(parts)),
            data_age_seconds=there.risk.data_age_seconds if there.risk else None,
            failure_domain=self._domain(name),
        )

    def vms_on_node(self, node: str) -> VmsOnNode:
        """The vms on one node that is to be emptied: size, weight, what may be done with each, what can't and why, and what its
        owner noted."""
        name = self.nodes.name(node)
        mine = [vm for vm in self._fleet.vms_on(name) if vm.uuid in self._ways]
        mine.sort(key=lambda vm: (-self._policy.weights.of(vm.priority), vm.uuid))
        return VmsOnNode(vms=tuple(self._vm(vm) for vm in mine[:MAX_ROWS]), more=max(0, len(mine) - MAX_ROWS))

    def candidate_targets(self, vm: str) -> TargetsForVm:
        """Where one vm may go: each node with its free room, its own risk, and how long each way there takes."""
        uuid = self.vms.name(vm)
        seconds: dict[str, dict[ActionKind, float]] = {}
        archive: float | None = None
        for way in self._ways[uuid]:
            if way.target is None:
                archive = round(way.seconds, 1)
            else:
                seconds.setdefault(way.target, {})[way.action] = round(way.seconds, 1)
        targets = [self._target(name, by_action) for name, by_action in seconds.items()]
        targets.sort(key=lambda target: (-target.free_memory_bytes, target.node))
        return TargetsForVm(
            targets=tuple(targets[:MAX_ROWS]), archive_seconds=archive, more=max(0, len(targets) - MAX_ROWS)
        )

    def estimate_move(self, vm: str, action: str, target: str = "") -> MoveFacts:
        """How long one move takes and pauses the vm. `action`: live_migrate, cold_migrate or cold_archive (no target)."""
        uuid = self.vms.name(vm)
        if action not in ("live_migrate", "cold_migrate", "cold_archive"):
            raise UnknownAlias("action is one of live_migrate, cold_migrate, cold_archive")
        kind = ActionKind(action)
        goes = self.nodes.name(target) if target else None
        if (kind is ActionKind.COLD_ARCHIVE) != (goes is None):
            raise UnknownAlias("live_migrate and cold_migrate need a target, cold_archive has none")
        subject = self._fleet.vm_by_uuid[uuid]
        seconds, downtime = self._estimate(subject, kind, goes)
        ends = seconds != float("inf")
        risk = self._situation.node_risks[subject.node].usable_risk
        return MoveFacts(
            vm=vm,
            action=kind,
            target=target or None,
            allowed=any(way.action is kind and way.target == goes for way in self._ways[uuid]),
            seconds=round(seconds, 1) if ends else None,
            downtime_seconds=round(downtime, 3) if ends else None,
            probability_source_fails_first=round(risk.within(seconds), 4) if risk and ends else None,
        )

    def policy_facts(self) -> PolicyFacts:
        """What the operator allows, in figures."""
        policy = self._policy
        return PolicyFacts(
            trigger_horizon_seconds=policy.trigger.horizon.total_seconds(),
            trigger_probability=policy.trigger.probability,
            target_max_probability=policy.target.max_probability,
            max_downtime_seconds=policy.migration.max_downtime.total_seconds(),
            migration_timeout_seconds=policy.migration.timeout.total_seconds(),
            moves_at_once_out_of_a_node=policy.limits.outbound_per_node,
            moves_at_once_into_a_node=policy.limits.inbound_per_node,
            moves_at_once_in_the_fleet=policy.limits.per_fleet,
            archives_at_once_on_a_node=policy.limits.archives_per_node,
            prefer_other_failure_domain=policy.target.avoid_same_failure_domain,
            archivable_priorities=policy.archive.priorities,
        )

    def _domain(self, node: str) -> str | None:
        domain = self._fleet.node_by_name[node].failure_domain
        return self._domains.alias(domain) if domain else None

    def _vm(self, vm: Vm) -> VmFacts:
        kinds = dict.fromkeys(way.action for way in self._ways[vm.uuid])
        return VmFacts(
            vm=self.vms.alias(vm.uuid),
            node=self.nodes.alias(vm.node),
            priority=vm.priority,
            weight=self._policy.weights.of(vm.priority),
            state=vm.state,
            memory_bytes=vm.memory_bytes,
            vcpus=vm.vcpus,
            disk_bytes=vm.disk_bytes,
            shared_storage=vm.shared_storage,
            dirty_bytes_per_second=vm.dirty_bytes_per_second,
            anti_affinity_group=self._groups.alias(vm.anti_affinity_group) if vm.anti_affinity_group else None,
            may=tuple(kinds),
            cannot=dict(self._obstacles.get(vm.uuid, {})),
            notes=self._notes_on(vm),
        )

    def _notes_on(self, vm: Vm) -> tuple[NoteFacts, ...]:
        """Those that still hold, each word once."""
        now = self._situation.now
        holding = {
            note.word: NoteFacts(
                word=note.word,
                for_seconds=None if note.until is None else round((note.until - now).total_seconds()),
            )
            for note in self._notes
            if note.vm == vm.uuid and (note.until is None or note.until > now)
        }
        return tuple(holding[word] for word in sorted(holding))

    def _target(self, name: str, seconds: dict[ActionKind, float]) -> TargetFacts:
        room = self._rooms[name]
        groups = dict.fromkeys(v.anti_affinity_group for v in self._fleet.vms_on(name) if v.anti_affinity_group)
        return TargetFacts(
            node=self.nodes.alias(name),
            free_memory_bytes=max(0, room.memory_bytes),
            free_vcpus=max(0.0, room.vcpus),
            probability=round(self._situation.node_risks[name].probability or 0.0, 4),
            failure_domain=self._domain(name),
            anti_affinity_groups=tuple(self._groups.alias(group) for group in groups),
            seconds_by_action=seconds,
        )

    def _estimate(self, vm: Vm, kind: ActionKind, target: str | None) -> tuple[float, float]:
        """(seconds, downtime in seconds), with nothing else moving."""
        source = self._fleet.node_by_name[vm.node]
        if target is None:
            seconds = archive_seconds(vm, source, 1, self._policy)
            return seconds, seconds
        goal = self._fleet.node_by_name[target]
        bandwidth = stream_bandwidth(source, goal, 1, 1, self._policy)
        if kind is ActionKind.COLD_MIGRATE:
            seconds = cold_migration_seconds(vm, source, goal, bandwidth, self._policy)
            return seconds, seconds
        live = live_migration(vm, bandwidth, self._policy)
        return live.seconds, live.downtime_seconds
