"""What only several lines tell together, and lines that look like a fault and are none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from models.risk.signal import HardwareEvent
from tools.logs.reader import LineReader

AT = datetime(2026, 11, 20, 11, 50, tzinfo=UTC)

Said = list[tuple[str, str, str, str]]


def read(*lines: str, tag: str = "kernel", seconds: float = 1.0) -> Said:
    """(kind, severity, part, part class) of the events of these messages, in a row."""
    reader = LineReader()
    found: list[HardwareEvent] = []
    for number, line in enumerate(lines):
        found += [
            match.event("node-a", at) for at, match in reader.read(tag, line, AT + timedelta(seconds=seconds * number))
        ]
    found += [match.event("node-a", at) for at, match in reader.flush()]
    named = [reader.named(event) for event in found]
    return [(e.kind.value, e.severity.value, e.part, e.part_class.value) for e in named]


def firmware(number: int, *texts: str) -> list[str]:
    first = "Hardware error from APEI Generic Hardware Error Source: 4"
    return [f"{{{number}}}[Hardware Error]: {text}" for text in (first, *texts)]


def test_a_firmware_record_is_read_as_a_whole() -> None:
    corrected = firmware(37, "It has been corrected by h/w and requires no further action", "event severity: corrected",
                         "  section_type: memory error", "  DIMM location: CPU 2 DIMM 30")  # fmt: skip
    multi_bit = firmware(3, "event severity: recoverable", " Error 0, type: recoverable", "  section_type: memory error",
                         "  error_type: 3, multi-bit ECC", "  DIMM location: CPU 1 DIMM 5")  # fmt: skip
    bus = firmware(4, "event severity: fatal", "  section_type: PCIe error", "  device_id: 0000:3b:00.0")
    assert read(*corrected, *multi_bit, *bus) == [
        ("memory-corrected", "warning", "CPU_2_DIMM_30", "normal"),
        ("memory-uncorrected", "critical", "CPU_1_DIMM_5", "normal"),
        ("pcie", "critical", "0000:3b:00.0", "normal"),
    ]


def test_a_record_of_the_boot_before_is_no_fault_of_now() -> None:
    lines = (
        "event severity: fatal",
        " Error 0, type: fatal",
        "  section type: unknown, 81212a96",
        "  section length: 0x290",
    )
    before = read("BERT: Error records from previous boot:", *(f"[Hardware Error]: {text}" for text in lines))
    now = read(*(f"{{1}}[Hardware Error]: {text}" for text in lines))
    assert before == [("machine-check", "warning", "previous_boot", "normal")]
    assert now == [("machine-check", "critical", "", "normal")]


def test_records_of_mcelog_are_read_as_a_whole() -> None:
    fault = ("Hardware event. This is not a software error.", "MCE 0", "CPU 0 BANK 7 TSC b98e63765d2", "Uncorrected error",
             "MCA: MEMORY CONTROLLER RD_CHANNEL0_ERR", "STATUS bd80000000100134 MCGSTATUS 0")  # fmt: skip
    corrected = ("Hardware event. This is not a software error.", "MCE 0", "CPU 4 BANK 9 TSC b98e63765d2", "Corrected error",
                 "MCA: Internal parity error", "STATUS 8c00004000010005 MCGSTATUS 0")  # fmt: skip
    threshold = "corrected DIMM memory error count exceeded threshold: 10 in 24h"
    assert read(*fault, *corrected, tag="mcelog") == [
        ("memory-uncorrected", "critical", "", "normal"),
        ("machine-check", "warning", "", "normal"),
    ]
    assert read(threshold, tag="mcelog") == [("memory-corrected", "warning", "", "normal")]


def test_a_disk_without_its_name_gets_it_from_other_lines() -> None:
    lines = (
        "sd 0:0:0:0: Device offlined - not ready after error recovery",
        "sd 0:0:0:0: [sda] tag#3 FAILED Result: hostbyte=DID_TIME_OUT driverbyte=DRIVER_OK cmd_age=180s",
        "sd 0:0:0:0: rejecting I/O to dead device",
        "ata1.00: exception Emask 0x0 SAct 0x10 SErr 0x0 action 0x0",
    )
    assert {part for _, _, part, _ in read(*lines)} == {"sda"}
    assert {part for _, _, part, _ in read(lines[0])} == {"0:0:0:0"}


def test_an_adapter_without_its_name_gets_it_from_other_lines() -> None:
    assert {part for _, _, part, _ in read(
        "mlx5_core 0000:3b:00.0 ens1f0np0: TX timeout detected",
        "mlx5_core 0000:3b:00.0: poll_health:800:(pid 0): device's health compromised - reached miss count",
    )} == {"ens1f0np0"}  # fmt: skip


def test_an_interface_of_a_usb_driver_is_known_whatever_its_name() -> None:
    assert read(
        "cdc_ether 1-14.3:2.0 eth5: register 'cdc_ether' at usb-0000:00:14.0-14.3, CDC Ethernet Device",
        "rndis_host 1-14:1.0 eth6: NIC Link is Down",
        "eth5: Link is Down",
    ) == [("link-down", "warning", "eth6", "usb-nic"), ("link-down", "warning", "eth5", "usb-nic")]


def test_a_stick_that_was_pulled_is_no_disk_of_the_node() -> None:
    error = "I/O error, dev sdx, sector 314642760 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2"
    assert read("usb 3-9: USB disconnect, device number 14", "sd 8:0:0:0: rejecting I/O to offline device", error) == [
        ("disk-io", "critical", "8:0:0:0", "removable"),
        ("disk-io", "warning", "sdx", "removable"),
    ]
    assert read("usb 3-9: USB disconnect, device number 14", error, seconds=600.0) == [
        ("disk-io", "warning", "sdx", "normal")
    ]


@pytest.mark.parametrize(
    "message",
    [
        "blk_update_request: critical target error, dev sdc, sector 270360 op 0x3:(DISCARD) flags 0x800 phys_seg 1 prio class 0",
        "critical target error, dev sdc, sector 270360 op 0x9:(WRITE_ZEROES) flags 0x800 phys_seg 1 prio class 0",
        "sd 3:0:0:1: reservation conflict",
        "blk_update_request: critical nexus error, dev sdc, sector 0 op 0x1:(WRITE) flags 0x0 phys_seg 1 prio class 0",
        "XFS (dm-2): User initiated shutdown received.",
        "md/raid1:md0: active with 2 out of 2 mirrors",
        "ixgbe 0000:18:00.0 eno1: Fake Tx hang detected with timeout of 5 seconds",
        "NVRM: Xid (PCI:0000:3b:00): 31, pid=1234, Ch 00000010",
        "EDAC amd64: MC0: ECC enabled",
        "mpt3sas_cm0: log_info(0x31110d00): originator(PL), code(0x11), sub_code(0x0d00)",
        "BERT: Total records found: 1",
        "mce: CPU12: Package power limit notification (total events = 5)",
        "sd 0:0:5:0: [sdf] tag#12 Add. Sense: Failure prediction threshold exceeded (false)",
        "NETDEV WATCHDOG: vnet5 (tun): transmit queue 0 timed out",
        "NETDEV WATCHDOG: enx0050b6aa (r8152): transmit queue 0 timed out",
        "mlx5_core 0000:3b:00.0: mlx5_pcie_event:302:(pid 291): Detected insufficient power on the PCIe slot (27W).",
    ],
)
def test_twins_of_a_fault_are_none(message: str) -> None:
    assert read(message) == []


def test_what_a_hardware_program_says_and_nobody_understands_is_counted() -> None:
    reader = LineReader()
    for tag, message in (
        ("rasdaemon", "something nobody has seen before"),
        ("smartd", "Device: /dev/sda [SAT], SMART Usage Attribute: 194 Temperature_Celsius changed from 70 to 69"),
        ("smartd", "Device: /dev/sda [SAT], a new kind of trouble"),
        ("ipmiseld", "SEL System Event: Strange Sensor, Critical, Strange event"),
        ("kernel", "an ordinary line"),
    ):
        assert reader.read(tag, message, AT) == []
    assert dict(reader.strange) == {"rasdaemon": 1, "smartd": 1, "ipmiseld": 1}


def test_a_corrected_error_names_its_module_where_the_kernel_does() -> None:
    for message, part in (
        ("EDAC MC3: 1 CE memory read error on CPU_SrcID#1_MC#1_Chan#0_DIMM#0 (channel:0 slot:0 page:0x5)",
         "MC3/CPU_SrcID_1_MC_1_Chan_0_DIMM_0"),
        ("EDAC MC0: 2 CE on mc#0csrow#1channel#3 (csrow:1 channel:3 page:0x1 offset:0x0 grain:64 syndrome:0x0)",
         "MC0/mc_0csrow_1channel_3"),
        ("EDAC MC0: 1 CE ie31200 CE on any memory (page:0x9 offset:0x0 grain:8)", "MC0"),
    ):  # fmt: skip
        assert read(message) == [("memory-corrected", "warning", part, "normal")]


def test_a_disk_s_errors_beside_the_loss_of_a_path_are_of_that_path() -> None:
    error, lost = "sd 8:0:0:1: rejecting I/O to offline device", "device-mapper: multipath: 253:0: Failing path 8:48."
    assert read(error, lost) == [
        ("disk-io", "critical", "8:0:0:1", "redundant"),
        ("disk-io", "warning", "253:0", "redundant"),
    ]
    assert read(error, lost, seconds=600.0)[0] == ("disk-io", "critical", "8:0:0:1", "normal")


def test_files_memory_and_optical_drives_are_no_disks_of_the_node() -> None:
    for device, part_class in (
        ("loop6", "removable"),
        ("nbd3", "removable"),
        ("zram0", "removable"),
        ("rbd3", "add-on"),
        ("dm-3", "normal"),
    ):
        message = f"EXT4-fs ({device}): Remounting filesystem read-only"
        assert read(message) == [("disk-io", "critical", device, part_class)]
