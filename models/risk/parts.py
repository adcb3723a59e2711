"""Parts of a node by the names that BMCs, drivers and exporters give them: what kind of part it is, and what it belongs to. Pure.

Every vendor names the same thing differently: `PS1 Status`, `PSU1_VIN`, `PS 1 Input` and `Power Supply 1` are one supply, and
`sda1`, `sda` and `/dev/sda` one disk. Names are data in `_CLASSES` and `_DOMAINS`; the first row that fits wins. Sources: sensor
names in vendors' manuals and public SEL dumps (Dell, HPE, Supermicro, Lenovo, Huawei, Inspur, Gigabyte, Intel), systemd's
predictable interface names, the kernel's device names.
"""

from __future__ import annotations

import re

from models.risk.signal import Component, PartClass

_SUPPLY = re.compile(
    r"(?i)(?:^|[^a-z])(?:psu|ps|pws|pwr[ _.-]?sup(?:ply)?|power[ _.-]?supply)"
    r"(?:[ _.#-]*(?P<number>\d{1,2}|[a-d](?![a-z]))(?![.\d]))?"
)
"""`PSU1`, `PS2 Status`, `Power Supply 1`, `PWS1`; a group `number` where there is one."""
_CARD = (
    r"(?i)nvme|ssd|\bm[._]?2\b|m2[_ ]|ocp|\bnic|\blom|\blan\b|pcie?[ _\d]|riser|slot|gpu|\bhba|raid|\bsas|aoc|mezz|\bioc?\b|hdd|"
    r"disk|drive|backplane|hsbp|"
    r"i/?o[ _]mod|\bbp[ _\d]|expander|sfp|optic|transceiver|phy|dpu|fpga|storage[ _]?contr|perc|megaraid|\bbat|bbu|accel"
)
_FEED = r"(?i)\bvin\b|v?in(?:put)?[ _]?\d?$|\bfeed|\bline[ _]?\d|input[ _](?:voltage|line)|^voltage[ _]?\d$|^current[ _]?\d$"

_CLASSES: dict[Component, tuple[tuple[re.Pattern[str], PartClass], ...]] = {
    Component.POWER: (
        (
            re.compile(r"(?i)v?bat(?:t|tery)?\b|v?bat(?:t|tery)?[_ .-]|vbat|cmos|\brtc\b|coin[ _-]?cell|romb"),
            PartClass.BATTERY,
        ),
        (re.compile(r"(?i)redundan|\brdn"), PartClass.REDUNDANCY),
        (re.compile(r"(?i)gpu|riser|slot|pcie|ocp|mezz|\bnic\b|\baoc|\bhdd|\bssd"), PartClass.ADD_ON),
        # What a supply puts out feeds the rail of the board; what goes into it is one feed of several.
        (re.compile(r"(?i)(?:12|54|48)[ _.]?v(?:[ _]?out|$|[ _])|vout|output"), PartClass.MAIN_RAIL),
        (_SUPPLY, PartClass.REDUNDANT),
        (re.compile(_FEED), PartClass.REDUNDANT),
    ),
    Component.THERMAL: (
        (re.compile(r"(?i)redundan"), PartClass.REDUNDANCY),
        (re.compile(_CARD), PartClass.ADD_ON),
        (re.compile(r"(?i)fan|blower|tach|rotor"), PartClass.REDUNDANT),
        (_SUPPLY, PartClass.REDUNDANT),
    ),
    Component.NETWORK: (
        # A USB port stands in the name of what hangs on it: enp0s20f0u14u3c2 (systemd.net-naming-scheme, section USB).
        (
            re.compile(r"(?:en|eth|wl)\w*?(?:s|f)\d+u\d+|usb\d+|^enx[0-9a-f]{12}$|^idrac$|^ilo\d*$|^bmc_?usb|^ipmi\d"),
            PartClass.USB_NIC,
        ),
    ),
    Component.STORAGE: (
        (re.compile(r"(?i)\bbat|bbu|supercap|capacitor"), PartClass.BATTERY),
        # A file, memory, an optical drive or a floppy; a guest's disk over the network.
        (re.compile(r"^(?:loop|zram|ram|sr|fd|nbd)\d+"), PartClass.REMOVABLE),
        (re.compile(r"^rbd\d+"), PartClass.ADD_ON),
    ),
}


def part_class(component: Component, name: str) -> PartClass:
    """What kind of part a sensor or device of that name is.

    Example: `VBAT` of power is a battery, `PS1 Vin` one of several feeds, `P12V_AUX` a rail the node does not run without.
    """
    plain = name.replace("_", " ")
    for pattern, kind in _CLASSES.get(component, ()):
        if pattern.search(plain) or pattern.search(name):
            return kind
    return PartClass.NORMAL


_DISK = re.compile(r"^(?:/dev/|disk/)?(?P<disk>nvme\d+|(?:sd|vd|hd|xvd)[a-z]{1,3}|mmcblk\d+)(?:n\d+)?(?:p?\d+)?$")
_NUMBER = re.compile(r"\d+")


def disk_name(name: str) -> str:
    """The disk that a name stands for: `sda` for `/dev/sda1`, `nvme0` for `nvme0n1p2`; other names as they are."""
    found = _DISK.match(name)
    return found["disk"] if found is not None else name.removeprefix("/dev/")


def supply_name(name: str) -> str | None:
    """`PSU1` for whatever names that supply; None for what names none."""
    found = _SUPPLY.search(name.replace("_", " "))
    if found is None:
        return None
    number = found["number"] or ""
    return f"PSU{ord(number.lower()) - 96 if number.isalpha() else number}"


_CONTROLLER = re.compile(r"^(?:MC)?(\d{1,3})$")
_SLOT = re.compile(
    r"(?i)(?:(?:cpu|proc|node|socket|p)[ _.#-]*(?P<cpu>\d)[ _.-]*)?"
    r"dimm[ _.#-]*(?:socket[ _.#-]*)?(?P<slot>[a-h]?\d{1,2}|[a-h])(?![a-z0-9])"
    r"(?:[ _.-]*(?:cpu|proc|p)[ _.#-]*(?P<cpu_after>\d))?"
)
_SLOT_OF_CPU = re.compile(r"(?i)^cpu(?P<cpu>\d)[ _-](?P<slot>[a-h]\d{1,2})$")


def module_name(part: str) -> str | None:
    """The memory module, or the controller, that a name stands for; None for what names none, such as `Mem ECC`.

    `edac/…`: as the kernel counts them, by controller (`MC0`) or by the module's label (`MC0/CPU_SrcID_0_Chan_1_DIMM_0`).
    `bmc/…`: as the board prints them: `DIMM_A1`, `P1-DIMMB2`, `DIMMA1(CPU1)`, `CPU0_G1`, `DIMM.Socket.A1`. Which is which of
    the other, nobody says.
    """
    controller, slash, label = part.partition("/")
    if slash:
        return f"edac/{label}"
    found = _CONTROLLER.match(controller)
    if found is not None:
        return f"edac/MC{found[1]}"
    found = _SLOT.search(part) or _SLOT_OF_CPU.match(part)
    if found is None:
        return None
    named = found.groupdict()
    return f"bmc/{named['cpu'] or named.get('cpu_after') or ''}{named['slot'].upper()}"


def fault_domain(component: Component, part: str) -> str:
    """What fails as one: the same text for every name of it.

    `supply:PSU1`, `rails`, `cooling`, `processor`, `memory:bmc/A1` (`memory`: some module), `disk:sda`, `link:eno1`, `pcie`. A
    fan, a temperature and a throttled processor are one fault, so that all of heat is one domain.
    """
    match component:
        case Component.POWER:
            supply = supply_name(part)
            return "rails" if supply is None else f"supply:{supply}"
        case Component.THERMAL:
            return "cooling"
        case Component.CPU:
            return "processor"
        case Component.MEMORY:
            module = module_name(part)
            return "memory" if module is None else f"memory:{module}"
        case Component.STORAGE:
            return f"disk:{disk_name(part)}"
        case Component.NETWORK:
            return f"link:{part}"
        case Component.NODE:
            return "pcie"
