"""Estimates never get better when the task gets harder."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from models.fleet import Vm, VmState
from models.migration.estimate import LiveEstimate, live_migration, passes, throttle_needed
from models.policy.policy import MigrationPolicy, Policy

memory = st.integers(1 << 20, 1 << 42)
dirty = st.none() | st.floats(0, 1e11)
bandwidth = st.floats(1e5, 1e11)
policies = st.builds(
    lambda auto, ms: Policy(
        migration=MigrationPolicy.model_validate({"auto_converge": auto, "max_downtime": f"{ms}ms"})
    ),
    st.booleans(),
    st.integers(1, 5000),
)
pages = st.sampled_from([0, 4096, 2 << 20, 1 << 30])


def estimate(
    memory_bytes: int, dirty_rate: float | None, link: float, policy: Policy, hugepage: int = 0, disk: int = 0
) -> LiveEstimate:
    vm = Vm(
        uuid="u", name="v", node="a", memory_bytes=memory_bytes, dirty_bytes_per_second=dirty_rate,
        hugepage_bytes=hugepage, disk_bytes=disk, shared_storage=False,
    )  # fmt: skip
    return live_migration(vm, link, policy)


def no_better(harder: LiveEstimate, easier: LiveEstimate) -> bool:
    slack = 1e-9
    return (
        harder.seconds >= easier.seconds * (1 - slack)
        and harder.downtime_seconds >= easier.downtime_seconds * (1 - slack)
        and (harder.throttle >= easier.throttle or not harder.converges)
        and not (harder.converges and not easier.converges)
    )


@given(memory, memory, dirty, bandwidth, policies, pages)
def test_more_memory_is_no_faster(a: int, b: int, rate: float | None, link: float, policy: Policy, page: int) -> None:
    small, large = sorted((a, b))
    assert no_better(estimate(large, rate, link, policy, page), estimate(small, rate, link, policy, page))


@given(memory, st.floats(0, 1e11), st.floats(0, 1e11), bandwidth, policies, pages)
def test_dirtying_more_is_no_faster(size: int, a: float, b: float, link: float, policy: Policy, page: int) -> None:
    calm, busy = sorted((a, b))
    assert no_better(estimate(size, busy, link, policy, page), estimate(size, calm, link, policy, page))


@given(memory, dirty, bandwidth, bandwidth, policies, pages)
def test_less_bandwidth_is_no_faster(
    size: int, rate: float | None, a: float, b: float, policy: Policy, page: int
) -> None:
    slow, fast = sorted((a, b))
    assert no_better(estimate(size, rate, slow, policy, page), estimate(size, rate, fast, policy, page))


@given(memory, dirty, bandwidth, policies, st.integers(0, 1 << 44), st.integers(0, 1 << 44))
def test_more_disk_is_no_faster(size: int, rate: float | None, link: float, policy: Policy, a: int, b: int) -> None:
    small, large = sorted((a, b))
    assert no_better(estimate(size, rate, link, policy, disk=large), estimate(size, rate, link, policy, disk=small))


@given(memory, dirty, bandwidth, policies, pages)
def test_what_converges_keeps_the_pause_within_the_cap(
    size: int, rate: float | None, link: float, policy: Policy, page: int
) -> None:
    found = estimate(size, rate, link, policy, page)
    cap = max(0.1, policy.migration.max_downtime.total_seconds())
    if found.converges:
        assert found.downtime_seconds <= cap + 1e-9
        assert math.isfinite(found.seconds)
        assert found.seconds >= size / link  # never faster than the wire
    else:
        assert math.isinf(found.seconds)


@given(st.floats(0, 100), st.floats(0, 100))
def test_passes_and_throttle_grow_with_r(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert passes(high) >= passes(low) >= 1
    assert (throttle_needed(high) or math.inf if high >= 0.9 else 0) >= (throttle_needed(low) or 0)


@given(memory, st.floats(0, 1e11), bandwidth, policies)
def test_a_paused_guest_always_moves_when_the_link_does(size: int, rate: float, link: float, policy: Policy) -> None:
    vm = Vm(uuid="u", name="v", node="a", memory_bytes=size, dirty_bytes_per_second=rate, state=VmState.PAUSED)
    found = live_migration(vm, link, policy)
    assert found.converges
    assert found.downtime_seconds == 0
