"""Which nodes a Prometheus knows, and under which label: what `lifeboat init` proposes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tools.prometheus.cadence import scrape_cadence
from tools.prometheus.health import instant
from tools.prometheus.metrics import node_name

_LIBVIRT_EXPORTER, _NODE_EXPORTER = "libvirt exporter", "node_exporter"
EXPORTER_BY_SERIES = {
    "node_uname_info": _NODE_EXPORTER,
    "libvirt_up": _LIBVIRT_EXPORTER,
    "ipmi_up": "ipmi_exporter",
    "smartctl_version": "smartctl_exporter",
    "DCGM_FI_DEV_GPU_TEMP": "dcgm-exporter",
    "idrac_sensors_temperature": "idrac_exporter",
    "redfish_temperature_status": "redfish_exporter",
}
"""A series that each exporter always has, and the exporter's name."""

_SPANS = ("60", "600")
"""seconds in which scrapes are counted: a Prometheus that has just been started has few in the longer one"""
_LIKELY_LABELS = ("node", "nodename", "host", "hostname", "instance")
"""the first of equals is proposed"""
_NEVER_LABELS = frozenset({"__name__", "job"})


@dataclass(frozen=True, kw_only=True)
class Discovery:
    """What one look at a Prometheus found."""

    node_label: str
    """the label whose values join most exporters of a node"""
    exporters: Mapping[str, tuple[str, ...]]
    """node → exporters that speak of it"""
    addresses: Mapping[str, str]
    """node → the host that its libvirt exporter, or else its node_exporter, is scraped at; IPv6 in brackets"""
    scrape_interval_seconds: float | None
    """None: too few scrapes to tell"""

    @property
    def hypervisors(self) -> tuple[str, ...]:
        """Nodes with a libvirt exporter; where there is none at all, nodes with a node_exporter."""
        for wanted in (_LIBVIRT_EXPORTER, _NODE_EXPORTER):
            if found := tuple(sorted(node for node, names in self.exporters.items() if wanted in names)):
                return found
        return ()


def discover(
    url: str, *, timeout_seconds: float, headers: Mapping[str, str], node_label: str | None = None
) -> Discovery:
    """Look at `url` once; `node_label`: take that label. Raises MetricsUnavailable."""
    names = "|".join(EXPORTER_BY_SERIES)
    found = [labels for labels, _, _ in instant(url, f'{{__name__=~"{names}"}}', timeout_seconds, headers)]
    label = node_label or join_label(found)
    exporters: dict[str, set[str]] = defaultdict(set)
    targets: dict[str, dict[str, str]] = defaultdict(dict)
    for labels in found:
        if labels.get(label):
            node, exporter = node_name(labels[label]), EXPORTER_BY_SERIES[labels["__name__"]]
            exporters[node].add(exporter)
            targets[node][exporter] = node_name(labels.get("instance", ""))
    scrapes: dict[str, float] = {}
    for span in _SPANS:
        for _, count, _ in instant(url, f"max(count_over_time(up[{span}s]))", timeout_seconds, headers):
            scrapes[span] = count
    return Discovery(
        node_label=label,
        exporters={node: tuple(sorted(names)) for node, names in sorted(exporters.items())},
        addresses={
            node: f"[{host}]" if ":" in host else host
            for node, hosts in sorted(targets.items())
            if (host := hosts.get(_LIBVIRT_EXPORTER) or hosts.get(_NODE_EXPORTER))
        },
        scrape_interval_seconds=scrape_cadence(scrapes),
    )


def join_label(found: Sequence[Mapping[str, str]]) -> str:
    """The label that tells nodes apart and has the same value for most exporters of a node; `instance` when nothing is there."""
    joined: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for labels in found:
        for label, value in labels.items():
            if label not in _NEVER_LABELS:
                joined[label][node_name(value)].add(labels["__name__"])
    machines = len(
        {node_name(labels.get("instance", "")) for labels in found if labels["__name__"] == "node_uname_info"}
    )

    def worth(label: str) -> tuple[bool, int, int, int]:
        nodes = joined[label]
        reached = sum(label in labels for labels in found)
        likely = -_LIKELY_LABELS.index(label) if label in _LIKELY_LABELS else -len(_LIKELY_LABELS)
        # One value for everything (a cluster's name) joins all and tells nothing apart.
        return len(nodes) >= machines, reached, sum(len(series) - 1 for series in nodes.values()), likely

    candidates = [label for label in joined if label in _LIKELY_LABELS or label.endswith(("host", "node", "name"))]
    return max(candidates, key=worth, default="instance")
