"""What no plan can better: a lower bound on the expected loss, told beside every plan.

Description: the largest of several relaxations, each of which leaves some limit aside.
- *alone*: every vm is done as soon as if nothing else moved.
- *link*: what leaves a node shares its link. Memory and disks are bytes that pass one after the other, in any pieces.
- *slots*: at most so many actions run at once, off one node and in the fleet, each for as long as it takes alone.
- *room*: the targets' memory, all of it together, holds only so much; the rest stays.
Requirements: never above the loss of any plan made of these options, within the model of `models.migration.estimate`.
Limitations: barriers between waves, limits of the targets' links, which target holds what, groups and vcpus are left aside, so
that a gap may be the bound's fault.

Link and slots are one-machine problems with a cost that grows with the time a vm is done. Cut into pieces that are served in any
order, vms in the order of weight over length cost least (Smith's rule); a vm is done when its last piece is, so that half its
length times the least growth comes on top. Where the risk grows evenly this is the exact optimum of one link.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.plan.capacity import Capacities
from agent.plan.options import ClassOption, Options
from models.fleet import Node, Vm
from models.migration.estimate import SETUP_SECONDS, SWITCHOVER_SECONDS, disk_copy_bytes, stream_bandwidth
from models.placement import holds_room
from models.plan import ActionKind
from models.situation import Situation

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One vm that may leave."""

    weight: float
    alone: float
    """seconds until it is safe when nothing else moves; the least of its options"""
    link: float
    """seconds of its node's whole link that it needs; 0 when an option sends nothing"""


class _Growth:
    """P(a node fails within t), t in seconds, linear between its points and level past the horizon."""

    def __init__(self, seconds: Sequence[float], probability: Sequence[float]) -> None:
        self.at, self.p = np.array(seconds), np.array(probability)
        self._area = np.concatenate(([0.0], np.cumsum(np.diff(self.at) * (self.p[1:] + self.p[:-1]) / 2)))

    def within(self, t: Floats) -> Floats:
        return np.interp(t, self.at, self.p)

    def area(self, t: Floats) -> Floats:
        """The integral from 0 to t."""
        n = np.clip(np.searchsorted(self.at, t, side="right") - 1, 0, len(self.at) - 1)
        return self._area[n] + (t - self.at[n]) * (self.p[n] + self.within(t)) / 2

    def least_slope(self, until: float) -> float:
        if until > self.at[-1]:
            return 0.0
        steps = np.diff(self.p) / np.diff(self.at)
        return float(steps[self.at[:-1] < until].min()) if len(steps) else 0.0

    def share_of(self, other: _Growth) -> float:
        """The largest f such that this one is nowhere below f × `other`."""
        at = np.union1d(self.at, other.at)[1:]  # between points the ratio of two lines has no extreme of its own
        theirs = other.within(at)
        risky = theirs > 0
        return float((self.within(at)[risky] / theirs[risky]).min()) if risky.any() else 0.0


def least_loss(options: Mapping[str, Options], room: Capacities, situation: Situation, leaving: Sequence[str]) -> float:
    """Σ weight × P(the node fails before the vm is safe) that no plan for the nodes `leaving` goes below."""
    fleet, weights = situation.fleet, situation.policy.weights
    horizon = situation.horizon_seconds
    fixed = alone = by_node = 0.0
    nodes: list[tuple[_Growth, list[_Job]]] = []
    stuck_extra: list[tuple[Vm, float]] = []
    for name in leaving:
        growth = _growth(name, situation)
        source = fleet.node_by_name[name]
        whole = float(growth.p[-1])
        jobs: list[_Job] = []
        for vm in fleet.vms_on(name):
            weight = weights.of(vm.priority)
            mine = options[vm.uuid]
            if not mine.by_class:
                fixed += weight * whole
                continue
            job = _job(vm, mine, source, weight, situation)
            jobs.append(job)
            least = weight * float(growth.within(np.array([min(job.alone, horizon)]))[0])
            if all(option.targets is not None for option in mine.by_class) and holds_room(vm, situation.policy):
                stuck_extra.append((vm, weight * whole - least))
        nodes.append((growth, jobs))
        each_alone = _alone(jobs, growth)
        alone += each_alone
        slots = situation.policy.limits.outbound_per_node
        by_node += max(each_alone, _served(jobs, growth, slots), _through_link(jobs, growth))
    fleet_wide = _fleet_slots(nodes, situation.policy.limits.per_fleet)
    return fixed + max(alone + _unplaceable(stuck_extra, room), by_node, fleet_wide)


def _growth(name: str, situation: Situation) -> _Growth:
    horizon = situation.horizon_seconds
    risk = situation.node_risks[name].usable_risk
    inside = [] if risk is None else [at for at, _ in risk.curve if at < horizon]
    at = [0.0, *inside, horizon]
    return _Growth(at, [situation.failure_probability(name, t) for t in at])


def _job(vm: Vm, options: Options, source: Node, weight: float, situation: Situation) -> _Job:
    return _Job(
        weight=weight,
        alone=min(option.seconds for option in options.by_class),
        link=min(_link_seconds(vm, option, source, situation) for option in options.by_class),
    )


def _link_seconds(vm: Vm, option: ClassOption, source: Node, situation: Situation) -> float:
    """How long it would fill its node's whole link. Beside others it takes no fewer bytes: slower means more rounds."""
    if option.targets is None:
        return 0.0
    if option.kind is not ActionKind.LIVE_MIGRATE:
        return disk_copy_bytes(vm) / source.migration_bytes_per_second
    bandwidth = stream_bandwidth(source, option.targets.sample, 1, 1, situation.policy)
    sent = max(0.0, option.seconds - SETUP_SECONDS - SWITCHOVER_SECONDS) * bandwidth
    if situation.policy.migration.post_copy:  # then a guest that would need many rounds may be sent once
        sent = min(sent, vm.memory_bytes + disk_copy_bytes(vm))
    return sent / source.migration_bytes_per_second


def _alone(jobs: Iterable[_Job], growth: _Growth) -> float:
    told = list(jobs)
    at = np.array([job.alone for job in told])
    return float(np.array([job.weight for job in told]) @ growth.within(at)) if told else 0.0


def _through_link(jobs: Sequence[_Job], growth: _Growth) -> float:
    sending = [job for job in jobs if job.link > 0]
    silent = [job for job in jobs if job.link <= 0]
    pairs = [(job.weight, job.link) for job in sending]
    return _alone(silent, growth) + _pieces(pairs, growth, machines=1, delay=SETUP_SECONDS)


def _served(jobs: Sequence[_Job], growth: _Growth, slots: int) -> float:
    return _pieces([(job.weight, job.alone) for job in jobs], growth, machines=slots, delay=0.0)


def _fleet_slots(nodes: Sequence[tuple[_Growth, list[_Job]]], slots: int) -> float:
    """All nodes' vms share the fleet's slots. Nodes' risks differ: each counts with its share of one of them."""
    best = 0.0
    for reference, _ in nodes[:8]:
        shares = [growth.share_of(reference) for growth, _ in nodes]
        pairs = [
            (job.weight * share, job.alone) for share, (_, jobs) in zip(shares, nodes, strict=True) for job in jobs
        ]
        best = max(best, _pieces(pairs, reference, machines=slots, delay=0.0))
    return best


def _pieces(pairs: Sequence[tuple[float, float]], growth: _Growth, *, machines: int, delay: float) -> float:
    """The least Σ weight × growth(end) of (weight, seconds) on so many machines, cut into pieces. Seconds are above 0."""
    if not pairs:
        return 0.0
    weight, seconds = np.array([w for w, _ in pairs]), np.array([s for _, s in pairs])
    order = np.argsort(-weight / seconds, kind="stable")
    weight, seconds = weight[order], seconds[order]
    fast = seconds / machines
    end = np.cumsum(fast)
    area = growth.area(end + delay) - growth.area(end - fast + delay)
    # No machine ever waits in a schedule that costs least, so that the last is done by then.
    until = float(end[-1]) + (1 - 1 / machines) * float(seconds.max()) + delay
    return float(np.sum(weight / fast * area) + growth.least_slope(until) * np.sum(weight * seconds) / 2)


def _unplaceable(needing: Sequence[tuple[Vm, float]], room: Capacities) -> float:
    """What is lost on top because all targets together lack memory: what stays is worth least by the byte, in any pieces."""
    short = sum(vm.memory_bytes for vm, _ in needing) - int(np.maximum(room.memory, 0).sum())
    lost = 0.0
    for vm, extra in sorted(needing, key=lambda pair: pair[1] / max(1, pair[0].memory_bytes)):
        if short <= 0:
            break
        share = min(1.0, short / max(1, vm.memory_bytes))
        lost += share * extra
        short -= vm.memory_bytes
    return lost
