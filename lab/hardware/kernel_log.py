"""What a failing machine's kernel would log, in the kernel's own words. Pure and SYNTHETIC.

The lines follow the counters of `lab.hardware.physics` second by second, so logs and metrics tell the same story. Formats are
those of Linux: edac_mc (drivers/edac), mce (arch/x86), libata and sd (drivers/ata, drivers/scsi), ixgbe and the
transmit watchdog, therm_throt and thermal. Through a fault's flutter there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from lab.hardware import noise
from lab.hardware.physics import FAILING_DISK, FAILING_NIC, Columns, Machine, readings
from lab.hardware.trajectory import Fault, FaultKind

_DIMM = "CPU_SrcID#0_Ha#0_Chan#1_DIMM#0 (channel:1 slot:0 page:0x{page:x} offset:0x{offset:x} grain:32"
_ROUTINE = (
    "perf: interrupt took too long (2513 > 2500), lowering kernel.perf_event_max_sample_rate to 79500",
    "TCP: request_sock_TCP: Possible SYN flooding on port 9100. Sending cookies.",
    "hrtimer: interrupt took 31337 ns",
    "device vnet4 left promiscuous mode",
)
_ROUTINE_SECONDS = 900


@dataclass(frozen=True)
class Line:
    time: float
    """Unix seconds."""
    text: str


def syslog(line: Line, host: str, tag: str, uptime: float | None = None) -> str:
    """One line as rsyslog's RSYSLOG_FileFormat lays it out: RFC 3339 time, host, tag, message."""
    stamp = datetime.fromtimestamp(line.time, UTC).isoformat(timespec="microseconds")
    seconds = f"[{uptime:12.6f}] " if uptime is not None else ""
    return f"{stamp} {host} {tag}: {seconds}{line.text}\n"


def boot_lines(t: float) -> list[Line]:
    """What the kernel logs about its hardware when it comes up; here it dates from the lab's start."""
    return [
        Line(t, "EDAC MC0: Giving out device to module skx_edac controller Skylake Socket#0 IMC#0: DEV 0000:3a:0a.0"),
        Line(t, "ata1: SATA link up 6.0 Gbps (SStatus 133 SControl 300)"),
        Line(t, f"sd 0:0:0:0: [{FAILING_DISK}] Attached SCSI disk"),
        Line(t, f"ixgbe 0000:18:00.0 {FAILING_NIC}: NIC Link is Up 10 Gbps, Flow Control: RX/TX"),
    ]


def lines(machine: Machine, faults: Iterable[Fault], start: float, end: float) -> list[Line]:
    """Lines of the whole seconds in [start, end), in order of time. Nothing is logged after the machine's death."""
    seconds = np.arange(np.ceil(start) - 1.0, end, 1.0)
    if len(seconds) < 2:
        return []
    mine = [fault for fault in faults if fault.node == machine.node]
    death = min((fault.death_at for fault in mine if _kills(fault) and fault.death_at), default=np.inf)
    logged = list(_routine(machine, seconds[1:]))
    for fault in mine:
        if fault.phase(float(seconds[-1])) in ("pending", "flutter"):
            continue
        # One fault at a time, so that two faults of a kind don't claim each other's counts.
        columns = readings(machine, seconds, [fault])
        for i in np.flatnonzero(fault.erring(seconds)):
            if i > 0:
                logged += _ERRORS[fault.kind](machine, float(seconds[i]), columns, int(i))
        if _kills(fault) and fault.death_at and start <= fault.death_at < end:
            logged += [Line(fault.death_at, text) for text in _LAST_WORDS[fault.kind]]
    return sorted((line for line in logged if line.time <= death), key=lambda line: line.time)


def _kills(fault: Fault) -> bool:
    return fault.death_at is not None and (fault.cleared_at is None or fault.cleared_at > fault.death_at)


def _routine(machine: Machine, seconds: np.ndarray) -> Iterator[Line]:
    for t in seconds[np.floor(seconds / _ROUTINE_SECONDS) != np.floor((seconds - 1.0) / _ROUTINE_SECONDS)]:
        yield Line(float(t) + 0.5, _ROUTINE[_draw(machine, "routine", t, len(_ROUTINE))])


def _draw(machine: Machine, what: str, t: float, below: int) -> int:
    return int(noise.uniform(machine.key(f"log/{what}"), np.array([int(t)]))[0] * below)


def _grown(columns: Columns, name: str, i: int) -> int:
    """By how much a counter grew in the second that ends at index `i`."""
    return int(columns[name][i] - columns[name][i - 1])


def _dimm(machine: Machine, t: float, columns: Columns, i: int) -> list[Line]:
    place = _DIMM.format(page=0x12F000 + _draw(machine, "page", t, 64), offset=_draw(machine, "offset", t, 64) * 64)
    texts: list[str] = []
    if corrected := _grown(columns, "ce_0_1", i):
        texts += [
            "mce: [Hardware Error]: Machine check events logged",
            f"EDAC MC0: {corrected} CE memory read error on {place} syndrome:0x0 -  area:DRAM err_code:0001:0091"
            " socket:0 ha:0 channel_mask:2 rank:1)",
        ]
    if _grown(columns, "ue_0_1", i):
        texts += [
            "mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 7: bd80000000100134",
            f"EDAC MC0: 1 UE memory read error on {place} -  area:DRAM err_code:0010:0134 socket:0 ha:0)",
            "Memory failure: 0x12f03a: recovery action for dirty LRU page: Recovered",
        ]
    return _spread(t, texts)


def _disk(machine: Machine, t: float, columns: Columns, i: int) -> list[Line]:
    if not _grown(columns, f"{FAILING_DISK}_uncorrect", i):
        return []
    sector = 1_953_000_000 + 8 * _draw(machine, "sector", t, 4096)
    tag = _draw(machine, "tag", t, 32)
    device = f"sd 0:0:0:0: [{FAILING_DISK}] tag#{tag}"
    return _spread(
        t,
        [
            f"ata1.00: exception Emask 0x0 SAct 0x{1 << tag:x} SErr 0x0 action 0x0",
            "ata1.00: irq_stat 0x40000008",
            "ata1.00: failed command: READ FPDMA QUEUED",
            "ata1.00: status: { DRDY ERR }",
            "ata1.00: error: { UNC }",
            f"{device} FAILED Result: hostbyte=DID_OK driverbyte=DRIVER_OK cmd_age=3s",
            f"{device} Sense Key : Medium Error [current] ",
            f"{device} Add. Sense: Unrecovered read error - auto reallocate failed",
            f"I/O error, dev {FAILING_DISK}, sector {sector} op 0x0:(READ) flags 0x80700 phys_seg 4 prio class 2",
            "ata1: EH complete",
        ],
    )


def _nic(machine: Machine, t: float, columns: Columns, i: int) -> list[Line]:
    device = f"ixgbe 0000:18:00.0 {FAILING_NIC}"
    before, now = columns[f"{FAILING_NIC}_up"][i - 1 : i + 1]
    if now < before:
        texts = [f"{device}: NIC Link is Down"]
        if _draw(machine, "watchdog", t, 4) == 0:
            queue = _draw(machine, "queue", t, 16)
            texts.append(f"NETDEV WATCHDOG: {FAILING_NIC} (ixgbe): transmit queue {queue} timed out")
        return _spread(t, texts)
    if now > before:
        return _spread(t, [f"{device}: NIC Link is Up 10 Gbps, Flow Control: RX/TX"])
    return []


def _fan(_machine: Machine, t: float, columns: Columns, i: int) -> list[Line]:
    if not _grown(columns, "throttles", i) or int(t) % 5:  # the kernel limits the rate of these, too
        return []
    total = int(columns["throttles"][i])
    return _spread(
        t,
        [
            f"mce: CPU0: Core temperature is above threshold, cpu clock is throttled (total events = {total})",
            f"mce: CPU0: Package temperature is above threshold, cpu clock is throttled (total events = {total})",
        ],
    )


def _silent(_machine: Machine, _t: float, _columns: Columns, _i: int) -> list[Line]:
    return []  # the kernel knows nothing of power supplies; the BMC does


def _spread(t: float, texts: list[str]) -> list[Line]:
    return [Line(t + 0.001 * i, text) for i, text in enumerate(texts)]


_ERRORS: dict[FaultKind, Callable[[Machine, float, Columns, int], list[Line]]] = {
    "psu": _silent, "power": _silent, "fan": _fan, "dimm": _dimm, "disk": _disk, "nic": _nic,
}  # fmt: skip

_LAST_WORDS: dict[FaultKind, tuple[str, ...]] = {
    "psu": (),
    "power": (),
    "fan": ("thermal thermal_zone0: acpitz: critical temperature reached, shutting down",),
    "dimm": (
        "mce: [Hardware Error]: CPU 0: Machine Check Exception: 5 Bank 7: fe00000000800400",
        "Kernel panic - not syncing: Fatal machine check",
    ),
    "disk": (
        "ata1: hard resetting link",
        "ata1.00: disable device",
        f"I/O error, dev {FAILING_DISK}, sector 0 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2",
        f"EXT4-fs error (device {FAILING_DISK}1): ext4_journal_check_start:83: Detected aborted journal",
        f"EXT4-fs ({FAILING_DISK}1): Remounting filesystem read-only",
    ),
    "nic": (f"ixgbe 0000:18:00.0 {FAILING_NIC}: NIC Link is Down",),
}
