"""One fact is one cause: what of a fault's many signs counts, and what a lost reserve is worth."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from scenes.telemetry import T0, Course, Floats, changed, seen, steady

from models.forecast.limits.node import assess_node
from models.risk.risk import Risk
from models.risk.signal import Component, HardwareEvent, HardwareEventKind, PartClass, Severity, SignalHistory
from models.risk.witness import Witness

CORDON, DRAIN, EVACUATE = 0.1, 0.25, 0.5
"""Where the default policy begins to act: no more vms, what can move live leaves (at the cheapest), everything leaves."""
NOMINAL = steady(0, step=1)


def risk_of(*histories: SignalHistory, events: tuple[HardwareEvent, ...] = ()) -> Risk:
    return assess_node("node-a", histories, events, now=T0 + 300.0)


def part(name: str, course: Course, of: str, *, interval: float = 60.0) -> SignalHistory:
    return seen(name, course, 300.0, part=of, interval=interval)


def since(course: Course, to: float, *, step: float = 1.0) -> Course:
    """The course, and from T0 on that value."""

    def together(t: Floats) -> Floats:
        return np.where(t >= 0, to, course(t))

    return together


def event(
    kind: str, of: str, part_class: PartClass, *, ago: float = 200.0, severity: str = "critical"
) -> HardwareEvent:
    component = {"power-supply": Component.POWER, "power-lost": Component.POWER, "fan": Component.THERMAL}.get(
        kind, Component.STORAGE
    )
    at = datetime.fromtimestamp(T0 + 300.0 - ago, UTC)
    return HardwareEvent(
        node="node-a", time=at, kind=HardwareEventKind(kind), component=component, severity=Severity(severity), part=of,
        part_class=part_class,
    )  # fmt: skip


FEED = steady(230, spread=0.5, step=1)


def cord_out(supply: int, *, out: bool) -> list[SignalHistory]:
    """All that a BMC shows of one supply and its feed."""
    return [
        part("psu_input_volts", since(FEED, 0.0) if out else FEED, f"PS{supply} VIN"),
        part("rail_status", since(NOMINAL, 2.0) if out else NOMINAL, f"PS{supply} VIN"),
        part("psu_status", since(NOMINAL, 2.0) if out else NOMINAL, f"PS{supply} Status"),
    ]


def test_a_supply_without_its_cord_is_a_lost_reserve_however_many_sensors_tell() -> None:
    redundancy = part("psu_redundancy", since(NOMINAL, 1.0), "PS Redundancy")
    risk = risk_of(*cord_out(1, out=True), *cord_out(2, out=False), redundancy)
    assert CORDON < risk.probability["2h"] <= risk.probability["7d"] < DRAIN
    assert {driver.signal for driver in risk.drivers} == {
        "psu_input_volts",
        "rail_status",
        "psu_status",
        "psu_redundancy",
    }


def test_both_cords_out_are_no_reserve_any_more() -> None:
    assert risk_of(*cord_out(1, out=True), *cord_out(2, out=True)).probability["2h"] > EVACUATE


def test_sensors_that_count_supplies_from_0_and_from_1_do_not_make_two_faults_of_one() -> None:
    risk = risk_of(
        part("psu_input_volts", since(FEED, 0.0), "PS1 VIN"),
        part("psu_input_volts", FEED, "PS2 VIN"),
        part("psu_status", since(NOMINAL, 2.0), "PSU0_Status"),
        part("psu_status", NOMINAL, "PSU1_Status"),
    )
    assert CORDON < risk.probability["2h"] <= risk.probability["24h"] < DRAIN


def test_an_output_out_of_bounds_drags_the_bus_and_counts_in_full() -> None:
    rail = steady(12.1, spread=0.008, step=0.02)
    sunk = changed(rail, lambda t: np.full_like(t, -0.8), step=0.02)
    other = part("psu_12v_volts", rail, "PSU2 12V Out")
    assert risk_of(part("psu_12v_volts", sunk, "PSU1 12V Out"), other).probability["2h"] > 0.9
    off = since(rail, 0.0)
    assert risk_of(part("psu_12v_volts", off, "PSU1 12V Out"), other).probability["24h"] < DRAIN, "it is switched off"


FANS = steady(5400, spread=30, step=40)


def fans(*stopped: int, to: float = 0.0, of: int = 6) -> list[SignalHistory]:
    return [part("fan_speed_rpm", since(FANS, to) if n in stopped else FANS, f"FAN{n}") for n in range(1, of + 1)]


def test_one_fan_of_six_is_a_lost_reserve_and_two_are_not() -> None:
    one, two = risk_of(*fans(3)).probability, risk_of(*fans(3, 4)).probability
    assert CORDON < one["2h"] <= one["24h"] < DRAIN
    assert two["24h"] > DRAIN


def test_fans_that_slow_down_together_were_told_to() -> None:
    risk = risk_of(*fans(1, 2, 3, 4, 5, 6, to=1800.0))
    assert risk.probability["24h"] < CORDON
    assert "slowed down together" in risk.drivers[0].why


def test_a_hot_processor_is_no_reserve_whatever_the_fans_say() -> None:
    heat = changed(steady(50, spread=1, step=1), lambda t: np.minimum(t / 2.0, 45.0), step=1)
    hot = part("cpu_temperature_celsius", heat, "CPU1 Temp")
    state = part("cpu_temperature_status", since(NOMINAL, 2.0), "CPU1 Temp")
    assert risk_of(*fans(3), hot, state).probability["2h"] > EVACUATE


def bond(lost: float) -> list[SignalHistory]:
    return [
        part("bond_lost_links", since(NOMINAL, lost), "bond0"),
        part("nic_up", since(steady(1, step=1), 1.0), "bond0"),
        part("nic_up", since(steady(1, step=1), 0.0 if lost else 1.0), "ens1f0"),
        part("nic_up", since(steady(1, step=1), 0.0 if lost > 1 else 1.0), "ens1f1"),
    ]


def test_one_leg_of_a_bond_is_a_lost_reserve() -> None:
    risk = risk_of(*bond(1.0)).probability
    assert CORDON < risk["2h"] <= risk["7d"] < DRAIN
    assert risk_of(*bond(2.0)).probability["2h"] > risk["2h"]


def test_a_link_without_a_bond_has_nothing_to_fall_back_on() -> None:
    flaps = since(steady(0, step=12), 240.0)
    alone = [part("nic_carrier_changes_per_hour", flaps, "eno1"), part("nic_up", steady(1, step=1), "eno1")]
    later = [assess_node("node-a", [seen(h.signal.name, flaps if "carrier" in h.signal.name else steady(1, step=1), 900.0,
             part=h.part, interval=60.0) for h in alone], [], now=T0 + 900.0)]  # fmt: skip
    assert later[0].probability["2h"] > EVACUATE


def test_a_port_that_never_had_a_link_says_nothing() -> None:
    flaps = since(steady(0, step=12), 240.0)
    unused = [
        seen("nic_carrier_changes_per_hour", flaps, 900.0, part="eno4", interval=60.0),
        seen("nic_up", NOMINAL, 900.0, part="eno4", interval=60.0),
    ]
    assert assess_node("node-a", unused, [], now=T0 + 900.0).probability["2h"] < 0.01


def test_lost_reserves_of_several_kinds_are_still_reserves() -> None:
    lost = risk_of(*cord_out(1, out=True), *cord_out(2, out=False), *fans(3), *bond(1.0)).probability
    assert lost["7d"] < DRAIN


@pytest.mark.parametrize("also", [["sdd"], ["ata4", "sdd", "dm-0", "md0"]])
def test_a_disk_counts_once_whatever_it_is_called(also: list[str]) -> None:
    once = risk_of(events=(event("disk-io", "sdd", PartClass.NORMAL),)).probability["2h"]
    named = tuple(event("disk-io", name, PartClass.NORMAL) for name in also)
    assert risk_of(events=named).probability["2h"] == pytest.approx(once, abs=0.01)
    two = risk_of(events=(*named, event("disk-io", "sda", PartClass.NORMAL))).probability["2h"]
    assert two > once + 0.1, "another disk is another fact"


def test_an_array_short_of_one_disk_is_degraded_and_of_two_is_lost() -> None:
    def missing(disks: float) -> dict[str, float]:
        return risk_of(part("raid_missing_disks", since(NOMINAL, disks), "md0")).probability

    assert missing(1.0)["24h"] < CORDON
    assert missing(2.0)["24h"] > DRAIN


def test_what_metrics_and_the_log_tell_of_one_supply_is_one_fact() -> None:
    log = event("power-supply", "PS1_Status", PartClass.REDUNDANT)
    both = risk_of(*cord_out(1, out=True), *cord_out(2, out=False), events=(log,)).probability
    assert CORDON < both["2h"] <= both["7d"] < DRAIN


def test_each_way_that_word_came_by_is_told_apart() -> None:
    fault = [*cord_out(1, out=True), *cord_out(2, out=True)]
    alone = risk_of(*fault).witnesses
    assert alone is not None
    assert alone.keys() == {Witness.BMC_METRICS}
    record = event("power-supply", "PS1_Status", PartClass.REDUNDANT).model_copy(update={"witness": Witness.BMC_LOG})
    both = risk_of(*fault, events=(record,))
    assert both.witnesses is not None
    assert both.witnesses.keys() == {Witness.BMC_METRICS, Witness.BMC_LOG}
    assert both.witnesses[Witness.BMC_METRICS] == alone[Witness.BMC_METRICS], "no other's word is in it"
    assert CORDON < both.witness_within(Witness.BMC_LOG, 7200.0) < both.within(7200.0)
    assert risk_of(*cord_out(1, out=False), *cord_out(2, out=False)).witnesses == {}


def test_a_supply_that_the_machine_calls_nominal_again_clears_its_record() -> None:
    log = event("power-supply", "PS1_Status", PartClass.REDUNDANT, ago=3000.0)
    assert risk_of(events=(log,)).probability["2h"] > CORDON
    assert risk_of(*cord_out(1, out=False), *cord_out(2, out=False), events=(log,)).probability["2h"] < CORDON


def test_a_record_of_redundancy_lost_is_not_a_second_supply_in_trouble() -> None:
    records = (
        event("power-lost", "PS2_Status", PartClass.REDUNDANT),
        event("power-supply", "PS_Redundancy", PartClass.REDUNDANCY),
    )
    assert CORDON < risk_of(events=records).probability["2h"] < DRAIN
    second = event("power-lost", "PS1_Status", PartClass.REDUNDANT)
    assert risk_of(events=(*records, second)).probability["2h"] > EVACUATE


def memory(of: str, *, kind: str = "memory-corrected", severity: str = "critical") -> HardwareEvent:
    return HardwareEvent(
        node="node-a", time=datetime.fromtimestamp(T0 + 100.0, UTC), kind=HardwareEventKind(kind), component=Component.MEMORY,
        severity=Severity(severity), part=of,
    )  # fmt: skip


def test_two_modules_in_trouble_are_two_faults_and_one_of_many_names_is_one() -> None:
    def soon(*events: HardwareEvent) -> float:
        return risk_of(events=events).probability["2h"]

    one = soon(memory("DIMMA1"))
    assert one > CORDON
    assert soon(memory("DIMMA1"), memory("DIMMB2")) > 1.4 * one
    same = soon(memory("DIMMA1"), memory("DIMM_A1"), memory("MC0"), memory("Mem_ECC"), memory("MC0/CPU_SrcID_0_DIMM_0"))
    assert abs(same - one) < 0.01, "a controller, a nameless sensor and the kernel's name may all mean that module"


def test_corrected_errors_on_many_modules_are_no_more_than_on_one() -> None:
    events = tuple(memory(f"DIMM_{bank}{slot}", severity="warning") for bank in "ABCDEF" for slot in (1, 2))
    assert risk_of(events=events).probability["24h"] < CORDON
