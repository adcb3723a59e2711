"""`lifeboat doctor --evidence OUT`: what the live sources say now, as a folder that can be judged again and given away.

Names, addresses and serial numbers are replaced on the way; of logs only what hardware's programs said is taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import BadInput, LifeboatError
from models.fleet import Fleet, Node, Vm
from tools.ports.telemetry import HardwareLog, PrintedLog, SpokenLog
from tools.redaction import Redactor

if TYPE_CHECKING:
    from agent.observe.observe import Inventory
    from agent.settings import PrometheusSettings, Settings
    from models.risk.signal import Signal
    from tools.prometheus.raw_samples import RawSeries

METRICS_SECONDS = 25 * 3600
"""A day of healthy past, and what is judged against it."""
LOG_DAYS = timedelta(days=3)
MOST_LINES = 50_000
"""Of one node's logs; the newest are kept."""


@dataclass
class Gathered:
    """What was written, and what could not be had."""

    directory: Path
    series: int = 0
    lines: int = 0
    records: int = 0
    missing: list[str] = field(default_factory=list[str])


def gather_evidence(
    directory: Path,
    settings: Settings,
    nodes: Mapping[str, Inventory],
    *,
    at: datetime,
    only: Sequence[str] = (),
) -> Gathered:
    """Write the folder. A source that does not answer is named in `missing`; the others are written all the same.

    `only`: these nodes. Raises BadInput when the directory is not empty or can't be written.
    """
    wanted = {name: node for name, node in nodes.items() if not only or name in only}
    fleet, silent = _fleet(wanted, at)
    redactor = Redactor(wanted, guests=[vm.name for vm in fleet.vms])
    gathered = Gathered(directory, missing=[redactor.text(line) for line in silent])
    try:
        if directory.exists() and any(directory.iterdir()):
            raise BadInput(f"{directory} is not empty", hint="name a new folder")
        directory.mkdir(parents=True, exist_ok=True)
        _write_fleet(directory / "fleet.json", fleet, redactor)
        label = "instance"
        if settings.prometheus is not None:
            label = settings.prometheus.node_label
            _write_metrics(directory / "metrics.om", settings, settings.prometheus, redactor, at, gathered)
        about = {"at": at.isoformat(), "node_label": label}
        (directory / "evidence.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        _write_logs(directory / "nodes", settings, list(wanted), redactor, at, gathered)
    except OSError as error:
        raise BadInput(
            f"can't write {error.filename or directory}: {error.strerror or error}",
            hint="name a place that can be written",
        ) from error
    return gathered


def _fleet(nodes: Mapping[str, Inventory], at: datetime) -> tuple[Fleet, list[str]]:
    known: list[Node] = []
    vms: dict[str, Vm] = {}
    silent: list[str] = []
    for name, node in nodes.items():
        try:
            known.append(node.node())
            vms |= {vm.uuid: vm for vm in node.vms()}
        except LifeboatError as error:
            silent.append(f"{name}: {error.message}")
            known.append(Node(name=name, memory_bytes=0, cpus=1))
    return Fleet(observed_at=at, nodes=tuple(known), vms=tuple(vms.values())), silent


def _write_fleet(path: Path, fleet: Fleet, redactor: Redactor) -> None:
    nodes = [
        node.model_copy(
            update={
                "name": redactor.nodes[node.name],
                "failure_domain": redactor.alias("domain", node.failure_domain) if node.failure_domain else "",
            }
        )
        for node in fleet.nodes
    ]
    vms = [
        {
            "uuid": f"00000000-0000-4000-8000-{number:012d}", "name": redactor.alias("guest", vm.name),
            "node": redactor.nodes[vm.node], "memory_bytes": vm.memory_bytes, "vcpus": vm.vcpus, "state": vm.state.value,
            "priority": vm.priority.value, "migratable": vm.migratable, "shared_storage": vm.shared_storage,
        }
        for number, vm in enumerate(fleet.vms, start=1)
        if vm.node in redactor.nodes
    ]  # fmt: skip
    content = {
        "observed_at": fleet.observed_at.isoformat(),
        "nodes": [node.model_dump(mode="json") for node in nodes],
        "vms": vms,
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_metrics(
    path: Path, settings: Settings, prometheus: PrometheusSettings, redactor: Redactor, at: datetime, gathered: Gathered
) -> None:
    from tools.prometheus.raw_samples import RawSeries, openmetrics_text
    from tools.signals import load_catalogue

    series: list[RawSeries] = []
    for selector in _selectors(load_catalogue(settings.signals_file), prometheus.node_label):
        try:
            answer = _series(prometheus, selector, at)
        except LifeboatError as error:
            gathered.missing.append(redactor.text(error.message))
            if "refuses" not in error.message:
                break  # it is not there: the rest would only wait for their time-outs, too
            continue
        for one in answer:
            if _node_of(one.labels.get(prometheus.node_label, "")) in redactor.nodes:
                labels = redactor.labels(one.labels, node_label=prometheus.node_label)
                series.append(RawSeries({**labels, "__name__": one.labels["__name__"]}, one.samples))
    gathered.series = len(series)
    if series:
        path.write_text(openmetrics_text(series), encoding="utf-8")


def _series(prometheus: PrometheusSettings, selector: str, at: datetime) -> list[RawSeries]:
    from tools.prometheus.raw_samples import raw_series

    return raw_series(
        prometheus.url, selector, at=at, seconds=METRICS_SECONDS, headers=prometheus.headers,
        timeout_seconds=max(30.0, prometheus.timeout_seconds),
    )  # fmt: skip


def _selectors(signals: Sequence[Signal], label: str) -> list[str]:
    """What the catalogue reads, each once."""
    selectors = (selector.replace("$node_label", label) for signal in signals for selector in signal.selectors)
    return ["up", *dict.fromkeys(one for one in selectors if one != "up")]


def _node_of(value: str) -> str:
    host, _, port = value.rpartition(":")
    return host if port.isdigit() else value


def _write_logs(
    directory: Path, settings: Settings, nodes: Sequence[str], redactor: Redactor, at: datetime, gathered: Gathered
) -> None:
    from agent.observe.sources import hardware_logs

    for node, sources in hardware_logs(settings).items():
        if node not in nodes:
            continue
        alias = redactor.nodes[node]
        home = directory / alias
        (home / "logs").mkdir(parents=True)
        lines: list[str] = []
        for log in sources:
            try:
                if isinstance(log, PrintedLog):
                    printed = log.printed()
                    gathered.records += printed.count("\n")
                    (home / "sel.csv").write_text(redactor.text(printed), encoding="utf-8")
                else:
                    lines += _messages(log, alias, redactor, at)
            except LifeboatError as error:
                gathered.missing.append(redactor.text(f"{node}: {error.message}"))
        lines = sorted(lines)[-MOST_LINES:]
        gathered.lines += len(lines)
        if lines:
            (home / "logs" / "syslog").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _messages(log: HardwareLog, node: str, redactor: Redactor, at: datetime) -> Iterator[str]:
    """What hardware's programs said, one RFC 3339 line each."""
    if not isinstance(log, SpokenLog):
        return iter(())
    heard: list[tuple[str, str, datetime]] = []
    log.listen(lambda tag, message, when: heard.append((tag, message, when)))
    log.events(since=at - LOG_DAYS)
    return (
        f"{when.astimezone(UTC).isoformat(timespec='microseconds')} {node} {tag}: {redactor.text(' '.join(message.split()))}"
        for tag, message, when in heard
        if when >= at - LOG_DAYS
    )
