"""What healthy machines do to their telemetry all the same: coarse sensors, load that comes and goes,
reboots, exporters that restart, BMCs that reset themselves, single wild readings. Pure and SYNTHETIC.

Everything is drawn by `lab.hardware.noise`: the same machine has the same day each time it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lab.hardware import noise
from lab.hardware.noise import Floats
from lab.hardware.physics import Machine
from models.risk.signal import Signal, SignalHistory, SignalKind

Bools = NDArray[np.bool_]

_DAY = 86_400.0
RESET_SECONDS, ZERO_SECONDS = 150.0, 100.0
"""A BMC that resets is silent for so long, and then reads 0 for so long before its sensors are back."""
REBOOT_SECONDS = 420.0
_STEPS = {"V": 0.06, "°C": 1.0, "rpm": 120.0}
"""Steps of coarse sensors, by unit."""
_LOAD = {
    # signal: what full load adds in the signal's unit
    "cpu_temperature_celsius": 24.0,
    "inlet_temperature_celsius": 1.0,
    "psu_temperature_celsius": 8.0,
    "fan_speed_rpm": 2600.0,
    "psu_12v_volts": -0.08,
    "rail_5v_volts": -0.02,
    "rail_3v3_volts": -0.01,
    "psu_input_volts": -1.5,
    "disk_temperature_celsius": 4.0,
}


def disturbed(machine: Machine, histories: Sequence[SignalHistory], *, scrape: float) -> list[SignalHistory]:
    """A healthy machine's histories as they would have been on a machine like others; scraped every `scrape` seconds."""
    if not histories:
        return []
    times = histories[0].times
    load, rebooting, since_boot = _load(machine, times), _rebooting(machine, times), _since_boot(machine, times)
    silent, zero = _bmc(machine, times)
    coarse = machine.trait("coarse", 0.0, 1.0) < 0.5
    found: list[SignalHistory] = []
    for history in histories:
        signal, part = history.signal, history.part
        values = history.values + load * _LOAD.get(signal.name, 0.0)
        if coarse and signal.unit in _STEPS and not (signal.unit == "V" and abs(float(np.nanmedian(values))) > 40.0):
            values = np.round(values / _STEPS[signal.unit]) * _STEPS[signal.unit]
        is_bmc = signal.exporter == "ipmi_exporter"
        if is_bmc:
            values = np.where(zero, _after_reset(machine, signal), values)
            values = np.where(silent, np.nan, values)
        else:
            values = _after_boot(machine, signal, part, values, since_boot)
            values = np.where(rebooting, np.nan, values)
        values = _wild(machine, signal, part, times, values, scrape) if is_bmc and not signal.own_word else values
        values = np.where(_exporter_gone(machine, signal.exporter, times, scrape), np.nan, values)
        found.append(SignalHistory(signal, history.node, part, times, values))
    return found


def moments(machine: Machine, at: float) -> tuple[float, float]:
    """When the BMC resets and when the machine would reboot on the day of `at` (unix seconds)."""
    day = np.array([np.floor(at / _DAY)])
    return float(_moment(machine, "bmc", day)[0]), float(_moment(machine, "reboot", day)[0])


def _moment(machine: Machine, what: str, day: Floats) -> Floats:
    """One moment in each of these days (numbers of days since 1970), unix seconds."""
    return (day + 0.05 + 0.9 * noise.uniform(machine.key(what), day.astype(np.int64))) * _DAY


def _load(machine: Machine, times: Floats) -> Floats:
    """0 idle to 1 full: jobs that begin and end at odd times, and what heat and fans lag behind them."""
    lags: Floats = np.zeros_like(times)
    for lag, weight in ((0.0, 0.4), (45.0, 0.3), (120.0, 0.3)):
        slot = np.floor((times - lag) / machine.trait("job", 900.0, 5400.0)).astype(np.int64)
        lags = lags + weight * (noise.uniform(machine.key("jobs"), slot) > 0.6)
    return lags


def _rebooting(machine: Machine, times: Floats) -> Bools:
    return _since_boot(machine, times) < 0.0


def _since_boot(machine: Machine, times: Floats) -> Floats:
    """Seconds since this day's reboot ended, negative while it lasts; a large number on days without one."""
    day = np.floor(times / _DAY)
    begun = _moment(machine, "reboot", day)
    happens = noise.uniform(machine.key("reboots"), day.astype(np.int64)) < 0.5
    since = times - begun - REBOOT_SECONDS
    return np.where(happens & (times >= begun), since, 1e9)


def _bmc(machine: Machine, times: Floats) -> tuple[Bools, Bools]:
    """(silent, reading 0): one reset a day."""
    since = times - _moment(machine, "bmc", np.floor(times / _DAY))
    silent = (since >= 0.0) & (since < RESET_SECONDS)
    return silent, (since >= RESET_SECONDS) & (since < RESET_SECONDS + ZERO_SECONDS)


def _after_reset(machine: Machine, signal: Signal) -> float:
    """What a sensor reads before it is read for the first time; some BMCs call that critical."""
    if signal.own_word:
        return 2.0 if machine.trait("alarms", 0.0, 1.0) < 0.3 and signal.name != "psu_status" else 0.0
    return 0.0


def _after_boot(machine: Machine, signal: Signal, part: str, values: Floats, since: Floats) -> Floats:
    """Counters begin at 0 again; links come up after a few tries, which the counter tells at once."""
    if signal.kind is SignalKind.COUNTER and not signal.name.startswith(("disk_", "nvme_", "scsi_")):
        booted = (since >= 0.0) & (since < 1e8)
        return np.where(booted, 0.0, values)
    if signal.name == "nic_carrier_changes_per_hour":
        tries = 1.0 + np.floor(7.0 * noise.once(machine.key(f"links/{part}")))
        return values + np.where((since >= 0.0) & (since < 300.0), tries * 12.0, 0.0)
    return values


def _wild(machine: Machine, signal: Signal, part: str, times: Floats, values: Floats, scrape: float) -> Floats:
    """Now and then one reading that means nothing: 0, or the sensor's end."""
    slot = np.floor(times / scrape).astype(np.int64)
    key = machine.key(f"wild/{signal.name}/{part}")
    happens = noise.uniform(key, slot) < 0.3 * scrape / _DAY
    return np.where(happens, np.where(noise.uniform(key ^ 1, slot) < 0.5, 0.0, 2.1 * np.abs(values)), values)


def _exporter_gone(machine: Machine, exporter: str, times: Floats, scrape: float) -> Bools:
    """It restarts twice a day and misses a scrape or two."""
    gone = np.zeros(times.shape, dtype=bool)
    for which, missed in (("a", 2.0), ("b", 1.2)):
        since = times - _moment(machine, f"restart/{exporter}/{which}", np.floor(times / _DAY))
        gone |= (since >= 0.0) & (since < missed * scrape)
    return gone
