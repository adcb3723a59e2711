"""How long moves take: the worked numbers of the docstrings, and the edges."""

from __future__ import annotations

import math

import pytest

from models.fleet import Node, Vm, VmState
from models.migration.estimate import (
    archive_seconds,
    cold_migration_seconds,
    hugepage_amplification,
    live_migration,
    migration_dirty_rate,
    passes,
    rounds,
    stream_bandwidth,
    throttle_needed,
)
from models.policy.policy import MigrationPolicy, Policy

GIB = 1 << 30
GIGABIT = 125e6
POLICY = Policy()


def vm(gib: float = 8, dirty: float | None = 1e7, **fields: object) -> Vm:
    told = {"uuid": "u", "name": "v", "node": "a", "memory_bytes": int(gib * GIB), "dirty_bytes_per_second": dirty}
    return Vm.model_validate({**told, **fields})


def node(name: str, **fields: object) -> Node:
    return Node.model_validate({"name": name, "memory_bytes": 64 * GIB, "cpus": 8, **fields})


def test_a_guest_that_dirties_a_quarter_of_the_link() -> None:
    found = live_migration(vm(), GIGABIT, POLICY)
    assert found.ratio == pytest.approx(0.24)
    assert found.seconds == pytest.approx(92.5, abs=0.1)
    assert found.downtime_seconds <= 0.3
    assert found.converges


def test_an_idle_guest_pauses_for_the_switchover_alone() -> None:
    found = live_migration(vm(dirty=0), GIGABIT, POLICY)
    assert found.iterations == 1
    assert found.downtime_seconds == pytest.approx(0.1)


@pytest.mark.parametrize(("ratio", "throttle"), [(0.5, 0), (1.2, 0.3), (4.4, 0.8), (4.6, None), (50, None)])
def test_auto_converge_is_counted_on_up_to_eighty_percent(ratio: float, throttle: float | None) -> None:
    assert throttle_needed(ratio) == throttle
    assert math.isfinite(passes(ratio)) == (throttle is not None)


def test_the_labs_guest_that_never_converged_is_refused_before_it_starts() -> None:
    """25 MiB/s dirtied over an 8 MiB/s link: `virsh migrate --timeout` paused it 5.5 s in the lab."""
    found = live_migration(vm(0.25, 25 * 2**20), 8 * 2**20, POLICY)
    assert not found.converges
    assert math.isinf(found.downtime_seconds)


def test_without_auto_converge_less_converges() -> None:
    busy = vm(dirty=6e7)
    assert live_migration(busy, GIGABIT, POLICY).throttle > 0
    assert not live_migration(busy, GIGABIT, Policy(migration=MigrationPolicy(auto_converge=False))).converges


def test_post_copy_ends_what_does_not_converge_only_where_allowed() -> None:
    busy = vm(dirty=1e9)
    assert not live_migration(busy, GIGABIT, POLICY).converges
    found = live_migration(busy, GIGABIT, Policy(migration=MigrationPolicy(post_copy=True)))
    assert found.post_copy
    assert found.seconds == pytest.approx(2 + 2 * 8 * GIB / GIGABIT, rel=0.01)


def test_post_copy_stalls_on_a_gigabyte_page_and_is_off_where_that_is_past_the_cap() -> None:
    busy = vm(dirty=1e9, hugepage_bytes=GIB)
    assert not live_migration(busy, 1.25e9, Policy(migration=MigrationPolicy(post_copy=True))).converges
    patient = MigrationPolicy.model_validate({"post_copy": True, "max_downtime": "1s"})
    found = live_migration(busy, 1.25e9, Policy(migration=patient))
    assert found.post_copy
    assert found.downtime_seconds == pytest.approx(0.96, abs=0.01)


def test_hugepages_resend_more_than_was_written() -> None:
    assert [hugepage_amplification(size) for size in (0, 4096, 2 << 20, GIB)] == [1, 1, 8, 4096]
    assert migration_dirty_rate(vm(hugepage_bytes=2 << 20)) == pytest.approx(240e6)
    assert live_migration(vm(dirty=1e5), GIGABIT, POLICY).converges
    assert not live_migration(vm(dirty=1e5, hugepage_bytes=GIB), GIGABIT, POLICY).converges


def test_a_dirty_rate_nobody_measured_is_assumed_and_said() -> None:
    found = live_migration(vm(16, None), GIGABIT, POLICY)
    assert found.dirty_assumed
    assert found.ratio == pytest.approx(3 * 17.2e6 / GIGABIT, rel=0.01)
    assert live_migration(vm(0.25, None), GIGABIT, POLICY).ratio == pytest.approx(3 * 2 * 2**20 / GIGABIT)
    assert live_migration(vm(1024, None), GIGABIT, POLICY).ratio == pytest.approx(3 * 150e6 / GIGABIT)


def test_a_paused_guest_dirties_nothing_and_misses_nothing() -> None:
    found = live_migration(vm(dirty=1e9, state=VmState.PAUSED), GIGABIT, POLICY)
    assert found.converges
    assert found.downtime_seconds == 0


def test_local_disks_travel_with_the_vm() -> None:
    shared = live_migration(vm(disk_bytes=10**10), GIGABIT, POLICY).seconds
    local = live_migration(vm(disk_bytes=10**10, shared_storage=False), GIGABIT, POLICY).seconds
    assert local - shared == pytest.approx(80)


def test_rounds_halve_at_half_the_link() -> None:
    assert rounds(GIB, 0.5, 25e6) == 6
    assert rounds(GIB, 0, 25e6) == 1


def test_streams_share_both_ends_of_a_link_and_keep_the_cap() -> None:
    a, b = node("a"), node("b", migration_bytes_per_second=1e9)
    assert stream_bandwidth(a, b, 1, 1, POLICY) == 125e6
    assert stream_bandwidth(a, b, 2, 1, POLICY) == 62.5e6
    assert stream_bandwidth(b, a, 1, 4, POLICY) == 31.25e6
    capped = Policy(migration=MigrationPolicy(bandwidth_bytes_per_second=10_000_000))
    assert stream_bandwidth(a, b, 1, 1, capped) == 10e6


def test_cold_moves_and_archives() -> None:
    a, b = node("a"), node("b")
    running = vm(disk_bytes=20 * 10**9, shared_storage=False)
    assert cold_migration_seconds(running, a, b, GIGABIT, POLICY) == pytest.approx(292)
    stopped = vm(disk_bytes=20 * 10**9, state=VmState.SHUTOFF)
    assert cold_migration_seconds(stopped, a, b, GIGABIT, POLICY) == pytest.approx(2)
    assert archive_seconds(running, a, 1, POLICY) == pytest.approx(262)
    assert archive_seconds(running, a, 2, POLICY) == pytest.approx(462)
    assert archive_seconds(stopped, a, 1, POLICY) == pytest.approx(202)
