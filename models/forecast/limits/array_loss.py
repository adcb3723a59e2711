"""From the drives of a node to the node: P(an array is lost), and what that means for the guests. Pure.

A drive's failure is its node's only where nothing stands in for it. With p the members' P(fails within h), k how many may
fail, q their P(fails within the k rebuilds that the gap stays open):

    alone     = min( P(at least k + 1 of the p),  sum over members of p x P(at least k of the others' q) )
    together  = beta x the (k + 1)-th largest p          (k > 0)
    P(lost)   = 1 - (1 - alone) x (1 - together)

Both parts of the minimum are upper bounds: k + 1 failures within the horizon are needed, and each of these losses begins
with one failure that k others follow while the gap is open (hazards constant within the horizon). What parts have in
common (backplane, controller, batch) takes several along: the beta-factor model of IEC 61508-6, annex D, gives it a share
of the failures, and no cause that k + 1 members share is likelier than the (k + 1)-th likeliest of them is to fail. That
drives of one system fail together more often than chance has it is measured (Schroeder and Gibson, Disk failures in the
real world, FAST 2007).

Not modelled: sectors that can't be read during a rebuild (they lose a stripe, seldom the array), bad controllers, hot
spares beyond a shorter rebuild.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from models.forecast.limits.part import HORIZON_SECONDS, Curve
from models.storage_layout import ArrayLayout, ArrayLevel, StoragePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayRisk:
    """One array of a node, or one drive that stands alone."""

    layout: ArrayLayout | None
    """None: a drive that policy does not speak of"""
    disks: tuple[str, ...]
    lost: int
    """members that are gone already, or do not report"""
    curve: Curve
    """P(what lies on it is lost within h), weighted by what that means for the guests"""


def node_risk(
    node: str, disks: Mapping[str, Curve], policy: StoragePolicy, lacking: Mapping[str, int] | None = None
) -> tuple[Curve, list[ArrayRisk]]:
    """P(a loss of storage puts this node's guests in danger within h), and the arrays it stands on, worst first.

    disks: each drive's P(fails within h); lacking: by the kernel's name of an array, how many members it is short of.
    """
    of: dict[int, list[str]] = defaultdict(list)
    alone: list[str] = []
    for disk in disks:
        place = next((k for k, array in enumerate(policy.arrays) if array.has(node, disk)), None)
        (alone if place is None else of[place]).append(disk)
    found = [ArrayRisk(layout=None, disks=(disk,), lost=0, curve=disks[disk]) for disk in alone]
    for place, names in of.items():
        layout = policy.arrays[place]
        silent = max(0, (layout.members or 0) - len(names))
        lost = max(silent, (lacking or {}).get(layout.name, 0) if layout.name else 0)
        curve = array_loss([disks[name] for name in names], layout, policy, lost=lost)
        weight = policy.weights.of(layout.holds)
        found.append(ArrayRisk(layout=layout, disks=tuple(names), lost=lost, curve=tuple(weight * p for p in curve)))
    rest = [1.0] * len(HORIZON_SECONDS)
    for one in found:
        rest = [left * (1.0 - p) for left, p in zip(rest, one.curve, strict=True)]
    return tuple(1.0 - left for left in rest), sorted(found, key=lambda one: one.curve[::-1], reverse=True)


def array_loss(members: Sequence[Curve], layout: ArrayLayout, policy: StoragePolicy, *, lost: int = 0) -> Curve:
    """P(the array is lost within h) from its remaining members' P(fails within h). `lost` members stand in for nobody any
    more; what they leave is never taken for lost already, for a drive that is silent may still work."""
    spare = max(0, layout.tolerated - lost)
    # Of a mirrored pair's partner one knows only that it is one of the others; with one lost it may be any of them.
    partner = len(members) - 1 if layout.level is ArrayLevel.RAID10 and spare and len(members) > 1 else 1
    rebuild = policy.rebuild.total_seconds()
    levels = [
        min(
            _lost([curve[h] for curve in members], k, seconds, rebuild, policy.together, partner)
            for k in range(spare + 1)
        )
        for h, seconds in enumerate(HORIZON_SECONDS)
    ]  # more spare drives are never worse, so the least of the bounds counts
    return tuple(accumulate(levels, max))


def _lost(p: Sequence[float], k: int, seconds: float, rebuild: float, together: float, partner: int) -> float:
    if k == 0:
        return at_least(1, p)
    open_for = min(1.0, k * rebuild / seconds)
    q = [1.0 - (1.0 - one) ** open_for for one in p]
    follow = sum(one * at_least(k, [*q[:i], *q[i + 1 :]]) for i, one in enumerate(p))
    if partner > 1:
        follow = sum(one * (sum(q) - q[i]) / partner for i, one in enumerate(p))
    ranked = sorted(p, reverse=True)
    common = together * ranked[k] if len(ranked) > k else 0.0
    return 1.0 - (1.0 - min(at_least(k + 1, p), follow)) * (1.0 - common)


def at_least(count: int, probabilities: Sequence[float]) -> float:
    """P(at least `count` of independent events happen)."""
    exactly = [1.0] + [0.0] * count  # the last: that many or more
    for p in probabilities:
        for k in range(count, 0, -1):
            exactly[k] = exactly[k] * (1.0 if k == count else 1.0 - p) + exactly[k - 1] * p
        exactly[0] *= 1.0 - p
    return exactly[count] if count else 1.0
