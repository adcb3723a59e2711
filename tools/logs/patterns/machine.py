"""Lines about buses, heat, lockups and the machine as a whole.

Formats: drivers/pci/pcie/aer.c and dpc.c (`Corrected` up to 6.8, `Correctable` since), drivers/pci/hotplug/pciehp_ctrl.c,
arch/x86/kernel/nmi.c, drivers/thermal/intel/therm_throt.c, drivers/thermal/thermal_core.c, kernel/watchdog.c and watchdog_hld.c,
kernel/hung_task.c, kernel/rcu/tree_stall.h, NVIDIA's Xid list.
"""

from __future__ import annotations

from models.risk.signal import Component, HardwareEventKind, PartClass, Severity
from tools.logs.patterns.table import Pattern, pattern

K, C, S, P = HardwareEventKind, Component, Severity, PartClass
_BDF = r"(?P<part>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])"

MACHINE: tuple[Pattern, ...] = (
    # ---- PCIe ----
    pattern(
        rf"{_BDF}: AER: (?:Multiple )?Uncorrect(?:ed|able) \((?:Fatal|Non-Fatal)\) error",
        K.PCIE,
        C.NODE,
        S.CRITICAL,
        "pcieport 0000:00:1c.0: AER: Uncorrected (Fatal) error received: 0000:01:00.0",
        "pcieport 0000:3a:00.0: AER: Multiple Uncorrectable (Non-Fatal) error message received from 0000:3b:00.0",
    ),
    pattern(
        rf"{_BDF}: AER: (?:Multiple )?Correct(?:ed|able) error",
        K.PCIE,
        C.NODE,
        S.WARNING,
        "pcieport 0000:00:1c.0: AER: Corrected error received: 0000:01:00.0",
        "pcieport 0000:3a:00.0: AER: Multiple Correctable error message received from 0000:3b:00.0",
    ),
    pattern(
        rf"{_BDF}: (?:AER: )?PCIe Bus Error: severity=Uncorrect(?:ed|able) \((?:Fatal|Non-Fatal)\)",
        K.PCIE,
        C.NODE,
        S.CRITICAL,
        "nvme 0000:01:00.0: PCIe Bus Error: severity=Uncorrected (Non-Fatal), type=Transaction Layer, (Requester ID)",
        "nvme 0000:01:00.0: AER: PCIe Bus Error: severity=Uncorrected (Fatal), type=Inaccessible, (Unregistered Agent ID)",
        "pcieport 0000:00:1c.0: PCIe Bus Error: severity=Uncorrectable (Fatal), type=Transaction Layer, (Receiver ID)",
    ),
    pattern(
        rf"{_BDF}: (?:AER: )?PCIe Bus Error: severity=Correct(?:ed|able)",
        K.PCIE,
        C.NODE,
        S.WARNING,
        "pcieport 0000:00:1c.0: PCIe Bus Error: severity=Corrected, type=Physical Layer, (Receiver ID)",
    ),
    pattern(
        rf"{_BDF}: (?:DPC: (?:unmasked uncorrectable error|ERR_(?:NON)?FATAL)|AER: (?:can't recover|"
        rf"device recovery failed|subordinate device reset failed))",
        K.PCIE,
        C.NODE,
        S.CRITICAL,
        "pcieport 0000:3a:00.0: DPC: unmasked uncorrectable error detected",
        "pcieport 0000:3a:00.0: AER: device recovery failed",
        "nvme 0000:01:00.0: AER: can't recover (no error_detected callback)",
    ),
    pattern(
        rf"{_BDF}: AER: [Dd]evice recovery successful",
        K.PCIE,
        C.NODE,
        S.CRITICAL,
        "pcieport 0000:3a:00.0: AER: device recovery successful",
        "pcieport 0000:00:1c.0: AER: Device recovery successful",
        asserted=False,
    ),
    pattern(
        rf"{_BDF}: pciehp: Slot\((?P<part_slot>[\w-]+)\): (?:Link Down|Card not present)",
        K.PCIE,
        C.NODE,
        S.WARNING,
        "pcieport 0000:3a:00.0: pciehp: Slot(12): Link Down",
        "pcieport 0000:3a:00.0: pciehp: Slot(12): Card not present",
        cls=P.ADD_ON,
    ),
    pattern(
        r"aer_event: .*?(?P<part>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]).*(?:\((?:Uncorrected|"
        r"Fatal|Non-?Fatal)|severity=(?:Uncorrected|Fatal))",
        K.PCIE,
        C.NODE,
        S.CRITICAL,
        "<...>-1234 [002] 0.000125: aer_event: 2026-11-23 04:00:00 +0000 0000:3b:00.0 (Uncorrected (Fatal) - Data Link Protocol)",
    ),
    pattern(
        r"aer_event: .*?(?P<part>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])",
        K.PCIE,
        C.NODE,
        S.WARNING,
        "<...>-1234 [002] 0.000125: aer_event: 2026-11-23 04:00:00 +0000 0000:3b:00.0 (Corrected - Receiver Error)",
    ),
    pattern(
        r"NMI: (?:PCI system error \(SERR\)|IOCK error)|NMI received for unknown reason|hpwdt: .*NMI",
        K.MACHINE_CHECK,
        C.NODE,
        S.WARNING,
        "NMI: PCI system error (SERR) for reason a1 on CPU 0.",
        "Uhhuh. NMI received for unknown reason 3d on CPU 4.",
    ),
    # Of NVIDIA's Xids those that its list calls hardware: ECC, NVLink, retired rows, fallen off the bus.
    pattern(
        r"NVRM: Xid \(PCI:(?P<part>[0-9a-f:.]+)\): (?:48|62|63|64|74|79|92|94|95|110|119|120|140)\b",
        K.PCIE,
        C.NODE,
        S.WARNING,
        "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
        cls=P.ADD_ON,
    ),
    # ---- heat ----
    pattern(
        r"[Cc]ritical temperature reached|HARDWARE PROTECTION shutdown \(Temperature too high\)",
        K.TEMPERATURE,
        C.THERMAL,
        S.CRITICAL,
        "thermal thermal_zone0: acpitz: critical temperature reached, shutting down",
        "thermal_zone0: critical temperature reached(101 C),shutting down",
        "thermal_sys: Critical temperature reached (98 C), shutting down",
        "reboot: HARDWARE PROTECTION shutdown (Temperature too high)",
    ),
    pattern(
        r"CPU\d+: (?:Core|Package) temperature(?: is)? above threshold",
        K.THROTTLE,
        C.CPU,
        S.WARNING,
        "mce: CPU0: Core temperature is above threshold, cpu clock is throttled (total events = 28)",
        "CPU3: Package temperature above threshold, cpu clock throttled (total events = 1)",
    ),
    pattern(
        r"CPU\d+: (?:Core|Package) temperature/speed normal",
        K.THROTTLE,
        C.CPU,
        S.WARNING,
        "mce: CPU0: Core temperature/speed normal (total events = 28)",
        asserted=False,
    ),
    pattern(
        r"(?P<part>[\w.-]+): (?:.*Network adapter (?:.*)?over ?heated|Fan has stopped, replace the "
        r"adapter|.*High temperature on sensors)"
        r"|mlx5_core (?P<part_bdf>\S+): .*(?:High Temperature|[Hh]igh temperature)",
        K.TEMPERATURE,
        C.THERMAL,
        S.WARNING,
        "ixgbe 0000:18:00.0 eno1: Network adapter has been stopped because it has over heated. Restart the computer.",
        "mlx5_core 0000:5c:00.0: Port module event[error]: module 0, Cable error, High Temperature",
        cls=P.ADD_ON,
    ),
    # ---- lockups: the processor, the kernel, or a disk under it ----
    pattern(
        r"[Ww]atchdog detected hard LOCKUP on cpu|NMI watchdog: .*hard LOCKUP",
        K.LOCKUP,
        C.CPU,
        S.CRITICAL,
        "NMI watchdog: Watchdog detected hard LOCKUP on cpu 3",
        "watchdog: Watchdog detected hard LOCKUP on cpu 11",
    ),
    pattern(
        r"BUG: soft lockup - CPU#\d+ stuck for \d+s",
        K.LOCKUP,
        C.CPU,
        S.WARNING,
        "watchdog: BUG: soft lockup - CPU#7 stuck for 22s! [CPU 0/KVM:4121]",
        "NMI watchdog: BUG: soft lockup - CPU#12 stuck for 26s! [ksoftirqd/12:70]",
    ),
    pattern(
        r"rcu: INFO: \w+ (?:self-)?detected stalls? on CPU|INFO: rcu_\w+ (?:self-)?detected stalls? "
        r"on CPU",
        K.LOCKUP,
        C.CPU,
        S.WARNING,
        "rcu: INFO: rcu_sched self-detected stall on CPU",
        "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    ),
    pattern(
        r"INFO: task .{1,40} blocked for more than \d+ seconds",
        K.LOCKUP,
        C.NODE,
        S.WARNING,
        "INFO: task qemu-system-x86:4121 blocked for more than 120 seconds.",
    ),
    pattern(r"Kernel panic - not syncing: ", K.LOCKUP, C.NODE, S.CRITICAL, "Kernel panic - not syncing: Hard LOCKUP"),
    # ---- the machine itself ----
    pattern(
        r"^Linux version \d", K.BOOT, C.NODE, S.INFO, "Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org)"
    ),
)
