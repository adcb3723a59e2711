"""What keeps a vm from moving in each way, as far as its own node tells, before any target is looked at. Pure.

It is found whenever the fleet is observed, so that a move that would be refused for good is never planned, and another
kind is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from models.fleet import Vm
from models.plan import ActionKind
from tools.domain.inventory.resource import Inventory
from tools.ports.vms import DiskObservation


@dataclass(frozen=True, kw_only=True)
class ListedVm:
    """One vm of a node while the fleet is observed."""

    vm: Vm
    disks: tuple[DiskObservation, ...]


class ObstacleFields(TypedDict):
    """The fields of `Vm` that say what keeps it from moving in each way; None where nothing does."""

    live_obstacle: str | None
    cold_obstacle: str | None
    archive_obstacle: str | None


def obstacle_fields(inventory: Inventory, disks: Sequence[DiskObservation]) -> ObstacleFields:
    """What its definition, libvirt and its disks keep a vm from."""
    live = inventory.obstacle(ActionKind.LIVE_MIGRATE)
    cold = inventory.obstacle(ActionKind.COLD_MIGRATE)
    archive = inventory.obstacle(ActionKind.COLD_ARCHIVE)
    for disk in disks:
        if disk.backing and not disk.shared:
            live = _with(live, f"disk {disk.device} is an overlay over {disk.backing}, which a live move leaves behind")
        missing = _missing_below(disk)
        if missing is not None:
            why = f"disk {disk.device} needs {missing}, which is in no running storage pool"
            cold, archive = _with(cold, why), _with(archive, why)
        if not disk.pooled:
            why = f"disk {disk.device} ({disk.path}) is in no running storage pool, through which it would be read"
            cold, archive = cold if disk.shared else _with(cold, why), _with(archive, why)
    return {"live_obstacle": live, "cold_obstacle": cold, "archive_obstacle": archive}


def without_common_disks(listed: Iterable[ListedVm]) -> list[Vm]:
    """The vms of one node, by name; those that have a disk of their own in common are kept from every move that would
    copy it: each would go on with a copy of its own."""
    listed = list(listed)
    users: dict[str, list[str]] = defaultdict(list)
    for each in listed:
        for disk in each.disks:
            if not disk.shared:
                users[disk.path].append(each.vm.name)
    found: list[Vm] = []
    for each in listed:
        vm = each.vm
        common = [disk for disk in each.disks if not disk.shared and len(users[disk.path]) > 1]
        for disk in common:
            others = ", ".join(name for name in users[disk.path] if name != vm.name)
            why = f"disk {disk.device} ({disk.path}) is used by {others} as well: a copy would part them"
            vm = vm.model_copy(
                update={
                    "live_obstacle": _with(vm.live_obstacle, why),
                    "cold_obstacle": _with(vm.cold_obstacle, why),
                    "archive_obstacle": _with(vm.archive_obstacle, why),
                }
            )
        found.append(vm)
    return sorted(found, key=lambda vm: vm.name)


def _missing_below(disk: DiskObservation) -> str | None:
    """The first image below a disk that no pool holds."""
    below = disk.backing
    for image in disk.chain:
        below = image.backing if image.path == below else below
    return below or None


def _with(obstacle: str | None, why: str) -> str:
    return why if obstacle is None else f"{obstacle}; {why}"
