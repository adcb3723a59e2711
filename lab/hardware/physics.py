"""How healthy and failing server hardware reads: SYNTHETIC telemetry as a pure function of (machine, time, faults).

One function, `readings`, serves the live sensors, the backfilled history and replays at scale (`simulate`), so they
join without a seam. Any moment can be asked for alone; the same question always has the same answer (`lab.hardware.noise`).
These are plausible courses, not measurements: nothing learned from them says how a real fleet fails. What is taken
from a source is:

- **Rails.** ATX12V Power Supply Design Guide (2.0, table 2): +12 V 11.40–12.60, +5 V 4.75–5.25, +3.3 V 3.14–3.47, each
  ±5 %. Ripple and noise at most 120 mVpp on +12 V and 50 mVpp on the others (ATX design guide 1.1, table 11): healthy
  rails here stay inside both. A PSU near its end of life sags and its ripple grows, as electrolytic capacitors lose
  capacitance and gain series resistance; the pace is the `Fault`'s, the size is chosen so that the flutter ends just
  above 11.40 V.
- **PSU input.** 230 V ±10 % (EN 50160): 207–253 V. Input power = output / efficiency, with 0.92 near half load (80 PLUS
  Platinum, 230 V redundant, asks 94 % at half and 91 % at full load); current = power / voltage, power factor 0.98.
- **Inlet.** ASHRAE TC 9.9: recommended 18–27 °C, class A2 allows 10–35 °C. Here 21–26 °C with a daily swing.
- **CPU, PSU, fans.** Chosen: a fan curve over inlet and load, temperatures over inlet, load and air flow.
- **DIMM.** Schroeder, Pinheiro, Weber, "DRAM errors in the wild", SIGMETRICS 2009: about a third of machines and over
  8 % of DIMMs see a correctable error in a year, 1.3 % of machines an uncorrectable one. Healthy machines here get
  correctable errors at -ln(2/3) = 0.405 a year and no uncorrectable one. A failing DIMM's errors repeat at one place
  and accelerate (the paper: errors are mostly hard, and strongly correlated in time).
- **Disk.** Backblaze, "What SMART stats tell us about hard drives" (2016): attributes 5, 187, 188, 197, 198, for each
  of which a raw value above zero is their reason to investigate. Healthy disks stay at zero, but for one in twelve
  with a few sectors reallocated long ago. A failing one first has sectors pending (197) and reallocated (5), later
  reports uncorrectable reads (187, 198).
- **NIC.** IEEE 802.3 asks for a bit error ratio of 10^-12 or better at gigabit speeds; healthy links are far better:
  10^-15 of 1 Gbit/s here, an error in about eleven days. A failing one first drops frames with bad checksums, later
  flaps.
- **Feed.** EN 50160 as above: the voltage sags and flutters within 207–253 V, later falls out of it and drops out.

Faults are silent at first: through the flutter no sensor crosses a threshold of `lab.hardware.sensors` and
`lab.hardware.kernel_log` writes nothing. That is the one simplification to know: a real kernel logs each correctable error,
unless told not to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lab.hardware import noise, sensors
from lab.hardware.noise import Floats
from lab.hardware.trajectory import Fault

SATA_DISKS = ("sda", "sdb")
NVME_DISK = "nvme0"
NICS = ("eno1", "eno2")
CSROWS = (("0", "0"), ("0", "1"), ("1", "0"), ("1", "1"))
"""(memory controller, csrow) as EDAC counts them."""

FAILING_PSU, FAILING_FAN, FAILING_CSROW, FAILING_DISK, FAILING_NIC = 1, 2, ("0", "1"), "sda", "eno1"
"""Which part each fault kind hits."""

SMART_THRESHOLD = 10
"""Normalised value at and below which the vendor calls attribute 5 failed."""

FLAP_SECONDS = 12.0
"""A flapping link goes down once in this time, at the start of it, for a quarter of it."""

Columns = dict[str, Floats]
_YEAR, _DAY = 365.25 * 86400.0, 86400.0


@dataclass(frozen=True)
class Machine:
    """One simulated server. `epoch` (Unix seconds) only places its boot, some days before."""

    node: str
    seed: int
    epoch: float

    def key(self, what: str) -> int:
        return noise.key(self.seed, self.node, what)

    def trait(self, what: str, low: float, high: float) -> float:
        """What makes this machine differ from its neighbours: drawn once, uniformly."""
        return low + (high - low) * noise.once(self.key(what))

    @property
    def boot_time(self) -> float:
        return float(round(self.epoch - self.trait("uptime", 3.0, 60.0) * _DAY))


class _Effects(defaultdict[str, Floats]):
    """What the faults do, each a sum over faults; zero where none does anything."""

    def __init__(self, t: Floats) -> None:
        super().__init__(lambda: np.zeros_like(t))

    def add(self, name: str, amount: Floats) -> None:
        self[name] = self[name] + amount


def readings(machine: Machine, t: Floats, faults: Iterable[Fault] = ()) -> Columns:
    """Every quantity of one machine at the times `t` (Unix seconds, shape (n,)), each with shape (n,).

    Analog ones are in the unit of their sensor, not yet rounded to its steps; `*_status` are bits; counters count
    since boot and never fall (SMART's do when a failing disk is replaced). Faults of other nodes are ignored.
    `alive` is 0 from a fault's death on; the other columns are then meaningless."""
    mine = [fault for fault in faults if fault.node == machine.node]
    effects = _Effects(t)
    alive = np.ones_like(t)
    for fault in mine:
        _EFFECTS[fault.kind](fault, t, effects)
        if fault.death_at is not None and (fault.cleared_at is None or fault.cleared_at > fault.death_at):
            alive = alive * (t < fault.death_at)
    columns = _environment(machine, t, effects) | _memory(machine, t, effects)
    columns |= _disks(machine, t, effects) | _network(machine, t, effects) | _status(effects)
    columns["alive"] = alive
    return columns


# ---- faults: what each does as it progresses (u: flutter 0..1, v: errors 0..1) ----


def _psu(fault: Fault, t: Floats, effects: _Effects) -> None:
    on, u, v, erring = fault.active(t), fault.flutter(t), fault.errors(t), fault.erring(t)
    effects.add("psu1_sag", on * (0.06 + 0.44 * u) + erring * (0.16 + 0.85 * v))
    effects.add("psu1_flutter", on * (0.05 + 0.05 * u) + erring * 0.25 * v)
    effects.add("psu1_heat", on * 8.0 * u + erring * 18.0 * v)
    effects.add("psu1_loss", on * 0.05 * u + erring * 0.10 * v)
    effects.add("psu1_shift", on * 0.15 * u + erring * 0.25 * v)  # its neighbour takes over the load
    effects.add("bus_sag", erring * 0.20 * v)  # the two share one bus, which the failing one drags down
    effects.add("psu1_predictive", erring)
    effects.add("psu1_failure", erring * (v > 0.5))


def _power(fault: Fault, t: Floats, effects: _Effects) -> None:
    on, u, v, erring = fault.active(t), fault.flutter(t), fault.errors(t), fault.erring(t)
    # The sag outgrows what else moves the voltage: it deepens by 2.75 V over a quarter of the flutter, where the mains wander by
    # 2.1 V at most, and by 5 V over a quarter of the errors, whose flutter strays by under 1 V on average.
    effects.add("vin_sag", on * (2.0 + 11.0 * u) + erring * (14.0 + 20.0 * v))
    effects.add("vin_flutter", on * (1.0 + 2.0 * u) + erring * 5.0 * v)
    # Drop-outs of a few seconds, more and more of them: independent draws would now and then give fewer later on.
    # The second feed goes first. Never both: that is death.
    draw = noise.spread(noise.key(fault.node, "dropout"), np.floor(t / 4.0).astype(np.int64))
    effects.add("psu2_lost", erring * (draw < np.clip(1.2 * (v - 0.25), 0.0, 0.7)))
    effects.add("psu1_lost", erring * (draw > 1.0 - np.clip(0.8 * (v - 0.6), 0.0, 0.3)))


def _fan(fault: Fault, t: Floats, effects: _Effects) -> None:
    on, u, v, erring = fault.active(t), fault.flutter(t), fault.errors(t), fault.erring(t)
    effects.add("fan_drop", on * (0.02 + 0.34 * u) + erring * (0.32 + 0.26 * v))
    effects.add("fan_wobble", on * (0.02 + 0.05 * u))
    effects.add("fan_boost", on * 0.22 * u)  # the controller speeds up the others
    effects.add("cpu_heat", on * 9.0 * u + erring * (16.0 + 34.0 * v))
    effects.add("chassis_heat", on * 4.0 * u + erring * 8.0 * v)
    effects.add("throttles", 250.0 * np.clip(v - 0.5, 0.0, 1.0) ** 1.5)


def _dimm(fault: Fault, t: Floats, effects: _Effects) -> None:
    u, v, erring = fault.flutter(t), fault.errors(t), fault.erring(t)
    effects.add("ce", 8.0 * u + 30.0 * u**2 + 40.0 * v + 3000.0 * v**1.5)
    effects.add("ue", 4.0 * np.clip(v - 0.6, 0.0, 1.0))
    effects.add("memory_limit", erring * (v > 0.1))
    effects.add("memory_correctable", erring)
    effects.add("memory_uncorrectable", erring * (v > 0.8))


def _disk(fault: Fault, t: Floats, effects: _Effects) -> None:
    on, u, v, erring = fault.active(t), fault.flutter(t), fault.errors(t), fault.erring(t)
    # `on` everywhere: the disk that replaces it brings counts of its own, unlike the kernel's error counters.
    effects.add("reallocated", on * (8.0 * u + 30.0 * u**2 + 900.0 * v**1.5))
    effects.add("pending", on * (5.0 * u + 12.0 * u**2 + 240.0 * v))
    effects.add("uncorrect", on * 45.0 * v)
    effects.add("timeout", on * 12.0 * v)
    effects.add("disk_heat", on * 5.0 * u + erring * 4.0 * v)
    effects.add("disk_predictive", erring)
    effects.add("disk_fault", erring * (v > 0.6))


def _nic(fault: Fault, t: Floats, effects: _Effects) -> None:
    u, v = fault.flutter(t), fault.errors(t)
    effects.add("crc", 40.0 * u + 400.0 * u**2 + 6000.0 * v)
    down = link_down(fault, t)
    flaps = np.floor(fault.seconds_erring(t) / FLAP_SECONDS) + (t >= fault.errors_at)
    effects.add("nic_down", down)
    effects.add("carrier", 2.0 * flaps - down)


def link_down(fault: Fault, t: Floats) -> Floats:
    """1 while a failing NIC's link is down: the first quarter of every `FLAP_SECONDS` of the error phase."""
    return fault.erring(t) * (np.mod(fault.seconds_erring(t), FLAP_SECONDS) < FLAP_SECONDS / 4.0)


_EFFECTS: dict[str, Callable[[Fault, Floats, _Effects], None]] = {
    "psu": _psu, "power": _power, "fan": _fan, "dimm": _dimm, "disk": _disk, "nic": _nic,
}  # fmt: skip


# ---- healthy behaviour, with the effects added ----


def _environment(machine: Machine, t: Floats, effects: _Effects) -> Columns:
    day = 2.0 * np.pi * (t / _DAY + machine.trait("phase", -0.05, 0.05))
    load = machine.trait("load", 0.30, 0.45) + 0.12 * np.sin(day - 2.3)
    load = load + 0.03 * noise.wander(machine.key("load/hour"), t, 3600.0)
    load = np.clip(load + 0.015 * noise.wander(machine.key("load/5min"), t, 300.0), 0.15, 0.85)
    inlet = machine.trait("inlet", 22.5, 24.5) + 0.8 * np.sin(day - 2.0)
    inlet = inlet + 0.25 * noise.wander(machine.key("inlet"), t, 1800.0)
    watts = 180.0 + 160.0 * load

    columns: Columns = {"load": load, "inlet_temp": inlet}
    columns["cpu_temp"] = np.minimum(
        inlet + 18.0 + 22.0 * load + 0.5 * noise.wander(machine.key("cpu"), t, 60.0) + effects["cpu_heat"], 104.0
    )
    for fan in (1, 2, 3):
        curve = machine.trait(f"fan{fan}", 2950.0, 3050.0) + 110.0 * (inlet - 15.0) + 3200.0 * load
        failing = fan == FAILING_FAN
        wobble = effects["fan_wobble"] * _unit(machine.key("wobble"), t) if failing else 0.0
        change = -np.minimum(effects["fan_drop"], 0.98) + wobble if failing else effects["fan_boost"]
        columns[f"fan{fan}"] = np.maximum(
            curve * (1.0 + change) + 15.0 * noise.white(machine.key(f"fan{fan}"), t, 2.0), 0.0
        )

    shared_feed = effects["vin_flutter"] * _unit(machine.key("feed"), t)
    lost = {psu: effects[f"psu{psu}_lost"] for psu in (1, 2)}
    for psu in (1, 2):
        share = 0.5 + (-effects["psu1_shift"] if psu == FAILING_PSU else effects["psu1_shift"])
        share = np.clip(share * (1.0 - lost[psu]) + lost[3 - psu] * (1.0 - share), 0.0, 1.0)
        volts = machine.trait("vin", 229.0, 231.5) + 0.7 * noise.wander(machine.key("vin"), t, 900.0)
        volts = volts + 0.4 * noise.white(machine.key(f"vin{psu}"), t, 2.0) - effects["vin_sag"] + shared_feed
        power = watts * share / (0.92 - effects[f"psu{psu}_loss"])
        columns[f"psu{psu}_vin"] = volts * (1.0 - lost[psu])
        columns[f"psu{psu}_pin"] = power
        columns[f"psu{psu}_iin"] = power / (np.maximum(volts, 1.0) * 0.98)
        columns[f"psu{psu}_temp"] = (
            inlet + 11.0 + 0.03 * power + 0.3 * noise.wander(machine.key(f"psu{psu}/temp"), t, 300.0)
            + effects[f"psu{psu}_heat"] + effects["chassis_heat"]
        )  # fmt: skip
        rail = machine.trait(f"psu{psu}/12v", 12.09, 12.13) - 0.08 * (share - 0.35)
        rail = rail + 0.004 * noise.wander(machine.key(f"psu{psu}/12v"), t, 600.0)
        rail = rail + 0.003 * noise.white(machine.key(f"psu{psu}/ripple"), t)
        rail = rail - effects[f"psu{psu}_sag"] - effects["bus_sag"]
        rail = rail + effects[f"psu{psu}_flutter"] * _unit(machine.key(f"psu{psu}/flutter"), t)
        columns[f"psu{psu}_12v"] = rail * (1.0 - lost[psu])
    droop = 0.05 * effects["psu1_sag"]  # the board's converters hide most of what happens to the 12 V rail
    for column, low, high in (("rail_5v", 5.03, 5.06), ("rail_3v3", 3.31, 3.33)):
        columns[column] = (
            machine.trait(column, low, high) + 0.002 * noise.wander(machine.key(column), t, 600.0)
            + 0.001 * noise.white(machine.key(column + "/ripple"), t) - droop
        )  # fmt: skip
    columns["throttles"] = noise.arrivals(machine.key("throttles"), effects["throttles"])
    return columns


def _unit(key_: int, t: Floats) -> Floats:
    """A flutter within ±1: a wander over some seconds with a jump every second on top."""
    return np.clip((0.6 * noise.wander(key_, t, 7.0) + 0.4 * noise.white(key_ ^ 1, t)) / 1.5, -1.0, 1.0)


def _memory(machine: Machine, t: Floats, effects: _Effects) -> Columns:
    columns: Columns = {}
    uptime = t - machine.boot_time
    for row in CSROWS:
        name = "_".join(row)
        failing = row == FAILING_CSROW
        rate = 0.405 / _YEAR / len(CSROWS)
        columns[f"ce_{name}"] = noise.arrivals(machine.key(f"ce/{name}"), np.maximum(rate * uptime, 0.0))
        if failing:
            columns[f"ce_{name}"] += noise.arrivals(machine.key("ce/fault"), effects["ce"])
        columns[f"ue_{name}"] = noise.arrivals(machine.key("ue/fault"), effects["ue"]) if failing else np.zeros_like(t)
    return columns


def _disks(machine: Machine, t: Floats, effects: _Effects) -> Columns:
    columns: Columns = {}
    inlet = machine.trait("inlet", 22.5, 24.5)
    for disk in (*SATA_DISKS, NVME_DISK):
        failing = disk == FAILING_DISK
        columns[f"{disk}_temp"] = (
            inlet + (14.0 if disk == NVME_DISK else 8.0) + 0.8 * noise.wander(machine.key(f"{disk}/temp"), t, 1800.0)
            + (effects["disk_heat"] if failing else 0.0)
        )  # fmt: skip
        age = machine.trait(f"{disk}/age", 0.2, 4.0) * _YEAR
        columns[f"{disk}_power_on"] = np.floor(age + (t - machine.boot_time))
        if disk == NVME_DISK:
            used = np.floor(machine.trait("wear", 2.0, 30.0) + (t - machine.boot_time) / _YEAR * 6.0)
            columns["nvme0_used"] = used
            columns["nvme0_spare"] = np.full_like(t, 100.0)
            columns["nvme0_media_errors"] = np.zeros_like(t)
            continue
        old = 8.0 if machine.trait(f"{disk}/old", 0.0, 1.0) < 1.0 / 12.0 else 0.0
        for column in ("reallocated", "pending", "uncorrect", "timeout"):
            counted = noise.arrivals(machine.key(f"{disk}/{column}"), effects[column]) if failing else np.zeros_like(t)
            columns[f"{disk}_{column}"] = counted + (old if column == "reallocated" else 0.0)
        columns[f"{disk}_offline"] = np.floor(0.4 * columns[f"{disk}_uncorrect"])
        health = np.clip(100.0 - np.floor(columns[f"{disk}_reallocated"] / 8.0), 1.0, 100.0)
        columns[f"{disk}_health"] = health
        columns[f"{disk}_ok"] = (health > SMART_THRESHOLD).astype(np.float64)
    return columns


def _network(machine: Machine, t: Floats, effects: _Effects) -> Columns:
    columns: Columns = {}
    uptime = np.maximum(t - machine.boot_time, 0.0)
    for nic in NICS:
        failing = nic == FAILING_NIC
        errors = noise.arrivals(machine.key(f"{nic}/crc"), uptime * 1e-15 * 1e9)
        if failing:
            errors = errors + noise.arrivals(machine.key("crc/fault"), effects["crc"])
        columns[f"{nic}_rx_errs"] = errors
        columns[f"{nic}_rx_drop"] = np.floor(errors * 0.1)
        columns[f"{nic}_tx_errs"] = np.floor(effects["carrier"] * 1.5) if failing else np.zeros_like(t)
        columns[f"{nic}_carrier"] = 2.0 + (effects["carrier"] if failing else np.zeros_like(t))
        columns[f"{nic}_up"] = 1.0 - effects["nic_down"] if failing else np.ones_like(t)
    return columns


def _status(effects: _Effects) -> Columns:
    def bits(*pairs: tuple[int, str]) -> Floats:
        total = np.zeros_like(effects[pairs[0][1]])
        for mask, name in pairs:
            total = total + mask * (effects[name] > 0.0)
        return total

    return {
        "psu1_status": sensors.PSU_PRESENT
        + bits(
            (sensors.PSU_PREDICTIVE, "psu1_predictive"),
            (sensors.PSU_FAILURE, "psu1_failure"),
            (sensors.PSU_INPUT_LOST, "psu1_lost"),
        ),
        "psu2_status": sensors.PSU_PRESENT + bits((sensors.PSU_INPUT_LOST, "psu2_lost")),
        "memory_status": bits(
            (sensors.MEMORY_CORRECTABLE, "memory_correctable"),
            (sensors.MEMORY_UNCORRECTABLE, "memory_uncorrectable"),
            (sensors.MEMORY_LOGGING_LIMIT, "memory_limit"),
        ),
        "disk_status": sensors.DRIVE_PRESENT
        + bits((sensors.DRIVE_PREDICTIVE, "disk_predictive"), (sensors.DRIVE_FAULT, "disk_fault")),
    }


@dataclass(frozen=True)
class Replay:
    """Synthetic telemetry of many nodes. `columns[name]` has shape (nodes, times), NaN once a node is dead."""

    nodes: tuple[str, ...]
    times: Floats
    """Unix seconds."""
    columns: dict[str, NDArray[np.float32]]


def simulate(
    nodes: Sequence[str],
    start: float,
    end: float,
    step: float,
    faults: Iterable[Fault] = (),
    *,
    seed: int = 0,
    columns: Sequence[str] | None = None,
) -> Replay:
    """Telemetry of `nodes` from `start` up to, not including, `end` (Unix seconds), one row every `step` seconds.

    Analog sensors are rounded to their BMC's steps, as a scrape would see them. `columns` keeps only those asked for;
    all 65 take 375 kB per node-day at 60 s. Counters are cut to float32: exact to 16.7 million."""
    times = np.arange(start, end, step, dtype=np.float64)
    by_node: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        by_node[fault.node].append(fault)
    kept: dict[str, NDArray[np.float32]] = {}
    for row, node in enumerate(nodes):
        values = readings(Machine(node, seed, start), times, by_node[node])
        dead = values["alive"] == 0.0
        for name in columns if columns is not None else values:
            column = as_sensed(name, values[name])
            table = kept.setdefault(name, np.empty((len(nodes), len(times)), dtype=np.float32))
            table[row] = np.where(dead & (name != "alive"), np.nan, column)
    return Replay(tuple(nodes), times, kept)


def as_sensed(column: str, values: Floats) -> Floats:
    """The values as the BMC's sensor shows them, in its steps; columns without a sensor unchanged."""
    sensor = sensors.BY_SIGNAL.get(column)
    if sensor is None:
        return values
    raw = np.clip(np.round((values - sensor.offset) / sensor.step), 0, 255)
    return np.round(raw * sensor.step + sensor.offset, sensor.decimals)


def as_state(column: str, values: Floats) -> Floats:
    """What the BMC calls these values by its own thresholds, as ipmi_exporter shows it: 0 nominal, 1 warning, 2 critical."""
    sensed = as_sensed(column, values)
    state = np.zeros_like(sensed)
    for name, limit in sensors.BY_SIGNAL[column].thresholds.items():
        beyond = sensed <= limit if name.startswith("l") else sensed >= limit
        state = np.maximum(state, beyond * (1.0 if name.endswith("nc") else 2.0))
    return state
