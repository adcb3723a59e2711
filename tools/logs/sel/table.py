"""What a BMC's records mean: one table over sensor type and event, as IPMI v2.0 names them (tables 42-1 to 42-3).

The texts are those of ipmitool (`ipmi_sel.h`) and of FreeIPMI (its sensor and event code tables), which differ in places.
"""

from __future__ import annotations

from models.signal import Component, HardwareEventKind, PartClass, Severity
from tools.logs.sel.power_rows import POWER_AND_HEAT
from tools.logs.sel.row import TO_CRITICAL, TO_OK, TO_WARNING, SelRow, row

K, C, S, P = HardwareEventKind, Component, Severity, PartClass

SEL: tuple[SelRow, ...] = (
    *POWER_AND_HEAT,
    # ---- memory ----
    row(
        r"^memory",
        r"uncorrectable (?:ecc|memory error)(?:/other .*)?|parity",
        K.MEMORY_UNCORRECTED,
        C.MEMORY,
        S.CRITICAL,
        ("Memory", "Mem ECC", "Uncorrectable ECC"),
        ("Memory", "ECC", "Uncorrectable memory error"),
        ("Memory", "#0x02", "Uncorrectable ECC (UnCorrectable ECC |  DIMMD7)"),
    ),
    row(
        r"^memory",
        r"(?:correctable ecc|correctable memory error)(?:/other .*)? logging limit reached",
        K.MEMORY_CORRECTED,
        C.MEMORY,
        S.CRITICAL,
        ("Memory", "Mem ECC", "Correctable ECC logging limit reached"),
    ),
    row(
        r"^memory",
        r"correctable (?:ecc|memory error)(?:/other .*)?",
        K.MEMORY_CORRECTED,
        C.MEMORY,
        S.WARNING,
        ("Memory", "Mem ECC", "Correctable ECC"),
        ("Memory", "#0x88", "Correctable ECC (CPU0_G1)"),
        ("Memory", "ECC", "Correctable memory error"),
    ),
    row(
        r"^memory",
        r"critical overtemperature.*",
        K.TEMPERATURE,
        C.THERMAL,
        S.CRITICAL,
        ("Memory", "DIMM A1", "Critical Overtemperature"),
        cls=P.NORMAL,
    ),
    row(
        r"^memory",
        r"memory (?:scrub failed.*|device disabled)|spare",
        K.MEMORY_CORRECTED,
        C.MEMORY,
        S.CRITICAL,
        ("Memory", "DIMM A1", "Memory Device Disabled"),
    ),
    row(
        r"^event logging",
        r"correctable (?:memory|machine check) error logging disabled",
        K.MEMORY_CORRECTED,
        C.MEMORY,
        S.CRITICAL,
        ("Event Logging Disabled", "ECC", "Correctable memory error logging disabled"),
    ),
    # ---- processors ----
    row(
        r"^processor",
        r"thermal trip",
        K.TEMPERATURE,
        C.THERMAL,
        S.CRITICAL,
        ("Processor", "CPU 1 Status", "Thermal Trip"),
        cls=P.NORMAL,
    ),
    row(
        r"^processor",
        r"ierr|uncorrectable machine check exception|machine check exception(?: \(uncorrectable\))?|"
        r"sm bios .?uncorrectable cpu.*",
        K.MACHINE_CHECK,
        C.CPU,
        S.CRITICAL,
        ("Processor", "CPU 1 Status", "IERR"),
        ("Processor", "CPU1_Status", "Uncorrectable machine check exception"),
        ("Processor", "CPU1 Status", "Machine Check Exception"),
    ),
    row(
        r"^processor\b.*(?:cat_?err|ierr|mca?err|msmi)",
        rf"state asserted|{TO_CRITICAL}|predictive failure asserted",
        K.MACHINE_CHECK,
        C.CPU,
        S.CRITICAL,
        ("Processor", "CPU_CATERR", "State Asserted"),
    ),
    row(
        r"^processor\b.*(?:cat_?err|ierr|mca?err|msmi)",
        rf"state deasserted|{TO_OK}",
        K.MACHINE_CHECK,
        C.CPU,
        S.CRITICAL,
        ("Processor", "CPU_CATERR", "State Deasserted"),
        ends=True,
    ),
    row(
        r"^processor",
        r"correctable machine check error",
        K.MACHINE_CHECK,
        C.CPU,
        S.WARNING,
        ("Processor", "CPU1_Status", "Correctable machine check error"),
    ),
    row(
        r"^processor",
        r"(?:processor automatically )?throttled.*",
        K.THROTTLE,
        C.CPU,
        S.WARNING,
        ("Processor", "CPU2 Status", "Throttled"),
    ),
    row(
        r"^processor",
        r"frb[123].*|configuration error.*|processor disabled|disabled",
        K.MACHINE_CHECK,
        C.CPU,
        S.WARNING,
        ("Processor", "CPU2 Status", "FRB2/Hang in POST failure"),
    ),
    row(
        r"^processor",
        rf"{TO_CRITICAL}",
        K.MACHINE_CHECK,
        C.CPU,
        S.CRITICAL,
        ("Processor", "CPU0_Status", "Transition to Non-recoverable"),
    ),
    row(
        r"^processor",
        rf"{TO_WARNING}",
        K.MACHINE_CHECK,
        C.CPU,
        S.WARNING,
        ("Processor", "CPU0_Status", "Transition to Non-Critical from OK"),
    ),
    # ---- drives ----
    row(
        r"^drive",
        r"drive fault|in failed array",
        K.DISK_SMART,
        C.STORAGE,
        S.CRITICAL,
        ("Drive Slot / Bay", "Disk0 Status", "Drive Fault"),
        ("Drive Slot", "#0x42", "In Failed Array"),
        cls=P.REDUNDANT,
    ),
    row(
        r"^drive",
        r"in critical array|rebuild(?:/remap)? aborted.*",
        K.DISK_SMART,
        C.STORAGE,
        S.WARNING,
        ("Drive Slot / Bay", "Disk0 Status", "In Critical Array"),
        cls=P.REDUNDANT,
    ),
    # ---- buses, slots, the board ----
    row(
        r"^critical interrupt",
        r"bus uncorrectable error|bus fatal error|pci serr|fatal nmi.*|fatal io error",
        K.PCIE,
        C.NODE,
        S.CRITICAL,
        ("Critical Interrupt", "PCIe Fatal Err", "Bus Fatal Error"),
        ("Critical Interrupt", "PCIe Err", "Bus Uncorrectable Error"),
    ),
    row(
        r"^critical interrupt",
        r"bus correctable error|pci perr|bus degraded.*|i/o channel check nmi|bus timeout",
        K.PCIE,
        C.NODE,
        S.WARNING,
        ("Critical Interrupt", "PCIe Err", "Bus Correctable error"),
    ),
    row(
        r"^slot",
        r"(?:slot/connector )?fault status(?: asserted)?",
        K.PCIE,
        C.NODE,
        S.WARNING,
        ("Slot / Connector", "Slot 3", "Fault Status"),
    ),
    row(
        r"^(?:system event|other)",
        r"undetermined system hardware failure",
        K.MACHINE_CHECK,
        C.NODE,
        S.CRITICAL,
        ("System Event", "SysEvent", "Undetermined system hardware failure"),
    ),
    row(
        r"^(?:os |os$)",
        r"run-time critical stop.*|critical stop during os load.*|error during system startup",
        K.LOCKUP,
        C.NODE,
        S.WARNING,
        ("OS Critical Stop", "OS", "Run-time critical stop"),
    ),
    row(
        r"^watchdog",
        r"hard reset|power (?:down|cycle)|bios reset|os power cycle|os expired",
        K.LOCKUP,
        C.NODE,
        S.WARNING,
        ("Watchdog2", "Watchdog", "Hard reset"),
    ),
)
"""The first row whose type (followed by the sensor's name) and event fit wins."""
