"""What drives mean for their node: no curve falls, redundancy never hurts, and a worse drive is never better news."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from models.forecast.limits.array_loss import array_loss, node_risk
from models.storage_layout import ArrayLayout, ArrayLevel, StoragePolicy

CURVES = st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4).map(lambda values: tuple(sorted(values)))
MEMBERS = st.lists(CURVES, min_size=4, max_size=7)
LEVELS = st.sampled_from([ArrayLevel.RAID1, ArrayLevel.RAID5, ArrayLevel.RAID6, ArrayLevel.RAID10])
POLICIES = st.builds(
    lambda together, hours: StoragePolicy.model_validate({"together": together, "rebuild": f"{hours}h"}),
    st.floats(0.0, 1.0),
    st.integers(1, 2000),
)


def of(level: ArrayLevel, count: int) -> ArrayLayout:
    return ArrayLayout(disks=("*",), level=level, members=count)


@given(MEMBERS, LEVELS, POLICIES, st.integers(0, 3))
def test_redundancy_never_hurts_and_the_curve_never_falls(
    members: list[tuple[float, ...]], level: ArrayLevel, policy: StoragePolicy, lost: int
) -> None:
    bare = array_loss(members, of(ArrayLevel.NONE, len(members)), policy)
    curve = array_loss(members, of(level, len(members)), policy, lost=lost)
    assert all(low <= high for low, high in pairwise(curve))
    assert all(0.0 <= p <= q + 1e-9 for p, q in zip(curve, bare, strict=True))
    assert all(
        p <= q + 1e-9
        for p, q in zip(curve, array_loss(members, of(level, len(members)), policy, lost=lost + 1), strict=True)
    )


@given(MEMBERS, LEVELS, POLICIES, st.integers(0, 3), CURVES)
def test_a_worse_drive_is_never_better_news(
    members: list[tuple[float, ...]], level: ArrayLevel, policy: StoragePolicy, place: int, other: tuple[float, ...]
) -> None:
    worse = tuple(max(p, q) for p, q in zip(members[place], other, strict=True))
    layout = of(level, len(members))
    before = array_loss(members, layout, policy)
    after = array_loss([*members[:place], worse, *members[place + 1 :]], layout, policy)
    assert all(p <= q + 1e-9 for p, q in zip(before, after, strict=True))


@given(MEMBERS, LEVELS, POLICIES)
def test_the_order_of_drives_does_not_matter(
    members: list[tuple[float, ...]], level: ArrayLevel, policy: StoragePolicy
) -> None:
    layout = of(level, len(members))
    there, back = array_loss(members, layout, policy), array_loss(members[::-1], layout, policy)
    assert all(abs(p - q) < 1e-9 for p, q in zip(there, back, strict=True))


@given(st.dictionaries(st.sampled_from(["sda", "sdb", "nvme0"]), CURVES, min_size=1))
def test_drives_that_nobody_spoke_of_count_as_if_each_took_the_node(drives: dict[str, tuple[float, ...]]) -> None:
    risk, _ = node_risk("n", drives, StoragePolicy())
    for h, p in enumerate(risk):
        left = 1.0
        for curve in drives.values():
            left *= 1.0 - curve[h]
        assert abs(p - (1.0 - left)) < 1e-12
