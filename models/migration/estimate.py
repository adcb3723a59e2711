"""How long a move takes, whether a live migration converges, and how long the guest pauses.

Pre-copy sends the memory once, then what was dirtied meanwhile, then what was dirtied meanwhile again. With
`r = dirty rate / bandwidth` each round is r times the one before, so it ends only when r < 1, and takes about
`(memory / bandwidth) / (1 - r)` (Clark et al., Live Migration of Virtual Machines, NSDI 2005). Every estimate here leans to
the long side: an evacuation that is done early harms nobody.

All functions are pure. Sizes are bytes, rates bytes per second, times seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.fleet import Node, Vm, VmState
from models.policy.policy import Policy

SETUP_SECONDS = 2.0
"""connecting, TLS, defining the vm on the target; the lab's idle 256 MiB guests need 2 s in all at the least"""
SWITCHOVER_SECONDS = 0.1
"""device state and announcing the new place, on top of the last round of memory"""
BOOT_SECONDS = 30.0
"""a guest's start after a cold migration until it answers"""
DIRTY_FACTOR = 3.0
"""dirty rates seen during a migration against the same guest's baseline: 2 to 3 times; the upper end"""
UNKNOWN_DIRTY_SHARE = 0.001
"""share of its memory that a guest nobody measured is taken to rewrite each second"""
UNKNOWN_DIRTY_MIN = 2 * 1024**2
UNKNOWN_DIRTY_MAX = 150_000_000
PAGE_BYTES = 4096
WRITE_CLUSTER_BYTES = 256 * 1024
"""guests write near where they wrote: this much memory is taken to be dirtied together when a hugepage is resent whole"""
MAX_RATIO = 0.9
"""above this r a migration is not counted on to converge: 1/(1-r) grows past 10 passes over the memory"""
THROTTLE_STEPS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""QEMU's auto-converge: cpu-throttle-initial 20 %, +10 % a step. It goes on to 99 %, where the guest is as good as
stopped: lifeboat counts on 80 % and no more."""
ROUNDS_PER_THROTTLE_STEP = 2
"""QEMU raises the throttle when two rounds in a row brought too little"""


@dataclass(frozen=True)
class LiveEstimate:
    """What one live migration is expected to do."""

    seconds: float
    """from start to the guest running on the target; infinite when it does not converge"""
    downtime_seconds: float
    """how long the guest pauses at switchover; infinite when it does not converge"""
    converges: bool
    ratio: float
    """r, with everything that raises the dirty rate in it, before throttling"""
    iterations: int
    """rounds over the memory; 0 when it does not converge"""
    throttle: float
    """share of its processor time the guest must lose for it to converge; 0 when none"""
    post_copy: bool
    """only post-copy ends it"""
    dirty_assumed: bool
    """the dirty rate was never measured; see `baseline_dirty_rate`"""


def baseline_dirty_rate(vm: Vm) -> float:
    """Memory rewritten per second before the migration starts.

    Measured where there is a measurement; 0 for a paused vm; otherwise 0.1 % of the memory per second, at least 2 MiB/s and
    at most 150 MB/s. A 16 GiB guest nobody measured: 17.2 MB/s.
    """
    if vm.state is not VmState.RUNNING:
        return 0.0
    if vm.dirty_bytes_per_second is not None:
        return vm.dirty_bytes_per_second
    return min(max(vm.memory_bytes * UNKNOWN_DIRTY_SHARE, UNKNOWN_DIRTY_MIN), UNKNOWN_DIRTY_MAX)


def hugepage_amplification(hugepage_bytes: int) -> float:
    """How many times more is resent because a dirty byte resends its whole hugepage.

    1 for normal pages; with writes clustered in 256 KiB, 8 for 2 MiB pages and 4096 for 1 GiB pages. Never below 1.
    """
    if hugepage_bytes <= PAGE_BYTES:
        return 1.0
    return max(1.0, hugepage_bytes / WRITE_CLUSTER_BYTES)


def migration_dirty_rate(vm: Vm) -> float:
    """Bytes per second that have to be sent again while the vm migrates: baseline × 3 × hugepage amplification.

    A guest measured at 10 MB/s on normal pages: 30 MB/s; on 2 MiB pages: 240 MB/s.
    """
    return baseline_dirty_rate(vm) * DIRTY_FACTOR * hugepage_amplification(vm.hugepage_bytes)


def throttle_needed(ratio: float) -> float | None:
    """Auto-converge's throttle that brings r under 0.9; 0 when none is needed, None when 80 % is not enough.

    r = 0.5 → 0; r = 1.2 → 0.3 (1.2 × 0.7 = 0.84); r = 4.4 → 0.8; r = 5 → None.
    """
    if ratio < MAX_RATIO:
        return 0.0
    return next((step for step in THROTTLE_STEPS if ratio * (1 - step) < MAX_RATIO), None)


def passes(ratio: float) -> float:
    """How many times the memory is sent in all: 1/(1-r), and two rounds for each throttle step; infinite past 4.5.

    r = 0 → 1; r = 0.5 → 2; r = 0.9 → 12 (10, and the first throttle step's two).
    """
    throttle = throttle_needed(ratio)
    if throttle is None:
        return math.inf
    steps = 0 if throttle == 0 else THROTTLE_STEPS.index(throttle) + 1
    return 1 / (1 - min(ratio, MAX_RATIO)) + ROUNDS_PER_THROTTLE_STEP * steps


def rounds(memory_bytes: float, ratio: float, last_round_bytes: float) -> int:
    """Rounds of pre-copy while the guest runs, until what is left fits the last one, for 0 ≤ r < 1.

    1 GiB at r = 0.5 with 25 MB allowed in the last round: 1024, 512, 256, 128, 64 and 32 MiB are sent, 16 MiB are left: 6.
    """
    count, left = 1, memory_bytes * ratio
    while left > max(last_round_bytes, PAGE_BYTES):
        left *= ratio
        count += 1
    return count


def last_round_seconds(memory_bytes: float, ratio: float, bandwidth: float, budget_seconds: float) -> float:
    """How long the last round of memory takes, with the guest paused: what the first round left, at most the budget.

    QEMU switches over as soon as what is left fits the budget, so the budget is the upper end whatever the guest does.
    1 GiB at r = 0.1 over 1 Gbit/s leaves 107 MB, 0.86 s: more rounds follow, and the budget bounds the pause.
    """
    return min(memory_bytes * ratio / bandwidth, budget_seconds)


def post_copy_stall(vm: Vm, bandwidth: float) -> float:
    """How long the guest stands still under post-copy at the least: the switchover, and the first page it asks for.

    4 KiB over 1 Gbit/s: 0.1 s; 1 GiB over 10 Gbit/s: 0.96 s, and again at each page it has not got yet.
    """
    return SWITCHOVER_SECONDS + max(vm.hugepage_bytes, PAGE_BYTES) / bandwidth


def disk_copy_bytes(vm: Vm) -> int:
    """What moves besides memory: the disks, unless every node reaches them."""
    return 0 if vm.shared_storage else vm.disk_bytes


def stream_bandwidth(source: Node, target: Node, on_source: int, on_target: int, policy: Policy) -> float:
    """What one stream carries when `on_source` streams share the source's link and `on_target` the target's (itself included).

    The narrower share counts, and policy may cap each stream. Two streams from a 125 MB/s node to two idle ones: 62.5 MB/s.
    """
    shares = [
        source.migration_bytes_per_second / max(1, on_source),
        target.migration_bytes_per_second / max(1, on_target),
    ]
    cap = policy.migration.bandwidth_bytes_per_second
    return min(shares) if cap is None else min(*shares, cap)


def live_migration(vm: Vm, bandwidth: float, policy: Policy) -> LiveEstimate:
    """The estimate for one live migration over `bandwidth` bytes per second (> 0).

    Disks that not every node reaches are copied first, over the same link. An 8 GiB guest dirtying 10 MB/s over 1 Gbit/s:
    r = 0.24, 2 s + 68.7 s / 0.76 = 92.4 s, paused 0.3 s at most under the default cap of 300 ms.
    With post-copy allowed, a guest that would not converge is sent once and pulls what it dirtied; its pause is the
    switchover and one page. Where that is past the cap (a 1 GiB page over 10 Gbit/s: 0.96 s), post-copy is off.
    """
    rules = policy.migration
    cap = rules.max_downtime.total_seconds()
    paused = vm.state is not VmState.RUNNING
    ratio = migration_dirty_rate(vm) / bandwidth
    one_pass = vm.memory_bytes / bandwidth
    before = SETUP_SECONDS + disk_copy_bytes(vm) / bandwidth
    assumed = vm.dirty_bytes_per_second is None and not paused
    budget = cap - SWITCHOVER_SECONDS
    throttle = throttle_needed(ratio) if rules.auto_converge or ratio < MAX_RATIO else None
    if throttle is not None and (budget > 0 or ratio == 0):
        pause = (
            0.0
            if paused
            else SWITCHOVER_SECONDS
            + last_round_seconds(vm.memory_bytes, min(ratio, MAX_RATIO), bandwidth, max(0.0, budget))
        )
        left = min(ratio * (1 - throttle), MAX_RATIO)
        return LiveEstimate(
            seconds=before + one_pass * passes(ratio) + SWITCHOVER_SECONDS,
            downtime_seconds=pause,
            converges=True,
            ratio=ratio,
            iterations=rounds(vm.memory_bytes, left, max(0.0, budget) * bandwidth),
            throttle=throttle,
            post_copy=False,
            dirty_assumed=assumed,
        )
    if rules.post_copy and post_copy_stall(vm, bandwidth) <= cap:
        return LiveEstimate(
            seconds=before + one_pass * (1 + min(1.0, ratio)) + SWITCHOVER_SECONDS,
            downtime_seconds=post_copy_stall(vm, bandwidth),
            converges=True,
            ratio=ratio,
            iterations=2,
            throttle=0.0,
            post_copy=True,
            dirty_assumed=assumed,
        )
    return LiveEstimate(
        seconds=math.inf,
        downtime_seconds=math.inf,
        converges=False,
        ratio=ratio,
        iterations=0,
        throttle=0.0,
        post_copy=False,
        dirty_assumed=assumed,
    )


def stop_seconds(vm: Vm, policy: Policy) -> float:
    """How long stopping the guest may take: as earlier stops did, the policy's whole limit (60 s by default) where none was seen
    or they took longer; 0 when it does not run."""
    limit = policy.archive.shutdown_timeout.total_seconds()
    if vm.state is VmState.SHUTOFF:
        return 0.0
    return limit if vm.stop_seconds is None else min(limit, vm.stop_seconds)


def cold_migration_seconds(vm: Vm, source: Node, target: Node, bandwidth: float, policy: Policy) -> float:
    """Stop, copy what not every node reaches, define on the target, and start again if it ran.

    The copy runs at the slowest of link and both ends' disks. A running guest with 20 GB of local disk over 1 Gbit/s and
    100 MB/s disks: 60 + 2 + 200 + 30 = 292 s. A stopped one on shared storage: 2 s, only its definition moves.
    """
    rate = min(bandwidth, source.archive_bytes_per_second, target.archive_bytes_per_second)
    boot = 0.0 if vm.state is VmState.SHUTOFF else BOOT_SECONDS
    return stop_seconds(vm, policy) + SETUP_SECONDS + disk_copy_bytes(vm) / rate + boot


def archive_seconds(vm: Vm, source: Node, archives_at_once: int, policy: Policy) -> float:
    """Stop, read, compress, write and read back every disk, shared or not: the archive must restore without the node.

    `archives_at_once` share the node's rate. A running guest with 20 GB at 100 MB/s: 60 + 2 + 200 = 262 s.
    """
    rate = source.archive_bytes_per_second / max(1, archives_at_once)
    return stop_seconds(vm, policy) + SETUP_SECONDS + vm.disk_bytes / rate
