"""What each simulated BMC has: its sensors, their encoding and their thresholds, as data. Pure.

A sensor's reading is one byte; its SDR says what the byte means: ``value = step * raw + offset`` (IPMI v2.0, section
36.3, linear sensors). Steps are finer than on most real boards, so that a 1 % flutter of a 12 V rail (0.12 V) is six
steps and not two.

Sources of the thresholds:

- Output rails: ATX12V Power Supply Design Guide 2.0, table 2, DC output voltage regulation: +12 V, +5 V and +3.3 V each
  ±5 %, that is 11.40–12.60 V, 4.75–5.25 V and 3.14–3.47 V. The non-critical thresholds stand exactly there; the
  critical ones of the 12 V rails at -10 % and +8.3 %, which is the lab's choice.
- PSU input: EN 50160 gives 230 V ±10 % for 95 % of the 10-minute means of a week, that is 207–253 V.
- Inlet: ASHRAE Thermal Guidelines, class A2, allowable 10–35 °C; class A3 ends at 40 °C.
- CPU, PSU temperature, fan speed, input current and power: the lab's own choice, in the range boards ship with; vendors
  set these per model and publish no common limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

THRESHOLDS = ("lnc", "lcr", "lnr", "unc", "ucr", "unr")
"""IPMI's order: lower then upper; non-critical, critical, non-recoverable."""

Threshold = Literal["lnc", "lcr", "lnr", "unc", "ucr", "unr"]


@dataclass(frozen=True)
class Analog:
    """One threshold sensor (full sensor record)."""

    signal: str
    """The column of `lab.hardware.physics` it shows."""
    name: str
    """As operators see it. Mixed case: ipmi_sim garbles names of capitals and digits only."""
    metric: str
    """The exporter's metric."""
    sensor_type: int
    """IPMI table 42-3."""
    unit_code: int
    """IPMI table 43-15."""
    entity: int
    """IPMI table 43-13: what the sensor is part of."""
    step: float
    offset: float
    thresholds: dict[Threshold, float]
    """In the sensor's unit. Crossing one writes a SEL entry."""
    decimals: int
    hysteresis: int = 1
    """Steps beyond the threshold before it deasserts."""

    def encode(self, value: float) -> int:
        """The raw byte nearest to `value`; readings out of range stick to the ends."""
        return min(255, max(0, round((value - self.offset) / self.step)))

    def decode(self, raw: float) -> float:
        return round(self.step * raw + self.offset, self.decimals)


@dataclass(frozen=True)
class Discrete:
    """One sensor-specific discrete sensor (compact record, event/reading type 6Fh): bits rather than a value."""

    signal: str
    name: str
    sensor_type: int
    """IPMI table 42-3: 08h power supply, 0Ch memory, 0Dh drive slot."""
    exporter_type: str
    """The exporter's label `type`."""
    entity: int
    initial: int
    """The healthy bits; starting from them keeps a start-up from writing SEL entries."""


_VOLTAGE, _CURRENT, _FAN, _TEMPERATURE, _OTHER_UNITS = 0x02, 0x03, 0x04, 0x01, 0x0B
_POWER_SUPPLY, _BOARD, _PROCESSOR, _FAN_DEVICE, _AIR_INLET = 10, 7, 3, 29, 64
_MEMORY_DEVICE, _DRIVE_SLOT = 32, 26


def _rail12(psu: int) -> Analog:
    return Analog(
        f"psu{psu}_12v", f"PSU{psu} 12V Out", "ipmi_voltage_volts", _VOLTAGE, 4, _POWER_SUPPLY, 0.02, 8.0,
        {"lnc": 11.40, "lcr": 10.80, "unc": 12.60, "ucr": 13.00}, 2, hysteresis=5,
    )  # fmt: skip


def _vin(psu: int) -> Analog:
    return Analog(
        f"psu{psu}_vin", f"PSU{psu} Vin", "ipmi_voltage_volts", _VOLTAGE, 4, _POWER_SUPPLY, 1.0, 0.0,
        {"lnc": 207.0, "lcr": 196.0, "unc": 253.0}, 0,
    )  # fmt: skip


def _iin(psu: int) -> Analog:
    return Analog(
        f"psu{psu}_iin", f"PSU{psu} Iin", "ipmi_current_amperes", _CURRENT, 5, _POWER_SUPPLY, 0.01, 0.0,
        {"unc": 2.20}, 2,
    )  # fmt: skip


def _pin(psu: int) -> Analog:
    return Analog(
        f"psu{psu}_pin", f"PSU{psu} Pin", "ipmi_power_watts", _OTHER_UNITS, 6, _POWER_SUPPLY, 2.0, 0.0,
        {"unc": 440.0}, 0,
    )  # fmt: skip


def _temperature(signal: str, name: str, entity: int, unc: float, ucr: float) -> Analog:
    return Analog(
        signal, name, "ipmi_temperature_celsius", _TEMPERATURE, 1, entity, 1.0, 0.0,
        {"unc": unc, "ucr": ucr}, 0,
    )  # fmt: skip


def _fan(number: int) -> Analog:
    return Analog(
        f"fan{number}", f"Fan{number}", "ipmi_fan_speed_rpm", _FAN, 18, _FAN_DEVICE, 40.0, 0.0,
        {"lnc": 2000.0, "lcr": 1200.0}, 0,
    )  # fmt: skip


ANALOG: tuple[Analog, ...] = (
    _rail12(1),
    _rail12(2),
    Analog("rail_5v", "Rail 5V", "ipmi_voltage_volts", _VOLTAGE, 4, _BOARD, 0.01, 3.0, {"lnc": 4.75, "unc": 5.25}, 2),
    Analog(
        "rail_3v3", "Rail 3.3V", "ipmi_voltage_volts", _VOLTAGE, 4, _BOARD, 0.01, 2.0, {"lnc": 3.14, "unc": 3.47}, 2
    ),
    _vin(1),
    _vin(2),
    _iin(1),
    _iin(2),
    _pin(1),
    _pin(2),
    _temperature("inlet_temp", "Inlet Temp", _AIR_INLET, 35.0, 40.0),
    _temperature("cpu_temp", "CPU Temp", _PROCESSOR, 85.0, 95.0),
    _temperature("psu1_temp", "PSU1 Temp", _POWER_SUPPLY, 65.0, 75.0),
    _temperature("psu2_temp", "PSU2 Temp", _POWER_SUPPLY, 65.0, 75.0),
    _fan(1),
    _fan(2),
    _fan(3),
)

PSU_PRESENT, PSU_FAILURE, PSU_PREDICTIVE, PSU_INPUT_LOST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MEMORY_CORRECTABLE, MEMORY_UNCORRECTABLE, MEMORY_LOGGING_LIMIT = 1 << 0, 1 << 1, 1 << 5
DRIVE_PRESENT, DRIVE_FAULT, DRIVE_PREDICTIVE = 1 << 0, 1 << 1, 1 << 2

DISCRETE: tuple[Discrete, ...] = (
    Discrete("psu1_status", "PSU1 Status", 0x08, "Power Supply", _POWER_SUPPLY, PSU_PRESENT),
    Discrete("psu2_status", "PSU2 Status", 0x08, "Power Supply", _POWER_SUPPLY, PSU_PRESENT),
    Discrete("memory_status", "Mem ECC", 0x0C, "Memory", _MEMORY_DEVICE, 0),
    Discrete("disk_status", "Disk0 Status", 0x0D, "Drive Slot", _DRIVE_SLOT, DRIVE_PRESENT),
)

SENSOR_NUMBER: dict[str, int] = {s.signal: number for number, s in enumerate((*ANALOG, *DISCRETE), start=1)}
"""Signal → IPMI sensor number, which is also the SDR record id and the exporter's label `id`."""

BY_SIGNAL: dict[str, Analog] = {sensor.signal: sensor for sensor in ANALOG}
