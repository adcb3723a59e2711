"""An evidence folder: what a fleet's sources said, gathered into files, read through the same ports as the live sources.

| file | holds |
|---|---|
| `metrics.om` | OpenMetrics with a time on every sample |
| `nodes/NODE/sel.csv` | the BMC's event log, as `ipmitool -c sel elist` or FreeIPMI's `ipmi-sel` prints it |
| `nodes/NODE/logs/*` | log files, plain or packed |
| `nodes/NODE/journal.export` | `journalctl -o export` |
| `fleet.json` | the fleet; without it each node carries one normal guest that can move live |
| `evidence.json` | `at`, `node_label`, `time_zone` of log lines that name none; each may be left out |
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agent.documents import read_fleet
from agent.observe.observation import UnreadSource
from models.errors import BadInput, HardwareLogUnavailable, MetricsUnavailable
from models.fleet import Fleet, Node, Priority, Vm, VmState
from tools.input_file import read_json
from tools.logs.files import LogFiles
from tools.logs.journald import JournalExport
from tools.logs.lines import is_same_host
from tools.logs.sel.file import SelFile
from tools.ports.telemetry import HardwareLog
from tools.ports.vms import VmObservation
from tools.prometheus.openmetrics import OpenMetricsFacts, facts_of

METRICS_FILE = "metrics.om"
LARGEST_METRICS = 512 << 20
_DISTANT_PAST = datetime(1970, 1, 2, tzinfo=UTC)
_GIB = 1 << 30


class KnownNode:
    """A node as a file has it: it answers what is known of it, and nothing can be done with it."""

    def __init__(self, node: Node, vms: tuple[Vm, ...]) -> None:
        self._node = node
        self._vms = vms

    def node(self) -> Node:
        return self._node

    def vms(self) -> list[Vm]:
        return list(self._vms)

    def observe(self, uuid: str) -> VmObservation | None:  # noqa: ARG002
        return None


@dataclass(frozen=True)
class Evidence:
    """An opened folder."""

    directory: Path
    at: datetime
    """the moment that is judged"""
    fleet: Fleet
    logs: dict[str, list[HardwareLog]]
    metrics_file: Path | None
    """None: there is none, or it can't be used: see `unread`"""
    scrape_seconds: float
    node_label: str
    unread: tuple[UnreadSource, ...] = ()

    @property
    def nodes(self) -> dict[str, KnownNode]:
        return {
            node.name: KnownNode(node, tuple(vm for vm in self.fleet.vms if vm.node == node.name))
            for node in self.fleet.nodes
        }


@dataclass
class _Metrics:
    file: Path | None = None
    facts: OpenMetricsFacts = field(default_factory=OpenMetricsFacts)
    unread: list[UnreadSource] = field(default_factory=list[UnreadSource])


def open_evidence(directory: Path, at: datetime | None = None) -> Evidence:
    """Look at what a folder holds. `at` None: the newest time in it.

    A source that can't be used is in `unread`. Raises BadInput when the folder is none, holds nothing that can be read, or
    nothing in it has a time and `at` is None.
    """
    if not directory.is_dir():
        raise BadInput(f"evidence {directory} is no directory", hint="give a folder as docs/field.md describes it")
    settings = _settings(directory / "evidence.json")
    label = str(settings.get("node_label", "instance"))
    zone = _zone(directory, settings)
    at = at or _time(directory, settings)
    metrics = _metrics(directory / METRICS_FILE, label)
    folders = sorted(path for path in (directory / "nodes").glob("*") if path.is_dir())
    if metrics.file is None and not metrics.unread and not folders:
        raise BadInput(
            f"evidence {directory} holds neither {METRICS_FILE} nor nodes/NODE/",
            hint="see docs/field.md for what belongs in it",
        )
    at = at or _newest(folders, metrics.facts, zone)
    if at is None:
        raise BadInput(f"nothing in evidence {directory} has a time", hint="say with --at when it was gathered")
    logs = {folder.name: _logs(folder, at, zone) for folder in folders}
    fleet = _fleet(directory, [folder.name for folder in folders], metrics.facts.nodes, at)
    return Evidence(
        directory=directory, at=at, fleet=fleet, logs=logs, metrics_file=metrics.file,
        scrape_seconds=metrics.facts.scrape_seconds or 60.0, node_label=label, unread=tuple(metrics.unread),
    )  # fmt: skip


def _settings(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    content = read_json(path, what="evidence")
    if not isinstance(content, dict):
        raise BadInput(f"evidence file {path}: expected a mapping", hint="fix or remove it")
    return cast("dict[str, Any]", content)


def _time(directory: Path, settings: dict[str, Any]) -> datetime | None:
    text = settings.get("at")
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise BadInput(
            f"evidence file {directory / 'evidence.json'}: at: expected RFC 3339", hint="fix the field"
        ) from error
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _zone(directory: Path, settings: dict[str, Any]) -> tzinfo:
    name = str(settings.get("time_zone", "UTC"))
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise BadInput(
            f"evidence file {directory / 'evidence.json'}: time_zone: {name!r} is no time zone",
            hint="such as Europe/Berlin",
        ) from error


def _metrics(path: Path, label: str) -> _Metrics:
    if not path.exists():
        return _Metrics()
    try:
        size = path.stat().st_size
        facts = facts_of(path, node_label=label) if size <= LARGEST_METRICS else OpenMetricsFacts()
    except OSError as error:
        problem = MetricsUnavailable(f"{path.name}: {error.strerror or error}", hint="check the file")
        return _Metrics(unread=[UnreadSource("metrics", problem)])
    what = ""
    if size > LARGEST_METRICS:
        what = f"{path.name} is {size >> 20} MiB long, more than the {LARGEST_METRICS >> 20} MiB that are read"
    elif not facts.samples and facts.untimed:
        what = f"{path.name}: none of its {facts.untimed} samples has a time"
    elif not facts.samples:
        what = f"{path.name} holds no samples"
    if what:
        return _Metrics(None, facts, [UnreadSource("metrics", MetricsUnavailable(what, hint="see docs/field.md"))])
    return _Metrics(path, facts)


def _logs(folder: Path, at: datetime | None, zone: tzinfo) -> list[HardwareLog]:
    """The sources of one node, whichever are there."""
    node = folder.name
    sources: list[HardwareLog] = []
    files = sorted(path for path in (folder / "logs").glob("*") if path.is_file())
    exports = [path for path in files if path.suffix == ".export"] + [
        path for path in (folder / "journal.export",) if path.exists()
    ]
    plain = [path for path in files if path.suffix != ".export"]
    if plain:
        sources.append(LogFiles(node, plain, at=at, zone=zone))
    if exports:
        sources.append(JournalExport(node, exports, at=at))
    sources += [SelFile(node, path, at=at, zone=zone) for path in sorted(folder.glob("sel*")) if path.is_file()]
    return sources


def _newest(folders: list[Path], facts: OpenMetricsFacts, zone: tzinfo) -> datetime | None:
    """The newest time in the folder; of logs only what has a time of its own."""
    times = [] if facts.last is None else [datetime.fromtimestamp(facts.last, UTC)]
    now = datetime.now(UTC) + timedelta(days=1)
    for folder in folders:
        for log in _logs(folder, None, zone):
            try:
                log.events(since=_DISTANT_PAST)
            except HardwareLogUnavailable:
                continue
            newest = getattr(log, "newest", None)
            if isinstance(newest, datetime) and newest <= now:
                times.append(newest)
    return max(times, default=None)


def _fleet(directory: Path, folders: list[str], named: set[str], at: datetime) -> Fleet:
    """The fleet of `fleet.json`; else the nodes that have a folder or metrics, each with one guest that can move live."""
    path = directory / "fleet.json"
    if path.exists():
        return read_fleet(path)
    names = folders + sorted(name for name in named if not any(is_same_host(name, folder) for folder in folders))
    nodes = tuple(Node(name=name, memory_bytes=256 * _GIB, cpus=64) for name in names)
    vms = tuple(
        Vm(
            uuid=str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), name=f"a-guest-of-{name}", node=name, memory_bytes=4 * _GIB,
            vcpus=2, state=VmState.RUNNING, priority=Priority.NORMAL, shared_storage=True,
        )
        for name in names
    )  # fmt: skip
    return Fleet(observed_at=at, nodes=nodes, vms=vms)
