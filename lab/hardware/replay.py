"""What the lab's Prometheus would answer about simulated machines, without a Prometheus. Pure and SYNTHETIC.

For tests and benches that replay hundreds of node-days: the shipped signals of `tools.signals`, computed from
`lab.hardware.physics` as their PromQL would from `lab.hardware.series`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from lab.hardware import physics, sensors
from lab.hardware.noise import Floats
from lab.hardware.physics import Columns
from models.risk.signal import Signal, SignalHistory

RATE_WINDOW, DEFECTS_WINDOW = 300.0, 600.0
"""The [5m] and [10m] of the shipped PromQL."""

_NAMED = {
    "psu_12v_volts": ("psu1_12v", "psu2_12v"),
    "rail_5v_volts": ("rail_5v",),
    "rail_3v3_volts": ("rail_3v3",),
    "psu_input_volts": ("psu1_vin", "psu2_vin"),
    "psu_input_current_amperes": ("psu1_iin", "psu2_iin"),
    "psu_input_watts": ("psu1_pin", "psu2_pin"),
    "inlet_temperature_celsius": ("inlet_temp",),
    "cpu_temperature_celsius": ("cpu_temp",),
    "psu_temperature_celsius": ("psu1_temp", "psu2_temp"),
    "fan_speed_rpm": ("fan1", "fan2", "fan3"),
}
_SMART = {
    "disk_reallocated_sectors": "reallocated",
    "disk_reported_uncorrectable": "uncorrect",
    "disk_command_timeouts": "timeout",
    "disk_pending_sectors": "pending",
    "disk_offline_uncorrectable": "offline",
    "disk_smart_status": "ok",
    "disk_temperature_celsius": "temp",
}


def grid(now: float, *, interval: float, recent: float = 1800.0, day_step: float = 300.0) -> Floats:
    """The times an observation reads: the last day every `day_step`, its end every `interval` seconds."""
    return np.concatenate(
        (np.arange(now - 86_400.0, now - recent - interval / 2, day_step), np.arange(now - recent, now + 0.1, interval))
    )


def histories(
    machine: physics.Machine,
    times: Floats,
    faults: Iterable[physics.Fault] = (),
    *,
    signals: Sequence[Signal],
    scrape: float = 0.0,
) -> list[SignalHistory]:
    """The histories of one machine at `times` (unix seconds, ascending); a dead machine's values are NaN.

    Signals that the lab's exporters don't have are left out. Rates are those of a machine that is scraped every `scrape` seconds.
    """
    faults = list(faults)

    def read(at: Floats) -> Columns:
        return physics.readings(machine, at, faults)

    now = read(times)
    histories: list[SignalHistory] = []
    by_name = {signal.name: signal.with_window(scrape) for signal in signals}
    window, defects = (max(usual, 60.0 * np.ceil(3.0 * scrape / 60.0)) for usual in (RATE_WINDOW, DEFECTS_WINDOW))
    for name, part, values in _all(times, now, read, float(window), float(defects)):
        if name in by_name:
            alive = now["alive"] > 0
            histories.append(SignalHistory(by_name[name], machine.node, part, times, np.where(alive, values, np.nan)))
    return histories


def _all(
    times: Floats, now: Columns, read: Callable[[Floats], Columns], window: float, defects: float
) -> Iterator[tuple[str, str, Floats]]:
    for name, columns in _NAMED.items():
        for column in columns:
            yield name, sensors.BY_SIGNAL[column].name, physics.as_sensed(column, now[column])
    for psu in (1, 2):
        bits = now[f"psu{psu}_status"].astype(np.int64)
        failing = sensors.PSU_FAILURE | sensors.PSU_INPUT_LOST
        state = np.where(bits & failing, 2.0, np.where(bits & sensors.PSU_PREDICTIVE, 1.0, 0.0))
        yield "psu_status", f"PSU{psu} Status", state
    yield from _states(now)
    earlier = read(times - window)
    before = read(times - defects)
    per_hour = 3600.0 / window
    for controller in ("0", "1"):
        rows = ["_".join(row) for row in physics.CSROWS if row[0] == controller]
        corrected, was = (_sum(columns, [f"ce_{row}" for row in rows]) for columns in (now, earlier))
        yield "memory_corrected_errors", controller, corrected
        yield "memory_corrected_errors_per_hour", controller, (corrected - was) * per_hour
        yield "memory_uncorrected_errors", controller, _sum(now, [f"ue_{row}" for row in rows])
    for disk in physics.SATA_DISKS:
        for name, column in _SMART.items():
            yield name, disk, np.floor(now[f"{disk}_{column}"])
        grown = [now[f"{disk}_{c}"] - before[f"{disk}_{c}"] for c in ("reallocated", "uncorrect", "pending")]
        yield "disk_defects_per_hour", disk, np.sum(np.maximum(grown, 0.0), axis=0) * (3600.0 / defects)
    disk = physics.NVME_DISK
    yield "disk_temperature_celsius", disk, np.floor(now[f"{disk}_temp"])
    yield "nvme_spare_above_threshold", disk, now["nvme0_spare"] - 10.0
    yield "nvme_media_errors", disk, now["nvme0_media_errors"]
    for nic in physics.NICS:
        errors = (now[f"{nic}_rx_errs"] - earlier[f"{nic}_rx_errs"]) * per_hour
        yield "nic_receive_errors_per_hour", nic, errors
        yield "nic_receive_error_storm_per_hour", nic, errors
        yield "nic_carrier_changes_per_hour", nic, (now[f"{nic}_carrier"] - earlier[f"{nic}_carrier"]) * per_hour
        yield "nic_up", nic, now[f"{nic}_up"]
    yield "cpu_throttles_per_hour", "0", (now["throttles"] - earlier["throttles"]) * per_hour


_STATES = {
    "ipmi_voltage_volts": "rail_status",
    "ipmi_temperature_celsius": "temperature_status",
    "ipmi_fan_speed_rpm": "fan_status",
}
_STATES_OF = {"inlet_temp": "inlet_status", "cpu_temp": "cpu_temperature_status"}


def _states(now: Columns) -> Iterator[tuple[str, str, Floats]]:
    """What the BMC says of its analog sensors by its own thresholds, as ipmi_exporter shows it: 0, 1 or 2."""
    for sensor in sensors.ANALOG:
        if sensor.metric not in _STATES:
            continue
        yield (
            _STATES_OF.get(sensor.signal, _STATES[sensor.metric]),
            sensor.name,
            physics.as_state(sensor.signal, now[sensor.signal]),
        )


def _sum(columns: Mapping[str, Floats], names: Iterable[str]) -> Floats:
    return np.sum([columns[name] for name in names], axis=0)


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
