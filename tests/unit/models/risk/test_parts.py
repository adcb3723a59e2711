"""Names from many vendors: what kind of part they name, and what fails together."""

from __future__ import annotations

import pytest

from models.risk.parts import disk_name, fault_domain, part_class, supply_name
from models.risk.signal import Component, PartClass

C, P = Component, PartClass


@pytest.mark.parametrize(
    ("component", "name", "kind"),
    [
        (C.POWER, "VBAT", P.BATTERY),
        (C.POWER, "CMOS_Battery", P.BATTERY),
        (C.POWER, "BB +3.0V BAT", P.BATTERY),
        (C.POWER, "3VBAT", P.BATTERY),
        (C.POWER, "ROMB Battery", P.BATTERY),
        (C.POWER, "PS Redundancy", P.REDUNDANCY),
        (C.POWER, "PSU1 12V Out", P.MAIN_RAIL),
        (C.POWER, "PSU1 Vin", P.REDUNDANT),
        (C.POWER, "PS1_VIN", P.REDUNDANT),
        (C.POWER, "PS1 Input Voltage", P.REDUNDANT),
        (C.POWER, "Power Supply 2", P.REDUNDANT),
        (C.POWER, "PSU2_Supply", P.REDUNDANT),
        (C.POWER, "Voltage 1", P.REDUNDANT),
        (C.POWER, "P12V_AUX", P.MAIN_RAIL),
        (C.POWER, "Vcpu1VRM", P.NORMAL),
        (C.THERMAL, "NVMe_SSD1_Temp", P.ADD_ON),
        (C.THERMAL, "M2_Temp0", P.ADD_ON),
        (C.THERMAL, "OCP NIC Temp", P.ADD_ON),
        (C.THERMAL, "PCIe Riser 2 Temp", P.ADD_ON),
        (C.THERMAL, "HSBP 1 Temp", P.ADD_ON),
        (C.THERMAL, "CPU1 Temp", P.NORMAL),
        (C.THERMAL, "Inlet Temp", P.NORMAL),
        (C.THERMAL, "FAN_3", P.REDUNDANT),
        (C.NETWORK, "enp0s20f0u8u3c2", P.USB_NIC),
        (C.NETWORK, "usb0", P.USB_NIC),
        (C.NETWORK, "eno1", P.NORMAL),
        (C.NETWORK, "enp59s0f1np1", P.NORMAL),
        (C.STORAGE, "sda", P.NORMAL),
    ],
)
def test_a_name_says_what_kind_of_part_it_is(component: Component, name: str, kind: PartClass) -> None:
    assert part_class(component, name) is kind


@pytest.mark.parametrize(
    ("name", "disk"),
    [
        ("/dev/sda", "sda"), ("sda1", "sda"), ("nvme0n1p2", "nvme0"), ("nvme0n1", "nvme0"), ("nvme0", "nvme0"),
        ("dm-3", "dm-3"), ("md127", "md127"), ("sdab12", "sdab"), ("mmcblk0p1", "mmcblk0"),
    ],
)  # fmt: skip
def test_partitions_and_namespaces_are_their_disk(name: str, disk: str) -> None:
    assert disk_name(name) == disk


@pytest.mark.parametrize(
    "name",
    ["PSU1", "PS1 Status", "PSU1_PIN", "Power Supply 1", "PS 1 Input", "PSU1 12V Out", "PSU1_12V_Out", "PWS1", "PSU A"],
)
def test_the_names_of_one_supply_are_one_domain(name: str) -> None:
    assert supply_name(name) == "PSU1"
    assert fault_domain(Component.POWER, name) == "supply:PSU1"


def test_two_supplies_are_two_domains_and_rails_are_one() -> None:
    assert fault_domain(Component.POWER, "PS2 Status") == "supply:PSU2"
    assert fault_domain(Component.POWER, "P12V") == fault_domain(Component.POWER, "BB +5.0V") == "rails"
    assert fault_domain(Component.THERMAL, "FAN1") == fault_domain(Component.THERMAL, "CPU2 Temp")
    assert (
        fault_domain(Component.STORAGE, "sda1")
        == fault_domain(Component.STORAGE, "sda")
        != fault_domain(Component.STORAGE, "sdb")
    )


@pytest.mark.parametrize(
    ("names", "module"),
    [
        (["DIMM_A1", "DIMMA1", "DIMM A1", "DIMM.Socket.A1", "dimm#A1"], "memory:bmc/A1"),
        (["P1-DIMMA1", "CPU1_DIMM_A1", "DIMMA1_CPU1", "CPU1_A1"], "memory:bmc/1A1"),
        (["PROC 2 DIMM 3", "CPU2 DIMM3"], "memory:bmc/23"),
        (["MC0", "0"], "memory:edac/MC0"),
        (["MC3/CPU_SrcID_1_MC_1_Chan_0_DIMM_0"], "memory:edac/CPU_SrcID_1_MC_1_Chan_0_DIMM_0"),
        (["Mem ECC Warning", "#0x88", "Mmry ECC Sensor", "CPU1 Memory", ""], "memory"),
    ],
)
def test_a_memory_module_by_its_names(names: list[str], module: str) -> None:
    assert {fault_domain(Component.MEMORY, name) for name in names} == {module}
