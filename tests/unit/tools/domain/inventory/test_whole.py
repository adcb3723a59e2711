"""The running guest and the defined one are two, and libvirt keeps more of it than its definition."""

from __future__ import annotations

import pytest
from scenes.definitions import ROOT, definition, disk

from tools.domain.inventory.handlers import take_inventory
from tools.domain.inventory.resource import MOVES
from tools.domain.inventory.whole import LibvirtState, definition_differences, whole_inventory
from tools.ports.shared_storage import SharedStorage

HOTPLUGGED = disk("<source file='/images/plugged.qcow2'/>").replace("vda", "sdb")
SHARED = disk("<source file='/srv/nfs/plugged.qcow2'/>").replace("vda", "sdb")
DIRECTORY = "<filesystem type='mount'><source dir='/srv/d'/><target dir='d'/></filesystem>"


def refused(running: str, defined: str, state: LibvirtState | None = None) -> str:
    nfs = SharedStorage(paths=("/srv/nfs",))
    one, other = (take_inventory(definition(each), nfs) for each in (running, defined))
    whole = whole_inventory(one, other, state or LibvirtState())
    return "".join(letter for letter, move in zip("LCA", MOVES, strict=True) if whole.obstacle(move) is not None)


@pytest.mark.parametrize(
    ("running", "defined", "expected"),
    [
        (ROOT, ROOT, ""),
        (ROOT + HOTPLUGGED, ROOT, "CA"),
        (ROOT, ROOT + HOTPLUGGED, "LCA"),
        (ROOT, ROOT + SHARED, "CA"),
        (ROOT, ROOT.replace("root.qcow2", "other.qcow2"), "CA"),
        (ROOT + DIRECTORY, ROOT, "LCA"),
        (ROOT + "<serial type='pty'/>", ROOT, ""),
    ],
)
def test_a_disk_that_only_one_of_the_two_has_refuses(running: str, defined: str, expected: str):
    assert refused(running, defined) == expected


def test_a_difference_is_told_with_both_places():
    one, other = (take_inventory(definition(each)) for each in (ROOT, ROOT.replace("root", "other")))
    (difference,) = definition_differences(one, other)
    assert str(difference) == (
        "disk vda is /images/root.qcow2 in the running guest and /images/other.qcow2 in the definition"
    )


def test_what_libvirt_adds_to_a_running_guest_is_no_difference():
    """Chains of images, ports and names are filled in when a guest starts."""
    below = "<backingStore type='file' index='1'><format type='raw'/><source file='/images/base'/><backingStore/></backingStore>"
    running = definition(disk("<source file='/images/root.qcow2' index='2'/>", more=below))
    assert definition_differences(take_inventory(running), take_inventory(definition(ROOT))) == ()


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (LibvirtState(), ""),
        (LibvirtState(snapshots=2), "L"),
        (LibvirtState(checkpoints=1), ""),
        (LibvirtState(saved_memory=True), "LCA"),
        (LibvirtState(persistent=False), "LCA"),
    ],
)
def test_what_libvirt_keeps_outside_the_definition_counts(state: LibvirtState, expected: str):
    assert refused(ROOT, ROOT, state) == expected
