"""What keeps a vm from moving, found whenever its node is observed."""

from __future__ import annotations

import pytest

from models.fleet import Fleet, Priority, Vm, VmState
from models.planning.placement import live_blocker
from models.policy.policy import MigrationPolicy, Policy
from tools.domain.labels import Labels
from tools.domain.xml import parse_domain
from tools.simulated.fleet import SimulatedFleet
from tools.simulated.state import LOCAL_DIRECTORY

LABELS = Labels(priority=Priority.LOW, cold_archive_allowed=True)


@pytest.fixture
def fleet() -> SimulatedFleet:
    fleet = SimulatedFleet()
    fleet.add_node("a")
    return fleet


def become(fleet: SimulatedFleet, uuid: str, *, more: str) -> None:
    domain = fleet.machines["a"].domains[uuid]
    domain.xml = domain.xml.replace("</devices>", f"{more}</devices>")
    domain.described = parse_domain(domain.xml)


def listed(fleet: SimulatedFleet, uuid: str) -> Vm:
    return next(vm for vm in fleet.node("a").vms() if vm.uuid == uuid)


def letters(vm: Vm) -> str:
    fields = (vm.live_obstacle, vm.cold_obstacle, vm.archive_obstacle)
    return "".join(letter for letter, why in zip("LCA", fields, strict=True) if why is not None)


def test_an_ordinary_vm_has_none_and_a_fleet_file_of_before_says_nothing_of_them(fleet: SimulatedFleet):
    vm = listed(fleet, fleet.add_vm("a", "web", labels=LABELS))
    assert letters(vm) == ""
    old = {k: v for k, v in vm.model_dump().items() if not k.endswith("_obstacle")}
    assert letters(Vm.model_validate(old)) == ""
    written = Fleet(observed_at=fleet.clock.now(), nodes=(fleet.node("a").node(),), vms=(vm,)).model_dump_json()
    assert Fleet.model_validate_json(written).vms == (vm,)


def test_the_definition_decides(fleet: SimulatedFleet):
    uuid = fleet.add_vm("a", "web", labels=LABELS)
    become(fleet, uuid, more="<shmem name='peer'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>")
    assert letters(listed(fleet, uuid)) == "L"
    become(fleet, uuid, more="<hostdev mode='subsystem' type='usb'><source><vendor id='0x1'/></source></hostdev>")
    assert letters(listed(fleet, uuid)) == "LCA"


def test_what_libvirt_keeps_of_it_decides_too(fleet: SimulatedFleet):
    uuid = fleet.add_vm("a", "web", labels=LABELS)
    domain = fleet.machines["a"].domains[uuid]
    domain.snapshots = 1
    assert letters(listed(fleet, uuid)) == "L"
    domain.snapshots, domain.state, domain.reason = 0, VmState.PAUSED, "I/O error"
    assert "I/O error" in str(live_blocker(listed(fleet, uuid), Policy()))
    assert live_blocker(listed(fleet, uuid), Policy(migration=MigrationPolicy(with_io_error=True))) is None
    domain.reason = "user"
    assert letters(listed(fleet, uuid)) == ""


def test_an_overlay_moves_cold_and_one_whose_template_is_in_no_pool_not_at_all(fleet: SimulatedFleet):
    fleet.add_image("a", f"{LOCAL_DIRECTORY}/base.raw")
    whole = fleet.add_vm("a", "whole", labels=LABELS, backing=f"{LOCAL_DIRECTORY}/base.raw")
    assert letters(listed(fleet, whole)) == "L"
    broken = fleet.add_vm("a", "broken", labels=LABELS, backing="/elsewhere/base.raw")
    assert letters(listed(fleet, broken)) == "LCA"
    assert "/elsewhere/base.raw" in str(listed(fleet, broken).archive_obstacle)


def test_a_disk_in_no_pool_is_not_read_and_so_neither_copied_cold_nor_archived(fleet: SimulatedFleet):
    uuid = fleet.add_vm("a", "web", labels=LABELS)
    become(fleet, uuid, more="<disk type='file'><source file='/elsewhere/a.raw'/><target dev='vdb'/></disk>")
    assert letters(listed(fleet, uuid)) == "CA"


def test_two_vms_with_one_disk_name_each_other(fleet: SimulatedFleet):
    web, twin = fleet.add_vm("a", "web", labels=LABELS), fleet.add_vm("a", "twin", state=VmState.SHUTOFF)
    assert letters(listed(fleet, web)) == ""
    path = f"{LOCAL_DIRECTORY}/web-0.raw"
    become(fleet, twin, more=f"<disk type='file'><source file='{path}'/><target dev='vdb'/></disk>")
    for uuid, other in ((web, "twin"), (twin, "web")):
        vm = listed(fleet, uuid)
        assert letters(vm) == "LCA"
        assert f"({path}) is used by {other} as well" in str(vm.cold_obstacle)
