"""The simulated fleet breaks the way real ones do, and keeps the truth while its nodes say what they can see."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ActionFailed, LifeboatError, MigrationFailed, NodeUnreachable
from models.fleet import Priority, VmState
from tools.clock import VirtualClock
from tools.domain.labels import Labels
from tools.ports.migration import MigrationOptions
from tools.simulated.fleet import SimulatedFleet
from tools.simulated.migration import Phase

MIB, GIB = 1 << 20, 1 << 30


def options(**changed: Any) -> MigrationOptions:
    defaults: dict[str, Any] = {
        "tls": True,
        "max_downtime_seconds": 0.3,
        "timeout_seconds": 900.0,
        "auto_converge": False,
        "post_copy": False,
        "parallel_connections": 0,
        "bandwidth_bytes_per_second": None,
        "copy_disks": ("vda",),
    }
    return MigrationOptions(**(defaults | changed))


class Scene:
    def __init__(self, **vm: Any) -> None:
        self.fleet = SimulatedFleet()
        for name in ("a", "b", "c"):
            self.fleet.add_node(name)
        self.vm = self.fleet.add_vm("a", "web", **vm)

    def migrate(self, **changed: Any) -> None:
        self.fleet.node("a").migrate_live(self.vm, "b", options(**changed))

    def states(self) -> tuple[str | None, str | None]:
        """What the machines a and b hold of it, reachable or not."""
        with self.fleet.lock:
            self.fleet.advance()
            found = [self.fleet.machines[name].domains.get(self.vm) for name in ("a", "b")]
        return tuple(f"{d.state}{' arriving' if d.incoming else ''}" if d else None for d in found)  # type: ignore[return-value]


def test_the_time_it_takes_follows_memory_bandwidth_and_dirty_rate():
    def seconds(**vm: Any) -> float:
        scene = Scene(shared=True, **vm)
        scene.migrate()
        return scene.fleet.clock.monotonic()

    assert seconds(memory_bytes=GIB) == pytest.approx(GIB / 125e6, rel=0.1)
    assert seconds(memory_bytes=4 * GIB) == pytest.approx(4 * GIB / 125e6, rel=0.1)
    busy = seconds(memory_bytes=4 * GIB, dirty_bytes_per_second=62.5e6)
    assert busy == pytest.approx(2 * 4 * GIB / 125e6, rel=0.1), "half the bandwidth is rewritten: twice the time"


def test_a_vm_that_dirties_faster_than_the_link_carries_never_converges_by_itself():
    scene = Scene(shared=True, dirty_bytes_per_second=300e6)
    with pytest.raises(MigrationFailed, match="canceled"):
        scene.migrate(timeout_seconds=120.0)
    assert scene.states() == ("running", None)
    assert scene.fleet.clock.monotonic() == pytest.approx(120, abs=1)


def test_throttling_brings_it_over():
    scene = Scene(shared=True, dirty_bytes_per_second=300e6)
    scene.migrate(auto_converge=True)
    assert scene.states() == (None, "running")


def test_post_copy_brings_it_over_and_has_no_way_back():
    scene = Scene(shared=True, dirty_bytes_per_second=300e6)
    a = scene.fleet.node("a")

    def go_over() -> None:
        with pytest.raises(ActionFailed, match="flag"):
            a.start_post_copy(scene.vm)
        scene.fleet.migrations[0].options = options(post_copy=True)
        a.start_post_copy(scene.vm)

    scene.fleet.when(scene.vm, Phase.COPYING, go_over)
    with pytest.raises(ActionFailed, match="in progress"):
        a.start_post_copy(scene.vm)
    scene.migrate(timeout_seconds=6.0)
    assert scene.states() == (None, "running")


def test_a_link_that_breaks_in_post_copy_loses_the_guest_and_doubles_nothing():
    scene = Scene(shared=True, dirty_bytes_per_second=300e6)
    scene.fleet.when(scene.vm, Phase.COPYING, lambda: scene.fleet.node("a").start_post_copy(scene.vm))
    scene.fleet.when(scene.vm, Phase.HANDED_OVER, lambda: scene.fleet.cut_link("a", "b"))
    with pytest.raises(MigrationFailed):
        scene.migrate(post_copy=True)
    assert scene.states() == ("paused", "paused")
    assert not scene.fleet.ran_twice


def test_a_longer_pause_allowed_on_the_way_ends_it_earlier():
    slow = Scene(shared=True, memory_bytes=GIB, dirty_bytes_per_second=100e6)
    slow.migrate(max_downtime_seconds=0.01)
    helped = Scene(shared=True, memory_bytes=GIB, dirty_bytes_per_second=100e6)
    helped.fleet.when(helped.vm, Phase.COPYING, lambda: helped.fleet.node("a").set_max_downtime(helped.vm, 4.0))
    helped.migrate(max_downtime_seconds=0.01)
    assert helped.fleet.clock.monotonic() < slow.fleet.clock.monotonic() - 10
    statistics = helped.fleet.node("b").completed_job(helped.vm)
    assert statistics is not None
    assert 1 < (statistics.downtime_seconds or 0) <= 4.05


def test_suspending_the_guest_ends_it_and_counts_as_downtime():
    scene = Scene(shared=True, dirty_bytes_per_second=300e6)
    scene.fleet.when(scene.vm, Phase.COPYING, lambda: scene.fleet.node("a").suspend(scene.vm))
    scene.migrate()
    assert scene.states() == (None, "running")
    statistics = scene.fleet.node("b").completed_job(scene.vm)
    assert statistics is not None
    assert (statistics.downtime_seconds or 0) > 4


def test_disk_limits_travel_along_and_slow_what_a_guest_reads_into_its_memory():
    scene = Scene(shared=True)
    scene.fleet.guests[scene.vm].io_dirty_bytes_per_second = 300e6
    a, b = scene.fleet.node("a"), scene.fleet.node("b")
    assert a.measure_dirty_rate(scene.vm, 1.0) == 300e6
    a.set_io_limits(scene.vm, {"vda": {"total_bytes_sec": 10_000_000}})
    assert a.measure_dirty_rate(scene.vm, 1.0) == 10e6
    scene.migrate()
    assert b.io_limits(scene.vm)["vda"]["total_bytes_sec"] == 10_000_000
    b.power_off(scene.vm)
    b.start(scene.vm)
    assert b.io_limits(scene.vm)["vda"]["total_bytes_sec"] == 0


FAULTS: dict[str, Callable[[SimulatedFleet], object]] = {
    "source dies": lambda f: f.kill_node("a"),
    "target dies": lambda f: f.kill_node("b"),
    "source libvirtd restarts": lambda f: f.restart_libvirtd("a"),
    "target libvirtd restarts": lambda f: f.restart_libvirtd("b"),
    "link is cut": lambda f: f.cut_link("a", "b"),
    "lifeboat is cut off from the source": lambda f: f.cut_off("a"),
}


@pytest.mark.parametrize(
    ("fault", "phase", "error", "left"),
    [
        ("source dies", Phase.COPYING, NodeUnreachable, ("shutoff", None)),
        ("source dies", Phase.HANDED_OVER, NodeUnreachable, ("shutoff", "running")),
        ("target dies", Phase.COPYING, MigrationFailed, ("running", None)),
        ("target dies", Phase.HANDED_OVER, MigrationFailed, ("paused", "shutoff")),
        ("source libvirtd restarts", Phase.COPYING, NodeUnreachable, ("running", None)),
        ("source libvirtd restarts", Phase.SWITCHOVER, NodeUnreachable, ("running", None)),
        ("source libvirtd restarts", Phase.HANDED_OVER, NodeUnreachable, ("paused", "running")),
        ("target libvirtd restarts", Phase.SWITCHOVER, MigrationFailed, ("running", None)),
        ("link is cut", Phase.BEGIN, MigrationFailed, ("running", None)),
        ("link is cut", Phase.SWITCHOVER, MigrationFailed, ("running", None)),
        ("link is cut", Phase.HANDED_OVER, MigrationFailed, ("paused", "running")),
        ("lifeboat is cut off from the source", Phase.COPYING, NodeUnreachable, ("running", "paused arriving")),
    ],
)
def test_what_each_fault_leaves(fault: str, phase: Phase, error: type[LifeboatError], left: tuple[str | None, ...]):
    scene = Scene()
    scene.fleet.when(scene.vm, phase, lambda: FAULTS[fault](scene.fleet))
    with pytest.raises(error):
        scene.migrate()
    assert scene.states() == left
    assert not scene.fleet.ran_twice


def test_a_migration_goes_on_without_lifeboat():
    """Peer to peer: cutting lifeboat off stops nothing, so an error there says nothing of where the vm is."""
    scene = Scene(shared=True)
    scene.fleet.when(scene.vm, Phase.COPYING, lambda: scene.fleet.cut_off("a"))
    with pytest.raises(NodeUnreachable):
        scene.migrate()
    scene.fleet.clock.sleep(60)
    assert scene.states() == (None, "running")


def test_an_error_may_be_reported_after_the_vm_moved():
    scene = Scene(shared=True)

    def lie() -> None:
        raise MigrationFailed("the end of the answer was lost")

    scene.fleet.when(scene.vm, Phase.DONE, lie)
    with pytest.raises(MigrationFailed, match="lost"):
        scene.migrate()
    assert scene.states() == (None, "running")


def test_libvirts_own_double_run_can_be_played():
    scene = Scene(shared=True)
    scene.fleet.lost_finish_resumes_source = True
    scene.fleet.when(scene.vm, Phase.HANDED_OVER, lambda: scene.fleet.cut_link("a", "b"))
    with pytest.raises(MigrationFailed):
        scene.migrate()
    assert scene.fleet.running_on(scene.vm) == ["a", "b"]
    assert scene.fleet.ran_twice == {scene.vm}


def test_a_failed_copy_leaves_an_image_behind_as_libvirt_does():
    scene = Scene()
    path = scene.fleet.node("a").observe(scene.vm).disks[0].path  # type: ignore[union-attr]
    scene.fleet.when(scene.vm, Phase.COPYING, lambda: scene.fleet.node("a").abort_job(scene.vm))
    with pytest.raises(MigrationFailed):
        scene.migrate()
    assert scene.fleet.node("b").disk_exists(path)
    assert scene.states() == ("running", None)


def test_two_running_copies_are_never_forgotten():
    scene = Scene(shared=True)
    scene.fleet.node("b").define(scene.fleet.node("a").domain_xml(scene.vm))
    scene.fleet.node("b").start(scene.vm)
    scene.fleet.node("b").power_off(scene.vm)
    assert scene.fleet.ran_twice == {scene.vm}


def test_a_killed_nodes_guests_are_gone_and_start_nowhere_by_themselves():
    scene = Scene()
    scene.fleet.kill_node("a")
    with pytest.raises(NodeUnreachable):
        scene.fleet.node("a").vms()
    assert scene.fleet.running_on(scene.vm) == []
    scene.fleet.revive_node("a")
    assert scene.fleet.node("a").observe(scene.vm).state is VmState.SHUTOFF  # type: ignore[union-attr]


def test_a_stubborn_guest_never_stops():
    scene = Scene(stop_seconds=None)
    scene.fleet.node("a").shut_down(scene.vm)
    scene.fleet.clock.sleep(3600)
    assert scene.states()[0] == "running"


def test_a_fleet_file_comes_to_life():
    scene = Scene(labels=Labels(Priority.HIGH, "chat", "group", False, "udp://10.0.0.1:7"), dirty_bytes_per_second=5e6)
    from models.fleet import Fleet

    nodes = [scene.fleet.node(name) for name in ("a", "b", "c")]
    fleet = Fleet(
        observed_at=scene.fleet.clock.now(),
        nodes=tuple(node.node() for node in nodes),
        vms=tuple(vm for node in nodes for vm in node.vms()),
    )
    again = SimulatedFleet.from_fleet(fleet).hypervisors().values()
    assert [node.node() for node in again] == list(fleet.nodes)
    assert [vm for node in again for vm in node.vms()] == list(fleet.vms)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(FAULTS)), st.sampled_from(Phase)),
        min_size=1,
        max_size=3,
        unique_by=lambda x: x[1],
    )
)
def test_whatever_breaks_one_migration_never_makes_two_copies(schedule: list[tuple[str, Phase]]):
    scene = Scene()
    for fault, phase in schedule:
        scene.fleet.when(scene.vm, phase, lambda fault=fault: FAULTS[fault](scene.fleet))
    try:
        scene.migrate()
    except LifeboatError:
        scene.fleet.clock.sleep(120)
    assert not scene.fleet.ran_twice
    assert len(scene.fleet.running_on(scene.vm)) <= 1


class TestVirtualClock:
    def test_one_thread_decides_the_time(self):
        clock = VirtualClock()
        start = clock.now()
        clock.sleep(3600)
        clock.sleep(-1)
        assert (clock.now() - start).total_seconds() == 3600 == clock.monotonic()

    def test_waiting_for_an_event_takes_no_longer_than_told(self):
        clock, event = VirtualClock(), threading.Event()
        assert clock.wait(event, 2.0) is False
        assert clock.monotonic() == 2.0
        event.set()
        assert clock.wait(event, 2.0) is True
        assert clock.monotonic() == 2.0

    def test_threads_that_sleep_together_share_the_time(self):
        clock = VirtualClock(grace_seconds=0.05)
        woke: dict[str, float] = {}
        together = threading.Barrier(3)

        def sleeper(name: str, naps: list[float]) -> None:
            clock.sleep(0)  # from here on the clock waits for this thread
            together.wait()
            for nap in naps:
                clock.sleep(nap)
            woke[name] = clock.monotonic()

        threads = [
            threading.Thread(target=sleeper, args=(name, naps))
            for name, naps in (("one", [10.0] * 3), ("two", [25.0]), ("three", [5.0]))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
        assert clock.monotonic() == pytest.approx(30)
        assert woke["three"] < woke["two"] <= woke["one"]
