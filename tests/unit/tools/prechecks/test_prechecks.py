"""Each condition that must hold before a vm is touched, and what the operator is told when it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from models.errors import (
    ActionFailed,
    ClockOff,
    CpuIncompatible,
    DeviceBound,
    DisksUnmovable,
    IdentityUnproven,
    MachineUnknown,
    MemoryShort,
    NameTaken,
    NodeUnreachable,
    PortClosed,
    PrecheckFailed,
    VersionTooOld,
)
from models.fleet import Priority, Vm, VmState
from models.policy.policy import ArchivePolicy, MigrationPolicy
from tools.archive.store import FsspecArchiveStore
from tools.domain.labels import Labels
from tools.domain.xml import parse_domain
from tools.ports.compatibility import Versions
from tools.ports.vms import Cell, VmObservation
from tools.prechecks.checks import check_archive, check_cold_migration, check_live_migration
from tools.simulated.fleet import SimulatedFleet
from tools.simulated.node import SimulatedNode
from tools.simulated.state import LOCAL_DIRECTORY, Image
from tools.simulated.xml import domain_xml

GIB = 1 << 30
POLICY = ArchivePolicy()
LOW = Labels(priority=Priority.LOW, cold_archive_allowed=True)


class Scene:
    """Two nodes, one vm."""

    def __init__(self, **vm: object) -> None:
        self.fleet = SimulatedFleet()
        self.source: SimulatedNode = self.fleet.add_node("node-a")
        self.target: SimulatedNode = self.fleet.add_node("node-b", memory_bytes=8 * GIB, disk_bytes=4 * GIB)
        self.uuid = self.fleet.add_vm("node-a", "web", **({"memory_bytes": 4 * GIB, "labels": LOW} | vm))  # type: ignore[arg-type]

    @property
    def before(self) -> VmObservation:
        found = self.source.observe(self.uuid)
        assert found is not None
        return found

    @property
    def vm(self) -> Vm:
        return next(vm for vm in self.source.vms() if vm.uuid == self.uuid)

    def live(self) -> None:
        check_live_migration(self.source, self.target, self.before, self.vm)

    def cold(self) -> None:
        check_cold_migration(self.source, self.target, self.before, self.vm)


def occupy_memory(scene: Scene) -> None:
    scene.fleet.add_vm("node-b", "other", memory_bytes=4 * GIB)


def occupy_disk(scene: Scene) -> None:
    scene.fleet.machines["node-b"].images[f"{LOCAL_DIRECTORY}/full.raw"] = Image(bytes(0), "raw", 0)
    scene.fleet.machines["node-b"].disk_bytes = GIB // 2


def same_uuid(scene: Scene) -> None:
    scene.target.define(scene.source.domain_xml(scene.uuid))


def same_name(scene: Scene) -> None:
    scene.target.define(domain_xml("00000000-0000-4000-8000-000000000001", "web"))


def same_image(scene: Scene) -> None:
    scene.target.create_disk(scene.before.disks[0].path, format="raw", virtual_bytes=1)


def older_qemu(scene: Scene) -> None:
    scene.fleet.machines["node-b"].machine_types = ("pc-q35-5.0",)


def transient(scene: Scene) -> None:
    scene.fleet.machines["node-a"].domains[scene.uuid].persistent = False


def expired(scene: Scene) -> None:
    scene.fleet.machines["node-b"].tls = False


CASES: list[tuple[Callable[[Scene], None], str]] = [
    (occupy_memory, r"vm web needs 4294967296 bytes of memory, node node-b has 3221225472 free"),
    (occupy_disk, r"vm web needs 1073741824 bytes under /var/lib/libvirt/images, node node-b has \d+ free"),
    (same_uuid, r"vm web is known on node node-b already \(shutoff\)"),
    (same_name, r"another vm on node node-b is named web"),
    (same_image, r"disk /var/lib/libvirt/images/web-0.raw of vm web exists on node node-b already"),
    (older_qemu, r"vm web can't run on node node-b, which has no machine type pc-q35-7.2"),
]


@pytest.mark.parametrize(("spoil", "says"), CASES, ids=lambda case: getattr(case, "__name__", ""))
@pytest.mark.parametrize("kind", ["live", "cold"])
def test_what_stops_a_move_is_said_with_its_figures(spoil: Callable[[Scene], None], says: str, kind: str):
    scene = Scene()
    getattr(scene, kind)()
    spoil(scene)
    with pytest.raises(PrecheckFailed, match=says) as caught:
        getattr(scene, kind)()
    assert caught.value.hint
    assert scene.fleet.running_on(scene.uuid) == ["node-a"]


def two_cells(scene: Scene) -> None:
    """2 GiB of 2 MiB hugepages in each of two cells, 4 GiB of memory free in each."""
    scene.fleet.machines["node-b"].cells = tuple(
        Cell(id=n, memory_bytes=8 * GIB, free_bytes=4 * GIB, free_hugepages={2 << 20: 1024}) for n in (0, 1)
    )


def rewrite(scene: Scene, added: str) -> None:
    domain = scene.fleet.machines["node-a"].domains[scene.uuid]
    domain.xml = domain.xml.replace("<vcpu>", f"{added}<vcpu>")
    domain.described = parse_domain(domain.xml)


def hugepages_in_one_cell(scene: Scene) -> None:
    """Enough in all, too few where they have to lie."""
    two_cells(scene)
    rewrite(
        scene,
        "<memoryBacking><hugepages/></memoryBacking><numatune><memory mode='strict' nodeset='1'/></numatune>",
    )


def memory_in_one_cell(scene: Scene) -> None:
    two_cells(scene)
    scene.fleet.machines["node-b"].cells = (
        Cell(id=0, memory_bytes=8 * GIB, free_bytes=8 * GIB),
        Cell(id=1, memory_bytes=8 * GIB, free_bytes=GIB),
    )
    rewrite(scene, "<numatune><memory mode='strict' nodeset='1'/></numatune>")


def older_release(scene: Scene) -> None:
    scene.fleet.machines["node-b"].versions = Versions(9_000_000, 6_002_000)


def clock_behind(scene: Scene) -> None:
    scene.fleet.machines["node-b"].clock_offset_seconds = -90.0


def port_closed(scene: Scene) -> None:
    scene.fleet.machines["node-b"].port_open = False


def other_cpu(scene: Scene) -> None:
    domain = scene.fleet.machines["node-a"].domains[scene.uuid]
    domain.xml = domain.xml.replace("<devices>", "<cpu mode='custom'><model>EPYC-Milan</model></cpu><devices>")


def passthrough(scene: Scene) -> None:
    domain = scene.fleet.machines["node-a"].domains[scene.uuid]
    domain.xml = domain.xml.replace("</devices>", "<hostdev mode='subsystem' type='pci'/></devices>")


LIVE: list[tuple[Callable[[Scene], None], type[PrecheckFailed], str]] = [
    (occupy_memory, MemoryShort, "3221225472 free"),
    (hugepages_in_one_cell, MemoryShort, r"hugepages of 2097152 bytes in NUMA cell 1, node node-b has 2147483648 free"),
    (memory_in_one_cell, MemoryShort, r"4294967296 bytes of memory in NUMA cell 1, node node-b has 1073741824 free"),
    (occupy_disk, DisksUnmovable, "under /var/lib/libvirt/images"),
    (same_image, DisksUnmovable, "exists on node node-b already"),
    (same_uuid, NameTaken, "known on node node-b already"),
    (same_name, NameTaken, "another vm on node node-b is named web"),
    (older_qemu, MachineUnknown, "machine type pc-q35-7.2"),
    (older_release, VersionTooOld, r"runs on QEMU 7\.2\.0, node node-b has the older 6\.2\.0"),
    (other_cpu, CpuIncompatible, "whose CPU lacks: EPYC-Milan"),
    (passthrough, DeviceBound, "passthrough pci device"),
    (clock_behind, ClockOff, r"clock of node node-b is 90\.0 s behind lifeboat's \(at most 5 s\)"),
    (port_closed, PortClosed, "node-b:16514: Connection refused"),
    (expired, IdentityUnproven, "it has expired"),
]


@pytest.mark.parametrize(("spoil", "kind", "says"), LIVE, ids=lambda case: getattr(case, "__name__", ""))
def test_each_condition_has_an_error_of_its_own(spoil: Callable[[Scene], None], kind: type[PrecheckFailed], says: str):
    scene = Scene()
    scene.live()
    spoil(scene)
    with pytest.raises(kind, match=says) as caught:
        scene.live()
    assert caught.value.hint
    assert caught.value.code != PrecheckFailed.code
    assert caught.value.exit_code == 3
    assert scene.fleet.running_on(scene.uuid) == ["node-a"]


def test_codes_are_not_shared():
    kinds = {kind for _, kind, _ in LIVE}
    assert len({kind.code for kind in kinds}) == len(kinds)


@pytest.mark.parametrize(
    ("spoil", "policy"),
    [
        (older_release, MigrationPolicy(allow_older_target=True)),
        (clock_behind, MigrationPolicy(max_clock_difference=timedelta(minutes=2))),
        (expired, MigrationPolicy(tls_required=False)),
    ],
)
def test_policy_may_allow_what_is_a_matter_of_judgement(spoil: Callable[[Scene], None], policy: MigrationPolicy):
    scene = Scene()
    spoil(scene)
    check_live_migration(scene.source, scene.target, scene.before, scene.vm, policy=policy)


def test_a_patch_release_behind_and_an_unknown_clock_stop_nothing():
    scene = Scene()
    scene.fleet.machines["node-a"].versions = Versions(9_000_000, 7_002_009)
    scene.fleet.machines["node-b"].versions = Versions(8_000_000, 7_002_001)
    scene.fleet.machines["node-b"].clock_offset_seconds = None
    scene.live()


def test_a_cpu_that_will_not_do_is_told_with_one_that_would_on_every_node_that_answers():
    scene = Scene()
    scene.fleet.add_node("node-c")
    scene.fleet.cut_off("node-c")
    other_cpu(scene)
    with pytest.raises(CpuIncompatible, match=r"the CPU model EPYC, which node-a, node-b have"):
        check_live_migration(
            scene.source, scene.target, scene.before, scene.vm, fleet=scene.fleet.hypervisors().values()
        )


def test_a_vm_that_needs_a_cpu_the_target_lacks():
    scene = Scene(cpu_model="EPYC-Milan")
    with pytest.raises(PrecheckFailed, match="CPU lacks: EPYC-Milan"):
        scene.live()


def test_a_passthrough_device_stops_every_move():
    """Another device may be at its address on the target, and would be taken away from whoever uses it there."""
    scene = Scene(passthrough=True)
    with pytest.raises(PrecheckFailed, match="can't move live from node node-a: passthrough pci device"):
        scene.live()
    with pytest.raises(PrecheckFailed, match="can't be moved cold: passthrough pci device"):
        scene.cold()


def test_a_transient_vm_is_left_to_whoever_made_it():
    scene = Scene()
    transient(scene)
    with pytest.raises(PrecheckFailed, match="transient"):
        scene.live()
    with pytest.raises(ActionFailed, match="transient"):
        scene.cold()


def test_a_bad_certificate_stops_a_move_over_tls_only():
    scene = Scene()
    expired(scene)
    with pytest.raises(PrecheckFailed, match=r"can't move over TLS: .*expired"):
        scene.live()
    check_live_migration(scene.source, scene.target, scene.before, scene.vm, policy=MigrationPolicy(tls_required=False))


def test_a_silent_target_is_unreachable_not_unfit():
    scene = Scene()
    before, vm = scene.before, scene.vm
    scene.fleet.cut_off("node-b")
    with pytest.raises(NodeUnreachable, match="node-b"):
        check_live_migration(scene.source, scene.target, before, vm)


def test_shared_disks_need_neither_room_nor_a_free_path():
    scene = Scene(shared=True)
    scene.fleet.machines["node-b"].disk_bytes = 0
    scene.live()
    scene.cold()


def test_an_overlay_is_not_torn_from_what_it_lies_on(tmp_path: Path):
    scene = Scene(backing="/images/base.qcow2", disk_bytes=(1 << 20,))
    with pytest.raises(PrecheckFailed, match=r"overlay over /images/base.qcow2"):
        scene.live()
    with pytest.raises(PrecheckFailed, match=r"needs /images/base.qcow2, which is in no running storage pool of node"):
        scene.cold()
    store = FsspecArchiveStore(f"file://{tmp_path}/archives", key_file=tmp_path / "key")
    with pytest.raises(PrecheckFailed, match=r"needs /images/base.qcow2"):
        check_archive(scene.source, store, scene.before, scene.vm, POLICY)


def test_a_whole_chain_moves_cold():
    scene = Scene(backing=f"{LOCAL_DIRECTORY}/snap.qcow2", disk_bytes=(1 << 20,))
    scene.fleet.add_image("node-a", f"{LOCAL_DIRECTORY}/snap.qcow2", 1 << 20, backing=f"{LOCAL_DIRECTORY}/base.raw")
    with pytest.raises(PrecheckFailed, match=rf"needs {LOCAL_DIRECTORY}/base.raw"):
        scene.cold()
    scene.fleet.add_image("node-a", f"{LOCAL_DIRECTORY}/base.raw", 1 << 20)
    scene.cold()


@pytest.mark.parametrize(
    "snapshot",
    [
        "<domainsnapshot><name>s</name><memory snapshot='external' file='/elsewhere/s.mem'/></domainsnapshot>",
        "<domainsnapshot><name>s</name><disks><disk name='vda' snapshot='external'><source file='/elsewhere/s.qcow2'/>"
        "</disk></disks></domainsnapshot>",
    ],
)
def test_files_of_snapshots_that_would_stay_behind_stop_a_cold_move(snapshot: str, monkeypatch: pytest.MonkeyPatch):
    scene = Scene()
    monkeypatch.setattr(scene.source, "snapshots", lambda _: (snapshot,))
    with pytest.raises(PrecheckFailed, match=r"of snapshot s \(/elsewhere/s\.\w+\) would stay behind"):
        scene.cold()


class TestArchive:
    @pytest.fixture
    def store(self, tmp_path: Path) -> FsspecArchiveStore:
        return FsspecArchiveStore(f"file://{tmp_path}/archives", key_file=tmp_path / "key")

    def check(self, scene: Scene, store: FsspecArchiveStore, policy: ArchivePolicy = POLICY, **before: object) -> None:
        check_archive(scene.source, store, replace(scene.before, **before), scene.vm, policy)  # type: ignore[arg-type]

    def test_an_allowed_vm_passes(self, store: FsspecArchiveStore):
        self.check(Scene(disk_bytes=(1 << 20,)), store)

    @pytest.mark.parametrize(
        ("labels", "policy", "says"),
        [
            (Labels(Priority.HIGH, cold_archive_allowed=True), POLICY, "has priority high, policy archives only low"),
            (Labels(Priority.LOW, cold_archive_allowed=False), POLICY, "its label forbids it"),
            (Labels(Priority.LOW), POLICY, "says nothing of it"),
            (None, ArchivePolicy(priorities=(Priority.NORMAL,)), "says nothing of it"),
        ],
    )
    def test_without_the_owners_consent_nothing_is_archived(
        self, store: FsspecArchiveStore, labels: Labels | None, policy: ArchivePolicy, says: str
    ):
        scene = Scene(labels=labels)
        with pytest.raises(PrecheckFailed, match=says):
            self.check(scene, store, policy)

    def test_policy_may_speak_for_an_owner_who_said_nothing(self, store: FsspecArchiveStore):
        self.check(
            Scene(labels=Labels(Priority.LOW), disk_bytes=(1 << 20,)), store, ArchivePolicy(allow_without_label=True)
        )

    @pytest.mark.parametrize(
        ("before", "says"),
        [
            ({"saved_memory": True}, "memory in a managed save image"),
            ({"persistent": False}, "transient"),
        ],
    )
    def test_what_a_copy_of_the_disks_would_lose_stops_it(
        self, store: FsspecArchiveStore, before: dict[str, object], says: str
    ):
        with pytest.raises(PrecheckFailed, match=says):
            self.check(Scene(), store, **before)

    @pytest.mark.parametrize("kind", ["uefi", "tpm"])
    def test_state_beside_the_disks_that_can_not_be_read_stops_it(self, store: FsspecArchiveStore, kind: str):
        scene = Scene(disk_bytes=(1 << 20,), **{kind: True})
        self.check(scene, store)
        scene.cold()
        scene.fleet.machines["node-a"].state_files.clear()
        with pytest.raises(PrecheckFailed, match=r"vm web can't be archived: .* is not there on node node-a"):
            self.check(scene, store)
        with pytest.raises(PrecheckFailed, match=r"vm web can't be moved cold: .* is not there on node node-a"):
            scene.cold()

    def test_a_missing_image_stops_it_before_the_guest_is(self, store: FsspecArchiveStore):
        scene = Scene()
        scene.source.delete_disk(scene.before.disks[0].path)
        with pytest.raises(PrecheckFailed, match="disk vda of vm web is not at"):
            self.check(scene, store)
        assert scene.before.state is VmState.RUNNING

    def test_a_store_without_room_stops_it_before_the_guest_is(self, store: FsspecArchiveStore):
        with pytest.raises(PrecheckFailed, match=r"the archive store has \d+ bytes free, vm web may need"):
            self.check(Scene(disk_bytes=(1 << 60,)), store)


@pytest.mark.parametrize("kind", ["live", "cold"])
def test_a_shared_disk_that_the_target_does_not_see_stops_the_move(kind: str):
    scene = Scene(shared=True)
    getattr(scene, kind)()
    scene.fleet.shared_images.clear()
    with pytest.raises(DisksUnmovable, match="counts as shared, and node node-b does not see it"):
        getattr(scene, kind)()
