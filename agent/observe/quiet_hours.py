"""At which hours of the day guests are at work: their processor time of the last week, from Prometheus."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta

import numpy as np

from agent.observe.sources import open_metrics
from agent.settings import PrometheusSettings
from models.errors import LifeboatError
from models.fleet import Fleet, VmState
from models.risk.signal import Component, Limits, Signal, SignalHistory
from tools.ports.telemetry import MetricsSource

REMEMBERED = timedelta(days=7)
HOURS = 24
LEAST_HOURS = 20
"""hours of the day of which something has to be known; the busiest known one stands for the others"""
MOST_NAMED = 200
"""guests that are asked for by name; of more all of the nodes are asked for"""
QUERY = "sum by ($node_label, domain) (rate(libvirt_domain_info_cpu_time_seconds_total{NAMED}[1h]))"
"""prometheus-libvirt-exporter's processor time of each domain"""

Loads = tuple[float, ...]
TellLoads = Callable[[Fleet, Collection[str]], Fleet]
"""The fleet with what is known of the load of these nodes' guests."""


def loads_from(prometheus: PrometheusSettings | None, now: Callable[[], datetime]) -> TellLoads:
    """What asks that Prometheus; without one the fleet stays as it is."""

    def tell(fleet: Fleet, nodes: Collection[str]) -> Fleet:
        if prometheus is None:
            return fleet
        metrics = open_metrics(prometheus)
        try:
            return with_loads(fleet, nodes, metrics, now())
        finally:
            metrics.close()

    return tell


def with_loads(fleet: Fleet, nodes: Collection[str], source: MetricsSource, now: datetime) -> Fleet:
    """The fleet with the load of these nodes' guests. A source that does not answer, or has no libvirt exporter, leaves it as it
    is: nothing waits for an hour that nobody knows of."""
    names = sorted({vm.name for node in nodes for vm in fleet.vms_on(node) if vm.state is VmState.RUNNING})
    if not names:
        return fleet
    end = now.replace(minute=0, second=0, microsecond=0)
    try:
        histories = source.histories(_signal(names), start=end - REMEMBERED, end=end, step_seconds=3600.0)
    except LifeboatError:
        return fleet
    loads = by_hour(histories)
    told = (
        vm.model_copy(update={"load_by_hour": loads[vm.name]}) if vm.name in loads and vm.node in nodes else vm
        for vm in fleet.vms
    )
    return fleet.model_copy(update={"vms": tuple(told)})


def by_hour(histories: Iterable[SignalHistory]) -> dict[str, Loads]:
    """By guest: its mean load in each hour of the day (UTC) as a share of its busiest; wherever it ran. Guests of whom too few
    hours are known are left out."""
    seen: dict[str, dict[int, list[float]]] = {}
    for history in histories:
        known = np.isfinite(history.values)
        for at, value in zip(history.times[known].tolist(), history.values[known].tolist(), strict=True):
            # a rate over the hour that ends then
            hour = (datetime.fromtimestamp(at, tz=UTC) - timedelta(minutes=30)).hour
            seen.setdefault(history.part, {}).setdefault(hour, []).append(max(0.0, value))
    loads: dict[str, Loads] = {}
    for name, hours in seen.items():
        if len(hours) < LEAST_HOURS:
            continue
        mean = {hour: sum(values) / len(values) for hour, values in hours.items()}
        busiest = max(mean.values())
        loads[name] = tuple(
            round(mean.get(hour, busiest) / busiest, 4) if busiest > 0 else 0.0 for hour in range(HOURS)
        )
    return loads


def _signal(names: list[str]) -> Signal:
    named = "" if len(names) > MOST_NAMED else f'{{domain=~"{_quoted(names)}"}}'
    return Signal(
        name="guest_processor_time",
        component=Component.NODE,
        unit="cores",
        promql=QUERY.replace("{NAMED}", named),
        part_label="domain",
        limits=Limits(source="none: it is the guests' own work"),
        follows_load=True,
        meaning="how much processor time each guest takes",
    )


def _quoted(names: list[str]) -> str:
    """Names as a regular expression within a string of PromQL: what owners write means nothing in either."""
    return "|".join(re.escape(name) for name in names).replace("\\", "\\\\").replace('"', '\\"')
