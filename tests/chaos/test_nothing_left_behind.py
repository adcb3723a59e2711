"""Whatever a guest names on its host is taken along, or the guest is refused while it still runs: never DONE without it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from scenes.definitions import LINUX, WINDOWS
from scenes.simulated_world import BATCH, POLICY, World

from agent.actions.attempt import AttemptContext
from agent.actions.runner import run_attempt
from agent.archives.restore import restore
from agent.archives.wipe import wipe
from models.evacuation import Attempt, AttemptOutcome
from models.fleet import VmState
from models.plan import Action, ActionKind
from models.policy.policy import ArchivePolicy, SourceRelease
from tools.domain.inventory import handlers
from tools.domain.labels import NAMESPACE
from tools.domain.xml import parse_domain
from tools.simulated.state import LOCAL_DIRECTORY, Image

RELEASING = POLICY.model_copy(update={"archive": ArchivePolicy(release_source=SourceRelease.UNDEFINE)})
LABEL = f'<metadata><l:vm xmlns:l="{NAMESPACE}" priority="low" cold-archive="allowed"/></metadata>'


class Owned(World):
    """The usual world, and an ordinary guest with a definition of its owner's."""

    def become(self, xml: str, *, more: str = "") -> None:
        """Take this definition, with its files in place."""
        self.vm = self.fleet.add_vm("a", "owned", labels=BATCH, disk_bytes=())
        for directory in ("/var/lib/libvirt/images", "/images", "/iso"):
            xml = xml.replace(f"'{directory}/", f"'{LOCAL_DIRECTORY}/")
        head, _, rest = xml.replace("<name>web<", "<name>owned<").partition("</uuid>")
        xml = f"{head.rpartition('<uuid>')[0]}<uuid>{self.vm}</uuid>{'' if '<metadata>' in rest else LABEL}{rest}"
        xml = xml.replace("<metadata>", LABEL.removesuffix("</metadata>")).replace("</devices>", f"{more}</devices>")
        domain = self.fleet.machines["a"].domains[self.vm]
        domain.xml, domain.described = xml, parse_domain(xml)
        for disk in domain.described.disks:
            self.fleet.machines["a"].images[disk.path] = Image(b"content" * 999, "raw", 7 * 999)
        state = self.fleet.machines["a"].state_files
        for path in (domain.described.nvram, *(path for _, path in domain.described.boot_files)):
            if path:
                state[path] = b"state"
        state[f"/var/lib/libvirt/swtpm/{self.vm}/tpm2/tpm2-00.permall"] = b"tpm"
        machine = domain.described.machine
        for each in self.fleet.machines.values():
            each.machine_types = (*each.machine_types, machine)

    def attempt(self, kind: ActionKind) -> Attempt:
        target = "b" if kind is ActionKind.COLD_MIGRATE else None
        action = Action(kind=kind, vm=self.vm, vm_name="owned", source="a", target=target, reason="a test")
        vm = next(vm for vm in self.fleet.node("a").vms() if vm.uuid == self.vm)
        return run_attempt(
            AttemptContext(
                id="attempt-1",
                evacuation="evac",
                action=action,
                vm=vm,
                policy=RELEASING,
                hands=self.hands,
                on_progress=lambda _: None,
            )
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Owned]:
    world = Owned(tmp_path)
    yield world
    world.journal.close()


BOOTED = LINUX.replace("<boot dev='hd'/>", "<kernel>/boot/vmlinuz</kernel><initrd>/boot/initrd</initrd>")


@pytest.mark.parametrize("kind", [ActionKind.COLD_MIGRATE, ActionKind.COLD_ARCHIVE])
def test_an_ordinary_guest_goes_whole(world: Owned, kind: ActionKind):
    world.become(BOOTED)
    done = world.attempt(kind)
    assert done.outcome is AttemptOutcome.DONE, done.message
    if kind is ActionKind.COLD_MIGRATE:
        assert world.fleet.running_on(world.vm) == ["b"]
        assert world.fleet.machines["b"].state_files == world.fleet.machines["a"].state_files
        return
    for node in ("a", "b", "c"):
        world.fleet.machines[node].state_files.clear()
    restore(world.hands, "attempt-1", "b", start=True)
    assert world.fleet.running_on(world.vm) == ["b"]
    assert world.fleet.machines["b"].state_files["/boot/vmlinuz"] == b"state"


def test_a_wipe_leaves_the_kernel_that_other_guests_boot_from(world: Owned):
    world.become(BOOTED)
    assert world.attempt(ActionKind.COLD_ARCHIVE).outcome is AttemptOutcome.DONE
    record = wipe(world.hands, "attempt-1", by="root")
    assert world.fleet.machines["a"].state_files["/boot/vmlinuz"] == b"state"
    assert [image.path for image in record.images if image.path.startswith("/boot")] == []


def handlers_of(xml: str) -> list[str]:
    """The handlers without which this guest's inventory has something unknown."""
    return [
        path
        for path in sorted(handlers.HANDLERS)
        if handlers.take_inventory(
            xml, handlers={at: each for at, each in handlers.HANDLERS.items() if at != path}
        ).obstacle(ActionKind.COLD_ARCHIVE)
    ]


@pytest.mark.parametrize("path", handlers_of(BOOTED))
def test_whichever_handler_is_taken_away_the_guest_is_refused_and_goes_on_running(
    world: Owned, path: str, monkeypatch: pytest.MonkeyPatch
):
    world.become(BOOTED)
    monkeypatch.delitem(handlers.HANDLERS, path)  # pyright: ignore[reportArgumentType]
    for kind in (ActionKind.COLD_ARCHIVE, ActionKind.COLD_MIGRATE):
        refused = world.attempt(kind)
        assert refused.outcome is AttemptOutcome.REFUSED, refused.message
        assert "lifeboat does not know" in refused.message
    assert world.fleet.running_on(world.vm) == ["a"]
    assert world.store.entries() == []


HIDDEN = [
    "<disk type='vhostuser' device='disk'><source path='/run/spdk.0'/><target dev='vdz'/></disk>",
    "<disk type='nvme' device='disk'><source type='pci' namespace='1'><address bus='3'/></source><target dev='vdz'/></disk>",
    "<filesystem type='mount'><source dir='/srv/d'/><target dir='d'/></filesystem>",
    "<hostdev mode='subsystem' type='pci' managed='yes'><source><address bus='3'/></source></hostdev>",
    "<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host5'/></source></hostdev>",
    "<memory model='nvdimm'><source><path>/srv/nv</path></source><target><size>1</size></target></memory>",
    "<pstore backend='acpi-erst'><path>/srv/ps</path><size>8</size></pstore>",
    "<teleporter/>",
]


@pytest.mark.parametrize("more", HIDDEN)
def test_a_guest_with_something_that_can_not_go_along_is_refused_and_goes_on_running(world: Owned, more: str):
    world.become(WINDOWS.replace("<source dev='/dev/vg0/win'/>", f"<source dev='{LOCAL_DIRECTORY}/win'/>"), more=more)
    for kind in (ActionKind.COLD_ARCHIVE, ActionKind.COLD_MIGRATE):
        assert world.attempt(kind).outcome is AttemptOutcome.REFUSED
    assert world.fleet.running_on(world.vm) == ["a"]


def test_the_manifest_accounts_for_everything_and_a_secret_keeps_the_source(world: Owned):
    encryption = "<encryption format='luks'><secret type='passphrase' uuid='s-1'/></encryption>"
    world.become(LINUX.replace("fedora.qcow2'/>", f"fedora.qcow2'>{encryption}</source>"))
    done = world.attempt(ActionKind.COLD_ARCHIVE)
    assert done.outcome is AttemptOutcome.DONE, done.message
    manifest = json.loads((world.directory / "archives" / "attempt-1" / "manifest.json").read_text())
    assert any("firmware" in line and "present at the target" in line for line in manifest["account"])
    assert any(line.startswith("disk vda") and line.endswith(": copied") for line in manifest["account"])
    assert any("s-1" in line for line in manifest["left_out"])
    assert "not in the archive: secret of disk vda (s-1)" in done.message
    assert world.fleet.machines["a"].domains[world.vm].state is VmState.SHUTOFF, "its definition stays"
