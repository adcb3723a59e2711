"""What a node's records add to its risk: by the part, by what followed, and by how often."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from models.forecast.limits.events import EventHazard, event_hazards
from models.forecast.limits.node import assess_node
from models.risk.signal import Component, HardwareEvent, HardwareEventKind, PartClass, Severity

K, S, P = HardwareEventKind, Severity, PartClass
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TRIGGER = 0.5
"""The default policy evacuates from this P(fails within 2 h) on."""
NO_TARGET = 0.1


def event(
    kind: HardwareEventKind,
    severity: Severity,
    part: str = "",
    *,
    ago: float = 600.0,
    cls: PartClass = P.NORMAL,
    ended: bool = False,
) -> HardwareEvent:
    return HardwareEvent(
        node="node-a", time=NOW - timedelta(seconds=ago), kind=kind, component=Component.NODE, severity=severity, part=part,
        part_class=cls, asserted=not ended,
    )  # fmt: skip


def hazards(*events: HardwareEvent) -> list[EventHazard]:
    return event_hazards(events, now=NOW.timestamp())


def soon(events: Iterable[HardwareEvent]) -> float:
    """The strongest record's P(fails within 2 h)."""
    return max((hazard.within(7200.0) for hazard in hazards(*events)), default=0.0)


def test_unambiguous_deaths_reach_the_trigger_alone() -> None:
    for kind in (K.MEMORY_UNCORRECTED, K.MACHINE_CHECK, K.VOLTAGE, K.TEMPERATURE):
        assert soon([event(kind, S.CRITICAL)]) > TRIGGER, kind
    assert soon([event(K.DISK_IO, S.CRITICAL, "mpt3sas_cm0", cls=P.CONTROLLER)]) > TRIGGER
    assert soon([event(K.DISK_IO, S.CRITICAL, "sda")]) < TRIGGER, "one disk is not the node"


def test_the_part_decides() -> None:
    for cls in (P.BATTERY, P.ADD_ON):
        assert 0.0 < soon([event(K.VOLTAGE, S.CRITICAL, "x", cls=cls)]) < 0.03
        assert soon([event(K.TEMPERATURE, S.CRITICAL, "x", cls=cls)]) < 0.03
    for cls in (P.USB_NIC, P.UNUSED_PORT, P.REMOVABLE):
        assert hazards(event(K.LINK_DOWN, S.WARNING, "x", cls=cls)) == []
        assert hazards(event(K.DISK_IO, S.CRITICAL, "x", cls=cls)) == []


def test_what_corrects_itself_does_not_pile_up_until_memory_storms() -> None:
    for kind in (K.PCIE, K.MACHINE_CHECK, K.THROTTLE):
        one, many = event(kind, S.WARNING), [event(kind, S.WARNING, ago=60.0 + n) for n in range(2000)]
        assert abs(soon([one]) - soon(many)) < 0.02, kind
    few = [event(K.MEMORY_CORRECTED, S.WARNING, "MC0", ago=60.0 * n) for n in range(1, 40)]
    storm = [event(K.MEMORY_CORRECTED, S.WARNING, "MC0", ago=60.0 * n) for n in range(1, 200)]
    assert soon(few) < NO_TARGET / 5 < NO_TARGET < soon(storm)


def test_a_link_that_came_back_weighs_little_and_a_flapping_one_more() -> None:
    down = event(K.LINK_DOWN, S.WARNING, "eno1", ago=60)
    back = event(K.LINK_UP, S.INFO, "eno1", ago=30)
    assert soon([down]) > NO_TARGET > 3 * soon([down, back]) > 0.0
    flaps = [f for n in range(40) for f in (event(K.LINK_DOWN, S.WARNING, "eno1", ago=60 * n + 62),
                                            event(K.LINK_UP, S.INFO, "eno1", ago=60 * n + 61))]  # fmt: skip
    assert soon([down, back]) < soon(flaps) < TRIGGER


def test_ports_that_never_had_a_link_since_the_boot_are_not_down() -> None:
    boot = event(K.BOOT, S.INFO, ago=300)
    unused = [event(K.LINK_DOWN, S.WARNING, f"eno{n}", ago=290 - n) for n in range(4)]
    assert soon([boot, *unused]) == 0.0
    used = [event(K.LINK_DOWN, S.WARNING, "eno1", ago=290), event(K.LINK_UP, S.INFO, "eno1", ago=285)]
    lost = event(K.LINK_DOWN, S.WARNING, "eno1", ago=100)
    assert soon([boot, *used, lost]) > NO_TARGET, "one that had a link is"


def test_a_reserve_that_is_whole_again_ends_what_was_lost_of_it() -> None:
    lost = [
        event(K.POWER_SUPPLY, S.CRITICAL, "0x3b", ago=600, cls=P.REDUNDANT),
        event(K.POWER_LOST, S.CRITICAL, "0x3b", ago=599, cls=P.REDUNDANT),
        event(K.POWER_SUPPLY, S.WARNING, "0x3e", ago=598, cls=P.REDUNDANCY),
    ]
    regained = event(K.POWER_SUPPLY, S.WARNING, "0x3e", ago=60, cls=P.REDUNDANCY, ended=True)
    assert soon(lost) > NO_TARGET > soon([*lost, regained])
    again = event(K.POWER_LOST, S.CRITICAL, "0x3b", ago=30, cls=P.REDUNDANT)
    assert soon([*lost, regained, again]) > NO_TARGET


def test_power_that_is_back_leaves_nothing() -> None:
    cycle = [
        event(K.POWER_LOST, S.CRITICAL, "Pwr_Unit", ago=1400),
        event(K.POWER_LOST, S.CRITICAL, "Pwr_Unit", ago=1300, ended=True),
    ]
    assert soon(cycle[:1]) > NO_TARGET > soon(cycle)


def test_a_supply_that_lost_its_input_explains_what_it_puts_out() -> None:
    volts = event(K.VOLTAGE, S.CRITICAL, "PSU2_12V_Out", ago=590, cls=P.MAIN_RAIL)
    (alone,) = hazards(volts)
    assert alone.part_class is P.MAIN_RAIL
    explained = hazards(volts, event(K.POWER_LOST, S.CRITICAL, "PS2 Status".replace(" ", "_"), cls=P.REDUNDANT))
    assert {hazard.part_class for hazard in explained} == {P.REDUNDANT}
    other = hazards(volts, event(K.POWER_LOST, S.CRITICAL, "PS1_Status", cls=P.REDUNDANT))
    assert P.MAIN_RAIL in {hazard.part_class for hazard in other}


def test_a_leg_of_a_bond_is_one_whoever_tells_of_it() -> None:
    bond = event(K.LINK_DOWN, S.WARNING, "eno1", ago=60, cls=P.REDUNDANT)
    driver = event(K.LINK_DOWN, S.WARNING, "eno1", ago=61)
    assert {hazard.part_class for hazard in hazards(bond, driver)} == {P.REDUNDANT}


def test_a_boot_ends_a_lockup() -> None:
    stuck = event(K.LOCKUP, S.CRITICAL, ago=600)
    assert soon([stuck]) > TRIGGER > NO_TARGET > soon([stuck, event(K.BOOT, S.INFO, ago=300)])


# ---- together, as a node's risk ----


def within_two_hours(*events: HardwareEvent) -> float:
    return assess_node("node-a", [], events, now=NOW.timestamp()).probability["2h"]


def test_one_supply_of_two_keeps_vms_away_and_no_more_until_its_partner_is_in_trouble() -> None:
    one = [
        event(K.POWER_SUPPLY, S.CRITICAL, "0x3b", cls=P.REDUNDANT),
        event(K.POWER_LOST, S.CRITICAL, "0x3b", cls=P.REDUNDANT),
        event(K.POWER_SUPPLY, S.WARNING, "0x3e", cls=P.REDUNDANCY),
    ]
    assert NO_TARGET < within_two_hours(*one) < 0.25
    other = event(K.POWER_LOST, S.CRITICAL, "0x3c", cls=P.REDUNDANT)
    assert within_two_hours(*one, other) > TRIGGER


def test_a_disk_told_of_under_many_names_is_one() -> None:
    disk = event(K.DISK_IO, S.CRITICAL, "sdd")
    names = [event(K.DISK_IO, S.WARNING, name) for name in ("ata4", "dm-0", "md0")]
    assert within_two_hours(disk, *names) < within_two_hours(disk) + 0.01
    burst = [event(K.DISK_IO, S.CRITICAL, "sdd", ago=600.0 - n) for n in range(300)]
    assert NO_TARGET < within_two_hours(*burst) < TRIGGER, "one disk, however often it says so"


def test_members_of_arrays_are_a_reserve() -> None:
    member = event(K.DISK_SMART, S.CRITICAL, "0x42", cls=P.REDUNDANT)
    assert assess_node("node-a", [], [member], now=NOW.timestamp()).probability["24h"] < 0.25


def test_a_bond_whose_leg_came_back_has_one_again() -> None:
    lost = [
        event(K.LINK_DOWN, S.WARNING, "ens1f0", ago=900, cls=P.REDUNDANT),
        event(K.LINK_DOWN, S.CRITICAL, "bond0", ago=900),
    ]
    back = event(K.LINK_UP, S.INFO, "ens1f0", ago=600, cls=P.REDUNDANT)
    assert soon(lost) > 0.3
    assert soon([*lost, back]) < 0.1


def test_a_bus_that_recovered_weighs_little_at_whichever_end_it_was_told() -> None:
    errors = [event(K.PCIE, S.CRITICAL, part, ago=900) for part in ("0000:3a:00.0", "0000:3b:00.0")]
    recovered = event(K.PCIE, S.CRITICAL, "0000:3a:00.0", ago=890, ended=True)
    assert soon([*errors, recovered]) < 0.3 * soon(errors)
    again = event(K.PCIE, S.CRITICAL, "0000:3b:00.0", ago=100)
    assert soon([*errors, recovered, again]) > 0.2, "the recovery was of what came before it"


def test_one_card_is_not_the_node_however_often_it_errs() -> None:
    assert soon([event(K.PCIE, S.CRITICAL, "0000:3b:00.0", ago=60.0 * k) for k in range(50)]) < TRIGGER
