"""Records of BMCs: what each says, on which part, and how much that part means."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.risk.signal import PartClass
from tools.logs.sel.events import SelRecord, is_routine, understand_record
from tools.logs.sel.file import SelFile
from tools.logs.sel.records import record_of, sel_lines
from tools.logs.sel.row import SelRow
from tools.logs.sel.table import SEL

P = PartClass


@pytest.mark.parametrize("row", SEL)
def test_each_row_fits_its_own_examples_and_is_reached(row: SelRow) -> None:
    assert row.examples
    for kind, sensor, event in row.examples:
        found = understand_record(SelRecord(kind, sensor, event))
        assert found is not None, (kind, sensor, event)
        assert (found.kind, found.component, found.severity) == (row.kind, row.component, row.severity)
        assert found.asserted is not row.ends
        gone = understand_record(SelRecord(kind, sensor, event, asserted=False))
        assert gone is not None
        assert gone.asserted is row.ends, "the other direction means the opposite"


def says(line: str) -> tuple[str, str, str, str, bool] | None:
    (found,) = sel_lines([line])
    assert found is not None
    assert found.record is not None
    match = understand_record(found.record)
    if match is None:
        return None
    return match.kind.value, match.severity.value, match.part, match.part_class.value, match.asserted


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # Twins: the words of a fault, and no fault.
        ("1,11/20/26,11:45:00 UTC,Processor CPU1_Status,Correctable machine check error,Asserted",
         ("machine-check", "warning", "CPU1_Status", "normal", True)),
        ("1,11/20/26,11:45:00 UTC,Processor CPU1_Status,Uncorrectable machine check exception,Asserted",
         ("machine-check", "critical", "CPU1_Status", "normal", True)),
        ("4,11/20/26,11:45:00 UTC,Power Supply PS Redundancy,Fully Redundant,Asserted",
         ("power-supply", "warning", "PS_Redundancy", "redundancy", False)),
        ("5,11/20/26,11:45:00 UTC,Power Supply PS Redundancy,Redundancy Lost,Asserted",
         ("power-supply", "warning", "PS_Redundancy", "redundancy", True)),
        ("2,11/20/26,11:30:10 UTC,Power Supply PS2 Status,AC out-of-range, but present,Deasserted",
         ("power-lost", "warning", "PS2_Status", "redundant", False)),
        ("5b0,11/20/26,11:50:00 UTC,Critical Interrupt PCIe Cor Sensor,,Asserted", None),
        ("1,11/20/26,11:00:00 UTC,Drive Slot / Bay #0x42,Drive Present,Deasserted", None),
        ("1,11/20/26,11:00:00 UTC,Power Supply PS1 Status,Presence detected,Deasserted",
         ("power-supply", "warning", "PS1_Status", "redundant", True)),
        # The part decides what a threshold means.
        ("1,11/20/26,11:00:00 UTC,Voltage VBAT,Lower Critical going low ,Asserted,Reading 2.49 < Threshold 2.50 Volts",
         ("voltage", "critical", "VBAT", "battery", True)),
        ("26,11/20/26,11:50:00 UTC,Voltage PVPP,Lower Non-recoverable going low,Asserted,Reading 0.12 < Threshold 2.17 Volts",
         ("voltage", "critical", "PVPP", "main-rail", True)),
        ("9,11/20/26,11:50:00 UTC,Voltage PS1 Vin,Lower Critical going low ,Asserted,Reading 0 < Threshold 170 Volts",
         ("voltage", "critical", "PS1_Vin", "redundant", True)),
        ("9,11/20/26,11:50:00 UTC,Temperature NVMe SSD 4 Temp,Upper Critical going high,Asserted,Reading 78 > Threshold 77 C",
         ("temperature", "critical", "NVMe_SSD_4_Temp", "add-on", True)),
        ("9,11/20/26,11:50:00 UTC,Temperature CPU2 Temp,Upper Critical going high,Asserted,Reading 104 > Threshold 100 degrees C",
         ("temperature", "critical", "CPU2_Temp", "normal", True)),
        ("9,11/20/26,11:50:00 UTC,Temperature Ambient,Lower Critical going low ,Asserted,Reading 0 < Threshold 2 degrees C",
         ("temperature", "warning", "Ambient", "add-on", True)),
        ("9a,11/20/26,11:50:00 UTC,Fan PSU1 Slow FAN1,Transition to Non-recoverable,Asserted",
         ("fan", "critical", "PSU1_Slow_FAN1", "redundant", True)),
        ("9c,11/20/26,11:55:00 UTC,Temperature CPU1 PROCHOT,Transition to Critical from less severe,Asserted",
         ("throttle", "warning", "CPU1_PROCHOT", "normal", True)),
        # Where one sensor stands for many parts, the details name the one.
        ("3a,11/20/26,11:00:00 UTC,Memory #0x88,Correctable ECC (CPU0_G1),Asserted",
         ("memory-corrected", "warning", "CPU0_G1", "normal", True)),
        ("34,11/20/26,11:50:00 UTC,Memory #0x02,Uncorrectable ECC (UnCorrectable ECC |  DIMMD7),Asserted",
         ("memory-uncorrected", "critical", "DIMMD7", "normal", True)),
        (" 12 | 11/20/2026 | 11:50:00 | Memory #0xd1 | Uncorrectable ECC (@DIMMA1(CPU1)) | Asserted",
         ("memory-uncorrected", "critical", "DIMMA1_CPU1", "normal", True)),
        # ipmitool between bars, and FreeIPMI's ipmi-sel with and without its columns of state and direction.
        ("  30 | 11/20/2026 | 11:50:40 UTC | Power Unit Pwr Unit Status | AC lost | Deasserted",
         ("power-lost", "critical", "Pwr_Unit_Status", "normal", False)),
        ("8   | Nov-20-2026 | 11:26:41 | PS1 Status       | Power Supply                | Power Supply input lost (AC/DC)",
         ("power-lost", "critical", "PS1_Status", "redundant", True)),
        ("4,Nov-20-2026,11:29:49,PS2 Status,Power Supply,Critical,Power Supply Failure detected ; OEM Event Data2 code = 07h",
         ("power-supply", "critical", "PS2_Status", "redundant", True)),
        ("4,Nov-20-2026,11:29:49,PS2 Status,Power Supply,Nominal,Power Supply Failure detected",
         ("power-supply", "critical", "PS2_Status", "redundant", False)),
        # Without direction and state: a reading on the healthy side of its threshold.
        ("9|Nov-20-2026|11:29:49 | P5V | Voltage | Lower Critical - going low ; Sensor Reading = 4.90 V ; Threshold = 4.70 V",
         ("voltage", "critical", "P5V", "main-rail", False)),
        ("9|Nov-20-2026|11:29:49 | CPU1 Temp | Temperature | Upper Critical - going high ; Sensor Reading = 91.00 C ; "
         "Threshold = 95.00 C", ("temperature", "critical", "CPU1_Temp", "normal", False)),
        # How many corrected errors a module has, in grades; what is no fault although it stands among them.
        ("4,11/20/26,11:45:00 UTC,Memory Mem ECC Warning,Transition to Critical from less severe,Asserted",
         ("memory-corrected", "critical", "Mem_ECC_Warning", "normal", True)),
        ("4,11/20/26,11:45:00 UTC,Memory Mem ECC Warning,Transition to OK,Asserted",
         ("memory-corrected", "critical", "Mem_ECC_Warning", "normal", False)),
        ("4,11/20/26,11:45:00 UTC,Memory DIMM B8,Spare,Asserted", None),
        ("9|Nov-20-2026|11:29:49 | P12V | Voltage | Lower Critical - going low ; Sensor Reading = 10.70 V ; Threshold = 10.8 V",
         ("voltage", "critical", "P12V", "main-rail", True)),
    ],
)  # fmt: skip
def test_what_a_record_says(line: str, expected: tuple[str, str, str, str, bool] | None) -> None:
    assert says(line) == expected


def test_one_13th_month_tells_how_a_log_writes_all_its_dates() -> None:
    text = [f"1 | {date} | 10:00:00 UTC | Fan #0x30 | Transition to OK | Asserted" for date in ("05/11/26", "20/11/26")]
    found = [line.at for line in sel_lines(text) if line is not None]
    assert found == [datetime(2026, 11, 5, 10, tzinfo=UTC), datetime(2026, 11, 20, 10, tzinfo=UTC)]


def test_the_head_of_ipmi_sel_names_its_columns() -> None:
    text = (
        "ID   | Date        | Time     | Name       | Type         | State    | Event Direction | Event\n"
        "4 | Nov-20-2026 | 10:29:49 | PS2 Status | Power Supply | Nominal  | Deassertion Event | Power Supply Failure detected\n"
    )
    (found,) = sel_lines(text.splitlines())
    assert found is not None
    assert found.record == SelRecord("Power Supply", "PS2 Status", "Power Supply Failure detected", asserted=False)


@pytest.mark.parametrize(
    ("message", "kind", "part", "asserted"),
    [
        ("SEL System Event: PS1 Status, Critical, Power Supply Failure detected", "power-supply", "PS1_Status", True),
        ("SEL System Event: PS1 Status, Nominal, Power Supply Failure detected", "power-supply", "PS1_Status", False),
        ("node-a: SEL System Event: P12V, Critical, Lower Critical - going low ; Sensor Reading = 10.70 V ; Threshold = 10.80 V",
         "voltage", "P12V", True),
        ("SEL System Event: Mem ECC, Critical, Uncorrectable memory error", "memory-uncorrected", "Mem_ECC", True),
        ("SEL System Event: Nov-20-2026, 11:50:00, B7, Memory, Critical, Assertion Event, Uncorrectable memory error",
         "memory-uncorrected", "B7", True),
        ("SEL System Event: FAN3, Critical, Lower Critical - going low ; Sensor Reading = 0.00 RPM", "fan", "FAN3", True),
        ("SEL System Event: CPU1 Status, Critical, IERR", "machine-check", "CPU1_Status", True),
        ("Voltage sensor PSU1 12V Out Lower Critical going low  Asserted (Reading 10.76 < Threshold 10.80 Volts)",
         "voltage", "PSU1_12V_Out", True),
        ("Power Supply sensor PSU1 Status - Failure detected Deasserted", "power-supply", "PSU1_Status", False),
        ("Processor CPU1_Status Correctable machine check error Asserted", "machine-check", "CPU1_Status", True),
    ],
)  # fmt: skip
def test_lines_of_ipmievd_and_ipmiseld(message: str, kind: str, part: str, asserted: bool) -> None:
    record = record_of(message)
    assert record is not None
    found = understand_record(record)
    assert found is not None
    assert (found.kind.value, found.part, found.asserted) == (kind, part, asserted)


@pytest.mark.parametrize(
    ("record", "routine"),
    [
        (SelRecord("Event Logging Disabled", "SEL", "Log area reset/cleared"), True),
        (SelRecord("OS Boot", "#0x00", "C: boot completed"), True),
        (SelRecord("Physical Security", "Intrusion", "General Chassis intrusion"), True),
        (SelRecord("Voltage", "P3V3", "Unbekanntes Ereignis"), False),
        (SelRecord("OEM", "#0x55", "OEM Specific"), False),
    ],
)
def test_what_is_not_understood_is_told_from_what_need_not_be(record: SelRecord, routine: bool) -> None:
    assert understand_record(record) is None
    assert is_routine(record) is routine


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "8 | Nov-20-2026 | 11:26:41 | PS1 Status | Power Supply | Power Supply Failure detected",
            "1 record of faults may have ended",
        ),
        ("1 | 20.11.2026 | 11:50:00 | Spannung P12V | Grenzwert unterschritten | Asserted", "in another language?"),
        ("1,11/20/26,11:00:00 UTC,OEM record c0,001c4c,868034123407", "1 record not understood"),
    ],
)
def test_a_log_says_what_it_leaves_open(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "sel.csv").write_text(text + "\n")
    log = SelFile("node-a", tmp_path / "sel.csv", at=datetime(2026, 11, 20, 12, tzinfo=UTC))
    log.events(since=datetime(2026, 11, 1, tzinfo=UTC))
    assert any(said in line for line in log.doubts())
