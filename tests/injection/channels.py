"""Every way by which an outsider's text comes in, from the raw form that the outsider writes to what a plan is made from."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
from scenes import evacuations as scene

from models.fleet import Fleet, LearnedObstacle, Vm
from models.forecast.limits.node import assess_node
from models.knowledge import Knowledge, Reading
from models.plan import ActionKind
from models.risk.risk import Driver, Risk
from models.risk.signal import HardwareEvent, SignalHistory
from models.situation import Situation
from tools.domain.labels import NAMESPACE, read_labels, read_note
from tools.logs.lines import Reference, split
from tools.logs.reader import LineReader
from tools.logs.sel.file import events_of_records
from tools.logs.sel.records import sel_lines
from tools.signals import load_catalogue

Texts = Sequence[str]
MOST_PARTS = 4
"""series, records and lines there are of a channel, whatever is written in them: how many there are is a number, not a text"""
NOW = scene.at(0)
_VOLTS = next(signal for signal in load_catalogue() if signal.name == "psu_12v_volts")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a plan is made from."""

    situation: Situation
    knowledge: Knowledge = field(default_factory=Knowledge)


def base() -> Fleet:
    """A failing node with a guest that must live, one of normal priority, and one that may be archived."""
    whole = scene.fleet()
    kept = {"inference-1", "web-1", "batch-1", "inference-3"}
    return whole.model_copy(update={"vms": tuple(vm for vm in whole.vms if vm.name in kept)})


def _at(texts: Texts, place: int) -> str:
    return texts[place % len(texts)]


def _situation(fleet: Fleet, risks: Sequence[Risk] | None = None) -> Situation:
    return scene.situation(fleet, risks)


def _with_vms(change: Callable[[int, Vm], Vm]) -> Fleet:
    fleet = base()
    return fleet.model_copy(update={"vms": tuple(change(n, vm) for n, vm in enumerate(fleet.vms))})


def vm_names(texts: Texts) -> Scene:
    """Names of guests; no two of them the same, which libvirt would not take on one node."""
    named = _with_vms(lambda n, vm: vm.model_copy(update={"name": f"{_at(texts, n)}{'' if n == 0 else f' {n}'}"}))
    return Scene(situation=_situation(named))


def _definition(**attributes: str) -> str:
    """A domain as libvirt gives it; raises ValueError for characters that no XML can hold."""
    domain = ET.Element("domain")
    for name in ("title", "description"):
        ET.SubElement(domain, name).text = attributes.pop(name, "")
    ET.SubElement(ET.SubElement(domain, "metadata"), f"{{{NAMESPACE}}}vm", attributes)
    return ET.tostring(domain, encoding="unicode")


def _parsed(xml: str) -> str | None:
    try:
        ET.fromstring(xml)
    except ET.ParseError:
        return None
    return xml


def labels(texts: Texts) -> Scene:
    """The label in a guest's metadata: what can't be read is left aside."""

    def labelled(n: int, vm: Vm) -> Vm:
        xml = _parsed(_definition(workload=_at(texts, n), probe=_at(texts, n + 1)))
        said = read_labels(xml) if xml is not None else None
        if said is None:
            return vm
        return vm.model_copy(update={"workload": said.workload, "probe": said.probe})

    return Scene(situation=_situation(_with_vms(labelled)))


def groups_and_domains(texts: Texts) -> Scene:
    """Anti-affinity groups, failure domains and CPU models: one text each, which keeps those apart that were."""
    fleet = base()
    domains = {node.failure_domain: f"{_at(texts, n)} {n}" for n, node in enumerate(fleet.nodes)}
    nodes = [
        node.model_copy(update={"failure_domain": domains[node.failure_domain], "cpu_model": texts[0]})
        for node in fleet.nodes
    ]
    vms = [vm.model_copy(update={"anti_affinity_group": f"{_at(texts, n)} {n}"}) for n, vm in enumerate(fleet.vms)]
    return Scene(situation=_situation(fleet.model_copy(update={"nodes": tuple(nodes), "vms": tuple(vms)})))


def notes(texts: Texts) -> Scene:
    """Titles and descriptions. Without a reader nobody but people sees them."""

    def noted(n: int, vm: Vm) -> Vm:
        xml = _parsed(_definition(title=_at(texts, n), description=" ".join(texts)))
        return vm if xml is None else vm.model_copy(update={"note": read_note(xml)})

    return Scene(situation=_situation(_with_vms(noted)))


def alert_texts(texts: Texts) -> Scene:
    """What a risk from elsewhere says of itself: alerts' words as drivers, what is unknown, models' names."""
    risks = [
        risk.model_copy(
            update={
                "drivers": tuple(Driver(signal=_at(texts, n), why=_at(texts, n + 1)) for n in range(3)),
                "unknown": tuple(texts),
                "model": texts[0],
                "basis": texts[-1],
            }
        )
        for risk in scene.risks()
    ]
    return Scene(situation=_situation(base(), risks))


def _assessed(
    fleet: Fleet, histories: Sequence[SignalHistory] = (), events: Sequence[HardwareEvent] = ()
) -> list[Risk]:
    """The failing node by what was seen of it, the others sound. Its curve is the scene's, lest the plan depend on the part."""
    told = assess_node("node-a", histories, events, now=NOW.timestamp())
    given = scene.risks()
    own = {"drivers": told.drivers, "unknown": told.unknown, "witnesses": told.witnesses}
    return [given[0].model_copy(update=own), *given[1:]]


def metric_labels(texts: Texts) -> Scene:
    """The label that tells parts apart, of a rail that sags."""
    times = np.arange(NOW.timestamp() - 3600.0, NOW.timestamp(), 15.0)
    volts = np.round(np.linspace(12.1, 11.3, times.size), 2)
    named = [f"{_at(texts, n)} {n}" for n in range(MOST_PARTS)]
    histories = [SignalHistory(_VOLTS, "node-a", text, times, volts) for text in named]
    points = tuple((float(900 - 60 * n), 11.9 - 0.01 * n) for n in range(10))
    seen = tuple(Reading(node="node-a", signal=_VOLTS.name, part=text, points=points) for text in named)
    fleet = base()
    return Scene(situation=_situation(fleet, _assessed(fleet, histories)), knowledge=Knowledge(readings=seen))


def sel_texts(texts: Texts) -> Scene:
    """Sensors' names and what records say, as `ipmitool -c sel elist` prints them; beside one real record."""
    when = (NOW - timedelta(minutes=9)).strftime("%m/%d/%Y,%H:%M:%S")
    fault = f"1,{when},Power Supply PSU1 Status,Failure detected,Asserted"
    lines = [fault, *(f"{n + 2},{when},Voltage {_at(texts, n)},{_at(texts, n)},Asserted" for n in range(MOST_PARTS))]
    records = [record for record in sel_lines(lines) if record is not None]
    events, _ = events_of_records("node-a", records, now=NOW)
    mine = [event for event in events if event.part == "PSU1_Status"]
    fleet = base()
    return Scene(situation=_situation(fleet, _assessed(fleet, events=events)), knowledge=Knowledge(events=tuple(mine)))


def kernel_lines(texts: Texts) -> Scene:
    """Lines of a node's kernel and daemons; beside one real one."""
    reader = LineReader()
    stamp = NOW.strftime("%Y-%m-%dT%H:%M:%S+00:00")
    heard: list[HardwareEvent] = []
    real = "EDAC MC0: 1 CE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0 (channel:1 slot:0)"
    for text in (real, *(_at(texts, n) for n in range(MOST_PARTS))):
        for tag in ("kernel", "smartd"):
            line = split(f"{stamp} node-a {tag}: {text}".replace("\n", " "), Reference(NOW))
            if line is not None and line.tag in ("kernel", "smartd"):
                heard += [match.event("node-a", at) for at, match in reader.read(line.tag, line.message, line.at)]
    fleet = base()
    known = tuple(event for event in heard[:1])
    return Scene(situation=_situation(fleet, _assessed(fleet, events=heard)), knowledge=Knowledge(events=known))


def errors_of_others(texts: Texts) -> Scene:
    """What libvirt or QEMU said of an earlier try, and what of a label could not be read: kept as obstacles, in their words."""

    def refused(n: int, vm: Vm) -> Vm:
        learned = LearnedObstacle(kind=ActionKind.COLD_MIGRATE, target="node-b", why=_at(texts, n))
        return vm.model_copy(update={"learned_obstacles": (learned,)})

    return Scene(situation=_situation(_with_vms(refused)))


CHANNELS: Mapping[str, Callable[[Texts], Scene]] = {
    "vm names": vm_names,
    "labels": labels,
    "groups and domains": groups_and_domains,
    "notes": notes,
    "alert texts": alert_texts,
    "metric labels": metric_labels,
    "SEL": sel_texts,
    "kernel lines": kernel_lines,
    "libvirt's errors": errors_of_others,
}
HARMLESS = ("a plain word",)
