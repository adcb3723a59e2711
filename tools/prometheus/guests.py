"""How busy guests were, by the libvirt exporters' count of their processor time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from tools.prometheus.health import instant
from tools.prometheus.metrics import node_name

CPU_SECONDS = "libvirt_domain_info_cpu_time_seconds_total"
"""as prometheus-libvirt-exporter names it, with the libvirt name in the label `domain`"""


class PrometheusGuests:
    """Asks when asked."""

    def __init__(self, url: str, *, node_label: str, timeout_seconds: float, headers: Mapping[str, str]) -> None:
        self._ask = (url, timeout_seconds, headers)
        self._node_label = node_label

    def busiest_hours(self, within: timedelta) -> Mapping[tuple[str, str], tuple[float, float]]:
        """See `tools.ports.telemetry.GuestLoads`."""
        hours = max(1, round(within.total_seconds() / 3600))
        url, timeout, headers = self._ask
        busiest = self._by_guest(instant(url, f"max_over_time(rate({CPU_SECONDS}[1h])[{hours}h:1h])", timeout, headers))
        seen = self._by_guest(instant(url, f"count_over_time(rate({CPU_SECONDS}[1h])[{hours}h:1h])", timeout, headers))
        return {guest: (load, min(1.0, seen.get(guest, 0.0) / hours)) for guest, load in busiest.items()}

    def _by_guest(self, series: list[tuple[dict[str, str], float, float]]) -> dict[tuple[str, str], float]:
        """Several series of one guest (it moved within one exporter's sight, say): the busier counts."""
        found: dict[tuple[str, str], float] = {}
        for labels, value, _ in series:
            guest = node_name(labels.get(self._node_label, "")), labels.get("domain", "")
            found[guest] = max(value, found.get(guest, value))
        return found
