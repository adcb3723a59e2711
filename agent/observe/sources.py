"""From settings to what a look reads: the metrics, the nodes' clocks, the hardware logs. Nothing is connected to yet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.settings import PrometheusSettings, Settings
    from tools.ports.telemetry import HardwareLog
    from tools.prometheus.metrics import PrometheusMetrics


def open_metrics(prometheus: PrometheusSettings) -> PrometheusMetrics:
    """Connects to nothing yet; close it afterwards."""
    from tools.prometheus.metrics import PrometheusMetrics

    return PrometheusMetrics(
        prometheus.url,
        node_label=prometheus.node_label,
        timeout_seconds=prometheus.timeout_seconds,
        headers=prometheus.headers,
    )


def node_clocks(settings: Settings) -> Callable[[str], float | None] | None:
    """What tells the nodes' clocks: Prometheus, where there is one."""
    from tools.prometheus.health import NodeClocks

    prometheus = settings.prometheus
    if prometheus is None:
        return None
    return NodeClocks(
        prometheus.url,
        node_label=prometheus.node_label,
        timeout_seconds=prometheus.timeout_seconds,
        headers=prometheus.headers,
    ).offset


def hardware_logs(settings: Settings, *, state_dir: Path | None = None) -> dict[str, list[HardwareLog]]:
    """Each node's collected logs and BMC, as the settings name them; with `state_dir` a restart goes on where they were left."""
    from tools.logs.files import LogFiles
    from tools.logs.ipmi_sel import SystemEventLog
    from tools.logs.journald import JournalExport
    from tools.logs.loki import LokiLog
    from tools.logs.patterns import harmless

    logs: dict[str, list[HardwareLog]] = {}
    others = [other.name for other in settings.nodes]
    for node in settings.nodes:

        def note(kind: str, name: str = node.name) -> Path | None:
            return None if state_dir is None else state_dir / "logs" / f"{harmless(name).replace('/', '_')}.{kind}.json"

        sources: list[HardwareLog] = []
        exports = [path for path in node.hardware_logs if path.suffix == ".export" or path.is_dir()]
        files = [path for path in node.hardware_logs if path.suffix != ".export"]
        if files:
            sources.append(LogFiles(node.name, files, other_nodes=others, state_file=note("files")))
        if exports:
            sources.append(JournalExport(node.name, exports, state_file=note("journal")))
        if settings.loki is not None:
            loki = settings.loki
            sources.append(LokiLog(node.name, loki.url, loki.query, headers=loki.headers,
                                   timeout_seconds=loki.timeout_seconds, state_file=note("loki")))  # fmt: skip
        if node.bmc is not None:
            sources.append(SystemEventLog(node.name, node.bmc.address, port=node.bmc.port, user=node.bmc.user,
                                          password_file=node.bmc.password_file))  # fmt: skip
        logs[node.name] = sources
    return logs
