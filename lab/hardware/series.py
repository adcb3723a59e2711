"""Which Prometheus series show the simulated hardware: the names and labels of the real exporters. Pure.

One table for all who need it: the textfile that node_exporter serves live, the backfilled history, and replays that
pretend to be a Prometheus. Labels `node`, `job` and `instance` are added by whoever scrapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lab.hardware import physics, sensors
from lab.hardware.noise import Floats
from lab.hardware.physics import Columns

Job = Literal["node", "ipmi", "libvirt"]


@dataclass(frozen=True)
class Series:
    """One series of a node."""

    job: Job
    metric: str
    labels: dict[str, str]
    kind: Literal["gauge", "counter"]
    value: Callable[[Columns], Floats]

    def selector(self) -> str:
        """As PromQL writes it."""
        inside = ",".join(f'{name}="{value}"' for name, value in self.labels.items())
        return f"{self.metric}{{{inside}}}" if inside else self.metric


def _column(name: str) -> Callable[[Columns], Floats]:
    return lambda columns: columns[name]


def _floor(name: str) -> Callable[[Columns], Floats]:
    return lambda columns: np.floor(columns[name])


def _sensed(name: str) -> Callable[[Columns], Floats]:
    return lambda columns: physics.as_sensed(name, columns[name])


def _state(name: str) -> Callable[[Columns], Floats]:
    return lambda columns: physics.as_state(name, columns[name])


def _total(*names: str) -> Callable[[Columns], Floats]:
    return lambda columns: sum((columns[name] for name in names), np.zeros_like(columns["alive"]))


def _constant(value: float) -> Callable[[Columns], Floats]:
    return lambda columns: np.full_like(columns["alive"], value)


def _memory() -> Iterator[Series]:
    for word, short in (("correctable", "ce"), ("uncorrectable", "ue")):
        for controller in ("0", "1"):
            rows = [row for row in physics.CSROWS if row[0] == controller]
            yield Series(
                "node", f"node_edac_{word}_errors_total", {"controller": controller}, "counter",
                _total(*(f"{short}_{'_'.join(row)}" for row in rows)),
            )  # fmt: skip
        for controller, csrow in physics.CSROWS:
            yield Series(
                "node", f"node_edac_csrow_{word}_errors_total", {"controller": controller, "csrow": csrow}, "counter",
                _column(f"{short}_{controller}_{csrow}"),
            )  # fmt: skip


def _network() -> Iterator[Series]:
    for metric, column in (
        ("node_network_receive_errs_total", "rx_errs"),
        ("node_network_transmit_errs_total", "tx_errs"),
        ("node_network_receive_drop_total", "rx_drop"),
        ("node_network_carrier_changes_total", "carrier"),
    ):
        for nic in physics.NICS:
            yield Series("node", metric, {"device": nic}, "counter", _column(f"{nic}_{column}"))
    for nic in physics.NICS:
        yield Series("node", "node_network_up", {"device": nic}, "gauge", _column(f"{nic}_up"))
        yield Series("node", "node_network_speed_bytes", {"device": nic}, "gauge", _constant(1.25e9))


_ATTRIBUTES = (
    ("5", "Reallocated_Sector_Ct", "PO--CK", "reallocated"),
    ("187", "Reported_Uncorrect", "-O--CK", "uncorrect"),
    ("188", "Command_Timeout", "-O--CK", "timeout"),
    ("197", "Current_Pending_Sector", "-O--C-", "pending"),
    ("198", "Offline_Uncorrectable", "----C-", "offline"),
)


def _disks() -> Iterator[Series]:
    disks = (*physics.SATA_DISKS, physics.NVME_DISK)
    for disk in disks:
        ok = _column(f"{disk}_ok") if disk in physics.SATA_DISKS else _constant(1.0)
        yield Series("node", "smartctl_device_smart_status", {"device": disk}, "gauge", ok)
        yield Series(
            "node", "smartctl_device_temperature", {"device": disk, "temperature_type": "current"}, "gauge",
            _floor(f"{disk}_temp"),
        )  # fmt: skip
        yield Series(
            "node", "smartctl_device_power_on_seconds", {"device": disk}, "counter", _column(f"{disk}_power_on")
        )
    for disk in physics.SATA_DISKS:
        for id_, name, flags, column in _ATTRIBUTES:
            labels = {
                "attribute_flags_short": flags, "attribute_id": id_, "attribute_name": name, "device": disk,
            }  # fmt: skip
            values = [("raw", _column(f"{disk}_{column}"))]
            if id_ == "5":
                values += [
                    ("value", _column(f"{disk}_health")),
                    ("thresh", _constant(float(physics.SMART_THRESHOLD))),
                ]
            for value_type, value in values:
                full = {**labels, "attribute_value_type": value_type}
                yield Series("node", "smartctl_device_attribute", full, "gauge", value)
    for metric, value in (
        ("smartctl_device_percentage_used", _column("nvme0_used")),
        ("smartctl_device_available_spare", _column("nvme0_spare")),
        ("smartctl_device_available_spare_threshold", _constant(10.0)),
        ("smartctl_device_media_errors", _column("nvme0_media_errors")),
        ("smartctl_device_critical_warning", _constant(0.0)),
    ):
        yield Series("node", metric, {"device": physics.NVME_DISK}, "gauge", value)


def _processor() -> Iterator[Series]:
    throttles = _column("throttles")
    yield Series("node", "node_cpu_core_throttles_total", {"core": "0", "package": "0"}, "counter", throttles)
    yield Series("node", "node_cpu_package_throttles_total", {"package": "0"}, "counter", throttles)


def _sensors() -> Iterator[Series]:
    for sensor in sensors.ANALOG:
        labels = {"id": str(sensors.SENSOR_NUMBER[sensor.signal]), "name": sensor.name}
        yield Series("ipmi", sensor.metric, labels, "gauge", _sensed(sensor.signal))
        state = f"{sensor.metric.rsplit('_', 1)[0]}_state"
        yield Series("ipmi", state, labels, "gauge", _state(sensor.signal))
    for sensor in sensors.DISCRETE:
        labels = {"id": str(sensors.SENSOR_NUMBER[sensor.signal]), "name": sensor.name, "type": sensor.exporter_type}
        yield Series("ipmi", "ipmi_sensor_state", labels, "gauge", _constant(0.0))
    yield Series("ipmi", "ipmi_sel_logs_count", {}, "gauge", _constant(0.0))
    yield Series("ipmi", "ipmi_chassis_power_state", {}, "gauge", _constant(1.0))
    for collector in ("ipmi", "sel", "bmc", "chassis"):
        yield Series("ipmi", "ipmi_up", {"collector": collector}, "gauge", _constant(1.0))


TEXTFILE: tuple[Series, ...] = (*_memory(), *_network(), *_disks(), *_processor())
"""Served by node_exporter's textfile collector, with the boot time (see `textfile`)."""

SENSORS: tuple[Series, ...] = tuple(_sensors())
"""Served by prometheus-ipmi-exporter, from the BMC. Discrete states and SEL count are as healthy hardware has them."""


def textfile(boot_time: float, columns: Columns) -> str:
    """What node_exporter's textfile collector is to serve, from columns of one moment (shape (1,)).

    Text exposition format; the help of every metric names it synthetic."""
    lines: list[str] = []
    previous = ""
    for series in (_boot(boot_time), *sorted(TEXTFILE, key=lambda series: series.metric)):
        if series.metric != previous:
            lines += [
                f"# HELP {series.metric} Synthetic: simulated hardware of a lifeboat lab.",
                f"# TYPE {series.metric} {series.kind}",
            ]
            previous = series.metric
        lines.append(f"{series.selector()} {float(series.value(columns)[0]):.10g}")
    return "\n".join(lines) + "\n"


def _boot(boot_time: float) -> Series:
    return Series("node", "node_boot_time_seconds", {}, "gauge", _constant(boot_time))


def all_series(boot_time: float) -> tuple[Series, ...]:
    """Every hardware series of one node."""
    return (_boot(boot_time), *TEXTFILE, *SENSORS)
