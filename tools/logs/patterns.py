"""Which log lines are hardware events: one table, to be read and reviewed from top to bottom.

The first pattern that matches wins. Each carries lines it must match; a test holds it to them. A pattern may name
`part` (which disk, NIC, module …). Only that part, cut to harmless characters, leaves this module: never the line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from models.signal import Component, HardwareEventKind, Severity

K, C, S = HardwareEventKind, Component, Severity


@dataclass(frozen=True)
class Pattern:
    """One kind of line."""

    regex: re.Pattern[str]
    kind: HardwareEventKind
    component: Component
    severity: Severity
    examples: tuple[str, ...]
    """messages, without time, host and tag"""
    asserted: bool = True
    """False: the line says that the condition went away"""


def _pattern(
    regex: str, kind: HardwareEventKind, component: Component, severity: Severity, *examples: str, asserted: bool = True
) -> Pattern:
    return Pattern(re.compile(regex), kind, component, severity, examples, asserted)


_NIC = r"(?P<part>(?!lo\b|vnet|veth|tap|tun|virbr|br-|docker|cni)[A-Za-z][\w.-]{1,14})"
_DISK = r"(?P<part>(?:sd[a-z]{1,3}|nvme\d+n\d+|vd[a-z]{1,2}|mmcblk\d+|dm-\d+|md\d+))"

KERNEL: tuple[Pattern, ...] = (
    # ---- memory (drivers/edac, mm/memory-failure, arch/x86/kernel/cpu/mce) ----
    _pattern(
        r"EDAC (?P<part>MC\d+): \d+ UE ", K.MEMORY_UNCORRECTED, C.MEMORY, S.CRITICAL,
        "EDAC MC0: 1 UE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0 (channel:1 slot:0 page:0x12f03a)",
    ),
    _pattern(
        r"EDAC (?P<part>MC\d+): \d{3,} CE ", K.MEMORY_CORRECTED, C.MEMORY, S.CRITICAL,
        "EDAC MC0: 240 CE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0 (channel:1 slot:0 page:0x12f03a)",
    ),
    _pattern(
        r"EDAC (?P<part>MC\d+): \d+ CE ", K.MEMORY_CORRECTED, C.MEMORY, S.WARNING,
        "EDAC MC1: 1 CE memory scrubbing error on CPU_SrcID#1_MC#0_Chan#0_DIMM#1 (channel:0 slot:1 page:0x8a2)",
    ),
    _pattern(
        r"Memory failure: 0x[0-9a-f]+: ", K.MEMORY_UNCORRECTED, C.MEMORY, S.CRITICAL,
        "Memory failure: 0x12f03a: recovery action for dirty LRU page: Recovered",
    ),
    _pattern(
        r"Machine Check Exception|Fatal machine check", K.MACHINE_CHECK, C.CPU, S.CRITICAL,
        "mce: [Hardware Error]: CPU 0: Machine Check Exception: 5 Bank 7: fe00000000800400",
        "Kernel panic - not syncing: Fatal machine check",
    ),
    # Bit 61 of the bank's status says uncorrected (Intel SDM 3B, 16.3.2.2): first digit a, b, e or f.
    _pattern(
        r"Machine Check: \d+ Bank \d+: [abef][0-9a-f]{15}", K.MACHINE_CHECK, C.CPU, S.CRITICAL,
        "mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 7: bd80000000100134",
    ),
    _pattern(
        r"Machine Check: \d+ Bank \d+: [89cd][0-9a-f]{15}", K.MACHINE_CHECK, C.CPU, S.WARNING,
        "mce: [Hardware Error]: CPU 4: Machine Check: 0 Bank 9: 8c00004000010090",
    ),
    _pattern(
        r"\[Hardware Error\]: +event severity: fatal", K.MACHINE_CHECK, C.CPU, S.CRITICAL,
        "{1}[Hardware Error]: event severity: fatal",
    ),
    _pattern(
        r"\[Hardware Error\]: +event severity: recoverable", K.MACHINE_CHECK, C.CPU, S.WARNING,
        "{2}[Hardware Error]: event severity: recoverable",
    ),
    # ---- PCIe (drivers/pci/pcie/aer) ----
    _pattern(
        r"AER: (?:Multiple )?Uncorrect(?:ed|able) \((?:Fatal|Non-Fatal)\) error", K.PCIE, C.NODE, S.CRITICAL,
        "pcieport 0000:00:1c.0: AER: Uncorrected (Fatal) error received: 0000:01:00.0",
        "pcieport 0000:3a:00.0: AER: Multiple Uncorrectable (Non-Fatal) error message received from 0000:3b:00.0",
    ),
    _pattern(
        r"AER: (?:Multiple )?Correct(?:ed|able) error", K.PCIE, C.NODE, S.WARNING,
        "pcieport 0000:00:1c.0: AER: Corrected error received: 0000:01:00.0",
        "pcieport 0000:3a:00.0: AER: Multiple Correctable error message received from 0000:3b:00.0",
    ),
    _pattern(
        r"PCIe Bus Error: severity=Uncorrect(?:ed|able) \((?:Fatal|Non-Fatal)\)", K.PCIE, C.NODE, S.CRITICAL,
        "nvme 0000:01:00.0: PCIe Bus Error: severity=Uncorrected (Non-Fatal), type=Transaction Layer, (Requester ID)",
        "pcieport 0000:00:1c.0: PCIe Bus Error: severity=Uncorrectable (Fatal), type=Transaction Layer, (Receiver ID)",
    ),
    _pattern(
        r"PCIe Bus Error: severity=Correct(?:ed|able)", K.PCIE, C.NODE, S.WARNING,
        "pcieport 0000:00:1c.0: PCIe Bus Error: severity=Corrected, type=Physical Layer, (Receiver ID)",
    ),
    _pattern(
        r"NMI: (?:PCI system error \(SERR\)|IOCK error)|NMI received for unknown reason", K.MACHINE_CHECK, C.NODE, S.WARNING,
        "NMI: PCI system error (SERR) for reason a1 on CPU 0.",
        "Uhhuh. NMI received for unknown reason 3d on CPU 4.",
    ),
    # ---- rasdaemon, which reads the kernel's trace events (ras-mc-handler.c, ras-mce-handler.c) ----
    _pattern(
        r"mc_event: .*\d+ (?:Uncorrected|Fatal|Deferred) error", K.MEMORY_UNCORRECTED, C.MEMORY, S.CRITICAL,
        "<...>-1234 [002] 0.000123: mc_event: 2026-11-23 04:00:00 +0000 1 Uncorrected error: memory read error on "
        "CPU_SrcID#0_MC#0_Chan#1_DIMM#0 (mc: 0 location: 1:0:-1 address: 0x12f03a000 grain: 32 syndrome: 0x0)",
    ),
    _pattern(
        r"mc_event: .*\d+ Corrected error", K.MEMORY_CORRECTED, C.MEMORY, S.WARNING,
        "<...>-1234 [002] 0.000123: mc_event: 2026-11-23 04:00:00 +0000 1 Corrected error: memory scrubbing error on "
        "CPU_SrcID#1_MC#0_Chan#0_DIMM#1 (mc: 1 location: 0:1:-1 address: 0x8a2000 grain: 32 syndrome: 0x0)",
    ),
    # ---- disks (drivers/ata, drivers/scsi, block, drivers/nvme, drivers/md, file systems) ----
    _pattern(
        rf"\[{_DISK}\].*Add\. Sense: (?:Unrecovered read error|Write error|Internal target failure)",
        K.DISK_IO, C.STORAGE, S.CRITICAL,
        "sd 0:0:0:0: [sda] tag#4 Add. Sense: Unrecovered read error - auto reallocate failed",
    ),
    _pattern(
        rf"critical (?:medium|target|nexus) error, dev {_DISK}", K.DISK_IO, C.STORAGE, S.CRITICAL,
        "critical medium error, dev nvme0n1, sector 1562824368 op 0x0:(READ) flags 0x80700 phys_seg 4 prio class 2",
    ),
    _pattern(
        rf"(?<!Buffer )I/O error, dev {_DISK}", K.DISK_IO, C.STORAGE, S.WARNING,
        "I/O error, dev sda, sector 1953000512 op 0x0:(READ) flags 0x80700 phys_seg 4 prio class 2",
        "blk_update_request: I/O error, dev sdb, sector 2048 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 0",
    ),
    _pattern(
        r"(?P<part>ata\d+)(?:\.\d+)?: (?:disable device|disabled)", K.DISK_IO, C.STORAGE, S.CRITICAL,
        "ata1.00: disable device", "ata3.00: disabled",
    ),
    _pattern(
        rf"\[{_DISK}\].*(?:rejecting I/O to offline device|Device offlined)",
        K.DISK_IO, C.STORAGE, S.CRITICAL,
        "sd 0:0:0:0: [sda] rejecting I/O to offline device",
    ),
    _pattern(
        r"(?P<part>ata\d+)(?:\.\d+)?: (?:exception Emask|hard resetting link|softreset failed)",
        K.DISK_IO, C.STORAGE, S.WARNING,
        "ata1.00: exception Emask 0x0 SAct 0x10 SErr 0x0 action 0x0", "ata1: hard resetting link",
    ),
    _pattern(
        r"nvme (?P<part>nvme\d+): (?:controller is down|Device not ready|Removing after probe failure|Disabling device)",
        K.DISK_IO, C.STORAGE, S.CRITICAL,
        "nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0x10",
        "nvme nvme1: Removing after probe failure status: -19",
    ),
    _pattern(
        r"nvme (?P<part>nvme\d+): I/O .*timeout", K.DISK_IO, C.STORAGE, S.WARNING,
        "nvme nvme0: I/O 312 (I/O Cmd) QID 3 timeout, aborting",
    ),
    _pattern(
        r"md/raid[\w:]*:(?P<part>md\d+): Disk failure on ", K.DISK_IO, C.STORAGE, S.WARNING,
        "md/raid1:md0: Disk failure on sdb1, disabling device.",
    ),
    _pattern(
        r"EXT4-fs (?:error )?\((?:device )?(?P<part>[\w-]+)\):.*(?:Remounting filesystem read-only|Detected aborted journal)"
        r"|XFS \((?P<late>[\w-]+)\): .*(?:Shutting down filesystem|[Ff]ilesystem has been shut down)",
        K.DISK_IO, C.STORAGE, S.CRITICAL,
        "EXT4-fs error (device sda1): ext4_journal_check_start:83: Detected aborted journal",
        "EXT4-fs (sda1): Remounting filesystem read-only",
        "XFS (sdb1): Log I/O Error Detected. Shutting down filesystem",
    ),
    # ---- smartd ----
    _pattern(
        r"Device: /dev/(?P<part>[\w/-]+)[, ].*FAILED SMART self-check", K.DISK_SMART, C.STORAGE, S.CRITICAL,
        "Device: /dev/sda [SAT], FAILED SMART self-check. BACK UP DATA NOW!",
    ),
    _pattern(
        r"Device: /dev/(?P<part>[\w/-]+)[, ].*(?:unreadable \(pending\) sectors|ffline uncorrectable sectors"
        r"|Self-Test Log error count increased|Critical Warning)",
        K.DISK_SMART, C.STORAGE, S.WARNING,
        "Device: /dev/sda [SAT], 8 Currently unreadable (pending) sectors",
        "Device: /dev/sdb [SAT], 2 Offline uncorrectable sectors",
        "Device: /dev/nvme0, Critical Warning (0x04): reliability",
    ),
    # ---- network ----
    _pattern(
        r"NETDEV WATCHDOG: (?P<part>[\w.-]+)[ :].*timed out", K.LINK_DOWN, C.NETWORK, S.CRITICAL,
        "NETDEV WATCHDOG: eno1 (ixgbe): transmit queue 7 timed out",
        "NETDEV WATCHDOG: CPU: 3: eth0 (mlx5_core): transmit queue 2 timed out 5004 ms",
    ),
    _pattern(
        rf"(?:^|\s){_NIC}: (?:NIC )?[Ll]ink(?: is)? [Dd]own", K.LINK_DOWN, C.NETWORK, S.WARNING,
        "ixgbe 0000:18:00.0 eno1: NIC Link is Down", "tg3 0000:02:00.0 eth0: Link is down",
        "mlx5_core 0000:5e:00.0 enp94s0f0: Link down",
    ),
    _pattern(
        r"link status definitely down for interface (?P<part>[\w.-]+)", K.LINK_DOWN, C.NETWORK, S.WARNING,
        "bond0: (slave eno1): link status definitely down for interface eno1, disabling it",
    ),
    _pattern(
        rf"(?:^|\s){_NIC}: (?:NIC )?[Ll]ink(?: is)? [Uu]p", K.LINK_UP, C.NETWORK, S.INFO,
        "ixgbe 0000:18:00.0 eno1: NIC Link is Up 10 Gbps, Flow Control: RX/TX",
        "tg3 0000:02:00.0 eth0: Link is up at 1000 Mbps",
    ),
    # ---- heat ----
    _pattern(
        r"critical temperature reached", K.TEMPERATURE, C.THERMAL, S.CRITICAL,
        "thermal thermal_zone0: acpitz: critical temperature reached, shutting down",
    ),
    _pattern(
        r"(?P<part>CPU\d+): (?:Core|Package) temperature(?: is)? above threshold", K.THROTTLE, C.CPU, S.WARNING,
        "mce: CPU0: Core temperature is above threshold, cpu clock is throttled (total events = 28)",
        "CPU3: Package temperature above threshold, cpu clock throttled (total events = 1)",
    ),
    _pattern(
        r"(?P<part>CPU\d+): (?:Core|Package) temperature/speed normal", K.THROTTLE, C.CPU, S.WARNING,
        "mce: CPU0: Core temperature/speed normal (total events = 28)", asserted=False,
    ),
    # ---- the machine itself ----
    _pattern(r"^Linux version \d", K.BOOT, C.NODE, S.INFO, "Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org)"),
)  # fmt: skip
"""Of kernel and smartd messages."""


def _threshold(
    sensor: str, kind: HardwareEventKind, component: Component, number: str, unit: str
) -> tuple[Pattern, ...]:
    """A threshold sensor's records: `Voltage PSU1 12V Out Lower Critical going low`, as the SEL and ipmievd write them."""
    start = rf"^{sensor}(?: sensor)? +(?P<part>[^|]*?)(?: -)?"
    found: list[Pattern] = []
    for depths, severity in (("Non-critical", S.WARNING), ("Critical|Non-recoverable", S.CRITICAL)):
        deep = depths.split("|")[0]
        for outward, asserted in ((True, True), (False, False)):
            low, high = ("low", "high") if outward else ("high", "low")
            ways = f"Lower (?:{depths}) going {low}|Upper (?:{depths}) going {high}"
            bound = "Upper" if sensor == "Temperature" else "Lower"
            way = "high" if (bound == "Upper") == outward else "low"
            found.append(
                _pattern(
                    rf"{start} +(?:{ways})", kind, component, severity,
                    f"{sensor} sensor {number} {bound} {deep} going {way} Asserted (Reading 11 < Threshold 12 {unit})",
                    f"{sensor} {number} {bound} {deep} going {way} Asserted",
                    asserted=asserted,
                )
            )  # fmt: skip
    return tuple(found)


def _discrete(
    sensor: str, event: str, kind: HardwareEventKind, component: Component, severity: Severity, *examples: str
) -> Pattern:
    return _pattern(
        rf"^{sensor}(?: sensor)? +(?P<part>[^|]*?)(?: -)? +(?:{event})", kind, component, severity, *examples
    )


SEL: tuple[Pattern, ...] = (
    *_threshold("Voltage", K.VOLTAGE, C.POWER, "PSU1 12V Out", "Volts"),
    *_threshold("Current", K.CURRENT, C.POWER, "PSU1 Iin", "Amps"),
    *_threshold("Temperature", K.TEMPERATURE, C.THERMAL, "CPU Temp", "degrees C"),
    *_threshold("Fan", K.FAN, C.THERMAL, "Fan2", "RPM"),
    _discrete(
        "Power Supply", "Predictive failure", K.POWER_SUPPLY, C.POWER, S.WARNING,
        "Power Supply sensor PSU1 Status - Predictive failure Asserted", "Power Supply PSU1 Status Predictive failure Asserted",
    ),
    _discrete(
        "Power Supply", "Failure detected", K.POWER_SUPPLY, C.POWER, S.CRITICAL,
        "Power Supply sensor PSU1 Status - Failure detected Asserted", "Power Supply PSU1 Status Failure detected Asserted",
    ),
    _discrete(
        "Power Supply", "Power Supply AC lost|AC lost or out-of-range|AC out-of-range", K.POWER_LOST, C.POWER, S.WARNING,
        "Power Supply sensor PSU2 Status - Power Supply AC lost Asserted",
        "Power Supply PSU2 Status Power Supply AC lost Asserted",
    ),
    _discrete(
        "Power Unit", "AC lost|Failure detected|240VA power down", K.POWER_LOST, C.POWER, S.CRITICAL,
        "Power Unit Pwr Unit Stat AC lost Asserted",
    ),
    _discrete(
        "(?:Power Unit|Power Supply)", "Redundancy Lost", K.POWER_SUPPLY, C.POWER, S.WARNING,
        "Power Unit PS Redundancy Redundancy Lost Asserted",
    ),
    _discrete(
        "Memory", "Uncorrectable ECC", K.MEMORY_UNCORRECTED, C.MEMORY, S.CRITICAL,
        "Memory sensor Mem ECC - Uncorrectable ECC Asserted", "Memory Mem ECC Uncorrectable ECC Asserted",
    ),
    _discrete(
        "Memory", "Correctable ECC logging limit reached", K.MEMORY_CORRECTED, C.MEMORY, S.CRITICAL,
        "Memory sensor Mem ECC - Correctable ECC logging limit reached Asserted",
    ),
    _discrete(
        "Memory", "Correctable ECC", K.MEMORY_CORRECTED, C.MEMORY, S.WARNING,
        "Memory sensor Mem ECC - Correctable ECC Asserted", "Memory Mem ECC Correctable ECC Asserted",
    ),
    _discrete(
        "Processor", "IERR|Thermal Trip|(?:Uncorrectable )?[Mm]achine check", K.MACHINE_CHECK, C.CPU, S.CRITICAL,
        "Processor CPU 1 Status IERR Asserted", "Processor sensor CPU 1 Status - Thermal Trip Asserted",
    ),
    _discrete(
        "Processor", "Throttled|Processor Automatically Throttled", K.THROTTLE, C.CPU, S.WARNING,
        "Processor P1 Therm Throttled Asserted",
    ),
    _discrete(
        "Drive Slot(?: / Bay)?", "Drive Fault", K.DISK_SMART, C.STORAGE, S.CRITICAL,
        "Drive Slot / Bay sensor Disk0 Status - Drive Fault Asserted", "Drive Slot / Bay Disk0 Status Drive Fault Asserted",
    ),
    _discrete(
        "Drive Slot(?: / Bay)?", "Predictive Failure", K.DISK_SMART, C.STORAGE, S.WARNING,
        "Drive Slot / Bay sensor Disk0 Status - Predictive Failure Asserted",
    ),
    _discrete(
        "Critical Interrupt", "Bus Uncorrectable error|Bus Fatal [Ee]rror|PCI SERR", K.PCIE, C.NODE, S.CRITICAL,
        "Critical Interrupt PCIe Fatal Err Bus Fatal Error Asserted",
    ),
    _discrete(
        "Critical Interrupt", "Bus Correctable error", K.PCIE, C.NODE, S.WARNING,
        "Critical Interrupt PCIe Err Bus Correctable error Asserted",
    ),
)  # fmt: skip
"""Of BMC records: `<type> <sensor> <event> Asserted`, as `ipmitool sel elist` and ipmievd have it."""

_DEASSERTED = re.compile(r"\bDeasserted\b", re.IGNORECASE)
_HARMLESS = re.compile(r"[^A-Za-z0-9_.:/-]+")
_HINTS = tuple(
    (
        b"ipmi|EDAC|achine |Memory failure|Hardware Error|AER: |I/O|dium error|target error|nexus error|Add. Sense|offline|"
        b"nvme|md/raid|EXT4-fs|XFS|Device: /dev|NETDEV|ink|temperature|Linux version|: disable|Emask|resetting|softreset|"
        b"mc_event: |PCIe Bus Error|NMI"
    ).split(b"|")
)
"""What every kernel pattern's line contains, and the tags of every BMC's."""


@dataclass(frozen=True)
class Match:
    """What a line said."""

    pattern: Pattern
    part: str
    asserted: bool


def lines_with_hints(block: bytes) -> list[bytes]:
    """The lines of a block (each ended) that a pattern may match, in order; most lines of a log are no such lines.

    Searching a megabyte for each hint takes a tenth of the time of testing its ten thousand lines one by one.
    """
    found: dict[int, bytes] = {}
    for hint in _HINTS:
        at = block.find(hint)
        while at >= 0:
            start, end = block.rfind(b"\n", 0, at) + 1, block.index(b"\n", at)
            found[start] = block[start:end]
            at = block.find(hint, end)
    return [found[start] for start in sorted(found)]


def match_kernel(message: str) -> Match | None:
    """A kernel or smartd message, without time, host and tag."""
    return _first(KERNEL, message)


def match_sel(record: str) -> Match | None:
    """A BMC record: `<type> <sensor> <event> Asserted`."""
    return _first(SEL, record)


def _first(patterns: tuple[Pattern, ...], text: str) -> Match | None:
    for pattern in patterns:
        found = pattern.regex.search(text)
        if found is not None:
            named = found.groupdict()
            part = harmless(named.get("part") or named.get("late") or "")
            return Match(pattern, part, pattern.asserted != bool(_DEASSERTED.search(text)))
    return None


def harmless(part: str) -> str:
    """A part's name with only letters, digits and `_ . : / -`, at most 64 characters."""
    return _HARMLESS.sub("_", part.strip()).strip("_")[:64]
