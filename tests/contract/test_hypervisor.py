"""What every Hypervisor does: the simulated nodes in every run, the lab's real libvirt with `-m lab`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from scenes.hypervisor_worlds import World

from models.errors import ActionFailed, ArchiveFailed, BadInput, MigrationFailed, NodeUnreachable, PrecheckFailed
from models.fleet import VmState
from tools.archive.store import FsspecArchiveStore
from tools.domain.files import image_files
from tools.domain.labels import read_labels
from tools.domain.xml import parse_domain
from tools.ports.hypervisor import Hypervisor
from tools.ports.migration import MigrationOptions
from tools.ports.vms import ImageRole, StateFile, VmObservation
from tools.prechecks.checks import check_live_migration

Options = Callable[..., MigrationOptions]
NOBODY = "00000000-1111-2222-3333-444444444444"
SLOW = 1 << 20


def seen(node: Hypervisor, vm: str) -> VmObservation:
    observation = node.observe(vm)
    assert observation is not None
    return observation


def stop(world: World, node: Hypervisor, vm: str) -> None:
    def stopped() -> bool:
        node.shut_down(vm)  # again each time: a guest that is still booting does not hear it
        return seen(node, vm).state is VmState.SHUTOFF

    world.wait(stopped, "stopped guest", seconds=120)


def digest(node: Hypervisor, path: str) -> tuple[int, str]:
    found, size = hashlib.sha256(), 0
    for chunk in node.read_disk(path):
        found.update(chunk)
        size += len(chunk)
    return size, found.hexdigest()


class TestInventory:
    def test_a_node_has_a_name_memory_and_processors(self, world: World):
        node = world.a.node()
        assert node.name == world.a.name == "node-a"
        assert node.memory_bytes > node.memory_reserved_bytes > 0
        assert node.cpus >= 1
        assert 0 < world.a.free_memory_bytes() <= node.memory_bytes

    def test_vms_are_listed_with_their_labels(self, world: World):
        vms = {vm.uuid: vm for vm in world.a.vms()}
        assert vms[world.shared_vm].workload == "inference"
        assert vms[world.shared_vm].shared_storage
        assert not vms[world.local_vm].shared_storage
        assert vms[world.local_vm].cold_archive_allowed is True
        assert vms[world.local_vm].memory_bytes > 0
        assert vms[world.local_vm].disk_bytes > 0
        assert {vm.node for vm in vms.values()} == {"node-a"}
        assert not {world.shared_vm, world.local_vm} & {vm.uuid for vm in world.b.vms()}

    def test_observing_tells_known_from_unknown(self, world: World):
        vm = seen(world.a, world.local_vm)
        assert (vm.uuid, vm.node, vm.state, vm.persistent) == (world.local_vm, "node-a", VmState.RUNNING, True)
        assert not vm.incoming
        assert [disk.shared for disk in vm.disks] == [False]
        assert vm.disks[0].virtual_bytes > 0
        assert world.b.observe(world.local_vm) is None
        assert world.a.observe(NOBODY) is None
        assert world.a.observe("no-uuid") is None
        assert world.a.uuid_of(vm.name) == world.local_vm
        assert world.b.uuid_of(vm.name) is None

    def test_acting_on_an_unknown_vm_is_refused(self, world: World):
        for vm in (NOBODY, "no-uuid"):
            for act in (world.a.start, world.a.shut_down, world.a.power_off, world.a.undefine, world.a.domain_xml):
                with pytest.raises(ActionFailed, match="not known on node node-a"):
                    act(vm)
            assert world.a.job(vm) is None
            assert world.a.completed_job(vm) is None
            world.a.abort_job(vm)

    def test_an_attempt_is_stamped_beside_the_labels_and_taken_off_again(self, world: World):
        before = read_labels(world.a.domain_xml(world.local_vm))
        world.a.tag_attempt(world.local_vm, "attempt-7")
        assert seen(world.a, world.local_vm).attempt == "attempt-7"
        assert read_labels(world.a.domain_xml(world.local_vm)) == before
        assert "attempt-7" not in world.a.domain_xml(world.local_vm), "what is archived or copied carries no stamp"
        world.a.tag_attempt(world.local_vm, None)
        world.a.tag_attempt(world.local_vm, None)
        assert seen(world.a, world.local_vm).attempt is None

    def test_a_vm_can_run_on_the_other_node_and_a_strange_machine_type_nowhere(self, world: World):
        xml = world.a.running_xml(world.shared_vm)
        assert world.b.cpu_compatible(xml, world.a.host_cpu()) is None
        assert world.b.machine_compatible(xml) is None
        machine = xml.partition("machine='")[2].partition("'")[0] or xml.partition('machine="')[2].partition('"')[0]
        assert "pc-from-the-future" in str(world.b.machine_compatible(xml.replace(machine, "pc-from-the-future")))

    def test_all_the_cpu_a_node_can_give_fits_where_it_is_the_same_and_not_one_that_asks_for_more(self, world: World):
        guest = world.a.widest_guest("qemu")  # any node can emulate
        assert world.b.cpu_compatible(guest, "") is None
        assert world.a.common_cpu_model(
            guest, [parse_domain(each.widest_guest("qemu")).cpu_xml or "" for each in (world.a, world.b)]
        )
        strange = guest.replace(f">{parse_domain(guest).cpu_model}<", ">Icelake-Server<")
        assert world.b.cpu_compatible(strange, "")
        assert world.a.widest_guest("strange") == ""

    def test_a_node_shows_who_it_is(self, world: World):
        fingerprints = {world.a.tls_fingerprint(), world.b.tls_fingerprint()}
        assert len(fingerprints) == 2
        assert all(len(bytes.fromhex(each)) == 32 for each in fingerprints)


class TestLiveMigration:
    def test_it_runs_at_the_target_and_is_gone_from_the_source_and_comes_back(self, world: World, options: Options):
        before = seen(world.a, world.shared_vm)
        world.a.tag_attempt(world.shared_vm, "attempt-1")
        for source, target in ((world.a, world.b), (world.b, world.a)):
            source.migrate_live(world.shared_vm, target.name, options())
            after = seen(target, world.shared_vm)
            assert source.observe(world.shared_vm) is None
            assert (after.state, after.persistent, after.incoming) == (VmState.RUNNING, True, False)
            assert [(d.device, d.virtual_bytes) for d in after.disks] == [
                (d.device, d.virtual_bytes) for d in before.disks
            ]
            assert after.attempt == "attempt-1", "the stamp travels along"
            statistics = target.completed_job(world.shared_vm) or source.completed_job(world.shared_vm)
            assert statistics is not None
            assert statistics.downtime_seconds is not None
            assert 0 < statistics.downtime_seconds < (statistics.total_seconds or 0)
            assert source.job(world.shared_vm) is None

    def test_a_paused_vm_stays_paused(self, world: World, options: Options):
        world.pause(world.a, world.shared_vm)
        world.a.migrate_live(world.shared_vm, "node-b", options())
        assert world.a.observe(world.shared_vm) is None
        assert seen(world.b, world.shared_vm).state is VmState.PAUSED
        world.b.resume(world.shared_vm)
        assert seen(world.b, world.shared_vm).state is VmState.RUNNING
        world.b.migrate_live(world.shared_vm, "node-a", options())

    def test_at_the_timeout_it_is_left_running_where_it_was(self, world: World, options: Options):
        with pytest.raises(MigrationFailed, match="node-a says"):
            world.a.migrate_live(
                world.shared_vm, "node-b", options(timeout_seconds=3.0, bandwidth_bytes_per_second=SLOW)
            )
        assert seen(world.a, world.shared_vm).state is VmState.RUNNING
        world.wait(lambda: world.b.observe(world.shared_vm) is None, "absence at the target")

    def test_it_can_be_aborted_while_it_copies(self, world: World, options: Options):
        progress = []

        def abort() -> None:
            progress.append(world.a.job(world.shared_vm))
            arriving = world.b.observe(world.shared_vm)
            progress.append(arriving is not None and arriving.incoming)
            world.a.abort_job(world.shared_vm)

        world.while_copying(world.a, world.shared_vm, abort)
        with pytest.raises(MigrationFailed):
            world.a.migrate_live(world.shared_vm, "node-b", options(bandwidth_bytes_per_second=SLOW))
        assert progress[0].bytes_total > progress[0].bytes_processed > 0
        assert progress[1] is True, "the target shows that it is arriving, not that it runs"
        assert seen(world.a, world.shared_vm).state is VmState.RUNNING
        world.wait(lambda: world.b.observe(world.shared_vm) is None, "absence at the target")
        world.a.abort_job(world.shared_vm)  # no job: no error

    def test_a_local_disk_moves_along(self, world: World, options: Options):
        path = seen(world.a, world.local_vm).disks[0].path
        for source, target in ((world.a, world.b), (world.b, world.a)):
            before = seen(source, world.local_vm).disks[0]
            if source is world.a:  # the image may have been made beforehand, or is made by libvirt
                target.create_disk(path, format=before.format, virtual_bytes=before.virtual_bytes)
            source.migrate_live(world.local_vm, target.name, options(copy_disks=(before.device,)))
            assert source.observe(world.local_vm) is None
            after = seen(target, world.local_vm)
            assert after.state is VmState.RUNNING
            assert [(d.path, d.virtual_bytes) for d in after.disks] == [(path, before.virtual_bytes)]
            assert source.disk_exists(path), "libvirt leaves the image behind"
            source.delete_disk(path)

    def test_a_target_that_knows_the_vm_is_refused_and_the_vm_runs_on(self, world: World, options: Options):
        world.b.define(world.a.domain_xml(world.shared_vm))
        try:
            vm = next(vm for vm in world.a.vms() if vm.uuid == world.shared_vm)
            with pytest.raises(PrecheckFailed, match="known on node node-b already"):
                check_live_migration(world.a, world.b, seen(world.a, world.shared_vm), vm)
        finally:
            world.b.undefine(world.shared_vm)
        assert seen(world.a, world.shared_vm).state is VmState.RUNNING

    def test_a_node_that_is_no_peer_is_bad_input(self, world: World, options: Options):
        with pytest.raises(BadInput, match="node-nowhere"):
            world.a.migrate_live(world.shared_vm, "node-nowhere", options())
        assert seen(world.a, world.shared_vm).state is VmState.RUNNING

    def test_every_precheck_holds_for_a_vm_that_can_move(self, world: World):
        for vm in world.a.vms():
            if vm.uuid in (world.shared_vm, world.local_vm):
                check_live_migration(world.a, world.b, seen(world.a, vm.uuid), vm)


class TestSteering:
    """The hands of the convergence ladder."""

    def test_a_longer_pause_is_taken_while_it_runs(self, world: World, options: Options):
        """With a pause so short that nothing fits, the longer one set on the way is what lets it through."""
        tiny = options(max_downtime_seconds=0.001, bandwidth_bytes_per_second=8 * SLOW, timeout_seconds=60.0)
        world.while_copying(world.a, world.shared_vm, lambda: world.a.set_max_downtime(world.shared_vm, 0.4))
        world.a.migrate_live(world.shared_vm, "node-b", tiny)
        assert seen(world.b, world.shared_vm).state is VmState.RUNNING
        world.b.migrate_live(world.shared_vm, "node-a", options())

    def test_post_copy_goes_over_at_once_and_can_not_be_called_off(self, world: World, options: Options):
        with pytest.raises(ActionFailed):
            world.a.start_post_copy(world.shared_vm)  # nothing is under way
        world.while_copying(world.a, world.shared_vm, lambda: world.a.start_post_copy(world.shared_vm))
        world.a.migrate_live(
            world.shared_vm,
            "node-b",
            options(post_copy=True, bandwidth_bytes_per_second=SLOW, timeout_seconds=100.0, auto_converge=False),
        )
        assert world.a.observe(world.shared_vm) is None
        assert seen(world.b, world.shared_vm).state is VmState.RUNNING
        world.b.migrate_live(world.shared_vm, "node-a", options())

    def test_a_guest_suspended_on_its_way_runs_on_at_the_target(self, world: World, options: Options):
        world.while_copying(world.a, world.shared_vm, lambda: world.a.suspend(world.shared_vm))
        world.a.migrate_live(world.shared_vm, "node-b", options(bandwidth_bytes_per_second=8 * SLOW))
        assert seen(world.b, world.shared_vm).state is VmState.RUNNING
        world.b.migrate_live(world.shared_vm, "node-a", options())

    def test_a_guest_suspended_on_its_way_runs_on_at_the_source_when_it_is_called_off(
        self, world: World, options: Options
    ):
        def suspend_and_abort() -> None:
            world.a.suspend(world.shared_vm)
            world.a.abort_job(world.shared_vm)

        world.while_copying(world.a, world.shared_vm, suspend_and_abort)
        with pytest.raises(MigrationFailed):
            world.a.migrate_live(world.shared_vm, "node-b", options(bandwidth_bytes_per_second=SLOW))
        assert seen(world.a, world.shared_vm).state is VmState.RUNNING
        world.wait(lambda: world.b.observe(world.shared_vm) is None, "absence at the target")

    def test_disk_limits_are_set_travel_along_and_are_given_back(self, world: World, options: Options):
        before = world.a.io_limits(world.shared_vm)
        assert list(before) == ["vda"]
        assert {before["vda"][name] for name in ("total_bytes_sec", "read_bytes_sec", "write_bytes_sec")} == {0}
        world.a.set_io_limits(world.shared_vm, {"vda": {"total_bytes_sec": 5_000_000}})
        world.a.migrate_live(world.shared_vm, "node-b", options())
        assert world.b.io_limits(world.shared_vm)["vda"]["total_bytes_sec"] == 5_000_000
        world.b.set_io_limits(world.shared_vm, before)
        assert world.b.io_limits(world.shared_vm) == before
        world.b.migrate_live(world.shared_vm, "node-a", options())
        assert world.a.io_limits(world.shared_vm) == before

    def test_the_dirty_rate_is_measured_and_never_during_a_migration(self, world: World, options: Options):
        assert world.a.measure_dirty_rate(world.shared_vm, 1.0) >= 0
        refused: list[str] = []

        def measure() -> None:
            try:
                world.a.measure_dirty_rate(world.shared_vm, 1.0)
            except ActionFailed as error:
                refused.append(error.message)
            world.a.abort_job(world.shared_vm)

        world.while_copying(world.a, world.shared_vm, measure)
        with pytest.raises(MigrationFailed):
            world.a.migrate_live(world.shared_vm, "node-b", options(bandwidth_bytes_per_second=SLOW))
        assert "is being migrated" in refused[0]
        world.wait(lambda: world.b.observe(world.shared_vm) is None, "absence at the target")

    def test_a_guest_without_an_agent_can_not_be_asked(self, world: World):
        assert world.a.guest_answers(world.shared_vm) is None

    @pytest.mark.parametrize(
        "how", [{"compression": "xbzrle"}, {"parallel_connections": 2}], ids=["xbzrle", "two streams"]
    )
    def test_compressed_and_parallel(self, world: World, options: Options, how: dict[str, object]):
        world.a.migrate_live(world.shared_vm, "node-b", options(**how))
        assert seen(world.b, world.shared_vm).state is VmState.RUNNING
        world.b.migrate_live(world.shared_vm, "node-a", options())

    def test_nothing_keeps_an_ordinary_guest_and_of_an_unknown_one_nothing_is_told(self, world: World):
        assert world.a.migration_blockers([world.shared_vm, NOBODY]) == {world.shared_vm: ()}

    def test_steering_an_unknown_vm_is_refused(self, world: World):
        for act in (
            world.a.suspend,
            world.a.start_post_copy,
            world.a.io_limits,
            world.a.guest_answers,
            lambda vm: world.a.set_max_downtime(vm, 0.3),
            lambda vm: world.a.measure_dirty_rate(vm, 1.0),
            lambda vm: world.a.set_io_limits(vm, {}),
        ):
            with pytest.raises(ActionFailed, match="not known on node node-a"):
                act(NOBODY)


class TestStoppingAndDefining:
    def test_it_stops_when_asked_and_starts_again(self, world: World):
        stop(world, world.a, world.local_vm)
        world.a.shut_down(world.local_vm)  # it is off: no error
        world.a.power_off(world.local_vm)
        world.a.start(world.local_vm)
        assert seen(world.a, world.local_vm).state is VmState.RUNNING
        with pytest.raises(ActionFailed):
            world.a.start(world.local_vm)

    def test_a_running_vm_is_not_undefined(self, world: World):
        with pytest.raises(ActionFailed, match="not shut off"):
            world.a.undefine(world.local_vm)
        vm = seen(world.a, world.local_vm)
        assert (vm.state, vm.persistent) == (VmState.RUNNING, True)

    def test_defining_what_is_there_is_refused(self, world: World):
        xml = world.a.domain_xml(world.local_vm)
        with pytest.raises(PrecheckFailed, match="already"):
            world.a.define(xml)
        with pytest.raises(PrecheckFailed, match="already"):
            world.a.define(xml.replace(world.local_vm, NOBODY))
        assert world.a.observe(NOBODY) is None

    def test_a_definition_that_is_tried_is_taken_and_leaves_nothing(self, world: World):
        xml = world.a.domain_xml(world.local_vm)
        taken = world.b.try_definition(xml)
        assert world.local_vm in taken
        assert seen(world.a, world.local_vm).disks[0].path in taken
        assert world.b.observe(world.local_vm) is None
        with pytest.raises(PrecheckFailed, match="already"):
            world.a.try_definition(xml)
        assert seen(world.a, world.local_vm).state is VmState.RUNNING

    def test_what_is_no_domain_is_bad_input(self, world: World):
        for text in ("<domain>", "<network/>", "", "<domain type='qemu'/>"):
            with pytest.raises(BadInput):
                world.a.define(text)


class TestDisks:
    def test_an_image_is_read_whole(self, world: World):
        stop(world, world.a, world.local_vm)
        disk = seen(world.a, world.local_vm).disks[0]
        chunks = [len(chunk) for chunk in world.a.read_disk(disk.path, chunk_bytes=65536)]
        assert sum(chunks) == disk.image_bytes
        assert set(chunks[:-1]) == {65536}
        assert digest(world.a, disk.path) == digest(world.a, disk.path)
        with pytest.raises(ArchiveFailed, match="nothing-here"):
            next(iter(world.a.read_disk(f"{world.directory}/nothing-here.raw")))

    def test_what_is_written_is_read_back_holes_and_all(self, world: World):
        path = f"{world.directory}/contract.raw"
        chunks = [b"\1" * 70_000, bytes(4 << 20), b"\2" * 1000, bytes(300_000)]
        total = sum(map(len, chunks))
        assert not world.b.disk_exists(path)
        world.b.create_disk(path, format="raw", virtual_bytes=total)
        try:
            assert world.b.write_disk(path, iter(chunks), total_bytes=total) == total
            assert b"".join(world.b.read_disk(path)) == b"".join(chunks)
            with pytest.raises(PrecheckFailed, match="exists"):
                world.b.create_disk(path, format="raw", virtual_bytes=total)
        finally:
            world.b.delete_disk(path)
        assert not world.b.disk_exists(path)
        world.b.delete_disk(path)  # gone already: no error

    def test_a_short_image_is_noticed(self, world: World):
        path = f"{world.directory}/short.raw"
        world.b.create_disk(path, format="raw", virtual_bytes=5000)
        try:
            with pytest.raises(ArchiveFailed, match="4000 bytes"):
                world.b.write_disk(path, iter([b"x" * 4000]), total_bytes=5000)
        finally:
            world.b.delete_disk(path)

    def test_room_is_checked_before_an_image_is_made(self, world: World):
        path = f"{world.directory}/huge.raw"
        with pytest.raises(PrecheckFailed, match="free"):
            world.b.create_disk(path, format="raw", virtual_bytes=1 << 60)
        assert not world.b.disk_exists(path)
        assert 0 < world.b.free_disk_bytes(path) < 1 << 60
        for ask in (world.b.free_disk_bytes, world.b.disk_exists):
            with pytest.raises(PrecheckFailed, match="no running storage pool"):
                ask("/nowhere/at/all/disk.raw")


class TestWiping:
    def test_who_uses_an_image_is_known_before_it_is_wiped(self, world: World):
        vm = seen(world.a, world.local_vm)
        facts = world.a.storage_facts(vm.disks[0].path)
        assert (facts.used_by, facts.shared, facts.pool_type) == ((vm.name,), False, "dir")
        assert facts.users == world.a.users_of(vm.disks[0].path) == {vm.uuid: vm.name}
        assert world.b.users_of(vm.disks[0].path) == {}, "the same path on another node is nobody's there"
        with pytest.raises(PrecheckFailed, match="not there on node node-b"):
            world.b.storage_facts(f"{world.directory}/nothing.raw")

    def test_an_image_that_was_just_made_is_told_from_one_put_in_its_place(self, world: World):
        path = f"{world.directory}/made.raw"
        identity = world.b.create_disk(path, format="raw", virtual_bytes=1 << 20)
        try:
            made = world.b.storage_facts(path)
            assert (made.identity, made.format, made.virtual_bytes, made.allocated_bytes) == (
                identity,
                "raw",
                1 << 20,
                0,
            )
            world.b.delete_disk(path)
            again = world.b.create_disk(path, format="raw", virtual_bytes=1 << 20)
            changed = world.b.storage_facts(path).changed
            assert again != identity or (changed is not None and made.changed is not None and changed >= made.changed)
        finally:
            world.b.delete_disk(path)

    @pytest.mark.parametrize("sparse", [True, False])
    def test_nothing_but_zeros_is_left_and_its_length(self, world: World, sparse: bool):
        path = f"{world.directory}/secret.raw"
        gap = bytes(4 << 20) if sparse else b"\3" * (4 << 20)
        chunks = [b"\1" * 70_000, gap, b"\2" * 100_000]
        total = sum(map(len, chunks))
        world.b.create_disk(path, format="raw", virtual_bytes=total)
        try:
            world.b.write_disk(path, iter(chunks))
            assert world.b.storage_facts(path).used_by == ()
            assert "zeros" in world.b.wipe_disk(path, overwrite=True)
            assert b"".join(world.b.read_disk(path)) == bytes(total)
        finally:
            world.b.delete_disk(path)
        with pytest.raises((ActionFailed, ArchiveFailed)):
            world.b.wipe_disk(path, overwrite=True)


class TestStateFiles:
    def test_a_file_is_put_once_read_wiped_and_removed(self, world: World):
        path = "/var/lib/libvirt/qemu/nvram/contract_VARS.fd"
        file = StateFile(role=ImageRole.NVRAM, path=path, content=bytes(range(256)) * 400, mode=0o600, owner=0, group=0)
        assert world.b.write_state_file(file)
        try:
            assert not world.b.write_state_file(replace(file, content=bytes(file.content))), "the same is there"
            with pytest.raises(PrecheckFailed, match="other content"):
                world.b.write_state_file(replace(file, content=b"another"))
            assert world.b.read_state_file(path) == file.content
            assert world.b.wipe_state_file(path)
            assert not world.b.write_state_file(replace(file, content=bytes(len(file.content)))), "zeros are there"
        finally:
            world.b.delete_state_file(path)
        assert not world.b.wipe_state_file(path)
        assert world.b.read_state_file(path) is None
        world.b.delete_state_file(path)  # gone already: no error

    def test_a_vm_without_has_none(self, world: World):
        assert world.a.state_files(world.local_vm) == ()
        assert world.a.snapshots(world.local_vm) == ()


class TestSilence:
    def test_a_silent_node_is_unreachable_within_seconds_and_its_vms_are_not_absent(self, world: World):
        world.b.observe(NOBODY)  # an open connection
        world.silence(world.b)
        try:
            for ask in (lambda: world.b.observe(world.shared_vm), world.b.vms, world.b.node, world.b.vms):
                asked = world.elapsed()
                with pytest.raises(NodeUnreachable, match="node-b"):
                    ask()
                assert world.elapsed() - asked < 15
        finally:
            world.unsilence(world.b)
        world.wait(lambda: answers(world.b), "answer after the node came back", seconds=30)

    def test_a_target_out_of_reach_leaves_the_vm_as_it_was(self, world: World, options: Options):
        world.silence(world.b)
        try:
            with pytest.raises(MigrationFailed):
                world.a.migrate_live(world.shared_vm, "node-b", options(timeout_seconds=20.0))
            assert seen(world.a, world.shared_vm).state is VmState.RUNNING
        finally:
            world.unsilence(world.b)


def answers(node: Hypervisor) -> bool:
    try:
        node.node()
    except NodeUnreachable:
        return False
    return True


def test_an_archived_vm_is_restored_and_runs_on_another_node(world: World, tmp_path: Path):
    store = FsspecArchiveStore(f"file://{tmp_path}/archives", key_file=tmp_path / "key")
    stop(world, world.a, world.local_vm)
    vm = seen(world.a, world.local_vm)
    original = digest(world.a, vm.disks[0].path)
    entry = store.write(
        archive_id="attempt-9",
        vm=vm,
        domain_xml=world.a.domain_xml(world.local_vm),
        images=[(image, lambda path=image.path: world.a.read_disk(path)) for image in image_files(vm, shared=True)],
        on_progress=lambda done, total: None,
    )
    assert (entry.vm_uuid, entry.original_bytes) == (world.local_vm, original[0])
    ((disk, read),) = store.images(store.verify("attempt-9").id)
    world.b.create_disk(disk.path, format=disk.format, virtual_bytes=disk.virtual_bytes)
    try:
        world.b.write_disk(disk.path, read(), total_bytes=disk.image_bytes)
        assert digest(world.b, disk.path) == original
        assert world.b.define(store.domain_xml("attempt-9")) == world.local_vm
        try:
            world.b.start(world.local_vm)
            assert seen(world.b, world.local_vm).state is VmState.RUNNING
        finally:
            world.b.power_off(world.local_vm)
            world.b.undefine(world.local_vm)
    finally:
        world.b.delete_disk(disk.path)


def test_what_a_poweroff_does_is_set_for_the_running_guest(world: World):
    before = world.a.observe(world.local_vm)
    assert before is not None
    for action in ("restart", "destroy", before.on_poweroff):
        world.a.set_on_poweroff(world.local_vm, action)
        seen = world.a.observe(world.local_vm)
        assert seen is not None
        assert seen.on_poweroff == action
