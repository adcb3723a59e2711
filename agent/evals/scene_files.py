"""Scenes read from folders.

Description: a folder with `scene.yaml` (known) and `truth.yaml` (never shown to a planner), on one of the fleets beside it.
Limitations: small fleets, written by hand; readings are evenly spaced over the hour before.
"""

from __future__ import annotations

import functools
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from agent.documents import field_at_fault
from agent.evals.scene import Scene, Topic, Truth
from models.base import Duration, Value, parse_duration
from models.errors import BadInput
from models.fleet import Fleet, Node, NodeState, Priority, Vm, VmState
from models.knowledge import Aftermath, Knowledge, NoteWord, PastEvacuation, PlannedWork, Reading, VmNote
from models.policy.policy import Policy
from models.risk.risk import Driver, Risk
from models.risk.signal import Component, HardwareEvent, HardwareEventKind, Severity, Signal
from models.situation import Situation
from tools.input_file import read_yaml_mapping
from tools.signals import load_catalogue

NOW = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
"""of every scene: the same bytes go to a model, whenever it is asked"""
READINGS_SPAN = timedelta(hours=1)
WELL = 0.001
"""P(fails within 2 h) of a node whose risk a scene does not give"""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)")
_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_T = TypeVar("_T", bound=BaseModel)


class _Machine(Value):
    rack: str = ""
    memory: str = "64G"
    reserved: str = "2G"
    cpus: int = 32
    overcommit: float = 2.0
    cpu: str = ""
    state: NodeState = NodeState.ACTIVE
    link: str = "119M"
    """bytes a second; 119M is 1 Gbit/s"""
    archive: str = "95M"


class _Guest(Value):
    at: str
    memory: str = "4G"
    cpus: int = 2
    priority: Priority = Priority.NORMAL
    state: VmState = VmState.RUNNING
    dirty: str | None = "4M"
    disk: str = "20G"
    local: bool = False
    """its disks are on its node"""
    group: str | None = None
    device: bool = False
    """it has a passthrough device, so it can't move live"""
    hugepages: str = "0"
    archive: bool | None = None
    """its owner's consent"""
    live_obstacle: str | None = None
    io_error: bool = False


class _Chance(Value):
    p: float | None = Field(default=None, ge=0, le=1)
    """within 2 h"""
    soon: float | None = Field(default=None, ge=0, le=1)
    """within 30 min; None: four tenths of `p`"""
    drivers: tuple[str, ...] = ()
    age: Duration = parse_duration("10s")


class _Event(Value):
    node: str
    kind: HardwareEventKind
    component: Component
    part: str = ""
    severity: Severity = Severity.WARNING
    ago: Duration
    times: int = Field(default=1, ge=1, le=500)
    """a minute apart, the last of them `ago`"""
    cleared: bool = False


class _Known(Value):
    """`scene.yaml`."""

    title: str
    topic: Topic
    difficulty: int = Field(ge=1, le=3)
    fleet: str
    nodes: dict[str, dict[str, Any]] = Field(default={})
    vms: dict[str, dict[str, Any]] = Field(default={})
    without: tuple[str, ...] = ()
    """vms of the fleet that are not there"""
    risks: dict[str, _Chance | float | None] = Field(default={})
    """None: nothing is known of that node"""
    asked: tuple[str, ...] = ()
    """nodes that a person wants emptied"""
    notes: dict[str, tuple[str, ...]] = Field(default={})
    """by vm: a word, or a word and how long it holds"""
    planned_work: dict[str, tuple[Duration, Duration]] = Field(default={})
    """by node: from, until"""
    readings: dict[str, tuple[float, ...]] = Field(default={})
    """`node/signal/part` → values over the last hour"""
    events: tuple[_Event, ...] = ()
    past: dict[str, tuple[str, ...]] = Field(default={})
    """by node: what it did and how long ago, such as `lived 12d`"""
    policy: Policy = Policy()


def load_scenes(folder: Path, names: tuple[str, ...] = ()) -> list[Scene]:
    """The scenes in `folder/scenes`, in order of name; with `names` only those, or those whose name begins so.

    Raises BadInput for a folder without scenes, a name that is none, and a file that can't be read.
    """
    found = sorted(path for path in (folder / "scenes").glob("*") if (path / "scene.yaml").exists())
    if not found:
        raise BadInput(f"no scenes in {folder / 'scenes'}", hint="each is a folder with scene.yaml and truth.yaml")
    for name in names:
        if not any(path.name.startswith(name) for path in found):
            raise BadInput(f"no scene is called {name!r}", hint=f"such as {found[0].name}")
    return [_load(path, folder) for path in found if not names or path.name.startswith(names)]


def _load(path: Path, folder: Path) -> Scene:
    known = _read(path / "scene.yaml", _Known)
    truth = _read(path / "truth.yaml", Truth)
    base = read_yaml_mapping(folder / "fleets" / f"{known.fleet}.yaml", what="fleet of scenes")
    try:
        fleet = _fleet(known, base)
        scene = Scene(
            name=path.name,
            title=known.title,
            topic=known.topic,
            difficulty=known.difficulty,
            situation=Situation(fleet=fleet, risks=_risks(known, fleet), policy=known.policy, now=NOW),
            knowledge=_knowledge(known),
            asked=known.asked,
            truth=truth,
        )
        _check_names(scene)
    except (ValueError, KeyError) as error:
        raise BadInput(f"scene {path}: {' '.join(str(error).split())[:200]}", hint="fix the scene") from error
    return scene


def _read(path: Path, kind: type[_T]) -> _T:
    content = read_yaml_mapping(path, what="scene")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise BadInput(f"scene file {path}: {field_at_fault(error, content)}", hint="fix the field") from error


def vm_uuid(name: str) -> str:
    """The uuid of a scene's vm: made from its name, the same every time."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.scenes.invalid"))


def _fleet(known: _Known, base: Mapping[str, Any]) -> Fleet:
    common: dict[str, Any] = base.get("every_node", {})
    machines: dict[str, dict[str, Any]] = {**base["nodes"]}
    for name, changed in known.nodes.items():
        machines[name] = {**machines.get(name, {}), **changed}
    guests: dict[str, dict[str, Any]] = {n: g for n, g in base.get("vms", {}).items() if n not in known.without}
    for name, changed in known.vms.items():
        guests[name] = {**guests.get(name, {}), **changed}
    nodes = tuple(_node(name, _Machine.model_validate({**common, **told})) for name, told in machines.items())
    vms = tuple(_vm(name, _Guest.model_validate(told)) for name, told in guests.items())
    return Fleet(observed_at=NOW - timedelta(seconds=2), nodes=nodes, vms=vms)


def _node(name: str, told: _Machine) -> Node:
    return Node(
        name=name,
        memory_bytes=_size(told.memory),
        memory_reserved_bytes=_size(told.reserved),
        cpus=told.cpus,
        cpu_overcommit=told.overcommit,
        cpu_model=told.cpu,
        failure_domain=told.rack,
        state=told.state,
        migration_bytes_per_second=_size(told.link),
        archive_bytes_per_second=_size(told.archive),
    )


def _vm(name: str, told: _Guest) -> Vm:
    return Vm(
        uuid=vm_uuid(name),
        name=name,
        node=told.at,
        memory_bytes=_size(told.memory),
        vcpus=told.cpus,
        state=told.state,
        priority=told.priority,
        dirty_bytes_per_second=None if told.dirty is None else float(_size(told.dirty)),
        disk_bytes=_size(told.disk),
        shared_storage=not told.local,
        anti_affinity_group=told.group,
        migratable=not told.device,
        hugepage_bytes=_size(told.hugepages),
        cold_archive_allowed=told.archive,
        live_obstacle=told.live_obstacle,
        io_error=told.io_error,
    )


def _size(text: str) -> int:
    found = _SIZE.fullmatch(str(text).strip())
    if found is None:
        raise ValueError(f"{text!r} is not a size such as 4G")
    return int(float(found[1]) * _BYTES[found[2]])


def _risks(known: _Known, fleet: Fleet) -> list[Risk]:
    risks: list[Risk] = []
    for node in fleet.nodes:
        told = known.risks.get(node.name, WELL)
        if told is None:
            continue
        chance = told if isinstance(told, _Chance) else _Chance(p=told)
        p = WELL if chance.p is None else chance.p
        soon = 0.4 * p if chance.soon is None else chance.soon
        later = 1 - (1 - p) ** 2
        risks.append(
            Risk(
                node=node.name,
                probability={"30m": soon, "2h": p, "24h": later, "7d": later},
                drivers=tuple(Driver(signal=signal, why=signal) for signal in chance.drivers),
                data_age_seconds=chance.age.total_seconds(),
                assessed_at=NOW,
                model="limits-and-drift 1",
                basis="documented limits",
            )
        )
    return risks


def _knowledge(known: _Known) -> Knowledge:
    return Knowledge(
        notes=tuple(_note(vm, said) for vm, words in known.notes.items() for said in words),
        planned_work=tuple(
            PlannedWork(node=node, start=NOW + start, end=NOW + end)
            for node, (start, end) in known.planned_work.items()
        ),
        readings=tuple(_reading(key, values) for key, values in known.readings.items()),
        events=tuple(event for told in known.events for event in _events(told)),
        past=tuple(_past(node, said) for node, all_said in known.past.items() for said in all_said),
    )


def _note(vm: str, said: str) -> VmNote:
    word, _, time = said.partition(" ")
    return VmNote(vm=vm_uuid(vm), word=NoteWord(word), until=NOW + parse_duration(time) if time else None)


def _reading(key: str, values: tuple[float, ...]) -> Reading:
    node, name, part = [*key.split("/", 2), "", ""][:3]
    signal = _signals().get(name)
    step = READINGS_SPAN.total_seconds() / max(1, len(values) - 1)
    return Reading(
        node=node,
        signal=name,
        part=part,
        points=tuple((step * (len(values) - 1 - n), value) for n, value in enumerate(values)),
        low=signal.limits.low if signal else None,
        high=signal.limits.high if signal else None,
    )


def _events(told: _Event) -> list[HardwareEvent]:
    newest = NOW - told.ago
    return [
        HardwareEvent(
            node=told.node,
            time=newest - timedelta(minutes=told.times - 1 - number),
            kind=told.kind,
            component=told.component,
            part=told.part,
            severity=told.severity,
            asserted=not (told.cleared and number == told.times - 1),
        )
        for number in range(told.times)
    ]


def _past(node: str, said: str) -> PastEvacuation:
    word, _, time = said.partition(" ")
    return PastEvacuation(node=node, at=NOW - parse_duration(time), aftermath=Aftermath(word))


@functools.cache
def _signals() -> dict[str, Signal]:
    return {signal.name: signal for signal in load_catalogue()}


def _check_names(scene: Scene) -> None:
    """Raises ValueError for a node, vm or signal that is not there: a slip of the pen would make a scene easy."""
    fleet, truth, known = scene.situation.fleet, scene.truth, scene.knowledge
    vms = {vm.name for vm in fleet.vms}
    uuids = set(fleet.vm_by_uuid)
    told = truth.expected
    named_vms = [
        *truth.worth, *truth.stop_costs, *told.leave, *told.live, *told.cold, *told.archived, *told.running, *told.stay,
        *(name for pair in (*told.apart, *told.before) for name in pair),
    ]  # fmt: skip
    named_nodes = [
        *truth.down, *told.avoid, *scene.asked, *(w.node for w in known.planned_work), *(r.node for r in known.readings),
        *(e.node for e in known.events), *(p.node for p in known.past), *(r.node for r in scene.situation.risks or ()),
    ]  # fmt: skip
    wrong = [name for name in named_vms if name not in vms] + [n for n in named_nodes if n not in fleet.node_by_name]
    wrong += [note.vm for note in known.notes if note.vm not in uuids]
    if wrong:
        raise ValueError(f"{wrong[0]} is not in the fleet")
    drivers = (driver.signal for risk in scene.situation.risks or () for driver in risk.drivers)
    strange = [name for name in (*(reading.signal for reading in known.readings), *drivers) if name not in _signals()]
    if strange:
        raise ValueError(f"no signal is called {strange[0]}")
