"""From the messages of hardware's programs to what they say; what spans several lines is put together here.

A firmware-first record (GHES), one of mcelog's, and the kernel's numbers of disks (`sd 0:0:0:0`) make sense only with the lines
around them.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from models.risk.signal import Component, HardwareEvent, HardwareEventKind, PartClass, Severity
from tools.logs.patterns import Match, harmless, is_known_harmless, match_kernel
from tools.logs.sel.events import is_routine, understand_record
from tools.logs.sel.records import record_of

K, C, S = HardwareEventKind, Component, Severity

BMC_TAGS = frozenset({"ipmievd", "ipmiseld"})
DAEMON_TAGS = frozenset({"smartd", "rasdaemon", "mcelog", "zed", "mdadm", "mdmonitor"})
KERNEL_TAGS = frozenset({"kernel"})
TAGS = KERNEL_TAGS | DAEMON_TAGS | BMC_TAGS
"""Programs that speak for the hardware; whoever else says the same is not believed."""

_UPTIME = re.compile(r"^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ")
_REPEATED = re.compile(r"^message repeated (\d+) times: \[ ?(.*)\]$")
_FIRMWARE = re.compile(r"^(?:\{(?P<number>\d+)\})?\[Hardware Error\]:(?P<text> .*)$")
_FIRMWARE_WORDS = re.compile(
    r" (?:Hardware error from APEI|It has been corrected|event severity:| ?Error \d+, type:|  ?section[_ ](?:type|length)|"
    r"  ?error_type:|  ?DIMM location|"
    r"  ?physical_address|  ?error_status|  ?node:|  ?device_id|  ?port_type|  ?fru_text|  ?FRU)"
)
_DISK_NAME = re.compile(
    r"\bsd (?P<hctl>(?P<host>\d+):\d+:\d+:\d+): \[(?P<name>sd[a-z]{1,3})\](?P<removable>.*removable)?"
)
_NIC_NAME = re.compile(r"^[\w-]+ (?P<device>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]):? (?P<name>[A-Za-z]\w{2,14}): ")
_USB_NIC = re.compile(r"^(?:cdc_\w+|rndis_host|r8152|ax88\w+|asix|smsc\w+) [\d.:-]+ (?P<name>[A-Za-z]\w{2,14}): ")
_USB_GONE = re.compile(r"^usb [\d.-]+: USB disconnect")
_USB_PULLED = timedelta(seconds=60)
"""Errors of a disk this soon after something was pulled from USB are of what was pulled."""
_PATH_LOST = re.compile(r"^device-mapper: multipath: \d+:\d+: Failing path ")
_OF_PATH = timedelta(seconds=120)
"""Errors of a disk this near to the loss of a path are of that path, one of several to the same disk."""
_HCTL = re.compile(r"^(?P<host>\d+):\d+:\d+:\d+$")
_SCSI_DISK = re.compile(r"^(?:sd[a-z]+|\d+:\d+:\d+:\d+)$")
_ATA = re.compile(r"^ata(?P<number>\d+)$")


@dataclass
class _Record:
    """A record of several lines, as far as it was read."""

    at: datetime
    text: str = ""
    before: bool = False
    """it is about the boot before this one"""


def understand(tag: str, message: str) -> Match | None:
    """What one message of that program says by itself; None when nothing names it, or the program is none of the hardware's."""
    message = _bare(message)
    if tag in BMC_TAGS:
        record = record_of(message)
        return None if record is None else understand_record(record)
    return match_kernel(message) if tag in TAGS else None


def _bare(message: str) -> str:
    message = _UPTIME.sub("", message)
    repeated = _REPEATED.match(message)
    return message if repeated is None else _UPTIME.sub("", repeated[2])


class LineReader:
    """One node's messages, in the order in which they are read."""

    def __init__(self) -> None:
        self.heard: Callable[[str, str, datetime], None] | None = None
        """told of every message (program, text, time), for who gathers them"""
        self.strange: Counter[str] = Counter()
        """by program: lines that nothing names"""
        self._firmware: _Record | None = None
        self._number = ""
        self._mcelog: _Record | None = None
        self._disks: dict[str, str] = {}
        self._nics: dict[str, str] = {}
        """by PCI address"""
        self._removable: set[str] = set()
        self._usb_nics: set[str] = set()
        self._usb_gone: datetime | None = None
        self._paths_lost: deque[datetime] = deque(maxlen=200)

    def read(self, tag: str, message: str, at: datetime) -> list[tuple[datetime, Match]]:
        """What this message ends or says. `tag` is one of TAGS."""
        if self.heard is not None:
            self.heard(tag, message, at)
        message = _bare(message)
        if tag in BMC_TAGS:
            return self._read_bmc(tag, message, at)
        if tag == "mcelog":
            said = self._read_mcelog(message, at)
            if said is not None:
                return said
        said = self._read_firmware(message, at) if tag == "kernel" else None
        if said is not None:
            return said
        self._learn(message, at)
        match = match_kernel(message)
        if match is None:
            if tag in DAEMON_TAGS and message.strip() and not is_known_harmless(message):
                self.strange[tag] += 1
            return []
        return [(at, self._of_usb(match, at))]

    def flush(self) -> list[tuple[datetime, Match]]:
        """What was begun and has no end yet: nothing more may come for long."""
        return [*self._end_firmware(), *self._end_mcelog()]

    def named(self, event: HardwareEvent) -> HardwareEvent:
        """The event with its disk's or interface's name, where a line had only a number and other lines tell the name."""
        if event.component is Component.NETWORK:
            name = self._nics.get(event.part, event.part)
            part_class = PartClass.USB_NIC if name in self._usb_nics else event.part_class
            return event.model_copy(update={"part": name, "part_class": part_class})
        if event.component is not Component.STORAGE:
            return event
        name = self._disks.get(event.part)
        ata = _ATA.match(event.part)
        if ata is not None:
            # libata numbers its ports from 1, in the order of the SCSI hosts they become.
            behind = {disk for hctl, disk in self._disks.items() if hctl.split(":")[0] == str(int(ata["number"]) - 1)}
            name = behind.pop() if len(behind) == 1 else None
        update: dict[str, object] = {} if name is None else {"part": name}
        if (name or event.part) in self._removable:
            update["part_class"] = PartClass.REMOVABLE
        elif _SCSI_DISK.match(name or event.part) and any(abs(event.time - at) <= _OF_PATH for at in self._paths_lost):
            update["part_class"] = PartClass.REDUNDANT
        return event.model_copy(update=update) if update else event

    # ---- the BMC's records, as ipmievd and ipmiseld log them ----

    def _read_bmc(self, tag: str, message: str, at: datetime) -> list[tuple[datetime, Match]]:
        record = record_of(message)
        if record is None:
            self.strange[tag] += "SEL" in message or " sensor " in message
            return []
        match = understand_record(record)
        if match is None:
            self.strange[tag] += not is_routine(record)
            return []
        return [(at, match)]

    # ---- disks ----

    def _learn(self, message: str, at: datetime) -> None:
        found = _DISK_NAME.search(message)
        if found is not None:
            self._disks[found["hctl"]] = found["name"]
            if found["removable"]:
                self._removable.add(found["name"])
            return
        found = _USB_NIC.match(message)
        if found is not None:
            self._usb_nics.add(found["name"])
            return
        found = _NIC_NAME.match(message)
        if found is not None:
            self._nics[found["device"]] = found["name"]
        elif _USB_GONE.match(message):
            self._usb_gone = at
        elif _PATH_LOST.match(message):
            self._paths_lost.append(at)

    def _of_usb(self, match: Match, at: datetime) -> Match:
        is_disk = match.component is Component.STORAGE and (match.part.startswith("sd") or _HCTL.match(match.part))
        if is_disk and self._usb_gone is not None and timedelta(0) <= at - self._usb_gone <= _USB_PULLED:
            return match.about(match.part, PartClass.REMOVABLE)
        return match

    # ---- firmware-first records ----

    def _read_firmware(self, message: str, at: datetime) -> list[tuple[datetime, Match]] | None:
        """None: the message is no part of such a record."""
        if message.startswith("BERT: Error records from previous boot"):
            said = self._end_firmware()
            self._firmware, self._number = _Record(at, before=True), ""
            return said
        found = _FIRMWARE.match(message)
        if found is None or not (found["number"] or _FIRMWARE_WORDS.match(found["text"])):
            return self._end_firmware() or None
        number, text = found["number"] or "", found["text"].strip()
        said: list[tuple[datetime, Match]] = []
        record = self._firmware
        begins = text.startswith("Hardware error from APEI") or (
            text.startswith("event severity:") and record is not None and "event severity:" in record.text
        )
        if record is None or number != self._number or begins:
            said = self._end_firmware()
            record = self._firmware = _Record(at, before=record is not None and record.before and not number)
            self._number = number
        record.text += f"{text}\n"
        return said

    def _end_firmware(self) -> list[tuple[datetime, Match]]:
        record, self._firmware = self._firmware, None
        if record is None:
            return []
        grade = re.search(r"event severity: (\w+)", record.text)
        severity = grade[1] if grade is not None else "corrected" if "has been corrected" in record.text else ""
        if severity not in ("corrected", "recoverable", "fatal"):
            return []
        is_fault = severity != "corrected"
        if record.before:
            # It was written as the machine went down; it is up again.
            return [(record.at, Match(K.MACHINE_CHECK, C.CPU, S.WARNING, "previous_boot"))] if is_fault else []
        if re.search(r"section[_ ]type: memory|multi-bit ECC|single-bit ECC", record.text):
            place = re.search(r"DIMM location: (?:not present\. DMI handle: )?(.+)", record.text)
            part = harmless(place[1]) if place is not None else ""
            kind, worst = (K.MEMORY_UNCORRECTED, S.CRITICAL) if is_fault else (K.MEMORY_CORRECTED, S.WARNING)
            return [(record.at, Match(kind, C.MEMORY, worst, part))]
        if re.search(r"section[_ ]type: PCIe", record.text):
            device = re.search(r"device_id: ([0-9a-f:.]+)", record.text)
            worst = S.CRITICAL if is_fault else S.WARNING
            return [(record.at, Match(K.PCIE, C.NODE, worst, harmless(device[1]) if device is not None else ""))]
        return [(record.at, Match(K.MACHINE_CHECK, C.CPU, S.CRITICAL if is_fault else S.WARNING))]

    # ---- mcelog's records ----

    def _read_mcelog(self, message: str, at: datetime) -> list[tuple[datetime, Match]] | None:
        """None: the message stands for itself."""
        if match_kernel(message) is not None:
            return None
        said: list[tuple[datetime, Match]] = []
        if message.startswith(("Hardware event", "MCE ")):
            begun = self._mcelog
            if message.startswith("Hardware event") or begun is None or "MCE " in begun.text:
                said = self._end_mcelog()
                self._mcelog = _Record(at)
        if self._mcelog is None:
            return None
        self._mcelog.text += f"{message}\n"
        return said

    def _end_mcelog(self) -> list[tuple[datetime, Match]]:
        record, self._mcelog = self._mcelog, None
        if record is None:
            return []
        # Bit 61 of the bank's status says uncorrected (Intel SDM 3B, 16.3.2.2).
        status = re.search(r"\bSTATUS ([0-9a-f]{1,16})\b", record.text)
        is_fault = "Uncorrected error" in record.text or (status is not None and bool(int(status[1], 16) >> 61 & 1))
        if status is None and not is_fault and "Corrected error" not in record.text:
            return []
        of_memory = bool(re.search(r"MEMORY CONTROLLER|memory (?:read|write|scrub)|DIMM", record.text, re.IGNORECASE))
        kind = (K.MEMORY_UNCORRECTED if is_fault else K.MEMORY_CORRECTED) if of_memory else K.MACHINE_CHECK
        return [(record.at, Match(kind, C.MEMORY if of_memory else C.CPU, S.CRITICAL if is_fault else S.WARNING))]
